//! The fold: takes committed records in order, applies each once, answers, and freezes at cuts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::bulk::{BulkError, UploadGuard};
use ingest::entry::Entry;
use ingest::env::{Fut, Task};
use ingest::ids::{CutNumber, Offset, WriterId};
use ingest::log::{CommittedRecord, LogReader, ReadError};
use ingest::mutant::Mutant;
use ingest::record::{RecordBody, RecordPayload, StreamPiece};
use ingest::time::WallTime;

use super::hold::FoldHold;
use super::streams::{OpenStreams, WholeStream};
use super::time_bound::TimeBound;
use super::{OpenError, PartitionShared, nodes, writer};
use crate::apply::{PriorState, ReadSet, RecordEffects, apply, needs};
use crate::lookup::resolve;
use crate::memtable::{Memtable, StateChange, bulk_files, state_bulk_files};
use crate::outcome::{RecordOutcome, Rejection};
use crate::restore::{RestoreError, restore};
use crate::state::{Buckets, LastWrites, RecordAdmission, WriterStates};
use crate::view::ReadView;
use crate::visibility::EntryShape;

/// What the fold knew when a memtable was frozen: what the cut writes beside the memtable itself.
#[derive(Clone)]
pub(crate) struct FrozenState {
    pub memtable: Arc<Memtable>,
    pub cut: CutNumber,
    /// Everything below is folded.
    pub next: Offset,
    pub time: WallTime,
    pub writers: WriterStates,
    /// Writers that a state run may still hold and that are forgotten now.
    pub expired: Vec<WriterId>,
    /// Streams under way, and those that have ended.
    pub streams: Vec<StateChange>,
    /// Last writes of buckets since the cut before.
    pub last_writes: Vec<StateChange>,
    /// Hash of the record that made the cut; see [`crate::catalog::Catalog::last`].
    pub last: [u8; 16],
}

struct Fold {
    shared: Arc<PartitionShared>,
    writers: WriterStates,
    expired: Vec<WriterId>,
    streams: OpenStreams,
    last_writes: LastWrites,
    cut: CutNumber,
    time: WallTime,
}

/// The log is asked for its end again after so long.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Restores the state from the catalog, replays the log to its end, and starts the task that goes on.
pub(super) async fn start(shared: &Arc<PartitionShared>) -> Result<Task, OpenError> {
    let (cut, time, next) = {
        let view = shared.view.read();
        let catalog = &view.sealed.catalog;
        (catalog.cut, catalog.time, catalog.next)
    };
    let mut fold = Fold {
        shared: shared.clone(),
        writers: WriterStates::default(),
        expired: Vec::new(),
        streams: OpenStreams::default(),
        last_writes: LastWrites::default(),
        cut,
        time,
    };
    let mut hold = FoldHold::new(shared, "the state that the last cut left");
    while let Err(error) = fold.restore().await {
        let OpenError::Read(error) = error else { return Err(error) };
        hold.at_open(error).await?;
    }
    let mut reader = shared.log.read(shared.id, next).await?;
    fold.replay(&mut reader).await?;
    // Before anything is appended whose time could matter.
    let clock = &shared.env.clock;
    *shared.time.lock() = TimeBound::start(fold.time, clock.wall(), clock.now());
    shared.replayed.send_replace(true);
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        let error = fold.run(reader).await;
        tracing::error!(%error, partition = %shared.id, "the fold has stopped");
        shared.stop(error.to_string());
    });
    Ok(env.rt.spawn("fold", task))
}

impl PartitionShared {
    fn applied(&self) -> Offset {
        self.view.read().memtable.applied()
    }
}

impl Fold {
    /// Folds up to what was in the log when this began.
    async fn replay(&mut self, reader: &mut Box<dyn LogReader>) -> Result<(), OpenError> {
        let shared = self.shared.clone();
        let token = loop {
            match shared.log.barrier(shared.id).await {
                Ok(token) => break token,
                Err(error) => {
                    tracing::warn!(%error, "the end of the log is not known; asking again");
                    shared.env.clock.sleep(RETRY).await;
                }
            }
        };
        let mut met = std::pin::pin!(shared.barriers.wait(token));
        loop {
            if futures::FutureExt::now_or_never(&mut met).is_some() {
                return Ok(());
            }
            let mut hold = FoldHold::new(&shared, "the log");
            let batch = loop {
                match reader.next().await {
                    Ok(batch) => break batch,
                    Err(error) => hold.at_open(error).await?,
                }
            };
            self.take(batch).await?;
        }
    }

    /// Takes what the state runs know.
    async fn restore(&mut self) -> Result<(), OpenError> {
        let restored = restore(&self.shared.snapshot()).await.map_err(|error| match error {
            RestoreError::Read(error) => OpenError::Read(error),
            error @ RestoreError::Undecodable(_) => OpenError::Fold(error.to_string()),
        })?;
        for (id, state) in restored.streams {
            for extent in &state.extents {
                self.shared.bulk.skip_to(extent.file.next());
            }
            self.streams.restore(id, state);
        }
        self.writers = restored.writers;
        self.last_writes = restored.last_writes;
        *self.shared.buckets.write() = Arc::new(restored.buckets);
        Ok(())
    }

    /// Folds until the log has lost what was acknowledged, or this node's copy cannot go on. What cannot be
    /// read now is waited for, and said to be so.
    async fn run(&mut self, mut reader: Box<dyn LogReader>) -> ReadError {
        let shared = self.shared.clone();
        let mut hold = FoldHold::new(&shared, "the log");
        loop {
            match reader.next().await {
                Ok(batch) => {
                    hold.end();
                    if let Err(error) = self.take(batch).await {
                        return error;
                    }
                }
                Err(error @ (ReadError::Lost { .. } | ReadError::Trimmed { .. })) => return error,
                Err(error) => hold.wait(&error).await,
            }
        }
    }

    async fn take(&mut self, batch: Vec<CommittedRecord>) -> Result<(), ReadError> {
        for committed in batch {
            self.fold(committed).await?;
        }
        self.shared.barriers.applied(self.shared.applied());
        self.shared.grown.notify_one();
        Ok(())
    }

    async fn fold(&mut self, committed: CommittedRecord) -> Result<(), ReadError> {
        let offset = committed.offset;
        let id = committed.record.id;
        self.shared.records.fetch_add(1, Ordering::Relaxed);
        if !committed.record.is_numbered() {
            self.pass(&committed).await?;
            self.shared.view.read().memtable.advance(offset.next());
            return Ok(());
        }
        let applies_again = self.shared.env.mutated(Mutant::ApplyDuplicates);
        let outcome = match self.writers.admit(&id) {
            RecordAdmission::Repeated(_) | RecordAdmission::Rejected(_) if applies_again => {
                self.apply(committed).await?
            }
            RecordAdmission::Repeated(outcome) => {
                self.shared.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                self.shared.view.read().memtable.advance(offset.next());
                outcome
            }
            RecordAdmission::Rejected(rejection) => {
                self.shared.counters.rejected.fetch_add(1, Ordering::Relaxed);
                self.shared.view.read().memtable.advance(offset.next());
                RecordOutcome::Rejected(rejection)
            }
            RecordAdmission::Next => self.apply(committed).await?,
        };
        let is_out_of_step = self.shared.writer.lock().answer(&id, outcome);
        if is_out_of_step {
            writer::lose_step(&self.shared);
        }
        Ok(())
    }

    /// Takes a record that has no outcome of its own.
    async fn pass(&mut self, committed: &CommittedRecord) -> Result<(), ReadError> {
        let id = &committed.record.id;
        match &committed.record.body {
            RecordBody::OpenWriter => {
                let opened = self.writers.open(id, committed.offset);
                if opened == RecordOutcome::Done
                    && let Some(last) = self.writers.last(&id.writer)
                {
                    self.shared.writer.lock().opened(id, last);
                    self.shared.opened.notify_waiters();
                }
            }
            RecordBody::Barrier => self.shared.barriers.meet(id),
            RecordBody::Data(data) => self.take_payload(data, committed.record.time).await?,
            RecordBody::Abandon { stream } => {
                if !self.shared.env.mutated(Mutant::KeepAbandoned) {
                    self.streams.abandon(*stream);
                }
                self.count_streams();
            }
            RecordBody::Room(room) => nodes::take_room(&self.shared, room),
            RecordBody::Digest(digest) => nodes::take_digest(&self.shared, digest),
            RecordBody::Claim { node, process, stage } => {
                nodes::take_claim(&self.shared, *node, *process, *stage);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes a piece of payload to this node's bulk files, if there is room for it.
    async fn take_payload(&mut self, data: &StreamPiece, time: WallTime) -> Result<(), ReadError> {
        let (shared, time) = (self.shared.clone(), self.time.max(time));
        while shared.env.mutated(Mutant::WaitForRoom)
            && shared.env.disk.free_bytes().await.is_ok_and(|free| free < data.total)
        {
            shared.env.clock.sleep(RETRY).await;
        }
        let mut hold = FoldHold::new(&shared, "a file for payload");
        let is_lost = loop {
            match self.streams.take(&shared.bulk, data, time).await {
                Ok(is_lost) => break is_lost,
                // Nothing of the piece has been written, and trying again may help.
                Err(error @ BulkError::Disk(_)) => hold.wait(&self.device_failed(&error)).await,
                Err(error) => return Err(self.device_failed(&error)),
            }
        };
        hold.end();
        if is_lost {
            shared.counters.streams_missing.fetch_add(1, Ordering::Relaxed);
        }
        self.count_streams();
        Ok(())
    }

    fn count_streams(&self) {
        let streams = self.streams.count() as u64;
        self.shared.counters.streams.store(streams, Ordering::Relaxed);
    }

    fn device_failed(&self, error: &BulkError) -> ReadError {
        let reason = format!("payload could not be written: {error}");
        ReadError::Unavailable { partition: self.shared.id, reason }
    }

    /// Puts this node's extents in the place of a stream that a record names. Whether the stream is whole
    /// follows from the log, so all nodes agree; when it is not the record is not applied.
    async fn localize(
        &mut self,
        committed: &mut CommittedRecord,
    ) -> Result<Result<Option<UploadGuard>, Rejection>, ReadError> {
        let Some(named) = committed.record.stream() else { return Ok(Ok(None)) };
        let ended = self.streams.end(&named).await;
        self.count_streams();
        let Some(whole) = ended.map_err(|error| self.device_failed(&error))? else {
            return Ok(Err(Rejection::PayloadMissing));
        };
        let WholeStream { len, digest, extents, guard } = whole;
        let fits = match &mut committed.record.body {
            RecordBody::PutObject(put) => {
                put.payload = RecordPayload::Bulk(extents);
                put.attributes.size == len && put.digest == digest
            }
            RecordBody::PutPart(put) => {
                put.part.extents = extents;
                put.part.size == len && put.part.digest == digest
            }
            _ => false,
        };
        if fits {
            return Ok(Ok(guard));
        }
        if let Some(guard) = guard {
            guard.give_back();
        }
        Ok(Err(Rejection::PayloadMissing))
    }

    async fn apply(&mut self, mut committed: CommittedRecord) -> Result<RecordOutcome, ReadError> {
        let shared = self.shared.clone();
        let offset = committed.offset;
        // Held until the memtable refers to the payload.
        let mut held = match self.localize(&mut committed).await? {
            Ok(held) => held,
            Err(rejection) => {
                let outcome = RecordOutcome::Rejected(rejection);
                self.writers.record(&committed.record.id, offset, outcome);
                shared.view.read().memtable.advance(offset.next());
                return Ok(outcome);
            }
        };
        let committed = &committed;
        let buckets = shared.buckets.read().clone();
        let wanted = needs(&buckets, &committed.record);
        let mut prior = prior_of(&shared, &wanted).await?;
        shared.counters.prior_looked_at.fetch_add(prior.looked_at, Ordering::Relaxed);
        let ignores_writes = shared.env.mutated(Mutant::DeleteBucketBlindly);
        prior.last_write = wanted
            .uploads_of
            .filter(|_| !ignores_writes)
            .and_then(|bucket| self.last_writes.of(bucket));
        let time = self.time.max(committed.record.time);
        let RecordEffects { outcome, entries, state, bucket, freezes } =
            apply(&shared.options.rules, shared.id, &buckets, self.cut, time, prior, committed);
        // What makes nothing gives no time: a clock that was wrong for a moment would date what comes later.
        if !entries.is_empty() || !state.is_empty() || bucket.is_some() {
            self.time = time;
            if !shared.writer.lock().wrote(&committed.record.id) {
                shared.time.lock().saw(time, shared.env.clock.now());
            }
        }
        let freezes = freezes
            || (shared.env.mutated(Mutant::CutTwice)
                && matches!(committed.record.body, RecordBody::Cut { .. }));
        if shared.env.mutated(Mutant::AnswerBeforeApply) {
            shared.writer.lock().answer(&committed.record.id, outcome);
            ingest::env::yield_once().await;
        }
        if let Some((id, changed)) = bucket {
            let mut buckets = Buckets::clone(&buckets);
            match changed {
                Some(bucket) => buckets.insert(bucket),
                None => {
                    buckets.remove(id);
                    self.last_writes.forget(id);
                }
            }
            *shared.buckets.write() = Arc::new(buckets);
        }
        for entry in entries.iter().filter(|entry| EntryShape::of(&entry.statement).may_fill()) {
            self.last_writes.note(entry.key.bucket(), offset);
        }
        if matches!(outcome, RecordOutcome::Rejected(_))
            && let Some(held) = held.take()
        {
            held.give_back();
        }
        self.writers.record(&committed.record.id, offset, outcome);
        let memtable = shared.view.read().memtable.clone();
        if !*shared.replayed.borrow() {
            self.keep_bulk_numbers(&entries, &state);
        }
        memtable.insert(offset, entries, state);
        memtable.advance(offset.next());
        if freezes {
            self.freeze(offset.next(), hash_of(&committed.record));
        }
        Ok(outcome)
    }

    /// During replay: a bulk file that a record names may be lost, and its number must not come to mean
    /// another file.
    fn keep_bulk_numbers(&self, entries: &[Entry], state: &[StateChange]) {
        let named = entries.iter().flat_map(|entry| bulk_files(&entry.statement));
        let parts = state.iter().flat_map(|(key, value)| {
            state_bulk_files(key, value.as_ref()).expect("the fold encoded this value itself")
        });
        for id in named.chain(parts) {
            self.shared.bulk.skip_to(id.next());
        }
    }

    /// Sets the memtable aside for the flush job and goes on in a new one.
    fn freeze(&mut self, next: Offset, last: [u8; 16]) {
        let shared = &self.shared;
        shared.records.store(0, Ordering::Relaxed);
        self.cut = self.cut.next();
        self.expired.extend(self.writers.expire(next));
        let mut view = shared.view.write();
        let frozen = FrozenState {
            memtable: view.memtable.clone(),
            cut: self.cut,
            next,
            time: self.time,
            writers: if shared.env.mutated(Mutant::ForgetWritersAtCut) {
                WriterStates::default()
            } else {
                self.writers.clone()
            },
            expired: std::mem::take(&mut self.expired),
            streams: self.streams.freeze(self.time),
            last_writes: if shared.env.mutated(Mutant::ForgetLastWritesAtCut) {
                Vec::new()
            } else {
                self.last_writes.freeze()
            },
            last,
        };
        self.count_streams();
        shared.publisher.replaced(&view);
        let mut memtables = vec![view.memtable.clone()];
        memtables.extend(view.frozen.iter().cloned());
        *view = Arc::new(ReadView {
            partition: view.partition,
            memtable: Arc::new(Memtable::new(next)),
            frozen: memtables,
            sealed: view.sealed.clone(),
        });
        drop(view);
        shared.freezes.lock().push_back(frozen);
        shared.folded_cut.send_replace(self.cut);
        shared.frozen.notify_one();
    }
}

/// Finds the facts that a record's outcome hangs on. An outcome cannot be guessed, so what cannot be read
/// now is waited for; reads of everything that can be read go on meanwhile.
async fn prior_of(
    shared: &Arc<PartitionShared>,
    wanted: &ReadSet,
) -> Result<PriorState, ReadError> {
    let mut hold = FoldHold::new(shared, "what was there before");
    loop {
        match resolve(&shared.snapshot(), wanted).await {
            Ok(prior) => {
                hold.end();
                return Ok(prior);
            }
            Err(error) if shared.env.mutated(Mutant::StopOnTransientRead) => return Err(error),
            Err(error) if !*shared.replayed.borrow() => hold.at_open(error).await?,
            Err(error) => hold.wait(&error).await,
        }
    }
}

/// Tells one record from another: XXH3-128 of its encoding.
pub fn hash_of(record: &ingest::record::Record) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(&record.encode()).to_le_bytes()
}
