use proptest::prelude::*;

use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;

const IDENTITY: LogFileId =
    LogFileId { store: StoreId([3; 16]), partition: PartitionId::new(2), file: 7 };

fn header(position: u64, base: u64, durable: u64, previous: u128) -> BatchHeader {
    BatchHeader {
        position,
        time: WallTime::from_micros(1_700_000_000_000_000),
        base: Offset::new(base),
        count: 0,
        records_len: 0,
        hashes: 0,
        durable: Offset::new(durable),
        previous,
        body_hash: 0,
    }
}

fn records() -> Vec<Bytes> {
    vec![Bytes::from_static(b"the first record"), Bytes::new(), Bytes::from_static(b"the third")]
}

const HASHES: [u64; 3] = [0x1111_2222_3333_4444, 0, u64::MAX];

/// A file with its header, a batch of three records, and the empty batch that carries the mark.
fn golden_file() -> (FileHeader, [BatchHeader; 2], Vec<u8>) {
    let begun =
        FileHeader { base: Offset::new(40), previous: 0xabcd_ef01 << 64, durable: Offset::new(39) };
    let mut file = begun.encode(&IDENTITY).to_vec();
    let (first, bytes, _) =
        encode(&IDENTITY, header(4096, 40, 40, begun.previous), &records(), &[]);
    file.extend_from_slice(&bytes);
    let chain = first.chain(&IDENTITY);
    let (second, bytes, _) = encode(&IDENTITY, header(8192, 43, 43, chain), &[], &HASHES);
    file.extend_from_slice(&bytes);
    (begun, [first, second], file)
}

fn body<'a>(file: &'a [u8], header: &BatchHeader) -> &'a [u8] {
    let start = header.position as usize + HEADER_BYTES;
    &file[start..start + header.body_len()]
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let (begun, [first, second], file) = golden_file();
    let golden = golden::check("log-v1.log", &file);
    assert_eq!(FileHeader::decode(&golden, &IDENTITY), Some(begun));
    assert_eq!(BatchHeader::decode(&golden[4096..], &IDENTITY, 4096, false), Some(first));
    assert_eq!(BatchHeader::decode(&golden[8192..], &IDENTITY, 8192, false), Some(second));
    let first_body = Bytes::copy_from_slice(body(&golden, &first));
    assert!(body_fits(&first, &first_body));
    let found = frames(&first, &first_body).unwrap();
    let places = [4096 + 136, 4096 + 136 + 24, 4096 + 136 + 24 + 8];
    let wanted: Vec<(u64, Bytes)> = places.into_iter().zip(records()).collect();
    assert_eq!(found, wanted);
    for (position, record) in found {
        let at = position as usize;
        assert_eq!(golden[at..at + 4], (record.len() as u32).to_le_bytes());
        let crc = frame_crc(&IDENTITY, position, &record);
        assert_eq!(golden[at + 4..at + 8], crc.to_le_bytes());
    }
    let second_body = body(&golden, &second);
    assert!(body_fits(&second, second_body));
    assert_eq!(hashes_before(&second, second_body), HASHES);
    assert_eq!(frames(&second, &Bytes::copy_from_slice(second_body)), Some(Vec::new()));
    assert_eq!((first.span(), second.span()), (4096, 4096));
}

#[test]
fn a_header_of_another_store_file_or_place_does_not_pass() {
    let (_, _, file) = golden_file();
    let strangers = [
        LogFileId { store: StoreId([4; 16]), ..IDENTITY },
        LogFileId { partition: PartitionId::ZERO, ..IDENTITY },
        LogFileId { file: 8, ..IDENTITY },
    ];
    for stranger in strangers {
        assert_eq!(FileHeader::decode(&file, &stranger), None);
        assert_eq!(BatchHeader::decode(&file[4096..], &stranger, 4096, false), None);
    }
    assert_eq!(BatchHeader::decode(&file[4096..], &IDENTITY, 8192, false), None);
    assert_eq!(
        BatchHeader::decode(&file[4096..4096 + HEADER_BYTES - 1], &IDENTITY, 4096, false),
        None
    );
    // With `any_file` only the file's number may differ.
    assert!(BatchHeader::decode(&file[4096..], &strangers[2], 4096, true).is_some());
    assert_eq!(BatchHeader::decode(&file[4096..], &strangers[0], 4096, true), None);
}

#[test]
fn only_a_batch_of_another_file_number_is_of_an_earlier_life() {
    let (_, _, file) = golden_file();
    let reused = LogFileId { file: 8, ..IDENTITY };
    assert!(is_of_earlier_life(&file[4096..], &reused));
    assert!(!is_of_earlier_life(&file[4096..], &IDENTITY));
    let foreign = LogFileId { store: StoreId([4; 16]), ..reused };
    assert!(!is_of_earlier_life(&file[4096..], &foreign));
    assert!(!is_of_earlier_life(&[0; 4096], &reused));
    assert!(!is_of_earlier_life(&file[4096..4100], &reused));
}

#[test]
fn frames_that_do_not_add_up_are_refused() {
    let (_, [first, _], file) = golden_file();
    let body = Bytes::copy_from_slice(body(&file, &first));
    for count in [0, 1, 2, 4, u32::MAX] {
        assert_eq!(frames(&BatchHeader { count, ..first }, &body), None, "{count} records");
    }
    for records_len in [0, first.records_len - 1] {
        assert_eq!(
            frames(&BatchHeader { records_len, ..first }, &body),
            None,
            "{records_len} bytes"
        );
    }
    for len in [17u32, 1 << 16, u32::MAX] {
        let mut longer = body.to_vec();
        longer[..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(frames(&first, &longer.into()), None, "a record of {len} bytes");
    }
}

/// Makes the checksums of a file header and two batches fit their changed content.
fn reseal(file: &mut [u8]) {
    let seal = |bytes: &mut [u8], at: usize| {
        if bytes.len() >= at + 4 {
            let crc = crc32c::crc32c(&bytes[..at]);
            bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        }
    };
    seal(file, FILE_HEADER_BYTES - 4);
    for start in [4096, 8192] {
        let Some(batch) = file.get_mut(start..).filter(|batch| batch.len() >= HEADER_BYTES) else {
            continue;
        };
        let number = |at: usize| u32::from_le_bytes(*batch[at..].first_chunk().unwrap()) as usize;
        let body = HEADER_BYTES..HEADER_BYTES + number(72) + 8 * number(76);
        if let Some(body) = batch.get(body) {
            let hash = xxh3_128(body).to_le_bytes();
            batch[96..112].copy_from_slice(&hash);
        }
        seal(batch, HEADER_BYTES - 4);
    }
}

#[test]
fn mutated_files_never_panic() {
    let mut mutator = Mutator::new(2);
    let (begun, headers, file) = golden_file();
    // Otherwise nearly all mutations would hit the zeros between the batches.
    let used = [0..FILE_HEADER_BYTES, 4096..4096 + 200, 8192..8192 + 200];
    let pieces: Vec<&[u8]> = used.iter().map(|range| &file[range.clone()]).collect();
    let (mut sealed, mut framed) = (0, 0);
    for round in 0..rounds(20_000) {
        let mut other = file.clone();
        let at = mutator.below(used.len());
        let piece = mutator.mutated(&pieces[at..=at]);
        let len = piece.len().min(4096);
        other[used[at].start..used[at].start + len].copy_from_slice(&piece[..len]);
        other.truncate(if mutator.below(8) == 0 { mutator.below(file.len()) } else { file.len() });
        let is_resealed = round % 2 == 0;
        if is_resealed {
            reseal(&mut other);
        }
        let is_same = |found: FileHeader| is_resealed || found == begun;
        assert!(FileHeader::decode(&other, &IDENTITY).is_none_or(is_same));
        for before in headers {
            let bytes = other.get(before.position as usize..).unwrap_or_default();
            let _ = is_of_earlier_life(bytes, &IDENTITY);
            let Some(header) = BatchHeader::decode(bytes, &IDENTITY, before.position, false) else {
                continue;
            };
            assert!(is_resealed || header == before);
            let _ = (header.chain(&IDENTITY), header.span());
            let Some(body) = bytes.get(HEADER_BYTES..HEADER_BYTES + header.body_len()) else {
                continue;
            };
            if body_fits(&header, body) {
                sealed += usize::from(header != before);
                let body = Bytes::copy_from_slice(body);
                framed += frames(&header, &body).map_or(0, |frames| frames.len());
                assert_eq!(hashes_before(&header, &body).len(), header.hashes as usize);
            }
        }
    }
    assert!(sealed > 100 && framed > 100, "the frames are hardly reached: {sealed}, {framed}");
}

proptest! {
    #[test]
    fn a_batch_comes_back(
        records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20),
        hashes: Vec<u64>, block in 1u64..1 << 40, base: u64, durable: u64, previous: u128,
    ) {
        let records: Vec<Bytes> = records.into_iter().map(Bytes::from).collect();
        let position = block * BLOCK;
        let wanted = header(position, base, durable, previous);
        let (wanted, bytes, places) = encode(&IDENTITY, wanted, &records, &hashes);
        prop_assert_eq!(bytes.len() as u64, wanted.span());
        let found = BatchHeader::decode(&bytes, &IDENTITY, position, false);
        prop_assert_eq!(found, Some(wanted));
        let body = bytes.freeze().slice(HEADER_BYTES..HEADER_BYTES + wanted.body_len());
        prop_assert!(body_fits(&wanted, &body));
        let found = frames(&wanted, &body).unwrap();
        prop_assert_eq!(found, places.into_iter().zip(records).collect::<Vec<_>>());
        prop_assert_eq!(hashes_before(&wanted, &body), hashes);
    }

    #[test]
    fn a_file_header_comes_back(base: u64, previous: u128, durable: u64) {
        let wanted =
            FileHeader { base: Offset::new(base), previous, durable: Offset::new(durable) };
        prop_assert_eq!(FileHeader::decode(&wanted.encode(&IDENTITY), &IDENTITY), Some(wanted));
    }
}
