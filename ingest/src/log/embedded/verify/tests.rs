use bytes::Bytes;

use super::*;
use crate::env::FilePath;
use crate::ids::StoreId;
use crate::log::embedded::file_path;
use crate::memory::{Memory, ready};
use crate::time::WallTime;

const PARTITION: PartitionId = PartitionId::new(2);
const FILE_BYTES: u64 = 16 * BLOCK;

fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: StoreId([3; 16]),
        file_bytes: FILE_BYTES,
        queue_bytes: 1 << 20,
        reserve_bytes: 0,
        is_begun: false,
    }
}

fn header(position: u64, base: u64, durable: u64, previous: u128) -> BatchHeader {
    BatchHeader {
        position,
        time: WallTime::default(),
        base: Offset::new(base),
        count: 0,
        records_len: 0,
        hashes: 0,
        durable: Offset::new(durable),
        previous,
        body_hash: 0,
    }
}

fn identity(number: u64) -> LogFileId {
    LogFileId { store: options().store, partition: PARTITION, file: number }
}

/// The link that a batch behind the last one of a file names; 0 where there is no such file.
fn chain_of(memory: &Memory, number: u64) -> u128 {
    let path = file_path(&options().partition_folder(PARTITION), number);
    let Some(file) = memory.get(&path) else { return 0 };
    let identity = identity(number);
    let batches = (BLOCK..FILE_BYTES).step_by(BLOCK as usize);
    let found = batches.map_while(|at| {
        let bytes = file.get(at as usize..at as usize + HEADER_BYTES)?;
        BatchHeader::decode(bytes, &identity, at, false)
    });
    found.last().map_or(0, |header| header.chain(&identity))
}

/// A file with batches of one record each, from `base` on; each calls durable what is before it.
fn put(memory: &Memory, number: u64, base: u64, batches: u64) -> FilePath {
    let identity = identity(number);
    let mut chain = chain_of(memory, number - 1);
    let begun = FileHeader { base: Offset::new(base), previous: chain, durable: Offset::new(base) };
    let mut file = begun.encode(&identity).to_vec();
    for (position, base) in (BLOCK..).step_by(BLOCK as usize).zip(base..base + batches) {
        let header = header(position, base, base, chain);
        let records = [Bytes::from_static(b"record")];
        let (header, bytes, _) = batch::encode(&identity, header, &records, &[]);
        file.extend_from_slice(&bytes);
        chain = header.chain(&identity);
    }
    file.resize(FILE_BYTES as usize, 0);
    let path = file_path(&options().partition_folder(PARTITION), number);
    memory.put(&path, &file);
    path
}

fn verify_in(memory: &Memory, floor: u64) -> Vec<Corruption> {
    let env = memory.env();
    ready(verify(&env, &options(), PARTITION, Offset::new(floor))).unwrap()
}

fn damage(memory: &Memory, path: &FilePath, at: u64) {
    let mut file = memory.get(path).unwrap();
    file[at as usize] ^= 1;
    memory.put(path, &file);
}

#[test]
fn a_whole_log_has_no_fault() {
    let memory = Memory::default();
    assert_eq!(verify_in(&memory, 0), []);
    put(&memory, 1, 10, 3);
    put(&memory, 2, 13, 2);
    for floor in [10, 12, 13, 14, 15] {
        assert_eq!(verify_in(&memory, floor), [], "floor {floor}");
    }
}

#[test]
fn a_damaged_batch_is_named_if_it_was_durable() {
    for (at, is_fault) in [(BLOCK + 140, true), (2 * BLOCK + 5, true), (3 * BLOCK + 140, false)] {
        let memory = Memory::default();
        let path = put(&memory, 1, 10, 3);
        damage(&memory, &path, at);
        let faults = verify_in(&memory, 10);
        assert_eq!(faults.len(), usize::from(is_fault), "byte {at}");
        for fault in faults {
            assert_eq!((fault.file.as_str(), fault.position), (path.as_str(), at / BLOCK * BLOCK));
        }
        assert_eq!(verify_in(&memory, 13), [], "what is below the floor is folded");
    }
}

/// An empty batch carries the mark alone. Recovery follows the chain and stops at a damaged one; a
/// check that only counted records found no damage.
#[test]
fn a_damaged_empty_batch_is_named() {
    let memory = Memory::default();
    let path = put(&memory, 1, 10, 1);
    let mut file = memory.get(&path).unwrap();
    let mut chain = chain_of(&memory, 1);
    for (at, records) in [(2, vec![]), (3, vec![Bytes::from_static(b"record")]), (4, vec![])] {
        let durable = 11 + u64::from(at == 4);
        let header = header(at * BLOCK, durable, durable, chain);
        let (header, bytes, _) = batch::encode(&identity(1), header, &records, &[]);
        file[(at * BLOCK) as usize..][..bytes.len()].copy_from_slice(&bytes);
        chain = header.chain(&identity(1));
    }
    memory.put(&path, &file);
    assert_eq!(verify_in(&memory, 10), []);
    damage(&memory, &path, 2 * BLOCK + 20);
    let faults = verify_in(&memory, 10);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].position, 2 * BLOCK);
}

#[test]
fn damage_below_the_floor_is_no_fault_of_what_stands_above() {
    for (floor, at) in [(11, BLOCK), (12, 2 * BLOCK), (14, BLOCK)] {
        let memory = Memory::default();
        let path = put(&memory, 1, 10, 5);
        damage(&memory, &path, at + 140);
        assert_eq!(verify_in(&memory, floor), [], "floor {floor}");
    }
}

#[test]
fn a_log_that_is_not_there_is_named() {
    let memory = Memory::default();
    assert_eq!(verify_in(&memory, 5).len(), 1);
    let begun = EmbeddedLogOptions { is_begun: true, ..options() };
    assert_eq!(ready(verify(&memory.env(), &begun, PARTITION, Offset::ZERO)).unwrap().len(), 1);
    put(&memory, 1, 10, 3);
    assert!(verify_in(&memory, 9)[0].detail.starts_with("offsets 9 to 10"));
    // Both marks are missing.
    assert_eq!(ready(verify(&memory.env(), &begun, PARTITION, Offset::new(10))).unwrap().len(), 1);
}

#[test]
fn a_missing_file_is_named() {
    let memory = Memory::default();
    put(&memory, 1, 10, 3);
    put(&memory, 3, 15, 1);
    let faults = verify_in(&memory, 10);
    assert_eq!(faults.len(), 1);
    assert!(faults[0].detail.starts_with("offsets 13 to 15 were durable"), "{}", faults[0]);
}

#[test]
fn a_batch_that_says_it_is_longer_than_its_file_is_not_read() {
    // The header's checksum fits, so only the file's length contradicts it: 36 GiB were requested once.
    let memory = Memory::default();
    let path = put(&memory, 1, 10, 3);
    let mut file = memory.get(&path).unwrap();
    let batch = &mut file[2 * BLOCK as usize..];
    batch[72..80].fill(0xff);
    let crc = crc32c::crc32c(&batch[..HEADER_BYTES - 4]);
    batch[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    memory.put(&path, &file);
    assert_eq!(verify_in(&memory, 10).len(), 1);
    assert!(memory.longest_read() as u64 <= FILE_BYTES, "{}", memory.longest_read());
}

#[test]
fn offsets_at_their_end_do_not_overflow() {
    let memory = Memory::default();
    put(&memory, 1, u64::MAX - 1, 1);
    let identity = LogFileId { store: options().store, partition: PARTITION, file: 1 };
    let records = [Bytes::from_static(b"record"), Bytes::new()];
    let header = header(2 * BLOCK, u64::MAX, 0, 0);
    let (_, bytes, _) = batch::encode(&identity, header, &records, &[]);
    let path = file_path(&options().partition_folder(PARTITION), 1);
    let mut file = memory.get(&path).unwrap();
    file[2 * BLOCK as usize..][..bytes.len()].copy_from_slice(&bytes);
    memory.put(&path, &file);
    assert_eq!(verify_in(&memory, u64::MAX - 1), []);
}
