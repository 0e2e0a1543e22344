//! The embedded log on the simulated disk keeps the contract of a log.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use ingest::env::FilePath;
use ingest::ids::{Offset, PartitionId, StoreId};
use ingest::log::Log;
use ingest::log::embedded::{EmbeddedLog, EmbeddedLogOptions};
use parking_lot::Mutex;
use simulator::conformance::{self, LogFactory};
use simulator::{Sim, SimDisk};

pub fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: StoreId([3; 16]),
        file_bytes: 64 << 10,
        queue_bytes: 1 << 20,
        reserve_bytes: 0,
        is_begun: false,
    }
}

struct Embedded<'a> {
    sim: &'a Sim,
    disk: SimDisk,
    open: Mutex<Option<Arc<EmbeddedLog>>>,
    first: Mutex<Offset>,
}

impl LogFactory for Embedded<'_> {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        let env = self.sim.env(&self.disk);
        Box::pin(async move {
            let first = *self.first.lock();
            let floors = BTreeMap::from([(PartitionId::ZERO, first)]);
            let (log, report) = EmbeddedLog::open(&env, options(), &floors).await.expect("opened");
            assert!(report.corruptions.is_empty(), "{report:?}");
            let log = Arc::new(log);
            *self.open.lock() = Some(log.clone());
            log as Arc<dyn Log>
        })
    }

    fn close(&self, log: Arc<dyn Log>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            *self.first.lock() = log.status(PartitionId::ZERO).first;
            let open = self.open.lock().take();
            if let Some(open) = open {
                open.close().await;
            }
        })
    }
}

#[test]
fn the_embedded_log_keeps_the_contract() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let disk = SimDisk::new(&sim);
        let factory = Embedded {
            sim: &sim,
            disk: disk.clone(),
            open: Mutex::default(),
            first: Mutex::default(),
        };
        let run = sim.block_on(&disk, conformance::check_all(&factory));
        assert_eq!(run, Ok(()), "seed {seed}");
    }
}
