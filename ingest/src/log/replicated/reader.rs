//! Reading a partition: takes messages from a consumer, verifies and decodes them, and spools their payload.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::Either;

use super::message::{self, MessageContent};
use super::{LOOK, LogShared};
use crate::env::{DiskErrorKind, Fut, timeout};
use crate::ids::{Offset, PartitionId};
use crate::log::brokers::{CommittedMessage, ConsumeError, Consumer, PartitionBounds};
use crate::log::{CommittedRecord, LogLocation, LogReader, ReadError};
use crate::place::Place;
use crate::record::Record;
use crate::time::Tick;

/// Wait before another request to the brokers.
const RETRY: Duration = Duration::from_secs(1);

/// Longest time for which the fetch of a single record waits.
const FETCH_WAIT: Duration = Duration::from_secs(10);

/// A message's offset and stored checksum: enough to detect that another message is at the offset now.
#[derive(Clone, Copy, PartialEq, Eq)]
struct MessageMark {
    offset: Offset,
    checksum: Option<[u8; 4]>,
}

impl MessageMark {
    fn of(message: &CommittedMessage) -> Self {
        Self { offset: message.offset, checksum: message::stored_checksum(&message.value) }
    }
}

/// A message that cannot be decoded: its offset and the error.
type UndecodableMessage = (Offset, ReadError);

/// Delivers a partition's records, in order and without a gap, through as many consumers as necessary.
pub struct TailReader {
    shared: Arc<LogShared>,
    partition: PartitionId,
    /// The offset to deliver next.
    next: Offset,
    /// True for the fold's reader: payload is spooled and progress is counted.
    folds: bool,
    consumer: Option<Box<dyn Consumer>>,
    /// When that consumer was made.
    born: Tick,
    attempt: u32,
    /// The message that was read last.
    last: Option<MessageMark>,
    /// A message that must still be at its offset before any message behind it is believed.
    doubted: Option<MessageMark>,
    /// A message behind the delivered ones that could not be decoded. The next call deals with it.
    failed: Option<UndecodableMessage>,
    /// The offset of a message that could not be decoded once.
    suspected: Option<Offset>,
}

impl TailReader {
    /// The fold's reader: spools inline payload and counts as this process's progress. Makes its
    /// consumer only at the first call of [`LogReader::next`].
    pub fn new(shared: Arc<LogShared>, partition: PartitionId, from: Offset) -> Self {
        Self {
            shared,
            partition,
            next: from,
            folds: true,
            consumer: None,
            born: Tick::default(),
            attempt: 0,
            last: None,
            doubted: None,
            failed: None,
            suspected: None,
        }
    }

    /// A reader for callers other than the fold: neither spools payload nor counts as progress. Order
    /// and errors are the same.
    pub fn reviewing(shared: Arc<LogShared>, partition: PartitionId, from: Offset) -> Self {
        Self { folds: false, ..Self::new(shared, partition, from) }
    }

    fn unavailable(&self, reason: String) -> ReadError {
        ReadError::Unavailable { partition: self.partition, reason }
    }

    /// Waits for the next messages. Replaces consumers that fail or stall, without limit. Fails when
    /// the range is trimmed or lost, and when brokers refuse the reader or no consumer can be made.
    async fn pull(&mut self) -> Result<Vec<CommittedMessage>, ReadError> {
        loop {
            let shared = self.shared.clone();
            let consumer = match &mut self.consumer {
                Some(consumer) => consumer,
                none => {
                    let from = self.doubted.map_or(self.next, |mark| mark.offset);
                    let made = shared.brokers.consumer(self.partition, from, self.attempt);
                    self.born = shared.env.clock.now();
                    none.insert(made.map_err(|error| ReadError::Unavailable {
                        partition: self.partition,
                        reason: error.to_string(),
                    })?)
                }
            };
            let look = shared.env.clock.sleep(LOOK);
            let pulled = match futures::future::select(consumer.next(), look).await {
                Either::Left((pulled, _)) => Some(pulled),
                Either::Right(_) => None,
            };
            match pulled {
                Some(Ok(messages)) => return Ok(messages),
                Some(Err(ConsumeError::Refused(reason))) => return Err(self.unavailable(reason)),
                Some(Err(ConsumeError::OutOfRange)) => {
                    self.replace("the requested offset is not in the log");
                    let bounds = judge_range(&shared, self.partition, self.next).await?;
                    // A log that was cut off and has grown again looks complete from this offset, so
                    // the message read last is compared.
                    self.doubted = self.last.filter(|mark| mark.offset >= bounds.first);
                }
                Some(Err(ConsumeError::Unavailable(reason))) => {
                    self.replace(&reason);
                    shared.env.clock.sleep(RETRY).await;
                }
                None => self.look(),
            }
        }
    }

    /// Replaces a consumer that does not deliver records that are known to be acknowledged.
    fn look(&mut self) {
        let now = self.shared.env.clock.now();
        let is_stalled = {
            let progress = self.shared.partition(self.partition).progress.lock();
            progress.is_stalled(self.born, self.shared.options.stall, now)
        };
        if is_stalled {
            self.replace("it does not deliver acknowledged records");
        }
    }

    /// Drops the consumer. The next one begins at the offset to deliver next, at another broker.
    fn replace(&mut self, reason: &str) {
        self.consumer = None;
        self.attempt = self.attempt.wrapping_add(1);
        self.shared.counters.consumers_replaced.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(partition = %self.partition, next = %self.next, reason, "a consumer is replaced");
    }

    /// Compares the first message with the one that was read last, where that is in doubt. Fails with
    /// [`ReadError::Lost`] when another one is in its place.
    fn settle_doubt(&mut self, messages: &[CommittedMessage]) -> Result<(), ReadError> {
        let Some(doubted) = self.doubted.take() else { return Ok(()) };
        if messages.first().map(MessageMark::of) == Some(doubted) {
            return Ok(());
        }
        Err(ReadError::Lost { partition: self.partition, end: doubted.offset, read: self.next })
    }

    /// Decodes messages in order, up to the first that cannot be decoded, and returns that one's error
    /// as well.
    fn decode(
        &self,
        messages: Vec<CommittedMessage>,
    ) -> (Vec<(CommittedMessage, Record)>, Option<UndecodableMessage>) {
        let mut decoded: Vec<(CommittedMessage, Record)> = Vec::with_capacity(messages.len());
        for message in messages {
            let at_least = decoded.last().map_or(self.next, |(last, _)| last.offset.next());
            // A new consumer may deliver messages that were delivered before.
            if message.offset < at_least {
                continue;
            }
            match message::decode(self.shared.store, self.partition, &message.value) {
                Ok(MessageContent::Record(record)) => decoded.push((message, record)),
                Ok(MessageContent::Identity(_)) => {}
                Err(detail) => {
                    let corrupt = message::corruption(self.partition, message.offset, detail);
                    return (decoded, Some((message.offset, corrupt.into())));
                }
            }
        }
        (decoded, None)
    }

    /// Waits for records and returns at least one. An undecodable message is an error only after it was
    /// read twice, from two consumers. After a transient error the next call begins at the same offset.
    ///
    /// Must not be dropped while it spools: the messages would be taken from the consumer and never be
    /// delivered.
    async fn deliver(&mut self) -> Result<Vec<CommittedRecord>, ReadError> {
        loop {
            if let Some((offset, error)) = self.failed.take() {
                // A new consumer reads that message again, also for a caller that retries.
                self.replace("a message cannot be decoded");
                if self.suspected.replace(offset) == Some(offset) {
                    return Err(error);
                }
            }
            let messages = self.pull().await?;
            self.settle_doubt(&messages)?;
            let newest = messages.last().map(MessageMark::of);
            let (decoded, failed) = self.decode(messages);
            let shared = self.shared.clone();
            let places = match self.folds {
                true => match spool(&shared, self.partition, &decoded).await {
                    Ok(places) => places,
                    Err(error) => {
                        // None of these records has been delivered, so a retry must read them again.
                        self.replace("payload could not be spooled");
                        return Err(error);
                    }
                },
                false => vec![None; decoded.len()],
            };
            self.failed = failed;
            // The mark must be of a message that was decoded: the next consumer begins behind it.
            let newest = match &self.failed {
                None => newest,
                Some(_) => decoded.last().map(|(last, _)| MessageMark::of(last)),
            };
            let next = newest.map_or(self.next, |mark| mark.offset.next());
            self.last = newest.or(self.last);
            self.next = self.next.max(next);
            if self.folds {
                let mut progress = self.shared.partition(self.partition).progress.lock();
                let ids = decoded.iter().map(|(_, record)| record.id);
                progress.delivered(ids, self.next, self.shared.env.clock.now());
            }
            if decoded.is_empty() {
                continue;
            }
            // For records without payload, which are never fetched.
            let nowhere = LogLocation { file: 0, position: 0, len: 0 };
            let committed =
                |((message, record), place): ((CommittedMessage, Record), Option<_>)| {
                    CommittedRecord {
                        offset: message.offset,
                        time: message.time,
                        location: place.unwrap_or(nowhere),
                        record: Arc::new(record),
                    }
                };
            return Ok(decoded.into_iter().zip(places).map(committed).collect());
        }
    }
}

/// Determines why no message is at the requested offset. Below the first offset it was trimmed, by this
/// process or another. Above the end the log has lost messages, but only after brokers have reported
/// the same end for the time in the options. Returns the bounds when the offset is inside them after
/// all.
async fn judge_range(
    shared: &LogShared,
    partition: PartitionId,
    next: Offset,
) -> Result<PartitionBounds, ReadError> {
    let clock = &shared.env.clock;
    let began = clock.now();
    loop {
        match shared.brokers.bounds(partition).await {
            Ok(bounds) if next < bounds.first => {
                // Another process may have trimmed it.
                let mut progress = shared.partition(partition).progress.lock();
                progress.first = progress.first.max(bounds.first);
                return Err(ReadError::Trimmed { partition, offset: next });
            }
            Ok(bounds) if next <= bounds.end => return Ok(bounds),
            Ok(bounds) if clock.now().since(began) >= shared.options.lost => {
                return Err(ReadError::Lost { partition, end: bounds.end, read: next });
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the log's bounds are not known"),
        }
        clock.sleep(RETRY).await;
    }
}

/// Spools inline payload and returns the location of each record's payload, none for records without.
/// Without space on the device the payload stays in the log and is read from there. Reading never waits
/// for space, since only records further on in the log can free it.
async fn spool(
    shared: &LogShared,
    partition: PartitionId,
    decoded: &[(CommittedMessage, Record)],
) -> Result<Vec<Option<LogLocation>>, ReadError> {
    let has_payload =
        |record: &Record| record.inline_payload().is_some_and(|bytes| !bytes.is_empty());
    let wanted: Vec<(Offset, Bytes)> = decoded
        .iter()
        .filter(|(_, record)| has_payload(record))
        .map(|(message, _)| (message.offset, message::record_bytes(&message.value)))
        .collect();
    if wanted.is_empty() {
        return Ok(vec![None; decoded.len()]);
    }
    let kept = keep(shared, partition, &wanted).await?;
    let places = kept.unwrap_or_else(|| {
        tracing::warn!(%partition, "no room to spool payload: it is left in the log");
        wanted.iter().map(|(offset, record)| super::spool::in_the_log(*offset, record)).collect()
    });
    let mut places = places.into_iter();
    let place = |(_, record): &(CommittedMessage, Record)| {
        if has_payload(record) { places.next() } else { None }
    };
    Ok(decoded.iter().map(place).collect())
}

/// Spools records, or returns none when that would take space from cuts and merges.
async fn keep(
    shared: &LogShared,
    partition: PartitionId,
    wanted: &[(Offset, Bytes)],
) -> Result<Option<Vec<LogLocation>>, ReadError> {
    // Half of the reserve: this node's own writes end at the whole reserve, but those of other nodes go
    // on for a while.
    let least = shared.options.reserve_bytes / 2;
    if least > 0 && shared.env.disk.free_bytes(Place::Hot).await.is_ok_and(|free| free < least) {
        return Ok(None);
    }
    match shared.partition(partition).spool.keep(wanted).await {
        Ok(places) => Ok(Some(places)),
        Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(None),
        Err(error) => Err(ReadError::Unavailable { partition, reason: error.to_string() }),
    }
}

/// Reads a record's inline payload from the brokers, for records that were not spooled. Fails with
/// [`ReadError::Unavailable`] after 10 s, and with [`ReadError::Trimmed`] when the record is trimmed.
pub async fn fetch(
    shared: Arc<LogShared>,
    partition: PartitionId,
    offset: Offset,
) -> Result<Bytes, ReadError> {
    let clock = shared.env.clock.clone();
    let mut reader = TailReader::reviewing(shared, partition, offset);
    let unavailable =
        |reason: &str| ReadError::Unavailable { partition, reason: reason.to_owned() };
    let found = timeout(clock.as_ref(), FETCH_WAIT, reader.deliver()).await;
    let found =
        found.ok_or_else(|| unavailable("the brokers did not deliver the record in time"))??;
    let record = found.into_iter().find(|committed| committed.offset == offset);
    let record = record.ok_or_else(|| unavailable("the brokers delivered other records"))?.record;
    Ok(record.inline_payload().cloned().unwrap_or_default())
}

impl LogReader for TailReader {
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedRecord>, ReadError>> {
        Box::pin(self.deliver())
    }
}
