//! Decoders of `ingest`: records of the log and values of entries. Bytes that are accepted have one encoding.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use bytes::Bytes;
use ingest::codec::{Decoder, Encoder};
use ingest::entry::EntryValue;
use ingest::record::Record;

/// Decodes a record. Its encoding is the input again, and its estimated length is long enough.
pub fn record(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    if let Ok(record) = Record::decode(bytes.clone()) {
        assert_eq!(record.encode(), bytes, "{record:?}");
        assert!(bytes.len() <= record.bytes_estimate(), "{record:?}");
    }
}

/// Decodes the value of an entry. Its encoding is that part of the input which was read.
pub fn entry(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let mut from = Decoder::new(bytes.clone());
    if let Ok(value) = EntryValue::decode(&mut from) {
        let mut out = Encoder::new();
        value.encode(&mut out);
        assert_eq!(out.finish(), bytes.slice(..from.position()), "{value:?}");
    }
}
