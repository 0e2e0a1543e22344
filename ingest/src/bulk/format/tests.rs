use proptest::prelude::*;

use super::super::fill::ExtentWriter;
use super::*;

/// Written by an implementation of the format page in another language.
const GOLDEN: &[u8] = include_bytes!("../../../tests/golden/bulk-v1.bulk");

fn golden_identity() -> BulkFileId {
    BulkFileId {
        store: StoreId([3; 16]),
        partition: PartitionId::new(2),
        file: BulkId::new(7),
        nonce: 0x0123_4567_89ab_cdef,
    }
}

fn payload(len: usize, step: usize) -> Bytes {
    (0..len).map(|i| (i * step % 251) as u8).collect()
}

fn extent(position: u64, len: u64) -> Extent {
    Extent { file: BulkId::new(7), position, len }
}

/// Lays out an extent from payload in pieces of the given lengths, repeated in turn.
fn lay_out(file: &mut Vec<u8>, extent: Extent, payload: &Bytes, lens: &[usize]) {
    let mut filler = ExtentWriter::new(golden_identity(), extent);
    let mut rest = payload.clone();
    for len in lens.iter().cycle() {
        let mut input = rest.split_to((*len).min(rest.len()));
        while let Some((position, stretch)) = filler.take(&mut input) {
            assert_eq!(position, file.len() as u64, "stretches follow each other");
            file.extend_from_slice(&stretch);
        }
        if filler.is_full() {
            return;
        }
    }
}

fn read_back(file: &[u8], identity: &BulkFileId, extent: &Extent) -> Result<Vec<u8>, String> {
    let mut payload = Vec::new();
    for index in 0..frames(extent) {
        let frame = FrameRef::of(extent, index);
        let start = frame.position as usize;
        let bytes = &file[start..start + frame.bytes()];
        frame.verify(identity, bytes)?;
        payload.extend_from_slice(&bytes[FRAME_HEADER_BYTES..]);
    }
    Ok(payload)
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let identity = golden_identity();
    let mut file = identity.encode().to_vec();
    lay_out(&mut file, extent(4096, 100), &payload(100, 1), &[33]);
    lay_out(&mut file, extent(8192, 65_604), &payload(65_604, 7), &[65_604]);
    assert!(file == GOLDEN, "the format has drifted");
    let found = BulkFileId::decode(GOLDEN, identity.store, identity.partition, identity.file);
    assert_eq!(found, Ok(identity));
    assert_eq!(read_back(GOLDEN, &identity, &extent(4096, 100)).unwrap(), payload(100, 1));
    assert_eq!(read_back(GOLDEN, &identity, &extent(8192, 65_604)).unwrap(), payload(65_604, 7));
}

#[test]
fn one_copy_of_the_header_is_enough() {
    let identity = golden_identity();
    let decode =
        |file: &[u8]| BulkFileId::decode(file, identity.store, identity.partition, identity.file);
    for at in HEADER_COPIES {
        let mut file = GOLDEN.to_vec();
        file[at..at + 512].fill(0xee);
        assert_eq!(decode(&file), Ok(identity));
    }
    let mut file = GOLDEN.to_vec();
    file[..4096].fill(0);
    assert_eq!(decode(&file), Err("no bulk file begins here".into()));
}

#[test]
fn a_header_of_another_file_store_or_version_is_named() {
    let own = golden_identity();
    let decode = |store, partition, file| BulkFileId::decode(GOLDEN, store, partition, file);
    let found = decode(own.store, own.partition, BulkId::new(8)).unwrap_err();
    assert!(found.contains("file 7"), "{found}");
    assert!(decode(StoreId([4; 16]), own.partition, own.file).is_err());
    assert!(decode(own.store, PartitionId::new(0), own.file).is_err());
    let mut newer = own.encode_copy();
    newer[8] = 2;
    let crc = crc32c::crc32c(&newer[..48]);
    newer[48..].copy_from_slice(&crc.to_le_bytes());
    let found = BulkFileId::decode_copy(&newer, own.store, own.partition, own.file);
    assert_eq!(found, Err("version 2 is not known, 1 is".into()));
}

#[test]
fn a_frame_of_another_place_file_or_life_does_not_pass() {
    let own = golden_identity();
    let frame = FrameRef { position: 8192, extent_block: 2, len: 100 };
    let sealed = |identity: &BulkFileId, frame: FrameRef| {
        let mut bytes = [vec![0; FRAME_HEADER_BYTES], payload(100, 1).to_vec()].concat();
        frame.seal(identity, &mut bytes);
        bytes
    };
    assert_eq!(frame.verify(&own, &sealed(&own, frame)), Ok(()));
    let strangers = [
        sealed(&own, FrameRef { position: 12_288, ..frame }),
        sealed(&own, FrameRef { extent_block: 1, ..frame }),
        sealed(&BulkFileId { file: BulkId::new(6), ..own }, frame),
        sealed(&BulkFileId { nonce: 1, ..own }, frame),
        sealed(&BulkFileId { store: StoreId([4; 16]), ..own }, frame),
        sealed(&BulkFileId { partition: PartitionId::ZERO, ..own }, frame),
        vec![0; frame.bytes()],
    ];
    for stranger in strangers {
        assert!(frame.verify(&own, &stranger).is_err());
    }
    assert!(frame.verify(&own, &sealed(&own, frame)[..131]).is_err());
    assert!(FrameRef { len: 99, ..frame }.verify(&own, &sealed(&own, frame)[..131]).is_err());
}

#[test]
fn extents_that_cannot_be_are_refused() {
    for (position, len) in
        [(0, 1), (4095, 1), (4097, 1), (u64::MAX - 4095, 1), (4096, u64::MAX), (FILE_END_MAX, 1)]
    {
        assert!(check_extent(&extent(position, len)).is_err(), "{len} bytes at {position}");
    }
    assert_eq!(check_extent(&extent(4096, 0)), Ok(()));
    assert_eq!(check_extent(&extent(FILE_END_MAX - 4096, 4064)), Ok(()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn payload_comes_back_however_it_came(
        len in prop_oneof![1usize..5000, 60_000usize..70_000, 250_000usize..400_000],
        lens in prop::collection::vec(1usize..100_000, 1..8),
    ) {
        let (extent, payload) = (extent(4096, len as u64), payload(len, 3));
        let mut file = golden_identity().encode().to_vec();
        lay_out(&mut file, extent, &payload, &lens);
        prop_assert_eq!(file.len() as u64, 4096 + span(extent.len));
        prop_assert_eq!(read_back(&file, &golden_identity(), &extent).unwrap(), payload);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        position: u64, len: u64, index: u64, cut in 0usize..200,
    ) {
        let own = golden_identity();
        let _ = BulkFileId::decode(&bytes, own.store, own.partition, own.file);
        let _ = BulkFileId::decode(&GOLDEN[..cut], own.store, own.partition, own.file);
        let frame = FrameRef { position, extent_block: 1, len: len as u32 };
        prop_assert!(frame.verify(&own, &bytes).is_err());
        let extent = extent(position, len);
        if check_extent(&extent).is_ok() && frames(&extent) > 0 {
            let _ = FrameRef::of(&extent, index % frames(&extent));
        }
    }

    #[test]
    fn what_has_capacity_fits(blocks in 0u64..100_000, len in 0u64..1 << 50) {
        let room = blocks * BLOCK;
        prop_assert!(span(capacity(room)) <= room);
        prop_assert!(span(capacity(room) + 1) > room);
        prop_assert!(capacity(span(len)) >= len);
    }
}
