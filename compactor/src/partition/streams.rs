//! Payload that comes through the log: pieces of many streams, interleaved, each written straight to a
//! bulk file of this node's own.
//!
//! ```text
//!   Data{a,0} Data{b,0} Data{a,1} Put{a,2 records} ──► extents of a ──► the object's entry
//! ```
//!
//! What a stream is and whether it is whole follows from the log alone, so that every node judges the
//! record that names it alike; only the extents are each node's own. A piece that is there already, or
//! that does not follow the one before, is dropped. Nothing is synced here: the log has it, and a cut
//! syncs all that it contains before it publishes.
//!
//! A stream that is under way at a cut is written to the cut's state run with its extents so far; pieces
//! come in whole frames, so a later life goes on behind them.
//!
//! The fold never waits for room, since only what stands further on in the log can make room again. A
//! stream that this node has no room for is *missing* here: its pieces are counted and dropped, the record
//! that names it is applied as on every node, and its payload is read from other nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crc_fast::CrcAlgorithm;
use ingest::bulk::{BulkError, BulkFiles, FRAME_PAYLOAD_MAX, PayloadUpload, UploadGuard};
use ingest::entry::Extent;
use ingest::ids::StreamId;
use ingest::record::{StreamPiece, StreamRef};
use ingest::time::WallTime;

use crate::memtable::StateChange;
use crate::state::{StateKey, StreamState};

/// A stream without a new piece for so long, by the log's time, is given up at the next cut.
pub const STREAM_AGE_MAX: Duration = Duration::from_secs(3600);

struct PayloadStream {
    state: StreamState,
    /// Of earlier lives; what this life wrote lies behind them.
    inherited: Vec<Extent>,
    upload: Option<PayloadUpload>,
}

impl PayloadStream {
    /// This node has no room for it. What no state run names is given back; a start that goes on from one
    /// may have room.
    fn lose(&mut self) {
        self.upload = None;
        self.inherited.clear();
        self.state.extents = vec![Extent::missing(self.state.len)];
    }

    fn is_missing(&self) -> bool {
        self.state.extents.iter().any(Extent::is_missing)
    }

    /// Writes a piece behind those before it.
    async fn write(&mut self, bulk: &Arc<BulkFiles>, bytes: Bytes) -> Result<(), BulkError> {
        let rest = self.state.total - self.state.len;
        let end = self.state.len + bytes.len() as u64;
        let begins = self.upload.is_none();
        let upload = self.upload.get_or_insert_with(|| bulk.begin_admitted(rest));
        let written = async {
            upload.write(bytes).await?;
            upload.flush().await
        };
        match written.await {
            Ok(own) => {
                self.state.extents = self.inherited.iter().copied().chain(own).collect();
                // A cut may keep them from here on, so a gap would be an object's that was acknowledged.
                let held: u64 = self.state.extents.iter().map(|extent| extent.len).sum();
                if held == end { Ok(()) } else { Err(BulkError::Broken) }
            }
            Err(error) => {
                // Nothing that counts is in an upload that has just begun: the next try begins another.
                self.upload.take_if(|_| begins);
                Err(error)
            }
        }
    }
}

/// A whole stream.
pub(crate) struct WholeStream {
    /// Bytes.
    pub len: u64,
    /// CRC-64/NVME.
    pub digest: u64,
    /// Where it lies on this node.
    pub extents: Arc<[Extent]>,
    /// Keeps the files until something refers to them.
    pub guard: Option<UploadGuard>,
}

/// The streams that are under way in a partition.
#[derive(Default)]
pub(crate) struct OpenStreams {
    open: BTreeMap<StreamId, PayloadStream>,
    /// Written to a state run and over since.
    gone: Vec<StreamId>,
}

impl OpenStreams {
    /// Puts a stream back, as a state run knew it.
    pub fn restore(&mut self, id: StreamId, state: StreamState) {
        let inherited = state.extents.clone();
        self.open.insert(id, PayloadStream { state, inherited, upload: None });
    }

    /// Takes a piece; says whether with it the stream has come to be missing here. On [`BulkError::Disk`]
    /// nothing has changed, and the piece may be given again. On any other error this node's copy of the
    /// stream is not whole, and it must not go on.
    pub async fn take(
        &mut self,
        bulk: &Arc<BulkFiles>,
        data: &StreamPiece,
        time: WallTime,
    ) -> Result<bool, BulkError> {
        let len = data.bytes.len() as u64;
        if data.index == 0 && !self.open.contains_key(&data.stream) {
            let state = StreamState {
                next: 0,
                total: data.total,
                len: 0,
                digest: 0,
                seen: time,
                extents: Vec::new(),
            };
            let stream = PayloadStream { state, inherited: Vec::new(), upload: None };
            self.open.insert(data.stream, stream);
        }
        let Some(stream) = self.open.get_mut(&data.stream) else { return Ok(false) };
        let state = &stream.state;
        let end = state.len.saturating_add(len);
        let is_last = end == state.total;
        let follows = data.index == state.next && data.total == state.total && end <= state.total;
        // One that comes in other than whole frames could not be gone on with after a restart.
        if !follows || len == 0 || !(is_last || len.is_multiple_of(FRAME_PAYLOAD_MAX)) {
            return Ok(false);
        }
        let was_missing = stream.is_missing();
        let has_room = match was_missing {
            true => false,
            false => match stream.write(bulk, data.bytes.clone()).await {
                Ok(()) => true,
                Err(error @ BulkError::Full { .. }) => {
                    tracing::warn!(%error, "no room for payload: it is missing on this node");
                    false
                }
                // No file to go on in. What the upload has written cannot be gone on with.
                Err(error @ BulkError::Disk(_)) if stream.upload.is_some() => {
                    tracing::warn!(%error, "no file for payload: it is missing on this node");
                    false
                }
                Err(error) => return Err(error),
            },
        };
        let state = &mut stream.state;
        let piece = crc_fast::checksum(CrcAlgorithm::Crc64Nvme, &data.bytes);
        state.digest =
            crc_fast::checksum_combine(CrcAlgorithm::Crc64Nvme, state.digest, piece, len);
        state.len = end;
        state.next += 1;
        state.seen = time;
        if !has_room {
            stream.lose();
        }
        Ok(!has_room && !was_missing)
    }

    /// Ends a stream that its sender has given up.
    pub fn abandon(&mut self, id: StreamId) {
        let Some(stream) = self.open.remove(&id) else { return };
        self.gone.push(id);
        // That it is over follows from the log, so no later life goes on with it.
        if let Some(upload) = stream.upload {
            upload.abandon();
        }
    }

    /// Ends a stream that a record names, whatever becomes of the record; gives it when it is whole.
    pub async fn end(&mut self, named: &StreamRef) -> Result<Option<WholeStream>, BulkError> {
        let Some(stream) = self.open.remove(&named.stream) else { return Ok(None) };
        self.gone.push(named.stream);
        let is_missing = stream.is_missing();
        let PayloadStream { state, inherited, upload, .. } = stream;
        if state.len != state.total || state.next != named.records {
            if let Some(upload) = upload {
                upload.abandon();
            }
            return Ok(None);
        }
        if is_missing {
            let extents = Arc::from(state.extents);
            return Ok(Some(WholeStream {
                len: state.len,
                digest: state.digest,
                extents,
                guard: None,
            }));
        }
        let (own, guard) = match upload {
            Some(upload) => {
                let written = upload.close().await?;
                (written.extents.to_vec(), Some(written.guard))
            }
            None => (Vec::new(), None),
        };
        let extents = inherited.into_iter().chain(own).collect();
        Ok(Some(WholeStream { len: state.len, digest: state.digest, extents, guard }))
    }

    /// What a cut writes: the streams under way, and which have ended since an earlier cut may have
    /// written them. Streams that have been silent for too long end here.
    pub fn freeze(&mut self, time: WallTime) -> Vec<StateChange> {
        let oldest = time.micros() - STREAM_AGE_MAX.as_micros() as i64;
        let silent: Vec<StreamId> = self
            .open
            .iter()
            .filter(|(_, stream)| stream.state.seen.micros() < oldest)
            .map(|(id, _)| *id)
            .collect();
        silent.into_iter().for_each(|id| self.abandon(id));
        // The state run names what has been written of the others: the next start goes on behind it.
        let uploads = self.open.values_mut().filter_map(|stream| stream.upload.as_mut());
        uploads.for_each(PayloadUpload::keep_written);
        let open = self
            .open
            .iter()
            .map(|(id, stream)| (StateKey::stream(*id), Some(stream.state.encode())));
        let mut changes: Vec<StateChange> = open.collect();
        changes.extend(self.gone.drain(..).map(|id| (StateKey::stream(id), None)));
        changes.sort();
        // An ended stream may have begun again under its id; the state under way comes last.
        changes.dedup_by(|later, first| {
            later.0 == first.0 && {
                if later.1.is_some() {
                    first.1 = later.1.take();
                }
                true
            }
        });
        changes
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests;
