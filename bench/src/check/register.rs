//! Judges one key: hands its claims to the search, and says what a failure rests on.
//!
//! # Which unknown writes count
//!
//! A write that was not acknowledged may have taken effect at any time after it was sent, or may still,
//! or never.
//! - If its value was seen, by a read, by a listing, or by a write that took effect over it, then it did
//!   take effect, by the end of whatever has seen it: it is a step like an acknowledged one that ended
//!   then.
//! - If its value was not seen, it cannot be left out of the search: it may be why `If-None-Match` failed,
//!   or why `If-Match` did. As little can a delete: it may be why there was nothing. These become steps
//!   without an end, which the search may use or not.
//!
//! Values that no claim names (nobody read them, no condition asked for them) cannot be told apart, so
//! all of them are the one unnamed value, and unknown writes of such values are interchangeable.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::claims::{Claim, ClaimEffect, ClaimedValue, Moment, settled};
use super::search::{SearchContent, SearchResult, SearchStep, StepEffect, search};

/// So many configurations are tried for a key, about a million a second. A key mostly takes one or two for
/// each operation; one with dozens of operations under way at a time takes hundreds.
const CONFIGURATIONS_MAX: usize = 20_000_000;
/// So many when a contradiction is made smaller, each time.
const CONFIGURATIONS_MAX_SMALLER: usize = 200_000;
/// So often it is tried to make it smaller.
const ATTEMPTS_MAX: usize = 600;

/// What is found about a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// There is an order in which everything is explained.
    Linearizable,
    /// There is none. These operations contradict each other, by their indices in the recording: those
    /// that are needed for there to be a contradiction, whatever the others did.
    Contradiction(Vec<usize>),
    /// It is not known: the search was given up.
    Undecided,
}

/// Judges what is claimed of a key.
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

/// The operations behind claims that are answered, and those that wrote the values which these name: nobody
/// can follow a contradiction without them.
fn operations(needed: &[Claim], claims: &[Claim]) -> Vec<usize> {
    let answered: Vec<&Claim> = needed.iter().filter(|claim| claim.end.is_some()).collect();
    let names: BTreeSet<ClaimedValue> = answered.iter().filter_map(|claim| named(claim)).collect();
    let is_writer = |claim: &&Claim| claim.written().is_some_and(|value| names.contains(&value));
    let shown = answered.into_iter().chain(claims.iter().filter(is_writer));
    let operations: BTreeSet<usize> = shown.map(|claim| claim.operation).collect();
    operations.into_iter().collect()
}

/// Claims as steps, in the same order.
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

/// The value that a claim names, other than by writing it.
fn named(claim: &Claim) -> Option<ClaimedValue> {
    match claim.says {
        ClaimEffect::Was(content) => content,
        ClaimEffect::WasNot(value) => Some(value),
        ClaimEffect::Is { only_over, .. } => only_over.flatten(),
        ClaimEffect::WasSome | ClaimEffect::WasListed(_) => None,
    }
}

/// What is known by a moment: what begins later is gone, and what ends later has not ended.
fn before(claims: &[Claim], moment: u64) -> Vec<Claim> {
    let begun = claims.iter().filter(|claim| claim.begin <= moment);
    let known = begun.map(|claim| Claim { end: claim.end.filter(|end| *end <= moment), ..*claim });
    known.filter(|claim| claim.is_write() || claim.end.is_some()).collect()
}

/// Makes contradictions smaller.
struct Smaller {
    attempts: usize,
}

impl Smaller {
    /// Forgets as much as possible: what came after the first moment at which there was a contradiction;
    /// then, that something was seen, or that a write was acknowledged. Each leaves fewer reasons for a
    /// contradiction. If there still is one, what was forgotten has no part in it.
    fn of(&mut self, claims: &[Claim]) -> Vec<Claim> {
        let mut ends: Vec<u64> = claims.iter().filter_map(|claim| claim.end).collect();
        ends.sort_unstable();
        let is_early = |end: &u64| !self.is_contradiction(&before(claims, *end));
        let first = ends.partition_point(is_early);
        let mut claims = before(claims, *ends.get(first).unwrap_or(&u64::MAX));
        // What was seen first: the fewer operations are left, the easier they are to follow.
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

/// Forgets what was seen within a range, or that writes within it were acknowledged.
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
