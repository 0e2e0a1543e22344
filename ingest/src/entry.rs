//! The entry: what the store knows of one object version, and the order in which entries are sorted.
//!
//! An [`EntryKey`] is the sort key of the memtable, of key indexes and of manifests alike: bucket, key, newest
//! version first, and of one version the newest statement first. Keys are plain bytes that compare as bytes, so
//! one comparison serves memory, files and cursors.

mod attributes;
mod key;
mod payload;
mod storage_class;
mod value;

pub use attributes::{
    Attributes, CHECKSUM_BYTES_MAX, CHECKSUMS_MAX, ETag, OWNER_BYTES_MAX, PAIRS_MAX, PARTS_MAX,
    PartSummary, StoredChecksum, TEXT_BYTES_MAX, WriteOrigin,
};
pub use key::{EntryKey, EntryParts, entry_parts};
pub use payload::{
    EXTENTS_MAX, Extent, LogLocation, LoggedPayload, PayloadLocation, SegmentLocation,
};
pub use storage_class::StorageClass;
pub use value::{Entry, EntryValue, ObjectVersion};

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Decoder;
    use crate::ids::{BucketId, Offset};

    fn key(bucket: u64, key: &[u8], version: u64, sequence: u64) -> EntryKey {
        EntryKey::new(BucketId::new(bucket), key, Offset::new(version), Offset::new(sequence))
    }

    fn small_key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(0x61), Just(0xff)], 0..5)
    }

    #[test]
    fn checksums_are_told_as_clients_see_them() {
        let checksum = |algorithm, is_composite, digest: &[u8]| StoredChecksum {
            algorithm,
            is_composite,
            digest: Bytes::copy_from_slice(digest),
        };
        for (told, name, kind, text) in [
            (checksum(1, false, b"1234"), Some("CRC32"), "FULL_OBJECT", "MTIzNA=="),
            (checksum(2, true, b"1234\x03\0"), Some("CRC32C"), "COMPOSITE", "MTIzNA==-3"),
            (checksum(9, false, b"12345678"), Some("XXHASH3"), "FULL_OBJECT", "MTIzNDU2Nzg="),
            (checksum(11, false, b"12"), None, "FULL_OBJECT", "MTI="),
            (checksum(0, false, b""), None, "FULL_OBJECT", ""),
        ] {
            assert_eq!((told.name(), told.kind(), told.text().as_str()), (name, kind, text));
        }
    }

    proptest! {
        #[test]
        fn the_encoding_keeps_the_order(
            a in (0u64..3, small_key(), 0u64..3, 0u64..3),
            b in (0u64..3, small_key(), 0u64..3, 0u64..3),
        ) {
            use std::cmp::Reverse;
            let encoded = key(a.0, &a.1, a.2, a.3).cmp(&key(b.0, &b.1, b.2, b.3));
            let plain = (a.0, &a.1, Reverse(a.2), Reverse(a.3))
                .cmp(&(b.0, &b.1, Reverse(b.2), Reverse(b.3)));
            prop_assert_eq!(encoded, plain);
        }

        #[test]
        fn the_parts_come_back(bucket: u64, name in small_key(), version: u64, sequence: u64) {
            let encoded = key(bucket, &name, version, sequence);
            let again = EntryKey::from_bytes(encoded.as_bytes().clone()).unwrap();
            prop_assert_eq!(again.bucket().get(), bucket);
            prop_assert_eq!(again.object_key(), name);
            prop_assert_eq!(again.version().get(), version);
            prop_assert_eq!(again.sequence().get(), sequence);
        }

        #[test]
        fn seeks_fall_where_they_say(name in small_key(), other in small_key(), prefix in small_key()) {
            let bucket = BucketId::new(7);
            let entry = key(7, &other, 3, 3);
            let entry: &[u8] = entry.as_bytes();
            prop_assert_eq!(EntryKey::seek_key(bucket, &name) <= entry, name <= other);
            prop_assert_eq!(EntryKey::seek_after_key(bucket, &name) <= entry, name < other);
            if let Some(after) = EntryKey::seek_after_prefix(bucket, &prefix) {
                let is_after = other > prefix && !other.starts_with(&prefix);
                prop_assert_eq!(after <= entry, is_after);
            }
            prop_assert!(EntryKey::seek_bucket(bucket) <= entry);
            prop_assert!(EntryKey::seek_after_bucket(bucket) > entry);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = EntryKey::from_bytes(bytes.clone());
            let _ = EntryValue::decode(&mut Decoder::new(bytes));
        }
    }
}
