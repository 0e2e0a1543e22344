//! Checking a bulk file offline, for `fsck`.

use super::BulkOptions;
use super::format::{self, BLOCK, BulkFileId, HEADER_COPIES};
use super::read::BulkHandle;
use crate::entry::Extent;
use crate::env::{DiskError, DiskErrorKind, Env, OpenMode};
use crate::ids::BulkId;
use crate::log::{Corruption, ReadError, confirm};

/// Checks a file: both copies of its header, that no two of the extents overlap, and every frame that
/// the extents name. Returns all damage in the order in which it was found, empty when there is none.
/// Extents of other files are skipped; space that no extent names is garbage and is not checked.
///
/// Opens nothing for writing and changes nothing. An error of the disk at a frame is part of the
/// result, too; only a file that cannot be opened for another reason than its absence fails the call.
pub async fn verify(
    env: &Env,
    options: &BulkOptions,
    id: BulkId,
    extents: &[Extent],
) -> Result<Vec<Corruption>, DiskError> {
    let mut wrong = verify_header(env, options, id).await?;
    let handle = match confirm(|| BulkHandle::open(&*env.disk, options, id)).await {
        Ok(handle) => handle,
        Err(error) => {
            // The check of the header has reported damage to the header, but not a file that is
            // missing.
            if wrong.is_empty() {
                wrong.push(finding(options, id, 0, error));
            }
            return Ok(wrong);
        }
    };
    let mut extents: Vec<Extent> =
        extents.iter().filter(|extent| extent.file == id).copied().collect();
    extents.sort_by_key(|extent| (extent.position, extent.len));
    // The same extent may be named twice, by a part and by the object that it became.
    extents.dedup();
    let mut end = BLOCK;
    for extent in &extents {
        if let Err(detail) = format::check_extent(extent) {
            wrong.push(handle.corrupt(extent.position, detail));
            continue;
        }
        if extent.position < end {
            let detail = format!("an extent begins within another, which ends at {end}");
            wrong.push(handle.corrupt(extent.position, detail));
        }
        end = end.max(extent.position + format::span(extent.len));
        for index in 0..format::frames(extent) {
            if let Err(error) = confirm(|| handle.read_frame(extent, index)).await {
                let position = extent.position + index * format::FRAME_BYTES;
                wrong.push(finding(options, id, position, error));
            }
        }
    }
    Ok(wrong)
}

/// Returns the damage to each copy of the header. A reader needs only one good copy, a check reports
/// both.
async fn verify_header(
    env: &Env,
    options: &BulkOptions,
    id: BulkId,
) -> Result<Vec<Corruption>, DiskError> {
    let path = options.path(id);
    let file = match env.disk.open(&path, OpenMode::Read).await {
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let Ok(block) = file.read_at(0, BLOCK as usize).await else { return Ok(Vec::new()) };
    let mut wrong = Vec::new();
    let mut good: Option<BulkFileId> = None;
    for at in HEADER_COPIES {
        let found = BulkFileId::decode_copy(&block[at..], options.store, options.partition, id);
        let detail = match found {
            Ok(found) if good.is_none_or(|good| good == found) => {
                good = Some(found);
                continue;
            }
            Ok(_) => "the header's copies differ".into(),
            Err(detail) => detail,
        };
        wrong.push(Corruption { file: path.to_string(), position: at as u64, detail });
    }
    Ok(wrong)
}

/// The finding for a read that failed. A transient error is a finding as well, so
/// that the check can continue.
fn finding(options: &BulkOptions, id: BulkId, position: u64, error: ReadError) -> Corruption {
    match error {
        ReadError::Corrupt(corruption) => corruption,
        other => Corruption {
            file: options.path(id).to_string(),
            position,
            detail: format!("cannot be read: {other}"),
        },
    }
}
