//! The catalog: a partition's current segments and runs for one cut. `docs/formats/catalog.md` specifies
//! the bytes.
//!
//! A generation is written whole, twice, and never changed. Publishing it is one atomic step: the rename
//! of its first copy, after everything that it names has been synced. Loading takes the highest
//! generation; if neither copy of it can be read that is corruption, never an older state of the store.

mod file_ids;
pub mod store;

use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, EncodeError, Encoder};
use ingest::env::{DiskError, DiskErrorKind, Env, FilePath, OpenMode};
use ingest::ids::{BulkId, CutNumber, Generation, Offset, PartitionId, RunId, SegmentId, StoreId};
use ingest::log::{Corruption, ReadError, confirm};
use ingest::mutant::Mutant;
use ingest::time::WallTime;

use crate::layout::PartitionLayout;
use crate::sealed::FileDigest;

/// The fold that this code is; a catalog made by a newer one is refused.
pub const FOLD_VERSION: u32 = 1;

/// A partition's catalog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Catalog {
    /// The store.
    pub store: StoreId,
    /// The partition.
    pub partition: PartitionId,
    /// Its number.
    pub generation: Generation,
    /// The last cut that it contains.
    pub cut: CutNumber,
    /// Everything below this offset is folded.
    pub next: Offset,
    /// Which fold made it.
    pub fold_version: u32,
    /// The fold's time at the cut.
    pub time: WallTime,
    /// The chained digest of all cuts' logical content.
    pub digest: [u8; 32],
    /// XXH3-128 of the record that made the cut, at the offset below `next`. Where the log keeps what has
    /// been folded, a start finds out by it whether this is still the same log.
    pub last: [u8; 16],
    /// BLAKE3 of the generation before.
    pub previous: [u8; 32],
    /// The next free segment id.
    pub next_segment: SegmentId,
    /// The next free run id.
    pub next_run: RunId,
    /// The next free bulk file id.
    pub next_bulk: BulkId,
    /// Runs, oldest first.
    pub runs: Vec<RunMeta>,
    /// Segments.
    pub segments: Vec<SegmentMeta>,
    /// Bulk files that runs refer to.
    pub bulks: Vec<BulkFileMeta>,
}

/// A run: manifest, key index and state of a stretch of the log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RunMeta {
    /// Its id.
    pub id: RunId,
    /// How many merges it has been through.
    pub level: u8,
    /// Its records stand at or above this.
    pub first: Offset,
    /// Its records stand below this.
    pub below: Offset,
    /// How many object entries it has.
    pub entries: u64,
    /// Bytes of payload in segments that its entries name.
    pub inline_bytes: u64,
    /// Bytes of payload in bulk files that its entries, parts of uploads and streams name.
    pub bulk_bytes: u64,
    /// Its manifest.
    pub manifest: FileDigest,
    /// Its manifest's checksums.
    pub sums: FileDigest,
    /// Its key index: the entry that decides each key.
    pub keys: FileDigest,
    /// Its key index: all other entries.
    pub more: FileDigest,
    /// Its tag table.
    pub tags: FileDigest,
    /// Its state entries.
    pub state: FileDigest,
}

impl RunMeta {
    /// The digests of the run's files.
    pub fn files(&self) -> impl Iterator<Item = &FileDigest> {
        [&self.manifest, &self.sums, &self.keys, &self.more, &self.tags, &self.state].into_iter()
    }
}

/// A segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentMeta {
    /// Its id.
    pub id: SegmentId,
    /// Its file.
    pub file: FileDigest,
    /// How often runs refer to it; at 0 it is garbage.
    pub references: u64,
    /// How many objects were written to it.
    pub objects: u64,
}

/// A bulk file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BulkFileMeta {
    /// Its id.
    pub id: BulkId,
    /// How often runs refer to it; at 0 it is garbage once sealed.
    pub references: u64,
}

/// A catalog could not be loaded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Neither copy of the newest generation can be read.
    #[error("{0}")]
    Corrupt(#[from] Corruption),
    /// A copy cannot be read just now, which says nothing of what is in it. Try again.
    #[error("{0}")]
    NotNow(ReadError),
    /// It belongs to another store or partition.
    #[error("{file} belongs to another store or partition")]
    Foreign {
        /// The file.
        file: FilePath,
    },
    /// A newer version of this program made it.
    #[error("{file} was made by fold version {found}, this program knows up to {known}")]
    Newer {
        /// The file.
        file: FilePath,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
}

/// A catalog could not be published.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PublishError {
    /// The disk failed. The new generation may or may not be found after a restart.
    #[error("generation {generation} could not be published: {source}")]
    Disk {
        /// The generation.
        generation: Generation,
        /// The disk's error.
        #[source]
        source: DiskError,
    },
    /// The catalog names more than can be read back. Nothing was written; the former generation stands.
    #[error("generation {generation} is not published: {source}")]
    Encode {
        /// The generation.
        generation: Generation,
        /// The list that is too long.
        #[source]
        source: EncodeError,
    },
}

const MAGIC: &[u8; 8] = b"SILTCAT4";
/// Most runs, segments or bulk files that a catalog names, of each.
pub const LIST_MAX: usize = 1 << 20;
const COPIES: [char; 2] = ['b', 'a'];

impl Catalog {
    /// The first catalog of a partition.
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
            next_bulk: BulkId::new(1),
            runs: Vec::new(),
            segments: Vec::new(),
            bulks: Vec::new(),
        }
    }

    /// The paths of the segments and run files that this catalog names, without bulk files.
    pub fn files(&self, layout: &PartitionLayout) -> Vec<FilePath> {
        let segments = self.segments.iter().map(|segment| layout.segment(segment.id));
        let runs = self.runs.iter().flat_map(|run| layout.run_files(run.id));
        segments.chain(runs).collect()
    }

    /// The most that it names of anything that [`LIST_MAX`] limits, and what that is.
    pub fn longest_list(&self) -> (usize, &'static str) {
        let lists = [
            (self.runs.len(), "runs"),
            (self.segments.len(), "segments"),
            (self.bulks.len(), "bulk files"),
        ];
        lists.into_iter().max().unwrap_or_default()
    }

    /// BLAKE3 of the encoding; the link of the chain of generations.
    pub fn digest_of_encoding(&self) -> [u8; 32] {
        *blake3::hash(self.encoder(LIST_MAX).as_slice()).as_bytes()
    }

    /// Encodes the catalog with its magic number and checksum, unless it names more than can be read back.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        self.encoder(LIST_MAX).try_finish()
    }

    fn encoder(&self, list_max: usize) -> Encoder {
        let mut out = Encoder::new();
        out.raw(MAGIC).u32(0);
        out.raw(&self.store.0).u32(self.partition.get()).u32(self.fold_version);
        out.u64(self.generation.get()).u64(self.cut.get()).u64(self.next.get());
        out.i64(self.time.micros()).raw(&self.digest).raw(&self.last).raw(&self.previous);
        out.u64(self.next_segment.get()).u64(self.next_run.get()).u64(self.next_bulk.get());
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
        for segment in &self.segments {
            out.u64(segment.id.get()).u64(segment.references).u64(segment.objects);
            segment.file.encode(&mut out);
        }
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

    /// Decodes a catalog.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let whole = bytes.len();
        let Some(body_len) = whole.checked_sub(4) else {
            return Err(DecodeError { what: "catalog", position: 0 });
        };
        let crc = crc32c::crc32c(&bytes[..body_len]).to_le_bytes();
        let mut from = Decoder::new(bytes.slice(..body_len));
        let magic: [u8; 8] = from.array("catalog magic")?;
        let len = from.u32("catalog length")? as usize;
        if magic != *MAGIC || len != whole || crc != bytes[body_len..] {
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
        let next_bulk = BulkId::new(from.u64("next bulk file")?);
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
        let segment = |from: &mut Decoder| {
            Ok(SegmentMeta {
                id: SegmentId::new(from.u64("segment")?),
                references: from.u64("references")?,
                objects: from.u64("objects")?,
                file: FileDigest::decode(from)?,
            })
        };
        let segments =
            (0..count).map(|_| segment(&mut from)).collect::<Result<_, DecodeError>>()?;
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

/// Makes a generation durable. Everything that it names must have been synced.
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
    // Both temporaries before the first name: a copy that has no name yet while its temporary is whole belongs
    // to a publication that was interrupted, and has not been lost.
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
    // Only now is the former generation no longer needed. One that stays behind does no harm, so failing
    // here is no reason to call the new one unpublished.
    if let Err(error) = remove_former(env, &folder, catalog.generation).await {
        tracing::warn!(%error, "a former catalog could not be removed");
    }
    Ok(())
}

async fn remove_former(env: &Env, folder: &FilePath, current: Generation) -> Result<(), DiskError> {
    for (path, _) in env.disk.list(folder).await? {
        if generation_of(&path).is_some_and(|(generation, _)| generation < current) {
            env.disk.remove(&path).await?;
        }
    }
    Ok(())
}

/// Writes a copy under its temporary name, and syncs it.
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

/// The generation and copy that a file's name tells.
fn generation_of(path: &FilePath) -> Option<(Generation, char)> {
    let (number, copy) = path.name().split_once('.')?;
    let copy = COPIES.into_iter().find(|known| copy == known.to_string())?;
    (number.len() == 10).then_some(())?;
    Some((Generation::new(number.parse().ok()?), copy))
}

/// Loads the newest generation; `None` when none was ever published. Mends a copy that is missing or
/// damaged while the other is whole.
pub async fn load(
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

/// Tells that a copy of the newest generation has no name yet because its publication was interrupted: its
/// temporary is whole. The other copy is whole, too, or the generation would not be the newest.
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

/// The newest catalog, and its copies that are missing or damaged. A copy that an interrupted publication has
/// not named yet is not among them.
pub type FoundCatalog = (Option<Catalog>, Vec<(char, Corruption)>);

/// Reads the newest generation and changes nothing.
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
            // A copy that cannot be read just now is not damaged, and must not be written anew.
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
    if catalog.fold_version > FOLD_VERSION {
        let found = catalog.fold_version;
        return Err(LoadError::Newer { file, found, known: FOLD_VERSION });
    }
    Ok((Some(catalog), damaged))
}

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
        return Err(crate::sealed::corruption(path, 0, "it is another generation's"));
    }
    Ok(catalog)
}

#[cfg(test)]
mod tests;
