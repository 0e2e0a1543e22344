//! What the operations on one key claim: "this was there", "this is there now".
//!
//! Claims are what is left of operations once everything is gone that says nothing about the order of
//! things: refused writes, reads that failed, endpoints, lengths. All judgement about a key starts here.

use std::collections::HashMap;

use super::recording::{RecordedOperation, Recording};
use crate::history::line::{Action, OperationOutcome, SeenContent};

/// A value, by its number among those of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClaimedValue(pub u32);

/// What a key holds: a value, or nothing.
pub type KeyContent = Option<ClaimedValue>;

/// What one operation claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The operation, by its index in the recording.
    pub operation: usize,
    /// When it began.
    pub begin: u64,
    /// When it was answered; a write that nobody has acknowledged has no end.
    pub end: Option<u64>,
    /// What it says.
    pub says: ClaimEffect,
}

/// What a claim says of a moment between its begin and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimEffect {
    /// Exactly this was there: a read.
    Was(KeyContent),
    /// Something was there: `If-None-Match: *` has failed.
    WasSome,
    /// This was not there: `If-Match` has failed.
    WasNot(ClaimedValue),
    /// A listing shows this: whoever wrote it has done so. Whether it was still there is for the model of
    /// listings to say.
    WasListed(ClaimedValue),
    /// This is there from then on: a write or a delete.
    Is {
        /// What was there before, if the write depended on that.
        only_over: Option<KeyContent>,
        /// What is there from then on.
        content: KeyContent,
    },
}

impl Claim {
    /// The value that it writes.
    pub fn written(&self) -> Option<ClaimedValue> {
        match self.says {
            ClaimEffect::Is { content, .. } => content,
            _ => None,
        }
    }

    /// Whether it is a write or a delete.
    pub fn is_write(&self) -> bool {
        matches!(self.says, ClaimEffect::Is { .. })
    }
}

/// Everything that is claimed of one key.
#[derive(Clone, Default, Debug)]
pub struct KeyClaims {
    /// The bucket and the key.
    pub name: (String, String),
    /// The claims, in the order of their begins.
    pub claims: Vec<Claim>,
    /// The values by their ETags; those first that were written under this key.
    values: HashMap<String, ClaimedValue>,
    ids: HashMap<String, ClaimedValue>,
    /// The page that was the first to show a value.
    listed: HashMap<ClaimedValue, Claim>,
}

impl KeyClaims {
    /// The value with an ETag, if it was ever written under this key, or asked for.
    pub fn value(&self, etag: &str) -> Option<ClaimedValue> {
        self.values.get(etag).copied()
    }

    fn intern(&mut self, etag: &str) -> ClaimedValue {
        let next = ClaimedValue(self.values.len() as u32);
        *self.values.entry(etag.to_owned()).or_insert(next)
    }

    /// Reads an operation's claim.
    fn add(&mut self, index: usize, operation: &RecordedOperation) {
        let (begin, end) = (operation.begin(), operation.end());
        let answered = operation.outcome() != OperationOutcome::Unknown;
        let claim = |says| Claim { operation: index, begin, end: end.filter(|_| answered), says };
        let says = match operation.outcome() {
            OperationOutcome::Fail => self.refusal(operation),
            OperationOutcome::Ok if operation.invoke.action.is_read() => self.sight(operation),
            OperationOutcome::Unknown if operation.invoke.action.is_read() => None,
            OperationOutcome::Ok | OperationOutcome::Unknown => {
                self.write(&operation.invoke.action)
            }
        };
        self.claims.extend(says.map(claim));
    }

    /// Reads a line of a page.
    fn add_listed(&mut self, index: usize, page: &RecordedOperation, etag: &str) {
        let (Some(value), Some(end)) = (self.value(etag), page.end()) else { return };
        let says = ClaimEffect::WasListed(value);
        let claim = Claim { operation: index, begin: page.begin(), end: Some(end), says };
        let first = self.listed.entry(value).or_insert(claim);
        if claim.end < first.end {
            *first = claim;
        }
    }

    fn write(&mut self, action: &Action) -> Option<ClaimEffect> {
        let only_over = match action {
            Action::PutIfAbsent { .. } => Some(None),
            Action::PutIfMatch { if_match, .. } => Some(Some(self.intern(if_match))),
            Action::Put { .. } | Action::Complete { .. } | Action::Delete { .. } => None,
            Action::Get { .. }
            | Action::Head { .. }
            | Action::Upload { .. }
            | Action::List { .. } => {
                return None;
            }
        };
        let content = action.written().map(|written| self.intern(&written.etag));
        Some(ClaimEffect::Is { only_over, content })
    }

    /// What a read saw. A value that was never written here claims nothing: that it was answered is
    /// wrong by itself.
    fn sight(&self, operation: &RecordedOperation) -> Option<ClaimEffect> {
        match operation.ending()?.seen.as_ref()? {
            SeenContent::Absent => Some(ClaimEffect::Was(None)),
            SeenContent::Object { value: Some(id), .. } => {
                Some(ClaimEffect::Was(Some(*self.ids.get(id)?)))
            }
            SeenContent::Object { value: None, etag, .. } => {
                // A body that is no value makes the ETag beside it worthless, too.
                let is_head = matches!(operation.invoke.action, Action::Head { .. });
                Some(ClaimEffect::Was(Some(self.value(etag).filter(|_| is_head)?)))
            }
            SeenContent::Page { .. } => None,
        }
    }

    /// What a write tells by being refused: that its condition did not hold.
    fn refusal(&mut self, operation: &RecordedOperation) -> Option<ClaimEffect> {
        let ending = operation.ending()?;
        match (&operation.invoke.action, ending.status, &ending.seen) {
            (Action::PutIfAbsent { .. }, Some(412), _) => Some(ClaimEffect::WasSome),
            (Action::PutIfMatch { if_match, .. }, Some(412), _) => {
                Some(ClaimEffect::WasNot(self.intern(if_match)))
            }
            (Action::PutIfMatch { .. }, _, Some(SeenContent::Absent)) => {
                Some(ClaimEffect::Was(None))
            }
            _ => None,
        }
    }
}

/// The claims of all keys, in the order of their names.
pub fn of(recording: &Recording) -> Vec<KeyClaims> {
    let mut keys: HashMap<(&str, &str), KeyClaims> = HashMap::new();
    for operation in &recording.operations {
        let Some(name) = name(operation) else { continue };
        let key = keys.entry(name).or_default();
        if let Some(written) = operation.invoke.action.written() {
            let value = key.intern(&written.etag);
            key.ids.insert(written.value.clone(), value);
        }
    }
    for (index, operation) in recording.operations.iter().enumerate() {
        if let Some(key) = name(operation).and_then(|name| keys.get_mut(&name)) {
            key.add(index, operation);
        }
        let seen = operation.ending().and_then(|ending| ending.seen.as_ref());
        if let Some(SeenContent::Page { entries, .. }) = seen {
            for (name, etag, _) in entries {
                if let Some(key) = keys.get_mut(&(operation.invoke.bucket.as_str(), name.as_str()))
                {
                    key.add_listed(index, operation, etag);
                }
            }
        }
    }
    let named = keys.into_iter().map(|((bucket, name), mut key)| {
        key.name = (bucket.to_owned(), name.to_owned());
        key.claims.extend(std::mem::take(&mut key.listed).into_values());
        key.claims.sort_by_key(|claim| (claim.begin, claim.operation));
        key
    });
    let mut keys: Vec<KeyClaims> = named.collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    keys
}

fn name(operation: &RecordedOperation) -> Option<(&str, &str)> {
    Some((operation.invoke.bucket.as_str(), operation.invoke.action.key()?))
}

/// A moment, and the operation that it is known from, by its index in the recording.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    /// When.
    pub at: u64,
    /// From which operation.
    pub from: usize,
}

/// By when each claim has certainly come true: an answered one by its end; a write that was not
/// acknowledged, by the end of the first operation that has seen its value, or that took effect over it.
/// For a write that nobody has seen there is no such moment.
pub fn settled(claims: &[Claim]) -> Vec<Option<Moment>> {
    let end = |claim: &Claim| Some(Moment { at: claim.end?, from: claim.operation });
    let mut settled: Vec<Option<Moment>> = claims.iter().map(end).collect();
    let writers: HashMap<ClaimedValue, usize> = claims
        .iter()
        .enumerate()
        .filter_map(|(index, claim)| Some((claim.written()?, index)))
        .collect();
    let seen = claims.iter().filter_map(|claim| Some((relied_upon(claim)?, end(claim)?)));
    let mut earlier: Vec<(ClaimedValue, Moment)> = seen.collect();
    while let Some((value, end)) = earlier.pop() {
        let Some(writer) = writers.get(&value) else { continue };
        // What was seen before it was sent is wrong, and says nothing.
        let is_possible = end.at >= claims[*writer].begin;
        if is_possible && settled[*writer].is_none_or(|before| end.at < before.at) {
            settled[*writer] = Some(end);
            earlier.extend(relied_upon(&claims[*writer]).map(|value| (value, end)));
        }
    }
    settled
}

/// The value without which a claim cannot be true.
fn relied_upon(claim: &Claim) -> Option<ClaimedValue> {
    match claim.says {
        ClaimEffect::Was(content) => content,
        ClaimEffect::WasListed(value) => Some(value),
        ClaimEffect::Is { only_over, .. } => only_over.flatten(),
        ClaimEffect::WasSome | ClaimEffect::WasNot(_) => None,
    }
}

#[cfg(test)]
mod tests;
