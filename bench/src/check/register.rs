//! Judges the order on one key: passes its claims to the search, and reduces a contradiction to its cause.
//!
//! # Unknown writes that count
//!
//! A write that was not acknowledged may have taken effect at any time after it was sent, or may still take
//! effect, or never.
//!
//! - If its value was seen, by a read, by a listing, or by a write that took effect over it, then the write
//!   did take effect before the end of the operation that has seen it. Such a write becomes a step like an
//!   acknowledged one that ended then.
//! - If its value was not seen, it still cannot be left out of the search: it may be the reason why
//!   `If-None-Match` or `If-Match` failed. The same holds for a delete, which may be the reason why there was
//!   no object. These become steps without an end, which the search may use or not.
//!
//! Values that no claim names (no read saw them, no condition named them) cannot be distinguished. All of
//! them are the one unnamed value, and unknown writes of such values are interchangeable.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::claims::{Claim, ClaimEffect, ClaimedValue, Moment, settled};
use super::search::{SearchContent, SearchResult, SearchStep, StepEffect, search};

/// The most configurations that are tried for a key; the search tries about a million in a second. Most keys
/// take one or two for each operation. A key with dozens of concurrent operations takes hundreds for each.
const CONFIGURATIONS_MAX: usize = 20_000_000;
/// The most configurations for each attempt to make a contradiction smaller.
const CONFIGURATIONS_MAX_SMALLER: usize = 200_000;
/// The most attempts to make one contradiction smaller.
const ATTEMPTS_MAX: usize = 600;

/// The judgement on one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// There is an order that explains all claims.
    Linearizable,
    /// There is no such order. These operations, by ascending index in the recording, contradict each other,
    /// no matter what the others did.
    Contradiction(Vec<usize>),
    /// Not known: the search exceeded its bounds.
    Undecided,
}

/// Judges the claims about one key, which must be ordered by begin.
///
/// The search is bounded by [`CONFIGURATIONS_MAX`] and by the number of concurrent steps; beyond that the
/// result is [`Judgement::Undecided`], never a false contradiction. After a contradiction, at most
/// [`ATTEMPTS_MAX`] further searches make it smaller.
pub fn judge(claims: &[Claim]) -> Judgement {
    match search(&steps(claims), CONFIGURATIONS_MAX) {
        SearchResult::Order => Judgement::Linearizable,
        SearchResult::Nothing => Judgement::Undecided,
        SearchResult::Contradiction => {
            let needed = Smaller { attempts: ATTEMPTS_MAX }.of(claims);
            Judgement::Contradiction(operations(&needed, claims))
        }
    }
}

/// Returns the operations of answered claims, and those that wrote the values which these claims name:
/// without the writes a contradiction cannot be understood.
fn operations(needed: &[Claim], claims: &[Claim]) -> Vec<usize> {
    let answered: Vec<&Claim> = needed.iter().filter(|claim| claim.end.is_some()).collect();
    let names: BTreeSet<ClaimedValue> = answered.iter().filter_map(|claim| named(claim)).collect();
    let is_writer = |claim: &&Claim| claim.written().is_some_and(|value| names.contains(&value));
    let shown = answered.into_iter().chain(claims.iter().filter(is_writer));
    let operations: BTreeSet<usize> = shown.map(|claim| claim.operation).collect();
    operations.into_iter().collect()
}

/// Converts claims to steps, in the same order.
fn steps(claims: &[Claim]) -> Vec<SearchStep> {
    let mut names = HashMap::new();
    for value in claims.iter().filter_map(named) {
        let next = SearchContent::named(names.len() as u32);
        names.entry(value).or_insert(next);
    }
    let content = |content: Option<ClaimedValue>| match content {
        None => SearchContent::ABSENT,
        Some(value) => *names.get(&value).unwrap_or(&SearchContent::UNNAMED),
    };
    let effect = |says| match says {
        ClaimEffect::Was(was) => StepEffect::Sees(content(was)),
        ClaimEffect::WasSome => StepEffect::SeesSome,
        ClaimEffect::WasNot(value) => StepEffect::SeesOtherThan(content(Some(value))),
        ClaimEffect::WasListed(_) => StepEffect::SeesAny,
        ClaimEffect::Is { only_over, content: is } => {
            StepEffect::Sets { only_over: only_over.map(content), to: content(is) }
        }
    };
    let ends = settled(claims);
    let step = |(claim, end): (&Claim, Option<Moment>)| SearchStep {
        begin: claim.begin,
        end: end.map(|end| end.at),
        effect: effect(claim.says),
    };
    claims.iter().zip(ends).map(step).collect()
}

/// Returns the value that a claim names, other than by writing or listing it.
fn named(claim: &Claim) -> Option<ClaimedValue> {
    match claim.says {
        ClaimEffect::Was(content) => content,
        ClaimEffect::WasNot(value) => Some(value),
        ClaimEffect::Is { only_over, .. } => only_over.flatten(),
        ClaimEffect::WasSome | ClaimEffect::WasListed(_) => None,
    }
}

/// Returns the claims as known at a moment: those that begin later are removed, those that end later have no
/// end.
fn before(claims: &[Claim], moment: u64) -> Vec<Claim> {
    let begun = claims.iter().filter(|claim| claim.begin <= moment);
    let known = begun.map(|claim| Claim { end: claim.end.filter(|end| *end <= moment), ..*claim });
    known.filter(|claim| claim.is_write() || claim.end.is_some()).collect()
}

/// Makes contradictions smaller, within a number of attempts.
struct Smaller {
    attempts: usize,
}

impl Smaller {
    /// Removes as much as possible from a contradiction, which must be one.
    ///
    /// First everything is removed that came after the first moment at which there was a contradiction. Then
    /// observations are removed, then acknowledgements of writes. Each removal leaves fewer reasons for a
    /// contradiction. If there still is one, the removed part has no share in it.
    fn of(&mut self, claims: &[Claim]) -> Vec<Claim> {
        let mut ends: Vec<u64> = claims.iter().filter_map(|claim| claim.end).collect();
        ends.sort_unstable();
        let is_early = |end: &u64| !self.is_contradiction(&before(claims, *end));
        let first = ends.partition_point(is_early);
        let mut claims = before(claims, *ends.get(first).unwrap_or(&u64::MAX));
        // Observations first: the fewer operations are left, the easier they are to follow.
        for of_writes in [false, true] {
            let mut len = claims.len().div_ceil(2);
            while len > 0 {
                let mut at = 0;
                while at < claims.len() {
                    let end = claims.len().min(at + len);
                    let without = forget(&claims, at..end, of_writes);
                    let gone = claims.len() - without.len();
                    if without != claims && self.is_contradiction(&without) {
                        claims = without;
                        at = end - gone;
                    } else {
                        at = end;
                    }
                }
                len /= 2;
            }
        }
        claims
    }

    fn is_contradiction(&mut self, claims: &[Claim]) -> bool {
        let Some(attempts) = self.attempts.checked_sub(1) else { return false };
        self.attempts = attempts;
        matches!(search(&steps(claims), CONFIGURATIONS_MAX_SMALLER), SearchResult::Contradiction)
    }
}

/// Removes the observations within a range, or the acknowledgements of writes within it.
fn forget(claims: &[Claim], range: Range<usize>, of_writes: bool) -> Vec<Claim> {
    let kept = claims.iter().enumerate().filter_map(|(index, claim)| {
        let is_concerned = range.contains(&index) && claim.is_write() == of_writes;
        match is_concerned {
            false => Some(*claim),
            true => claim.is_write().then_some(Claim { end: None, ..*claim }),
        }
    });
    kept.collect()
}

#[cfg(test)]
mod tests;
