//! Violations, and how they are printed: a sentence, and a small time-line of the operations that prove it.

use serde::Serialize;

use super::recording::{RecordedOperation, Recording};
use crate::history::line::{Action, OperationOutcome, SeenContent};

/// The width of a time-line's bars, in characters.
const BAR: usize = 32;
/// The most operations of a time-line that are shown.
const OPERATIONS_MAX: usize = 24;

/// A promise of the store that can be broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenPromise {
    /// Each answer is right by itself.
    Answer,
    /// The operations on a key have an order.
    Order,
    /// A listing shows all objects that are there, and only those.
    Listing,
    /// No promise: the search for an order exceeded its bounds. Counts as a failure all the same.
    Undecided,
}

/// A violation of a promise, with its proof.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The broken promise.
    pub promise: BrokenPromise,
    /// The bucket and the key, or the bucket and a prefix.
    pub place: (String, String),
    /// A sentence that describes the violation.
    pub what: String,
    /// The operations that prove it, by their indices in the recording.
    pub operations: Vec<usize>,
}

impl Violation {
    /// Formats the violation for people: the place and the sentence, then the time-line, one operation in
    /// each line.
    ///
    /// `recording` must be the one in which the violation was found, since operations are named by index.
    pub fn text(&self, recording: &Recording) -> String {
        let (bucket, key) = &self.place;
        let mut text = format!("{bucket} {key}: {}\n", self.what);
        for line in self.timeline(recording) {
            text += &format!("    {line}\n");
        }
        text
    }

    /// Formats one line for each operation, in the order of their begins, with times in seconds.
    ///
    /// At most [`OPERATIONS_MAX`] operations are shown: the latest ones, after a line with the number of
    /// earlier ones.
    pub fn timeline(&self, recording: &Recording) -> Vec<String> {
        let mut indices = self.operations.clone();
        indices.sort_unstable();
        indices.dedup();
        let left_out = indices.len().saturating_sub(OPERATIONS_MAX);
        // The latest operations show the violation itself.
        let operations: Vec<&RecordedOperation> =
            indices[left_out..].iter().map(|index| &recording.operations[*index]).collect();
        let ends = operations.iter().map(|operation| operation.end().unwrap_or(operation.begin()));
        let from = operations.iter().map(|operation| operation.begin()).min().unwrap_or(0);
        let to = ends.max().unwrap_or(0).max(from + 1);
        let mut lines = Vec::new();
        if left_out > 0 {
            lines.push(format!("({left_out} earlier operations are not shown)"));
        }
        lines.extend(operations.iter().map(|operation| line(operation, from, to)));
        lines
    }
}

fn line(operation: &RecordedOperation, from: u64, to: u64) -> String {
    let seconds = |ns: u64| format!("{:.6}", ns as f64 / 1e9);
    let ended = operation.end().map_or("-".to_owned(), seconds);
    format!(
        "{:>12} {ended:>12} s |{}| client {:<3} endpoint {} op {:<7} {}",
        seconds(operation.begin()),
        bar(operation, from, to),
        operation.invoke.client,
        operation.invoke.endpoint,
        operation.invoke.op,
        describe(operation),
    )
}

/// Draws the time from begin to end. A write that was not acknowledged has no end: its bar continues to the
/// right edge.
fn bar(operation: &RecordedOperation, from: u64, to: u64) -> String {
    let column = |ns: u64| ((ns - from) as f64 / (to - from) as f64 * (BAR - 1) as f64) as usize;
    let is_open = operation.outcome() == OperationOutcome::Unknown;
    let end = operation.end().filter(|_| !is_open).unwrap_or(to).clamp(from, to);
    let stretch = column(operation.begin().clamp(from, to))..=column(end);
    let cell = |at| match at {
        at if !stretch.contains(&at) => ' ',
        at if is_open && at == *stretch.end() => '>',
        _ => '=',
    };
    (0..BAR).map(cell).collect()
}

fn describe(operation: &RecordedOperation) -> String {
    let action = &operation.invoke.action;
    let mut text = action.kind().to_owned();
    if let Some(written) = action.written() {
        text += &format!(" {}", written.value);
    }
    if let Action::PutIfMatch { if_match, .. } = action {
        text += &format!(" over {if_match}");
    }
    if let Action::List { prefix, after, .. } = action {
        text += &format!(" {prefix:?} after {after:?}");
    }
    let Some(ending) = operation.ending() else { return text + ": never answered" };
    text += match ending.outcome {
        OperationOutcome::Ok => ": ok",
        OperationOutcome::Fail => ": not done",
        OperationOutcome::Unknown => ": unknown",
    };
    text += &ending.status.map_or(String::new(), |status| format!(" {status}"));
    text += &ending.code.as_ref().map_or(String::new(), |code| format!(" {code}"));
    match &ending.seen {
        Some(SeenContent::Absent) => text + ", nothing there",
        Some(SeenContent::Object { value: Some(value), .. }) => text + &format!(", {value}"),
        Some(SeenContent::Object { value: None, etag, .. }) => text + &format!(", ETag {etag}"),
        Some(SeenContent::Page { entries, .. }) => text + &format!(", {} keys", entries.len()),
        None => text,
    }
}

#[cfg(test)]
mod tests;
