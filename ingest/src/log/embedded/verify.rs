//! Checking a log offline, for `fsck`: reads as recovery does, and writes nothing.
//!
//! The batches that were found good can be read once more by callers that need the names in them: see
//! [`verify_noting`] and [`read_batch`].

use super::batch::{self, BLOCK, BatchHeader, FileHeader, HEADER_BYTES, LogFileId};
use super::{EmbeddedLogOptions, mark, reader, scan};
use crate::env::{DiskError, DiskErrorKind, Env, FilePath, OpenMode};
use crate::ids::{Offset, PartitionId};
use crate::log::{CommittedRecord, Corruption, ReadError};

/// The place of a batch that was found good.
#[derive(Clone, Debug)]
pub struct BatchPlace {
    path: FilePath,
    identity: LogFileId,
    position: u64,
}

/// Checks every batch of a partition's log at or above `floor` and returns the damage, empty when there
/// is none. Batches wholly below `floor` need not be good. Changes nothing on the disk; the log must
/// not be open for writing. Fails when the disk cannot be read for a reason other than damage.
pub async fn verify(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
) -> Result<Vec<Corruption>, DiskError> {
    verify_noting(env, options, partition, floor, &mut Vec::new()).await
}

/// Reads the records of a batch that [`verify_noting`] has found good, in order. Fails with corruption
/// when the batch differs from before, and with [`ReadError::Unavailable`] for any error of the disk.
pub async fn read_batch(env: &Env, place: &BatchPlace) -> Result<Vec<CommittedRecord>, ReadError> {
    let BatchPlace { path, identity, position } = place;
    let corrupt = |position: u64, detail: String| {
        ReadError::Corrupt(Corruption { file: path.to_string(), position, detail })
    };
    let unreadable = |error: DiskError| ReadError::Unavailable {
        partition: identity.partition,
        reason: error.to_string(),
    };
    let file = env.disk.open(path, OpenMode::Read).await.map_err(unreadable)?;
    let bytes = file.read_at(*position, HEADER_BYTES).await.map_err(unreadable)?;
    let header = BatchHeader::decode(&bytes, identity, *position, false);
    let changed = || corrupt(*position, "the batch has changed while it was checked".into());
    let header = header.ok_or_else(changed)?;
    let body_at = position + HEADER_BYTES as u64;
    let body = file.read_at(body_at, header.body_len()).await.map_err(unreadable)?;
    if !batch::body_fits(&header, &body) {
        return Err(changed());
    }
    reader::decode(identity, &header, &body, corrupt)
}

/// Checks a log like [`verify`], and appends the place of every good batch with records at or above
/// `floor` to `batches`, in order. Places noted before stay in front.
pub async fn verify_noting(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
    batches: &mut Vec<BatchPlace>,
) -> Result<Vec<Corruption>, DiskError> {
    let already = batches.len();
    let found = verify_once(env, options, partition, floor, batches).await?;
    if found.is_empty() {
        return Ok(found);
    }
    // Damage is believed only after it has been found twice.
    batches.truncate(already);
    verify_once(env, options, partition, floor, batches).await
}

/// Reads the whole log once: files, marks, and the chain of batches from the floor to the end.
async fn verify_once(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
    floor: Offset,
    batches: &mut Vec<BatchPlace>,
) -> Result<Vec<Corruption>, DiskError> {
    let folder = options.partition_folder(partition);
    let marks = mark::read(env, options, partition).await?;
    let mut durable = marks.durable;
    let mut files = Vec::new();
    let listed = match env.disk.list(&folder).await {
        Err(error) if error.kind == DiskErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    for (path, len) in listed {
        let number = path.name().strip_suffix(".log").and_then(|name| name.parse::<u64>().ok());
        let Some(number) = number else { continue };
        let file = env.disk.open(&path, OpenMode::Read).await?;
        let identity = LogFileId { store: options.store, partition, file: number };
        let head = if len >= BLOCK { file.read_at(0, BLOCK as usize).await.ok() } else { None };
        if let Some(header) = head.and_then(|bytes| FileHeader::decode(&bytes, &identity)) {
            durable = durable.max(header.durable);
            files.push((path, len, file, identity, header));
        }
    }
    let missing =
        |detail: String| Ok(vec![Corruption { file: folder.to_string(), position: 0, detail }]);
    if files.is_empty() && (options.is_begun || floor > Offset::ZERO) {
        let from = format!("what was acknowledged from offset {floor} on is gone");
        return missing(format!("no log file is there, and the store has been written to: {from}"));
    }
    if options.is_begun && !marks.is_readable {
        let [mark, other] = mark::paths(options, partition);
        return missing(format!("neither {mark} nor its copy {other} can be read"));
    }
    let first = files.iter().rposition(|(.., header)| header.base <= floor).unwrap_or(0);
    let mut end = files.get(first).map_or(floor, |(.., header)| header.base);
    if end > floor {
        return missing(format!(
            "offsets {floor} to {end} were durable and no log file holds them"
        ));
    }
    // As in recovery, a batch counts only behind the one that it names, even if that one is empty.
    let mut chain = files.get(first).map_or(0, |(.., header)| header.previous);
    // Folded batches need not be good: reading begins at the same batch as in recovery.
    let mut begin = BLOCK;
    if let Some((_, len, file, identity, _)) = files.get(first).filter(|_| end < floor)
        && let Some(header) = scan::seek(file, identity, BLOCK..*len, floor).await?
    {
        let is_below = header.end() == Some(floor);
        begin = if is_below { header.position + header.span() } else { header.position };
        (end, chain) = match is_below {
            true => (floor, header.chain(identity)),
            false => (header.base, header.previous),
        };
    }
    let mut stop = None;
    for (path, len, file, identity, header) in &files[first.min(files.len())..] {
        if header.base == end {
            stop = None;
        }
        let mut position = std::mem::replace(&mut begin, BLOCK);
        while position + BLOCK <= *len {
            let Ok(bytes) = file.read_at(position, HEADER_BYTES).await else { break };
            let Some(found) = BatchHeader::decode(&bytes, identity, position, false) else {
                if stop.is_none() {
                    stop = Some((path.to_string(), position));
                }
                position += BLOCK;
                continue;
            };
            durable = durable.max(found.durable);
            // The header's lengths are not trusted before they are compared with the length of the
            // file.
            let body_at = position + HEADER_BYTES as u64;
            let is_there = body_at + found.body_len() as u64 <= *len;
            let fits = is_there
                && file.read_at(body_at, found.body_len()).await.is_ok_and(|body| {
                    batch::body_fits(&found, &body) && batch::frames(&found, &body).is_some()
                });
            let next = found.end();
            let follows = found.base == end && found.previous == chain;
            if let Some(next) = next.filter(|_| follows && fits) {
                end = next;
                chain = found.chain(identity);
                stop = None;
                if found.count > 0 && next > floor {
                    batches.push(BatchPlace { path: path.clone(), identity: *identity, position });
                }
            } else if stop.is_none() {
                stop = Some((path.to_string(), position));
            }
            position += if fits { found.span() } else { BLOCK };
        }
    }
    if durable <= end.max(floor) {
        return Ok(Vec::new());
    }
    let (file, position) = stop.unwrap_or((folder.to_string(), 0));
    let detail = format!("offsets {end} to {durable} were durable and cannot be read");
    Ok(vec![Corruption { file, position, detail }])
}

#[cfg(test)]
mod tests;
