//! `siltstone status`: prints the report of a running server as text, with units.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;

use super::client;
use crate::admin::status::StatusReport;
use crate::events::report::QueueReport;

/// Formats a number of bytes with a binary unit and at most four digits before the decimal point, for people only.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// The report as text, with units.
fn words(report: &StatusReport) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    let state = match &report.trouble {
        None => "ready".to_owned(),
        Some(trouble) => format!("NOT READY: {trouble}"),
    };
    writeln!(text, "store {}, siltstone {}: {state}", report.store, report.version)?;
    let mut line =
        |name: &str, bytes: String, note: &str| writeln!(text, "{name:<10} {bytes:>11}  {note}");
    line(
        "live",
        size(report.live_bytes_max),
        "at most; overwritten and removed objects are counted out when runs merge",
    )?;
    line(
        "dead",
        size(report.dead_bytes_min),
        "at least; a file is removed when nothing in it is needed",
    )?;
    let free = report.free_bytes.map_or_else(|| "unknown".to_owned(), size);
    let reserve =
        format!("on the device; below {} only deletes are taken", size(report.reserve_bytes));
    line("free", free, &reserve)?;
    line("log", size(report.log_bytes), "files of the log, written ahead of need")?;
    line("segments", size(report.segment_bytes), "small objects, and headers of all")?;
    line("bulk", size(report.bulk_bytes), "large objects")?;
    let free = report.cold_free_bytes.map_or_else(|| "not there".to_owned(), size);
    line("cold", size(report.cold_bytes), &format!("of these in the cold place; free: {free}"))?;
    line("indexes", size(report.index_bytes), "manifests, key indexes, tags, state")?;
    for one in &report.partitions {
        let more = if one.has_more_uploads { " or more" } else { "" };
        writeln!(
            text,
            "partition {}: cut {}, {} runs of {} entries, {} segments, {} bulk files; in memory {} entries of {}, {} frozen \
             memtables; {}{more} open uploads",
            one.partition,
            one.cut,
            one.runs,
            one.entries,
            one.segments,
            one.bulk_files,
            one.memory_entries,
            size(one.memory_bytes),
            one.frozen_memtables,
            one.open_uploads,
        )?;
    }
    for queue in &report.events {
        writeln!(text, "{}", queue_words(queue))?;
    }
    Ok(text)
}

/// One line about a queue of events.
fn queue_words(queue: &QueueReport) -> String {
    let mut line = format!(
        "events to {}, partition {}: {} wait in {}",
        queue.destination,
        queue.partition,
        queue.waiting,
        size(queue.waiting_bytes)
    );
    if let Some(seconds) = queue.oldest_seconds {
        let _ = write!(line, ", the oldest for {seconds:.0} s");
    }
    let (delivered, dropped) = (queue.delivered, queue.dropped);
    let _ =
        write!(line, "; {delivered} delivered, {dropped} dropped, {} failed tries", queue.failures);
    if let Some(error) = &queue.error {
        let _ = write!(line, "; the last try: {error}");
    }
    line
}

/// `siltstone status`: prints the report of a running server, as text or as JSON. Exits 1 if the server is not ready.
/// Fails if the server cannot be reached and if its response is not a report.
pub fn run(admin: &str, is_json: bool) -> anyhow::Result<ExitCode> {
    let text = client::get(admin, "/status")?;
    let report: StatusReport = serde_json::from_str(&text).context("the answer is not a status")?;
    let shown = if is_json { text + "\n" } else { words(&report)? };
    // The reader may have closed the pipe, as `head` does.
    let _ = std::io::stdout().write_all(shown.as_bytes());
    Ok(if report.trouble.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[cfg(test)]
mod tests {
    use compactor::usage::DiskUsage;

    use super::*;
    use crate::admin::status::of;

    #[test]
    fn sizes_have_at_most_four_digits() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_536, "1.5 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (5 << 30, "5.0 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, text) in table {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn what_is_dead_and_live_is_told_in_words() {
        let usage = DiskUsage {
            named_inline_bytes: 1 << 20,
            named_bulk_bytes: 2 << 20,
            memtable_bytes: 1 << 20,
            dead_segment_bytes: 512,
            dead_bulk_bytes: 512,
            open_uploads: 3,
            has_more_uploads: true,
            ..DiskUsage::default()
        };
        let one = of(0, 7, 99, &usage);
        let report = StatusReport {
            version: "1".into(),
            store: "ab".into(),
            trouble: Some("the device is gone".into()),
            live_bytes_max: one.live_bytes_max,
            dead_bytes_min: one.dead_bytes_min,
            free_bytes: None,
            reserve_bytes: 1 << 30,
            log_bytes: 0,
            segment_bytes: 0,
            bulk_bytes: 0,
            cold_bytes: 3 << 20,
            cold_free_bytes: None,
            index_bytes: 0,
            partitions: vec![one],
            events: vec![QueueReport {
                destination: "hook".into(),
                waiting: 3,
                waiting_bytes: 2048,
                oldest_seconds: Some(61.5),
                delivered: 10,
                dropped: 1,
                error: Some("down".into()),
                ..QueueReport::default()
            }],
        };
        let text = words(&report).unwrap();
        for part in [
            "NOT READY: the device is gone",
            "live           4.0 MiB  at most",
            "dead           1.0 KiB  at least",
            "free           unknown",
            "below 1.0 GiB",
            "cold           3.0 MiB  of these in the cold place; free: not there",
            "cut 7",
            "3 or more open uploads",
            "events to hook, partition 0: 3 wait in 2.0 KiB, the oldest for 62 s; 10 delivered, 1 dropped, 0 failed tries; the last try: down",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
    }
}
