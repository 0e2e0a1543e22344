//! The report behind `GET /status`: how much this server holds.

use compactor::usage::{self, DiskUsage};
use ingest::log::ReadError;
use serde::{Deserialize, Serialize};

use crate::events::EventDeliveries;
use crate::events::report::QueueReport;
use crate::server::engine_options::log_folder;
use crate::server::store::{LogBackend, Store};

/// A server's report of itself.
#[derive(Serialize, Deserialize, Debug)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// The store's id, in hex.
    pub store: String,
    /// Why the server cannot do its work, if it cannot.
    pub trouble: Option<String>,
    /// Payload bytes that are named, an upper bound of what is live.
    pub live_bytes_max: u64,
    /// Bytes of segments and bulk files that nothing names, a lower bound of what is dead.
    pub dead_bytes_min: u64,
    /// Bytes that are free on the device, if it says.
    pub free_bytes: Option<u64>,
    /// Bytes that must stay free for writes to be taken.
    pub reserve_bytes: u64,
    /// Length of the log's files on this machine.
    pub log_bytes: u64,
    /// Length of the segments.
    pub segment_bytes: u64,
    /// Length of the bulk files.
    pub bulk_bytes: u64,
    /// Length of the segments and bulk files of these that are in the cold place.
    #[serde(default)]
    pub cold_bytes: u64,
    /// Bytes that are free on the device of the cold place; none if that is not there.
    #[serde(default)]
    pub cold_free_bytes: Option<u64>,
    /// Length of manifests, indexes and state.
    pub index_bytes: u64,
    /// Each partition.
    pub partitions: Vec<PartitionReport>,
    /// Each queue of events.
    #[serde(default)]
    pub events: Vec<QueueReport>,
}

/// A server's report of a partition.
#[derive(Serialize, Deserialize, Debug)]
pub struct PartitionReport {
    /// Which.
    pub partition: u32,
    /// The last cut that is sealed.
    pub cut: u64,
    /// Everything below this offset is applied.
    pub applied: u64,
    /// Runs.
    pub runs: usize,
    /// Entries in them.
    pub entries: u64,
    /// Segments.
    pub segments: usize,
    /// Bulk files.
    pub bulk_files: usize,
    /// Entries in memory that no run has yet.
    pub memory_entries: u64,
    /// About how many bytes these stand for.
    pub memory_bytes: u64,
    /// Cuts that wait to be sealed.
    pub frozen_memtables: usize,
    /// Uploads that are open.
    pub open_uploads: u64,
    /// True when there may be more of them than were counted.
    pub has_more_uploads: bool,
    /// Payload bytes in segments and bulk files that are named.
    pub live_bytes_max: u64,
    /// Bytes of segments and bulk files that nothing names.
    pub dead_bytes_min: u64,
}

/// Makes this server's report.
pub async fn report(store: &Store, events: &EventDeliveries) -> Result<StatusReport, ReadError> {
    let id = store.id();
    let mut report = StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        store: hex::encode(id.0),
        trouble: store.trouble(),
        live_bytes_max: 0,
        dead_bytes_min: 0,
        free_bytes: None,
        reserve_bytes: 0,
        log_bytes: 0,
        segment_bytes: 0,
        bulk_bytes: 0,
        cold_bytes: 0,
        cold_free_bytes: None,
        index_bytes: 0,
        partitions: Vec::new(),
        events: events.report().await,
    };
    for partition in store.local() {
        let log = match &store.kind {
            LogBackend::Embedded(_) => Some(log_folder(partition.id())),
            LogBackend::Node(_) => None,
        };
        let usage = usage::take(partition, log.as_ref()).await?;
        let snapshot = partition.snapshot();
        let cut = snapshot.view.sealed.catalog.cut.get();
        let of_partition = of(partition.id().get(), cut, snapshot.at.get(), &usage);
        report.live_bytes_max += of_partition.live_bytes_max;
        report.dead_bytes_min += of_partition.dead_bytes_min;
        // All partitions are on one device.
        report.free_bytes = usage.free_bytes;
        report.reserve_bytes = usage.reserve_bytes;
        report.log_bytes += usage.log_file_bytes;
        report.segment_bytes += usage.segment_file_bytes;
        report.bulk_bytes += usage.bulk_file_bytes;
        report.cold_bytes += usage.cold.segment_file_bytes + usage.cold.bulk_file_bytes;
        report.cold_free_bytes = usage.cold.free_bytes;
        report.index_bytes += usage.run_file_bytes;
        report.partitions.push(of_partition);
    }
    Ok(report)
}

/// The report of one partition from its numbers. `cut` is the last cut in sealed files, `applied` the offset below
/// which everything is applied.
pub fn of(partition: u32, cut: u64, applied: u64, usage: &DiskUsage) -> PartitionReport {
    PartitionReport {
        partition,
        cut,
        applied,
        runs: usage.runs,
        entries: usage.run_entries,
        segments: usage.segments,
        bulk_files: usage.bulk_files,
        memory_entries: usage.memtable_entries,
        memory_bytes: usage.memtable_bytes,
        frozen_memtables: usage.frozen_memtables,
        open_uploads: usage.open_uploads,
        has_more_uploads: usage.has_more_uploads,
        live_bytes_max: usage.named_inline_bytes + usage.named_bulk_bytes + usage.memtable_bytes,
        dead_bytes_min: usage.dead_segment_bytes + usage.dead_bulk_bytes,
    }
}
