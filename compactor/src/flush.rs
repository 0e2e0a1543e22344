//! Sealing: a frozen memtable becomes a segment and a run, and the log below the cut is let go.
//!
//! The order is what keeps the store whole at every crash point: write the files, sync them, sync their
//! folders, publish the catalog that names them, swap the view, and only then trim the log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, PayloadLocation};
use ingest::env::{Fut, Task, timeout};
use ingest::ids::Offset;
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::record::UploadPart;

use crate::catalog::{RunMeta, SegmentMeta as SealedSegment};
use crate::job_error::JobError;
use crate::lookup::sealed_payload;
use crate::manifest::ManifestRow;
use crate::memtable::StateChange;
use crate::partition::{FrozenState, PartitionShared, nodes};
use crate::publish::EditError;
use crate::run_writer::{FileReferences, RunSpan, RunWriter};
use crate::sealed::remove_if_there;
use crate::segment::SegmentWriter;
use crate::state::{StateKey, StreamState, decode_part, encode_part};
use crate::tags::tag_keys;
use crate::visibility::{EntryShape, Visibility, VisibilityVerdict};

/// How long to wait before a cut that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the task that seals frozen memtables, oldest first.
pub(crate) fn start(shared: &Arc<PartitionShared>) -> Task {
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        loop {
            let waiting = shared.freezes.lock().front().cloned();
            let Some(frozen) = waiting else {
                shared.frozen.notified().await;
                continue;
            };
            wait_for_merges(&shared).await;
            match flush(&shared, &frozen).await {
                Ok(digest) => {
                    shared.cuts.done();
                    shared.freezes.lock().pop_front();
                    nodes::publish_digest(&shared, frozen.cut, digest);
                    shared.cut.send_replace(frozen.cut);
                    shared.sealed.notify_one();
                    shared.grown.notify_one();
                }
                Err(JobError::Bulk(error)) => {
                    // What a failed sync leaves behind is in doubt for ever; the log has it still.
                    tracing::error!(%error, "payload could not be made durable");
                    shared.stop(format!("payload could not be made durable: {error}"));
                    return;
                }
                Err(error) => {
                    tracing::error!(%error, cut = %frozen.cut, "a cut could not be sealed; trying again");
                    shared.cuts.fail(&error);
                    // What it wrote is garbage; on a full device its space is needed for the next try.
                    shared.sealed.notify_one();
                    shared.env.clock.sleep(RETRY).await;
                }
            }
        }
    });
    env.rt.spawn_dedicated("flush", task)
}

/// How long a cut waits at most for merges that lag behind. It waits no longer, because a run that cannot
/// be merged (damaged, say) must not stop writes.
const MERGE_WAIT: Duration = Duration::from_secs(10);

/// Waits while many fresh runs stand unmerged, so that their number stays bounded under any load.
async fn wait_for_merges(shared: &PartitionShared) {
    let runs_max = 3 * shared.options.merge_fan_in;
    let fresh = |shared: &PartitionShared| {
        let view = shared.view.read();
        view.sealed.catalog.runs.iter().filter(|run| run.level == 0).count()
    };
    let merged = async {
        while fresh(shared) >= runs_max {
            shared.merged.notified().await;
        }
    };
    if timeout(shared.env.clock.as_ref(), MERGE_WAIT, merged).await.is_none() {
        tracing::warn!(runs = fresh(shared), "merges lag behind");
    }
}

async fn flush(shared: &PartitionShared, frozen: &FrozenState) -> Result<[u8; 32], JobError> {
    if shared.env.mutated(Mutant::TrimBeforePublish) {
        shared.log.trim(shared.id, frozen.next).await?;
    }
    let disk = &shared.env.disk_dedicated;
    let mut ids = shared.publisher.take_ids();
    let path = shared.layout.segment(ids.segment);
    remove_if_there(disk, &path).await?;
    let mut segment = SegmentWriter::create(disk, &path, shared.store, ids.segment).await?;
    let mut run = RunWriter::create(disk, &shared.layout, ids.run, false).await?;
    let mut digest = DigestHasher::new(shared, frozen);
    let mut tags = Vec::new();
    let objects =
        fold_entries(shared, frozen, &mut segment, &mut run, &mut digest, &mut tags).await?;
    tags.sort_unstable();
    tags.dedup();
    for tag in &tags {
        run.push_tag(tag).await?;
    }
    for (key, value) in state_entries(shared, frozen) {
        digest.add_state(&key, value.as_ref());
        run.push_state(&key, value.as_ref()).await?;
    }
    let file = segment.finish().await?;
    let span = RunSpan { level: 0, first: frozen.memtable.first(), below: frozen.next };
    let (run, references) = run.finish(span).await?;
    for folder in shared.layout.folders() {
        disk.sync_folder(Some(&folder)).await?;
    }
    if !shared.env.mutated(Mutant::SkipPayloadSync) {
        shared.bulk.sync_written().await?;
    }
    let segment = SealedSegment { id: ids.segment, file, references: 0, objects };
    let digest = digest.finish();
    let published = publish(shared, frozen, run, segment, references, digest).await;
    ids.note(&published);
    published?;
    shared.log.release(shared.id, frozen.next).await;
    if shared.options.trims {
        shared.log.trim(shared.id, frozen.next).await?;
    }
    Ok(digest)
}

async fn publish(
    shared: &PartitionShared,
    frozen: &FrozenState,
    run: RunMeta,
    segment: SealedSegment,
    references: FileReferences,
    digest: [u8; 32],
) -> Result<(), EditError> {
    let edit = |catalog: &mut crate::catalog::Catalog| {
        if segment.objects > 0 {
            catalog.segments.push(segment);
        }
        catalog.runs.push(run);
        references.add_to(catalog);
        catalog.cut = frozen.cut;
        catalog.next = frozen.next;
        catalog.time = frozen.time;
        catalog.digest = digest;
        catalog.last = frozen.last;
    };
    shared.publish(Some(&frozen.memtable), edit).await
}

/// Copies what is not superseded within the memtable itself, and gathers its tags; gives the number of entries.
async fn fold_entries(
    shared: &PartitionShared,
    frozen: &FrozenState,
    segment: &mut SegmentWriter,
    run: &mut RunWriter,
    digest: &mut DigestHasher,
    tags: &mut Vec<Bytes>,
) -> Result<u64, JobError> {
    let mut objects = 0;
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
                    PayloadLocation::Log(at) => {
                        Some(match shared.log.fetch(shared.id, *at).await {
                            Err(trimmed @ ReadError::Trimmed { .. }) => {
                                let sealed = sealed_payload(&shared.snapshot(), &key).await?;
                                sealed.ok_or(trimmed)?
                            }
                            fetched => fetched?,
                        })
                    }
                    _ => None,
                },
                _ => None,
            };
            let header = segment.add(&key, &statement, payload).await?;
            if let EntryValue::Object(object) = &statement {
                tags.extend(tag_keys(&key, &object.attributes.tags));
            }
            run.push(ManifestRow::of(&key, &statement, header)).await?;
            objects += 1;
        }
    }
    Ok(objects)
}

/// The state entries of a cut in order: what the memtable changed, streams, last writes, and all writers.
fn state_entries(shared: &PartitionShared, frozen: &FrozenState) -> Vec<StateChange> {
    let mut entries = frozen.memtable.states(b"", StateKey::WRITERS, Offset::MAX);
    if shared.env.mutated(Mutant::ForgetUploadsAtCut) {
        entries.retain(|(key, _)| !key.0.starts_with(b"u"));
    }
    // Streams and last writes stand before parts and uploads, where the memtable has nothing.
    let place = entries.partition_point(|(key, _)| key.0.as_ref() < StateKey::STREAMS);
    let between = frozen.streams.iter().chain(&frozen.last_writes);
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

/// The chained digest of a cut's logical content: d(n) = H(d(n-1), cut, entries, state).
///
/// Locations are left out, since placement is each replica's own; payload counts by its digest.
struct DigestHasher(blake3::Hasher);

impl DigestHasher {
    fn new(shared: &PartitionShared, frozen: &FrozenState) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&shared.view.read().sealed.catalog.digest);
        hasher.update(&frozen.cut.get().to_le_bytes());
        hasher.update(&frozen.next.get().to_le_bytes());
        Self(hasher)
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.update(&(key.len() as u64).to_le_bytes()).update(key);
        self.0.update(&(value.len() as u64).to_le_bytes()).update(value);
    }

    /// What a node wrote where is its own affair; that it has the payload is not, but its own digest is in
    /// the value.
    fn add_state(&mut self, key: &StateKey, value: Option<&Bytes>) {
        let logical = match value {
            Some(value) if key.is_part() => decode_part(value.clone()).ok().map(|(time, part)| {
                encode_part(&UploadPart { extents: Arc::from([]), ..part }, time)
            }),
            Some(value) if key.is_stream() => StreamState::decode(value.clone())
                .ok()
                .map(|state| StreamState { extents: Vec::new(), ..state }.encode()),
            value => value.cloned(),
        };
        self.add(&key.0, logical.as_deref().unwrap_or_default());
    }

    fn add_statement(&mut self, key: &EntryKey, statement: &EntryValue) {
        let mut out = ingest::codec::Encoder::new();
        let mut logical = statement.clone();
        if let EntryValue::Object(object) = &mut logical {
            object.payload = PayloadLocation::Empty;
        }
        logical.encode(&mut out);
        self.add(key.as_bytes(), out.as_slice());
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
