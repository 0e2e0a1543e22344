//! The log on real brokers keeps the contract of a log.

use std::sync::Arc;

use ingest::env::production;
use ingest::log::brokers::Brokers;
use kafka::KafkaBrokers;
use simulator::conformance::{self, OnBrokers};

use crate::trial::Trial;

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_the_contract() {
    let Some(trial) = Trial::begin("conformance", 1).await else { return };
    let folder = tempfile::tempdir().unwrap();
    let env = production::of(folder.path()).unwrap();
    let brokers = || Arc::new(KafkaBrokers::new(trial.settings.clone())) as Arc<dyn Brokers>;
    conformance::check_all(&OnBrokers::new(env, brokers)).await;
    trial.end().await;
}
