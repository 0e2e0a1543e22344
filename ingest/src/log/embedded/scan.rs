//! Searching a log file for valid batch headers at any position.
//!
//! Every batch begins at a multiple of [`BLOCK`], and its header names store, partition, file and
//! position. A batch is therefore found without reading the bytes before it: a start needs nothing of
//! the folded batches, and damage to them does not keep it from the others.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BLOCK, BatchHeader, HEADER_BYTES, LogFileId};
use crate::env::{DiskError, DiskErrorKind, File};
use crate::ids::Offset;
use crate::log::second_look::confirm_absent;

/// Bytes that are read at once.
const STEP_BYTES: u64 = 1 << 20;

/// Reads bytes of a file. `None` when the file ends before, or when the device could not read them
/// twice in a row. Any other error, such as exhausted handles, fails the call and is not about the bytes.
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

/// Passes every valid batch header in a stretch of a file to `take`, in the order of their positions,
/// until `take` breaks. `stretch` must begin at a multiple of [`BLOCK`]. Blocks that the device cannot
/// read count as having no header.
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
                // At least one block of the step cannot be read, so each is tried alone.
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

/// Finds the batch at which reading for an offset begins: the last one that begins at or below the
/// offset and does not end below it. Looks at headers only, never at bodies. `None` when no header
/// fits.
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
        // When a batch ends at the offset, the next one may begin there and is then the better answer.
        if end > offset { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .await?;
    Ok(found)
}

/// Evidence of a log's length, collected from valid batch headers.
#[derive(Clone, Copy, Default)]
pub(super) struct LengthEvidence {
    /// The highest durable mark that a header names.
    pub durable: Offset,
    /// The highest offset at which a batch ends.
    pub end: Offset,
}

/// Collects the evidence of all valid batch headers in a stretch of a file. The header of a torn batch
/// counts as well: records that it calls durable were durable before it was submitted.
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
