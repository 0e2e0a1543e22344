//! The report behind `GET /cluster`: the state of this node's copies, for comparison with other nodes.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::server::store::{LogBackend, Store};

/// The report of a node about itself.
#[derive(Serialize, Deserialize, Debug)]
pub struct NodeReport {
    /// The cluster's name; empty for a store with a log of its own.
    pub cluster: String,
    /// The store's id.
    pub store: String,
    /// The node's id.
    pub node: u32,
    /// The node's copy of each partition.
    pub partitions: Vec<NodePartitionReport>,
    /// Appends whose outcome was not known.
    pub unknown_outcomes: u64,
    /// Producers that were replaced.
    pub clients_replaced: u32,
    /// Consumers that were replaced.
    pub consumers_replaced: u64,
}

/// The report of a node about its copy of a partition.
#[derive(Serialize, Deserialize, Debug)]
pub struct NodePartitionReport {
    /// Which partition.
    pub partition: u32,
    /// Everything below this offset is applied.
    pub applied: u64,
    /// Records behind the log's end, as some broker believes it to be; none when no broker says.
    pub lag: Option<u64>,
    /// The last cut sealed here.
    pub cut: u64,
    /// Everything below this offset is in sealed files.
    pub sealed: u64,
    /// The digest of everything up to that cut, in hex.
    pub digest: String,
    /// Runs.
    pub runs: usize,
    /// Records that the log delivered again and that were dropped.
    pub duplicates: u64,
    /// Records that stood out of turn and were not applied.
    pub rejected: u64,
    /// Why this copy serves nothing, if so.
    pub quarantined: Option<String>,
    /// Why nothing is written to it any more, or just now, if so.
    pub stopped: Option<String>,
}

/// The report of this node. A lag is `None` when no broker answers; the report itself never fails.
pub async fn report(store: &Store) -> NodeReport {
    let mut partitions = Vec::new();
    for partition in store.local() {
        let snapshot = partition.snapshot();
        let catalog = &snapshot.view.sealed.catalog;
        let counters = partition.counters();
        let lag = match &store.kind {
            LogBackend::Embedded(_) => Some(0),
            LogBackend::Node(node) => node.log.lag(partition.id()).await.ok(),
        };
        partitions.push(NodePartitionReport {
            partition: partition.id().get(),
            applied: snapshot.at.get(),
            lag,
            cut: catalog.cut.get(),
            sealed: catalog.next.get(),
            digest: hex::encode(catalog.digest),
            runs: catalog.runs.len(),
            duplicates: counters.duplicates.load(Ordering::Relaxed),
            rejected: counters.rejected.load(Ordering::Relaxed),
            quarantined: partition.quarantined(),
            stopped: partition.stopped().or_else(|| partition.held()),
        });
    }
    let id = store.id();
    let mut report = NodeReport {
        cluster: String::new(),
        store: hex::encode(id.0),
        node: 0,
        partitions,
        unknown_outcomes: 0,
        clients_replaced: 0,
        consumers_replaced: 0,
    };
    if let LogBackend::Node(node) = &store.kind {
        let counters = node.log.counters();
        report.cluster.clone_from(&node.cluster);
        report.node = node.id.get();
        report.unknown_outcomes = counters.unknown.load(Ordering::Relaxed);
        report.clients_replaced = node.log.clients_replaced().iter().map(|(_, n)| n).sum();
        report.consumers_replaced = counters.consumers_replaced.load(Ordering::Relaxed);
    }
    report
}
