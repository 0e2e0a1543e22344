//! A log that loses what had been read from it is noticed, also when it has grown again since.

use std::sync::Arc;
use std::time::Duration;

use ingest::env::FilePath;
use ingest::log::replicated::{Options, ReplicatedLog};
use ingest::log::{Log, ReadError};
use ingest::words::{Offset, PartitionId, StoreId};
use simulator::brokers::Knobs;
use simulator::conformance::{append, record};
use simulator::{Sim, SimBrokers, SimDisk};

const STORE: StoreId = StoreId([3; 16]);
const READS: usize = 0;
const WRITES: usize = 1;

/// Cuts the log off under a reader that has read ten records, and appends so many others.
fn read_after_loss(others: u64) -> ReadError {
    let sim = Sim::new(others);
    let brokers = SimBrokers::with_knobs(&sim, 1, Knobs::calm());
    let open = async |node: usize| {
        let env = sim.node_env(node, &SimDisk::new(&sim));
        let options = Options::new(FilePath::new("spool"));
        let log = ReplicatedLog::open(&env, brokers.handle(node), 1, Some(STORE), options).await;
        let log: Arc<dyn Log> = Arc::new(log.expect("opened"));
        log
    };
    let run = sim.block_on_cluster(async {
        let env = sim.node_env(WRITES, &SimDisk::new(&sim));
        let handle = brokers.handle(WRITES);
        ReplicatedLog::establish(&env, &handle, 1, STORE, "cluster").await.expect("set up");
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
