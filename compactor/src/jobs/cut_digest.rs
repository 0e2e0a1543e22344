//! The digest of a cut's content, by which nodes compare their copies.

use std::sync::Arc;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, PayloadLocation};
use ingest::record::UploadPart;

use crate::partition::cut_queue::FrozenState;
use crate::state::{StateKey, StreamState, decode_part, encode_part};

/// Computes the chained digest of a cut's logical content: d(n) = H(d(n-1), cut, entries, state).
///
/// Locations are excluded, because each node places files by itself. Payload is represented by its own
/// digest. All nodes must add the same content in the same order.
pub(super) struct DigestHasher(blake3::Hasher);

impl DigestHasher {
    /// Begins with the digest of the cut before, the number of this cut and its end offset.
    pub fn new(former: &[u8; 32], frozen: &FrozenState) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(former);
        hasher.update(&frozen.cut.get().to_le_bytes());
        hasher.update(&frozen.next.get().to_le_bytes());
        Self(hasher)
    }

    /// Adds a key and a value with their lengths, so that no two sequences of pairs have the same bytes.
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.update(&(key.len() as u64).to_le_bytes()).update(key);
        self.0.update(&(value.len() as u64).to_le_bytes()).update(value);
    }

    /// Adds a state entry, after all entries, in key order. Extents of parts and streams are removed
    /// before, because they differ between nodes; the payload's digest remains in the value.
    pub fn add_state(&mut self, key: &StateKey, value: Option<&Bytes>) {
        let logical = match value {
            Some(value) if key.is_part() => decode_part(value.clone()).ok().map(|(time, part)| {
                encode_part(&UploadPart { extents: Arc::from([]), ..part }, time)
            }),
            Some(value) if key.is_stream() => StreamState::decode(value.clone())
                .ok()
                .map(|state| StreamState { extents: Vec::new(), ..state }.encode()),
            value => value.cloned(),
        };
        self.add(&key.0, logical.as_deref().unwrap_or_default());
    }

    /// Adds an entry. Entries must come in key order, before all state; the location of the payload is
    /// excluded.
    pub fn add_statement(&mut self, key: &EntryKey, statement: &EntryValue) {
        let mut out = ingest::codec::Encoder::new();
        let mut logical = statement.clone();
        if let EntryValue::Object(object) = &mut logical {
            object.payload = PayloadLocation::Empty;
        }
        logical.encode(&mut out);
        self.add(key.as_bytes(), out.as_slice());
    }

    /// Returns the digest of everything that was added, for [`crate::catalog::Catalog::digest`].
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}
