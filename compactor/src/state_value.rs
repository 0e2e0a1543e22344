//! Values of state keys as state runs hold them: a value, or the mark that a key has been deleted.

use bytes::Bytes;
use ingest::ids::Offset;
use ingest::log::{Corruption, ReadError};

use crate::state::{COMPLETED_UPLOAD_RECORDS, StateKey, UploadState};

/// Encodes a value for a state run: byte 1 and the value, or the single byte 0 for a deleted key.
pub(crate) fn encode_state_value(value: Option<&Bytes>) -> Bytes {
    match value {
        Some(value) => [&[1u8], value.as_ref()].concat().into(),
        None => Bytes::from_static(&[0]),
    }
}

/// Decodes what [`encode_state_value`] made. Any other bytes are corruption of run number `run`.
pub(crate) fn decode_state_value(value: Bytes, run: u64) -> Result<Option<Bytes>, ReadError> {
    match value.first() {
        Some(0) if value.len() == 1 => Ok(None),
        Some(1) => Ok(Some(value.slice(1..))),
        _ => Err(state_corruption(run, "state value")),
    }
}

/// The error for a key or value of state run `run` that does not decode.
pub(crate) fn state_corruption(run: u64, what: &str) -> ReadError {
    ReadError::Corrupt(Corruption {
        file: format!("state of run {run}"),
        position: 0,
        detail: format!("cannot decode {what}"),
    })
}

/// Tells that a completed upload is old enough, at a cut that ends before offset `next`, to be dropped: a
/// client that repeats its request so late gets `NoSuchUpload`.
pub(crate) fn is_forgotten(key: &StateKey, value: Option<&Bytes>, next: Offset) -> bool {
    let Some(value) = value.filter(|_| key.0.starts_with(b"u")) else {
        return false;
    };
    match UploadState::decode(value.clone()) {
        Ok(UploadState::Completed { at, .. }) => {
            next.get().saturating_sub(at.get()) > COMPLETED_UPLOAD_RECORDS
        }
        _ => false,
    }
}
