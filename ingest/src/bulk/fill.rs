//! Framing of payload: takes bytes as they come, returns stretches of whole frames to be written.

use bytes::{Buf, Bytes, BytesMut};

use super::format::{self, BLOCK, BulkFileId, FRAME_BYTES, FRAME_HEADER_BYTES, FrameRef};
use crate::entry::Extent;

/// Frames that are written at once. An upload holds two such stretches in memory, one being filled and
/// one being written, and no more.
const STRETCH_FRAMES: usize = 4;

/// Lays out one extent, frame by frame. Does no I/O.
pub struct ExtentWriter {
    identity: BulkFileId,
    extent: Extent,
    /// The number of the frame that is being filled.
    frame: u64,
    /// The position of `stretch` in the file.
    position: u64,
    /// Sealed frames, then the one that is being filled.
    stretch: BytesMut,
    /// The index in `stretch` at which the frame being filled begins.
    frame_at: usize,
}

impl ExtentWriter {
    /// Starts at the extent's first byte. The extent must have at least one byte, and its place must be
    /// reserved for this writer only.
    pub fn new(identity: BulkFileId, extent: Extent) -> Self {
        let mut filler = Self {
            identity,
            extent,
            frame: 0,
            position: extent.position,
            stretch: BytesMut::new(),
            frame_at: 0,
        };
        filler.begin_stretch();
        filler
    }

    /// Begins the next stretch, with no more memory than the rest of the extent needs.
    fn begin_stretch(&mut self) {
        let left = format::span(self.extent.len) - (self.position - self.extent.position);
        let bytes = left.min(STRETCH_FRAMES as u64 * FRAME_BYTES) as usize;
        self.stretch = BytesMut::with_capacity(bytes);
        self.frame_at = 0;
        self.begin_frame();
    }

    /// Begins the next frame with space for its header.
    fn begin_frame(&mut self) {
        self.frame_at = self.stretch.len();
        self.stretch.resize(self.frame_at + FRAME_HEADER_BYTES, 0);
    }

    /// Returns true only after every byte of the extent has been taken; all further input belongs to
    /// the next extent.
    pub fn is_full(&self) -> bool {
        self.frame == format::frames(&self.extent)
    }

    /// The number of frames that are complete, counted in order from the extent's first. Their bytes
    /// may still wait in memory, before they are written.
    pub fn frames_filled(&self) -> u64 {
        self.frame
    }

    /// Returns the complete frames that have not been returned yet, with their position. The frame that
    /// is being filled stays in memory. None when there are no such frames, or when the extent is full.
    pub fn flush(&mut self) -> Option<(u64, Bytes)> {
        if self.frame_at == 0 || self.is_full() {
            return None;
        }
        let rest = self.stretch.split_off(self.frame_at);
        let filled = std::mem::replace(&mut self.stretch, rest).freeze();
        let position = self.position;
        self.position += filled.len() as u64;
        self.frame_at = 0;
        Some((position, filled))
    }

    /// Ends the extent behind the bytes that were taken, and returns the place and bytes that were not returned yet;
    /// none when all were. Afterwards the extent is full, and has no byte if none was taken.
    pub fn shorten(&mut self) -> Option<(u64, Bytes)> {
        if self.is_full() {
            return None;
        }
        let begun = self.stretch.len() - self.frame_at - FRAME_HEADER_BYTES;
        self.extent.len = self.frame * format::FRAME_PAYLOAD_MAX + begun as u64;
        if begun > 0 {
            let frame = FrameRef::of(&self.extent, self.frame);
            frame.seal(&self.identity, &mut self.stretch[self.frame_at..]);
            self.frame += 1;
        } else {
            self.stretch.truncate(self.frame_at);
        }
        let len = self.stretch.len().next_multiple_of(BLOCK as usize);
        self.stretch.resize(len, 0);
        let rest = std::mem::take(&mut self.stretch).freeze();
        (!rest.is_empty()).then_some((self.position, rest))
    }

    /// The extent; after [`Self::shorten`] it has only the bytes that were taken.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Takes bytes off the front of the input until it is empty or a stretch is ready, and returns the
    /// position and bytes of that stretch. Must be called again until it returns none or the extent is
    /// full.
    pub fn take(&mut self, input: &mut Bytes) -> Option<(u64, Bytes)> {
        while !input.is_empty() && !self.is_full() {
            let frame = FrameRef::of(&self.extent, self.frame);
            let missing = frame.bytes() - (self.stretch.len() - self.frame_at);
            let taken = missing.min(input.len());
            self.stretch.extend_from_slice(&input[..taken]);
            input.advance(taken);
            if taken < missing {
                return None;
            }
            frame.seal(&self.identity, &mut self.stretch[self.frame_at..]);
            self.frame += 1;
            if self.is_full() {
                let len = self.stretch.len().next_multiple_of(BLOCK as usize);
                self.stretch.resize(len, 0);
                return Some((self.position, std::mem::take(&mut self.stretch).freeze()));
            }
            if self.stretch.len() == STRETCH_FRAMES * FRAME_BYTES as usize {
                let stretch = (self.position, std::mem::take(&mut self.stretch).freeze());
                self.position += stretch.1.len() as u64;
                self.begin_stretch();
                return Some(stretch);
            }
            self.begin_frame();
        }
        None
    }
}
