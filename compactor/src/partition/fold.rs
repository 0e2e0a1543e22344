//! The fold: reads committed records in order, applies each once, answers requests, and freezes memtables
//! at cuts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ingest::bulk::{BulkError, UploadGuard};
use ingest::entry::Entry;
use ingest::env::{Fut, Task};
use ingest::ids::{BucketId, CutNumber, Offset, WriterId};
use ingest::log::{CommittedRecord, LogReader, ReadError};
use ingest::mutant::Mutant;
use ingest::place::Place;
use ingest::record::{EventPosition, RecordBody, RecordPayload, StreamPiece};
use ingest::time::WallTime;

use super::context::PartitionContext;
use super::cut_queue::{CutQueue, FrozenState};
use super::error::OpenError;
use super::event_board::EventBoard;
use super::health::Health;
use super::hold::FoldHold;
use super::nodes::NodeRegistry;
use super::reads::Reads;
use super::record_clock::RecordClock;
use super::streams::{OpenStreams, WholeStream};
use super::writer::Writer;
use crate::apply::{LogPosition, PriorState, ReadSet, RecordEffects, apply, needs, observed};
use crate::catalog::store::CatalogStore;
use crate::lookup::resolve;
use crate::memtable::{StateChange, bulk_files, state_bulk_files};
use crate::outcome::{RecordOutcome, Rejection};
use crate::restore::{RestoreError, restore};
use crate::state::{
    BucketState, Buckets, DueEvent, EventQueue, LastWrites, NewEvent, RecordAdmission, WriterStates,
};
use crate::visibility::EntryShape;

/// The parts of a partition that the fold changes or informs.
#[derive(Clone)]
pub(super) struct FoldParts {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub clock: Arc<RecordClock>,
    pub writer: Arc<Writer>,
    pub nodes: Arc<NodeRegistry>,
    pub reads: Arc<Reads>,
    pub cuts: Arc<CutQueue>,
    pub events: Arc<EventBoard>,
}

/// The fold's own state, which only its task changes.
struct Fold {
    parts: FoldParts,
    writers: WriterStates,
    expired: Vec<WriterId>,
    streams: OpenStreams,
    last_writes: LastWrites,
    cut: CutNumber,
    time: WallTime,
}

/// The pause before the log's end is requested again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Restores the state from the catalog, replays the log to its end, and starts the task that continues. On
/// return every record that was acknowledged before the call is applied. Fails if state or log cannot be
/// read, or wait longer than [`FoldHold::at_open`] allows.
pub(super) async fn start(parts: &FoldParts) -> Result<Task, OpenError> {
    let (cut, time, next) = {
        let view = parts.store.view();
        let catalog = &view.sealed.catalog;
        (catalog.cut, catalog.time, catalog.next)
    };
    let mut fold = Fold {
        parts: parts.clone(),
        writers: WriterStates::default(),
        expired: Vec::new(),
        streams: OpenStreams::default(),
        last_writes: LastWrites::default(),
        cut,
        time,
    };
    let mut hold = FoldHold::new(&parts.health, "the state that the last cut left");
    while let Err(error) = fold.restore().await {
        let OpenError::Read(error) = error else { return Err(error) };
        hold.at_open(error).await?;
    }
    let mut reader = parts.context.log.read(parts.context.id, next).await?;
    fold.replay(&mut reader).await?;
    // Before any record is appended whose time could matter.
    parts.clock.restart(fold.time);
    parts.health.note_replayed();
    let (context, writer) = (parts.context.clone(), parts.writer.clone());
    let env = context.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        let error = fold.run(reader).await;
        tracing::error!(%error, partition = %context.id, "the fold has stopped");
        writer.stop(error.to_string());
    });
    Ok(env.rt.spawn("fold", task))
}

impl Fold {
    /// Folds every record that was in the log when the call began. Waits without a limit for brokers that
    /// do not give the log's end.
    async fn replay(&mut self, reader: &mut Box<dyn LogReader>) -> Result<(), OpenError> {
        let parts = self.parts.clone();
        let token = loop {
            match parts.context.log.barrier(parts.context.id).await {
                Ok(token) => break token,
                Err(error) => {
                    tracing::warn!(%error, "the end of the log is not known; asking again");
                    parts.context.env.clock.sleep(RETRY).await;
                }
            }
        };
        let mut met = std::pin::pin!(parts.reads.barriers.wait(token));
        loop {
            if futures::FutureExt::now_or_never(&mut met).is_some() {
                return Ok(());
            }
            let mut hold = FoldHold::new(&parts.health, "the log");
            let batch = loop {
                match reader.next().await {
                    Ok(batch) => break batch,
                    Err(error) => hold.at_open(error).await?,
                }
            };
            self.take(batch).await?;
        }
    }

    /// Takes over the state of the state tables, and keeps the numbers of bulk files with inherited streams
    /// from being given again.
    async fn restore(&mut self) -> Result<(), OpenError> {
        let restored =
            restore(&self.parts.store.snapshot()).await.map_err(|error| match error {
                RestoreError::Read(error) => OpenError::Read(error),
                error @ RestoreError::Undecodable(_) => OpenError::Fold(error.to_string()),
            })?;
        for (id, state) in restored.streams {
            for extent in &state.extents {
                self.parts.context.bulk.skip_to(extent.file.next());
            }
            self.streams.restore(id, state);
        }
        self.writers = restored.writers;
        self.last_writes = restored.last_writes;
        let now = self.parts.context.env.clock.now();
        self.parts.events.restore(restored.events, now);
        self.parts.store.set_buckets(Arc::new(restored.buckets));
        Ok(())
    }

    /// Folds until the log has lost acknowledged records, or this node cannot continue; returns the error.
    /// Errors that may pass are waited for, and reported as a hold.
    async fn run(&mut self, mut reader: Box<dyn LogReader>) -> ReadError {
        let parts = self.parts.clone();
        let mut hold = FoldHold::new(&parts.health, "the log");
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

    /// Folds a batch, then wakes reads and the cutter.
    async fn take(&mut self, batch: Vec<CommittedRecord>) -> Result<(), ReadError> {
        for committed in batch {
            self.fold(committed).await?;
        }
        let applied = self.parts.store.applied();
        self.parts.reads.barriers.applied(applied);
        self.parts.events.announce(applied);
        self.parts.cuts.note_growth();
        Ok(())
    }

    /// Folds one record: applies a numbered record once, and answers with the outcome.
    async fn fold(&mut self, committed: CommittedRecord) -> Result<(), ReadError> {
        let offset = committed.offset;
        let id = committed.record.id;
        self.parts.cuts.count_record();
        if !committed.record.is_numbered() {
            self.pass(&committed).await?;
            self.parts.store.memtable().advance(offset.next());
            return Ok(());
        }
        let applies_again = self.parts.context.env.mutated(Mutant::ApplyDuplicates);
        let outcome = match self.writers.admit(&id) {
            RecordAdmission::Repeated(_) | RecordAdmission::Rejected(_) if applies_again => {
                self.apply(committed).await?
            }
            RecordAdmission::Repeated(outcome) => {
                self.parts.context.counters.duplicates.fetch_add(1, Ordering::Relaxed);
                self.parts.store.memtable().advance(offset.next());
                outcome
            }
            RecordAdmission::Rejected(rejection) => {
                self.parts.context.counters.rejected.fetch_add(1, Ordering::Relaxed);
                self.parts.store.memtable().advance(offset.next());
                RecordOutcome::Rejected(rejection)
            }
            RecordAdmission::Next => self.apply(committed).await?,
        };
        self.parts.writer.answer(&id, outcome);
        Ok(())
    }

    /// Processes a record that has no outcome.
    async fn pass(&mut self, committed: &CommittedRecord) -> Result<(), ReadError> {
        let id = &committed.record.id;
        match &committed.record.body {
            RecordBody::OpenWriter => {
                let opened = self.writers.open(id, committed.offset);
                if opened == RecordOutcome::Done
                    && let Some(last) = self.writers.last(&id.writer)
                {
                    self.parts.writer.opened(id, last);
                }
            }
            RecordBody::Barrier => self.parts.reads.barriers.meet(id),
            RecordBody::Data(data) => self.take_payload(data, committed.record.time).await?,
            RecordBody::Abandon { stream } => {
                if !self.parts.context.env.mutated(Mutant::KeepAbandoned) {
                    self.streams.abandon(*stream);
                }
                self.count_streams();
            }
            RecordBody::Room(room) => self.parts.nodes.take_room(room),
            RecordBody::Digest(digest) => self.parts.nodes.take_digest(digest),
            RecordBody::Claim { node, process, stage } => {
                self.parts.nodes.take_claim(*node, *process, *stage);
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes a piece of payload to this node's bulk files, if there is room. Without room the stream
    /// counts as missing here.
    async fn take_payload(&mut self, data: &StreamPiece, time: WallTime) -> Result<(), ReadError> {
        let (context, time) = (self.parts.context.clone(), self.time.max(time));
        while context.env.mutated(Mutant::WaitForRoom)
            && context.env.disk.free_bytes(Place::Hot).await.is_ok_and(|free| free < data.total)
        {
            context.env.clock.sleep(RETRY).await;
        }
        let mut hold = FoldHold::new(&self.parts.health, "a file for payload");
        let is_lost = loop {
            match self.streams.take(&context.bulk, data, time).await {
                Ok(is_lost) => break is_lost,
                // No byte of the piece counts, and another try may help.
                Err(error @ BulkError::Disk(_)) => hold.wait(&self.device_failed(&error)).await,
                Err(error) => return Err(self.device_failed(&error)),
            }
        };
        hold.end();
        if is_lost {
            context.counters.streams_missing.fetch_add(1, Ordering::Relaxed);
        }
        self.count_streams();
        Ok(())
    }

    fn count_streams(&self) {
        let streams = self.streams.count() as u64;
        self.parts.context.counters.streams.store(streams, Ordering::Relaxed);
    }

    /// Makes the error of payload that could not be written, which may pass.
    fn device_failed(&self, error: &BulkError) -> ReadError {
        let reason = format!("payload could not be written: {error}");
        ReadError::Unavailable { partition: self.parts.context.id, reason }
    }

    /// Replaces the stream that a record names with this node's extents. The completeness of a stream
    /// follows from the log, so all nodes agree; a record with an incomplete stream is rejected. The
    /// returned guard protects the bulk files until the memtable refers to them.
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
        let fits = match &mut Arc::make_mut(&mut committed.record).body {
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

    /// Applies a record, makes its changes visible, and freezes the memtable at a cut; returns the outcome.
    /// The changes become visible in one step, after all of them are in the memtable.
    async fn apply(&mut self, mut committed: CommittedRecord) -> Result<RecordOutcome, ReadError> {
        let parts = self.parts.clone();
        let context = &parts.context;
        let offset = committed.offset;
        // Held until the memtable refers to the payload.
        let mut held = match self.localize(&mut committed).await? {
            Ok(held) => held,
            Err(rejection) => {
                let outcome = RecordOutcome::Rejected(rejection);
                self.writers.record(&committed.record.id, offset, outcome);
                parts.store.memtable().advance(offset.next());
                return Ok(outcome);
            }
        };
        let committed = &committed;
        let buckets = parts.store.buckets();
        let prior = self.prior(&needs(&buckets, &committed.record)).await?;
        let time = self.time.max(committed.record.time);
        let effects =
            apply(&context.options.rules, context.id, &buckets, self.cut, time, prior, committed);
        self.tell_listeners(&buckets, time, committed, &effects);
        let RecordEffects { outcome, entries, mut state, bucket, queue, events, freezes } = effects;
        // A record without effect gives no time: a clock that was wrong for a moment would date later ones.
        if !entries.is_empty() || !state.is_empty() || bucket.is_some() {
            self.time = time;
            if !parts.writer.wrote(&committed.record.id) {
                parts.clock.saw(time);
            }
        }
        let freezes = freezes
            || (context.env.mutated(Mutant::CutTwice)
                && matches!(committed.record.body, RecordBody::Cut { .. }));
        if context.env.mutated(Mutant::AnswerBeforeApply) {
            parts.writer.answer_ahead(&committed.record.id, outcome);
            ingest::env::yield_once().await;
        }
        if let Some((id, changed)) = bucket {
            self.change_bucket(&buckets, id, changed);
        }
        for entry in entries.iter().filter(|entry| EntryShape::of(&entry.statement).may_fill()) {
            self.last_writes.note(entry.key.bucket(), offset);
        }
        if matches!(outcome, RecordOutcome::Rejected(_))
            && let Some(held) = held.take()
        {
            held.give_back();
        }
        self.take_events(queue, events, &mut state);
        self.writers.record(&committed.record.id, offset, outcome);
        let memtable = parts.store.memtable();
        if !parts.health.is_replayed() {
            self.keep_bulk_numbers(&entries, &state);
        }
        memtable.insert(offset, entries, state);
        memtable.advance(offset.next());
        if freezes {
            self.freeze(offset.next(), hash_of(&committed.record));
        }
        Ok(outcome)
    }

    /// The facts that an outcome follows from: what the store holds, and the bucket's last write.
    async fn prior(&mut self, wanted: &ReadSet) -> Result<PriorState, ReadError> {
        let context = &self.parts.context;
        let mut prior = prior_of(&self.parts, wanted).await?;
        context.counters.prior_looked_at.fetch_add(prior.looked_at, Ordering::Relaxed);
        let ignores_writes = context.env.mutated(Mutant::DeleteBucketBlindly);
        let bucket = wanted.uploads_of.filter(|_| !ignores_writes);
        prior.last_write = bucket.and_then(|bucket| self.last_writes.of(bucket));
        prior.queue = wanted.queue.as_ref().and_then(|queue| self.parts.events.get(queue));
        Ok(prior)
    }

    /// Tells those who listen now of a change. Costs one load while nobody listens.
    fn tell_listeners(
        &self,
        buckets: &Buckets,
        time: WallTime,
        committed: &CommittedRecord,
        effects: &RecordEffects,
    ) {
        if !self.parts.events.is_listened_to() {
            return;
        }
        let at = LogPosition { offset: committed.offset, time };
        for (place, event) in observed(buckets, at, committed, effects).into_iter().enumerate() {
            let position = EventPosition { offset: at.offset, rule: place as u16 };
            self.parts.events.tell(DueEvent { position, event, bytes: 0 });
        }
    }

    /// Takes over a queue whose cursor has moved, and counts new events, which become state.
    fn take_events(
        &self,
        queue: Option<(String, EventQueue)>,
        events: Vec<NewEvent>,
        state: &mut Vec<StateChange>,
    ) {
        if queue.is_none() && events.is_empty() {
            return;
        }
        let now = self.parts.context.env.clock.now();
        if let Some((name, queue)) = queue {
            self.parts.events.set(&name, queue, now);
        }
        for event in events {
            self.parts.events.add(&event, now);
            state.push((event.key(), Some(event.value)));
        }
    }

    /// Puts a changed bucket in place of the former one, or removes it.
    fn change_bucket(&mut self, buckets: &Buckets, id: BucketId, changed: Option<BucketState>) {
        let mut buckets = buckets.clone();
        match changed {
            Some(bucket) => buckets.insert(bucket),
            None => {
                buckets.remove(id);
                self.last_writes.forget(id);
            }
        }
        self.parts.store.set_buckets(Arc::new(buckets));
    }

    /// Keeps the numbers of bulk files that a replayed record names from being given again. Such a file may
    /// be lost, and its number must not name another file.
    fn keep_bulk_numbers(&self, entries: &[Entry], state: &[StateChange]) {
        let named = entries.iter().flat_map(|entry| bulk_files(&entry.statement));
        let parts = state.iter().flat_map(|(key, value)| {
            state_bulk_files(key, value.as_ref()).expect("the fold encoded this value itself")
        });
        for id in named.chain(parts) {
            self.parts.context.bulk.skip_to(id.next());
        }
    }

    /// Freezes the memtable for the flush job, with the state that the cut must contain, and continues with
    /// an empty one.
    fn freeze(&mut self, next: Offset, last: [u8; 16]) {
        let parts = self.parts.clone();
        let env = &parts.context.env;
        parts.cuts.reset_records();
        self.cut = self.cut.next();
        self.expired.extend(self.writers.expire(next));
        let (event_queues, event_floors) = self.parts.events.freeze();
        let frozen = FrozenState {
            memtable: parts.store.freeze(next),
            cut: self.cut,
            next,
            time: self.time,
            writers: if env.mutated(Mutant::ForgetWritersAtCut) {
                WriterStates::default()
            } else {
                self.writers.clone()
            },
            expired: std::mem::take(&mut self.expired),
            streams: self.streams.freeze(self.time),
            last_writes: if env.mutated(Mutant::ForgetLastWritesAtCut) {
                Vec::new()
            } else {
                self.last_writes.freeze()
            },
            event_queues: if env.mutated(Mutant::ForgetEventQueuesAtCut) {
                Vec::new()
            } else {
                event_queues
            },
            event_floors,
            last,
        };
        self.count_streams();
        parts.cuts.push(frozen);
    }
}

/// Reads the prior state on which a record's outcome depends. An outcome must not be guessed, so errors are
/// waited for; reads of other data continue meanwhile.
async fn prior_of(parts: &FoldParts, wanted: &ReadSet) -> Result<PriorState, ReadError> {
    let mut hold = FoldHold::new(&parts.health, "the prior state");
    loop {
        match resolve(&parts.store.snapshot(), wanted).await {
            Ok(prior) => {
                hold.end();
                return Ok(prior);
            }
            Err(error) if parts.context.env.mutated(Mutant::StopOnTransientRead) => {
                return Err(error);
            }
            Err(error) if !parts.health.is_replayed() => hold.at_open(error).await?,
            Err(error) => hold.wait(&error).await,
        }
    }
}

/// Returns XXH3-128 of a record's encoding, by which a start recognises the record of its cut in the log.
/// Equal records have equal hashes.
pub fn hash_of(record: &ingest::record::Record) -> [u8; 16] {
    xxhash_rust::xxh3::xxh3_128(&record.encode()).to_le_bytes()
}
