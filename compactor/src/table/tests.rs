use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::{Decoder, Encoder};
use ingest::entry::{ETag, EntryKey, SegmentLocation, StorageClass, StoredChecksum};
use ingest::env::FilePath;
use ingest::ids::{BucketId, Offset, SegmentId};
use ingest::log::ReadError;
use ingest::record::key_hash;
use ingest::time::WallTime;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::block::{BlockBuilder, MalformedBlock, TableBlock};
use super::filter::KeyFilter;
use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::index_value::{IndexValue, IndexValueKind, ObjectLabels};
use crate::memory::{Memory, ready};
use crate::sealed::FileDigest;

const ID: u64 = 5;

fn path() -> FilePath {
    FilePath::new("p0000/runs/0000000005.keys")
}

/// A value's numbers and bytes, to keep.
type Held = ([u64; NUMBERS], Bytes);
type Entries = Vec<(Bytes, Held, Option<u64>)>;

fn value((numbers, bytes): &Held) -> TableValue<'_> {
    TableValue { numbers: *numbers, bytes }
}

fn bytes_only(bytes: impl Into<Bytes>) -> Held {
    ([0; NUMBERS], bytes.into())
}

fn write(kind: TableKind, entries: &Entries) -> Vec<u8> {
    let memory = Memory::default();
    let digest = ready(async {
        let mut writer = TableWriter::create(&memory.disk(), &path(), kind, ID).await.unwrap();
        for (key, held, hash) in entries {
            writer.add(key, value(held), *hash).await.unwrap();
        }
        writer.finish().await.unwrap()
    });
    let bytes = memory.get(&path()).unwrap();
    assert_eq!((digest.len, digest.blake3), (bytes.len() as u64, blake3::hash(&bytes).into()));
    bytes
}

fn open_as(memory: &Memory, kind: TableKind, id: u64) -> Result<Arc<Table>, ReadError> {
    let len = memory.get(&path()).unwrap().len() as u64;
    let digest = FileDigest { len, ..FileDigest::default() };
    ready(Table::open(&memory.disk(), &path(), kind, id, &digest))
}

fn open(bytes: &[u8], kind: TableKind) -> Result<Arc<Table>, ReadError> {
    let memory = Memory::default();
    memory.put(&path(), bytes);
    open_as(&memory, kind, ID)
}

fn all(table: &Arc<Table>, limit: usize) -> Result<Vec<(Bytes, Held)>, ReadError> {
    let mut cursor = table.cursor();
    let mut found = Vec::new();
    ready(async {
        cursor.seek(b"").await?;
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value()) {
            let held = (value.numbers, Bytes::copy_from_slice(value.bytes));
            found.push((Bytes::copy_from_slice(key), held));
            if found.len() == limit {
                break;
            }
            cursor.advance().await?;
        }
        Ok(found)
    })
}

fn plain(entries: &Entries) -> Vec<(Bytes, Held)> {
    entries.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect()
}

/// The labels of an object with a CRC32C.
fn crc32c() -> ObjectLabels {
    let checksum = StoredChecksum { algorithm: 2, is_composite: false, digest: Bytes::new() };
    ObjectLabels::new(&[checksum], StorageClass::Standard)
}

fn listed(number: u64) -> IndexValue {
    let location = SegmentLocation {
        segment: SegmentId::new(3),
        position: number * 100,
        index: number as u32 % 7,
    };
    let kind = [
        IndexValueKind::Object,
        IndexValueKind::Marker,
        IndexValueKind::Tombstone,
        IndexValueKind::NullTombstone,
    ][(number % 4) as usize];
    let is_object = kind == IndexValueKind::Object;
    let has_time = matches!(kind, IndexValueKind::Object | IndexValueKind::Marker);
    IndexValue {
        kind,
        is_null: kind == IndexValueKind::NullTombstone || number % 8 == 1,
        size: if is_object { number * 1000 } else { 0 },
        etag: if is_object { ETag { md5: [number as u8; 16], parts: 2 } } else { ETag::default() },
        created: WallTime::from_micros(if has_time { 1_700_000_000_000_000 } else { 0 }),
        labels: if is_object { crc32c() } else { ObjectLabels::default() },
        location,
    }
}

fn encoded(listed: &IndexValue) -> Held {
    let mut bytes = Encoder::new();
    listed.encode(&mut bytes);
    (listed.numbers([0; NUMBERS]), bytes.finish())
}

/// A key index with two blocks.
fn key_index() -> Entries {
    let bucket = BucketId::new(3);
    let entry = |number: u64| {
        let name = format!("folder/{number:04}");
        let (version, sequence) = (Offset::new(number), Offset::new(number + 1));
        let key = EntryKey::new(bucket, name.as_bytes(), version, sequence);
        let hash = key_hash(bucket, name.as_bytes());
        (key.as_bytes().clone(), encoded(&listed(number)), Some(hash))
    };
    (0..600).map(entry).collect()
}

#[test]
fn the_bytes_of_a_key_index_are_those_of_the_golden_file() {
    let entries = key_index();
    let written = write(TableKind::Keys, &entries);
    let golden = golden::read("table-v3.keys", || written.clone());
    let table = open(&golden, TableKind::Keys).unwrap();
    assert!(all(&table, usize::MAX) == Ok(plain(&entries)), "the golden file reads otherwise");
    assert_eq!(ready(table.verify()), []);
    assert_eq!(table.entries(), 600);
    for (key, held, hash) in &entries {
        assert!(table.may_contain(hash.unwrap()), "a filter never denies what is there");
        let key = EntryKey::from_bytes(key.clone()).unwrap();
        let found = IndexValue::decode(value(held)).unwrap();
        assert_eq!(found, listed(key.version().get()));
    }
    let strangers = (0..10_000u64).map(|n| key_hash(BucketId::new(4), &n.to_le_bytes()));
    let passed = strangers.filter(|hash| table.may_contain(*hash)).count();
    assert!(passed < 100, "the filter lets {passed} of 10,000 pass");
    // How the filter's library picks fingerprints is its own affair; every other byte is ours.
    let ends = sections(&golden).map(|(_, range)| range.end + 4);
    assert_eq!(written[..ends[1]], golden[..ends[1]], "the blocks have drifted");
    assert_eq!(written.len(), golden.len());
    assert_eq!(written[ends[2]..], golden[ends[2]..], "index or footer have drifted");
}

/// Blocks 0 and 1, filter, index and footer of [`key_index`]'s file.
fn sections(bytes: &[u8]) -> [(TableSection, std::ops::Range<usize>); 5] {
    let footer = bytes.len() - FOOTER_BYTES;
    let number = |at: usize| u64::from_le_bytes(*bytes[footer + at..].first_chunk().unwrap());
    let place = |at: usize| number(at) as usize..(number(at) + number(at + 8)) as usize;
    let (filter, index) = (place(32), place(48));
    let mut from = Decoder::new(Bytes::copy_from_slice(&bytes[index.clone()]));
    assert_eq!(from.varint("blocks"), Ok(2));
    let mut start = 0;
    let mut block = || {
        from.bytes(1000, "separator").unwrap();
        let end = start + from.varint("length").unwrap() as usize;
        (TableSection::Block, std::mem::replace(&mut start, end + 4)..end)
    };
    let footer = (TableSection::Footer, footer..bytes.len() - 4);
    [block(), block(), (TableSection::Filter, filter), (TableSection::Index, index), footer]
}

#[test]
fn a_table_of_another_kind_or_id_does_not_open() {
    let memory = Memory::default();
    memory.put(&path(), &write(TableKind::Keys, &key_index()));
    assert!(open_as(&memory, TableKind::Keys, ID).is_ok());
    assert!(open_as(&memory, TableKind::State, ID).is_err());
    assert!(open_as(&memory, TableKind::Keys, ID + 1).is_err());
}

#[test]
fn a_block_in_anothers_place_is_refused() {
    let mut bytes = write(TableKind::Keys, &key_index());
    let [(_, first), (_, second), ..] = sections(&bytes);
    let len = first.len().min(second.len());
    let copy = bytes[second.start..second.start + len].to_vec();
    bytes[first.start..first.start + len].copy_from_slice(&copy);
    let table = open(&bytes, TableKind::Keys).unwrap();
    let Err(ReadError::Corrupt(corruption)) = all(&table, usize::MAX) else {
        panic!("a misplaced block was read");
    };
    assert_eq!((corruption.file.as_str(), corruption.position), (path().as_str(), 0));
    assert_eq!(ready(table.verify()).len(), 1);
}

#[test]
fn every_flipped_byte_is_found() {
    let entries = key_index();
    let bytes = write(TableKind::Keys, &entries);
    let mut mutator = Mutator::new(7);
    for round in 0..rounds(1500) {
        let at = if round < 80 { bytes.len() - 1 - round } else { mutator.below(bytes.len()) };
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << mutator.below(8);
        let found = open(&flipped, TableKind::Keys).map(|table| ready(table.verify()));
        assert!(found.is_err() || found.is_ok_and(|faults| !faults.is_empty()), "byte {at}");
    }
}

#[test]
fn a_file_too_short_for_a_table_is_refused() {
    let bytes = write(TableKind::State, &Vec::new());
    assert!(all(&open(&bytes, TableKind::State).unwrap(), 1).unwrap().is_empty());
    for len in [0, FOOTER_BYTES - 1, FOOTER_BYTES, bytes.len() - 1] {
        let error = open(&bytes[bytes.len() - len..], TableKind::State).err().unwrap();
        assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
    }
}

#[test]
fn mutated_tables_never_panic() {
    let bytes = write(TableKind::Keys, &key_index());
    let targets = key_index();
    let sections = sections(&bytes);
    let mut mutator = Mutator::new(8);
    let memory = Memory::default();
    let (mut opened, mut walked) = (0, 0);
    for _ in 0..rounds(6000) {
        let mut other = bytes.clone();
        let (section, range) = sections[mutator.below(sections.len())].clone();
        // Lengths stay, so that the other sections stay where the footer says: a cut is made up with zeros.
        let mut piece = mutator.mutated(&[&bytes[range.clone()]]);
        piece.resize(range.len(), 0);
        other[range.clone()].copy_from_slice(&piece);
        let crc = checksum(section, TableKind::Keys, ID, range.start as u64, &piece);
        other[range.end..range.end + 4].copy_from_slice(&crc.to_le_bytes());
        memory.put(&path(), &other);
        if let Ok(table) = open_as(&memory, TableKind::Keys, ID) {
            opened += 1;
            let _ = table.memory_bytes();
            for _ in 0..4 {
                let _ = table.may_contain(mutator.next());
                let mut cursor = table.cursor();
                let target = &targets[mutator.below(targets.len())].0;
                let _ = ready(cursor.seek(&target[..mutator.below(target.len())]));
                let _ = ready(cursor.advance());
            }
            walked += usize::from(all(&table, 2000).is_ok());
            let _ = ready(table.verify());
        }
        assert!(memory.longest_read() <= bytes.len(), "{} bytes", memory.longest_read());
    }
    assert!(opened > 1000 && walked > 500, "the blocks are hardly reached: {opened}, {walked}");
}

#[test]
fn a_filter_that_would_index_beyond_its_fingerprints_is_refused() {
    let filter = |segment_length: u32, mask: u32, count_length: u32, fingerprints: usize| {
        let mut out = Encoder::new();
        out.u8(1).u64(7).u32(segment_length).u32(mask).u32(count_length);
        out.bytes(&vec![0; fingerprints]);
        KeyFilter::decode(out.finish())
    };
    // Segments that do not fill the count were accepted once: the exclusive or with the mask then reaches
    // beyond the last of them, and a look-up panicked.
    for (segment_length, mask, count_length, fingerprints) in [
        (4, 3, 5, 13),
        (4, 3, 0, 8),
        (4, 3, 4, 11),
        (4, 7, 4, 12),
        (3, 2, 3, 9),
        (0, u32::MAX, 4, 12),
        (1 << 31, (1 << 31) - 1, u32::MAX, 100),
    ] {
        let found = filter(segment_length, mask, count_length, fingerprints);
        assert!(found.is_err(), "{segment_length}, {mask}, {count_length}, {fingerprints}");
    }
    for (segment_length, count_length, fingerprints) in [(4, 4, 12), (4, 8, 16), (1, 1, 3)] {
        let found = filter(segment_length, segment_length - 1, count_length, fingerprints).unwrap();
        let mut mutator = Mutator::new(9);
        for _ in 0..10_000 {
            let _ = found.may_contain(mutator.next());
        }
    }
}

#[test]
fn mutated_filters_never_panic() {
    let small = KeyFilter::build((0..5).collect()).encode();
    let large =
        KeyFilter::build((0..500u64).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect())
            .encode();
    let seeds = [small, large, KeyFilter::Absent.encode()];
    let mut mutator = Mutator::new(10);
    let mut accepted = 0;
    for _ in 0..rounds(30_000) {
        let mut bytes = mutator.mutated(&seeds);
        if mutator.below(2) == 0 && bytes.len() > 21 {
            // A descriptor that is nearly right.
            let length = 1u32 << mutator.below(8);
            bytes[9..13].copy_from_slice(&length.to_le_bytes());
            bytes[13..17].copy_from_slice(&(length - 1).to_le_bytes());
            bytes[17..21].copy_from_slice(&(mutator.below(600) as u32).to_le_bytes());
        }
        if let Ok(filter) = KeyFilter::decode(bytes.into()) {
            accepted += 1;
            for _ in 0..20 {
                let _ = filter.may_contain(mutator.next());
            }
        }
    }
    assert!(accepted > 1000, "the filters are hardly reached: {accepted}");
}

fn block_of(kind: TableKind, entries: &[(Bytes, Held)]) -> Bytes {
    let mut builder = BlockBuilder::new(kind.form());
    entries.iter().for_each(|(key, held)| builder.add(key, value(held)));
    let len = builder.len();
    let bytes = builder.finish();
    assert!(bytes.len() == len || kind.form().is_compressed && bytes.len() < len);
    assert!(builder.is_empty());
    bytes
}

#[test]
fn mutated_blocks_never_panic() {
    let entries = plain(&key_index());
    for kind in [TableKind::Keys, TableKind::More, TableKind::Tags, TableKind::State] {
        let form = kind.form();
        let seeds = [block_of(kind, &entries[..40]), block_of(kind, &entries[..1])];
        let mut mutator = Mutator::new(11);
        let mut sought = 0;
        for _ in 0..rounds(15_000) {
            let bytes = mutator.mutated(&seeds);
            let Ok(block) = TableBlock::new(bytes.into(), form) else { continue };
            sought += usize::from(block.seek(&entries[mutator.below(50)].0).is_ok());
            let Ok(mut place) = block.first() else { continue };
            let mut steps = 0;
            while block.advance(&mut place).is_ok_and(|is_there| is_there) {
                let _ = IndexValue::decode(block.value(&place));
                steps += 1;
                assert!(steps <= block.len() * 8 && place.key.len() <= block.len() + STAMP_BYTES);
            }
        }
        assert!(sought > 200, "the entries of {kind:?} are hardly reached: {sought}");
    }
}

/// A block of a table without stamps and numbers, as is.
fn raw_block(values: &[u8], body: &[u8]) -> Result<TableBlock, MalformedBlock> {
    let len = |bytes: &[u8]| (bytes.len() as u32).to_le_bytes();
    let bytes = [&[0; 4], &len(body)[..], &len(values), values, body].concat();
    TableBlock::new(bytes.into(), TableKind::State.form())
}

#[test]
fn blocks_that_cannot_be_are_refused() {
    // Count; least number and width of shared, unshared, length, restart's rest, restart's value; rests.
    assert!(raw_block(b"v", b"\x01\0\0\x01\0\x01\0\0\0\0\0k").is_ok());
    assert!(raw_block(b"v", b"\x02\0\0\x01\0\0\x01\0\0\0\0\x02kl").is_ok());
    let cases: [(&str, &[u8]); 11] = [
        ("nothing", b""),
        ("no entries", b"\0\0\0\x01\0\x01\0\0\0\0\0k"),
        ("more entries than bits", b"\x61\0\0\x01\0\x01\0\0\0\0\0k"),
        ("a count without end", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("half a head", b"\x01\0\0\x01\0\x01"),
        ("65 bits", b"\x01\0\x41\x01\0\x01\0\0\0\0\0kkkkkkkkkkk"),
        ("columns beyond the block", b"\x02\0\x40\x01\0\x01\0\0\0\0\0k"),
        ("shares with what is before the first", b"\x01\x01\0\x01\0\x01\0\0\0\0\0k"),
        ("a rest beyond the block", b"\x01\0\0\x02\0\x01\0\0\0\0\0k"),
        ("a value beyond the values", b"\x01\0\0\x01\0\x02\0\0\0\0\0k"),
        ("a length of 33 bits", b"\x01\0\0\x80\x80\x80\x80\x10\0\x01\0\0\0\0\0k"),
    ];
    for (what, body) in cases {
        let found = raw_block(b"v", body).and_then(|block| block.first());
        assert!(found.is_err(), "{what}");
    }
    // Restarts beyond the rests, and beyond the values; a second entry that shares more than there is.
    for body in [
        &b"\x01\0\0\x01\0\x01\0\x09\0\0\0k"[..],
        b"\x01\0\0\x01\0\x01\0\0\0\x09\0k",
        b"\x02\0\x02\x01\0\0\0\0\0\0\0\x0ckl",
    ] {
        assert!(raw_block(b"v", body).unwrap().seek(b"l").is_err(), "{body:x?}");
    }
    // A walk finds restarts that a seek would come to another entry by, and what no entry has.
    let walk = |body: &[u8], rests: &[u8]| {
        let block = raw_block(&[b'v'; 17], &[body, rests].concat()).unwrap();
        let mut place = block.first().unwrap();
        while block.advance(&mut place)? {}
        Ok::<_, MalformedBlock>(())
    };
    let sound = b"\x11\0\0\x01\0\x01\0\0\x05\0\x05\0\x02\0\x02";
    assert!(walk(sound, b"abcdefghijklmnopq").is_ok());
    assert!(walk(sound, b"abcdefghijklmnopqr").is_err(), "a rest of nothing");
    let equal = b"\x11\0\0\x01\0\x01\0\0\x05\0\0\0\x02";
    assert!(walk(equal, b"abcdefghijklmnopq").is_err(), "a restart with the first value");
    // Lengths and codec of a head that do not fit what follows it.
    let sound = block_of(TableKind::Keys, &plain(&key_index())[..1]);
    for (at, byte) in [(0, 1), (0, 2), (4, 0), (4, 255), (7, 255), (8, 0), (8, 255), (11, 255)] {
        let mut bytes = sound.to_vec();
        bytes[at] = byte;
        let found = TableBlock::new(bytes.into(), TableKind::Keys.form()).and_then(|block| {
            let mut place = block.first()?;
            block.advance(&mut place)
        });
        assert!(found.is_err(), "{at}: {byte}");
    }
}

#[test]
fn a_compressed_block_says_how_long_it_is() {
    let entries = &plain(&key_index())[..40];
    let bytes = block_of(TableKind::More, entries);
    assert_eq!(bytes[0], 1);
    assert!(TableBlock::new(bytes.clone(), TableKind::More.form()).is_ok());
    for difference in [-1i32, 1, 1 << 30] {
        let mut other = bytes.to_vec();
        let len = u32::from_le_bytes(*bytes[4..].first_chunk().unwrap());
        other[4..8].copy_from_slice(&len.wrapping_add_signed(difference).to_le_bytes());
        assert!(TableBlock::new(other.into(), TableKind::More.form()).is_err(), "{difference}");
    }
}

#[test]
fn mutated_key_index_values_never_panic_and_have_one_encoding() {
    let seeds: Vec<Bytes> =
        key_index().into_iter().take(8).map(|(_, (_, bytes), _)| bytes).collect();
    let mut mutator = Mutator::new(12);
    for _ in 0..rounds(30_000) {
        let bytes = mutator.mutated(&seeds);
        let numbers = [0; NUMBERS].map(|_| mutator.next() >> mutator.below(64));
        if let Ok(listed) = IndexValue::decode(TableValue { numbers, bytes: &bytes }) {
            let (told, encoded) = encoded(&listed);
            assert!(
                encoded == bytes && listed.numbers(numbers) == numbers && told[2..] == numbers[2..]
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_answers_like_a_map(
        map in btree_map(vec(0u8..4, 0..6), vec(any::<u8>(), 0..300), 0..400),
        targets in vec(vec(0u8..4, 0..7), 1..20),
    ) {
        let entries: Entries = map
            .iter()
            .map(|(key, value)| (key.clone().into(), bytes_only(value.clone()), None))
            .collect();
        let table = open(&write(TableKind::State, &entries), TableKind::State).unwrap();
        prop_assert_eq!(all(&table, usize::MAX), Ok(plain(&entries)));
        prop_assert_eq!(ready(table.verify()), []);
        let mut cursor = table.cursor();
        for target in targets {
            ready(cursor.seek(&target)).unwrap();
            let mut wanted = map.range(target..);
            for _ in 0..3 {
                let found = cursor.key().zip(cursor.value().map(|value| value.bytes));
                let entry = wanted.next().map(|(key, value)| (key.as_slice(), value.as_slice()));
                prop_assert_eq!(found, entry);
                ready(cursor.advance()).unwrap();
            }
        }
    }

    #[test]
    fn a_filter_never_denies(hashes: Vec<u64>) {
        let built = KeyFilter::build(hashes.clone());
        let decoded = KeyFilter::decode(built.encode()).unwrap();
        for hash in hashes {
            prop_assert!(built.may_contain(hash) && decoded.may_contain(hash));
        }
    }

    #[test]
    fn a_key_index_value_comes_back(
        number: u32,
        is_null: bool,
        position: u64,
        size: u64,
        parts: u16,
        checksums: Vec<(u8, bool)>,
        class in 0..StorageClass::ALL.len(),
    ) {
        let mut wanted = listed(number.into());
        wanted.is_null = is_null;
        wanted.location.position = position;
        if wanted.kind == IndexValueKind::Object {
            wanted.size = size;
            wanted.etag.parts = parts;
            let checksum = |(algorithm, is_composite)| StoredChecksum {
                algorithm,
                is_composite,
                digest: Bytes::new(),
            };
            let checksums: Vec<_> = checksums.into_iter().map(checksum).collect();
            wanted.labels = ObjectLabels::new(&checksums, StorageClass::ALL[class]);
        }
        prop_assert_eq!(IndexValue::decode(value(&encoded(&wanted))), Ok(wanted));
    }

    #[test]
    fn a_table_of_entries_gives_back_stamps_and_numbers(
        map in btree_map(
            (vec(0u8..3, 0..6), any::<u64>(), prop_oneof![Just(0), any::<u64>()]),
            (any::<[u64; NUMBERS]>(), vec(any::<u8>(), 0..30)),
            1..200,
        ),
        kind in prop_oneof![Just(TableKind::Keys), Just(TableKind::More)],
    ) {
        let bucket = BucketId::new(3);
        let entries: BTreeMap<Bytes, Held> = map
            .iter()
            .map(|((key, version, later), (numbers, bytes))| {
                let (version, sequence) = (*version, version.wrapping_add(*later));
                let key = EntryKey::new(bucket, key, Offset::new(version), Offset::new(sequence));
                (key.as_bytes().clone(), (*numbers, bytes.clone().into()))
            })
            .collect();
        let wanted: Vec<(Bytes, Held)> = entries.clone().into_iter().collect();
        let listed: Entries =
            wanted.iter().cloned().map(|(key, held)| (key, held, None)).collect();
        let table = open(&write(kind, &listed), kind).unwrap();
        prop_assert_eq!(all(&table, usize::MAX), Ok(wanted.clone()));
        prop_assert_eq!(ready(table.verify()), []);
        let mut cursor = table.cursor();
        for (key, held) in wanted.iter().rev() {
            ready(cursor.seek(key)).unwrap();
            prop_assert_eq!((cursor.key(), cursor.value()), (Some(key.as_ref()), Some(value(held))));
        }
    }
}

#[test]
#[should_panic(expected = "keys of a table rise")]
fn keys_that_do_not_rise_are_a_bug() {
    let entry = |key: &'static [u8]| (Bytes::from_static(key), bytes_only(""), None);
    write(TableKind::State, &vec![entry(b"b"), entry(b"b")]);
}

#[test]
fn a_restart_shares_with_the_first_key() {
    let name = |n: u32| Bytes::from(format!("a/long/folder/{n:04}"));
    let entries: Vec<(Bytes, Held)> = (0..33).map(|n| (name(n), bytes_only(""))).collect();
    let bytes = block_of(TableKind::State, &entries);
    assert!(bytes.len() < 200, "{} bytes", bytes.len());
    let block = TableBlock::new(bytes, TableKind::State.form()).unwrap();
    for (key, _) in &entries {
        assert_eq!(block.seek(key).unwrap().unwrap().key, key.as_ref());
    }
    assert!(block.seek(b"b").unwrap().is_none());
}
