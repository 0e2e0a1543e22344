//! Reading payload back, each frame verified before its bytes leave.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::BulkFiles;
use super::frame::{self, FRAME_BYTES, HEAD_BYTES, PAYLOAD_BYTES};
use crate::entry::Extent;
use crate::log::{Corruption, ReadError};

/// Frames that are read together.
const FRAMES_AT_ONCE: u64 = 4;

/// Gives payload in order, up to 256 KiB at a time.
pub struct BulkReader {
    of: Arc<BulkFiles>,
    /// Extents and the bytes wanted of each.
    wanted: VecDeque<(Extent, Range<u64>)>,
    ready: VecDeque<Bytes>,
}

impl BulkReader {
    pub(super) fn new(of: Arc<BulkFiles>, extents: Arc<[Extent]>, range: Range<u64>) -> Self {
        let mut begins = 0;
        let mut wanted = VecDeque::new();
        for extent in extents.iter() {
            let ends = begins + extent.len;
            let start = range.start.clamp(begins, ends) - begins;
            let end = range.end.clamp(begins, ends) - begins;
            if start < end {
                wanted.push_back((*extent, start..end));
            }
            begins = ends;
        }
        Self { of, wanted, ready: VecDeque::new() }
    }

    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.ready.is_empty() {
            let Some((extent, range)) = self.wanted.pop_front() else { return Ok(None) };
            let rest = self.read_some(&extent, range).await?;
            if !rest.is_empty() {
                self.wanted.push_front((extent, rest));
            }
        }
        Ok(self.ready.pop_front())
    }

    /// Reads the first frames of a range; gives what is left of it.
    async fn read_some(
        &mut self,
        extent: &Extent,
        range: Range<u64>,
    ) -> Result<Range<u64>, ReadError> {
        let file = self.of.reader(extent.file).await?;
        let first = range.start / PAYLOAD_BYTES;
        let last = ((range.end - 1) / PAYLOAD_BYTES).min(first + FRAMES_AT_ONCE - 1);
        let payload_of = |index: u64| (extent.len - index * PAYLOAD_BYTES).min(PAYLOAD_BYTES);
        let start = extent.position + first * FRAME_BYTES;
        let end = extent.position + last * FRAME_BYTES + HEAD_BYTES as u64 + payload_of(last);
        let corrupt = |position: u64, detail: String| {
            let file = file.path().to_string();
            ReadError::Corrupt(Corruption { file, position, detail })
        };
        let bytes = file.read_at(start, (end - start) as usize).await;
        let bytes = bytes.map_err(|error| corrupt(start, error.to_string()))?;
        let head = self.of.head(extent.file);
        for index in first..=last {
            let at = ((index - first) * FRAME_BYTES) as usize;
            let position = extent.position + index * FRAME_BYTES;
            let frame = bytes.slice(at..bytes.len().min(at + FRAME_BYTES as usize));
            let payload = frame::decode(&head, position, payload_of(index) as usize, &frame)
                .map_err(|detail| corrupt(position, detail))?;
            let begins = index * PAYLOAD_BYTES;
            let from = range.start.saturating_sub(begins).min(payload.len() as u64);
            let to = (range.end - begins).min(payload.len() as u64);
            self.ready.push_back(payload.slice(from as usize..to as usize));
        }
        let read = ((last + 1) * PAYLOAD_BYTES).min(range.end);
        Ok(read..range.end)
    }
}
