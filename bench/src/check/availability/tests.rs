use super::super::recording::RecordedOperation;
use super::*;
use crate::history::line::{Complete, FORMAT, HistorySetup, Invoke, OperationEnding};

const SECOND: u64 = 1_000_000_000;
/// The wall clock at the beginning of the history, in seconds since 1970.
const ZERO: f64 = 1_000.0;

fn operation(
    at_ms: u64,
    endpoint: u32,
    outcome: OperationOutcome,
    is_read: bool,
) -> RecordedOperation {
    let key = "k".to_owned();
    let action = if is_read { Action::Get { key } } else { Action::Delete { key } };
    let ns = at_ms * 1_000_000;
    let bucket = "b".to_owned();
    let invoke = Invoke { op: 0, client: 0, endpoint, bucket, action, ns, unix_ms: 0 };
    let result = OperationEnding { outcome, status: None, code: None, seen: None, wrong: None };
    RecordedOperation { invoke, complete: Some(Complete { op: 0, result, ns, unix_ms: 0 }) }
}

/// A write and a read on each of two endpoints ten times a second, for ten seconds. Writes through the second
/// endpoint fail from `from` to `to`.
fn recording(from: u64, to: u64) -> Recording {
    let setup = HistorySetup {
        format: FORMAT,
        tag: String::new(),
        seed: 0,
        clients: 1,
        endpoints: vec!["one".into(), "two".into()],
        buckets: Vec::new(),
        unix_ms: (ZERO * 1e3) as u64,
    };
    let mut operations = Vec::new();
    for at in (0..=10_000).step_by(100) {
        for endpoint in 0..2 {
            operations.push(operation(at, endpoint, OperationOutcome::Ok, true));
            let has_failed = endpoint == 1 && (from..to).contains(&at);
            let outcome = if has_failed { OperationOutcome::Unknown } else { OperationOutcome::Ok };
            operations.push(operation(at, endpoint, outcome, false));
        }
    }
    Recording { setup, operations }
}

fn close(one: f64, other: f64) -> bool {
    (one - other).abs() < 1e-6
}

#[test]
fn an_endpoint_that_fails_has_a_gap_and_the_store_has_none() {
    let fault = RecordedFault { fault: "f".into(), begin: ZERO + 2.0, end: Some(ZERO + 4.0) };
    let found = &of(&recording(2_500, 6_000), &[fault])[0];
    assert_eq!((found.reads.ok, found.reads.unknown), (42, 0));
    assert_eq!((found.writes.ok, found.writes.unknown), (26, 16));
    assert!(close(found.all.longest_write_gap, 0.1));
    assert_eq!(found.all.writes_back_after, Some(0.0));
    assert!(close(found.all.next_write_after.unwrap(), 0.1));
    assert_eq!(found.endpoints[0], found.all);
    // The gap counts in full, though it ends after the fault.
    assert!(close(found.endpoints[1].longest_write_gap, 3.6));
    assert!(close(found.endpoints[1].writes_back_after.unwrap(), 4.0));
    assert!(close(found.endpoints[1].longest_read_gap, 0.1));
    // Some writes succeeded before the fault had its effect.
    assert!(close(found.endpoints[1].next_write_after.unwrap(), 0.1));
    let later = RecordedFault { fault: "g".into(), begin: ZERO + 2.45, end: Some(ZERO + 4.0) };
    let found = &of(&recording(2_500, 6_000), &[later])[0];
    assert!(close(found.endpoints[1].next_write_after.unwrap(), 3.55));
}

#[test]
fn what_does_not_come_back_is_told() {
    let fault = RecordedFault { fault: "f".into(), begin: ZERO + 2.0, end: None };
    let found = &of(&recording(2_500, u64::MAX), std::slice::from_ref(&fault))[0];
    assert!(close(found.end, 10.0));
    assert_eq!(found.endpoints[1].writes_back_after, None);
    let later = RecordedFault { begin: ZERO + 3.0, ..fault };
    assert_eq!(of(&recording(2_500, u64::MAX), &[later])[0].endpoints[1].next_write_after, None);
    assert!(close(found.endpoints[1].longest_write_gap, 7.6));
}

#[test]
fn what_lies_outside_a_fault_does_not_count() {
    let fault = RecordedFault { fault: "f".into(), begin: ZERO + 7.0, end: Some(ZERO + 8.0) };
    let found = &of(&recording(2_500, 6_000), &[fault])[0];
    assert!(close(found.endpoints[1].longest_write_gap, 0.1));
    assert_eq!(seconds(SECOND), 1.0);
}

#[test]
fn a_fault_is_read() {
    let fault: RecordedFault =
        serde_json::from_str(r#"{"fault":"kill 2","begin":1.5,"end":null}"#).unwrap();
    assert_eq!(fault, RecordedFault { fault: "kill 2".into(), begin: 1.5, end: None });
}
