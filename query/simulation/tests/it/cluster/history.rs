//! What clients saw of one key, and whether some order of it explains everything.
//!
//! A history is linearizable if its operations can be put in one order in which each stands between its
//! call and its answer and sees what a single copy would show. The search (Wing and Gong 1993, remembering
//! what it has tried as Lowe 2017 does) is exhaustive, which few operations per key allow.
//!
//! An operation whose outcome is not known may have been done at any time after its call, or never. One
//! that was refused was not done, and is not in the history: if its content turns up, nothing explains it.

use std::collections::BTreeSet;

/// A content; each is written once.
pub type Value = u32;

/// What must hold for a write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    Always,
    Absent,
    Is(Value),
}

/// What a client asks of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Read,
    /// Of no value: a delete.
    Write(Option<Value>, Condition),
}

/// What it was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Found(Option<Value>),
    Done,
    /// The condition does not hold: there is something, and it should not be or be another.
    Differs,
    /// The condition does not hold: there is nothing.
    Missing,
    Unknown,
}

/// One operation. Calls and answers are numbered in the order in which they happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    pub asked: Asked,
    pub answer: Answer,
    pub called: u64,
    pub answered: u64,
}

/// So many operations of one key are searched.
pub const OPERATIONS_MAX: usize = u128::BITS as usize;

/// What becomes of a key by an operation that is answered so; none when it cannot be.
fn step(state: Option<Value>, operation: &Operation) -> Option<Option<Value>> {
    let (value, condition) = match operation.asked {
        Asked::Read => return (operation.answer == Answer::Found(state)).then_some(state),
        Asked::Write(value, condition) => (value, condition),
    };
    let (due, after) = match (condition, state) {
        (Condition::Always, _) | (Condition::Absent, None) => (Answer::Done, value),
        (Condition::Is(wanted), Some(there)) if wanted == there => (Answer::Done, value),
        (Condition::Is(_), None) => (Answer::Missing, None),
        (Condition::Absent | Condition::Is(_), Some(_)) => (Answer::Differs, state),
    };
    (operation.answer == due || operation.answer == Answer::Unknown).then_some(after)
}

/// Whether an order explains the history of a key that was absent at first.
pub fn is_linearizable(history: &[Operation]) -> bool {
    assert!(history.len() <= OPERATIONS_MAX, "{} operations of one key", history.len());
    let bit = |index: usize| 1u128 << index;
    let known = history.iter().enumerate().filter(|(_, o)| o.answer != Answer::Unknown);
    let known = known.fold(0, |all, (index, _)| all | bit(index));
    let mut tried = BTreeSet::new();
    let mut open = vec![(0u128, None)];
    while let Some((done, state)) = open.pop() {
        if done & known == known {
            return true;
        }
        if !tried.insert((done, state)) {
            continue;
        }
        let left = || history.iter().enumerate().filter(|(index, _)| done & bit(*index) == 0);
        // Whatever was called after another's answer stands behind that one.
        let until = left().map(|(_, operation)| operation.answered).min().unwrap_or(u64::MAX);
        for (index, operation) in left().filter(|(_, operation)| operation.called < until) {
            match step(state, operation) {
                // Done in vain it changes nothing, and never done it need not be placed.
                Some(after) if operation.answer == Answer::Unknown && after == state => {}
                Some(after) => open.push((done | bit(index), after)),
                None => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(called: u64, answered: u64, asked: Asked, answer: Answer) -> Operation {
        Operation { asked, answer, called, answered }
    }

    fn put(called: u64, answered: u64, value: Value) -> Operation {
        at(called, answered, Asked::Write(Some(value), Condition::Always), Answer::Done)
    }

    fn lost(called: u64, value: Option<Value>, condition: Condition) -> Operation {
        at(called, u64::MAX, Asked::Write(value, condition), Answer::Unknown)
    }

    fn read(called: u64, answered: u64, found: Option<Value>) -> Operation {
        at(called, answered, Asked::Read, Answer::Found(found))
    }

    #[test]
    fn what_one_copy_would_show_is_explained_and_nothing_else() {
        let ended = |answer| at(5, 6, Asked::Write(Some(3), Condition::Absent), answer);
        let only_one = |answer| at(5, 6, Asked::Write(Some(3), Condition::Is(1)), answer);
        let table: &[(bool, &[Operation])] = &[
            (true, &[put(1, 2, 1), read(3, 4, Some(1))]),
            (false, &[put(1, 2, 1), read(3, 4, None)]),
            (false, &[put(1, 2, 1), put(3, 4, 2), read(5, 6, Some(1))]),
            // At the same time, either order will do, but only one of them.
            (true, &[put(1, 4, 1), put(2, 3, 2), read(5, 6, Some(1))]),
            (false, &[put(1, 4, 1), put(2, 3, 2), read(5, 6, Some(1)), read(7, 8, Some(2))]),
            // Not known: done late, or never, but not undone and not twice.
            (true, &[lost(1, Some(1), Condition::Always), read(2, 3, None), read(4, 5, Some(1))]),
            (false, &[lost(1, Some(1), Condition::Always), read(2, 3, Some(1)), read(4, 5, None)]),
            (
                false,
                &[
                    lost(1, Some(1), Condition::Always),
                    read(2, 3, Some(1)),
                    put(4, 5, 2),
                    read(6, 7, Some(1)),
                ],
            ),
            (false, &[read(2, 3, Some(1)), lost(4, Some(1), Condition::Always)]),
            (false, &[lost(1, Some(1), Condition::Is(7)), read(2, 3, Some(1))]),
            (true, &[put(1, 2, 1), lost(3, None, Condition::Always), read(4, 5, None)]),
            (false, &[read(1, 2, Some(9))]),
            (true, &[put(1, 2, 1), ended(Answer::Differs)]),
            (false, &[put(1, 2, 1), ended(Answer::Done)]),
            (true, &[put(1, 2, 1), only_one(Answer::Done)]),
            (false, &[put(1, 2, 2), only_one(Answer::Done)]),
            (true, &[only_one(Answer::Missing)]),
            (false, &[put(1, 2, 1), only_one(Answer::Missing)]),
        ];
        for (wanted, history) in table {
            assert_eq!(is_linearizable(history), *wanted, "{history:?}");
        }
    }
}
