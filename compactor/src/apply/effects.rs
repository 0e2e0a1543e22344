//! The effects of one record.

use ingest::entry::Entry;
use ingest::ids::{BucketId, Offset};
use ingest::time::WallTime;

use crate::memtable::StateChange;
use crate::outcome::{RecordOutcome, Rejection};
use crate::state::{BucketState, EventQueue, NewEvent};

/// The effects of one record: its outcome, and the changes of entries and state that go into the memtable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordEffects {
    /// The outcome, which the waiting gateway receives.
    pub outcome: RecordOutcome,
    /// New statements about object versions.
    pub entries: Vec<Entry>,
    /// New state.
    pub state: Vec<StateChange>,
    /// A bucket that has changed, with its new state; `None` beside the id when the bucket was removed.
    pub bucket: Option<(BucketId, Option<BucketState>)>,
    /// A queue of events whose cursor has moved, with its new state.
    pub queue: Option<(String, EventQueue)>,
    /// Events that are reported, in the order of their positions.
    pub events: Vec<NewEvent>,
    /// True when the memtable freezes after this record.
    pub freezes: bool,
}

impl RecordEffects {
    /// Effects that are an outcome and no change.
    pub(super) fn only(outcome: RecordOutcome) -> Self {
        Self {
            outcome,
            entries: Vec::new(),
            state: Vec::new(),
            bucket: None,
            queue: None,
            events: Vec::new(),
            freezes: false,
        }
    }

    /// Effects that are a rejection.
    pub(super) fn rejected(rejection: Rejection) -> Self {
        Self::only(RecordOutcome::Rejected(rejection))
    }
}

/// The offset and the time of a record.
#[derive(Clone, Copy)]
pub struct LogPosition {
    /// The record's offset.
    pub offset: Offset,
    /// The log's time, kept from going backwards.
    pub time: WallTime,
}
