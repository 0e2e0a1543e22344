//! Recovery on files that are laid out byte by byte. Each branch and each kind of content of a disk is
//! tested here; crashes are tested in the simulator.

use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::log::embedded::layer::{
    FILE_BYTES, Layer, PARTITION, THREE, change, folder, hash, identity, options, path, three,
};
use crate::log::embedded::mark::Marker;
use crate::log::embedded::repair::repair;
use crate::log::embedded::verify::verify;
use crate::memory::{Disturbance, Memory, ready};

fn recover_from(memory: &Memory, floor: u64) -> RecoveredLog {
    let floor = Offset::new(floor);
    ready(recover(&memory.env(), &options(), PARTITION, floor)).unwrap()
}

fn numbers(recovered: &RecoveredLog) -> (Vec<u64>, Vec<u64>) {
    let files = recovered.files.iter().map(|file| file.identity.file).collect();
    (files, recovered.spare.iter().map(|(number, _)| *number).collect())
}

#[test]
fn an_empty_folder_is_an_empty_log_of_a_new_store() {
    let recovered = recover_from(&Memory::default(), 0);
    assert_eq!((recovered.end, recovered.corruption.is_none()), (Offset::ZERO, true));
    assert_eq!(numbers(&recovered), (vec![], vec![]));
    assert_eq!((recovered.position, recovered.chain, recovered.last_number), (BLOCK, 0, 0));
}

/// A log folder that was not mounted was taken for an empty log: ten acknowledged writes were gone, and
/// the server was ready.
#[test]
fn a_log_that_must_be_there_and_is_not_is_corruption() {
    let memory = Memory::default();
    let corruption = recover_from(&memory, 5).corruption.unwrap();
    assert_eq!(corruption.file, folder().as_str());
    assert!(corruption.detail.starts_with("no log file is there"), "{corruption}");
    // Nothing is folded yet, but the store has been written to.
    let begun = EmbeddedLogOptions { is_begun: true, ..options() };
    let recover = |memory: &Memory, floor| {
        ready(recover(&memory.env(), &begun, PARTITION, Offset::new(floor))).unwrap()
    };
    assert!(recover(&memory, 0).corruption.is_some());
    assert_eq!(memory.names(), [] as [String; 0], "nothing has been made");
    // A log without any mark may lack its newest file.
    three().put(&memory);
    let corruption = recover(&memory, 10).corruption.unwrap();
    assert_eq!(corruption.file, folder().join("mark").as_str());
    ready(async {
        let mut marker = Marker::open(&memory.env(), &begun, PARTITION).await.unwrap();
        marker.write(Offset::new(16)).await.unwrap();
    });
    assert!(recover(&memory, 10).corruption.is_none());
}

#[test]
fn whole_files_are_followed_to_their_end() {
    let first = three();
    let second = Layer::after(&first, 14).batch(&["f"], 16);
    let memory = Memory::default();
    first.put(&memory);
    second.put(&memory);
    let before = [memory.get(&path(1)), memory.get(&path(2))];
    let recovered = recover_from(&memory, 10);
    assert!(recovered.corruption.is_none());
    assert_eq!((recovered.end, recovered.position), (Offset::new(17), 2 * BLOCK));
    assert_eq!((recovered.chain, recovered.hashes.clone()), (second.chain, vec![hash("f")]));
    assert_eq!((recovered.torn_bytes, recovered.last_number), (0, 2));
    assert_eq!(numbers(&recovered), (vec![1, 2], vec![]));
    let bases: Vec<u64> = recovered.files.iter().map(|file| file.base.get()).collect();
    assert_eq!((bases, recovered.files[1].len), (vec![10, 16], FILE_BYTES));
    assert_eq!([memory.get(&path(1)), memory.get(&path(2))], before, "nothing has changed");
    // The surviving batches are synced once more before readers see them, in the file before the last
    // as well.
    assert_eq!(memory.synced(), [path(1), path(2)]);
}

#[test]
fn the_hashes_of_the_last_batch_are_kept_for_the_next() {
    let memory = Memory::default();
    three().put(&memory);
    assert_eq!(recover_from(&memory, 10).hashes, [hash("d"), hash("e")]);
    let memory = Memory::default();
    Layer::begin(1, 10, 10, 7).batch(&["a", "", "b"], 10).put(&memory);
    assert_eq!(recover_from(&memory, 10).hashes, [hash("a"), 0, hash("b")]);
}

#[test]
fn an_unfinished_batch_is_cut_off_and_kept_aside() {
    // Damage to the last batch, which nothing calls durable: to its body, and to its header.
    for at in [THREE[2] + HEADER_BYTES as u64 + 9, THREE[2] + 1] {
        let memory = Memory::default();
        three().put(&memory);
        change(&memory, 1, at, b"X");
        let torn = memory.get(&path(1)).unwrap()[THREE[2] as usize..].to_vec();
        let len = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let recovered = recover_from(&memory, 10);
        assert!(recovered.corruption.is_none());
        assert_eq!((recovered.end, recovered.position), (Offset::new(14), THREE[2]));
        assert_eq!((recovered.hashes.clone(), recovered.torn_bytes), (vec![hash("c")], len as u64));
        let file = memory.get(&path(1)).unwrap();
        assert!(file[THREE[2] as usize..].iter().all(|byte| *byte == 0), "zeros from there on");
        assert_eq!(memory.get(&folder().join("0000000001.torn")).unwrap(), torn[..len]);
        // A second recovery finds a complete log.
        let again = recover_from(&memory, 10);
        assert_eq!((again.end, again.torn_bytes), (Offset::new(14), 0));
    }
}

#[test]
fn a_torn_file_that_is_kept_aside_replaces_an_older_one() {
    let memory = Memory::default();
    three().put(&memory);
    change(&memory, 1, THREE[2] + 200, b"X");
    memory.put(&folder().join("0000000001.torn"), &[b'o'; 9000]);
    let recovered = recover_from(&memory, 10);
    let kept = memory.get(&folder().join("0000000001.torn")).unwrap();
    assert_eq!(kept.len() as u64, recovered.torn_bytes);
}

#[test]
fn a_damaged_batch_below_the_mark_is_corruption_and_nothing_is_cut() {
    let memory = Memory::default();
    three().put(&memory);
    change(&memory, 1, THREE[0] + 200, b"X");
    let before = memory.get(&path(1));
    let recovered = recover_from(&memory, 10);
    let corruption = recovered.corruption.unwrap();
    assert_eq!((corruption.file.as_str(), corruption.position), (path(1).as_str(), THREE[0]));
    // The batch behind repeats the hashes of the lost one: two keys, and a barrier, which has no key.
    let detail = "offsets 10 to 14 were durable and cannot be read; \
                  they concern 2 keys whose hashes the next batch repeats";
    assert_eq!(corruption.detail, detail);
    assert_eq!((recovered.end, recovered.torn_bytes), (Offset::new(10), 0));
    assert_eq!((memory.get(&path(1)), memory.synced()), (before, vec![]));
    assert_eq!(recovered.files.len(), 1);
}

#[test]
fn keys_of_a_lost_batch_are_not_guessed() {
    let memory = Memory::default();
    three().put(&memory);
    change(&memory, 1, THREE[0] + 200, b"X");
    change(&memory, 1, THREE[1] + 200, b"X");
    change(&memory, 1, THREE[2] + 200, b"X");
    let detail = recover_from(&memory, 10).corruption.unwrap().detail;
    assert!(detail.ends_with("which keys they concern is not known"), "{detail}");
    assert!(detail.starts_with("offsets 10 to 14 were durable"), "torn headers count: {detail}");
}

#[test]
fn a_mark_alone_tells_that_something_is_gone() {
    let memory = Memory::default();
    let mark = |durable: u64| {
        let env = memory.env();
        ready(async {
            let mut marker = Marker::open(&env, &options(), PARTITION).await.unwrap();
            marker.write(Offset::new(durable)).await.unwrap();
        });
    };
    mark(12);
    let corruption = recover_from(&memory, 10).corruption.unwrap();
    assert_eq!((corruption.file.as_str(), corruption.position), (folder().as_str(), 0));
    assert_eq!(corruption.detail, "offsets 10 to 12 were durable and no log file holds them");
    // A mark beyond the last batch: the batches below it are gone.
    three().put(&memory);
    mark(16);
    assert!(recover_from(&memory, 10).corruption.is_none());
    mark(17);
    let corruption = recover_from(&memory, 10).corruption.unwrap();
    assert_eq!((corruption.file, corruption.position), (path(1).to_string(), 4 * BLOCK));
}

#[test]
fn a_log_that_begins_above_what_is_needed_is_corruption() {
    let memory = Memory::default();
    three().put(&memory);
    assert!(recover_from(&memory, 10).corruption.is_none());
    let recovered = recover_from(&memory, 9);
    let corruption = recovered.corruption.unwrap();
    assert_eq!(corruption.detail, "offsets 9 to 10 were durable and no log file holds them");
    assert_eq!((recovered.end, recovered.files.len()), (Offset::new(9), 1));
    // Even without any durable mark above the floor.
    let memory = Memory::default();
    Layer::begin(1, 10, 0, 7).put(&memory);
    assert!(recover_from(&memory, 9).corruption.is_some());
}

#[test]
fn files_below_the_floor_and_files_never_begun_are_spare() {
    let first = three();
    let second = Layer::after(&first, 14).batch(&["f"], 16);
    let memory = Memory::default();
    first.put(&memory);
    second.put(&memory);
    memory.put(&path(3), &[0; FILE_BYTES as usize]);
    memory.put(&path(4), b"short");
    for (floor, files, spare) in
        [(10, vec![1, 2], vec![3, 4]), (15, vec![1, 2], vec![3, 4]), (16, vec![2], vec![1, 3, 4])]
    {
        let recovered = recover_from(&memory, floor);
        assert!(recovered.corruption.is_none(), "floor {floor}");
        assert_eq!(numbers(&recovered), (files, spare), "floor {floor}");
        assert_eq!((recovered.end, recovered.last_number), (Offset::new(17), 4));
    }
}

#[test]
fn names_that_are_no_log_files_are_passed_over() {
    let memory = Memory::default();
    three().put(&memory);
    for name in ["2.log", "00000000002.log", "x.log", "0000000002.txt", "mark.log"] {
        memory.put(&folder().join(name), &three().bytes);
    }
    let recovered = recover_from(&memory, 10);
    assert_eq!((numbers(&recovered), recovered.last_number), ((vec![1], vec![]), 1));
}

#[test]
fn a_lost_file_header_is_corruption_if_its_batches_were_durable() {
    let first = three();
    let second = Layer::after(&first, 14).batch(&["f"], 16).batch(&[], 17);
    let memory = Memory::default();
    first.put(&memory);
    second.put(&memory);
    change(&memory, 2, 8, b"X");
    let recovered = recover_from(&memory, 10);
    let corruption = recovered.corruption.unwrap();
    assert!(corruption.detail.starts_with("offsets 16 to 17 were durable"), "{corruption}");
    // A header that the device cannot read counts as damaged.
    second.put(&memory);
    memory.spoil(&path(2), 5);
    assert!(recover_from(&memory, 10).corruption.is_some());
    // The first file's header: no file begins at the floor then.
    let memory = Memory::default();
    first.put(&memory);
    change(&memory, 1, 8, b"X");
    let corruption = recover_from(&memory, 10).corruption.unwrap();
    assert_eq!(corruption.detail, "offsets 10 to 14 were durable and no log file holds them");
}

#[test]
fn a_file_that_was_begun_and_got_no_batch_is_spare_again() {
    let first = three();
    let memory = Memory::default();
    first.put(&memory);
    Layer::after(&first, 14).put(&memory);
    let recovered = recover_from(&memory, 10);
    assert!(recovered.corruption.is_none());
    assert_eq!(numbers(&recovered), (vec![1], vec![2]));
    assert_eq!((recovered.end, recovered.position), (Offset::new(16), 4 * BLOCK));
    assert_eq!(recovered.torn_bytes, BLOCK);
    let file = memory.get(&path(2)).unwrap();
    assert!(file[..2 * BLOCK as usize].iter().all(|byte| *byte == 0), "its header is gone");
}

#[test]
fn a_batch_without_the_zeros_that_end_it_is_whole() {
    let file = three();
    let end = file.bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let memory = Memory::default();
    memory.put(&path(1), &file.bytes[..end]);
    let recovered = recover_from(&memory, 10);
    assert_eq!((recovered.end, recovered.position), (Offset::new(16), 4 * BLOCK));
    // Readers take a batch only where the file holds all its blocks.
    assert_eq!(recovered.files[0].len, 4 * BLOCK);
}

#[test]
fn a_file_that_does_not_continue_the_chain_is_not_followed() {
    let first = three();
    let other = Layer { chain: first.chain ^ 1, ..three() };
    let gap = Layer { end: first.end + 1, ..three() };
    for before in [&other, &gap] {
        let memory = Memory::default();
        first.put(&memory);
        Layer::after(before, 14).batch(&["f"], 14).put(&memory);
        let recovered = recover_from(&memory, 10);
        assert!(recovered.corruption.is_none());
        assert_eq!((recovered.end, numbers(&recovered)), (Offset::new(16), (vec![1], vec![2])));
    }
}

#[test]
fn a_batch_that_does_not_continue_the_chain_ends_the_log() {
    let begin = || Layer::begin(1, 10, 10, 7).batch(&["a"], 10);
    let other = Layer { chain: 9, ..begin() };
    let gap = Layer { end: 12, ..begin() };
    for layer in [other, gap] {
        let memory = Memory::default();
        layer.batch(&["b"], 11).put(&memory);
        let recovered = recover_from(&memory, 10);
        assert!(recovered.corruption.is_none());
        assert_eq!((recovered.end, recovered.position), (Offset::new(11), 2 * BLOCK));
        assert!(recovered.torn_bytes > 0);
    }
}

#[test]
fn content_of_an_earlier_life_is_overwritten_and_not_kept() {
    // File 5 was once file 4, and held more batches then.
    let before = Layer { identity: identity(4), ..Layer::begin(4, 1, 1, 0) };
    let before = before.batch(&["x"], 1).batch(&["y"], 2).batch(&["z"], 3);
    let now = Layer::begin(5, 10, 10, 7).batch(&["a"], 10);
    let memory = Memory::default();
    let bytes = [&now.bytes[..], &before.bytes[now.bytes.len()..]].concat();
    Layer { bytes, ..now }.put(&memory);
    let recovered = recover_from(&memory, 10);
    assert!(recovered.corruption.is_none());
    assert_eq!((recovered.end, recovered.torn_bytes), (Offset::new(11), 0));
    let file = memory.get(&path(5)).unwrap();
    assert!(file[2 * BLOCK as usize..].iter().all(|byte| *byte == 0));
    assert_eq!(memory.get(&folder().join("0000000005.torn")), None);
}

#[test]
fn a_stretch_that_the_device_cannot_read_is_not_there() {
    // In the last batch, which nothing calls durable; then in one that is.
    for (at, end, is_corrupt) in [(THREE[2] + 140, 14, false), (THREE[1] + 140, 13, true)] {
        let memory = Memory::default();
        three().put(&memory);
        memory.spoil(&path(1), at);
        let recovered = recover_from(&memory, 10);
        assert_eq!(recovered.end, Offset::new(end));
        assert_eq!(recovered.corruption.is_some(), is_corrupt, "byte {at}");
    }
}

#[test]
fn what_stands_above_the_mark_is_written_once_more() {
    // The header of a file that was begun at the mark is as new as its batches.
    for (durable, has_new_header) in [(10, true), (11, false)] {
        let memory = Memory::default();
        Layer::begin(1, 10, 10, 7).batch(&["a"], 10).batch(&["b"], durable).put(&memory);
        let recovered = recover_from(&memory, 10);
        assert!(recovered.corruption.is_none());
        assert_eq!(memory.synced(), [path(1)]);
        assert_eq!(memory.written().contains(&(path(1), 0)), has_new_header);
        assert!(memory.written().iter().any(|(file, _)| *file == path(1)));
    }
}

#[test]
fn an_offset_beyond_the_last_ends_the_log() {
    let memory = Memory::default();
    Layer::begin(1, u64::MAX - 1, 0, 7).batch(&["a"], 0).batch(&["b", "c"], 0).put(&memory);
    let recovered = recover_from(&memory, u64::MAX - 1);
    assert_eq!(recovered.end, Offset::MAX);
}

/// Makes the checksums of a file header and of batches at the given places fit.
fn reseal(file: &mut [u8], batches: &[u64]) {
    let seal = |bytes: &mut [u8], at: usize| {
        let crc = crc32c::crc32c(&bytes[..at]);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    };
    seal(file, 72);
    for position in batches {
        let batch = &mut file[*position as usize..];
        let number = |at: usize| u32::from_le_bytes(*batch[at..].first_chunk().unwrap()) as usize;
        let body = HEADER_BYTES..HEADER_BYTES + number(72) + 8 * number(76);
        if let Some(body) = batch.get(body) {
            let hash = xxhash_rust::xxh3::xxh3_128(body).to_le_bytes();
            batch[96..112].copy_from_slice(&hash);
        }
        seal(batch, HEADER_BYTES - 4);
    }
}

#[test]
fn mutated_logs_never_panic_and_never_end_early_in_silence() {
    let layer = three();
    let mut mutator = Mutator::new(30);
    let (mut whole, mut corrupt, mut torn) = (0, 0, 0);
    for round in 0..rounds(1500) {
        let memory = Memory::default();
        layer.put(&memory);
        let mut file = memory.get(&path(1)).unwrap();
        let at = [0, THREE[0], THREE[1], THREE[2]][mutator.below(4)] as usize;
        let piece = mutator.mutated(&[&file[at..at + 300]]);
        let len = piece.len().min(BLOCK as usize);
        file[at..at + len].copy_from_slice(&piece[..len]);
        let is_resealed = round % 2 == 0;
        if is_resealed {
            reseal(&mut file, &THREE);
        }
        memory.put(&path(1), &file);
        let recovered = recover_from(&memory, 10);
        assert!(memory.longest_read() <= file.len());
        match &recovered.corruption {
            Some(corruption) => {
                assert!(corruption.file.starts_with("log/0002"));
                assert_eq!(memory.get(&path(1)).unwrap(), file, "nothing is cut off");
                corrupt += 1;
            }
            None if recovered.end == Offset::new(16) => whole += 1,
            None => {
                // Only the last batch may be lost unnoticed, since no mark calls it durable.
                assert!(is_resealed || recovered.end == Offset::new(14), "{:?}", recovered.end);
                torn += 1;
            }
        }
    }
    assert!(whole > 50 && corrupt > 50 && torn > 50, "{whole}, {corrupt}, {torn}");
}

/// A flipped bit in a log that was folded to its end, or in a batch long folded with new records behind it,
/// stopped a store that had lost nothing.
#[test]
fn damage_where_everything_is_folded_is_of_no_concern() {
    // In the header of a batch, and in its body; the floor behind all batches, and within the last.
    for (at, floor) in [(9, 16), (200, 16), (9, 15), (200, 15)] {
        for (number, place) in THREE.into_iter().enumerate() {
            let memory = Memory::default();
            three().put(&memory);
            change(&memory, 1, place + at, b"X");
            let before = memory.get(&path(1));
            let recovered = recover_from(&memory, floor);
            // The last batch is needed for its records, or as evidence of the file's end.
            let is_needed = number == 2 && (floor == 15 || at == 9);
            assert_eq!(recovered.corruption.is_some(), is_needed, "{number}, {at}, {floor}");
            if is_needed {
                continue;
            }
            assert_eq!((recovered.end, recovered.position), (Offset::new(16), 4 * BLOCK));
            assert_eq!(numbers(&recovered), (vec![1], vec![]));
            assert_eq!(memory.get(&path(1)), before, "nothing is cut off");
        }
    }
}

/// A damaged file that was reused at once was renamed before the next one had begun: after a crash
/// there was a store without a log.
#[test]
fn a_damaged_file_stays_until_the_next_has_begun() {
    let first = three();
    let second = Layer::after(&first, 14).batch(&["f"], 16).batch(&[], 17);
    let memory = Memory::default();
    first.put(&memory);
    second.put(&memory);
    change(&memory, 2, 8, b"X");
    let recovered = recover_from(&memory, 17);
    assert!(recovered.corruption.is_none());
    assert_eq!((recovered.end, recovered.position), (Offset::new(17), FILE_BYTES));
    assert_eq!(numbers(&recovered), (vec![1], vec![2]));
}

#[test]
fn reading_begins_at_the_batch_that_covers_the_floor() {
    for (floor, begin, base) in [(10, 1, 10), (11, 1, 10), (13, 2, 13), (15, 3, 14), (16, 4, 16)] {
        let memory = Memory::default();
        three().put(&memory);
        let recovered = recover_from(&memory, floor);
        let file = &recovered.files[0];
        assert_eq!((file.begin, file.base.get()), (begin * BLOCK, base), "floor {floor}");
        assert_eq!((recovered.chain, recovered.position), (three().chain, 4 * BLOCK));
    }
    // An empty batch at the floor is skipped, valid or not.
    for damage in [None, Some(200), Some(9)] {
        let memory = Memory::default();
        let layer = three().batch(&[], 16).batch(&["f"], 16).batch(&[], 17);
        layer.put(&memory);
        if let Some(at) = damage {
            change(&memory, 1, 4 * BLOCK + at, b"X");
        }
        let recovered = recover_from(&memory, 16);
        assert!(recovered.corruption.is_none(), "{damage:?}");
        assert_eq!((recovered.end, recovered.chain), (Offset::new(17), layer.chain));
    }
}

/// A batch that the device cannot read ended the rewriting of those behind it, which were then on the
/// device only as far as a failed sync had brought them.
#[test]
fn what_stands_above_the_floor_is_written_over_damage_or_not() {
    let memory = Memory::default();
    three().put(&memory);
    memory.spoil(&path(1), THREE[0] + 200);
    let recovered = recover_from(&memory, 14);
    assert!(recovered.corruption.is_none());
    assert_eq!(memory.written(), [(path(1), THREE[2])]);
}

/// One failed read of the newest batch after a kill made an acknowledged write a torn end, which was
/// overwritten with zeros. Every single read of a start is disturbed in turn, by each kind of passing fault.
#[test]
fn one_read_that_is_bad_once_changes_nothing() {
    let begun = EmbeddedLogOptions { is_begun: true, ..options() };
    let whole = || {
        let memory = Memory::default();
        let first = three();
        let second = Layer::after(&first, 14).batch(&["f"], 14).batch(&["g", "h"], 16);
        first.put(&memory);
        second.put(&memory);
        ready(async {
            let mut marker = Marker::open(&memory.env(), &begun, PARTITION).await.unwrap();
            marker.write(Offset::new(16)).await.unwrap();
        });
        memory
    };
    let files = |memory: &Memory| [1, 2].map(|number| memory.get(&path(number)).unwrap());
    let recovered = |memory: &Memory, floor| {
        let found = ready(recover(&memory.env(), &begun, PARTITION, floor)).unwrap();
        assert!(found.corruption.is_none(), "{:?}", found.corruption);
        let RecoveredLog { end, position, chain, ref hashes, torn_bytes, .. } = found;
        let state = (numbers(&found), end, position, chain, hashes.clone(), torn_bytes);
        (format!("{state:?}"), files(memory))
    };
    let verified = |memory: &Memory, floor| {
        let found = ready(verify(&memory.env(), &begun, PARTITION, floor)).unwrap();
        (format!("{found:?}"), files(memory))
    };
    let repaired = |memory: &Memory, floor| {
        let found = ready(repair(&memory.env(), &begun, PARTITION, floor)).unwrap();
        (format!("{:?}, {}", found.lost, found.kept), files(memory))
    };
    type Read<'a> = &'a dyn Fn(&Memory, Offset) -> (String, [Vec<u8>; 2]);
    let readers: [(&str, Read); 3] =
        [("recover", &recovered), ("verify", &verified), ("repair", &repaired)];
    let kinds = [0, 9, 70, 140, 150].map(Disturbance::Flips);
    let kinds = [Disturbance::Fails].into_iter().chain(kinds).collect::<Vec<_>>();
    for (name, read) in readers {
        for floor in [10, 14, 16, 18].map(Offset::new) {
            let calm = whole();
            let (first, before) = (calm.reads(), files(&calm));
            let wanted = read(&calm, floor);
            assert!(wanted.1 == before, "a whole log is left as it is");
            for (number, kind) in (first..calm.reads())
                .flat_map(|number| kinds.iter().map(move |kind| (number, kind)))
            {
                let memory = whole();
                memory.disturb(number, *kind);
                let found = read(&memory, floor);
                let case = format!("{name}, floor {floor}, read {number}, {kind:?}");
                assert_eq!(found.0, wanted.0, "{case}");
                assert!(found.1 == before, "{case}: a file was changed");
            }
        }
    }
}
