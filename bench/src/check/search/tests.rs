use super::*;

fn step(begin: u64, end: impl Into<Option<u64>>, effect: StepEffect) -> SearchStep {
    SearchStep { begin, end: end.into(), effect }
}

fn sets(to: SearchContent) -> StepEffect {
    StepEffect::Sets { only_over: None, to }
}

#[test]
fn a_search_that_is_given_up_has_shown_nothing() {
    let [one, other] = [SearchContent::named(0), SearchContent::named(1)];
    let steps = [
        step(0, 9, sets(one)),
        step(0, 9, sets(other)),
        step(10, 11, StepEffect::Sees(one)),
        step(12, 13, StepEffect::Sees(other)),
    ];
    assert_eq!(search(&steps, 1000), SearchResult::Contradiction);
    assert_eq!(search(&steps, 1), SearchResult::Nothing);
}

#[test]
fn what_begins_as_something_else_ends_is_concurrent_with_it() {
    let value = SearchContent::named(0);
    assert_eq!(
        search(&[step(0, 5, sets(value)), step(5, 6, StepEffect::Sees(SearchContent::ABSENT))], 99),
        SearchResult::Order
    );
    assert_eq!(
        search(&[step(0, 5, sets(value)), step(6, 7, StepEffect::Sees(SearchContent::ABSENT))], 99),
        SearchResult::Contradiction
    );
}

#[test]
fn steps_that_may_never_take_effect_are_used_as_often_as_there_are_some() {
    let delete = step(0, None, sets(SearchContent::ABSENT));
    let round = |number: u64| {
        let at = 10 * number;
        let put = step(at, at + 1, sets(SearchContent::named(number as u32)));
        [put, step(at + 2, at + 3, StepEffect::Sees(SearchContent::ABSENT))]
    };
    let rounds: Vec<SearchStep> = (1..=20).flat_map(round).collect();
    let with = |deletes: usize| [&vec![delete; deletes][..], &rounds].concat();
    assert_eq!(search(&with(20), 100_000), SearchResult::Order);
    assert_eq!(search(&with(19), 100_000), SearchResult::Contradiction);
}

#[test]
fn used_steps_are_compared_kind_by_kind() {
    let [none, one, two] = [vec![], vec![(3, 1)], vec![(3, 2)]];
    let other = vec![(4, 1)];
    assert!(is_thriftier(&none, &one) && is_thriftier(&one, &two) && is_thriftier(&one, &one));
    assert!(!is_thriftier(&two, &one) && !is_thriftier(&other, &two));
    assert_eq!(with_one_more(&one, 3, 2), Some(two.clone()));
    assert_eq!(with_one_more(&two, 3, 2), None);
    assert_eq!(with_one_more(&other, 3, 1), Some(vec![(3, 1), (4, 1)]));
}
