//! Recovery: what a log's files say after a stop of any kind.
//!
//! 1. Read batches in order from the oldest file: each must belong to its place and continue the chain.
//! 2. At the first place without a valid next batch (offset `p`), look on for *any* valid batch.
//! 3. `D` is the highest durable offset that any valid batch, file header or mark names.
//!    `D > p`: something that was durable is gone. That is corruption: nothing is cut, writes stop.
//!    `D <= p`: what lies behind was never acknowledged. It is copied aside and overwritten with zeros.
//! 4. Where all of it, `D` and the last batch included, lies below the floor (what is folded), nothing is
//!    missing: the log goes on at the floor in another file.
//!
//! Limit, stated in the fault model: rot in exactly the last batch, within the time until the mark after
//! it (50 ms of idleness), looks like a torn end.

use std::sync::Arc;

use bytes::Bytes;

use super::batch::{self, BLOCK, FileHeader, HEADER_BYTES, Header, Identity};
use super::mark;
use super::{LogFile, Options, file_path};
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, Open};
use crate::log::Corruption;
use crate::mutant::Mutant;
use crate::words::{Offset, PartitionId};

/// What recovery found in a partition's files.
pub(super) struct Recovered {
    /// The files, oldest first; the last is the one to go on in.
    pub files: Vec<Arc<LogFile>>,
    /// Files that hold nothing that is needed: to be reused.
    pub spare: Vec<(u64, Arc<dyn File>)>,
    /// The next offset.
    pub end: Offset,
    /// Where the next batch goes in the last file.
    pub position: u64,
    /// The last batch's link.
    pub chain: u128,
    /// The key hashes of the last batch's records.
    pub hashes: Vec<u64>,
    /// Set when something durable is gone.
    pub corruption: Option<Corruption>,
    /// How many bytes of an unfinished batch were cut off.
    pub torn_bytes: u64,
    /// The highest file number in use.
    pub last_number: u64,
}

/// What a walk along the chain came to.
struct Walk {
    end: Offset,
    chain: u128,
    durable: Offset,
    hashes: Vec<u64>,
    /// Index of the file and place in it where the chain ends.
    file: usize,
    position: u64,
}

pub(super) async fn recover(
    env: &Env,
    options: &Options,
    partition: PartitionId,
    floor: Offset,
) -> Result<Recovered, DiskError> {
    let folder = options.partition_folder(partition);
    let mut found = open_files(env, options, partition, &folder).await?;
    let mut recovered = Recovered {
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
    let mark = mark::read(env, &folder, options.store, partition).await?;
    let mut durable = mark.max(floor);
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
        // A file without a header may have lost it: what its batches call durable counts all the same.
        if file.header.is_none() {
            let traces = traces(&file, BLOCK).await?;
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
        if durable > floor || !files.is_empty() {
            recovered.corruption = Some(folder_corruption(floor, durable.max(floor.next())));
        }
        recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
        return Ok(recovered);
    }
    for file in &files {
        durable = durable.max(file.header.map_or(Offset::ZERO, |header| header.durable));
    }
    let walk = walk(&files).await?;
    durable = durable.max(walk.durable);
    let (beyond, hashes_before) = scan_beyond(&files, &walk).await?;
    durable = durable.max(beyond.durable);
    if walk.end < floor && durable == floor && beyond.end.max(headless_end) == floor {
        // Damaged, and nobody needs it: the last record that was ever in these files is folded. A log that
        // does not even come as far as what is folded has lost its end, and who knows what was there.
        let file = files[walk.file].file.path();
        tracing::warn!(%file, position = walk.position, "the log is damaged where it is folded");
        recovered.spare.extend(files.into_iter().map(|file| (file.number, file.file)));
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
        settle(&files, &walk, durable).await?;
    }
    recovered.files = files.into_iter().map(|file| Arc::new(file.into_log_file())).collect();
    Ok(recovered)
}

struct Found {
    number: u64,
    identity: Identity,
    file: Arc<dyn File>,
    len: u64,
    header: Option<FileHeader>,
}

impl Found {
    fn into_log_file(self) -> LogFile {
        let base = self.header.map_or(Offset::MAX, |header| header.base);
        LogFile { identity: self.identity, base, file: self.file, len: self.len }
    }
}

async fn open_files(
    env: &Env,
    options: &Options,
    partition: PartitionId,
    folder: &FilePath,
) -> Result<Vec<Found>, DiskError> {
    let mut found = Vec::new();
    for (path, len) in env.disk_dedicated.list(folder).await? {
        let number = path.name().strip_suffix(".log").and_then(|name| name.parse::<u64>().ok());
        let Some(number) = number.filter(|number| file_path(folder, *number) == path) else {
            continue;
        };
        let file = env.disk_dedicated.open(&path, Open::Write).await?;
        let identity = Identity { store: options.store, partition, file: number };
        let header = match read(&file, 0, BLOCK as usize, len).await? {
            Some(bytes) => FileHeader::decode(&bytes, &identity),
            None => None,
        };
        found.push(Found { number, identity, file, len, header });
    }
    Ok(found)
}

/// Reads bytes; `None` where the device cannot, or the file ends before.
async fn read(
    file: &Arc<dyn File>,
    position: u64,
    len: usize,
    file_len: u64,
) -> Result<Option<Bytes>, DiskError> {
    if position + len as u64 > file_len {
        return Ok(None);
    }
    match file.read_at(position, len).await {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind == DiskErrorKind::ShortRead => Ok(None),
        Err(error) if error.kind == DiskErrorKind::Io => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads the batch header at a place, if a valid one is there; its body may be torn.
async fn header_at(found: &Found, position: u64) -> Result<Option<Header>, DiskError> {
    let bytes = read(&found.file, position, HEADER_BYTES, found.len).await?;
    Ok(bytes.and_then(|bytes| Header::decode(&bytes, &found.identity, position, false)))
}

/// Reads the batch at a place, if a valid one is there.
async fn batch_at(found: &Found, position: u64) -> Result<Option<(Header, Bytes)>, DiskError> {
    let Some(header) = header_at(found, position).await? else { return Ok(None) };
    let body_at = position + HEADER_BYTES as u64;
    let Some(body) = read(&found.file, body_at, header.body_len(), found.len).await? else {
        return Ok(None);
    };
    let fits = batch::body_fits(&header, &body);
    Ok((fits && batch::frames(&header, &body).is_some()).then_some((header, body)))
}

/// Follows the chain from the oldest file on.
async fn walk(files: &[Found]) -> Result<Walk, DiskError> {
    let first = files[0].header.expect("the caller has looked");
    let mut walk = Walk {
        end: first.base,
        chain: first.previous,
        durable: Offset::ZERO,
        hashes: Vec::new(),
        file: 0,
        position: BLOCK,
    };
    loop {
        let found = &files[walk.file];
        let next = batch_at(found, walk.position).await?;
        let continues = |header: &Header| header.base == walk.end && header.previous == walk.chain;
        if let Some((header, body)) = next.filter(|(header, _)| continues(header)) {
            let Some(end) = header.base.checked_add(u64::from(header.count)) else {
                return Ok(walk);
            };
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
        let follows = |next: &Found| {
            next.header.is_some_and(|h| h.base == walk.end && h.previous == walk.chain)
        };
        match files.get(walk.file + 1) {
            Some(next) if follows(next) && batch_at(next, BLOCK).await?.is_some() => {
                walk.file += 1;
                walk.position = BLOCK;
            }
            _ => return Ok(walk),
        }
    }
}

/// What valid batch headers say behind the chain's end.
#[derive(Clone, Copy, Default)]
struct Traces {
    /// The highest durable offset that one names.
    durable: Offset,
    /// The highest offset that one ends at.
    end: Offset,
}

/// Looks for valid batches behind the chain's end: what they tell, and the key hashes of what is missing as
/// the batch right behind repeats them.
async fn scan_beyond(files: &[Found], walk: &Walk) -> Result<(Traces, Vec<u64>), DiskError> {
    let mut beyond = Traces::default();
    for (at, found) in files.iter().enumerate().skip(walk.file) {
        let from = if at == walk.file { walk.position } else { BLOCK };
        let traces = traces(found, from).await?;
        beyond.durable = beyond.durable.max(traces.durable);
        beyond.end = beyond.end.max(traces.end);
    }
    if beyond.durable <= walk.end {
        return Ok((beyond, Vec::new()));
    }
    for (at, found) in files.iter().enumerate().skip(walk.file) {
        let mut position = if at == walk.file { walk.position } else { BLOCK };
        while position + BLOCK <= found.len {
            if let Some((header, body)) = batch_at(found, position).await?
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

/// What the valid batch headers say from a place in a file on. A torn batch's header is evidence too: what
/// it calls durable was.
async fn traces(found: &Found, from: u64) -> Result<Traces, DiskError> {
    let mut traces = Traces::default();
    let mut position = from;
    while position + BLOCK <= found.len {
        if let Some(header) = header_at(found, position).await? {
            let end = header.base.checked_add(u64::from(header.count)).unwrap_or(Offset::MAX);
            traces.durable = traces.durable.max(header.durable);
            traces.end = traces.end.max(end);
        }
        position += BLOCK;
    }
    Ok(traces)
}

/// Cuts off what lies behind the chain's end. At most one batch was under way, so a stretch of the largest
/// batch's length is looked at: copied aside if it is of this file's life, and overwritten with zeros. A
/// later file that had been begun loses its header, and with it everything else.
async fn cut(
    options: &Options,
    env: &Env,
    folder: &FilePath,
    files: &[Found],
    walk: &Walk,
) -> Result<u64, DiskError> {
    let found = &files[walk.file];
    let stretch = options.batch_bytes_max().min(found.len.saturating_sub(walk.position));
    let bytes = read(&found.file, walk.position, stretch as usize, found.len).await?;
    let bytes = bytes.unwrap_or_default();
    let mut torn = 0;
    if bytes.iter().any(|byte| *byte != 0) {
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

/// Keeps cut-off bytes for whoever wants to look. Not being able to is no reason not to start.
async fn keep_aside(env: &Env, folder: &FilePath, number: u64, bytes: Bytes) {
    let path = folder.join(format!("{number:010}.torn"));
    let _ = env.disk_dedicated.remove(&path).await;
    match env.disk_dedicated.open(&path, Open::Create).await {
        Ok(file) => {
            if let Err(error) = file.write_at(0, bytes).await {
                tracing::warn!(%error, "cut-off bytes could not be kept");
            }
        }
        Err(error) => tracing::warn!(%error, "cut-off bytes could not be kept"),
    }
}

/// Writes what survived above the mark once more and syncs it, before anyone is told of it: after a
/// failed sync the system may hold bytes in memory that it believes to be on the device.
async fn settle(files: &[Found], walk: &Walk, durable: Offset) -> Result<(), DiskError> {
    for (at, found) in files.iter().enumerate().take(walk.file + 1) {
        let from =
            if found.header.is_some_and(|header| header.base >= durable) { 0 } else { BLOCK };
        let to = if at == walk.file { walk.position } else { found.len };
        if at + 1 < walk.file {
            continue;
        }
        let mut position = from;
        while position < to {
            let step = (to - position).min(1 << 20) as usize;
            let Some(bytes) = read(&found.file, position, step, found.len).await? else { break };
            found.file.write_at(position, bytes).await?;
            position += step as u64;
        }
        found.file.sync().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
