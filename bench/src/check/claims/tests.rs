use super::*;
use crate::history::line::{Complete, FORMAT, HistorySetup, Invoke, OperationEnding, WrittenValue};

/// Operations on key `k`, one after the other: each an action, its outcome and the content it saw.
fn claims(
    operations: Vec<(Action, OperationOutcome, Option<u16>, Option<SeenContent>)>,
) -> Vec<Claim> {
    let setup = HistorySetup {
        format: FORMAT,
        tag: String::new(),
        seed: 0,
        clients: 1,
        endpoints: Vec::new(),
        buckets: Vec::new(),
        unix_ms: 0,
    };
    let operation = |(index, (action, outcome, status, seen))| {
        let (op, ns) = (index as u64, 10 * index as u64);
        let bucket = "b".to_owned();
        let invoke = Invoke { op, client: 0, endpoint: 0, bucket, action, ns, unix_ms: 0 };
        let result = OperationEnding { outcome, status, code: None, seen, wrong: None };
        let complete = Some(Complete { op, result, ns: ns + 5, unix_ms: 0 });
        RecordedOperation { invoke, complete }
    };
    let operations = operations.into_iter().enumerate().map(operation).collect();
    let mut keys = of(&Recording { setup, operations });
    assert_eq!(keys.len(), 1);
    keys.remove(0).claims
}

fn key() -> String {
    "k".into()
}

fn written(value: &str) -> WrittenValue {
    WrittenValue { value: value.into(), etag: format!("e{value}"), bytes: 1 }
}

fn put(value: &str) -> Action {
    Action::Put { key: key(), written: written(value) }
}

fn put_over(etag: &str, value: &str) -> Action {
    Action::PutIfMatch { key: key(), written: written(value), if_match: etag.into() }
}

fn put_if_absent(value: &str) -> Action {
    Action::PutIfAbsent { key: key(), written: written(value) }
}

fn get() -> Action {
    Action::Get { key: key() }
}

fn object(value: Option<&str>, etag: &str) -> Option<SeenContent> {
    Some(SeenContent::Object { value: value.map(str::to_owned), etag: etag.into(), bytes: None })
}

/// Returns the claim of the last of some operations.
fn last(
    operations: Vec<(Action, OperationOutcome, Option<u16>, Option<SeenContent>)>,
) -> Option<ClaimEffect> {
    let index = operations.len() - 1;
    let claims = claims(operations);
    claims.iter().find(|claim| claim.operation == index).map(|claim| claim.says)
}

fn after_put(
    action: Action,
    outcome: OperationOutcome,
    status: u16,
    seen: Option<SeenContent>,
) -> Option<ClaimEffect> {
    last(vec![
        (put("1"), OperationOutcome::Ok, Some(200), None),
        (action, outcome, Some(status), seen),
    ])
}

#[test]
fn a_refused_write_tells_that_its_condition_did_not_hold() {
    let refused = |action, status| after_put(action, OperationOutcome::Fail, status, None);
    assert_eq!(refused(put_if_absent("2"), 412), Some(ClaimEffect::WasSome));
    assert_eq!(refused(put_over("e1", "2"), 412), Some(ClaimEffect::WasNot(ClaimedValue(0))));
    let gone =
        after_put(put_over("e1", "2"), OperationOutcome::Fail, 404, Some(SeenContent::Absent));
    assert_eq!(gone, Some(ClaimEffect::Was(None)));
}

#[test]
fn what_was_refused_for_another_reason_claims_nothing() {
    for action in [put("2"), put_if_absent("2"), put_over("e1", "2")] {
        for status in [400, 403, 409] {
            assert_eq!(after_put(action.clone(), OperationOutcome::Fail, status, None), None);
        }
    }
}

#[test]
fn a_read_is_believed_by_its_body_and_a_head_by_its_etag() {
    let seen = |action, seen| after_put(action, OperationOutcome::Ok, 200, seen);
    let was = Some(ClaimEffect::Was(Some(ClaimedValue(0))));
    assert_eq!(seen(get(), object(Some("1"), "e1")), was);
    assert_eq!(seen(Action::Head { key: key() }, object(None, "e1")), was);
    // A body that is no value, and a value that was never written here.
    assert_eq!(seen(get(), object(None, "e1")), None);
    assert_eq!(seen(get(), object(Some("9"), "e9")), None);
    assert_eq!(after_put(get(), OperationOutcome::Unknown, 503, None), None);
}

#[test]
fn an_unknown_write_has_no_end_and_an_upload_is_no_write() {
    let unknown = claims(vec![(put("1"), OperationOutcome::Unknown, Some(503), None)]);
    assert_eq!((unknown[0].end, unknown[0].is_write()), (None, true));
    let upload = Action::Upload { key: key(), written: written("1") };
    assert_eq!(last(vec![(upload, OperationOutcome::Ok, Some(200), None)]), None);
    let complete = Action::Complete { key: key(), written: written("1") };
    let done = Some(ClaimEffect::Is { only_over: None, content: Some(ClaimedValue(0)) });
    assert_eq!(last(vec![(complete, OperationOutcome::Ok, Some(200), None)]), done);
}

#[test]
fn a_write_is_settled_by_whoever_has_seen_it_first() {
    let unknown = |action| (action, OperationOutcome::Unknown, None, None);
    let settled_by = |operations| -> Vec<Option<usize>> {
        settled(&claims(operations)).iter().map(|moment| moment.map(|moment| moment.from)).collect()
    };
    let read = |value: &str| (get(), OperationOutcome::Ok, Some(200), object(Some(value), "e"));
    assert_eq!(settled_by(vec![unknown(put("1")), unknown(put("2"))]), [None, None]);
    assert_eq!(
        settled_by(vec![unknown(put("1")), read("1"), read("1")]),
        [Some(1), Some(1), Some(2)]
    );
    // An operation that has seen the new value proves that the value before it was there.
    assert_eq!(
        settled_by(vec![unknown(put("1")), unknown(put_over("e1", "2")), read("2")]),
        [Some(2), Some(2), Some(2)]
    );
    let page =
        Some(SeenContent::Page { entries: vec![(key(), "e1".into(), 1)], is_truncated: false });
    let list = Action::List { prefix: String::new(), after: String::new(), max_keys: 9 };
    assert_eq!(
        settled_by(vec![unknown(put("1")), (list, OperationOutcome::Ok, Some(200), page)]),
        [Some(1), Some(1)]
    );
}
