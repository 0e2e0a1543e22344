//! Repairs of logs that recovery refuses: every readable record keeps its offset, no file is removed,
//! and recovery accepts the new log.

use super::*;
use crate::log::embedded::layer::{
    FILE_BYTES, Layer, PARTITION, THREE, change, folder, hash, options, path, three,
};
use crate::log::embedded::recovery::recover;
use crate::memory::{Memory, ready};

fn begun() -> EmbeddedLogOptions {
    EmbeddedLogOptions { is_begun: true, ..options() }
}

fn look(memory: &Memory, floor: u64) -> LossReport {
    ready(repair(&memory.env(), &begun(), PARTITION, Offset::new(floor))).unwrap()
}

/// The records of a log file by offset: the hash of their key, and their ids.
fn records(memory: &Memory, number: u64) -> Vec<(u64, u64, RecordId)> {
    let bytes = Bytes::from(memory.get(&path(number)).unwrap());
    let identity = LogFileId { store: options().store, partition: PARTITION, file: number };
    let mut found = Vec::new();
    for position in (BLOCK..bytes.len() as u64).step_by(BLOCK as usize) {
        let head = bytes.slice(position as usize..);
        let Some(header) = BatchHeader::decode(&head, &identity, position, false) else { continue };
        let body = head.slice(HEADER_BYTES..HEADER_BYTES + header.body_len());
        for (index, (_, bytes)) in batch::frames(&header, &body).unwrap().into_iter().enumerate() {
            let record = Record::decode(bytes).unwrap();
            found.push((header.base.get() + index as u64, record.key_hash(), record.id));
        }
    }
    found
}

#[test]
fn records_behind_a_damaged_batch_keep_their_offsets() {
    for (number, lost) in [(0, 10..13), (1, 13..14)] {
        let memory = Memory::default();
        three().put(&memory);
        change(&memory, 1, THREE[number] + 200, b"X");
        let before = memory.get(&path(1)).unwrap();
        let loss = look(&memory, 10);
        assert_eq!(loss.lost.len(), 1);
        let (from, below) = (loss.lost[0].from.get(), loss.lost[0].below.get());
        assert_eq!((from..below, loss.kept), (lost.clone(), 6 - (lost.end - lost.start)));
        let known = if number == 0 { vec![hash("a"), hash("b")] } else { vec![hash("c")] };
        assert_eq!(loss.lost[0].key_hashes, known);
        assert_eq!(memory.written(), [], "nothing is changed by a look");
        let aside = ready(loss.accept(&memory.env(), WallTime::default())).unwrap();
        let kept = folder().join("0000000001.lost");
        assert_eq!((aside, memory.get(&kept)), (vec![kept.clone()], Some(before)));
        // The result is a valid log, in which a second repair finds nothing.
        let recovered =
            ready(recover(&memory.env(), &begun(), PARTITION, Offset::new(10))).unwrap();
        assert!(recovered.corruption.is_none(), "{:?}", recovered.corruption);
        assert_eq!(recovered.end, Offset::new(16));
        let found = records(&memory, 2);
        assert_eq!(
            found.iter().map(|(at, ..)| *at).collect::<Vec<_>>(),
            (10..16).collect::<Vec<_>>()
        );
        for (at, key) in [(10, "a"), (12, "b"), (13, "c"), (14, "d"), (15, "e")] {
            let found = found[at as usize - 10].1;
            assert_eq!(found == hash(key), !lost.contains(&at), "offset {at}");
        }
        assert!(look(&memory, 10).lost.is_empty());
        assert!(memory.get(&path(2)).unwrap().len() as u64 >= FILE_BYTES);
    }
}

#[test]
fn a_missing_file_leaves_those_around_it() {
    let first = three();
    let second = Layer::after(&first, 16).batch(&["f", "g"], 16);
    let third = Layer::after(&second, 18).batch(&["h"], 18).batch(&[], 19);
    let memory = Memory::default();
    first.put(&memory);
    third.put(&memory);
    let loss = look(&memory, 12);
    assert_eq!((loss.lost.len(), loss.kept), (1, 4 + 1));
    assert_eq!((loss.lost[0].from.get(), loss.lost[0].below.get()), (16, 18));
    ready(loss.accept(&memory.env(), WallTime::default())).unwrap();
    let recovered = ready(recover(&memory.env(), &begun(), PARTITION, Offset::new(12))).unwrap();
    assert_eq!((recovered.corruption.is_none(), recovered.end), (true, Offset::new(19)));
    // The records below the floor are not carried over.
    assert_eq!(records(&memory, 4)[0].0, 12);
}

#[test]
fn a_log_that_is_gone_is_begun_anew_behind_what_was_durable() {
    let memory = Memory::default();
    ready(async {
        let mut marker = Marker::open(&memory.env(), &begun(), PARTITION).await.unwrap();
        marker.write_both(Offset::new(9_000)).await.unwrap();
    });
    let loss = look(&memory, 10);
    assert_eq!((loss.lost[0].from.get(), loss.lost[0].below.get()), (10, 9_000));
    ready(loss.accept(&memory.env(), WallTime::default())).unwrap();
    let recovered = ready(recover(&memory.env(), &begun(), PARTITION, Offset::new(10))).unwrap();
    assert_eq!((recovered.corruption.is_none(), recovered.end), (true, Offset::new(9_000)));
    // Without any evidence of the log's length.
    let memory = Memory::default();
    let loss = look(&memory, 10);
    assert!(loss.lost.is_empty());
    ready(loss.accept(&memory.env(), WallTime::default())).unwrap();
    let recovered = ready(recover(&memory.env(), &begun(), PARTITION, Offset::new(10))).unwrap();
    assert_eq!((recovered.corruption.is_none(), recovered.end), (true, Offset::new(10)));
}

/// A record counts only as its writer's next: with their old numbers, all records behind a gap would be
/// refused.
#[test]
fn records_behind_a_gap_are_the_next_of_their_writer() {
    let name = |writer, sequence| RecordId {
        writer: WriterId([writer; 16]),
        epoch: Epoch::new(2),
        sequence: Sequence::new(sequence),
    };
    let record = |writer, sequence, body| Record::of_the_store(name(writer, sequence), body);
    let cut = || RecordBody::Cut { number: crate::ids::CutNumber::ZERO };
    let mut numbers = FillerIds::default();
    assert_eq!(numbers.number(record(1, 7, cut())).id, name(1, 7), "no gap yet");
    let opening = numbers.begin(WriterId([9; 16]));
    assert_eq!((opening.id.sequence, opening.id.epoch), (Sequence::ZERO, Epoch::new(1)));
    let told = [
        numbers.number(record(1, 9, cut())).id,
        numbers.number(record(1, 9, RecordBody::Barrier)).id,
        numbers.number(record(1, 9, RecordBody::OpenWriter)).id,
        numbers.number(record(1, 10, cut())).id,
        numbers.number(record(2, 0, RecordBody::OpenWriter)).id,
        numbers.number(record(2, 1, cut())).id,
        numbers.number(record(1, 11, cut())).id,
    ];
    let fresh = |sequence| RecordId {
        writer: WriterId([9; 16]),
        epoch: Epoch::new(1),
        sequence: Sequence::new(sequence),
    };
    let wanted = [fresh(1), name(1, 9), name(1, 9), fresh(2), name(2, 0), name(2, 1), fresh(3)];
    assert_eq!(told, wanted);
}
