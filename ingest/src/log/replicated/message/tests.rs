use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::ids::{CutNumber, Epoch, Sequence, WriterId};
use crate::record::{RecordBody, RecordId};
use crate::time::WallTime;

const STORE: StoreId = StoreId([3; 16]);
const PARTITION: PartitionId = PartitionId::new(2);

fn identity() -> LogIdentity {
    LogIdentity { store: STORE, partition: PARTITION, partitions: 4, cluster: "a-cluster".into() }
}

fn record() -> Record {
    Record {
        id: RecordId {
            writer: WriterId([5; 16]),
            epoch: Epoch::new(2),
            sequence: Sequence::new(9),
        },
        principal: "somebody".into(),
        request: "request".into(),
        time: WallTime::from_micros(1_700_000_000_000_000),
        body: RecordBody::Cut { number: CutNumber::new(7) },
    }
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let line = |bytes: &Bytes| {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex + "\n"
    };
    let messages =
        [encode_identity(&identity()).unwrap(), encode_record(STORE, PARTITION, &record())];
    let written: String = messages.iter().map(line).collect();
    golden::check("messages-v1.hex", written.as_bytes());
    let read = |bytes| decode(STORE, PARTITION, bytes).unwrap();
    assert_eq!(read(&messages[0]), MessageContent::Identity(identity()));
    assert_eq!(read(&messages[1]), MessageContent::Record(record()));
    assert_eq!(Record::decode(record_bytes(&messages[1])).unwrap(), record());
}

#[test]
fn a_record_of_another_store_or_partition_does_not_pass() {
    let bytes = encode_record(STORE, PARTITION, &record());
    assert!(decode(StoreId([4; 16]), PARTITION, &bytes).is_err());
    assert!(decode(STORE, PartitionId::new(3), &bytes).is_err());
    // An identity can be read without knowing the store, but not in another partition.
    let first = encode_identity(&identity()).unwrap();
    assert!(decode(StoreId::default(), PARTITION, &first).is_ok());
    assert!(decode(StoreId::default(), PartitionId::new(3), &first).is_err());
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    for whole in [encode_identity(&identity()).unwrap(), encode_record(STORE, PARTITION, &record())]
    {
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(STORE, PARTITION, &flipped.into()).is_err(), "bit {bit}");
        }
        for len in 0..whole.len() {
            assert!(decode(STORE, PARTITION, &whole.slice(..len)).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let seeds = [encode_identity(&identity()).unwrap(), encode_record(STORE, PARTITION, &record())];
    let mut mutator = Mutator::new(17);
    for _ in 0..rounds(20_000) {
        let bytes = mutator.mutated(&seeds);
        if let Ok(content) = decode(STORE, PARTITION, &bytes.into()) {
            let known = [MessageContent::Identity(identity()), MessageContent::Record(record())];
            assert!(known.contains(&content), "{content:?}");
        }
    }
}

/// A cluster with a longer name was set up, and no node could read its identity.
#[test]
fn a_name_that_cannot_be_read_back_is_not_written() {
    for (len, is_taken) in [(CLUSTER_BYTES_MAX, true), (CLUSTER_BYTES_MAX + 1, false)] {
        let named = LogIdentity { cluster: "c".repeat(len), ..identity() };
        let encoded = encode_identity(&named);
        assert_eq!(encoded.is_ok(), is_taken);
        if let Ok(encoded) = encoded {
            assert_eq!(decode(STORE, PARTITION, &encoded), Ok(MessageContent::Identity(named)));
        }
    }
}
