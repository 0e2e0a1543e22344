//! The catalog: the current segments and runs of a partition, for one cut. `docs/formats/catalog.md`
//! specifies the bytes.
//!
//! A generation is written whole, twice, and never changed. Publishing is one atomic step: the rename of
//! the first copy, after everything that the generation names has been synced. Loading takes the highest
//! generation. If neither copy of that generation can be read, the result is an error of corruption, never
//! an older generation.

pub(crate) mod file_ids;
mod segment_meta;
pub mod store;

use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};
use ingest::env::{DiskError, DiskErrorKind, Env, FilePath, OpenMode};
use ingest::ids::{BulkId, CutNumber, Generation, Offset, PartitionId, RunId, SegmentId, StoreId};
use ingest::log::{Corruption, ReadError, confirm};
use ingest::mutant::Mutant;
use ingest::place::{PerPlace, Place};
use ingest::time::WallTime;

use crate::layout::PartitionLayout;
use crate::sealed::FileDigest;

pub use segment_meta::SegmentMeta;

/// The version of the fold, and of the state, the entry headers and the values of key indexes that it writes. A catalog
/// that another version made is refused.
pub const FOLD_VERSION: u32 = 5;

/// A partition's catalog: everything that is needed, beside the log above [`Catalog::next`], to restore the
/// partition.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    /// The store that the catalog belongs to; loading fails for any other store.
    pub store: StoreId,
    /// The partition that the catalog belongs to.
    pub partition: PartitionId,
    /// The number of this generation. Each publication tries a higher one, also after a failed publication.
    pub generation: Generation,
    /// The last cut whose run is in the catalog.
    pub cut: CutNumber,
    /// The offset below which every record is folded into the catalog's files; replay begins here.
    pub next: Offset,
    /// The version of the fold that made the catalog, at most [`FOLD_VERSION`] here.
    pub fold_version: u32,
    /// The fold's time at the cut, which is the earliest time for records after it.
    pub time: WallTime,
    /// The digest of the logical content of all cuts, each chained to the one before; equal on all nodes.
    pub digest: [u8; 32],
    /// XXH3-128 of the record that made the cut, at the offset before `next`. Where the log keeps folded
    /// records, a start compares it with the log's record and so detects another log.
    pub last: [u8; 16],
    /// BLAKE3 of the encoding of the generation before.
    pub previous: [u8; 32],
    /// The next free segment id, above every id that the process had taken when it published this
    /// generation.
    pub next_segment: SegmentId,
    /// The next free run id.
    pub next_run: RunId,
    /// The next free bulk file id of each place.
    pub next_bulk: PerPlace<BulkId>,
    /// The runs, oldest first; this order decides which run is newer for a state key.
    pub runs: Vec<RunMeta>,
    /// The segments that entries of the runs refer to, and those that garbage collection has not dropped
    /// yet.
    pub segments: Vec<SegmentMeta>,
    /// The bulk files that runs refer to.
    pub bulks: Vec<BulkFileMeta>,
}

/// A run: manifest, key index, tag table and state table of a contiguous range of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunMeta {
    /// The run's id, from which its paths follow.
    pub id: RunId,
    /// The run's level: 0 for a flushed run, otherwise the level that the merge's plan chose.
    pub level: u8,
    /// The lowest offset of the run's range of the log.
    pub first: Offset,
    /// The offset at which the run's range of the log ends, exclusive.
    pub below: Offset,
    /// The number of object entries, delete markers and tombstones included, state entries excluded.
    pub entries: u64,
    /// Bytes of payload in segments that the run's entries name.
    pub inline_bytes: u64,
    /// Bytes of payload in bulk files that the run's entries, parts of uploads and streams name.
    pub bulk_bytes: u64,
    /// The digest of the manifest.
    pub manifest: FileDigest,
    /// The digest of the manifest's checksums.
    pub sums: FileDigest,
    /// The digest of the key index's table with the entry that decides each key.
    pub keys: FileDigest,
    /// The digest of the key index's table with all other entries.
    pub more: FileDigest,
    /// The digest of the tag table.
    pub tags: FileDigest,
    /// The digest of the state table.
    pub state: FileDigest,
}

impl RunMeta {
    /// Returns the digests of the run's files, in the order of [`PartitionLayout::run_files`].
    pub fn files(&self) -> impl Iterator<Item = &FileDigest> {
        [&self.manifest, &self.sums, &self.keys, &self.more, &self.tags, &self.state].into_iter()
    }
}

/// A bulk file and the count of its references.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BulkFileMeta {
    /// The bulk file's id.
    pub id: BulkId,
    /// The number of references from the runs' entries, parts and streams. At 0 garbage collection drops
    /// the file from the catalog.
    pub references: u64,
}

/// The error of loading a catalog. No variant is ever answered by falling back to an older generation.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk failed to list, rename, write or sync.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Neither copy of the newest generation can be read, after each was read twice.
    #[error("{0}")]
    Corrupt(#[from] Corruption),
    /// A copy cannot be read at present, for a reason that does not concern its bytes (handles or memory
    /// are used up, for example). Retry later.
    #[error("{0}")]
    NotNow(ReadError),
    /// The catalog belongs to another store or partition.
    #[error("{file} belongs to another store or partition")]
    Foreign {
        /// The path of a copy of the catalog.
        file: FilePath,
    },
    /// Another version of this program made the catalog. Only that version can open the store.
    #[error("{file} was made by fold version {found}, this program reads version {known} only")]
    OtherVersion {
        /// The path of a copy of the catalog.
        file: FilePath,
        /// The fold version in the catalog.
        found: u32,
        /// The fold version that this program can load.
        known: u32,
    },
}

/// The error of publishing a catalog.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// The disk failed. A later load may find either the new generation or the former one, so files of both
    /// must stay.
    #[error("generation {generation} could not be published: {source}")]
    Disk {
        /// The number of the generation that was to be published.
        generation: Generation,
        /// The disk's error.
        #[source]
        source: DiskError,
    },
    /// The catalog has a list that is longer than [`LIST_MAX`], and no reader would accept it. Nothing was
    /// written; the former generation remains current.
    #[error("generation {generation} is not published: {source}")]
    Encode {
        /// The number of the generation that was to be published.
        generation: Generation,
        /// The limit that was exceeded.
        #[source]
        source: EncodeError,
    },
}

const MAGIC: &[u8; 8] = b"SILTCAT5";
/// The part of the magic number that catalogs of all versions have.
const MAGIC_PREFIX: &[u8] = b"SILTCAT";
/// The largest number of runs, of segments, and of bulk files that a catalog may name.
pub const LIST_MAX: usize = 1 << 20;
// The order of writing, renaming and reading. A rename of `b` alone already makes its generation the
// newest.
const COPIES: [char; 2] = ['b', 'a'];

impl Catalog {
    /// Makes the first catalog of a partition: generation 0, offset 0, no files. The caller publishes it or
    /// a successor.
    pub fn first(store: StoreId, partition: PartitionId) -> Self {
        Self {
            store,
            partition,
            generation: Generation::ZERO,
            cut: CutNumber::ZERO,
            next: Offset::ZERO,
            fold_version: FOLD_VERSION,
            time: WallTime::default(),
            digest: [0; 32],
            last: [0; 16],
            previous: [0; 32],
            next_segment: SegmentId::new(1),
            next_run: RunId::new(1),
            next_bulk: BulkId::first(),
            runs: Vec::new(),
            segments: Vec::new(),
            bulks: Vec::new(),
        }
    }

    /// Returns the paths of the segments, then of the run files that this catalog names. Bulk files are
    /// left out.
    pub fn files(&self, layout: &PartitionLayout) -> Vec<FilePath> {
        let segments = self.segments.iter();
        let segments = segments.map(|segment| layout.segment(segment.place, segment.id));
        let runs = self.runs.iter().flat_map(|run| layout.run_files(run.id));
        segments.chain(runs).collect()
    }

    /// Returns the length of the longest list that [`LIST_MAX`] limits, and the name of that list.
    pub fn longest_list(&self) -> (usize, &'static str) {
        let lists = [
            (self.runs.len(), "runs"),
            (self.segments.len(), "segments"),
            (self.bulks.len(), "bulk files"),
        ];
        lists.into_iter().max().unwrap_or_default()
    }

    /// Returns BLAKE3 of the encoding, which the next generation stores in [`Catalog::previous`].
    pub fn digest_of_encoding(&self) -> [u8; 32] {
        *blake3::hash(self.encoder(LIST_MAX).as_slice()).as_bytes()
    }

    /// Encodes the catalog with magic number, length and checksum. Fails if a list is longer than
    /// [`LIST_MAX`], since [`Catalog::decode`] would refuse the bytes.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        self.encoder(LIST_MAX).try_finish()
    }

    fn encoder(&self, list_max: usize) -> Encoder {
        let mut out = Encoder::new();
        out.raw(MAGIC).u32(0);
        out.raw(&self.store.0).u32(self.partition.get()).u32(self.fold_version);
        out.u64(self.generation.get()).u64(self.cut.get()).u64(self.next.get());
        out.i64(self.time.micros()).raw(&self.digest).raw(&self.last).raw(&self.previous);
        out.u64(self.next_segment.get()).u64(self.next_run.get());
        for place in Place::ALL {
            out.u64(self.next_bulk[place].get());
        }
        out.count(self.runs.len(), list_max, "runs");
        for run in &self.runs {
            out.u64(run.id.get()).u8(run.level).u64(run.first.get()).u64(run.below.get());
            out.u64(run.entries).u64(run.inline_bytes).u64(run.bulk_bytes);
            let index = [&run.keys, &run.more, &run.tags, &run.state];
            for file in [&run.manifest, &run.sums].into_iter().chain(index) {
                file.encode(&mut out);
            }
        }
        out.count(self.segments.len(), list_max, "segments");
        self.segments.iter().for_each(|segment| segment.encode(&mut out));
        out.count(self.bulks.len(), list_max, "bulk files");
        for bulk in &self.bulks {
            out.u64(bulk.id.get()).u64(bulk.references);
        }
        // The length is under the checksum, so a cut-off catalog does not pass for a short one.
        out.patch_u32(MAGIC.len(), out.len() as u32 + 4);
        let crc = crc32c::crc32c(out.as_slice());
        out.u32(crc);
        out
    }

    /// Decodes a catalog, after length and checksum have been verified. Fails on another magic number, a
    /// wrong length or checksum, a list above [`LIST_MAX`], and bytes behind the end. Store, partition and
    /// fold version are left to the caller.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let whole = bytes.len();
        let Some(body_len) = whole.checked_sub(4) else {
            return Err(DecodeError { what: "catalog", position: 0 });
        };
        let crc = crc32c::crc32c(&bytes[..body_len]).to_le_bytes();
        let mut from = Decoder::new(bytes.slice(..body_len));
        let magic: [u8; 8] = from.array("catalog magic")?;
        let len = from.u32("catalog length")? as usize;
        let is_whole = len == whole && crc == bytes[body_len..];
        if is_whole && magic != *MAGIC && magic.starts_with(MAGIC_PREFIX) {
            return Err(DecodeError { what: "catalog of version 5", position: 0 });
        }
        if magic != *MAGIC || !is_whole {
            return Err(DecodeError { what: "catalog checksum", position: body_len });
        }
        let store = StoreId(from.array("store")?);
        let partition = PartitionId::new(from.u32("partition")?);
        let fold_version = from.u32("fold version")?;
        let generation = Generation::new(from.u64("generation")?);
        let cut = CutNumber::new(from.u64("cut")?);
        let next = Offset::new(from.u64("next offset")?);
        let time = WallTime::from_micros(from.i64("time")?);
        let digest = from.array("digest")?;
        let last = from.array("hash of the last record")?;
        let previous = from.array("previous digest")?;
        let next_segment = SegmentId::new(from.u64("next segment")?);
        let next_run = RunId::new(from.u64("next run")?);
        let mut next_bulk = BulkId::first();
        for place in Place::ALL {
            next_bulk[place] = id_in_place(&mut from, place)?;
        }
        let count = from.count(LIST_MAX, "runs")?;
        let run = |from: &mut Decoder| {
            Ok(RunMeta {
                id: RunId::new(from.u64("run")?),
                level: from.u8("level")?,
                first: Offset::new(from.u64("first offset")?),
                below: Offset::new(from.u64("last offset")?),
                entries: from.u64("entries")?,
                inline_bytes: from.u64("inline bytes")?,
                bulk_bytes: from.u64("bulk bytes")?,
                manifest: FileDigest::decode(from)?,
                sums: FileDigest::decode(from)?,
                keys: FileDigest::decode(from)?,
                more: FileDigest::decode(from)?,
                tags: FileDigest::decode(from)?,
                state: FileDigest::decode(from)?,
            })
        };
        let runs = (0..count).map(|_| run(&mut from)).collect::<Result<_, DecodeError>>()?;
        let count = from.count(LIST_MAX, "segments")?;
        let segments = (0..count)
            .map(|_| SegmentMeta::decode(&mut from))
            .collect::<Result<_, DecodeError>>()?;
        let count = from.count(LIST_MAX, "bulk files")?;
        let bulk = |from: &mut Decoder| {
            let id = BulkId::new(from.u64("bulk file")?);
            Ok(BulkFileMeta { id, references: from.u64("references")? })
        };
        let bulks = (0..count).map(|_| bulk(&mut from)).collect::<Result<_, DecodeError>>()?;
        from.end("end of catalog")?;
        Ok(Self {
            store,
            partition,
            generation,
            cut,
            next,
            fold_version,
            time,
            digest,
            last,
            previous,
            next_segment,
            next_run,
            next_bulk,
            runs,
            segments,
            bulks,
        })
    }
}

/// Decodes the next id of a bulk file in a place. Fails for the id of a file in another place.
fn id_in_place(from: &mut Decoder, place: Place) -> Result<BulkId, DecodeError> {
    let error = from.error("next bulk file");
    let id = BulkId::new(from.u64("next bulk file")?);
    if id.place() == place { Ok(id) } else { Err(error) }
}

/// Makes a generation durable: writes and syncs both temporaries, renames both, syncs the folder, then
/// removes former generations. The caller must have synced everything that the generation names, the
/// folders included.
///
/// Errors: on [`PublishError::Disk`] the next load may find the new generation or the former one; on
/// [`PublishError::Encode`] nothing was written. The same holds for a dropped future as for a failed disk.
/// A former generation that cannot be removed is only logged.
pub async fn publish(
    env: &Env,
    layout: &PartitionLayout,
    catalog: &Catalog,
) -> Result<(), PublishError> {
    let generation = catalog.generation;
    let failed = |source| PublishError::Disk { generation, source };
    let goes_beyond = env.mutated(Mutant::EncodeBeyondLimit);
    let list_max = if goes_beyond { usize::MAX } else { LIST_MAX };
    let encoded = catalog.encoder(list_max).try_finish();
    let encoded = encoded.map_err(|source| PublishError::Encode { generation, source })?;
    // Both temporaries are written before the first rename. A copy that has no name yet while its temporary
    // is whole therefore belongs to an interrupted publication, and has not been lost.
    for copy in COPIES {
        write_temporary(env, layout, copy, encoded.clone()).await.map_err(failed)?;
    }
    for copy in COPIES {
        let (temporary, path) = (layout.catalog_temporary(copy), layout.catalog(generation, copy));
        env.disk.rename(&temporary, &path).await.map_err(failed)?;
    }
    let folder = layout.catalog_folder();
    if !env.mutated(Mutant::SkipCatalogFolderSync) {
        env.disk.sync_folder(Some(&folder)).await.map_err(failed)?;
    }
    // Only now is the former generation no longer needed. A former generation that stays behind is
    // harmless, because loading takes the highest one, so a failure here does not make the new generation
    // unpublished.
    if let Err(error) = remove_former(env, &folder, catalog.generation).await {
        tracing::warn!(%error, "a former catalog could not be removed");
    }
    Ok(())
}

/// Removes both copies of all generations below `current`.
async fn remove_former(env: &Env, folder: &FilePath, current: Generation) -> Result<(), DiskError> {
    for (path, _) in env.disk.list(folder).await? {
        if generation_of(&path).is_some_and(|(generation, _)| generation < current) {
            env.disk.remove(&path).await?;
        }
    }
    Ok(())
}

/// Writes one copy under its temporary name, replacing an earlier temporary, and syncs the file.
async fn write_temporary(
    env: &Env,
    layout: &PartitionLayout,
    copy: char,
    encoded: Bytes,
) -> Result<(), DiskError> {
    let temporary = layout.catalog_temporary(copy);
    crate::sealed::remove_if_there(&env.disk, &temporary).await?;
    let file = env.disk.open(&temporary, OpenMode::Create).await?;
    file.write_at(0, encoded).await?;
    if !env.mutated(Mutant::PublishBeforeSync) {
        file.sync().await?;
    }
    Ok(())
}

/// Parses generation and copy from a file's name; `None` for a temporary or a foreign file.
fn generation_of(path: &FilePath) -> Option<(Generation, char)> {
    let (number, copy) = path.name().split_once('.')?;
    let copy = COPIES.into_iter().find(|known| copy == known.to_string())?;
    (number.len() == 10).then_some(())?;
    Some((Generation::new(number.parse().ok()?), copy))
}

/// Repairs a copy of the newest generation that is missing or damaged while the other copy is whole, gives
/// an unrenamed copy of an interrupted publication its name, and returns the generation; `None` if none was
/// ever published. The changes are durable when the function returns.
///
/// Called once at a start, after the log has been recovered and before anything else writes to the folder:
/// a start that the log refuses changes nothing. Errors: see [`LoadError`]; nothing is repaired when no copy
/// can be read.
pub async fn mend(
    env: &Env,
    layout: &PartitionLayout,
    store: StoreId,
    partition: PartitionId,
) -> Result<Option<Catalog>, LoadError> {
    let (newest, damaged) = read(env, layout, store, partition).await?;
    if let Some(catalog) = &newest {
        for copy in COPIES {
            if is_unfinished(env, layout, catalog.generation, copy).await? {
                let path = layout.catalog(catalog.generation, copy);
                env.disk.rename(&layout.catalog_temporary(copy), &path).await?;
            }
        }
        for (copy, corruption) in damaged {
            tracing::warn!(%corruption, "a copy of the catalog is mended from the other");
            let encoded = catalog.encoder(LIST_MAX).finish();
            write_temporary(env, layout, copy, encoded).await?;
            let path = layout.catalog(catalog.generation, copy);
            env.disk.rename(&layout.catalog_temporary(copy), &path).await?;
        }
        env.disk.sync_folder(Some(&layout.catalog_folder())).await?;
    }
    Ok(newest)
}

/// Returns true when a copy of the newest generation lacks its name because its publication was
/// interrupted, and its temporary is whole. The other copy is then whole too, since otherwise the
/// generation would not be the newest.
async fn is_unfinished(
    env: &Env,
    layout: &PartitionLayout,
    generation: Generation,
    copy: char,
) -> Result<bool, LoadError> {
    let names = env.disk.list(&layout.catalog_folder()).await?;
    let temporary = layout.catalog_temporary(copy);
    let has = |path: &FilePath| names.iter().any(|(name, _)| name == path);
    if has(&layout.catalog(generation, copy)) || !has(&temporary) {
        return Ok(false);
    }
    match confirm(|| read_copy(&env.disk, &temporary, generation)).await {
        Ok(_) => Ok(true),
        Err(ReadError::Corrupt(_)) => Ok(false),
        Err(error) => Err(LoadError::NotNow(error)),
    }
}

/// Reads the newest generation as [`read`] does, and makes its name durable.
///
/// A process that ended between the renames of a publication and the sync of their folder leaves a
/// generation that a power cut may take away. The log may reuse files below a generation's offsets only
/// when that generation stays, so recovery and repair of the log come after this.
pub async fn read_durable(
    env: &Env,
    layout: &PartitionLayout,
    store: StoreId,
    partition: PartitionId,
) -> Result<Option<Catalog>, LoadError> {
    let (newest, _) = read(env, layout, store, partition).await?;
    if newest.is_some() && !env.mutated(Mutant::TrustUnsyncedCatalog) {
        env.disk.sync_folder(Some(&layout.catalog_folder())).await?;
    }
    Ok(newest)
}

/// The newest catalog, and its copies that are missing or damaged, each with the corruption that was found.
/// A copy that an interrupted publication has not renamed yet is not in the list.
pub type FoundCatalog = (Option<Catalog>, Vec<(char, Corruption)>);

/// Reads the newest generation without any change on the disk; `None` if none was ever published. Each copy
/// is read again before it counts as damaged.
///
/// Fails with [`LoadError::NotNow`] if any copy cannot be read at present, even when the other one is
/// whole: a repair must not overwrite a copy that may be good.
pub async fn read(
    env: &Env,
    layout: &PartitionLayout,
    store: StoreId,
    partition: PartitionId,
) -> Result<FoundCatalog, LoadError> {
    let files = match env.disk.list(&layout.catalog_folder()).await {
        Ok(files) => files,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok((None, Vec::new())),
        Err(error) => return Err(error.into()),
    };
    let newest = files.iter().filter_map(|(path, _)| generation_of(path)).max();
    let Some((generation, _)) = newest else { return Ok((None, Vec::new())) };
    let mut found = None;
    let mut damaged = Vec::new();
    for copy in COPIES {
        let path = layout.catalog(generation, copy);
        match confirm(|| read_copy(&env.disk, &path, generation)).await {
            Ok(catalog) => found = Some((catalog, path)),
            Err(ReadError::Corrupt(corruption)) => {
                if !is_unfinished(env, layout, generation, copy).await? {
                    damaged.push((copy, corruption));
                }
            }
            // A copy that cannot be read at present is not damaged, and must not be written anew.
            Err(error) => return Err(LoadError::NotNow(error)),
        }
    }
    let Some((catalog, file)) = found else {
        let detail: Vec<String> = damaged.iter().map(|(_, c)| c.to_string()).collect();
        return Err(LoadError::Corrupt(Corruption {
            file: layout.catalog(generation, 'a').to_string(),
            position: 0,
            detail: format!("neither copy can be read ({})", detail.join("; ")),
        }));
    };
    if catalog.store != store || catalog.partition != partition {
        return Err(LoadError::Foreign { file });
    }
    if catalog.fold_version != FOLD_VERSION {
        let found = catalog.fold_version;
        return Err(LoadError::OtherVersion { file, found, known: FOLD_VERSION });
    }
    Ok((Some(catalog), damaged))
}

/// Reads and decodes one copy. Fails with corruption if the file is missing, cannot be decoded, or does not
/// contain the generation of its name.
async fn read_copy(
    disk: &Arc<dyn ingest::env::Disk>,
    path: &FilePath,
    generation: Generation,
) -> Result<Catalog, ReadError> {
    let failed = |error| crate::sealed::read_error(0, &error);
    let file = disk.open(path, OpenMode::Read).await.map_err(failed)?;
    let len = file.len().await.map_err(failed)?;
    let bytes = file.read_at(0, len as usize).await.map_err(failed)?;
    let catalog = Catalog::decode(bytes).map_err(|error| {
        crate::sealed::corruption(path, error.position as u64, error.to_string())
    })?;
    if catalog.generation != generation {
        return Err(crate::sealed::corruption(path, 0, "the file contains another generation"));
    }
    Ok(catalog)
}

#[cfg(test)]
mod tests;
