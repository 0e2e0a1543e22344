use super::super::simulated::{Bug, Simulation};
use super::*;

fn recording() -> Recording {
    let (operations, unknown_percent) = (200, 30);
    Simulation { seed: 1, operations, clients: 3, keys: 2, unknown_percent, bug: Bug::None }.run()
}

fn violation(operations: Vec<usize>) -> Violation {
    let place = ("b".into(), "k".into());
    Violation { promise: BrokenPromise::Order, place, what: "w".into(), operations }
}

#[test]
fn a_timeline_has_each_operation_once_in_the_order_of_time() {
    let recording = recording();
    let lines = violation(vec![9, 3, 9]).timeline(&recording);
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("op 3 ") && lines[1].contains("op 9 "), "{lines:#?}");
    assert!(violation(vec![3]).text(&recording).starts_with("b k: w\n"));
}

#[test]
fn a_bar_shows_when_an_operation_was_under_way() {
    let recording = recording();
    let operations = &recording.operations;
    let is_done = |index: &usize| operations[*index].outcome() == OperationOutcome::Ok;
    let done = (0..operations.len()).find(is_done).unwrap();
    let (begin, end) = (operations[done].begin(), operations[done].end().unwrap());
    let middle = bar(&operations[done], begin - (end - begin).min(begin), end + (end - begin));
    assert!(middle.contains('=') && middle.ends_with(' '), "{middle:?}");
    // An unknown write extends to the end of the time-line.
    let open = (0..operations.len()).find(|index| !is_done(index)).unwrap();
    let begin = operations[open].begin();
    assert_eq!(bar(&operations[open], begin, begin + 10), "=".repeat(BAR - 1) + ">");
}

#[test]
fn long_stories_are_told_from_their_end() {
    let recording = recording();
    let lines = violation((0..100).collect()).timeline(&recording);
    assert_eq!(lines.len(), OPERATIONS_MAX + 1);
    assert!(lines[0].contains("76 earlier"), "{}", lines[0]);
    assert!(lines[OPERATIONS_MAX].contains("op 99 "), "{}", lines[OPERATIONS_MAX]);
}
