//! The log on real brokers keeps the contract of a log.

use std::sync::Arc;

use futures::future::BoxFuture;
use ingest::env::{Env, FilePath};
use ingest::log::Log;
use ingest::log::brokers::Brokers;
use ingest::log::replicated::{Options, ReplicatedLog};
use ingest::words::StoreId;
use kafka::KafkaBrokers;
use parking_lot::Mutex;
use simulator::conformance::{self, Factory};

use crate::environment;
use crate::trial::Trial;

const STORE: StoreId = StoreId([3; 16]);

struct Real {
    env: Env,
    settings: kafka::Settings,
    open: Mutex<Option<Arc<ReplicatedLog>>>,
}

impl Factory for Real {
    fn open(&self) -> BoxFuture<'_, Arc<dyn Log>> {
        Box::pin(async move {
            let brokers: Arc<dyn Brokers> = Arc::new(KafkaBrokers::new(self.settings.clone()));
            let set_up = ReplicatedLog::establish(&self.env, &brokers, 1, STORE, "cluster").await;
            set_up.expect("set up");
            let options = Options::new(FilePath::new("spool"));
            let log = ReplicatedLog::open(&self.env, brokers, 1, Some(STORE), options).await;
            let log = Arc::new(log.expect("opened"));
            *self.open.lock() = Some(log.clone());
            log as Arc<dyn Log>
        })
    }

    fn close(&self, _log: Arc<dyn Log>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let open = self.open.lock().take();
            if let Some(open) = open {
                open.close().await;
            }
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_the_contract() {
    let Some(trial) = Trial::begin("conformance", 1).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let factory = Real {
        env: environment::of(folder.path()).unwrap(),
        settings: trial.settings.clone(),
        open: Mutex::default(),
    };
    conformance::check_all(&factory).await;
    trial.end().await;
}
