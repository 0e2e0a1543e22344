//! The view of one read: the memtable at an offset, frozen memtables, and the sealed files of one catalog.
//!
//! The three are replaced together, so that a read sees each entry exactly once while a flush moves entries
//! from a frozen memtable into a run. A reader may hold its [`Snapshot`] for any time. Files that it may
//! still open are not removed before the snapshot is dropped.

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

/// A run whose files are open. A damaged file is represented by its corruption: reads that need the file
/// fail with that error, and all others work.
pub struct OpenRun {
    /// The run's entry in the catalog.
    pub run: RunMeta,
    /// The part of the key index with the entry that decides each key.
    pub keys: Result<Arc<Table>, Corruption>,
    /// The part of the key index with all other entries.
    pub more: Result<Arc<Table>, Corruption>,
    /// The tag table.
    pub tags: Result<Arc<Table>, Corruption>,
    /// The state table.
    pub state: Result<Arc<Table>, Corruption>,
    /// The manifest.
    pub manifest: Result<Arc<Manifest>, Corruption>,
}

impl OpenRun {
    /// Opens all files of a run. A damaged or missing file becomes a part of the result. Fails only with
    /// errors that do not concern the files' bytes, such as exhausted handles; the caller then tries again.
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
    /// Returns the damage of the run's files.
    fn damages(&self) -> impl Iterator<Item = &Corruption> {
        let tables = [&self.keys, &self.more, &self.tags, &self.state];
        let of_tables = tables.into_iter().filter_map(|table| table.as_ref().err());
        of_tables.chain(self.manifest.as_ref().err())
    }

    /// Returns the first damage that was found in the run's files; `None` while all files are usable.
    pub fn damage(&self) -> Option<&Corruption> {
        self.damages().next()
    }
}

/// Separates corruption, which is kept as a fact about one file, from other errors, which the caller
/// handles.
fn contain<T>(opened: Result<T, ReadError>) -> Result<Result<T, Corruption>, ReadError> {
    match opened {
        Ok(opened) => Ok(Ok(opened)),
        Err(ReadError::Corrupt(corruption)) => Ok(Err(corruption)),
        Err(error) => Err(error),
    }
}

/// The open sealed files of one catalog generation.
pub struct SealedFiles {
    /// The catalog generation.
    pub catalog: Catalog,
    /// The runs of the catalog, oldest first.
    pub runs: Vec<Arc<OpenRun>>,
    /// The segments of the catalog.
    pub segments: BTreeMap<SegmentId, Arc<Segment>>,
    /// The open files of segments, shared by all generations.
    handles: Arc<SegmentHandles>,
}

impl SealedFiles {
    /// Opens the files that the catalog names; files that `former` has open are shared. Segments are not
    /// read here.
    ///
    /// Without `former`, at a start, a damaged run becomes a part of the result and is logged. With
    /// `former`, damage of a new run is an error: the caller has just written the run and can write it
    /// again. Fails also with errors that do not concern the files' bytes.
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
                    // A run that was just written and cannot be opened must not replace its sources: the
                    // writer still has them, and tries again.
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
                    &layout.segment(segment.place, segment.id),
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

    /// Returns the same files with damaged runs opened again; `None` if no run has fewer damaged files than
    /// before.
    pub(crate) async fn reopened(
        &self,
        disk: &Arc<dyn Disk>,
        layout: &PartitionLayout,
    ) -> Option<Self> {
        let mut runs = self.runs.clone();
        let mut has_helped = false;
        for open in runs.iter_mut().filter(|open| open.damage().is_some()) {
            // A file that cannot be opened at present is tried again later.
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

    /// Reads the object that a key index entry points to: header, and payload if it is stored with the
    /// header. Fails as [`SealedFiles::segment_object`].
    pub async fn object(
        &self,
        listed: &IndexValue,
    ) -> Result<crate::segment::SegmentObject, ReadError> {
        self.segment_object(&listed.location).await
    }

    /// Reads the object at a location in a segment and verifies it. Fails with corruption if the catalog
    /// has no such segment, or the object is damaged.
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

/// The memtable, the frozen memtables and the sealed files that belong together. Never changed in place.
pub struct ReadView {
    /// The partition's id.
    pub partition: PartitionId,
    /// The memtable to which the fold writes.
    pub memtable: Arc<Memtable>,
    /// Memtables that wait for their flush, newest first.
    pub frozen: Vec<Arc<Memtable>>,
    /// The sealed files with everything older.
    pub sealed: Arc<SealedFiles>,
}

/// A view at an offset, which one read sees from begin to end.
#[derive(Clone)]
pub struct Snapshot {
    /// The view, which protects its files from removal while it is held.
    pub view: Arc<ReadView>,
    /// The offset from which on statements of the memtable are invisible to this read.
    pub at: Offset,
    /// The buckets at the time of the snapshot.
    pub buckets: Arc<Buckets>,
}

/// An entry's statement as its source has it: complete from a memtable, or the listed attributes from a
/// run.
#[derive(Clone, Debug)]
pub enum EntryData {
    /// The complete statement, from a memtable.
    Memtable(EntryValue),
    /// The value in a run's key index.
    Run(IndexValue),
}

impl EntryData {
    /// Returns the kind of the statement.
    pub fn kind(&self) -> IndexValueKind {
        match self {
            EntryData::Memtable(statement) => IndexValueKind::of(statement),
            EntryData::Run(listed) => listed.kind,
        }
    }

    /// Returns the shape of the statement, for [`crate::visibility::Visibility`].
    pub fn shape(&self) -> EntryShape {
        match self {
            EntryData::Memtable(statement) => EntryShape::of(statement),
            EntryData::Run(listed) => EntryShape::of_kind(listed.kind, listed.is_null),
        }
    }
}

impl Snapshot {
    /// Returns the complete statement: a copy from a memtable, or from the segment after a verified read.
    /// Fails with corruption if the segment's object is damaged or missing.
    pub async fn statement(&self, what: &EntryData) -> Result<EntryValue, ReadError> {
        match what {
            EntryData::Memtable(statement) => Ok(statement.clone()),
            EntryData::Run(listed) => Ok(self.view.sealed.object(listed).await?.statement),
        }
    }

    /// Returns the memtable, then the frozen memtables, newest first, each with the offset at which it must
    /// be read. Frozen memtables are read completely.
    pub fn memtables(&self) -> impl Iterator<Item = (&Arc<Memtable>, Offset)> {
        let frozen = self.view.frozen.iter().map(|memtable| (memtable, Offset::MAX));
        std::iter::once((&self.view.memtable, self.at)).chain(frozen)
    }
}
