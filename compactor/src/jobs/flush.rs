//! The flush: a frozen memtable becomes segments and a run, and the log below the cut is released.
//!
//! The order keeps the store complete at every point of a crash: write the files, sync them, sync their
//! folders, sync bulk payload, publish the catalog that names the files, replace the view, and only then
//! trim the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, LoggedPayload, PayloadLocation};
use ingest::env::{Fut, Task, timeout};
use ingest::ids::Offset;
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::place::Place;

use super::board::{JobBoard, JobKind};
use super::cut_digest::DigestHasher;
use super::cut_segments::CutSegments;
use super::error::JobError;
use super::run_writer::{RunSpan, RunWriter};
use super::signals::MergeSignals;
use crate::catalog::Catalog;
use crate::catalog::store::CatalogStore;
use crate::lookup::sealed_payload;
use crate::manifest::ManifestRow;
use crate::memtable::StateChange;
use crate::partition::context::PartitionContext;
use crate::partition::cut_queue::{CutQueue, FrozenState};
use crate::partition::health::Health;
use crate::partition::nodes::NodeRegistry;
use crate::partition::options::CompactionPolicy;
use crate::partition::space::SpaceWatch;
use crate::partition::writer::Writer;
use crate::state::StateKey;
use crate::tags::tag_keys;
use crate::visibility::{EntryShape, Visibility, VisibilityVerdict};

/// The pause before a failed flush is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The longest time that a flush waits for merges. The limit exists because a run that cannot be merged (a
/// damaged one, for example) must not stop writes.
const MERGE_WAIT: Duration = Duration::from_secs(10);

/// Writes the frozen memtables of one partition as runs, in the order of their cuts.
pub(crate) struct FlushJob {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub space: Arc<SpaceWatch>,
    pub cuts: Arc<CutQueue>,
    pub writer: Arc<Writer>,
    pub nodes: Arc<NodeRegistry>,
    pub merges: Arc<MergeSignals>,
    pub board: Arc<JobBoard>,
}

impl FlushJob {
    /// Starts the task that flushes frozen memtables, oldest first, on its own thread if the runtime has
    /// threads. A failed flush is tried again every second. Only payload that cannot be synced stops the
    /// partition, since a second sync could succeed without the lost bytes.
    pub fn start(self) -> Task {
        let env = self.context.env.clone();
        let task: Fut<'static, ()> = Box::pin(async move { self.run().await });
        env.rt.spawn_dedicated("flush", task)
    }

    /// Flushes one memtable after the other, and informs the other parts after each.
    async fn run(&self) {
        let mut cold_home = Place::Cold;
        loop {
            let frozen = self.cuts.oldest().await;
            self.wait_for_merges().await;
            let (memtable, reason) = (&frozen.memtable, format!("cut {}", frozen.cut));
            let size = (memtable.len() as u64, memtable.bytes());
            let job = self.board.begin(JobKind::Flush, reason, size);
            let flushed = self.flush(&frozen, cold_home).await;
            job.end(&flushed);
            match flushed {
                Ok(digest) => {
                    cold_home = Place::Cold;
                    self.health.flushes.done();
                    self.cuts.pop();
                    self.nodes.publish_digest(frozen.cut, digest);
                    self.store.announce_cut(frozen.cut);
                    self.merges.note_run();
                    self.cuts.note_growth();
                }
                Err(JobError::Bulk(error)) => {
                    // After a failed sync the written bytes are undefined for good, but the log still has
                    // them.
                    tracing::error!(%error, "payload could not be made durable");
                    self.writer.stop(format!("payload could not be made durable: {error}"));
                    return;
                }
                Err(error) if cold_home == Place::Cold && error.place() == Some(Place::Cold) => {
                    tracing::error!(%error, cut = %frozen.cut, "cold payload of a cut goes to the hot place");
                    cold_home = Place::Hot;
                    self.merges.note_run();
                }
                Err(error) => {
                    tracing::error!(%error, cut = %frozen.cut, "a cut could not be sealed; trying again");
                    self.health.flushes.fail(&error);
                    // The failed flush has left files behind; on a full device their space is needed for
                    // the next try.
                    self.merges.note_run();
                    self.context.env.clock.sleep(RETRY).await;
                }
            }
        }
    }

    /// Waits while many unmerged runs exist, so that the number of runs stays bounded under any load, but
    /// at most 10 seconds. Returns at once where merges start by request only.
    async fn wait_for_merges(&self) {
        if self.context.options.compaction == CompactionPolicy::Manual {
            return;
        }
        let runs_max = 3 * self.context.options.merge_fan_in;
        let fresh = || {
            let view = self.store.view();
            view.sealed.catalog.runs.iter().filter(|run| run.level == 0).count()
        };
        let merged = async {
            while fresh() >= runs_max {
                self.merges.merge_ended().await;
            }
        };
        if timeout(self.context.env.clock.as_ref(), MERGE_WAIT, merged).await.is_none() {
            tracing::warn!(runs = fresh(), "merges lag behind");
        }
    }

    /// Writes and publishes the run of one frozen memtable, with cold payload in the place `cold_home`; returns
    /// the cut's digest. The run is durable and visible when this returns.
    async fn flush(&self, frozen: &FrozenState, cold_home: Place) -> Result<[u8; 32], JobError> {
        if self.context.env.mutated(Mutant::TrimBeforePublish) {
            self.context.log.trim(self.context.id, frozen.next).await?;
        }
        let disk = &self.context.env.disk_dedicated;
        let mut ids = self.store.take_ids();
        let mut segments = CutSegments::create(&self.context, &ids, cold_home).await?;
        let mut run = RunWriter::create(disk, &self.context.layout, ids.run, false).await?;
        let mut digest = DigestHasher::new(&self.store.view().sealed.catalog.digest, frozen);
        let mut tags = Vec::new();
        self.fold_entries(frozen, &mut segments, &mut run, &mut digest, &mut tags).await?;
        tags.sort_unstable();
        tags.dedup();
        for tag in &tags {
            run.push_tag(tag).await?;
        }
        for (key, value) in state_entries(&self.context, frozen) {
            digest.add_state(&key, value.as_ref());
            run.push_state(&key, value.as_ref()).await?;
        }
        let segments = segments.finish().await?;
        let span = RunSpan { level: 0, first: frozen.memtable.first(), below: frozen.next };
        let (run, references) = run.finish(span).await?;
        disk.sync_folder(Some(&self.context.layout.runs_folder())).await?;
        if !self.context.env.mutated(Mutant::SkipPayloadSync) {
            self.context.bulk.sync_written().await?;
        }
        let digest = digest.finish();
        let edit = |catalog: &mut Catalog| {
            catalog.segments.extend(segments);
            catalog.runs.push(run);
            references.add_to(catalog);
            catalog.cut = frozen.cut;
            catalog.next = frozen.next;
            catalog.time = frozen.time;
            catalog.digest = digest;
            catalog.last = frozen.last;
        };
        self.store.publish(Some(&frozen.memtable), Some(&mut ids), edit).await?;
        // From here on the run is visible, and nothing on this node needs the log below the cut.
        self.space.look().await;
        self.context.log.release(self.context.id, frozen.next).await;
        // The cut is published: a second flush of the same memtable would publish it twice. The next cut trims
        // what this one could not.
        if self.context.options.trims
            && let Err(error) = self.context.log.trim(self.context.id, frozen.next).await
        {
            tracing::warn!(%error, "the log below a published cut could not be trimmed");
        }
        Ok(digest)
    }

    /// Writes the entries that are not superseded within the memtable, and collects their tags. Every entry is added to the digest, superseded ones included.
    async fn fold_entries(
        &self,
        frozen: &FrozenState,
        segments: &mut CutSegments,
        run: &mut RunWriter,
        digest: &mut DigestHasher,
        tags: &mut Vec<Bytes>,
    ) -> Result<(), JobError> {
        let mut group = Bytes::new();
        let mut visibility = Visibility::default();
        let mut from = Some(Bytes::new());
        while let Some(start) = from {
            let (entries, next) = frozen.memtable.entries(&start, Offset::MAX, 256);
            from = next;
            for (key, statement) in entries {
                digest.add_statement(&key, &statement);
                if key.group() != group.as_ref() {
                    group = Bytes::copy_from_slice(key.group());
                    visibility = Visibility::default();
                }
                if visibility.judge(key.version(), EntryShape::of(&statement))
                    == VisibilityVerdict::Superseded
                {
                    continue;
                }
                let payload = match &statement {
                    EntryValue::Object(object) => match &object.payload {
                        PayloadLocation::Log(logged) => {
                            Some(self.logged_payload(&key, logged).await?)
                        }
                        _ => None,
                    },
                    _ => None,
                };
                let (header, statement) = segments.add(&key, statement, payload).await?;
                if let EntryValue::Object(object) = &statement {
                    tags.extend(tag_keys(&key, &object.attributes.tags));
                }
                run.push(ManifestRow::of(&key, &statement, header)).await?;
            }
        }
        Ok(())
    }

    /// Returns the inline payload of an entry. Fails if neither the log nor a run has it.
    async fn logged_payload(
        &self,
        key: &EntryKey,
        logged: &LoggedPayload,
    ) -> Result<Bytes, ReadError> {
        match self.context.log.fetch(self.context.id, logged.at).await {
            // The payload may be in an older run, with the entry from which this one was derived.
            Err(trimmed @ ReadError::Trimmed { .. }) => {
                let forgets = self.context.env.mutated(Mutant::ForgetSealedKey);
                let own = LoggedPayload::new(logged.at);
                let logged = if forgets { &own } else { logged };
                sealed_payload(&self.store.snapshot(), key, logged).await?.ok_or(trimmed)
            }
            fetched => fetched,
        }
    }
}

/// Returns the state entries of a cut in key order: the memtable's changes, streams, last writes, queues of events, and
/// all writers.
fn state_entries(context: &PartitionContext, frozen: &FrozenState) -> Vec<StateChange> {
    let mut entries = frozen.memtable.states(b"", StateKey::WRITERS, Offset::MAX);
    if context.env.mutated(Mutant::ForgetUploadsAtCut) {
        entries.retain(|(key, _)| !key.0.starts_with(b"u"));
    }
    if context.env.mutated(Mutant::ForgetEventsAtCut) {
        entries.retain(|(key, _)| key.parse_event().is_none());
    }
    // An event that was delivered before the cut is never written.
    entries.retain(|(key, _)| !frozen.event_floors.has_passed(key));
    // The keys of streams, last writes and queues come before those of events, parts and uploads, in a range in which
    // the memtable has no keys.
    let place = entries.partition_point(|(key, _)| key.0.as_ref() < StateKey::STREAMS);
    let between = frozen.streams.iter().chain(&frozen.last_writes).chain(&frozen.event_queues);
    entries.splice(place..place, between.cloned());
    let writers =
        frozen.writers.iter().map(|(id, state)| (StateKey::writer(*id), Some(state.encode())));
    let expired = frozen.expired.iter().map(|id| (StateKey::writer(*id), None));
    let mut writers: Vec<StateChange> = writers.chain(expired).collect();
    writers.sort();
    writers.dedup_by(|a, b| a.0 == b.0);
    entries.extend(writers);
    entries
}
