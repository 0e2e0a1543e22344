//! Payload that comes through the log: pieces of many streams, interleaved, each written to a bulk file of
//! this node.
//!
//! ```text
//!   Data{a,0} Data{b,0} Data{a,1} Put{a,2 records} ──► extents of a ──► the object's entry
//! ```
//!
//! The content and the completeness of a stream follow from the log alone, so every node decides the record
//! that names it alike; only the extents are each node's own. A repeated piece, or one that does not follow
//! the piece before, is dropped. Nothing is synced here: the log has the pieces, and a flush syncs bulk
//! files before it publishes.
//!
//! A stream may be announced longer than it becomes: its last piece, and no other, has the length that it has.
//!
//! A stream that is open at a cut is written to the cut's state table with its extents so far. Pieces
//! consist of whole frames, so a later process continues after them.
//!
//! The fold never waits for room, since only later records in the log can free space. A stream for which
//! this node has no room is *missing* here: its pieces are counted and dropped, the record that names it is
//! applied as on every node, and reads of its payload go to other nodes.

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

/// The time without a new piece, by the log's clock, after which a stream is given up at the next cut.
pub const STREAM_AGE_MAX: Duration = Duration::from_secs(3600);

/// One open stream.
struct PayloadStream {
    state: StreamState,
    /// Extents of earlier processes; those of this process follow them.
    inherited: Vec<Extent>,
    upload: Option<PayloadUpload>,
}

impl PayloadStream {
    /// Marks the stream as missing on this node. The space is released, except for extents that a state
    /// table names; a start that continues from that table may have room.
    fn lose(&mut self) {
        self.upload = None;
        self.inherited.clear();
        self.state.extents = vec![Extent::missing(self.state.len)];
    }

    fn is_missing(&self) -> bool {
        self.state.extents.iter().any(Extent::is_missing)
    }

    /// Writes a piece after those before it. `total` is the length of the stream as this piece says it.
    async fn write(
        &mut self,
        bulk: &Arc<BulkFiles>,
        bytes: Bytes,
        total: u64,
    ) -> Result<(), BulkError> {
        let rest = total - self.state.len;
        let end = self.state.len + bytes.len() as u64;
        let begins = self.upload.is_none();
        let upload = self.upload.get_or_insert_with(|| bulk.begin_admitted(rest));
        let written = async {
            upload.write(bytes).await?;
            if end == total {
                upload.shorten().await?;
            }
            upload.flush().await
        };
        match written.await {
            Ok(own) => {
                self.state.extents = self.inherited.iter().copied().chain(own).collect();
                // A cut may keep these extents from now on, so a gap would be missing from an acknowledged
                // object.
                let held: u64 = self.state.extents.iter().map(|extent| extent.len).sum();
                if held == end { Ok(()) } else { Err(BulkError::Broken) }
            }
            Err(error) => {
                // An upload that has just begun has nothing that counts: the next try begins another.
                self.upload.take_if(|_| begins);
                Err(error)
            }
        }
    }
}

/// A complete stream.
pub(crate) struct WholeStream {
    /// The length in bytes.
    pub len: u64,
    /// CRC-64/NVME of the payload.
    pub digest: u64,
    /// The extents of the payload on this node.
    pub extents: Arc<[Extent]>,
    /// Protects the files until something refers to them; `None` if no upload of this process wrote to
    /// them.
    pub guard: Option<UploadGuard>,
}

/// The open streams of a partition. Used by the fold only.
#[derive(Default)]
pub(crate) struct OpenStreams {
    open: BTreeMap<StreamId, PayloadStream>,
    /// Streams that a state table may have and that have ended since.
    gone: Vec<StreamId>,
}

impl OpenStreams {
    /// Restores a stream as a state table has it. Called before replay; pieces that come later are written
    /// after the inherited extents.
    pub fn restore(&mut self, id: StreamId, state: StreamState) {
        let inherited = state.extents.clone();
        self.open.insert(id, PayloadStream { state, inherited, upload: None });
    }

    /// Writes a piece, in the order of the log; returns true if this piece has made the stream missing
    /// here. A piece that does not follow the one before is ignored.
    ///
    /// On [`BulkError::Disk`] nothing has changed, and the same piece may be passed again. After any other
    /// error this node's copy of the stream is incomplete, and the fold must stop.
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
        let is_last = end == data.total;
        let is_announced = data.total == state.total || is_last && data.total < state.total;
        let follows = data.index == state.next && is_announced && end <= data.total;
        // A piece that does not end with a whole frame could not be continued after a restart.
        if !follows || len == 0 || !(is_last || len.is_multiple_of(FRAME_PAYLOAD_MAX)) {
            return Ok(false);
        }
        let was_missing = stream.is_missing();
        let has_room = match was_missing {
            true => false,
            false => match stream.write(bulk, data.bytes.clone(), data.total).await {
                Ok(()) => true,
                Err(error @ BulkError::Full { .. }) => {
                    tracing::warn!(%error, "no room for payload: it is missing on this node");
                    false
                }
                // There is no file to continue in, and a new upload cannot continue the bytes of this one.
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
        state.total = data.total;
        state.next += 1;
        state.seen = time;
        if !has_room {
            stream.lose();
        }
        Ok(!has_room && !was_missing)
    }

    /// Ends a stream that its sender has given up, and releases its space. Does nothing for an unknown
    /// stream, for example one that a record has ended before.
    pub fn abandon(&mut self, id: StreamId) {
        let Some(stream) = self.open.remove(&id) else { return };
        self.gone.push(id);
        // The end of the stream follows from the log, so no later process continues it.
        if let Some(upload) = stream.upload {
            upload.abandon();
        }
    }

    /// Ends a stream that a record names, with any outcome of the record; returns the stream if it is
    /// complete, otherwise `None`. The bytes are not synced; a flush does that. Fails if the upload cannot
    /// be closed, and the stream is lost on this node then.
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

    /// Returns the state of a cut, in key order: the open streams, and removals of those that have ended
    /// since an earlier cut. Streams without a piece for an hour of the log's time are ended before. Called
    /// by the fold at each cut, on all nodes at the same record.
    pub fn freeze(&mut self, time: WallTime) -> Vec<StateChange> {
        let oldest = time.micros() - STREAM_AGE_MAX.as_micros() as i64;
        let silent: Vec<StreamId> = self
            .open
            .iter()
            .filter(|(_, stream)| stream.state.seen.micros() < oldest)
            .map(|(id, _)| *id)
            .collect();
        silent.into_iter().for_each(|id| self.abandon(id));
        // The state table names the written part of open streams: a start continues after it, so it must
        // stay.
        let uploads = self.open.values_mut().filter_map(|stream| stream.upload.as_mut());
        uploads.for_each(PayloadUpload::keep_written);
        let open = self
            .open
            .iter()
            .map(|(id, stream)| (StateKey::stream(*id), Some(stream.state.encode())));
        let mut changes: Vec<StateChange> = open.collect();
        changes.extend(self.gone.drain(..).map(|id| (StateKey::stream(id), None)));
        changes.sort();
        // An ended stream may have begun again with the same id; its open state is kept, whichever comes
        // first.
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

    /// Returns the number of open streams, for metrics.
    pub fn count(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests;
