//! What is measured of the store itself, taken when somebody asks.

use std::sync::atomic::Ordering;

use compactor::jobs::board::{JobKind, JobsStatus};
use compactor::partition::Partition;
use ingest::place::Place;

use crate::server::connections::ConnectionTable;
use crate::server::store::{LogBackend, Store};

/// Puts the store's numbers into the metrics.
pub async fn take(store: &Store) {
    for partition in store.local() {
        take_partition(partition);
    }
    metrics::counter!("siltstone_reads_mended_total").absolute(ingest::log::mended());
    if let LogBackend::Node(node) = &store.kind {
        let set = |name: &'static str, value: u64| metrics::counter!(name).absolute(value);
        let counters = node.log.counters();
        set("siltstone_log_unknown_outcomes_total", counters.unknown.load(Ordering::Relaxed));
        set("siltstone_log_barriers_total", counters.barriers.load(Ordering::Relaxed));
        let replaced = counters.consumers_replaced.load(Ordering::Relaxed);
        set("siltstone_log_consumers_replaced_total", replaced);
        for (lane, replaced) in node.log.clients_replaced() {
            let lane = format!("{lane:?}").to_lowercase();
            metrics::counter!("siltstone_log_clients_replaced_total", "lane" => lane)
                .absolute(u64::from(replaced));
        }
        for partition in store.local() {
            // Brokers that do not answer leave the last value; other numbers tell of them.
            if let Ok(lag) = node.log.lag(partition.id()).await {
                let id = partition.id().to_string();
                metrics::gauge!("siltstone_log_lag_records", "partition" => id).set(lag as f64);
            }
        }
    }
}

/// Puts a listener's numbers into the metrics.
pub fn take_connections(connections: &ConnectionTable) {
    let (open, displaced, refused) = connections.counts();
    let listener = connections.name;
    metrics::gauge!("siltstone_connections", "listener" => listener).set(open as f64);
    metrics::counter!("siltstone_connections_displaced_total", "listener" => listener)
        .absolute(displaced);
    metrics::counter!("siltstone_connections_refused_total", "listener" => listener)
        .absolute(refused);
}

/// Puts the queries' numbers into the metrics.
pub fn take_sql(engine: &sql::SqlEngine) {
    let counters = engine.counters();
    for (outcome, count) in
        [("done", &counters.done), ("failed", &counters.failed), ("refused", &counters.refused)]
    {
        metrics::counter!("siltstone_sql_queries_total", "outcome" => outcome)
            .absolute(count.load(Ordering::Relaxed));
    }
    let waiting = counters.waiting.load(Ordering::Relaxed) as f64;
    metrics::gauge!("siltstone_sql_queries_waiting").set(waiting);
}

fn take_partition(partition: &Partition) {
    let id = partition.id().to_string();
    let snapshot = partition.snapshot();
    let sealed = &snapshot.view.sealed;
    let catalog = &sealed.catalog;
    let gauge = |name: &'static str, value: f64| {
        metrics::gauge!(name, "partition" => id.clone()).set(value);
    };
    gauge("siltstone_memtable_entries", snapshot.view.memtable.len() as f64);
    gauge("siltstone_memtable_bytes", snapshot.view.memtable.bytes() as f64);
    gauge("siltstone_frozen_memtables", snapshot.view.frozen.len() as f64);
    gauge("siltstone_applied_offset", snapshot.at.get() as f64);
    gauge("siltstone_cut", catalog.cut.get() as f64);
    gauge("siltstone_catalog_generation", catalog.generation.get() as f64);
    gauge("siltstone_runs", catalog.runs.len() as f64);
    gauge("siltstone_segments", catalog.segments.len() as f64);
    gauge("siltstone_bulk_files", catalog.bulks.len() as f64);
    gauge("siltstone_cold_ready", f64::from(u8::from(partition.cold_refusal().is_none())));
    let cold = catalog.segments.iter().filter(|segment| segment.place == Place::Cold);
    gauge("siltstone_cold_segment_bytes", cold.map(|one| one.file.len).sum::<u64>() as f64);
    gauge("siltstone_catalog_fill_ratio", partition.catalog_fill());
    let entries: u64 = catalog.runs.iter().map(|run| run.entries).sum();
    gauge("siltstone_run_entries", entries as f64);
    let damaged = sealed.runs.iter().filter(|run| run.damage().is_some()).count();
    gauge("siltstone_damaged_runs", damaged as f64);
    gauge("siltstone_quarantined", f64::from(u8::from(partition.quarantined().is_some())));
    gauge("siltstone_held", f64::from(u8::from(partition.held().is_some())));
    gauge("siltstone_ready", f64::from(u8::from(partition.readiness().is_ok())));
    let (ahead, is_doubted) = partition.clock_ahead();
    gauge("siltstone_clock_ahead_seconds", ahead);
    gauge("siltstone_clock_doubted", f64::from(u8::from(is_doubted)));
    gauge("siltstone_cuts_failed", f64::from(partition.cuts_failed()));
    gauge("siltstone_compactions_failed", f64::from(partition.merges_failed()));
    gauge("siltstone_stopped", f64::from(u8::from(partition.stopped().is_some())));
    take_jobs(&id, &partition.jobs());
    let counters = partition.counters();
    gauge("siltstone_streams_open", counters.streams.load(Ordering::Relaxed) as f64);
    let counter = |name: &'static str, value: u64| {
        metrics::counter!(name, "partition" => id.clone()).absolute(value);
    };
    counter("siltstone_duplicate_records_total", counters.duplicates.load(Ordering::Relaxed));
    counter("siltstone_streams_missing_total", counters.streams_missing.load(Ordering::Relaxed));
    counter("siltstone_rejected_records_total", counters.rejected.load(Ordering::Relaxed));
    counter("siltstone_digest_splits_total", counters.digest_splits.load(Ordering::Relaxed));
    let looked_at = counters.prior_looked_at.load(Ordering::Relaxed);
    counter("siltstone_prior_looked_at_total", looked_at);
    counter("siltstone_epochs_total", counters.epochs.load(Ordering::Relaxed));
    let barriers = counters.barrier_micros.load(Ordering::Relaxed) as f64 / 1e6;
    metrics::gauge!("siltstone_barrier_seconds_sum", "partition" => id.clone()).set(barriers);
    counter("siltstone_barriers_met_total", counters.barriers_met.load(Ordering::Relaxed));
}

/// Takes the background jobs of a partition by kind: `siltstone_jobs_running`, and as counters the jobs that have
/// ended and failed, their bytes and their seconds.
fn take_jobs(partition: &str, jobs: &JobsStatus) {
    for kind in JobKind::ALL {
        let labels = [("partition", partition.to_owned()), ("kind", kind.name().to_owned())];
        let running = jobs.running.iter().filter(|job| job.kind == kind).count();
        metrics::gauge!("siltstone_jobs_running", &labels).set(running as f64);
        let totals = jobs.totals.get(&kind).copied().unwrap_or_default();
        metrics::counter!("siltstone_jobs_ended_total", &labels).absolute(totals.ended);
        metrics::counter!("siltstone_jobs_failed_total", &labels).absolute(totals.failed);
        metrics::counter!("siltstone_job_bytes_total", &labels).absolute(totals.bytes);
        metrics::gauge!("siltstone_job_seconds_sum", &labels).set(totals.took.as_secs_f64());
    }
}
