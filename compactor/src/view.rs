//! What one read sees: the memtable at an offset, frozen memtables, and the sealed files of one catalog.
//!
//! The three are swapped together, so that nothing is seen twice and nothing is missed while a cut
//! moves entries from a frozen memtable into a run. A reader holds its [`Snapshot`] as long as it likes;
//! files that it may still open are not removed before it lets go.

use std::collections::BTreeMap;
use std::sync::Arc;

use ingest::entry::EntryValue;
use ingest::env::Disk;
use ingest::ids::{Offset, PartitionId, SegmentId, StoreId};
use ingest::log::{Corruption, ReadError};

use crate::catalog::{Catalog, RunMeta};
use crate::index_value::{IndexValue, IndexValueKind};
use crate::layout::PartitionLayout;
use crate::manifest::Manifest;
use crate::memtable::Memtable;
use crate::segment::{Segment, SegmentHandles};
use crate::state::Buckets;
use crate::table::{Table, TableKind};
use crate::visibility::EntryShape;

/// A run whose files are open. A file that could not be opened keeps its error: reads that need it fail
/// with that error, all others go on.
pub struct OpenRun {
    /// What the catalog says of it.
    pub run: RunMeta,
    /// The key index: the entry that decides each key.
    pub keys: Result<Arc<Table>, Corruption>,
    /// The key index: all other entries.
    pub more: Result<Arc<Table>, Corruption>,
    /// The tag table.
    pub tags: Result<Arc<Table>, Corruption>,
    /// The state entries.
    pub state: Result<Arc<Table>, Corruption>,
    /// The manifest.
    pub manifest: Result<Arc<Manifest>, Corruption>,
}

impl OpenRun {
    /// Opens a run's files.
    pub async fn open(
        disk: &Arc<dyn Disk>,
        layout: &PartitionLayout,
        run: &RunMeta,
    ) -> Result<Self, ReadError> {
        let id = run.id.get();
        let keys = Table::open(disk, &layout.keys(run.id), TableKind::Keys, id, &run.keys).await;
        let more = Table::open(disk, &layout.more(run.id), TableKind::More, id, &run.more).await;
        let tags = Table::open(disk, &layout.tags(run.id), TableKind::Tags, id, &run.tags).await;
        let state =
            Table::open(disk, &layout.state(run.id), TableKind::State, id, &run.state).await;
        let manifest = Manifest::open(
            disk,
            &layout.manifest(run.id),
            &layout.sums(run.id),
            run.id,
            &run.manifest,
            &run.sums,
        )
        .await;
        Ok(Self {
            run: run.clone(),
            keys: contain(keys)?,
            more: contain(more)?,
            tags: contain(tags)?,
            state: contain(state)?,
            manifest: contain(manifest)?,
        })
    }
}

impl OpenRun {
    /// The damage found in its files.
    fn damages(&self) -> impl Iterator<Item = &Corruption> {
        let tables = [&self.keys, &self.more, &self.tags, &self.state];
        let of_tables = tables.into_iter().filter_map(|table| table.as_ref().err());
        of_tables.chain(self.manifest.as_ref().err())
    }

    /// What is wrong with one of its files, if anything is.
    pub fn damage(&self) -> Option<&Corruption> {
        self.damages().next()
    }
}

/// Keeps corruption as a fact about one file; any other error is the caller's.
fn contain<T>(opened: Result<T, ReadError>) -> Result<Result<T, Corruption>, ReadError> {
    match opened {
        Ok(opened) => Ok(Ok(opened)),
        Err(ReadError::Corrupt(corruption)) => Ok(Err(corruption)),
        Err(error) => Err(error),
    }
}

/// The sealed files of one catalog generation.
pub struct SealedFiles {
    /// The catalog.
    pub catalog: Catalog,
    /// Its runs, oldest first.
    pub runs: Vec<Arc<OpenRun>>,
    /// Its segments.
    pub segments: BTreeMap<SegmentId, Arc<Segment>>,
    /// Their open files; shared by all generations.
    handles: Arc<SegmentHandles>,
}

impl SealedFiles {
    /// Opens what the catalog names, taking what `former` has open already.
    pub async fn open(
        disk: &Arc<dyn Disk>,
        layout: &PartitionLayout,
        store: StoreId,
        catalog: Catalog,
        former: Option<&SealedFiles>,
    ) -> Result<Self, ReadError> {
        let mut runs = Vec::with_capacity(catalog.runs.len());
        for run in &catalog.runs {
            let open = former.and_then(|f| f.runs.iter().find(|open| open.run.id == run.id));
            runs.push(match open {
                Some(open) => open.clone(),
                None => {
                    let open = OpenRun::open(disk, layout, run).await?;
                    // What has just been written and cannot be opened is not rot to live with: whoever
                    // wrote it has what it was made from, and tries again.
                    if let (Some(_), Some(corruption)) = (former, open.damage()) {
                        return Err(corruption.clone().into());
                    }
                    for corruption in open.damages() {
                        tracing::error!(%corruption, "a sealed file cannot be used");
                    }
                    Arc::new(open)
                }
            });
        }
        let handles = former.map_or_else(Arc::default, |former| former.handles.clone());
        let mut segments = BTreeMap::new();
        for segment in &catalog.segments {
            let open = former.and_then(|f| f.segments.get(&segment.id)).cloned();
            let open = match open {
                Some(open) => open,
                None => Segment::open(
                    disk,
                    &layout.segment(segment.id),
                    store,
                    segment.id,
                    segment.file.len,
                    &handles,
                ),
            };
            segments.insert(segment.id, open);
        }
        Ok(Self { catalog, runs, segments, handles })
    }

    /// The same files with damaged runs opened again, if that has helped with any.
    pub(crate) async fn reopened(
        &self,
        disk: &Arc<dyn Disk>,
        layout: &PartitionLayout,
    ) -> Option<Self> {
        let mut runs = self.runs.clone();
        let mut has_helped = false;
        for open in runs.iter_mut().filter(|open| open.damage().is_some()) {
            // What cannot be opened now is tried again later.
            let Ok(again) = OpenRun::open(disk, layout, &open.run).await else { continue };
            if again.damages().count() < open.damages().count() {
                tracing::info!(run = %open.run.id, "a sealed file can be used again");
                *open = Arc::new(again);
                has_helped = true;
            }
        }
        let (catalog, segments) = (self.catalog.clone(), self.segments.clone());
        has_helped.then(|| Self { catalog, runs, segments, handles: self.handles.clone() })
    }

    /// Reads the object header (and payload) that a listed entry points to.
    pub async fn object(
        &self,
        listed: &IndexValue,
    ) -> Result<crate::segment::SegmentObject, ReadError> {
        self.segment_object(&listed.location).await
    }

    /// Reads the object at a place in a segment.
    pub async fn segment_object(
        &self,
        location: &ingest::entry::SegmentLocation,
    ) -> Result<crate::segment::SegmentObject, ReadError> {
        let Some(segment) = self.segments.get(&location.segment) else {
            return Err(ReadError::Corrupt(Corruption {
                file: "catalog".into(),
                position: 0,
                detail: format!("segment {} is referred to and not named", location.segment),
            }));
        };
        segment.read(*location).await
    }
}

/// The memtable, the frozen memtables and the sealed files that belong together.
pub struct ReadView {
    /// The partition.
    pub partition: PartitionId,
    /// Where the fold writes.
    pub memtable: Arc<Memtable>,
    /// Memtables that wait to become runs, newest first.
    pub frozen: Vec<Arc<Memtable>>,
    /// Everything below.
    pub sealed: Arc<SealedFiles>,
}

/// A view at an offset: what one read sees.
#[derive(Clone)]
pub struct Snapshot {
    /// The view.
    pub view: Arc<ReadView>,
    /// Statements of the memtable from here on are not seen.
    pub at: Offset,
    /// The buckets.
    pub buckets: Arc<Buckets>,
}

/// An entry as a source has it: whole from a memtable, as far as listings need it from a run.
#[derive(Clone, Debug)]
pub enum EntryData {
    /// From a memtable.
    Memtable(EntryValue),
    /// From a run's key index.
    Run(IndexValue),
}

impl EntryData {
    /// What kind of statement it is.
    pub fn kind(&self) -> IndexValueKind {
        match self {
            EntryData::Memtable(statement) => IndexValueKind::of(statement),
            EntryData::Run(listed) => listed.kind,
        }
    }

    /// Its shape, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        match self {
            EntryData::Memtable(statement) => EntryShape::of(statement),
            EntryData::Run(listed) => EntryShape::of_kind(listed.kind, listed.is_null),
        }
    }
}

impl Snapshot {
    /// The whole statement.
    pub async fn statement(&self, what: &EntryData) -> Result<EntryValue, ReadError> {
        match what {
            EntryData::Memtable(statement) => Ok(statement.clone()),
            EntryData::Run(listed) => Ok(self.view.sealed.object(listed).await?.statement),
        }
    }

    /// The memtable and the frozen memtables, newest first, each with the offset it is read at.
    pub fn memtables(&self) -> impl Iterator<Item = (&Arc<Memtable>, Offset)> {
        let frozen = self.view.frozen.iter().map(|memtable| (memtable, Offset::MAX));
        std::iter::once((&self.view.memtable, self.at)).chain(frozen)
    }
}
