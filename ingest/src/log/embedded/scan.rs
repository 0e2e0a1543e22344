//! Looking through a log file for valid batch headers, wherever they stand.
//!
//! Every batch begins at a multiple of [`BLOCK`], and its header names store, partition, file and place. So a
//! batch is found without reading what stands before it: a start needs nothing of the batches that are
//! folded, and damage there does not keep it from those that are not.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BLOCK, BatchHeader, HEADER_BYTES, LogFileId};
use crate::env::{DiskError, DiskErrorKind, File};
use crate::ids::Offset;
use crate::log::second_look::confirm_absent;

/// Bytes that are read at once.
const STEP_BYTES: u64 = 1 << 20;

/// Reads bytes; `None` where the device cannot, tried twice, or the file ends before.
pub(super) async fn read(
    file: &Arc<dyn File>,
    position: u64,
    len: usize,
    file_len: u64,
) -> Result<Option<Bytes>, DiskError> {
    if position + len as u64 > file_len {
        return Ok(None);
    }
    confirm_absent(file.as_ref(), position, || async {
        match file.read_at(position, len).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind == DiskErrorKind::ShortRead => Ok(None),
            Err(error) if error.kind == DiskErrorKind::Io => Ok(None),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Gives every valid header in a stretch of a file to `take`, in order, until that breaks off. Blocks that
/// the device cannot read hold none.
pub(super) async fn headers(
    file: &Arc<dyn File>,
    identity: &LogFileId,
    stretch: Range<u64>,
    mut take: impl FnMut(BatchHeader) -> ControlFlow<()>,
) -> Result<(), DiskError> {
    let end = stretch.end - stretch.end % BLOCK;
    let mut position = stretch.start;
    while position < end {
        let step = STEP_BYTES.min(end - position);
        let whole = read(file, position, step as usize, end).await?;
        for at in (0..step).step_by(BLOCK as usize) {
            let head = match &whole {
                Some(bytes) => Some(bytes.slice(at as usize..at as usize + HEADER_BYTES)),
                // Some block of these cannot be read; the others can.
                None => read(file, position + at, HEADER_BYTES, end).await?,
            };
            let header =
                head.and_then(|head| BatchHeader::decode(&head, identity, position + at, false));
            if header.is_some_and(|header| take(header).is_break()) {
                return Ok(());
            }
        }
        position += step;
    }
    Ok(())
}

/// Finds where to begin reading a file for an offset: the last batch that begins at or below the offset and
/// does not end below it.
pub(super) async fn seek(
    file: &Arc<dyn File>,
    identity: &LogFileId,
    stretch: Range<u64>,
    offset: Offset,
) -> Result<Option<BatchHeader>, DiskError> {
    let mut found = None;
    headers(file, identity, stretch, |header| {
        if header.base > offset {
            return ControlFlow::Break(());
        }
        let end = header.end().unwrap_or(Offset::MAX);
        if end >= offset {
            found = Some(header);
        }
        // Behind one that ends at the offset another may stand that begins there.
        if end > offset { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    Ok(found)
}

/// A log's length, as valid batch headers tell it.
#[derive(Clone, Copy, Default)]
pub(super) struct LengthEvidence {
    /// The highest durable offset that one names.
    pub durable: Offset,
    /// The highest offset that one ends at.
    pub end: Offset,
}

/// Collects the evidence of valid batch headers in a stretch of a file. A torn batch's header is evidence too: what it
/// calls durable was.
pub(super) async fn traces(
    file: &Arc<dyn File>,
    identity: &LogFileId,
    stretch: Range<u64>,
) -> Result<LengthEvidence, DiskError> {
    let mut traces = LengthEvidence::default();
    headers(file, identity, stretch, |header| {
        traces.durable = traces.durable.max(header.durable);
        traces.end = traces.end.max(header.end().unwrap_or(Offset::MAX));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(traces)
}
