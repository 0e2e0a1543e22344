//! Values of state keys in state tables: a value, or the mark of a removed key.

use bytes::Bytes;
use ingest::ids::Offset;
use ingest::log::{Corruption, ReadError};

use crate::state::{COMPLETED_UPLOAD_RECORDS, CompletedRename, StateKey, UploadState};

/// Encodes a value for a state table: byte 1 and the value, or the single byte 0 for a removed key.
pub(crate) fn encode_state_value(value: Option<&Bytes>) -> Bytes {
    match value {
        Some(value) => [&[1u8], value.as_ref()].concat().into(),
        None => Bytes::from_static(&[0]),
    }
}

/// Decodes the result of [`encode_state_value`]; `None` for a removed key. Fails with corruption of run
/// `run` on any other bytes.
pub(crate) fn decode_state_value(value: Bytes, run: u64) -> Result<Option<Bytes>, ReadError> {
    match value.first() {
        Some(0) if value.len() == 1 => Ok(None),
        Some(1) => Ok(Some(value.slice(1..))),
        _ => Err(state_corruption(run, "state value")),
    }
}

/// Makes the error for a key or value that cannot be decoded, in the state table of run `run`.
pub(crate) fn state_corruption(run: u64, what: &str) -> ReadError {
    ReadError::Corrupt(Corruption {
        file: format!("state of run {run}"),
        position: 0,
        detail: format!("cannot decode {what}"),
    })
}

/// Returns true if a completed upload or the token of a rename can be dropped at a cut that ends before offset `next`:
/// more than [`COMPLETED_UPLOAD_RECORDS`] or [`crate::state::RENAME_TOKEN_RECORDS`] records have followed. A client
/// that repeats its completion later gets `NoSuchUpload`; a repeated rename is a new one.
pub(crate) fn is_forgotten(key: &StateKey, value: Option<&Bytes>, next: Offset) -> bool {
    if key.0.starts_with(StateKey::RENAMES) {
        let done = value.and_then(|value| CompletedRename::decode(value.clone()).ok());
        return done.is_some_and(|done| done.is_forgotten(next));
    }
    let Some(value) = value.filter(|_| key.is_completed_upload()) else {
        return false;
    };
    match UploadState::decode(value.clone()) {
        Ok(UploadState::Completed { at, .. }) => {
            next.get().saturating_sub(at.get()) > COMPLETED_UPLOAD_RECORDS
        }
        _ => false,
    }
}
