use ingest::entry::{Attributes, ETag, Extent, ObjectVersion};
use ingest::ids::{BucketId, BulkId, Offset};
use ingest::time::WallTime;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::memory::{Memory, ready};

const STORE: StoreId = StoreId([3; 16]);
const ID: SegmentId = SegmentId::new(9);

fn path() -> FilePath {
    FilePath::new("p0000/segments/0000000009.seg")
}

type Added = (EntryKey, EntryValue, Option<Bytes>);

fn key(name: &str, version: u64, sequence: u64) -> EntryKey {
    let (version, sequence) = (Offset::new(version), Offset::new(sequence));
    EntryKey::new(BucketId::new(3), name.as_bytes(), version, sequence)
}

fn object(size: usize, payload: PayloadLocation) -> EntryValue {
    let attributes = Attributes {
        size: size as u64,
        etag: ETag { md5: [0x11; 16], parts: 0 },
        owner: "owner".into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        ..Attributes::default()
    };
    EntryValue::Object(ObjectVersion {
        is_null: false,
        created: WallTime::from_micros(1_700_000_000_000_000),
        digest: 0x0123_4567_89ab_cdef,
        attributes: Arc::new(attributes),
        payload,
    })
}

/// Bytes that no compression makes shorter.
fn noise(seed: u64, len: usize) -> Bytes {
    let mut mutator = Mutator::new(seed);
    (0..len).map(|_| mutator.next() as u8).collect()
}

/// Every kind of statement and of payload; with `payload` they all lie in one block.
fn added(payload: &Bytes) -> Vec<Added> {
    let extents = [Extent { file: BulkId::new(7), position: 4096, len: 65_604 }];
    let created = WallTime::from_micros(5);
    let marker = EntryValue::Marker { is_null: true, created, owner: "owner".into() };
    vec![
        (key("a", 41, 41), object(payload.len(), PayloadLocation::Empty), Some(payload.clone())),
        (key("b", 42, 44), object(0, PayloadLocation::Empty), None),
        (key("b", 42, 43), EntryValue::Tombstone, None),
        (key("c", 45, 45), EntryValue::NullTombstone, None),
        (key("d", 46, 46), marker, None),
        (key("e", 47, 47), object(65_604, PayloadLocation::Bulk(extents.into())), None),
        (key("f", 48, 48), object(3, PayloadLocation::Empty), Some(Bytes::from_static(b"end"))),
    ]
}

fn write(memory: &Memory, added: &[Added]) -> (FileDigest, Vec<SegmentLocation>) {
    ready(async {
        let mut writer =
            SegmentWriter::create(&memory.disk(), &path(), STORE, ID, Place::Hot).await.unwrap();
        let mut places = Vec::new();
        for (key, statement, payload) in added {
            places.push(writer.add(key, statement, payload.clone()).await.unwrap());
        }
        (writer.finish().await.unwrap(), places)
    })
}

/// What reading gives for what was added: a payload that came along lies where the header does.
fn wanted(added: &[Added], places: &[SegmentLocation]) -> Vec<SegmentObject> {
    let object = |((key, statement, payload), place): (&Added, &SegmentLocation)| {
        let mut statement = statement.clone();
        if let (EntryValue::Object(object), Some(_)) = (&mut statement, payload) {
            object.payload = PayloadLocation::Segment(*place);
        }
        let payload = payload.clone().unwrap_or_default();
        SegmentObject { key: key.clone(), statement, payload }
    };
    added.iter().zip(places).map(object).collect()
}

fn open(memory: &Memory) -> Arc<Segment> {
    let len = memory.get(&path()).unwrap().len() as u64;
    Segment::open(&memory.disk(), &path(), STORE, ID, len, &Arc::default())
}

fn scan(segment: &Segment) -> (Vec<SegmentObject>, Vec<ReadError>) {
    let mut found = Vec::new();
    let faults = ready(segment.scan(|object| found.push(object)));
    (found, faults)
}

fn written_bytes(added: &[Added]) -> (Vec<u8>, Vec<SegmentLocation>) {
    let memory = Memory::default();
    let (digest, places) = write(&memory, added);
    let bytes = memory.get(&path()).unwrap();
    assert_eq!((digest.len, digest.blake3), (bytes.len() as u64, blake3::hash(&bytes).into()));
    (bytes, places)
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    // A payload that is stored as it is, so that the bytes are our own to the last.
    let added = added(&noise(1, 3000));
    let (bytes, places) = written_bytes(&added);
    let golden = golden::check("segment-v2.seg", &bytes);
    assert_eq!(golden[4], STORED);
    let memory = Memory::default();
    memory.put(&path(), &golden);
    assert_eq!(scan(&open(&memory)), (wanted(&added, &places), Vec::new()));
}

#[test]
fn a_golden_file_with_compressed_blocks_is_still_read() {
    // Three blocks: compressed, a large payload stored as it is, compressed. What zstd writes may change
    // with its version; what it once wrote must be readable.
    let mut all = added(&Bytes::from(vec![b'a'; 3000]));
    all.push((key("g", 49, 49), object(20_000, PayloadLocation::Empty), Some(noise(2, 20_000))));
    all.push((
        key("h", 50, 50),
        object(5000, PayloadLocation::Empty),
        Some(Bytes::from(vec![b'h'; 5000])),
    ));
    let (bytes, places) = written_bytes(&all);
    let golden = golden::read("segment-v2-zstd.seg", || bytes);
    assert_eq!(golden[4], ZSTD);
    let memory = Memory::default();
    memory.put(&path(), &golden);
    let segment = open(&memory);
    let (found, faults) = scan(&segment);
    assert_eq!(faults, []);
    let strip = |objects: Vec<SegmentObject>| -> Vec<(EntryKey, Bytes)> {
        objects.into_iter().map(|object| (object.key, object.payload)).collect()
    };
    for object in &found {
        if let EntryValue::Object(ObjectVersion { payload: PayloadLocation::Segment(at), .. }) =
            &object.statement
        {
            assert_eq!(ready(segment.read(*at)).unwrap(), *object);
        }
    }
    assert_eq!(strip(found), strip(wanted(&all, &places)));
}

#[test]
fn a_block_of_another_segment_store_or_place_is_refused() {
    let (bytes, places) = written_bytes(&added(&noise(1, 100)));
    let memory = Memory::default();
    memory.put(&path(), &bytes);
    let len = bytes.len() as u64;
    let strangers = [(StoreId([4; 16]), ID), (STORE, ID.next())];
    for (store, id) in strangers {
        let segment = Segment::open(&memory.disk(), &path(), store, id, len, &Arc::default());
        let error = ready(segment.read(places[0])).unwrap_err();
        assert!(error.to_string().contains("does not belong here"), "{error}");
    }
    // The same block twice: the second copy is of another place.
    let twice = [&bytes[..], &bytes[..]].concat();
    memory.put(&path(), &twice);
    let error = ready(open(&memory).read(SegmentLocation { position: len, ..places[0] }));
    assert!(error.unwrap_err().to_string().contains("does not belong here"));
    for (position, detail) in [(2 * len - 59, "beyond the file"), (2 * len, "beyond the file")] {
        let error = ready(open(&memory).read(SegmentLocation { position, ..places[0] }));
        assert!(error.unwrap_err().to_string().contains(detail));
    }
    // A file of another length is not read at all.
    let segment = Segment::open(&memory.disk(), &path(), STORE, ID, len, &Arc::default());
    assert!(ready(segment.read(places[0])).unwrap_err().to_string().contains("were sealed"));
}

#[test]
fn a_place_that_no_object_has_is_refused() {
    let (bytes, places) = written_bytes(&added(&noise(1, 100)));
    let memory = Memory::default();
    memory.put(&path(), &bytes);
    for index in [7, 8, u32::MAX] {
        let error = ready(open(&memory).read(SegmentLocation { index, ..places[0] }));
        assert!(error.is_err(), "index {index}");
    }
}

/// Makes a block's lengths and checksum fit what is there; `false` when it cannot be one.
fn reseal(file: &mut [u8], position: usize) -> bool {
    let Some(block) = file.get_mut(position..).filter(|block| block.len() >= HEAD_BYTES) else {
        return false;
    };
    let number = |at: usize| u32::from_le_bytes(*block[at..].first_chunk().unwrap()) as usize;
    let stored_len = number(28);
    let Some(stored) = block.get(HEAD_BYTES..HEAD_BYTES + stored_len) else { return false };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..HEAD_BYTES - 4]), stored);
    block[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    true
}

/// Makes the checksum of the object that begins here fit.
fn reseal_object(raw: &mut [u8]) {
    let mut from = Decoder::new(Bytes::copy_from_slice(raw));
    let lengths = (from.varint("header"), from.varint("payload"));
    let (Ok(header), Ok(payload)) = lengths else { return };
    let covered = header.checked_add(payload).and_then(|l| l.checked_add(from.position() as u64));
    let Some(covered) = covered.filter(|len| *len + 4 <= raw.len() as u64) else { return };
    let covered = covered as usize;
    let crc = crc32c::crc32c(&raw[..covered]);
    raw[covered..covered + 4].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn mutated_segments_never_panic_and_never_show_another_object() {
    let whole =
        [added(&noise(1, 300)), vec![(key("g", 49, 49), object(9, PayloadLocation::Empty), None)]];
    let (bytes, places) = written_bytes(&whole.concat());
    let right = wanted(&whole.concat(), &places);
    let mut mutator = Mutator::new(5);
    let memory = Memory::default();
    let mut resealed = 0;
    for round in 0..rounds(6000) {
        let mut other = mutator.mutated(&[&bytes]);
        let is_resealed = round % 4 > 0;
        if is_resealed {
            if other.len() > HEAD_BYTES && round % 4 > 1 {
                reseal_object(&mut other[HEAD_BYTES..]);
            }
            resealed += usize::from(reseal(&mut other, 0));
        }
        memory.put(&path(), &other);
        let segment = open(&memory);
        let (found, faults) = scan(&segment);
        if !is_resealed && !bytes.starts_with(&other) && other != bytes {
            assert!(!faults.is_empty() || found == right, "a fault went unseen");
        }
        for (place, right) in places.iter().zip(&right) {
            match ready(segment.read(*place)) {
                Ok(object) => assert!(is_resealed || object == *right),
                Err(ReadError::Corrupt(corruption)) => assert_eq!(corruption.file, path().as_str()),
                Err(error) => panic!("{error}"),
            }
        }
        let limit = READ_AHEAD.max(other.len());
        assert!(memory.longest_read() <= limit, "{} of {limit} bytes", memory.longest_read());
    }
    assert!(resealed > 1000, "the objects are hardly reached: {resealed}");
}

#[test]
fn mutated_compressed_blocks_never_panic() {
    let (bytes, places) = written_bytes(&added(&Bytes::from(vec![b'a'; 3000])));
    assert_eq!(bytes[4], ZSTD);
    let mut mutator = Mutator::new(6);
    let memory = Memory::default();
    for _ in 0..rounds(3000) {
        let mut other = mutator.mutated(&[&bytes]);
        reseal(&mut other, 0);
        memory.put(&path(), &other);
        let _ = scan(&open(&memory));
        let _ = ready(open(&memory).read(places[6]));
    }
}

#[test]
fn a_raw_length_beyond_the_limit_is_refused_before_room_is_made() {
    let (mut bytes, places) = written_bytes(&added(&Bytes::from(vec![b'a'; 3000])));
    for raw_len in [RAW_BYTES_MAX as u32 + 1, u32::MAX] {
        bytes[24..28].copy_from_slice(&raw_len.to_le_bytes());
        assert!(reseal(&mut bytes, 0));
        let memory = Memory::default();
        memory.put(&path(), &bytes);
        let error = ready(open(&memory).read(places[0])).unwrap_err();
        assert!(error.to_string().contains("does not belong here"), "{error}");
    }
}

#[test]
fn footer_and_blocks_must_agree() {
    let (bytes, _) = written_bytes(&added(&noise(1, 100)));
    let footer = bytes.len() - HEAD_BYTES - 16;
    for at in [footer + HEAD_BYTES, footer + HEAD_BYTES + 8] {
        let mut other = bytes.clone();
        other[at] ^= 1;
        assert!(reseal(&mut other, footer));
        let memory = Memory::default();
        memory.put(&path(), &other);
        let (found, faults) = scan(&open(&memory));
        assert_eq!((found.len(), faults.len()), (7, 1));
        assert!(faults[0].to_string().contains("the footer says"), "{}", faults[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_added_comes_back(lens in vec(prop_oneof![0usize..200, 0usize..40_000], 1..12)) {
        let object = |(at, len): (usize, &usize)| {
            let payload = if at % 2 == 0 { noise(at as u64, *len) } else { vec![7; *len].into() };
            (key(&format!("{at:03}"), 1, 1), object(*len, PayloadLocation::Empty), Some(payload))
        };
        let added: Vec<Added> = lens.iter().enumerate().map(object).collect();
        let memory = Memory::default();
        let (_, places) = write(&memory, &added);
        let segment = open(&memory);
        let right = wanted(&added, &places);
        for (place, right) in places.iter().zip(&right) {
            prop_assert_eq!(&ready(segment.read(*place)).unwrap(), right);
        }
        prop_assert_eq!(scan(&segment), (right, Vec::new()));
    }
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    // An entry's key is longer than its object's by a few bytes.
    let around = KEY_BYTES_MAX - 64..KEY_BYTES_MAX;
    let (mut written, mut refused) = (0, 0);
    for len in around {
        let memory = Memory::default();
        let key = key(&"k".repeat(len), 1, 1);
        let is_within = key.as_bytes().len() <= KEY_BYTES_MAX;
        let added = ready(async {
            let disk = memory.disk();
            let mut writer =
                SegmentWriter::create(&disk, &path(), STORE, ID, Place::Hot).await.unwrap();
            writer.add(&key, &EntryValue::Tombstone, None).await
        });
        assert_eq!(added.is_ok(), is_within, "{len}");
        if is_within {
            written += 1
        } else {
            refused += 1
        }
        assert!(matches!(added, Ok(_) | Err(SealError::Encode { .. })));
    }
    assert!(written > 0 && refused > 0);
}
