//! Converts the manifest's encoded checksums to the columns `checksums` and `checksum_type`.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{
    Array, ArrayRef, BinaryArray, MapBuilder, StringArray, StringBuilder,
};
use datafusion::error::Result;
use ingest::codec::Decoder;
use ingest::entry::StoredChecksum;
use ingest::log::{Corruption, ReadError};

use crate::error::external;

/// Decodes the checksums in one value of the column. Fails with [`ReadError::Corrupt`] if the bytes are
/// malformed.
fn decode(value: &[u8]) -> Result<Vec<StoredChecksum>> {
    let mut from = Decoder::new(Bytes::copy_from_slice(value));
    let mut found = Vec::new();
    while from.remaining() > 0 {
        let checksum = StoredChecksum::decode(&mut from).map_err(|error| {
            external(ReadError::Corrupt(Corruption {
                file: "a manifest".into(),
                position: 0,
                detail: format!("checksums that cannot be decoded: {error}"),
            }))
        })?;
        found.push(checksum);
    }
    Ok(found)
}

/// Returns for each row, in order, a map from the algorithm's name to the checksum as S3 writes both.
/// Algorithms without a name are left out.
///
/// Errors: [`ReadError::Corrupt`], wrapped, if a value cannot be decoded.
pub fn texts(column: &BinaryArray) -> Result<ArrayRef> {
    let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for row in 0..column.len() {
        for checksum in decode(column.value(row))? {
            if let Some(name) = checksum.name() {
                maps.keys().append_value(name);
                maps.values().append_value(checksum.text());
            }
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}

/// Returns for each row, in order, the type of its checksums (such as `COMPOSITE`), or NULL if there are none.
/// All checksums of an object have one type.
///
/// Errors: [`ReadError::Corrupt`], wrapped, if a value cannot be decoded.
pub fn kinds(column: &BinaryArray) -> Result<ArrayRef> {
    let kind = |row| Ok(decode(column.value(row))?.first().map(StoredChecksum::kind));
    let kinds = (0..column.len()).map(kind).collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(StringArray::from(kinds)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray;
    use ingest::codec::Encoder;

    use super::*;

    #[test]
    fn rows_have_their_own_checksums() {
        let mut two = Encoder::new();
        for (algorithm, digest) in [(1, &b"1234\x02\0"[..]), (5, &[0; 34])] {
            let digest = Bytes::copy_from_slice(digest);
            StoredChecksum { algorithm, is_composite: true, digest }.encode(&mut two);
        }
        let two = two.finish();
        let column = BinaryArray::from(vec![&b""[..], two.as_ref()]);
        let maps = texts(&column).expect("checksums that are whole");
        let maps = maps.as_map();
        assert_eq!(maps.value_offsets(), [0, 0, 2]);
        assert_eq!(maps.keys().as_string::<i32>().value(1), "SHA256");
        assert_eq!(maps.values().as_string::<i32>().value(0), "MTIzNA==-2");
        let kinds = kinds(&column).expect("checksums that are whole");
        assert!(kinds.is_null(0) && kinds.as_string::<i32>().value(1) == "COMPOSITE");
        assert!(decode(&two[..two.len() - 1]).is_err());
    }
}
