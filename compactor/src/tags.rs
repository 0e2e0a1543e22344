//! Keys of a tag table: which entries have a tag, in the order of buckets, names and values.
//!
//! ```text
//! bucket 8 | name escaped, 00 00 | value escaped, 00 00 | object key escaped, 00 00 | version 8 | sequence 8
//! ```
//! The key of an entry is contained as in a key index, with name and value of the tag between bucket and
//! object key. A tag table may name entries that a newer run has superseded, so a reader must look up each
//! entry (Luo, Carey: Efficient Data Ingestion and Query Processing for LSM-Based Storage Systems, 2019,
//! call this validation).

use bytes::Bytes;
use ingest::entry::EntryKey;
use ingest::ids::BucketId;

/// Bytes of a bucket's id, with which both kinds of keys begin.
const BUCKET_BYTES: usize = 8;

/// Returns the prefix of the tag table's keys for all entries of a bucket with a tag. A key has the prefix
/// only if bucket, name and value are equal.
pub fn tag_prefix(bucket: BucketId, name: &str, value: &str) -> Vec<u8> {
    // Escapes a text and ends it, in the same way as the key within an entry's key.
    let text = |text: &str| EntryKey::seek_key(bucket, text.as_bytes()).slice(BUCKET_BYTES..);
    let mut out = bucket.get().to_be_bytes().to_vec();
    for text in [text(name), text(value)] {
        out.extend_from_slice(&text);
        out.extend_from_slice(&[0, 0]);
    }
    out
}

/// Returns the tag table's keys of an entry, one for each tag, in the order of `tags`. The caller must sort
/// the keys of all entries before it writes a table.
pub fn tag_keys<'a>(
    entry: &'a EntryKey,
    tags: &'a [(String, String)],
) -> impl Iterator<Item = Bytes> + 'a {
    tags.iter().map(|(name, value)| {
        let mut key = tag_prefix(entry.bucket(), name, value);
        key.extend_from_slice(&entry.as_bytes()[BUCKET_BYTES..]);
        key.into()
    })
}

/// Returns the encoded key of the entry that a tag's key names; `None` if the bytes are not a tag's key.
pub fn tagged_entry(key: &[u8]) -> Option<Vec<u8>> {
    let (bucket, rest) = key.split_at_checked(BUCKET_BYTES)?;
    let rest = after_text(after_text(rest)?)?;
    Some([bucket, rest].concat())
}

/// Returns the bytes behind an escaped text and its end; `None` if the text does not end.
fn after_text(bytes: &[u8]) -> Option<&[u8]> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr(0, bytes.get(from..)?)?;
        match bytes.get(at + 1)? {
            0 => return bytes.get(at + 2..),
            _ => from = at + 2,
        }
    }
}

/// Returns a 64-bit hash of an entry's encoded key. Two entries may have the same hash.
pub fn entry_hash(entry: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(entry)
}

#[cfg(test)]
mod tests {
    use ingest::ids::Offset;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tags_key_names_its_entry(name in ".{0,9}", value in ".{0,9}", other in ".{0,9}", key: Vec<u8>) {
            let bucket = BucketId::new(7);
            let entry = EntryKey::new(bucket, &key, Offset::new(9), Offset::new(11));
            let tags = [(name.clone(), value.clone())];
            let tag = tag_keys(&entry, &tags).next().unwrap();
            prop_assert_eq!(tagged_entry(&tag), Some(entry.as_bytes().to_vec()));
            prop_assert!(tag.starts_with(&tag_prefix(bucket, &name, &value)));
            let is_same = value == other;
            prop_assert_eq!(tag.starts_with(&tag_prefix(bucket, &name, &other)), is_same);
        }

        #[test]
        fn other_bytes_never_panic(bytes: Vec<u8>) {
            let _ = tagged_entry(&bytes);
        }
    }
}
