use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, UInt8Array, UInt64Array,
};
use bytes::Bytes;
use ingest::entry::{SegmentLocation, StorageClass, StoredChecksum};
use ingest::env::FilePath;
use ingest::ids::{BulkId, RunId, SegmentId};
use ingest::log::ReadError;
use ingest::time::WallTime;
use parquet::arrow::ArrowWriter;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use proptest::prelude::*;

use super::row::ObjectColumns;
use super::sums::{self, SUM_BLOCK, SumsBuilder};
use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::index_value::IndexValueKind;
use crate::memory::{Memory, ready};
use crate::sealed::FileDigest;

const RUN: RunId = RunId::new(5);

fn path() -> FilePath {
    FilePath::new("p0000/runs/0000000005.parquet")
}

fn sums_path() -> FilePath {
    FilePath::new("p0000/runs/0000000005.sums")
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn row(name: &str, version: u64, kind: IndexValueKind) -> ManifestRow {
    let has_maker = matches!(kind, IndexValueKind::Object | IndexValueKind::Marker);
    ManifestRow {
        bucket: 3,
        key: name.into(),
        version,
        sequence: version + 1,
        kind,
        is_null: kind == IndexValueKind::NullTombstone,
        created: WallTime::from_micros(if has_maker { 1_700_000_000_000_000 } else { 0 }),
        object: None,
        owner: if has_maker { "owner".into() } else { String::new() },
        header: SegmentLocation { segment: SegmentId::new(9), position: 60, index: version as u32 },
        payload_segment: None,
        bulk_files: Vec::new(),
        is_latest: kind == IndexValueKind::Marker,
    }
}

/// Every kind, with everything that an object may have and with nothing.
fn rows() -> Vec<ManifestRow> {
    let digest = Bytes::from_static(&[1, 2, 3, 4]);
    let full = ObjectColumns {
        size: 65_604,
        md5: [0x11; 16],
        parts: 2,
        content_type: Some("text/plain".into()),
        headers: vec![pair("cache-control", "no-cache"), pair("expires", "")],
        metadata: vec![pair("colour", "grün")],
        tags: vec![pair("a b", "c=d")],
        checksums: vec![
            StoredChecksum { algorithm: 2, is_composite: false, digest },
            StoredChecksum { algorithm: 5, is_composite: true, digest: vec![9; 32].into() },
        ],
        storage_class: StorageClass::GlacierIr,
    };
    let empty = ObjectColumns {
        size: 0,
        md5: [0; 16],
        parts: 0,
        content_type: None,
        headers: Vec::new(),
        metadata: Vec::new(),
        tags: Vec::new(),
        checksums: Vec::new(),
        storage_class: StorageClass::Standard,
    };
    vec![
        ManifestRow {
            object: Some(full),
            payload_segment: Some(SegmentId::new(4)),
            bulk_files: vec![BulkId::new(7), BulkId::new(300)],
            ..row("a/ä", 42, IndexValueKind::Object)
        },
        ManifestRow {
            object: Some(empty),
            is_null: true,
            ..row("a/ä", 41, IndexValueKind::Object)
        },
        ManifestRow { is_null: true, ..row("b", 43, IndexValueKind::Marker) },
        row("c", 44, IndexValueKind::Tombstone),
        row("d", 45, IndexValueKind::NullTombstone),
        ManifestRow {
            bucket: u64::MAX,
            version: u64::MAX,
            sequence: u64::MAX,
            ..row("e", 0, IndexValueKind::Marker)
        },
    ]
}

fn write(rows: &[ManifestRow]) -> (Vec<u8>, Vec<u8>) {
    let memory = Memory::default();
    let digests = ready(async {
        let disk = memory.disk();
        let mut writer = ManifestWriter::create(&disk, &path(), &sums_path(), RUN).await.unwrap();
        for row in rows {
            writer.push(row.clone()).await.unwrap();
        }
        writer.finish().await.unwrap()
    });
    let files = (memory.get(&path()).unwrap(), memory.get(&sums_path()).unwrap());
    let digest =
        |bytes: &[u8]| FileDigest { len: bytes.len() as u64, blake3: blake3::hash(bytes).into() };
    assert_eq!(digests, (digest(&files.0), digest(&files.1)));
    files
}

/// Opens a manifest that lies beside its sums.
fn open(memory: &Memory) -> Result<Arc<Manifest>, ReadError> {
    let digest = |path: &FilePath| FileDigest {
        len: memory.get(path).unwrap().len() as u64,
        ..FileDigest::default()
    };
    let (digest, sums_digest) = (digest(&path()), digest(&sums_path()));
    let disk = memory.disk();
    ready(Manifest::open(&disk, &path(), &sums_path(), RUN, &digest, &sums_digest))
}

/// All rows of a manifest that lies beside its sums.
fn read(memory: &Memory) -> Result<Vec<ManifestRow>, ReadError> {
    let manifest = open(memory)?;
    ready(async {
        let mut cursor = manifest.cursor()?;
        let mut rows = Vec::new();
        while let Some(row) = cursor.next().await? {
            rows.push(row);
        }
        Ok(rows)
    })
}

fn read_files(manifest: &[u8], sums: &[u8]) -> Result<Vec<ManifestRow>, ReadError> {
    let memory = Memory::default();
    memory.put(&path(), manifest);
    memory.put(&sums_path(), sums);
    read(&memory)
}

fn sums_of(manifest: &[u8]) -> Bytes {
    let mut summer = SumsBuilder::new(RUN);
    summer.add(manifest);
    summer.finish()
}

#[test]
fn the_golden_file_is_still_read_and_its_sums_are_ours() {
    // Parquet's bytes are the library's; what it once wrote must be readable, and the sums over it are
    // pinned to the byte.
    let golden = golden::read("manifest-v4.parquet", || write(&rows()).0);
    let golden_sums = golden::check("manifest-v4.sums", &sums_of(&golden));
    assert_eq!(read_files(&golden, &golden_sums), Ok(rows()));
}

#[test]
fn what_is_written_today_is_read() {
    let (manifest, sums) = write(&rows());
    assert_eq!(sums, sums_of(&manifest));
    assert_eq!(read_files(&manifest, &sums), Ok(rows()));
    let (manifest, sums) = write(&[]);
    assert_eq!(read_files(&manifest, &sums), Ok(Vec::new()));
}

#[test]
fn the_columns_are_those_of_the_page() {
    let page = include_str!("../../../docs/formats/manifest.md");
    let columns = page.split("## Columns").nth(1).unwrap().split("## Sums").next().unwrap();
    let cells = columns.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let named: Vec<&str> = cells.flat_map(|cell| cell.split(", ")).skip(1).collect();
    let schema = schema();
    let found: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(found, named);
}

#[test]
fn pages_are_described_for_all_columns_but_those_that_are_never_asked_for() {
    let (manifest, sums) = write(&rows());
    let memory = Memory::default();
    memory.put(&path(), &manifest);
    memory.put(&sums_path(), &sums);
    let opened = open(&memory).unwrap();
    let metadata = opened.metadata().metadata();
    let columns = metadata.file_metadata().schema_descr().columns();
    let pages = &metadata.column_index().unwrap()[0];
    let undescribed = columns.iter().zip(pages);
    let undescribed = undescribed.filter(|(_, pages)| matches!(pages, ColumnIndexMetaData::NONE));
    let undescribed = undescribed.map(|(column, _)| column.path().string());
    let mut undescribed: Vec<String> = undescribed.collect();
    let of_groups = ["version", "kind", "is_null_version", "is_latest"];
    undescribed.retain(|name| !of_groups.contains(&name.as_str()));
    assert_eq!(undescribed, writer::UNASKED);
    let described = columns.iter().zip(metadata.row_group(0).columns());
    let described = described.filter(|(_, chunk)| chunk.statistics().is_some()).count();
    assert_eq!(described + undescribed.len(), columns.len());
}

/// Many rows, so that there are several pages, and several blocks under sums.
fn many() -> Vec<ManifestRow> {
    let mut mutator = Mutator::new(15);
    let row = |number: u64| {
        let mut row = rows()[0].clone();
        row.key = format!("folder/{number:06}");
        let object = row.object.as_mut().unwrap();
        object.md5 =
            [mutator.next(), mutator.next()].map(u64::to_le_bytes).concat().try_into().unwrap();
        row
    };
    (0..2500).map(row).collect()
}

#[test]
fn every_flipped_byte_is_found() {
    let (manifest, sums) = write(&many());
    assert!(manifest.len() as u64 > 2 * SUM_BLOCK, "{} bytes", manifest.len());
    let mut mutator = Mutator::new(16);
    for round in 0..rounds(60) {
        let mut flipped = (manifest.clone(), sums.clone());
        let file = if round % 3 == 0 { &mut flipped.1 } else { &mut flipped.0 };
        let at = mutator.below(file.len());
        file[at] ^= 1 << mutator.below(8);
        let error = read_files(&flipped.0, &flipped.1).unwrap_err();
        let ReadError::Corrupt(corruption) = error else { panic!("{error}") };
        let wanted = if round % 3 == 0 { sums_path() } else { path() };
        assert_eq!(corruption.file, wanted.as_str());
        if round % 3 > 0 {
            assert_eq!(corruption.position, at as u64 / SUM_BLOCK * SUM_BLOCK);
        }
    }
}

#[test]
fn sums_of_another_run_or_length_are_refused() {
    let (manifest, sums) = write(&many());
    let len = manifest.len() as u64;
    let sums = Bytes::from(sums);
    assert_eq!(sums::decode(sums.clone(), RUN, len).unwrap().len() as u64, len.div_ceil(SUM_BLOCK));
    assert!(sums::decode(sums.clone(), RUN.next(), len).is_err());
    for other in [0, len - 1, len + 1, len + SUM_BLOCK, u64::MAX] {
        assert!(sums::decode(sums.clone(), RUN, other).is_err(), "{other} bytes");
    }
    // Two blocks in each other's place.
    let blocks = SUM_BLOCK as usize;
    let swapped =
        [&manifest[blocks..2 * blocks], &manifest[..blocks], &manifest[2 * blocks..]].concat();
    assert!(read_files(&swapped, &sums).is_err());
}

fn reseal(sums: &mut [u8]) {
    let Some(body) = sums.len().checked_sub(4) else { return };
    let crc = crc32c::crc32c(&sums[..body]);
    sums[body..].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn mutated_sums_never_panic_and_have_one_encoding() {
    let manifest: Vec<u8> = (0..3 * SUM_BLOCK + 5).map(|n| n as u8).collect();
    let seeds = [sums_of(&manifest), sums_of(&manifest[..9]), sums_of(b"")];
    let mut mutator = Mutator::new(17);
    let mut accepted = 0;
    for _ in 0..rounds(30_000) {
        let mut bytes = mutator.mutated(&seeds);
        reseal(&mut bytes);
        for len in [manifest.len() as u64, 9, 0, mutator.edge(bytes.len())] {
            if let Ok(sums) = sums::decode(bytes.clone().into(), RUN, len) {
                assert_eq!(bytes.len(), 32 + 4 * sums.len());
                accepted += 1;
            }
        }
    }
    assert!(accepted > 1000, "the sums are hardly reached: {accepted}");
}

#[test]
fn a_manifest_with_other_columns_is_refused() {
    let column: ArrayRef = Arc::new(UInt64Array::from(vec![1, 2]));
    let batch = RecordBatch::try_from_iter([("bucket_id", column)]).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let error = read_files(&bytes, &sums_of(&bytes)).unwrap_err();
    assert!(error.to_string().contains("corrupt"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rows_come_back(
        numbers in proptest::collection::vec(
            (any::<u64>(), ".{1,20}", any::<u64>(), any::<i64>(), any::<u16>(), 0usize..5),
            0..50,
        ),
    ) {
        let rows: Vec<ManifestRow> = numbers
            .into_iter()
            .map(|(bucket, key, version, created, parts, like)| {
                let mut row = rows()[like].clone();
                (row.bucket, row.key, row.version) = (bucket, key, version);
                row.created = WallTime::from_micros(created);
                if let Some(object) = &mut row.object {
                    object.parts = parts;
                    object.size = version >> 1;
                }
                row
            })
            .collect();
        let (manifest, sums) = write(&rows);
        prop_assert_eq!(read_files(&manifest, &sums), Ok(rows));
    }
}

/// A manifest with one row, of which one column has been replaced.
fn with_column(name: &str, column: ArrayRef) -> Result<Vec<ManifestRow>, ReadError> {
    let batch = record_batch(&rows()[..1]).unwrap();
    let at = schema().index_of(name).unwrap();
    let mut columns = batch.columns().to_vec();
    columns[at] = column;
    let batch = RecordBatch::try_new(schema(), columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    read_files(&bytes, &sums_of(&bytes))
}

#[test]
fn a_row_that_cannot_be_is_refused() {
    let cases: [(&str, ArrayRef); 7] = [
        ("kind", Arc::new(UInt8Array::from(vec![0]))),
        ("kind", Arc::new(UInt8Array::from(vec![5]))),
        ("size", Arc::new(Int64Array::from(vec![-1]))),
        ("parts", Arc::new(Int32Array::from(vec![-1]))),
        ("parts", Arc::new(Int32Array::from(vec![65_536]))),
        ("checksums", Arc::new(BinaryArray::from(vec![&b"\x02"[..]]))),
        ("checksums", Arc::new(BinaryArray::from(vec![&b"\x02\x00\x04abc"[..]]))),
    ];
    for (name, column) in cases {
        let error = with_column(name, column).unwrap_err();
        assert!(error.to_string().contains("a row cannot be decoded"), "{name}: {error}");
    }
    let same = with_column("kind", Arc::new(UInt8Array::from(vec![1])));
    assert_eq!(same, Ok(rows()[..1].to_vec()));
}

/// Parquet's own decoder is not total: behind checksums that fit, a mutated file may make it panic. No
/// such file comes from a disk, since every byte is verified before that decoder sees it. So this does
/// not check that nothing panics, only that nothing worse happens, and that no read goes beyond the file.
#[test]
fn a_mutated_manifest_behind_good_sums_is_refused_or_read() {
    let (manifest, _) = write(&rows());
    let mut mutator = Mutator::new(18);
    let (mut refused, mut read_whole, mut panicked) = (0, 0, 0);
    for _ in 0..rounds(600) {
        let bytes = mutator.mutated(&[&manifest]);
        let memory = Memory::default();
        memory.put(&path(), &bytes);
        memory.put(&sums_path(), &sums_of(&bytes));
        match catch_unwind(AssertUnwindSafe(|| read(&memory))) {
            Ok(Ok(_)) => read_whole += 1,
            Ok(Err(ReadError::Corrupt(_))) => refused += 1,
            Ok(Err(error)) => panic!("{error}"),
            Err(_) => panicked += 1,
        }
        assert!(memory.longest_read() <= bytes.len().max(32 + 4));
    }
    assert!(refused > 100 && read_whole > 10, "{refused} refused, {read_whole} read");
    assert!(panicked * 10 < refused, "{panicked} panics, {refused} refused");
}
