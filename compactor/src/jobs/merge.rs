//! Merges runs: neighbouring runs of one level become one run of the next level, so that their number stays
//! bounded.
//!
//! A merge keeps visible statements and drops superseded ones. Tombstones are dropped if the oldest run
//! takes part, since no older source can then exist. Segments are not rewritten: entries keep their
//! locations. The references of dropped entries are subtracted, and garbage collection removes files
//! without references.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use ingest::entry::EntryKey;
use ingest::ids::Offset;
use ingest::log::{Corruption, ReadError};
use ingest::mutant::Mutant;

use super::error::JobError;
use super::policy::MergePlan;
use super::references::FileReferences;
use super::run_writer::{RunSpan, RunWriter};
use crate::catalog::store::CatalogStore;
use crate::catalog::{Catalog, RunMeta};
use crate::manifest::{ManifestCursor, ManifestRow};
use crate::partition::context::PartitionContext;
use crate::partition::event_board::EventBoard;
use crate::partition::space::SpaceWatch;
use crate::state::{EventFloors, StateKey};
use crate::state_value::{decode_state_value, is_forgotten};
use crate::table::TableCursor;
use crate::tags::{entry_hash, tagged_entry};
use crate::view::OpenRun;
use crate::visibility::{Visibility, VisibilityVerdict};

/// Executes merges of one partition.
pub(crate) struct Merger {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub space: Arc<SpaceWatch>,
    pub events: Arc<EventBoard>,
}

impl Merger {
    /// Writes the merged run and publishes it in the place of its inputs; both are durable and visible when
    /// this returns. Merges of other runs may run at the same time, but a run must never be in two plans.
    ///
    /// Fails if an input is damaged, or a file or the catalog cannot be written; readers then see no
    /// change. Only the end of the partition may drop the future, see [`CatalogStore::publish`].
    pub async fn merge(&self, plan: &MergePlan) -> Result<(), JobError> {
        let (context, view) = (&self.context, self.store.view());
        let mut inputs: Vec<Arc<OpenRun>> = Vec::new();
        for id in &plan.runs {
            let open = view.sealed.runs.iter().find(|open| open.run.id == *id);
            inputs
                .push(open.expect("the plan was made from this catalog or an earlier one").clone());
        }
        if context.env.mutated(Mutant::WrongRunOrder) {
            inputs.reverse();
        }
        let disk = &context.env.disk_dedicated;
        let mut ids = self.store.take_ids();
        let drops_tombstones = plan.is_bottom || context.env.mutated(Mutant::DropTombstonesEarly);
        let mut writer = RunWriter::create(disk, &context.layout, ids.run, plan.is_bottom).await?;
        let mut dropped = FileReferences::default();
        let gone = merge_entries(&inputs, drops_tombstones, &mut writer, &mut dropped).await?;
        merge_tags(&inputs, &gone, &mut writer).await?;
        let next = view.sealed.catalog.next;
        // Cursors are in the log before they are here, so no start finds a lower one.
        let limits = StateLimits { drops_tombstones, next, floors: self.events.floors() };
        merge_states(&inputs, &limits, &mut writer, &mut dropped).await?;
        let first = inputs.iter().map(|open| open.run.first).min().unwrap_or_default();
        let below = inputs.iter().map(|open| open.run.below).max().unwrap_or_default();
        let (run, written) = writer.finish(RunSpan { level: plan.level, first, below }).await?;
        disk.sync_folder(Some(&context.layout.runs_folder())).await?;
        let edit = |catalog: &mut Catalog| replace(catalog, plan, run, &written, &dropped);
        self.store.publish(None, Some(&mut ids), edit).await?;
        self.space.look().await;
        Ok(())
    }
}

/// Replaces the inputs of a plan with the merged run, at the same place in the order of runs.
fn replace(
    catalog: &mut Catalog,
    plan: &MergePlan,
    run: RunMeta,
    written: &FileReferences,
    dropped: &FileReferences,
) {
    let place = catalog.runs.iter().position(|run| plan.runs.contains(&run.id));
    let place =
        place.expect("only merges take runs out of the catalog, and no two of them take the same");
    catalog.runs.retain(|run| !plan.runs.contains(&run.id));
    catalog.runs.insert(place, run);
    // The new run's references are added before those of its inputs are subtracted, so that no count falls
    // below its true value.
    written.add_to(catalog);
    dropped.add_to(catalog);
}

/// The rows of one input run.
struct RowSource {
    cursor: ManifestCursor,
    head: Option<(EntryKey, ManifestRow)>,
}

impl RowSource {
    /// Reads the next row; the head is `None` at the end.
    async fn advance(&mut self) -> Result<(), ReadError> {
        self.head = self.cursor.next().await?.map(|row| (row.entry_key(), row));
        Ok(())
    }
}

/// Merges rows in key order; returns the hashes of dropped entries with tags. The hashes are held in memory
/// until the tag tables are merged.
async fn merge_entries(
    inputs: &[Arc<OpenRun>],
    drops_tombstones: bool,
    writer: &mut RunWriter,
    dropped: &mut FileReferences,
) -> Result<BTreeSet<u64>, JobError> {
    let mut gone = BTreeSet::new();
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs {
        let manifest = open.manifest.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut source = RowSource { cursor: manifest.cursor()?, head: None };
        source.advance().await?;
        sources.push(source);
    }
    let mut group = Bytes::new();
    let mut visibility = Visibility::default();
    loop {
        let heads = sources.iter().enumerate();
        let lowest = heads
            .filter_map(|(index, source)| source.head.as_ref().map(|(key, _)| (key, index)))
            .min_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, index)| index);
        let Some(index) = lowest else { return Ok(gone) };
        let Some((key, row)) = sources[index].head.take() else { return Ok(gone) };
        sources[index].advance().await?;
        // The references of every input row are subtracted; the writer counts those of kept rows again.
        dropped.count_row(&row, -1);
        if key.group() != group.as_ref() {
            group = Bytes::copy_from_slice(key.group());
            visibility = Visibility::default();
        }
        match visibility.judge(key.version(), row.shape()) {
            VisibilityVerdict::Visible => writer.push(row).await?,
            VisibilityVerdict::Tombstone if !drops_tombstones => writer.push(row).await?,
            VisibilityVerdict::Superseded | VisibilityVerdict::Tombstone => {
                if row.object.is_some_and(|object| !object.tags.is_empty()) {
                    gone.insert(entry_hash(key.as_bytes()));
                }
            }
        }
    }
}

/// Merges tag tables without the tags of dropped entries. An entry whose hash equals that of a dropped
/// entry would lose its tags. With 64-bit hashes this is less likely than a damaged block with a right
/// checksum.
async fn merge_tags(
    inputs: &[Arc<OpenRun>],
    gone: &BTreeSet<u64>,
    writer: &mut RunWriter,
) -> Result<(), JobError> {
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs {
        let table = open.tags.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        cursor.seek(b"").await?;
        sources.push(cursor);
    }
    loop {
        let heads = sources.iter().enumerate();
        let lowest = heads.filter_map(|(index, source)| source.key().map(|key| (key, index))).min();
        let Some((key, index)) = lowest else { return Ok(()) };
        let entry = tagged_entry(key).ok_or_else(|| malformed(&inputs[index]))?;
        if !gone.contains(&entry_hash(&entry)) {
            let key = key.to_vec();
            writer.push_tag(&key).await?;
        }
        sources[index].advance().await?;
    }
}

/// Makes the error for a malformed key in a tag table.
fn malformed(open: &OpenRun) -> ReadError {
    ReadError::Corrupt(Corruption {
        file: format!("tag table of run {}", open.run.id),
        position: 0,
        detail: "a tag's key is malformed".into(),
    })
}

/// The state table of one input run.
struct StateSource {
    run: u64,
    cursor: TableCursor,
}

impl StateSource {
    fn key(&self) -> Option<StateKey> {
        self.cursor.key().map(|key| StateKey(Bytes::copy_from_slice(key)))
    }
}

/// The state entries that a merge leaves out.
struct StateLimits {
    /// Leaves out the marks of removed keys.
    drops_tombstones: bool,
    /// The offset by which completed uploads are forgotten.
    next: Offset,
    /// The positions below which events are not needed any more.
    floors: EventFloors,
}

/// Merges state entries in key order; for each key the newest run's value is kept. The sources are read
/// newest first.
async fn merge_states(
    inputs: &[Arc<OpenRun>],
    limits: &StateLimits,
    writer: &mut RunWriter,
    dropped: &mut FileReferences,
) -> Result<(), JobError> {
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs.iter().rev() {
        let table = open.state.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        cursor.seek(b"").await?;
        sources.push(StateSource { run: open.run.id.get(), cursor });
    }
    while let Some(key) = sources.iter().filter_map(StateSource::key).min() {
        let mut newest: Option<Option<Bytes>> = None;
        for source in &mut sources {
            if source.key().as_ref() != Some(&key) {
                continue;
            }
            let value = source.cursor.value_bytes().expect("a cursor with a key has a value");
            let value = decode_state_value(value, source.run)?;
            dropped.count_state(&key, value.as_ref(), -1)?;
            newest.get_or_insert(value);
            source.cursor.advance().await?;
        }
        if limits.floors.has_passed(&key) {
            continue;
        }
        let value = newest.flatten().filter(|value| !is_forgotten(&key, Some(value), limits.next));
        if value.is_some() || !limits.drops_tombstones {
            writer.push_state(&key, value.as_ref()).await?;
        }
    }
    Ok(())
}
