//! Reduces the operations on a key to claims: "this was there", "this is there from now on".
//!
//! A claim keeps only the parts of an operation that restrict the order of contents. Refused writes without a
//! condition, reads that failed, endpoints and lengths are left out. The order ([`super::register`]) and the
//! listings ([`super::listings`]) are judged by claims alone.

use std::collections::HashMap;

use super::recording::{RecordedOperation, Recording};
use crate::history::line::{Action, OperationOutcome, SeenContent};

/// A value, by its number among the values of its key; values written under the key are numbered first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ClaimedValue(pub u32);

/// The content of a key: a value, or `None` for no object.
pub type KeyContent = Option<ClaimedValue>;

/// The claim of one operation about one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The operation, by its index in the recording.
    pub operation: usize,
    /// The time at which the operation began, in nanoseconds of the history's clock.
    pub begin: u64,
    /// The time of the answer, in nanoseconds of the history's clock; `None` for a write that was not
    /// acknowledged.
    pub end: Option<u64>,
    /// The statement of the claim.
    pub says: ClaimEffect,
}

/// The statement of a claim about one moment between its begin and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimEffect {
    /// Exactly one content was there: a read.
    Was(KeyContent),
    /// Some object was there: `If-None-Match: *` has failed.
    WasSome,
    /// A value was not there: `If-Match` has failed.
    WasNot(ClaimedValue),
    /// A listing shows a value, so its write has taken effect. The time until which the value stayed is
    /// judged by [`super::listings`] only.
    WasListed(ClaimedValue),
    /// A content is there from that moment on: a write or a delete.
    Is {
        /// The content that must have been there before; `None` for a write without a condition.
        only_over: Option<KeyContent>,
        /// The content from that moment on.
        content: KeyContent,
    },
}

impl Claim {
    /// Returns the value that the operation writes; `None` for deletes and for every claim that only sees.
    pub fn written(&self) -> Option<ClaimedValue> {
        match self.says {
            ClaimEffect::Is { content, .. } => content,
            _ => None,
        }
    }

    /// Returns true if the operation is a write or a delete, acknowledged or not.
    pub fn is_write(&self) -> bool {
        matches!(self.says, ClaimEffect::Is { .. })
    }
}

/// All claims about one key.
#[derive(Clone, Default, Debug)]
pub struct KeyClaims {
    /// The bucket and the key.
    pub name: (String, String),
    /// The claims, ordered by begin, then by operation.
    pub claims: Vec<Claim>,
    /// The values by their ETags; values written under this key have the lowest numbers.
    values: HashMap<String, ClaimedValue>,
    ids: HashMap<String, ClaimedValue>,
    /// For each value, the page that shows it and was answered first.
    listed: HashMap<ClaimedValue, Claim>,
}

impl KeyClaims {
    /// Returns the value with an ETag; `None` unless it was ever written under this key or named by an
    /// `If-Match`.
    pub fn value(&self, etag: &str) -> Option<ClaimedValue> {
        self.values.get(etag).copied()
    }

    fn intern(&mut self, etag: &str) -> ClaimedValue {
        let next = ClaimedValue(self.values.len() as u32);
        *self.values.entry(etag.to_owned()).or_insert(next)
    }

    /// Adds the claim of an operation on this key, if the operation claims something.
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

    /// Adds the claim of one entry of a page, unless the value is unknown or an earlier page already shows
    /// it.
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

    /// The claim of a read that was answered. A value that was never written here leads to no claim:
    /// [`super::answers`] reports the answer.
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

    /// The claim of a refused write: its condition did not hold. `None` if it was refused for another reason.
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

/// Returns the claims of every key that an operation names, ordered by bucket, then by key.
///
/// Keys that appear only in listings have no claims and are left out.
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

/// A time, with the operation that proves it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    /// The time, in nanoseconds of the history's clock.
    pub at: u64,
    /// The operation, by its index in the recording.
    pub from: usize,
}

/// Returns, for each claim and in the same order, the moment by which it has certainly come true.
///
/// For an answered claim that is the end of its operation. For a write that was not acknowledged, the moment
/// is the end of the first operation that has seen its value, or that took effect over it. A write that was
/// not acknowledged and never seen has no such moment. An answered write may also get an earlier moment, if
/// its value was seen before its own end. The proof must not end before the write was sent: such a proof is
/// ignored, since its answer is wrong.
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
        // An observation that ended before the write was sent is wrong, and proves nothing.
        let is_possible = end.at >= claims[*writer].begin;
        if is_possible && settled[*writer].is_none_or(|before| end.at < before.at) {
            settled[*writer] = Some(end);
            earlier.extend(relied_upon(&claims[*writer]).map(|value| (value, end)));
        }
    }
    settled
}

/// The value that must have been written for the claim to be true, if there is one.
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
