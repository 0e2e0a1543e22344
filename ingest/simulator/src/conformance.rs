//! The contract of a log, as checks that every implementation must pass.
//!
//! The checks assume neither files, nor dense offsets, nor acknowledgements that carry an offset; they
//! see the promises of [`ingest::log`] only. A log that repeats records passes as long as it repeats
//! them whole.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{BoxFuture, join_all};
use ingest::entry::Attributes;
use ingest::env::{Env, FilePath};
use ingest::ids::{
    BucketId, ConfigVersion, Epoch, Offset, PartitionId, Sequence, StoreId, WriterId,
};
use ingest::log::brokers::Brokers;
use ingest::log::replicated::{ReplicatedLog, ReplicatedLogOptions};
use ingest::log::{BarrierToken, CommittedRecord, Log, LogReader, ReadError};
use ingest::name::ObjectKey;
use ingest::record::{PutObject, Record, RecordBody, RecordId, RecordPayload, WriteCondition};
use ingest::time::WallTime;
use parking_lot::Mutex;

/// Opens and closes the log that is checked.
pub trait LogFactory: Sync {
    /// Opens the log; after the first time with the content that the time before left. Panics when that
    /// fails.
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>>;

    /// Closes the log cleanly. Always called before the next [`LogFactory::open`].
    fn close(&self, log: Arc<dyn Log>) -> BoxFuture<'_, ()>;
}

/// A log on brokers, set up by the first opening.
pub struct OnBrokers<B> {
    env: Env,
    brokers: B,
    open: Mutex<Option<Arc<ReplicatedLog>>>,
}

impl<B: Fn() -> Arc<dyn Brokers> + Sync> OnBrokers<B> {
    /// A factory for a log that must be empty at first; `brokers` is called at every opening and
    /// returns the brokers to use.
    pub fn new(env: Env, brokers: B) -> Self {
        Self { env, brokers, open: Mutex::default() }
    }
}

impl<B: Fn() -> Arc<dyn Brokers> + Sync> LogFactory for OnBrokers<B> {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let brokers = (self.brokers)();
            let store = StoreId([3; 16]);
            let set_up = ReplicatedLog::establish(&self.env, &brokers, 1, store, "cluster").await;
            set_up.expect("set up");
            let options = ReplicatedLogOptions::new(FilePath::new("spool"));
            let log = ReplicatedLog::open(&self.env, brokers, 1, Some(store), options).await;
            let log = Arc::new(log.expect("opened"));
            *self.open.lock() = Some(log.clone());
            log as Arc<dyn Log>
        })
    }

    fn close(&self, _log: Arc<dyn Log>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open = self.open.lock().take();
            if let Some(open) = open {
                open.close().await;
            }
        })
    }
}

const PARTITION: PartitionId = PartitionId::ZERO;

/// A put of `payload` under a key of its own, as the record `sequence` of the writer of `caller`. The
/// sequences of a caller must rise from 1.
pub fn record(caller: u8, sequence: u64, payload: &[u8]) -> Record {
    let key = format!("caller-{caller}/{sequence}");
    Record {
        id: RecordId {
            writer: WriterId([caller; 16]),
            epoch: Epoch::new(1),
            sequence: Sequence::new(sequence),
        },
        principal: "somebody".into(),
        request: format!("{caller}-{sequence}"),
        time: WallTime::default(),
        body: RecordBody::PutObject(PutObject {
            bucket: BucketId::new(1),
            config: ConfigVersion::ZERO,
            key: ObjectKey::new(key.into_bytes()).expect("a short key"),
            condition: WriteCondition::Always,
            attributes: Attributes { size: payload.len() as u64, ..Attributes::default() },
            digest: 0,
            payload: RecordPayload::Inline(Bytes::copy_from_slice(payload)),
        }),
    }
}

/// Admits and appends a record, and returns after it is durable. Fails as admission or the append does.
pub async fn append(log: &Arc<dyn Log>, record: Record) -> Result<(), ingest::log::AppendError> {
    let permit = log.admit(PARTITION, record.bytes_estimate()).await?;
    log.append(permit, record.into()).await
}

/// Reads from an offset on, in order, until all records are read that were acknowledged before this
/// call. Fails when the barrier or a read fails.
pub async fn read_all(log: &Arc<dyn Log>, from: Offset) -> Result<Vec<CommittedRecord>, ReadError> {
    let token = log.barrier(PARTITION).await.map_err(|error| ReadError::Unavailable {
        partition: PARTITION,
        reason: error.to_string(),
    })?;
    let mut reader = log.read(PARTITION, from).await?;
    read_until(&mut reader, from, token).await
}

/// Reads until a barrier is met.
async fn read_until(
    reader: &mut Box<dyn LogReader>,
    from: Offset,
    token: BarrierToken,
) -> Result<Vec<CommittedRecord>, ReadError> {
    let mut found: Vec<CommittedRecord> = Vec::new();
    loop {
        let is_met = match token {
            BarrierToken::Below(end) => found.last().map_or(from, |r| r.offset.next()) >= end,
            BarrierToken::Record(id) => found.iter().any(|r| r.record.id == id),
        };
        if is_met {
            return Ok(found);
        }
        found.extend(reader.next().await?);
    }
}

/// The ids of the callers' records, in the order of their first occurrence.
fn firsts(found: &[CommittedRecord]) -> Vec<RecordId> {
    let mut seen = BTreeSet::new();
    let ids = found.iter().filter(|r| matches!(r.record.body, RecordBody::PutObject(_)));
    ids.map(|r| r.record.id).filter(|id| seen.insert(*id)).collect()
}

/// Runs every check, one after another, each on a log that it opens and closes. The log must be empty
/// before. Panics at the first broken promise.
pub async fn check_all(factory: &dyn LogFactory) {
    what_is_acknowledged_is_read_in_the_order_of_its_caller(factory).await;
    a_restart_keeps_everything(factory).await;
    a_reader_waits_for_more(factory).await;
    a_dropped_append_may_still_be_done_and_is_whole(factory).await;
    inline_payload_is_fetched_again(factory).await;
    a_review_delivers_what_reading_does(factory).await;
    many_callers_at_once_keep_their_order(factory).await;
    what_is_trimmed_is_refused(factory).await;
    permits_are_given_back(factory).await;
}

async fn what_is_acknowledged_is_read_in_the_order_of_its_caller(factory: &dyn LogFactory) {
    let log = factory.open().await;
    for sequence in 1..=20 {
        append(&log, record(1, sequence, b"payload")).await.expect("appended");
    }
    let found = read_all(&log, log.status(PARTITION).first).await.expect("read");
    let wanted: Vec<RecordId> = (1..=20).map(|n| record(1, n, b"").id).collect();
    let mine = |ids: Vec<RecordId>| -> Vec<RecordId> {
        ids.into_iter().filter(|id| id.writer == WriterId([1; 16])).collect()
    };
    assert_eq!(mine(firsts(&found)), wanted);
    assert!(found.is_sorted_by(|a, b| a.offset < b.offset), "offsets rise strictly");
    let again = read_all(&log, found[10].offset).await.expect("read from the middle");
    assert_eq!(again[0].offset, found[10].offset);
    assert_eq!(again[0].record, found[10].record);
    factory.close(log).await;
}

async fn a_restart_keeps_everything(factory: &dyn LogFactory) {
    let log = factory.open().await;
    append(&log, record(2, 1, &[7; 5000])).await.expect("appended");
    let before = read_all(&log, log.status(PARTITION).first).await.expect("read");
    factory.close(log).await;
    let log = factory.open().await;
    let after = read_all(&log, log.status(PARTITION).first).await.expect("read");
    let contents = |found: &[CommittedRecord]| -> Vec<(Offset, Arc<Record>)> {
        found.iter().map(|r| (r.offset, r.record.clone())).collect()
    };
    let (before, after) = (contents(&before), contents(&after));
    // Additional records can only be the barriers that were appended to find the end.
    let (same, more) = after.split_at_checked(before.len()).expect("nothing is missing");
    assert!(before == same, "a restart changes nothing");
    assert!(more.iter().all(|(_, record)| record.body == RecordBody::Barrier));
    factory.close(log).await;
}

async fn a_reader_waits_for_more(factory: &dyn LogFactory) {
    let log = factory.open().await;
    let end = log.status(PARTITION).end;
    let mut reader = log.read(PARTITION, end).await.expect("a reader at the end");
    let until_it_comes = async {
        loop {
            // Where the end is only some broker's belief, earlier records may come first.
            let delivered = reader.next().await.expect("delivered");
            if delivered.iter().any(|r| r.record.id == record(3, 1, b"").id) {
                return;
            }
        }
    };
    let appended = append(&log, record(3, 1, b"late"));
    let ((), appended) = futures::future::join(until_it_comes, appended).await;
    appended.expect("appended");
    factory.close(log).await;
}

async fn a_dropped_append_may_still_be_done_and_is_whole(factory: &dyn LogFactory) {
    let log = factory.open().await;
    let dropped = record(4, 1, b"dropped");
    let permit = log.admit(PARTITION, dropped.bytes_estimate()).await.expect("room");
    drop(log.append(permit, dropped.clone().into()));
    append(&log, record(4, 2, b"kept")).await.expect("appended");
    let found = read_all(&log, log.status(PARTITION).first).await.expect("read");
    for found in found.iter().filter(|r| r.record.id == dropped.id) {
        assert_eq!(*found.record, dropped);
    }
    factory.close(log).await;
}

async fn inline_payload_is_fetched_again(factory: &dyn LogFactory) {
    let log = factory.open().await;
    append(&log, record(5, 1, &[42; 9000])).await.expect("appended");
    let found = read_all(&log, log.status(PARTITION).first).await.expect("read");
    for committed in found {
        let Some(payload) = committed.record.inline_payload() else { continue };
        let fetched = log.fetch(PARTITION, committed.location).await.expect("fetched");
        assert_eq!(fetched, *payload);
    }
    factory.close(log).await;
}

async fn a_review_delivers_what_reading_does(factory: &dyn LogFactory) {
    let log = factory.open().await;
    append(&log, record(8, 1, &[8; 9000])).await.expect("appended");
    let first = log.status(PARTITION).first;
    let read = read_all(&log, first).await.expect("read");
    let last = read.last().expect("one record at least").offset;
    let mut reader = log.review(PARTITION, first).await.expect("a reader");
    let token = BarrierToken::Below(last.next());
    let reviewed = read_until(&mut reader, first, token).await.expect("reviewed");
    let contents = |found: &[CommittedRecord]| -> Vec<(Offset, Arc<Record>)> {
        found.iter().map(|r| (r.offset, r.record.clone())).collect()
    };
    let reviewed = contents(&reviewed);
    assert!(reviewed.starts_with(&contents(&read)), "the same records at the same offsets");
    factory.close(log).await;
}

async fn many_callers_at_once_keep_their_order(factory: &dyn LogFactory) {
    let log = factory.open().await;
    let caller = |caller: u8| {
        let log = log.clone();
        async move {
            for sequence in 1..=20 {
                append(&log, record(caller, sequence, &[caller; 700])).await.expect("appended");
            }
        }
    };
    join_all((10..20).map(caller)).await;
    let found = firsts(&read_all(&log, log.status(PARTITION).first).await.expect("read"));
    for caller in 10..20u8 {
        let own = found.iter().filter(|id| id.writer == WriterId([caller; 16]));
        let own: Vec<u64> = own.map(|id| id.sequence.get()).collect();
        assert_eq!(own, (1..=20).collect::<Vec<_>>(), "caller {caller}");
    }
    factory.close(log).await;
}

async fn what_is_trimmed_is_refused(factory: &dyn LogFactory) {
    let log = factory.open().await;
    append(&log, record(6, 1, b"one")).await.expect("appended");
    append(&log, record(6, 2, b"two")).await.expect("appended");
    let found = read_all(&log, log.status(PARTITION).first).await.expect("read");
    let last = found.last().expect("two records at least").offset;
    log.trim(PARTITION, last).await.expect("trimmed");
    let below = found[0].offset;
    let refused = match log.read(PARTITION, below).await {
        Err(error) => Err(error),
        Ok(mut reader) => reader.next().await,
    };
    assert!(matches!(refused, Err(ReadError::Trimmed { .. })), "{refused:?}");
    let rest = read_all(&log, last).await.expect("read");
    assert_eq!(rest[0].offset, last);
    factory.close(log).await;
}

async fn permits_are_given_back(factory: &dyn LogFactory) {
    let log = factory.open().await;
    for _ in 0..500 {
        drop(log.admit(PARTITION, 20_000).await.expect("room"));
    }
    append(&log, record(7, 1, b"still")).await.expect("appended");
    factory.close(log).await;
}
