use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::memory::{Memory, ready};

const STORE: StoreId = StoreId([3; 16]);
const PARTITION: PartitionId = PartitionId::new(2);

fn file(len: u64) -> FileDigest {
    FileDigest { len, blake3: [len as u8; 32] }
}

fn run(id: u64, level: u8) -> RunMeta {
    RunMeta {
        id: RunId::new(id),
        level,
        first: Offset::new(id * 100),
        below: Offset::new(id * 100 + 100),
        entries: id * 7,
        inline_bytes: id * 8,
        bulk_bytes: id * 9,
        manifest: file(id * 10 + 1),
        sums: file(id * 10 + 2),
        keys: file(id * 10 + 3),
        more: file(id * 10 + 4),
        tags: file(id * 10 + 5),
        state: file(id * 10 + 6),
    }
}

fn golden_catalog() -> Catalog {
    Catalog {
        store: STORE,
        partition: PARTITION,
        generation: Generation::new(12),
        cut: CutNumber::new(9),
        next: Offset::new(700),
        fold_version: FOLD_VERSION,
        time: WallTime::from_micros(1_700_000_000_000_000),
        digest: [0xdd; 32],
        last: [0xaa; 16],
        previous: [0xbb; 32],
        next_segment: SegmentId::new(5),
        next_run: RunId::new(7),
        next_bulk: PerPlace::each(|place| BulkId::of(place, 8 + place as u64)),
        runs: vec![run(4, 1), run(6, 0)],
        segments: vec![
            SegmentMeta {
                id: SegmentId::new(1),
                place: Place::Hot,
                file: file(61),
                references: 3,
                objects: 4,
            },
            SegmentMeta {
                id: SegmentId::new(4),
                place: Place::Cold,
                file: file(62),
                references: 0,
                objects: 1,
            },
        ],
        bulks: vec![BulkFileMeta { id: BulkId::new(7), references: 2 }],
    }
}

/// Makes length and checksum what they would be if the rest were meant.
fn reseal(bytes: &mut [u8]) {
    let whole = bytes.len() as u32;
    let Some(body) = bytes.len().checked_sub(4).filter(|body| *body >= 12) else { return };
    bytes[8..12].copy_from_slice(&whole.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let golden = golden::check("catalog-v5.bin", &golden_catalog().encode().unwrap());
    assert_eq!(Catalog::decode(golden.clone()), Ok(golden_catalog()));
    assert_eq!(golden_catalog().digest_of_encoding(), *blake3::hash(&golden).as_bytes());
}

#[test]
fn what_does_not_fit_its_checksum_is_refused() {
    let bytes = golden_catalog().encode().unwrap();
    let refused = |bytes: Vec<u8>| Catalog::decode(bytes.into()).unwrap_err();
    for at in 0..bytes.len() {
        let mut flipped = bytes.to_vec();
        flipped[at] ^= 0x40;
        assert_eq!(refused(flipped).what, "catalog checksum", "byte {at}");
        assert!(Catalog::decode(bytes.slice(..at)).is_err(), "{at} bytes");
    }
    assert_eq!(refused(Vec::new()), DecodeError { what: "catalog", position: 0 });
    assert_eq!(refused(vec![0; 3]), DecodeError { what: "catalog", position: 0 });
    assert_eq!(refused(vec![0; 4]).what, "catalog magic");
    assert_eq!(refused([&bytes[..], b"\0"].concat()).what, "catalog checksum");
}

#[test]
fn another_magic_or_length_is_refused_though_the_checksum_fits() {
    let bytes = golden_catalog().encode().unwrap();
    let body = bytes.len() - 4;
    for (at, xor) in [(0, 1), (7, 1), (8, 1), (11, 0x80)] {
        let mut other = bytes.to_vec();
        other[at] ^= xor;
        let crc = crc32c::crc32c(&other[..body]);
        other[body..].copy_from_slice(&crc.to_le_bytes());
        let error = Catalog::decode(other.into()).unwrap_err();
        // The version before is told from damage.
        let wanted = match at {
            7 => DecodeError { what: "catalog of version 5", position: 0 },
            _ => DecodeError { what: "catalog checksum", position: body },
        };
        assert_eq!(error, wanted);
    }
}

#[test]
fn a_catalog_that_ends_early_or_late_is_refused_at_its_place() {
    let bytes = golden_catalog().encode().unwrap();
    // Where each field begins, and what its absence is called.
    let fields = [
        (12, "store"),
        (28, "partition"),
        (32, "fold version"),
        (36, "generation"),
        (44, "cut"),
        (52, "next offset"),
        (60, "time"),
        (68, "digest"),
        (100, "hash of the last record"),
        (116, "previous digest"),
        (148, "next segment"),
        (156, "next run"),
        (164, "next bulk file"),
        (172, "next bulk file"),
        (180, "runs"),
        (181, "run"),
        (189, "level"),
        (190, "first offset"),
        (198, "last offset"),
        (206, "entries"),
        (214, "inline bytes"),
        (222, "bulk bytes"),
        (230, "file length"),
        (238, "file digest"),
        (759, "segments"),
        (760, "segment"),
        (768, "place of a segment"),
        (769, "references"),
        (777, "objects"),
        (890, "bulk files"),
        (891, "bulk file"),
        (899, "references"),
    ];
    for (at, what) in fields {
        let mut short = [&bytes[..at], &[0; 4]].concat();
        reseal(&mut short);
        let error = Catalog::decode(short.into()).unwrap_err();
        assert_eq!(error, DecodeError { what, position: at });
    }
    let mut long = [&bytes[..], &[0; 3]].concat();
    reseal(&mut long);
    let error = Catalog::decode(long.into()).unwrap_err();
    assert_eq!(error, DecodeError { what: "end of catalog", position: bytes.len() - 4 });
}

#[test]
fn a_list_has_no_more_items_than_a_catalog_may() {
    let empty = Catalog::first(STORE, PARTITION).encode().unwrap();
    for (at, what) in [(180, "runs"), (181, "segments"), (182, "bulk files")] {
        for (count, is_possible) in [(LIST_MAX as u64, true), (LIST_MAX as u64 + 1, false)] {
            let mut out = Encoder::new();
            out.raw(&empty[..at]).varint(count).u32(0);
            let mut bytes = out.finish().to_vec();
            reseal(&mut bytes);
            let error = Catalog::decode(bytes.into()).unwrap_err();
            // A count within bounds fails for want of its first item.
            assert_eq!(error.what == what && error.position == at, !is_possible, "{error}");
        }
    }
}

#[test]
fn mutated_catalogs_never_panic_and_have_one_encoding() {
    let seeds =
        [golden_catalog().encode().unwrap(), Catalog::first(STORE, PARTITION).encode().unwrap()];
    let mut mutator = Mutator::new(4);
    let mut accepted = 0;
    for round in 0..rounds(40_000) {
        let mut bytes = mutator.mutated(&seeds);
        if round % 8 > 0 {
            reseal(&mut bytes);
        }
        if let Ok(catalog) = Catalog::decode(bytes.clone().into()) {
            assert_eq!(catalog.encode().unwrap(), bytes);
            accepted += usize::from(!seeds.contains(&bytes.into()));
        }
    }
    assert!(accepted > 1000, "the mutations are too coarse: {accepted} passed");
}

fn layout() -> PartitionLayout {
    PartitionLayout::new(PARTITION)
}

fn path(generation: u64, copy: char) -> FilePath {
    layout().catalog(Generation::new(generation), copy)
}

fn generation(number: u64) -> Catalog {
    Catalog { generation: Generation::new(number), ..golden_catalog() }
}

fn mended(memory: &Memory) -> Result<Option<Catalog>, LoadError> {
    ready(mend(&memory.env(), &layout(), STORE, PARTITION))
}

#[test]
fn what_is_published_is_loaded_and_what_was_before_is_gone() {
    let memory = Memory::default();
    assert_eq!(mended(&memory), Ok(None));
    for number in [0, 1, 2] {
        ready(publish(&memory.env(), &layout(), &generation(number))).unwrap();
        assert_eq!(mended(&memory), Ok(Some(generation(number))));
    }
    assert_eq!(memory.names(), [path(2, 'a').as_str(), path(2, 'b').as_str()]);
    assert_eq!(memory.get(&path(2, 'a')), memory.get(&path(2, 'b')));
    // A copy is synced under its temporary name, before it has its own.
    let temporaries = ['b', 'a'].map(|copy| layout().catalog_temporary(copy));
    assert_eq!(memory.synced(), [&temporaries[..]; 3].concat());
}

/// A process that ends between the two renames leaves one copy with its name. That is no loss.
#[test]
fn a_publication_that_was_interrupted_between_its_renames_is_not_damage() {
    let whole = generation(1).encode().unwrap();
    let cases = [
        (Some(&whole[..]), true),
        (None, false),
        (Some(&whole[..whole.len() - 1]), false),
        (Some(&generation(2).encode().unwrap()[..]), false),
    ];
    for (temporary, is_unfinished) in cases {
        let memory = Memory::default();
        memory.put(&path(1, 'b'), &whole);
        if let Some(bytes) = temporary {
            memory.put(&layout().catalog_temporary('a'), bytes);
        }
        let (found, damaged) =
            ready(read(&memory.env(), &layout(), STORE, PARTITION)).expect("one copy is whole");
        assert_eq!(found, Some(generation(1)));
        assert_eq!(damaged.is_empty(), is_unfinished, "{damaged:?}");
        assert_eq!(mended(&memory), Ok(Some(generation(1))));
        assert_eq!(memory.get(&path(1, 'a')), memory.get(&path(1, 'b')), "the start finishes it");
        assert_eq!(memory.get(&layout().catalog_temporary('a')), None);
    }
}

#[test]
fn publishing_over_what_an_earlier_attempt_left_succeeds() {
    let memory = Memory::default();
    memory.put(
        &layout().catalog_temporary('b'),
        b"a longer scrap than any catalog".repeat(99).as_slice(),
    );
    ready(publish(&memory.env(), &layout(), &generation(1))).unwrap();
    assert_eq!(mended(&memory), Ok(Some(generation(1))));
}

#[test]
fn a_later_generation_is_not_removed_by_an_earlier_one() {
    let memory = Memory::default();
    ready(publish(&memory.env(), &layout(), &generation(3))).unwrap();
    ready(publish(&memory.env(), &layout(), &generation(2))).unwrap();
    assert_eq!(mended(&memory), Ok(Some(generation(3))));
}

#[test]
fn the_highest_generation_counts_and_no_other_name_does() {
    let memory = Memory::default();
    for number in [2, 10] {
        memory.put(&path(number, 'b'), &generation(number).encode().unwrap());
    }
    for name in
        ["tmp.a", "0000000011", "0000000011.c", "0000000011.aa", "11.a", "00000000011.a", "x.b"]
    {
        memory.put(&layout().catalog_folder().join(name), b"no catalog");
    }
    assert_eq!(mended(&memory), Ok(Some(generation(10))));
}

#[test]
fn a_copy_that_is_damaged_or_missing_is_mended_from_the_other() {
    for (good, bad) in [('a', 'b'), ('b', 'a')] {
        for damage in [None, Some(&b"rot"[..]), Some(&generation(4).encode().unwrap())] {
            let memory = Memory::default();
            memory.put(&path(5, good), &generation(5).encode().unwrap());
            if let Some(bytes) = damage {
                memory.put(&path(5, bad), bytes);
            }
            // A look changes nothing, and says which copy is bad.
            let (found, damaged) = ready(read(&memory.env(), &layout(), STORE, PARTITION)).unwrap();
            assert_eq!(found, Some(generation(5)));
            assert_eq!(damaged.iter().map(|(copy, _)| *copy).collect::<Vec<_>>(), [bad]);
            assert_eq!(damaged[0].1.file, path(5, bad).as_str());
            assert_eq!(memory.get(&path(5, bad)).as_deref(), damage);
            assert_eq!(mended(&memory), Ok(Some(generation(5))));
            assert_eq!(memory.get(&path(5, bad)), memory.get(&path(5, good)));
        }
    }
}

#[test]
fn an_older_generation_never_stands_in_for_a_damaged_one() {
    let memory = Memory::default();
    ready(publish(&memory.env(), &layout(), &generation(4))).unwrap();
    memory.put(&path(5, 'a'), b"rot");
    let Err(LoadError::Corrupt(corruption)) = mended(&memory) else {
        panic!("the damaged generation was passed over");
    };
    assert_eq!(corruption.file, path(5, 'a').as_str());
    assert!(corruption.detail.contains("missing"), "{corruption}");
    assert!(corruption.detail.contains("catalog"), "{corruption}");
}

#[test]
fn a_device_that_cannot_read_a_copy_costs_that_copy() {
    let memory = Memory::default();
    ready(publish(&memory.env(), &layout(), &generation(4))).unwrap();
    memory.spoil(&path(4, 'a'), 9);
    let (found, damaged) = ready(read(&memory.env(), &layout(), STORE, PARTITION)).unwrap();
    assert_eq!((found, damaged.len()), (Some(generation(4)), 1));
}

#[test]
fn a_foreign_or_newer_catalog_is_refused() {
    let own = generation(3);
    let foreign = [
        Catalog { store: StoreId([4; 16]), ..own.clone() },
        Catalog { partition: PartitionId::ZERO, ..own.clone() },
    ];
    for catalog in foreign {
        let memory = Memory::default();
        memory.put(&path(3, 'a'), &catalog.encode().unwrap());
        assert_eq!(mended(&memory), Err(LoadError::Foreign { file: path(3, 'a') }));
    }
    for (fold_version, is_known) in [(0, false), (4, false), (5, true), (6, false)] {
        let memory = Memory::default();
        let catalog = Catalog { fold_version, ..own.clone() };
        memory.put(&path(3, 'a'), &catalog.encode().unwrap());
        memory.put(&path(3, 'b'), &catalog.encode().unwrap());
        let newer = LoadError::OtherVersion { file: path(3, 'a'), found: fold_version, known: 5 };
        let wanted = if is_known { Ok(Some(catalog)) } else { Err(newer) };
        assert_eq!(mended(&memory), wanted);
    }
}

fn any_file() -> impl Strategy<Value = FileDigest> {
    any::<(u64, [u8; 32])>().prop_map(|(len, blake3)| FileDigest { len, blake3 })
}

fn any_run() -> impl Strategy<Value = RunMeta> {
    let files = (any_file(), any_file(), any_file(), any_file(), any_file(), any_file());
    let sums_of_rows = any::<(u64, u64, u64)>();
    (any::<(u64, u8, u64, u64)>(), sums_of_rows, files).prop_map(
        |((id, level, first, below), of_rows, (manifest, sums, keys, more, tags, state))| RunMeta {
            id: RunId::new(id),
            level,
            first: Offset::new(first),
            below: Offset::new(below),
            entries: of_rows.0,
            inline_bytes: of_rows.1,
            bulk_bytes: of_rows.2,
            manifest,
            sums,
            keys,
            more,
            tags,
            state,
        },
    )
}

proptest! {
    #[test]
    fn a_catalog_comes_back(
        numbers: [u64; 6], time: i64, digest: [u8; 32], previous: [u8; 32], last: [u8; 16], fold_version: u32,
        runs in vec(any_run(), 0..4),
        segments in vec((any::<[u64; 3]>(), any_file()), 0..4),
        bulks in vec(any::<[u64; 2]>(), 0..4),
    ) {
        let segment = |([id, references, objects], file): ([u64; 3], FileDigest)| {
            let place = Place::ALL[id as usize % 2];
            SegmentMeta { id: SegmentId::new(id), place, file, references, objects }
        };
        let bulk = |[id, references]: [u64; 2]| BulkFileMeta { id: BulkId::new(id), references };
        let catalog = Catalog {
            store: STORE,
            partition: PARTITION,
            generation: Generation::new(numbers[0]),
            cut: CutNumber::new(numbers[1]),
            next: Offset::new(numbers[2]),
            fold_version,
            time: WallTime::from_micros(time),
            digest,
            last,
            previous,
            next_segment: SegmentId::new(numbers[3]),
            next_run: RunId::new(numbers[4]),
            next_bulk: PerPlace::each(|place| BulkId::of(place, numbers[5] >> 1)),
            runs,
            segments: segments.into_iter().map(segment).collect(),
            bulks: bulks.into_iter().map(bulk).collect(),
        };
        prop_assert_eq!(Catalog::decode(catalog.encode().unwrap()), Ok(catalog));
    }
}

/// A store acknowledged and cut its way to a catalog that no start could read: a list at the limit is read back,
/// one above it is not written.
#[test]
fn a_list_that_cannot_be_read_back_is_not_written() {
    let with = |segments: usize, bulks: usize| {
        let segment = SegmentMeta {
            id: SegmentId::new(1),
            place: Place::Hot,
            file: FileDigest::default(),
            references: 1,
            objects: 1,
        };
        Catalog {
            segments: vec![segment; segments],
            bulks: vec![BulkFileMeta { id: BulkId::new(1), references: 1 }; bulks],
            ..Catalog::first(STORE, PARTITION)
        }
    };
    let full = with(LIST_MAX, LIST_MAX);
    assert_eq!(full.longest_list().0, LIST_MAX);
    assert_eq!(Catalog::decode(full.encode().unwrap()), Ok(full));
    let (segments, bulks) = (with(LIST_MAX + 1, 0), with(0, LIST_MAX + 1));
    for (catalog, what) in [(segments, "segments"), (bulks, "bulk files")] {
        let error = catalog.encode().unwrap_err();
        assert_eq!((error.what, error.found, error.limit), (what, LIST_MAX + 1, LIST_MAX));
        // Nothing is written of it, and the generation before stands.
        let memory = Memory::default();
        let layout = PartitionLayout::new(PARTITION);
        let first = Catalog { generation: Generation::new(4), ..Catalog::first(STORE, PARTITION) };
        let next = Catalog { generation: Generation::new(5), ..catalog };
        ready(async {
            let env = memory.env();
            publish(&env, &layout, &first).await.unwrap();
            let refused = publish(&env, &layout, &next).await;
            assert!(matches!(refused, Err(PublishError::Encode { .. })), "{refused:?}");
            let found = mend(&env, &layout, STORE, PARTITION).await.unwrap();
            assert_eq!(found, Some(first));
        });
    }
}
