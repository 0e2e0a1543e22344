//! A log that loses what had been read from it is noticed, also when it has grown again since.

use std::time::Duration;

use ingest::ids::{Offset, PartitionId};
use ingest::log::ReadError;
use simulator::brokers::BrokerConfig;
use simulator::conformance::{LogFactory, OnBrokers, append, record};
use simulator::{Sim, SimBrokers, SimDisk};

const READS: usize = 0;
const WRITES: usize = 1;

/// Cuts the log off under a reader that has read ten records, and appends so many others.
fn read_after_loss(others: u64) -> ReadError {
    let sim = Sim::new(others);
    let brokers = SimBrokers::with_knobs(&sim, 1, BrokerConfig::calm());
    let open = async |node: usize| {
        let env = sim.node_env(node, &SimDisk::new(&sim));
        OnBrokers::new(env, || brokers.handle(node)).open().await
    };
    let run = sim.block_on_cluster(async {
        let (reads, writes) = (open(READS).await, open(WRITES).await);
        for sequence in 1..=10 {
            append(&writes, record(1, sequence, b"before")).await.expect("appended");
        }
        let mut reader = reads.read(PartitionId::ZERO, Offset::ZERO).await.expect("a reader");
        let mut found = 0;
        while found < 10 {
            found += reader.next().await.expect("delivered").len();
        }
        brokers.truncate_to(PartitionId::ZERO, Offset::new(4));
        let appends = async {
            for sequence in 1..=others {
                // The producer notices, too, and does not know what became of one or the other.
                let _ = append(&writes, record(2, sequence, b"after")).await;
            }
            // Longer than the log may look lost.
            sim.sleep(Duration::from_secs(90)).await;
        };
        let read = async {
            loop {
                if let Err(error) = reader.next().await {
                    return error;
                }
            }
        };
        futures::future::join(read, appends).await.0
    });
    run.expect("a run")
}

#[test]
fn a_log_that_ends_below_what_was_read_is_lost() {
    let error = read_after_loss(0);
    assert!(matches!(error, ReadError::Lost { .. }), "{error}");
}

#[test]
fn a_log_that_was_cut_off_and_grew_again_is_lost() {
    let error = read_after_loss(40);
    assert!(matches!(error, ReadError::Lost { .. }), "{error}");
}
