//! Checks each answer by itself, independent of all other answers.
//!
//! Found are: bodies that are not a value; values that were never written to that place, or whose write was
//! refused; ETags and lengths that are not those of the value; pages that are out of order, too long, or
//! empty although more follows.

use std::collections::HashMap;

use super::recording::{RecordedOperation, Recording};
use super::violation::{BrokenPromise, Violation};
use crate::history::line::{Action, OperationOutcome, SeenContent, WrittenValue};

/// A value, with the place to which it was written.
struct KnownValue<'a> {
    bucket: &'a str,
    key: &'a str,
    written: &'a WrittenValue,
    /// The operation that wrote the value, by its index in the recording.
    operation: usize,
    /// True if the write was refused.
    is_refused: bool,
}

/// All values that a history writes, by id and by ETag.
struct HistoryValues<'a> {
    by_id: HashMap<&'a str, KnownValue<'a>>,
    ids: HashMap<&'a str, &'a str>,
}

impl<'a> HistoryValues<'a> {
    fn of(recording: &'a Recording) -> Self {
        let mut values = Self { by_id: HashMap::new(), ids: HashMap::new() };
        for (operation, recorded) in recording.operations.iter().enumerate() {
            let action = &recorded.invoke.action;
            let (Some(key), Some(written)) = (action.key(), action.written()) else { continue };
            let bucket = &recorded.invoke.bucket;
            let is_refused = recorded.outcome() == OperationOutcome::Fail;
            let known = KnownValue { bucket, key, written, operation, is_refused };
            values.by_id.insert(&written.value, known);
            values.ids.insert(&written.etag, &written.value);
        }
        values
    }

    fn with_etag(&self, etag: &str) -> Option<&KnownValue<'a>> {
        self.by_id.get(self.ids.get(etag)?)
    }
}

/// Returns one violation for each answer that is wrong by itself, in the order in which the operations began.
///
/// An answer can be wrong in several ways: then each is a violation of its own. Operations without an answer
/// have none.
pub fn check(recording: &Recording) -> Vec<Violation> {
    let values = HistoryValues::of(recording);
    let mut violations = Vec::new();
    for (index, operation) in recording.operations.iter().enumerate() {
        for (key, what, writer) in faults(&values, operation) {
            violations.push(Violation {
                promise: BrokenPromise::Answer,
                place: (operation.invoke.bucket.clone(), key),
                what,
                operations: writer.into_iter().chain([index]).collect(),
            });
        }
    }
    violations
}

/// The key concerned, a description of the fault, and the operation that wrote the value shown, if known.
type AnswerFault = (String, String, Option<usize>);

fn faults(values: &HistoryValues<'_>, operation: &RecordedOperation) -> Vec<AnswerFault> {
    let Some(ending) = operation.ending() else { return Vec::new() };
    let action = &operation.invoke.action;
    let place = match action {
        Action::List { prefix, .. } => prefix.clone(),
        _ => action.key().unwrap_or_default().to_owned(),
    };
    let mut faults: Vec<AnswerFault> = Vec::new();
    faults.extend(ending.wrong.iter().map(|wrong| (place.clone(), wrong.clone(), None)));
    match (action, &ending.seen) {
        (
            Action::Get { key } | Action::Head { key },
            Some(SeenContent::Object { value, etag, bytes }),
        ) if ending.wrong.is_none() => {
            let known = match value {
                Some(id) => values.by_id.get(id.as_str()),
                None => values.with_etag(etag),
            };
            let seen = ShownObject { bucket: &operation.invoke.bucket, key, etag, bytes: *bytes };
            faults.extend(seen.fault(known));
        }
        (_, Some(SeenContent::Object { etag, .. })) if ending.outcome == OperationOutcome::Ok => {
            let written = action.written().filter(|written| written.etag != *etag);
            faults.extend(written.map(|written| {
                let what = format!("a write was answered with ETag {etag}, not {}", written.etag);
                (place.clone(), what, None)
            }));
        }
        (
            Action::List { prefix, after, max_keys },
            Some(SeenContent::Page { entries, is_truncated }),
        ) => {
            let mut last = after.as_str();
            for (key, etag, bytes) in entries {
                if !key.starts_with(prefix) || key.as_str() <= last {
                    let what = format!("listed under {prefix:?} after {last:?}");
                    faults.push((key.clone(), what, None));
                }
                last = key;
                let bucket = &operation.invoke.bucket;
                let seen = ShownObject { bucket, key, etag, bytes: Some(*bytes) };
                faults.extend(seen.fault(values.with_etag(etag)));
            }
            if entries.len() > *max_keys as usize {
                faults.push((place, format!("a page of {} keys", entries.len()), None));
            } else if entries.is_empty() && *is_truncated {
                faults.push((place, "an empty page that is not the last".into(), None));
            }
        }
        _ => {}
    }
    faults
}

/// An object as an answer shows it.
struct ShownObject<'a> {
    bucket: &'a str,
    key: &'a str,
    etag: &'a str,
    bytes: Option<u64>,
}

impl ShownObject<'_> {
    fn fault(&self, known: Option<&KnownValue<'_>>) -> Option<AnswerFault> {
        let fault = |what, writer| Some((self.key.to_owned(), what, writer));
        let Some(KnownValue { bucket, key, written, operation, is_refused }) = known else {
            return fault(format!("shows ETag {}, which was never written", self.etag), None);
        };
        let id = &written.value;
        let what = if (*bucket, *key) != (self.bucket, self.key) {
            format!("shows {id}, which was written to {bucket} {key}")
        } else if *is_refused {
            format!("shows {id}, whose write was refused")
        } else if self.etag != written.etag {
            format!("shows {id} with ETag {}, not {}", self.etag, written.etag)
        } else if self.bytes.is_some_and(|bytes| bytes != written.bytes) {
            format!("shows {id} with another length than its {} bytes", written.bytes)
        } else {
            return None;
        };
        fault(what, Some(*operation))
    }
}

#[cfg(test)]
mod tests;
