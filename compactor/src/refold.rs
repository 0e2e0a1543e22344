//! The fold of a log without a partition: computes the effect of records above a catalog's cut, in memory.
//!
//! Used to check a data directory offline. Nothing is written and no request is answered. Decisions are
//! those of the fold, because [`apply`] and [`resolve`] are shared. A rejected record refers to nothing, so
//! its payload may be missing.

use std::sync::Arc;

use ingest::entry::{EntryValue, Extent, PayloadLocation};
use ingest::ids::{CutNumber, PartitionId};
use ingest::log::{CommittedRecord, ReadError};
use ingest::record::RecordBody;
use ingest::time::WallTime;

use crate::apply::{RecordEffects, StoreRules, apply, needs};
use crate::lookup::resolve;
use crate::memtable::Memtable;
use crate::outcome::{RecordOutcome, Rejection};
use crate::restore::restore;
use crate::state::{Buckets, EventQueues, LastWrites, RecordAdmission, WriterStates, decode_part};
use crate::view::{ReadView, SealedFiles, Snapshot};
use crate::visibility::EntryShape;

/// The error of a fold that cannot begin, because the catalog's state cannot be restored.
#[derive(Debug, thiserror::Error)]
#[error("the log cannot be folded: {0}")]
pub struct RefoldError(String);

/// The state of an offline fold: the same as that of a server after the replay of the same records.
pub struct Refold {
    rules: StoreRules,
    id: PartitionId,
    view: Arc<ReadView>,
    buckets: Arc<Buckets>,
    writers: WriterStates,
    last_writes: LastWrites,
    events: EventQueues,
    cut: CutNumber,
    time: WallTime,
}

impl Refold {
    /// Begins at the cut of a catalog whose files are open. Fails if the state tables cannot be read or
    /// decoded.
    pub async fn begin(rules: StoreRules, sealed: Arc<SealedFiles>) -> Result<Self, RefoldError> {
        let catalog = &sealed.catalog;
        let (id, cut, time) = (catalog.partition, catalog.cut, catalog.time);
        let memtable = Arc::new(Memtable::new(catalog.next));
        let view = Arc::new(ReadView { partition: id, memtable, frozen: Vec::new(), sealed });
        let buckets = Arc::new(Buckets::default());
        let snapshot = Snapshot { at: view.memtable.applied(), view: view.clone(), buckets };
        let restored = restore(&snapshot).await.map_err(|error| RefoldError(error.to_string()))?;
        Ok(Self {
            rules,
            id,
            view,
            buckets: Arc::new(restored.buckets),
            writers: restored.writers,
            last_writes: restored.last_writes,
            events: restored.events,
            cut,
            time,
        })
    }

    /// Returns a snapshot of everything that was folded so far, with which reads work as in a server.
    pub fn snapshot(&self) -> Snapshot {
        let (view, buckets) = (self.view.clone(), self.buckets.clone());
        Snapshot { at: view.memtable.applied(), view, buckets }
    }

    /// Folds the next record; returns the extents of payload to which the store refers because of it.
    /// Records must come in log order from the catalog's next offset on. Fails if prior state cannot be
    /// read; the fold must not continue then.
    pub async fn take(&mut self, committed: &CommittedRecord) -> Result<Vec<Extent>, ReadError> {
        let (id, offset) = (&committed.record.id, committed.offset);
        let mut extents = Vec::new();
        if !committed.record.is_numbered() {
            if matches!(committed.record.body, RecordBody::OpenWriter) {
                self.writers.open(id, offset);
            }
        } else if self.writers.admit(id) == RecordAdmission::Next {
            extents = self.apply(committed).await?;
        }
        self.view.memtable.advance(offset.next());
        Ok(extents)
    }

    /// Applies a numbered record that is not a repetition.
    async fn apply(&mut self, committed: &CommittedRecord) -> Result<Vec<Extent>, ReadError> {
        let (id, offset) = (&committed.record.id, committed.offset);
        if committed.record.stream().is_some() {
            // Only logs on brokers carry payload, and such a log is not on this machine.
            self.writers.record(id, offset, RecordOutcome::Rejected(Rejection::PayloadMissing));
            return Ok(Vec::new());
        }
        let wanted = needs(&self.buckets, &committed.record);
        let mut prior = resolve(&self.snapshot(), &wanted).await?;
        prior.last_write = wanted.uploads_of.and_then(|bucket| self.last_writes.of(bucket));
        prior.queue = wanted.queue.and_then(|queue| self.events.get(&queue));
        let time = self.time.max(committed.record.time);
        let RecordEffects { outcome, entries, mut state, bucket, queue, events, freezes } =
            apply(&self.rules, self.id, &self.buckets, self.cut, time, prior, committed);
        if !entries.is_empty() || !state.is_empty() || bucket.is_some() {
            self.time = time;
        }
        if let Some((id, changed)) = bucket {
            let buckets = Arc::make_mut(&mut self.buckets);
            match changed {
                Some(bucket) => buckets.insert(bucket),
                None => {
                    buckets.remove(id);
                    self.last_writes.forget(id);
                }
            }
        }
        let mut extents = Vec::new();
        for entry in &entries {
            if let EntryValue::Object(object) = &entry.statement
                && let PayloadLocation::Bulk(named) = &object.payload
            {
                extents.extend_from_slice(named);
            }
            if EntryShape::of(&entry.statement).may_fill() {
                self.last_writes.note(entry.key.bucket(), offset);
            }
        }
        let parts = state.iter().filter(|(key, _)| key.is_part());
        for value in parts.filter_map(|(_, value)| value.clone()) {
            let (_, part) = decode_part(value).expect("apply encoded this value itself");
            extents.extend_from_slice(&part.extents);
        }
        for event in events {
            self.events.add(&event);
            state.push((event.key(), Some(event.value)));
        }
        if let Some((name, queue)) = queue {
            self.events.set(&name, queue);
        }
        self.writers.record(id, offset, outcome);
        self.view.memtable.insert(offset, entries, state);
        if freezes {
            self.cut = self.cut.next();
            self.writers.expire(offset.next());
        }
        Ok(extents)
    }
}
