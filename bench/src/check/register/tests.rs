use super::super::claims;
use super::super::simulated::{Bug, Simulation};
use super::*;
use crate::history::dice::Dice;

const V: [ClaimedValue; 4] = [ClaimedValue(0), ClaimedValue(1), ClaimedValue(2), ClaimedValue(3)];

/// A claim of an operation that is named by its place in the list.
fn claim(operation: usize, (begin, end): (u64, Option<u64>), says: ClaimEffect) -> Claim {
    Claim { operation, begin, end, says }
}

fn put(value: ClaimedValue) -> ClaimEffect {
    ClaimEffect::Is { only_over: None, content: Some(value) }
}

fn delete() -> ClaimEffect {
    ClaimEffect::Is { only_over: None, content: None }
}

fn put_if_absent(value: ClaimedValue) -> ClaimEffect {
    ClaimEffect::Is { only_over: Some(None), content: Some(value) }
}

fn put_over(before: ClaimedValue, value: ClaimedValue) -> ClaimEffect {
    ClaimEffect::Is { only_over: Some(Some(before)), content: Some(value) }
}

fn get(value: ClaimedValue) -> ClaimEffect {
    ClaimEffect::Was(Some(value))
}

const NOTHING: ClaimEffect = ClaimEffect::Was(None);
/// The end of an operation without an answer.
const LOST: Option<u64> = None;

/// Judges claims, given as begin, end and effect.
fn judged(claims: &[(u64, Option<u64>, ClaimEffect)]) -> Judgement {
    let claims = claims.iter().enumerate();
    let claims = claims.map(|(index, (begin, end, says))| claim(index, (*begin, *end), *says));
    judge(&claims.collect::<Vec<_>>())
}

fn is_good(claims: &[(u64, Option<u64>, ClaimEffect)]) {
    assert_eq!(judged(claims), Judgement::Linearizable, "{claims:?}");
}

/// Asserts that the claims contradict each other, and that exactly the operations at these places are needed.
fn is_bad(claims: &[(u64, Option<u64>, ClaimEffect)], needed: &[usize]) {
    assert_eq!(judged(claims), Judgement::Contradiction(needed.to_vec()), "{claims:?}");
}

#[test]
fn what_happens_in_turn_is_in_order() {
    is_good(&[
        (0, Some(1), NOTHING),
        (2, Some(3), put(V[0])),
        (4, Some(5), get(V[0])),
        (6, Some(7), ClaimEffect::WasSome),
        (8, Some(9), put_over(V[0], V[1])),
        (10, Some(11), ClaimEffect::WasNot(V[0])),
        (12, Some(13), get(V[1])),
        (14, Some(15), delete()),
        (16, Some(17), NOTHING),
        (18, Some(19), put_if_absent(V[2])),
        (20, Some(21), get(V[2])),
    ]);
}

#[test]
fn a_stale_read_is_found() {
    is_bad(
        &[
            (0, Some(1), put(V[0])),
            (2, Some(3), put(V[1])),
            (4, Some(5), get(V[1])),
            (6, Some(7), get(V[0])),
        ],
        &[0, 1, 3],
    );
}

#[test]
fn readers_of_overlapping_writes_must_agree() {
    let writes = [(0, Some(9), put(V[0])), (0, Some(9), put(V[1]))];
    let then = |reads: &[(u64, Option<u64>, ClaimEffect)]| [&writes[..], reads].concat();
    is_good(&then(&[(10, Some(11), get(V[1])), (12, Some(13), get(V[1]))]));
    is_good(&then(&[(2, Some(3), get(V[1])), (4, Some(5), get(V[0]))]));
    is_bad(&then(&[(10, Some(11), get(V[1])), (12, Some(13), get(V[0]))]), &[0, 1, 2, 3]);
}

#[test]
fn a_lost_write_is_found() {
    is_bad(&[(0, Some(1), put(V[0])), (2, Some(3), NOTHING)], &[0, 1]);
    is_bad(
        &[(0, Some(1), put(V[0])), (2, Some(3), put_over(V[0], V[1])), (4, Some(5), get(V[0]))],
        &[0, 1, 2],
    );
}

#[test]
fn two_writes_cannot_both_have_found_nothing() {
    is_bad(&[(0, Some(5), put_if_absent(V[0])), (0, Some(5), put_if_absent(V[1]))], &[0, 1]);
    is_good(&[
        (0, Some(5), put_if_absent(V[0])),
        (0, Some(5), put_if_absent(V[1])),
        (0, Some(5), delete()),
    ]);
}

#[test]
fn two_writes_cannot_both_have_replaced_one_value() {
    is_bad(
        &[
            (0, Some(1), put(V[0])),
            (2, Some(5), put_over(V[0], V[1])),
            (2, Some(5), put_over(V[0], V[2])),
        ],
        &[0, 1, 2],
    );
}

#[test]
fn a_value_from_nowhere_or_from_the_future_is_found() {
    is_bad(&[(0, Some(1), put(V[0])), (2, Some(3), get(V[1]))], &[1]);
    is_bad(&[(0, Some(1), get(V[0])), (2, Some(3), put(V[0]))], &[0, 1]);
}

#[test]
fn what_was_deleted_does_not_come_back() {
    is_bad(
        &[
            (0, Some(1), put(V[0])),
            (2, Some(3), delete()),
            (4, Some(5), NOTHING),
            (6, Some(7), get(V[0])),
        ],
        &[0, 1, 3],
    );
}

#[test]
fn an_unknown_write_may_show_up_late_or_never() {
    is_good(&[(0, LOST, put(V[0])), (2, Some(3), NOTHING), (90, Some(91), get(V[0]))]);
    is_good(&[(0, LOST, put(V[0])), (2, Some(3), NOTHING), (90, Some(91), NOTHING)]);
    // After it has taken effect once, the effect stays.
    is_bad(&[(0, LOST, put(V[0])), (2, Some(3), get(V[0])), (4, Some(5), NOTHING)], &[0, 1, 2]);
    // A write takes effect only once.
    is_bad(
        &[
            (0, LOST, put(V[0])),
            (2, Some(3), get(V[0])),
            (4, Some(5), put(V[1])),
            (6, Some(7), get(V[0])),
        ],
        &[0, 1, 2, 3],
    );
}

#[test]
fn an_unknown_delete_explains_that_nothing_is_there_once() {
    let put_and_deleted = [(0, Some(1), put(V[0])), (2, LOST, delete()), (4, Some(5), NOTHING)];
    is_good(&put_and_deleted);
    let again = [(6, Some(7), put(V[1])), (8, Some(9), NOTHING)];
    is_bad(&[&put_and_deleted[..], &again].concat(), &[0, 2, 3, 4]);
    is_good(&[&put_and_deleted[..], &again, &[(2, LOST, delete())]].concat());
}

#[test]
fn an_unknown_write_that_nobody_saw_explains_conditions_that_failed() {
    // Nothing was written, and yet the condition failed.
    is_bad(&[(0, Some(1), ClaimEffect::WasSome)], &[0]);
    is_good(&[(0, LOST, put(V[0])), (0, Some(1), ClaimEffect::WasSome), (2, Some(3), delete())]);
    is_good(&[(0, LOST, put_if_absent(V[0])), (0, Some(1), ClaimEffect::WasSome)]);
    // The value was there, and yet the condition did not match it.
    let (before, failed) = ((0, Some(1), put(V[0])), (2, Some(3), ClaimEffect::WasNot(V[0])));
    is_bad(&[before, failed], &[0, 1]);
    is_good(&[before, (0, LOST, put(V[1])), failed]);
    is_good(&[before, (0, LOST, put_over(V[0], V[1])), failed]);
    is_bad(&[before, (0, LOST, put_over(V[2], V[1])), failed], &[0, 2]);
    // In that case the value before it is gone.
    is_bad(&[before, (0, LOST, put(V[1])), failed, (4, Some(5), get(V[0]))], &[0, 2, 3]);
}

#[test]
fn an_unknown_write_counts_as_done_once_a_listing_has_shown_it() {
    let (write, listed) = ((0, LOST, put(V[0])), (4, Some(5), ClaimEffect::WasListed(V[0])));
    is_good(&[write, (2, Some(3), NOTHING), listed, (6, Some(7), get(V[0]))]);
    is_bad(&[write, listed, (6, Some(7), NOTHING)], &[1, 2]);
}

#[test]
fn what_was_written_over_a_value_proves_that_it_was_there() {
    is_good(&[
        (0, LOST, put(V[0])),
        (2, LOST, put_over(V[0], V[1])),
        (4, Some(5), get(V[1])),
        (6, Some(7), delete()),
    ]);
    is_bad(
        &[
            (0, LOST, put(V[0])),
            (2, LOST, put_over(V[0], V[1])),
            (4, Some(5), get(V[1])),
            (6, Some(7), get(V[0])),
        ],
        &[0, 1, 2, 3],
    );
}

/// Tries every order without any pruning: the reference for the search.
fn has_order(claims: &[Claim], content: claims::KeyContent, past: &mut Vec<usize>) -> bool {
    let left = || (0..claims.len()).filter(|index| !past.contains(index));
    if left().all(|index| claims[index].end.is_none()) {
        return true;
    }
    let first_end = left().filter_map(|index| claims[index].end).min().unwrap_or(u64::MAX);
    for index in left().filter(|index| claims[*index].begin <= first_end).collect::<Vec<_>>() {
        let has_written =
            |value| past.iter().any(|before| claims[*before].written() == Some(value));
        let then = match claims[index].says {
            ClaimEffect::Was(was) => (was == content).then_some(content),
            ClaimEffect::WasSome => content.is_some().then_some(content),
            ClaimEffect::WasNot(value) => (content != Some(value)).then_some(content),
            // A value that was listed before it was sent is reported by the model of listings.
            ClaimEffect::WasListed(value) => {
                let is_sent = |claim: &Claim| {
                    claim.written() == Some(value) && claims[index].end >= Some(claim.begin)
                };
                (has_written(value) || !claims.iter().any(is_sent)).then_some(content)
            }
            ClaimEffect::Is { only_over, content: is } => {
                only_over.is_none_or(|before| before == content).then_some(is)
            }
        };
        let Some(then) = then else { continue };
        past.push(index);
        let found = has_order(claims, then, past);
        past.pop();
        if found {
            return true;
        }
    }
    false
}

/// A few claims at random moments; each value is written at most once.
fn random_claims(dice: &mut Dice) -> Vec<Claim> {
    let mut unwritten = V.to_vec();
    let mut claims: Vec<Claim> = Vec::new();
    for operation in 0..dice.within(2..8) as usize {
        let any = |dice: &mut Dice| *dice.one_of(&V);
        let roll = dice.below(12);
        let value = if (4..8).contains(&roll) { unwritten.pop() } else { None };
        let says = match (roll, value) {
            (0..2, _) => get(any(dice)),
            (2, _) => NOTHING,
            (3, _) => ClaimEffect::WasSome,
            (4..6, Some(value)) => put(value),
            (6, Some(value)) => put_if_absent(value),
            (7, Some(value)) => put_over(any(dice), value),
            (8, _) => ClaimEffect::WasNot(any(dice)),
            (9, _) => ClaimEffect::WasListed(any(dice)),
            _ => delete(),
        };
        let begin = dice.below(12);
        let is_write = matches!(says, ClaimEffect::Is { .. });
        let end = (!is_write || dice.chance(60)).then(|| begin + dice.below(8));
        claims.push(claim(operation, (begin, end), says));
    }
    claims.sort_by_key(|claim| claim.begin);
    claims
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut dice = Dice::new(11);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..30_000 {
        let claims = random_claims(&mut dice);
        let found = search(&steps(&claims), CONFIGURATIONS_MAX);
        if has_order(&claims, None, &mut Vec::new()) {
            good += 1;
            assert_eq!(found, SearchResult::Order, "{claims:#?}");
        } else {
            bad += 1;
            assert_eq!(found, SearchResult::Contradiction, "{claims:#?}");
        }
    }
    assert!(good > 5_000 && bad > 5_000, "{good} {bad}");
}

#[test]
fn what_is_left_of_a_contradiction_is_one_and_nothing_can_be_left_out() {
    let mut dice = Dice::new(12);
    let mut contradictions = 0;
    for _ in 0..3_000 {
        let claims = random_claims(&mut dice);
        if has_order(&claims, None, &mut Vec::new()) {
            continue;
        }
        contradictions += 1;
        let smaller = Smaller { attempts: ATTEMPTS_MAX }.of(&claims);
        assert!(!has_order(&smaller, None, &mut Vec::new()), "{smaller:#?}");
        for (index, claim) in smaller.iter().enumerate() {
            if claim.end.is_some() {
                let without = forget(&smaller, index..index + 1, claim.is_write());
                assert!(has_order(&without, None, &mut Vec::new()), "{index} of {smaller:#?}");
            }
        }
    }
    assert!(contradictions > 500, "{contradictions}");
}

fn is_linearizable(simulation: Simulation) -> bool {
    let keys = claims::of(&simulation.run());
    let found = keys.iter().map(|key| search(&steps(&key.claims), CONFIGURATIONS_MAX));
    found.fold(true, |is_good, found| {
        assert_ne!(found, SearchResult::Nothing, "{simulation:?}");
        is_good && found == SearchResult::Order
    })
}

const SIMULATION: Simulation = Simulation {
    seed: 0,
    operations: 400,
    clients: 6,
    keys: 3,
    unknown_percent: 3,
    bug: Bug::None,
};

#[test]
fn histories_of_a_good_store_pass() {
    for seed in 0..60 {
        let unknown_percent = seed % 4 * 10;
        let clients = 2 + seed as u32 % 9;
        let simulation = Simulation { seed, clients, unknown_percent, ..SIMULATION };
        assert!(is_linearizable(simulation), "{simulation:?}");
    }
}

#[test]
fn histories_of_a_bad_store_are_caught() {
    // Forty histories of each kind, with a thousand operations and a few faults each. Not all faults show: a
    // lost write may have been overwritten before any read.
    let mut all = Vec::new();
    for (bug, caught_min) in [
        (Bug::LosesWrite, 36),
        (Bug::LosesDelete, 24),
        (Bug::ReadsStale, 38),
        (Bug::JudgesStale, 30),
        (Bug::RepeatsWrite, 38),
        (Bug::RefusesAndWrites, 36),
    ] {
        let simulations =
            (0..40).map(|seed| Simulation { seed, bug, operations: 1000, ..SIMULATION });
        let caught = simulations.filter(|simulation| !is_linearizable(*simulation)).count();
        all.push((bug, caught, caught >= caught_min));
    }
    assert!(all.iter().all(|(_, _, is_enough)| *is_enough), "{all:?}");
}

#[test]
fn many_operations_under_way_are_undecided_at_worst() {
    let reads = (0..200).map(|_| (0, Some(1000), NOTHING));
    let claims: Vec<_> = reads.chain([(2000, Some(2001), get(V[0]))]).collect();
    assert_eq!(judged(&claims), Judgement::Undecided);
}
