use std::sync::Arc;

use ingest::entry::{Attributes, LogLocation, LoggedPayload, ObjectVersion};
use ingest::ids::{BucketId, PartNumber, UploadId};
use ingest::record::UploadPart;
use ingest::time::WallTime;

use super::*;
use crate::state::encode_part;

const BUCKET: BucketId = BucketId::new(3);
const UPLOAD: UploadId = UploadId([0x55; 16]);

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn key(name: &str, version: u64, sequence: u64) -> EntryKey {
    EntryKey::new(BUCKET, name.as_bytes(), at(version), at(sequence))
}

fn logged(len: u32) -> PayloadLocation {
    PayloadLocation::Log(LoggedPayload::new(LogLocation { file: 7, position: 0, len }))
}

fn removed(name: &str, offset: u64) -> Entry {
    Entry { key: key(name, offset, offset), statement: EntryValue::Tombstone }
}

fn object(name: &str, offset: u64, payload: PayloadLocation) -> Entry {
    let statement = EntryValue::Object(ObjectVersion {
        is_null: false,
        created: WallTime::default(),
        digest: 0,
        attributes: Arc::new(Attributes::default()),
        payload,
    });
    Entry { key: key(name, offset, offset), statement }
}

fn extents(files: &[u64]) -> Arc<[Extent]> {
    files.iter().map(|n| Extent { file: BulkId::new(*n), position: 4096, len: 9 }).collect()
}

fn state_key(name: &str) -> StateKey {
    StateKey(Bytes::copy_from_slice(name.as_bytes()))
}

fn value(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// Statements about `a` at 10 and 12, about `b` at 11, about `c` at 13.
fn filled() -> Memtable {
    let memtable = Memtable::new(at(10));
    for (offset, name) in [(10, "a"), (11, "b"), (12, "a"), (13, "c")] {
        memtable.insert(at(offset), vec![removed(name, offset)], Vec::new());
        memtable.advance(at(offset + 1));
    }
    memtable
}

fn found(
    memtable: &Memtable,
    from: &[u8],
    at_offset: u64,
    limit: usize,
) -> (Vec<u64>, Option<EntryKey>) {
    let (found, next) = memtable.entries(from, at(at_offset), limit);
    let sequences = found.iter().map(|(key, _)| key.sequence().get()).collect();
    (sequences, next.map(|next| EntryKey::from_bytes(next).unwrap()))
}

#[test]
fn a_reader_sees_what_was_made_below_its_offset_in_order() {
    let memtable = filled();
    for (offset, wanted) in [
        (10, vec![]),
        (11, vec![10]),
        (12, vec![10, 11]),
        (13, vec![12, 10, 11]),
        (14, vec![12, 10, 11, 13]),
    ] {
        assert_eq!(found(&memtable, b"", offset, 100), (wanted, None), "at {offset}");
    }
    assert_eq!((memtable.first(), memtable.applied()), (at(10), at(14)));
    assert_eq!((memtable.len(), memtable.is_empty()), (4, false));
    assert!(Memtable::new(at(10)).is_empty());
}

#[test]
fn a_reader_goes_on_where_its_limit_stopped_it() {
    let memtable = filled();
    assert_eq!(found(&memtable, b"", 14, 2), (vec![12, 10], Some(key("b", 11, 11))));
    assert_eq!(found(&memtable, key("b", 11, 11).as_bytes(), 14, 2), (vec![11, 13], None));
    // What is newer than the reader does not count, and may be where it goes on.
    assert_eq!(found(&memtable, b"", 11, 1), (vec![10], Some(key("b", 11, 11))));
    assert_eq!(found(&memtable, key("b", 11, 11).as_bytes(), 11, 1), (vec![], None));
    assert_eq!(found(&memtable, b"", 14, 0), (vec![], Some(key("a", 12, 12))));
    assert_eq!(found(&memtable, &EntryKey::seek_after_bucket(BUCKET), 14, 9), (vec![], None));
}

#[test]
fn the_first_entry_of_a_key_is_the_first_of_a_list_that_is_the_keys() {
    let memtable = filled();
    for name in ["", "a", "aa", "b", "c", "d"] {
        for version in [0, 10, 11, 12, 13, u64::MAX] {
            for offset in 9..15 {
                let from = key(name, version, u64::MAX);
                let (listed, _) = memtable.entries(from.as_bytes(), at(offset), 100);
                let wanted = listed.into_iter().find(|(key, _)| key.group() == from.group());
                let found = memtable.first_of_key(&from, at(offset));
                assert_eq!(found, wanted, "{name} {version} at {offset}");
            }
        }
    }
    assert!(memtable.first_of_key(&key("a", u64::MAX, u64::MAX), at(14)).is_some());
}

#[test]
#[should_panic(expected = "two statements of one record about one version")]
fn a_statement_is_never_overwritten() {
    let memtable = filled();
    memtable.insert(at(14), vec![removed("a", 12)], Vec::new());
}

#[test]
fn the_newest_state_below_an_offset_decides() {
    let memtable = Memtable::new(at(10));
    let changes = [(10, "ua", value("1")), (11, "ub", value("2")), (12, "ua", None)];
    for (offset, name, value) in changes {
        memtable.insert(at(offset), Vec::new(), vec![(state_key(name), value)]);
    }
    for (name, offset, wanted) in [
        ("ua", 10, None),
        ("ua", 11, Some(value("1"))),
        ("ua", 12, Some(value("1"))),
        ("ua", 13, Some(None)),
        ("ub", 11, None),
        ("ub", 12, Some(value("2"))),
        ("u", 13, None),
        ("uaa", 13, None),
        ("uc", 13, None),
    ] {
        assert_eq!(memtable.state(&state_key(name), at(offset)), wanted, "{name} at {offset}");
    }
    let states = |from: &str, end: &str, offset| {
        memtable.states(from.as_bytes(), end.as_bytes(), at(offset))
    };
    let (a, b) = (state_key("ua"), state_key("ub"));
    assert_eq!(states("u", "v", 13), [(a.clone(), None), (b.clone(), value("2"))]);
    assert_eq!(states("u", "v", 12), [(a.clone(), value("1")), (b.clone(), value("2"))]);
    assert_eq!(states("u", "v", 11), [(a.clone(), value("1"))]);
    assert_eq!(states("ua", "ub", 13), [(a, None)]);
    assert_eq!(states("uaa", "v", 13), [(b, value("2"))]);
    assert_eq!(states("v", "w", 13), []);
    for limit in 1..4 {
        let (mut paged, mut next) = (Vec::new(), Some(bytes::Bytes::from_static(b"u")));
        while let Some(from) = next {
            let (page, after) = memtable.states_page(&from, b"v", at(13), limit);
            assert!(page.len() <= limit && (after.is_none() || page.len() == limit));
            paged.extend(page);
            next = after;
        }
        assert_eq!(paged, states("u", "v", 13), "pages of {limit}");
    }
    assert_eq!(memtable.len(), 3);
}

#[test]
fn every_bulk_file_that_is_referred_to_is_named_once() {
    let part = UploadPart {
        size: 9,
        md5: [0; 16],
        digest: 0,
        checksum: None,
        extents: extents(&[8, 7, 8]),
    };
    let part_key = StateKey::part(UPLOAD, PartNumber::new(1));
    let encoded = encode_part(&part, WallTime::default());
    let memtable = Memtable::new(at(10));
    let bulk = object("a", 10, PayloadLocation::Bulk(extents(&[9, 7, 9])));
    assert_eq!(bulk_files(&bulk.statement), [BulkId::new(7), BulkId::new(9)]);
    let upload_key = StateKey::upload(BUCKET, b"a", UPLOAD);
    let state = vec![(part_key.clone(), Some(encoded.clone())), (upload_key.clone(), value("u"))];
    memtable.insert(at(10), vec![bulk], state);
    assert_eq!(memtable.bulk_files(), [7, 8, 9].map(BulkId::new));
    // Removals, inline payload and other state refer to none.
    assert_eq!(state_bulk_files(&part_key, None), Ok(Vec::new()));
    assert_eq!(state_bulk_files(&upload_key, Some(&encoded)), Ok(Vec::new()));
    assert!(state_bulk_files(&part_key, Some(&Bytes::from_static(b"rot"))).is_err());
    for payload in [PayloadLocation::Empty, logged(9)] {
        assert_eq!(bulk_files(&object("b", 11, payload).statement), []);
    }
}

#[test]
fn its_bytes_stand_for_what_it_holds_and_what_the_log_holds_for_it() {
    let bytes_of = |entries, state| {
        let memtable = Memtable::new(at(10));
        memtable.insert(at(10), entries, state);
        memtable.bytes()
    };
    let bare = bytes_of(vec![removed("a", 10)], Vec::new());
    assert_eq!(bare, key("a", 10, 10).as_bytes().len() as u64 + 256);
    let log = logged(1000);
    assert_eq!(bytes_of(vec![object("a", 10, log)], Vec::new()), bare + 1000);
    let bulk = PayloadLocation::Bulk(extents(&[7, 8]));
    assert_eq!(bytes_of(vec![object("a", 10, bulk)], Vec::new()), bare + 48);
    let mut full = object("a", 10, PayloadLocation::Empty);
    if let EntryValue::Object(object) = &mut full.statement {
        let pair = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let part =
            ingest::entry::PartSummary { number: PartNumber::new(1), size: 9, checksum: None };
        object.attributes = Arc::new(Attributes {
            headers: pair("a", "bc"),
            metadata: pair("abcd", ""),
            tags: pair("", "abcde"),
            parts: vec![part.clone(), part],
            ..Attributes::default()
        });
    }
    assert_eq!(bytes_of(vec![full], Vec::new()), bare + 3 + 4 + 5 + 3 * 48 + 2 * 64);
    let state = vec![(state_key("ua"), value("1234")), (state_key("ub"), None)];
    assert_eq!(bytes_of(Vec::new(), state), 2 + 4 + 64 + 2 + 64);
}
