use super::super::simulated::{Bug, Simulation};
use super::*;

const SIMULATION: Simulation = Simulation {
    seed: 5,
    operations: 500,
    clients: 4,
    keys: 3,
    unknown_percent: 5,
    bug: Bug::None,
};

/// Returns the index of the first operation that `is_it` selects, was done and shows something.
fn find(recording: &Recording, is_it: impl Fn(&Action, &SeenContent) -> bool) -> usize {
    let is_found = |operation: &RecordedOperation| {
        let seen = operation.ending().and_then(|ending| ending.seen.as_ref());
        seen.is_some_and(|seen| is_it(&operation.invoke.action, seen))
    };
    recording.operations.iter().position(is_found).unwrap()
}

fn seen(recording: &mut Recording, index: usize) -> &mut SeenContent {
    let complete = recording.operations[index].complete.as_mut().unwrap();
    complete.result.seen.as_mut().unwrap()
}

/// Changes one answer of a correct history, then returns the violations that are found.
fn faults_after(
    is_it: impl Fn(&Action, &SeenContent) -> bool,
    change: impl Fn(&mut SeenContent),
) -> Vec<String> {
    let mut recording = SIMULATION.run();
    assert_eq!(check(&recording), []);
    let index = find(&recording, is_it);
    change(seen(&mut recording, index));
    let violations = check(&recording);
    assert!(violations.iter().all(|violation| violation.operations.contains(&index)));
    violations.into_iter().map(|violation| violation.what).collect()
}

fn is_object_of(action: &Action, seen: &SeenContent, is_get: bool) -> bool {
    matches!(action, Action::Get { .. }) == is_get && matches!(seen, SeenContent::Object { .. })
}

fn one(faults: Vec<String>, says: &str) {
    assert!(matches!(&faults[..], [fault] if fault.contains(says)), "{faults:?}");
}

#[test]
fn a_value_that_was_never_written_is_found() {
    let change = |seen: &mut SeenContent| {
        if let SeenContent::Object { value, .. } = seen {
            *value = Some("t-9.999".into());
        }
    };
    one(faults_after(|action, seen| is_object_of(action, seen, true), change), "never written");
    let change = |seen: &mut SeenContent| {
        if let SeenContent::Object { etag, .. } = seen {
            *etag = "et-9.999".into();
        }
    };
    one(faults_after(|action, seen| is_object_of(action, seen, false), change), "never written");
}

#[test]
fn an_etag_or_a_length_that_is_not_the_values_is_found() {
    let other_etag = |seen: &mut SeenContent| {
        if let SeenContent::Object { etag, .. } = seen {
            etag.push('x');
        }
    };
    one(faults_after(|action, seen| is_object_of(action, seen, true), other_etag), "with ETag");
    let longer = |seen: &mut SeenContent| {
        if let SeenContent::Object { bytes, .. } = seen {
            *bytes = Some(11);
        }
    };
    for is_get in [false, true] {
        let faults = faults_after(|action, seen| is_object_of(action, seen, is_get), longer);
        one(faults, "another length");
    }
}

#[test]
fn a_value_under_another_key_is_found() {
    let mut recording = SIMULATION.run();
    let index = find(&recording, |action, seen| is_object_of(action, seen, true));
    if let Action::Get { key } = &mut recording.operations[index].invoke.action {
        key.push('x');
    }
    let faults = check(&recording).into_iter().map(|violation| violation.what).collect();
    one(faults, "which was written to b k");
}

#[test]
fn a_value_whose_write_was_refused_is_found_wherever_it_shows() {
    let mut recording = SIMULATION.run();
    let index = find(&recording, |action, seen| is_object_of(action, seen, true));
    let SeenContent::Object { value: Some(id), .. } = seen(&mut recording, index).clone() else {
        panic!("a GET tells the value");
    };
    let is_writer = |operation: &&mut RecordedOperation| {
        operation.invoke.action.written().is_some_and(|written| written.value == id)
    };
    let writer = recording.operations.iter_mut().find(is_writer).unwrap();
    writer.complete.as_mut().unwrap().result.outcome = OperationOutcome::Fail;
    let shown = recording.operations.iter().filter(|operation| {
        let seen = operation.ending().and_then(|ending| ending.seen.as_ref());
        match seen {
            Some(SeenContent::Object { etag, .. }) => etag[1..] == id,
            Some(SeenContent::Page { entries, .. }) => {
                entries.iter().any(|(_, etag, _)| etag[1..] == id)
            }
            _ => false,
        }
    });
    let shown = shown.count();
    let violations = check(&recording);
    assert_eq!(violations.len(), shown);
    assert!(violations.iter().all(|violation| violation.what.contains("was refused")));
}

#[test]
fn a_page_out_of_order_is_found() {
    let is_page = |_: &Action, seen: &SeenContent| matches!(seen, SeenContent::Page { entries, .. } if entries.len() > 1);
    let swap = |seen: &mut SeenContent| {
        if let SeenContent::Page { entries, .. } = seen {
            entries.swap(0, 1);
        }
    };
    one(faults_after(is_page, swap), "after");
    let double = |seen: &mut SeenContent| {
        if let SeenContent::Page { entries, .. } = seen {
            entries.insert(0, entries[0].clone());
        }
    };
    one(faults_after(is_page, double), "after");
    let empty = |seen: &mut SeenContent| {
        *seen = SeenContent::Page { entries: Vec::new(), is_truncated: true }
    };
    one(faults_after(is_page, empty), "empty page");
}

#[test]
fn what_was_wrong_when_it_was_answered_is_told() {
    let mut recording = SIMULATION.run();
    let complete = recording.operations[7].complete.as_mut().unwrap();
    complete.result.wrong = Some("a torn body".into());
    let violations = check(&recording);
    assert_eq!(violations[0].what, "a torn body");
    assert_eq!(violations[0].operations, [7]);
}

#[test]
fn a_write_with_another_etag_is_found() {
    let mut recording = SIMULATION.run();
    let is_write = |operation: &RecordedOperation| {
        operation.invoke.action.written().is_some() && operation.outcome() == OperationOutcome::Ok
    };
    let index = recording.operations.iter().position(is_write).unwrap();
    let complete = recording.operations[index].complete.as_mut().unwrap();
    complete.result.seen = Some(SeenContent::Object { value: None, etag: "x".into(), bytes: None });
    let faults = check(&recording).into_iter().map(|violation| violation.what).collect();
    one(faults, "was answered with ETag x");
}
