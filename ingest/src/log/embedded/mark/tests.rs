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

/// A new life began with the second slot whatever stood there: torn, its first write took the newest mark
/// along.
#[test]
fn slots_take_turns_over_restarts() {
    let memory = Memory::default();
    let folder = FilePath::new("log");
    ready(async {
        for life in 1..6 {
            let mut marker = Marker::open(&memory.env(), &folder, STORE, PARTITION).await.unwrap();
            // An odd and an even number of marks in turn, so that lives end on either slot.
            for number in 0..life {
                marker.write(Offset::new(life * 10 + number)).await.unwrap();
            }
        }
    });
    let written: Vec<u64> = memory.written().into_iter().map(|(_, position)| position).collect();
    assert_eq!(written.len(), 15);
    assert!(written.windows(2).all(|two| two[0] != two[1]), "{written:?}");
}
