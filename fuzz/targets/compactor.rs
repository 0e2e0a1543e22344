//! Decoders of `compactor`: catalogs, state entries and values of key indexes.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use bytes::Bytes;
use compactor::catalog::Catalog;
use compactor::index_value::IndexValue;
use compactor::state::{
    BucketState, CompletedRename, StateKey, UploadState, WriterState, decode_part, encode_part,
};
use compactor::table::TableValue;
use ingest::codec::Encoder;

/// Decodes a catalog whose length and checksum are made right first. One that is accepted has one encoding.
pub fn catalog(data: &[u8]) {
    let mut bytes = data.to_vec();
    let whole = bytes.len() as u32;
    if let Some(body) = bytes.len().checked_sub(4).filter(|body| *body >= 12) {
        bytes[8..12].copy_from_slice(&whole.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..body]);
        bytes[body..].copy_from_slice(&crc.to_le_bytes());
    }
    let _ = Catalog::decode(Bytes::copy_from_slice(data));
    if let Ok(catalog) = Catalog::decode(bytes.clone().into()) {
        assert_eq!(catalog.encode().unwrap(), bytes);
    }
}

/// Decodes a value of the state as each kind, and the bytes as a key. A value that is accepted is read as it is written.
pub fn state(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(value) = BucketState::decode(bytes.clone()) {
        assert_eq!(BucketState::decode(value.encode()), Ok(value));
    }
    if let Ok(value) = UploadState::decode(bytes.clone()) {
        assert_eq!(UploadState::decode(value.encode()), Ok(value));
    }
    if let Ok(value) = WriterState::decode(bytes.clone()) {
        assert_eq!(WriterState::decode(value.encode()), Ok(value));
    }
    if let Ok(value) = CompletedRename::decode(bytes.clone()) {
        assert_eq!(CompletedRename::decode(value.encode()), Ok(value));
    }
    if let Ok((created, part)) = decode_part(bytes.clone()) {
        assert_eq!(encode_part(&part, created), bytes);
    }
    let key = StateKey(bytes);
    let _ = (key.part_number(), key.is_part());
    if let Some((bucket, name, upload)) = key.parse_upload() {
        assert_eq!(StateKey::upload(bucket, &name, upload), key);
    }
}

/// Decodes a value of a key index: the first 40 bytes of the input are its numbers. One that is accepted has one encoding.
pub fn index(data: &[u8]) {
    let Some((numbers, bytes)) = data.split_at_checked(40) else { return };
    let number = |at: usize| u64::from_le_bytes(numbers[at * 8..at * 8 + 8].try_into().unwrap());
    let numbers = std::array::from_fn(number);
    if let Ok(value) = IndexValue::decode(TableValue { numbers, bytes }) {
        let mut out = Encoder::new();
        value.encode(&mut out);
        assert_eq!(out.finish(), bytes);
        assert_eq!(value.numbers(numbers), numbers);
    }
}
