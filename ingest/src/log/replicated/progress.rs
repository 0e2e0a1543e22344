//! The progress of this process in a partition, from which a consumer that delivers nothing is recognized.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::{Epoch, Offset, Sequence, WriterId};
use crate::record::RecordId;
use crate::time::Tick;

/// Knowledge of this process about a partition: acknowledged records, and records that were read.
#[derive(Default)]
pub(super) struct PartitionProgress {
    /// The first offset that the log has.
    pub first: Offset,
    /// The offset after the last record that is delivered or known.
    pub end: Offset,
    /// The newest acknowledged record of each writer of this process.
    acknowledged: BTreeMap<WriterId, (Epoch, Sequence)>,
    /// The newest delivered record of each writer of this process.
    seen: BTreeMap<WriterId, (Epoch, Sequence)>,
    /// Time since which an acknowledged record is unread.
    unread_since: Option<Tick>,
    delivered: Tick,
}

impl PartitionProgress {
    /// The progress at the open of a log that has records from `first` to before `end`.
    pub fn new(first: Offset, end: Offset) -> Self {
        Self { first, end, ..Self::default() }
    }

    /// Notes that a record is acknowledged. Order between writers is free.
    pub fn acknowledged(&mut self, id: &RecordId, now: Tick) {
        let newest = self.acknowledged.entry(id.writer).or_default();
        *newest = (*newest).max((id.epoch, id.sequence));
        if self.has_unread() {
            self.unread_since.get_or_insert(now);
        }
    }

    /// Notes a writer before its record is sent, since the record may be read before it is acknowledged.
    pub fn sends(&mut self, writer: WriterId) {
        self.seen.entry(writer).or_default();
    }

    /// Notes that records up to `next` are delivered, with the ids among them.
    pub fn delivered(&mut self, ids: impl Iterator<Item = RecordId>, next: Offset, now: Tick) {
        for id in ids {
            if let Some(newest) = self.seen.get_mut(&id.writer) {
                *newest = (*newest).max((id.epoch, id.sequence));
            }
        }
        self.end = self.end.max(next);
        self.delivered = now;
        if !self.has_unread() {
            self.unread_since = None;
        }
    }

    fn has_unread(&self) -> bool {
        self.acknowledged
            .iter()
            .any(|(writer, newest)| self.seen.get(writer).is_none_or(|seen| seen < newest))
    }

    /// True when a consumer made at `born` delivers nothing although an acknowledged record is unread.
    pub fn is_stalled(&self, born: Tick, stall: Duration, now: Tick) -> bool {
        let Some(unread) = self.unread_since else { return false };
        now.since(unread.max(self.delivered).max(born)) >= stall
    }
}
