//! Judges listings, by a model of sets.
//!
//! A listing does not show one moment: each page is a request of its own, and writes that overlap it may show
//! or not. Each page is therefore judged by itself, over the keys that it covers: those with its prefix,
//! after the last key of the page before it, and up to its last key if more follow. Assume that the page was
//! requested at `b` and answered at `e`. The promise, for each key that it covers:
//!
//! 1. **A value that is shown was there at some moment between `b` and `e`, as far as is known.** A value
//!    that was sent only after `e` is a violation. A value that was gone by `b` is a violation, too: another
//!    content certainly took its place after it was certainly written, and this was complete by `b`. In
//!    particular, neither a deleted object is shown nor an overwritten one.
//! 2. **A value that was certainly there from `b` to `e` is shown.**
//!
//! "Certainly written" begins when a write was acknowledged, or when an operation had seen its value
//! ([`super::claims::settled`]). "Certainly there" begins at the same moment. The end is the later of two
//! times: the last read that still saw the value was sent (values are unique, so no other content was there
//! in between); or the first write or delete that is not certainly older was sent. A write of unknown outcome
//! may take effect at any time, so after such a write only reads prove that a value is still there.
//!
//! Not judged: that two listings agree with each other, and that one page shows one moment. S3 promises
//! neither.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::claims::{Claim, ClaimEffect, ClaimedValue, KeyClaims, KeyContent, Moment, settled};
use super::recording::{RecordedOperation, Recording};
use super::violation::{BrokenPromise, Violation};
use crate::history::line::{Action, SeenContent};

/// Returns the violations of all listings, and the number of pages that were judged.
///
/// `keys` must be in the order of their names, as [`super::claims::of`] returns them. A page that is empty
/// although more follows is not judged here: [`super::answers`] reports it.
pub fn check(recording: &Recording, keys: &[KeyClaims]) -> (Vec<Violation>, u64) {
    let lives: Vec<ValueLives> = keys.iter().map(|key| ValueLives::of(&key.claims)).collect();
    let (mut violations, mut pages) = (Vec::new(), 0);
    for (index, operation) in recording.operations.iter().enumerate() {
        let Some(page) = AnsweredPage::of(operation) else { continue };
        pages += 1;
        let first = keys.partition_point(|key| key.name.0 < *page.bucket);
        let of_bucket = keys[first..].iter().zip(&lives[first..]);
        for (key, lives) in of_bucket.take_while(|(key, _)| key.name.0 == *page.bucket) {
            if let Some((what, mut operations)) = page.fault(key, lives) {
                operations.push(index);
                let place = key.name.clone();
                violations.push(Violation {
                    promise: BrokenPromise::Listing,
                    place,
                    what,
                    operations,
                });
            }
        }
    }
    (violations, pages)
}

/// The times at which a value was certainly under its key. All times are in nanoseconds of the history's
/// clock.
#[derive(Clone, Copy, Debug)]
struct ValueLife {
    value: ClaimedValue,
    /// The write, by its index in the recording.
    writer: usize,
    /// The time at which the write was sent.
    sent: u64,
    /// The moment by which the value was certainly written; `None` if that is not known.
    written: Option<Moment>,
    /// The moment until which the value certainly stayed; `None` means until the end of the history.
    vouched: Option<Moment>,
    /// The moment by which the value was certainly replaced; `None` if that is not known.
    gone: Option<Moment>,
}

impl ValueLife {
    /// Returns true if there was a time at which the value was certainly there.
    fn is_certain(&self) -> bool {
        self.written.is_some_and(|written| self.is_vouched_beyond(written.at))
    }

    fn is_vouched_beyond(&self, moment: u64) -> bool {
        self.vouched.is_none_or(|vouched| vouched.at > moment)
    }

    /// Returns the operations that prove the times of the value, plus the one behind `more`, in ascending
    /// order.
    fn operations(&self, more: Option<Moment>) -> Vec<usize> {
        let known = [self.written, more].into_iter().flatten().map(|moment| moment.from);
        let operations: BTreeSet<usize> = known.chain([self.writer]).collect();
        operations.into_iter().collect()
    }
}

/// The lives of all values of a key.
#[derive(Debug)]
struct ValueLives {
    /// All lives, ordered by value.
    all: Vec<ValueLife>,
    /// Indices of the lives that were certain at some time, ordered by the beginning of that time.
    certain: Vec<usize>,
}

impl ValueLives {
    fn of(claims: &[Claim]) -> Self {
        let ends = settled(claims);
        let replacements = Replacements::of(claims, &ends);
        let life = |(claim, end): (&Claim, &Option<Moment>)| {
            let value = claim.written()?;
            Some(ValueLife {
                value,
                writer: claim.operation,
                sent: claim.begin,
                written: *end,
                vouched: replacements.first_sent(value, claim.begin),
                gone: end.and_then(|end| replacements.first_done(value, end.at)),
            })
        };
        let mut all: Vec<ValueLife> = claims.iter().zip(&ends).filter_map(life).collect();
        all.sort_by_key(|life| life.value);
        for claim in claims {
            if let ClaimEffect::Was(Some(value)) = claim.says
                && let Ok(at) = all.binary_search_by_key(&value, |life| life.value)
            {
                let seen = Moment { at: claim.begin, from: claim.operation };
                let vouched = &mut all[at].vouched;
                *vouched = vouched.map(|before| before.max(seen));
            }
        }
        let mut certain: Vec<usize> = (0..all.len()).filter(|at| all[*at].is_certain()).collect();
        certain.sort_by_key(|at| all[*at].written.map(|moment| moment.at));
        Self { all, certain }
    }

    fn of_value(&self, value: ClaimedValue) -> Option<&ValueLife> {
        let at = self.all.binary_search_by_key(&value, |life| life.value).ok()?;
        Some(&self.all[at])
    }

    /// Returns the value that was certainly there from `begin` to `end`, if there is one.
    ///
    /// The times at which values are certainly there do not overlap. (If they do, the key has no order, and
    /// [`super::register`] reports that.) So only the last value that was certain before `begin` can be
    /// there.
    fn throughout(&self, begin: u64, end: u64) -> Option<&ValueLife> {
        let is_written = |at: &usize| self.all[*at].written.is_some_and(|moment| moment.at < begin);
        let count = self.certain.partition_point(is_written);
        let last = &self.all[*self.certain[..count].last()?];
        last.is_vouched_beyond(end).then_some(last)
    }
}

/// Contents that may have replaced a value, or certainly have.
struct Replacements {
    /// Writes and deletes by the moment by which they had certainly taken effect, latest first; those without
    /// such a moment come before all others. With each, the earliest times at which they were sent.
    sent: Vec<(u64, Earliest)>,
    /// Contents that were certainly there, by the time at which the proving operation was sent, latest first.
    /// With each, the earliest ends.
    done: Vec<(u64, Earliest)>,
}

/// The earliest two moments so far that are about different contents: a value does not replace itself.
#[derive(Clone, Copy, Default, Debug)]
struct Earliest([Option<(Moment, KeyContent)>; 2]);

impl Earliest {
    fn with(self, moment: Moment, content: KeyContent) -> Self {
        let mut all = [self.0[0], self.0[1], Some((moment, content))];
        all.sort_by_key(|known| known.map_or(u64::MAX, |(moment, _)| moment.at));
        let is_other = |known: &Option<(Moment, KeyContent)>| {
            known.map(|(_, content)| content) != all[0].map(|(_, content)| content)
        };
        Self([all[0], all[1..].iter().copied().find(is_other).flatten()])
    }

    /// Returns the earliest moment that is about another content than `value`.
    fn other_than(&self, value: ClaimedValue) -> Option<Moment> {
        let known = self.0.iter().flatten();
        known.filter(|(_, content)| *content != Some(value)).map(|(moment, _)| *moment).next()
    }
}

impl Replacements {
    fn of(claims: &[Claim], ends: &[Option<Moment>]) -> Self {
        let (mut sent, mut done) = (Vec::new(), Vec::new());
        for (claim, end) in claims.iter().zip(ends) {
            let content = match claim.says {
                ClaimEffect::Is { content, .. } => {
                    let moment = Moment { at: claim.begin, from: claim.operation };
                    sent.push((end.map_or(u64::MAX, |end| end.at), moment, content));
                    content
                }
                ClaimEffect::Was(content) => content,
                ClaimEffect::WasSome | ClaimEffect::WasNot(_) | ClaimEffect::WasListed(_) => {
                    continue;
                }
            };
            done.extend(end.map(|end| (claim.begin, end, content)));
        }
        Self { sent: accumulated(sent), done: accumulated(done) }
    }

    /// Returns when the first other write was sent that is not certainly older than a value that was sent at
    /// `sent`.
    fn first_sent(&self, value: ClaimedValue, sent: u64) -> Option<Moment> {
        let count = self.sent.partition_point(|(end, _)| *end >= sent);
        self.sent[..count].last()?.1.other_than(value)
    }

    /// Returns the first moment by which another content was certainly there, of all operations that were
    /// sent after `written`.
    fn first_done(&self, value: ClaimedValue, written: u64) -> Option<Moment> {
        let count = self.done.partition_point(|(begin, _)| *begin > written);
        self.done[..count].last()?.1.other_than(value)
    }
}

/// Sorts by the key, latest first, and adds to each key the earliest moments up to it.
fn accumulated(mut moments: Vec<(u64, Moment, KeyContent)>) -> Vec<(u64, Earliest)> {
    moments.sort_by_key(|(by, ..)| Reverse(*by));
    let mut earliest = Earliest::default();
    let accumulate = |(by, moment, content)| {
        earliest = earliest.with(moment, content);
        (by, earliest)
    };
    moments.into_iter().map(accumulate).collect()
}

/// A page of a listing that was answered.
struct AnsweredPage<'a> {
    bucket: &'a String,
    prefix: &'a str,
    after: &'a str,
    /// The last key that the page covers; `None` for the last page, which covers all keys that follow.
    last: Option<&'a str>,
    entries: &'a [(String, String, u64)],
    begin: u64,
    end: u64,
}

impl<'a> AnsweredPage<'a> {
    fn of(operation: &'a RecordedOperation) -> Option<Self> {
        let Action::List { prefix, after, .. } = &operation.invoke.action else { return None };
        let SeenContent::Page { entries, is_truncated } = operation.ending()?.seen.as_ref()? else {
            return None;
        };
        let last = match is_truncated {
            true => Some(entries.last()?.0.as_str()),
            false => None,
        };
        Some(Self {
            bucket: &operation.invoke.bucket,
            prefix,
            after,
            last,
            entries,
            begin: operation.begin(),
            end: operation.end()?,
        })
    }

    fn covers(&self, key: &str) -> bool {
        key.starts_with(self.prefix)
            && (key > self.after || self.after.is_empty())
            && self.last.is_none_or(|last| key <= last)
    }

    /// Returns the fault of the page about one key, with the operations that prove it, or `None` if there is
    /// none.
    fn fault(&self, key: &KeyClaims, lives: &ValueLives) -> Option<(String, Vec<usize>)> {
        let name = &key.name.1;
        if !self.covers(name) {
            return None;
        }
        let at = self.entries.binary_search_by(|(listed, ..)| listed.cmp(name));
        let shown = at.ok().map(|at| key.value(&self.entries[at].1));
        // A value that was never written to this key is reported by `answers`.
        if let Some(life) = shown.flatten().and_then(|value| lives.of_value(value)) {
            if life.sent > self.end {
                return Some(("listed before it was written".into(), vec![life.writer]));
            }
            if let Some(gone) = life.gone.filter(|gone| gone.at < self.begin) {
                let what = "listed, although something else was there before";
                return Some((what.into(), life.operations(Some(gone))));
            }
        }
        let certain = lives.throughout(self.begin, self.end);
        let missed = certain.filter(|life| shown != Some(Some(life.value)))?;
        let what = match shown {
            None => "not listed, although it was there all the time",
            Some(_) => "listed with another value than it had all the time",
        };
        Some((what.into(), missed.operations(missed.vouched)))
    }
}

#[cfg(test)]
mod tests;
