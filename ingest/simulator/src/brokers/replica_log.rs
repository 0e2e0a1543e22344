//! One broker's copy of one partition's log.
//!
//! ```text
//!   start                 high watermark            end
//!     ▼                         ▼                    ▼
//!     │ committed, readable     │ may be truncated   │
//! ```
//!
//! Two copies with the same epoch at the same offset are equal up to there: an epoch has one leader,
//! which only appends. Comparing epochs from the end therefore finds where two copies differ.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use ingest::time::WallTime;

/// A message as a broker keeps it.
#[derive(Clone)]
pub struct LogEntry {
    pub offset: u64,
    pub time: WallTime,
    /// The epoch of the leader that accepted the message.
    pub epoch: u32,
    pub stamp: ProducerStamp,
    pub value: Bytes,
    /// The knowledge of the producer before this message, restored when the message is truncated.
    before: Option<KnownProducer>,
}

impl LogEntry {
    /// An entry that is in no log yet. [`ReplicaLog::append`] completes it with the knowledge of its
    /// producer before.
    pub fn new(
        offset: u64,
        time: WallTime,
        epoch: u32,
        stamp: ProducerStamp,
        value: Bytes,
    ) -> Self {
        Self { offset, time, epoch, stamp, value, before: None }
    }
}

/// The identity of a producer's message. Sequences rise by one, from 1 in each epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ProducerStamp {
    pub producer: usize,
    pub epoch: u32,
    pub sequence: u64,
}

/// A broker's knowledge of a producer: the sequences of the newest epoch that are in the log.
#[derive(Clone, Copy)]
struct KnownProducer {
    epoch: u32,
    first: u64,
    last: u64,
}

/// A leader's verdict on a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AppendVerdict {
    /// The message follows the last one of its producer.
    New,
    /// The message is in the log already.
    Duplicate,
    /// An earlier message is missing, or the producer has begun a new epoch.
    OutOfOrder,
}

/// A broker's copy of a log; see the module's description.
#[derive(Clone, Default)]
pub struct ReplicaLog {
    entries: VecDeque<LogEntry>,
    start: u64,
    end: u64,
    high_watermark: u64,
    producers: BTreeMap<usize, KnownProducer>,
}

impl ReplicaLog {
    /// The lowest offset that can be read. Never falls, except when the copy is reset.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The offset after the last message, committed or not. Falls only when the copy is truncated or
    /// reset.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The offset after the last committed message, as this broker knows. May be behind the leader's,
    /// never ahead of its own end.
    pub fn high_watermark(&self) -> u64 {
        self.high_watermark
    }

    /// Decides about a producer's message. Any message of an unknown producer counts as its first,
    /// since earlier ones may have been deleted. An earlier one may also have been refused by a broker
    /// that has become leader since; it is out of order then and never accepted.
    pub fn judge(&self, stamp: ProducerStamp) -> AppendVerdict {
        let Some(known) = self.producers.get(&stamp.producer) else { return AppendVerdict::New };
        let is_next = match stamp.epoch.cmp(&known.epoch) {
            Ordering::Less => false,
            Ordering::Equal if (known.first..=known.last).contains(&stamp.sequence) => {
                return AppendVerdict::Duplicate;
            }
            Ordering::Equal => stamp.sequence == known.last + 1,
            Ordering::Greater => stamp.sequence == 1,
        };
        if is_next { AppendVerdict::New } else { AppendVerdict::OutOfOrder }
    }

    /// Appends an entry, which leaders must have judged before. Panics when its offset is below the end
    /// of the log.
    pub fn append(&mut self, entry: LogEntry) {
        assert!(entry.offset >= self.end, "offsets rise");
        self.end = entry.offset + 1;
        let ProducerStamp { producer, epoch, sequence: last } = entry.stamp;
        let before = self.producers.get(&producer).copied();
        let first = before.filter(|known| known.epoch == epoch).map_or(last, |known| known.first);
        self.producers.insert(producer, KnownProducer { epoch, first, last });
        self.entries.push_back(LogEntry { before, ..entry });
    }

    /// Removes all messages from an offset on, committed or not, and restores the knowledge of their
    /// producers before.
    pub fn truncate(&mut self, end: u64) {
        while self.entries.back().is_some_and(|entry| entry.offset >= end) {
            let Some(LogEntry { stamp, before, .. }) = self.entries.pop_back() else { break };
            match before {
                Some(known) => self.producers.insert(stamp.producer, known),
                None => self.producers.remove(&stamp.producer),
            };
        }
        self.end = self.end.min(end).max(self.start);
        self.high_watermark = self.high_watermark.min(self.end);
    }

    /// Removes everything, with the knowledge of all producers, and begins an empty log at an offset.
    pub fn reset(&mut self, start: u64) {
        *self = Self { start, end: start, high_watermark: start, ..Self::default() };
    }

    /// Raises the high watermark, at most to the end of the log, and never lowers it. Returns `true`
    /// only if it has moved.
    pub fn commit(&mut self, high_watermark: u64) -> bool {
        let before = self.high_watermark;
        self.high_watermark = high_watermark.min(self.end).max(before);
        self.high_watermark > before
    }

    /// Deletes all messages below an offset, at most up to the high watermark. Uncommitted messages are
    /// never deleted.
    pub fn delete_below(&mut self, start: u64) {
        self.start = start.min(self.high_watermark).max(self.start);
        while self.entries.front().is_some_and(|entry| entry.offset < self.start) {
            self.entries.pop_front();
        }
    }

    /// The entries from an offset on, committed or not, in order. Begins after a gap when no entry has
    /// that offset.
    pub fn from(&self, offset: u64) -> impl Iterator<Item = &LogEntry> {
        let first = self.entries.partition_point(|entry| entry.offset < offset);
        self.entries.range(first..)
    }

    /// The committed entries from an offset on, in order; the only ones that a consumer may see.
    pub fn committed_from(&self, offset: u64) -> impl Iterator<Item = &LogEntry> {
        self.from(offset).take_while(|entry| entry.offset < self.high_watermark)
    }

    /// The offset below which this copy and another one are equal. A follower must truncate its log to
    /// it before it copies from a new leader.
    pub fn common_end(&self, other: &Self) -> u64 {
        let is_common = |entry: &&LogEntry| {
            // Entries that the other copy has deleted were committed, and so equal.
            let held = other.from(entry.offset).next();
            entry.offset < other.start
                || held.is_some_and(|held| held.offset == entry.offset && held.epoch == entry.epoch)
        };
        let last = self.entries.iter().rev().find(is_common);
        last.map_or(self.start, |entry| entry.offset + 1)
    }

    /// The offset after all but the last `messages` messages, for a test that loses those; the start
    /// when there are fewer.
    pub fn end_without(&self, messages: usize) -> u64 {
        match self.entries.len().checked_sub(messages + 1) {
            Some(last) => self.entries[last].offset + 1,
            None => self.start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(epoch: u32, sequence: u64) -> ProducerStamp {
        ProducerStamp { producer: 1, epoch, sequence }
    }

    fn append(log: &mut ReplicaLog, offset: u64, epoch: u32, stamp: ProducerStamp) {
        log.append(LogEntry::new(offset, WallTime::default(), epoch, stamp, Bytes::new()));
    }

    /// A log with one entry in each of these epochs of leaders.
    fn led_in(epochs: &[u32]) -> ReplicaLog {
        let mut log = ReplicaLog::default();
        for (epoch, sequence) in epochs.iter().zip(1..) {
            append(&mut log, sequence - 1, *epoch, stamp(0, sequence));
        }
        log
    }

    #[test]
    fn a_message_is_new_once_and_only_in_its_turn() {
        let mut log = ReplicaLog::default();
        assert_eq!(log.judge(stamp(0, 3)), AppendVerdict::New, "of an unknown producer");
        append(&mut log, 0, 1, stamp(0, 3));
        append(&mut log, 1, 1, stamp(0, 4));
        let verdicts = [
            (stamp(0, 2), AppendVerdict::OutOfOrder),
            (stamp(0, 3), AppendVerdict::Duplicate),
            (stamp(0, 4), AppendVerdict::Duplicate),
            (stamp(0, 5), AppendVerdict::New),
            (stamp(0, 6), AppendVerdict::OutOfOrder),
            (stamp(1, 1), AppendVerdict::New),
            (stamp(1, 2), AppendVerdict::OutOfOrder),
        ];
        for (stamp, verdict) in verdicts {
            assert_eq!(log.judge(stamp), verdict, "{} {}", stamp.epoch, stamp.sequence);
        }
        append(&mut log, 2, 1, stamp(1, 1));
        assert_eq!(log.judge(stamp(0, 5)), AppendVerdict::OutOfOrder, "of an older epoch");
    }

    #[test]
    fn what_is_cut_off_is_new_again_and_what_was_there_is_not() {
        let mut log = ReplicaLog::default();
        append(&mut log, 0, 1, stamp(0, 1));
        append(&mut log, 1, 1, stamp(0, 2));
        append(&mut log, 2, 1, stamp(1, 1));
        log.truncate(2);
        assert_eq!(log.judge(stamp(1, 1)), AppendVerdict::New);
        assert_eq!(log.judge(stamp(0, 2)), AppendVerdict::Duplicate);
        log.truncate(1);
        assert_eq!(log.judge(stamp(0, 2)), AppendVerdict::New);
        assert_eq!(log.judge(stamp(0, 1)), AppendVerdict::Duplicate);
        log.truncate(0);
        assert_eq!((log.end(), log.judge(stamp(0, 7))), (0, AppendVerdict::New));
    }

    #[test]
    fn two_copies_part_where_their_epochs_differ() {
        let cases: [(&[u32], &[u32], u64); 6] = [
            (&[1, 1, 1], &[1, 1, 1], 3),
            (&[1, 1, 1], &[1, 1], 2),
            (&[1, 1], &[1, 1, 1], 2),
            (&[1, 1, 1], &[1, 1, 2], 2),
            (&[1, 2, 2], &[1, 3], 1),
            (&[1], &[2], 0),
        ];
        for (a, b, common) in cases {
            assert_eq!(led_in(a).common_end(&led_in(b)), common, "{a:?} {b:?}");
            assert_eq!(led_in(b).common_end(&led_in(a)), common, "{b:?} {a:?}");
        }
        // Entries that one copy has deleted were equal.
        let (whole, mut rest) = (led_in(&[1, 1, 2, 2]), led_in(&[1, 1, 2, 3]));
        rest.commit(2);
        rest.delete_below(2);
        assert_eq!(whole.common_end(&rest), 3);
        assert_eq!(rest.common_end(&whole), 3);
    }

    #[test]
    fn only_what_is_committed_is_deleted_and_read() {
        let mut log = led_in(&[1; 5]);
        assert!(log.commit(3) && !log.commit(2));
        log.delete_below(4);
        assert_eq!((log.start(), log.high_watermark(), log.end()), (3, 3, 5));
        assert_eq!(log.committed_from(0).count(), 0);
        assert!(log.commit(9));
        let offsets: Vec<u64> = log.committed_from(4).map(|entry| entry.offset).collect();
        assert_eq!(offsets, [4]);
        assert_eq!((log.end_without(1), log.end_without(7)), (4, 3));
    }
}
