use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::memory::{Memory, ready};

const STORE: StoreId = StoreId([3; 16]);
const PARTITION: PartitionId = PartitionId::new(2);

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let slot = encode(STORE, PARTITION, 5, Offset::new(43));
    assert_eq!(slot.len(), SLOT_BYTES);
    let golden = golden::check("mark-v1.mark", &slot);
    assert_eq!(decode(&golden, STORE, PARTITION), Some((5, Offset::new(43))));
    assert_eq!(decode(&golden, StoreId([4; 16]), PARTITION), None);
    assert_eq!(decode(&golden, STORE, PartitionId::ZERO), None);
}

#[test]
fn a_mutated_slot_is_no_mark_or_the_same() {
    let slot = encode(STORE, PARTITION, 5, Offset::new(43));
    let mut mutator = Mutator::new(3);
    for _ in 0..rounds(10_000) {
        let other = mutator.mutated(&[&slot]);
        let found = decode(&other, STORE, PARTITION);
        assert!(found.is_none() || other.starts_with(&slot), "{other:x?}");
    }
}

/// A restarted writer always began with the second slot: its first write, when torn, destroyed the
/// newest mark there.
#[test]
fn slots_take_turns_over_restarts() {
    let memory = Memory::default();
    let options = options();
    ready(async {
        for life in 1..9 {
            let mut marker = Marker::open(&memory.env(), &options, PARTITION).await.unwrap();
            // An odd and an even number of marks in turn, so that runs end on either slot.
            for number in 0..life {
                marker.write(Offset::new(life * 10 + number)).await.unwrap();
            }
            marker.write_both(Offset::new(life * 10 + life)).await.unwrap();
        }
    });
    let [inside, beside] = paths(&options, PARTITION);
    let written = memory.written();
    let places = |path: &FilePath| -> Vec<u64> {
        written.iter().filter(|(file, _)| file == path).map(|(_, position)| *position).collect()
    };
    // All marks go beside the folder; the first, and one by `write_both`, into it as well.
    assert_eq!((places(&inside).len(), places(&beside).len()), (1 + 8, 36 + 8));
    for path in [inside, beside] {
        assert!(places(&path).windows(2).all(|two| two[0] != two[1]), "{path}");
    }
}

/// The log's folder was restored without its newest file and without the mark: the loss of the
/// acknowledged records in that file was not noticed.
#[test]
fn the_loss_of_either_file_leaves_a_mark() {
    let options = options();
    for lost in paths(&options, PARTITION) {
        let memory = Memory::default();
        ready(async {
            let mut marker = Marker::open(&memory.env(), &options, PARTITION).await.unwrap();
            marker.write_both(Offset::new(40)).await.unwrap();
            ready(memory.env().disk.remove(&lost)).unwrap();
            let marks = read(&memory.env(), &options, PARTITION).await.unwrap();
            assert_eq!((marks.durable, marks.is_readable), (Offset::new(40), true), "{lost}");
            // The next start makes the file again and marks it at once.
            let mut marker = Marker::open(&memory.env(), &options, PARTITION).await.unwrap();
            marker.write(Offset::new(41)).await.unwrap();
            for path in paths(&options, PARTITION) {
                let file = memory.get(&path).unwrap();
                assert!(file.windows(8).any(|eight| eight == MAGIC), "{path}");
            }
        });
    }
    let memory = Memory::default();
    assert!(!ready(read(&memory.env(), &options, PARTITION)).unwrap().is_readable);
}

fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: STORE,
        file_bytes: 16 * BLOCK,
        queue_bytes: 1 << 20,
        reserve_bytes: 0,
        is_begun: false,
    }
}
