//! Recovery: decides from a log's files, after a stop of any kind, which records the log has.
//!
//! 1. Begin at the batch that covers the floor, found by its header: records below the floor are
//!    folded, and damage to batches wholly below it does not matter. From there read batches in order;
//!    each must belong to its place and continue the chain.
//! 2. At the first place without a valid next batch (offset `p`), search the rest for *any* valid batch.
//! 3. `D` is the highest durable mark of any valid batch, file header or mark file. `D > p`: durable
//!    records are gone, which is corruption: nothing is cut off, and writes stop. `D <= p`: the bytes
//!    behind were never acknowledged, so they are copied aside and overwritten with zeros.
//! 4. Where all of the log, `D` and the last batch included, lies below the floor, nothing is missing:
//!    the log continues at the floor in another file.
//! 5. Where something has been folded, or the store is known to have been begun, a log must exist. A
//!    missing log is corruption, never an empty log, and so is the loss of both marks.
//!
//! Limit, stated in the fault model: rot in exactly the last batch, within the time until the mark after
//! it (50 ms of idleness), looks like a torn end.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{self, BLOCK, BatchHeader, FileHeader, HEADER_BYTES, LogFileId};
use super::scan::{LengthEvidence, read, seek, traces};
use super::{EmbeddedLogOptions, LogFile, file_path, mark};
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, OpenMode};
use crate::ids::{Offset, PartitionId};
use crate::log::Corruption;
use crate::log::second_look::confirm_absent;
use crate::mutant::Mutant;

/// The state of a partition's log after recovery.
pub(super) struct RecoveredLog {
    /// The files with records, oldest first. The writer task continues in the last.
    pub files: Vec<Arc<LogFile>>,
    /// Files without needed records, with their numbers, to be reused.
    pub spare: Vec<(u64, Arc<dyn File>)>,
    /// The next offset.
    pub end: Offset,
    /// The position of the next batch in the last file.
    pub position: u64,
    /// The last batch's link in the chain.
    pub chain: u128,
    /// The key hashes of the last batch's records.
    pub hashes: Vec<u64>,
    /// The evidence, when durable records are gone. Then the log must not be written.
    pub corruption: Option<Corruption>,
    /// Bytes of unfinished batches that were overwritten with zeros.
    pub torn_bytes: u64,
    /// The highest file number in use.
    pub last_number: u64,
}

/// The result of following the chain of batches from the floor on.
struct ChainWalk {
    end: Offset,
    chain: u128,
    durable: Offset,
    hashes: Vec<u64>,
    /// Index of the file in which the chain ends, and the position there.
    file: usize,
    position: u64,
    /// Position at which the walk left the file before.
    left: u64,
    /// Position in the first file at which the walk began.
    begin: u64,
    /// The offset at which the walk began.
    base: Offset,
}

/// Recovers one partition's log, by the steps in the module's description. Records below `floor` are
/// folded.
///
/// Writes only after it has found that no durable record is missing: then an unfinished end is
/// overwritten with zeros, and the last batches are written and synced once more, byte for byte, before
/// anyone reads them. A crash in between therefore destroys no record. Damage is reported in the
/// result; `Err` is an error of the disk that is not damage, after which recovery may be tried again.
pub(super) async fn recover(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
) -> Result<RecoveredLog, DiskError> {
    let folder = options.partition_folder(partition);
    let mut found = open_files(env, options, partition, &folder).await?;
    let mut recovered = RecoveredLog {
        files: Vec::new(),
        spare: Vec::new(),
        end: floor,
        position: BLOCK,
        chain: 0,
        hashes: Vec::new(),
        corruption: None,
        torn_bytes: 0,
        last_number: found.iter().map(|file| file.number).max().unwrap_or(0),
    };
    let marks = mark::read(env, options, partition).await?;
    // Folded records were durable, so `D` is never below the floor.
    let mut durable = marks.durable.max(floor);
    // Files that were never begun, and files wholly below the floor, hold nothing that is needed.
    let begun: Vec<usize> = (0..found.len()).filter(|at| found[*at].header.is_some()).collect();
    let base = |at: &usize| found[*at].header.map_or(Offset::MAX, |header| header.base);
    let first = begun.iter().rposition(|at| base(at) <= floor).unwrap_or(0);
    let needed: Vec<usize> = begun[first.min(begun.len())..].to_vec();
    let mut files = Vec::new();
    let mut headless_end = Offset::ZERO;
    for (at, file) in found.drain(..).enumerate() {
        if needed.contains(&at) {
            files.push(file);
            continue;
        }
        // A file without a header may have lost it, so the durable marks of its batches count all the
        // same.
        if file.header.is_none() {
            let traces = traces(&file.file, &file.identity, BLOCK..file.len).await?;
            durable = durable.max(traces.durable);
            headless_end = headless_end.max(traces.end);
        }
        recovered.spare.push((file.number, file.file));
    }
    let folder_corruption = |p: Offset, d: Offset| Corruption {
        file: folder.to_string(),
        position: 0,
        detail: format!("offsets {p} to {d} were durable and no log file holds them"),
    };
    if files.is_empty() || files[0].header.is_none_or(|header| header.base > floor) {
        let must_exist =
            (options.is_begun || floor > Offset::ZERO) && !env.mutated(Mutant::BelieveEmptyLog);
        if durable > floor || !files.is_empty() {
            recovered.corruption = Some(folder_corruption(floor, durable.max(floor.next())));
        } else if must_exist {
            recovered.corruption = Some(Corruption {
                file: folder.to_string(),
                position: 0,
                detail: format!(
                    "no log file is there, and the store has been written to: \
                     what was acknowledged from offset {floor} on is gone"
                ),
            });
        }
        recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
        return Ok(recovered);
    }
    for file in &files {
        durable = durable.max(file.header.map_or(Offset::ZERO, |header| header.durable));
    }
    if options.is_begun && !marks.is_readable && !env.mutated(Mutant::BelieveEmptyLog) {
        // Without any mark the loss of the newest file would go unnoticed.
        let [file, other] = mark::paths(options, partition);
        let detail = format!("neither it nor its copy {other} can be read");
        recovered.corruption = Some(Corruption { file: file.to_string(), position: 0, detail });
        recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
        return Ok(recovered);
    }
    let walk = walk(env, &files, floor).await?;
    (files[0].begin, files[0].base) = (walk.begin, walk.base);
    durable = durable.max(walk.durable);
    let (beyond, hashes_before) = scan_beyond(&files, &walk).await?;
    durable = durable.max(beyond.durable);
    if walk.end < floor && durable == floor && beyond.end.max(headless_end) == floor {
        // The damaged part is not needed: the last record that was ever in these files is folded. A log
        // that ends below the floor does not qualify, since records at and above the floor may be lost.
        let file = files[walk.file].file.path();
        tracing::warn!(%file, position = walk.position, "the log is damaged where it is folded");
        // The damaged file stays until the next file has been begun, so that a start never finds a
        // store without a log.
        recovered.position = files.last().map_or(BLOCK, |file| file.len);
        recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
        return Ok(recovered);
    }
    recovered.end = walk.end;
    recovered.position = walk.position;
    recovered.chain = walk.chain;
    recovered.hashes = walk.hashes.clone();
    if durable > walk.end && !env.mutated(Mutant::TruncateBelowMark) {
        let keys = match hashes_before.len() {
            0 => "which keys they concern is not known".to_owned(),
            count => format!("they concern {count} keys whose hashes the next batch repeats"),
        };
        recovered.corruption = Some(Corruption {
            file: files[walk.file].file.path().to_string(),
            position: walk.position,
            detail: format!(
                "offsets {} to {durable} were durable and cannot be read; {keys}",
                walk.end
            ),
        });
    } else {
        recovered.torn_bytes = cut(options, env, &folder, &files, &walk).await?;
        for file in files.drain(walk.file + 1..) {
            recovered.spare.push((file.number, file.file));
        }
        settle(&mut files, &walk, durable).await?;
    }
    recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
    Ok(recovered)
}

/// A file in the log's folder, with its header if it has a valid one.
struct FoundFile {
    number: u64,
    identity: LogFileId,
    file: Arc<dyn File>,
    len: u64,
    header: Option<FileHeader>,
    /// Position at which reading begins, and the offset of the first record there.
    begin: u64,
    base: Offset,
}

impl FoundFile {
    fn into_log_file(self) -> LogFile {
        let FoundFile { identity, base, begin, file, len, .. } = self;
        LogFile { identity, base, begin, file, len }
    }
}

/// Opens all log files of a partition, in the order of their numbers. Files with other names are
/// skipped. A missing folder is an empty result.
async fn open_files(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    folder: &FilePath,
) -> Result<Vec<FoundFile>, DiskError> {
    let mut found = Vec::new();
    let files = match env.disk_dedicated.list(folder).await {
        // Recovery must not make the folder: a folder that is missing may be the damage.
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(found),
        files => files?,
    };
    for (path, len) in files {
        let number = path.name().strip_suffix(".log").and_then(|name| name.parse::<u64>().ok());
        let Some(number) = number.filter(|number| file_path(folder, *number) == path) else {
            continue;
        };
        let file = env.disk_dedicated.open(&path, OpenMode::Write).await?;
        let identity = LogFileId { store: options.store, partition, file: number };
        let header = confirm_absent(file.as_ref(), 0, || async {
            let bytes = read(&file, 0, BLOCK as usize, len).await?;
            Ok(bytes.and_then(|bytes| FileHeader::decode(&bytes, &identity)))
        });
        let header = header.await?;
        let base = header.map_or(Offset::MAX, |header: FileHeader| header.base);
        found.push(FoundFile { number, identity, file, len, header, begin: BLOCK, base });
    }
    Ok(found)
}

/// Reads the batch header at a position, if a valid one is there. The batch's body may still be torn.
async fn header_at(found: &FoundFile, position: u64) -> Result<Option<BatchHeader>, DiskError> {
    let bytes = read(&found.file, position, HEADER_BYTES, found.len).await?;
    Ok(bytes.and_then(|bytes| BatchHeader::decode(&bytes, &found.identity, position, false)))
}

/// Reads the batch at a position, if a valid one is there. The absence is believed only after two
/// reads.
async fn batch_at(
    found: &FoundFile,
    position: u64,
) -> Result<Option<(BatchHeader, Bytes)>, DiskError> {
    confirm_absent(found.file.as_ref(), position, || batch_if_valid(found, position)).await
}

/// Reads header and body once, and returns them if checksum, hash and frames agree.
async fn batch_if_valid(
    found: &FoundFile,
    position: u64,
) -> Result<Option<(BatchHeader, Bytes)>, DiskError> {
    let Some(header) = header_at(found, position).await? else { return Ok(None) };
    let body_at = position + HEADER_BYTES as u64;
    let Some(body) = read(&found.file, body_at, header.body_len(), found.len).await? else {
        return Ok(None);
    };
    let fits = batch::body_fits(&header, &body);
    Ok((fits && batch::frames(&header, &body).is_some()).then_some((header, body)))
}

/// Begins a walk at the batch of the first file that covers the floor, or behind the last folded batch.
/// Where neither is found, at the file's beginning.
async fn begin(env: &Env, files: &[FoundFile], floor: Offset) -> Result<ChainWalk, DiskError> {
    let first = files[0].header.expect("the caller has looked");
    let mut walk = ChainWalk {
        end: first.base,
        chain: first.previous,
        durable: Offset::ZERO,
        hashes: Vec::new(),
        file: 0,
        position: BLOCK,
        left: BLOCK,
        begin: BLOCK,
        base: first.base,
    };
    if first.base == floor || env.mutated(Mutant::WalkFromFirstBatch) {
        return Ok(walk);
    }
    let (file, identity) = (&files[0].file, &files[0].identity);
    let Some(header) = seek(file, identity, BLOCK..files[0].len, floor).await? else {
        return Ok(walk);
    };
    walk.durable = header.durable;
    if header.end() == Some(floor) {
        // The batch's own records are folded, so the hashes of their keys are never needed again.
        (walk.end, walk.chain) = (floor, header.chain(identity));
        walk.position = header.position + header.span();
    } else {
        (walk.end, walk.chain) = (header.base, header.previous);
        walk.position = header.position;
    }
    (walk.begin, walk.base) = (walk.position, walk.end);
    Ok(walk)
}

/// Follows the chain from the floor on, over file boundaries, until no valid batch continues it.
async fn walk(env: &Env, files: &[FoundFile], floor: Offset) -> Result<ChainWalk, DiskError> {
    let mut walk = begin(env, files, floor).await?;
    loop {
        let found = &files[walk.file];
        let next = batch_at(found, walk.position).await?;
        let continues =
            |header: &BatchHeader| header.base == walk.end && header.previous == walk.chain;
        if let Some((header, body)) = next.filter(|(header, _)| continues(header)) {
            // A count beyond the last offset cannot be from this log, whatever its checksum.
            let Some(end) = header.end() else { return Ok(walk) };
            let frames = batch::frames(&header, &body).unwrap_or_default();
            let decoded = frames.into_iter().map(|(_, bytes)| crate::record::Record::decode(bytes));
            walk.hashes =
                decoded.map(|record| record.map_or(0, |record| record.key_hash())).collect();
            walk.end = end;
            walk.chain = header.chain(&found.identity);
            walk.durable = walk.durable.max(header.durable);
            walk.position += header.span();
            continue;
        }
        // The file may have ended here because the next one was begun.
        let follows = |next: &FoundFile| {
            next.header.is_some_and(|h| h.base == walk.end && h.previous == walk.chain)
        };
        match files.get(walk.file + 1) {
            Some(next) if follows(next) && batch_at(next, BLOCK).await?.is_some() => {
                walk.file += 1;
                walk.left = std::mem::replace(&mut walk.position, BLOCK);
            }
            _ => return Ok(walk),
        }
    }
}

/// Searches for valid batches behind the chain's end. Returns the evidence of the log's length, and the
/// key hashes of lost records, as far as the batch right behind them repeats these.
async fn scan_beyond(
    files: &[FoundFile],
    walk: &ChainWalk,
) -> Result<(LengthEvidence, Vec<u64>), DiskError> {
    let mut beyond = LengthEvidence::default();
    for (at, found) in files.iter().enumerate().skip(walk.file) {
        let from = if at == walk.file { walk.position } else { BLOCK };
        let traces = traces(&found.file, &found.identity, from..found.len).await?;
        beyond.durable = beyond.durable.max(traces.durable);
        beyond.end = beyond.end.max(traces.end);
    }
    if beyond.durable <= walk.end {
        return Ok((beyond, Vec::new()));
    }
    for (at, found) in files.iter().enumerate().skip(walk.file) {
        let mut position = if at == walk.file { walk.position } else { BLOCK };
        while position + BLOCK <= found.len {
            if let Some((header, body)) = batch_if_valid(found, position).await?
                && header.base > walk.end
            {
                let mut hashes = batch::hashes_before(&header, &body);
                hashes.retain(|hash| *hash != 0);
                return Ok((beyond, hashes));
            }
            position += BLOCK;
        }
    }
    Ok((beyond, Vec::new()))
}

/// Overwrites the bytes behind the chain's end with zeros. At most one batch was unfinished, so only a
/// stretch of the longest batch's length is examined; content of this use of the file is copied aside
/// before. A later file that had been begun loses its header, and with it all content. Returns the
/// number of bytes of unfinished batches; the zeros are durable then.
async fn cut(
    options: &EmbeddedLogOptions,
    env: &Env,
    folder: &FilePath,
    files: &[FoundFile],
    walk: &ChainWalk,
) -> Result<u64, DiskError> {
    let found = &files[walk.file];
    let stretch = options.batch_bytes_max().min(found.len.saturating_sub(walk.position));
    let look = || read(&found.file, walk.position, stretch as usize, found.len);
    let is_empty = |bytes: &Bytes| bytes.iter().all(|byte| *byte == 0);
    let empty = || async { Ok(look().await?.filter(is_empty)) };
    let bytes = match confirm_absent(found.file.as_ref(), walk.position, empty).await? {
        Some(_) => Bytes::new(),
        None => look().await?.unwrap_or_default(),
    };
    let mut torn = 0;
    if !is_empty(&bytes) {
        if !batch::is_of_earlier_life(&bytes, &found.identity) {
            let len = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            torn = len as u64;
            keep_aside(env, folder, found.number, bytes.slice(..len)).await;
        }
        found.file.write_at(walk.position, Bytes::from(vec![0; bytes.len()])).await?;
        found.file.sync().await?;
    }
    for found in &files[walk.file + 1..] {
        found.file.write_synced(0, Bytes::from(vec![0; 2 * BLOCK as usize])).await?;
        torn += BLOCK;
    }
    Ok(torn)
}

/// Copies removed bytes to a `.torn` file, for an examination by people. An error is logged and
/// ignored: it is no reason to refuse the start.
async fn keep_aside(env: &Env, folder: &FilePath, number: u64, bytes: Bytes) {
    let path = folder.join(format!("{number:010}.torn"));
    let _ = env.disk_dedicated.remove(&path).await;
    match env.disk_dedicated.open(&path, OpenMode::Create).await {
        Ok(file) => {
            if let Err(error) = file.write_at(0, bytes).await {
                tracing::warn!(%error, "torn bytes could not be copied aside");
            }
        }
        Err(error) => tracing::warn!(%error, "torn bytes could not be copied aside"),
    }
}

/// Writes the surviving batches of the last two files again and syncs them, before any reader sees
/// them: after a failed sync the system may hold bytes in memory that it wrongly believes to be on the
/// device.
///
/// Each batch is verified again right before it is written, so that wrong bytes of one bad read are
/// never written. Fails when a batch that was valid a moment ago is not valid now.
async fn settle(
    files: &mut [FoundFile],
    walk: &ChainWalk,
    durable: Offset,
) -> Result<(), DiskError> {
    let ends = [(walk.file.checked_sub(1), walk.left), (Some(walk.file), walk.position)];
    for (at, end) in ends {
        let Some(found) = at.map(|at| &mut files[at]) else { continue };
        if let Some(header) = found.header.filter(|header| header.base >= durable) {
            found.file.write_at(0, header.encode(&found.identity).freeze()).await?;
        }
        let mut position = found.begin;
        while position < end {
            let Some((header, body)) = batch_at(found, position).await? else {
                return Err(DiskError {
                    kind: DiskErrorKind::Io,
                    operation: "read",
                    path: found.file.path().clone(),
                    detail: format!("the batch at position {position} was valid and is not now"),
                });
            };
            let bytes = batch::join(&header, &found.identity, &body);
            found.file.write_at(position, bytes.freeze()).await?;
            position += header.span();
        }
        // A batch counts without the zeros that end it, which are missing when the file was cut off in them.
        found.len = found.len.max(position);
        found.file.sync().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
