//! `siltstone cluster status`: compares the reports of a cluster's nodes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;

use super::client;
use crate::admin::cluster::NodeReport;

/// `siltstone cluster status`: requests a report from every node, in the order of the addresses, and prints a
/// table. Exits 1 if a node does not answer, a copy is quarantined or has stopped, or nodes differ.
pub fn status(admins: &str) -> anyhow::Result<ExitCode> {
    let mut wrong = Vec::new();
    let mut reports = Vec::new();
    for admin in admins.split(',').map(str::trim) {
        match ask_node(admin) {
            Ok(report) => reports.push((admin, report)),
            Err(error) => wrong.push(format!("{admin}: {error:#}")),
        }
    }
    let mut table = String::new();
    writeln!(
        table,
        "{:<6} {:>4} {:>12} {:>8} {:>6} {:>12}  {:<16} state",
        "node", "part", "applied", "lag", "cut", "sealed", "digest"
    )?;
    for (admin, report) in &reports {
        for copy in &report.partitions {
            let state = match (&copy.quarantined, &copy.stopped) {
                (Some(_), _) => "QUARANTINED",
                (None, Some(_)) => "STOPPED",
                (None, None) => "ok",
            };
            let reason = copy.quarantined.as_ref().or(copy.stopped.as_ref());
            wrong.extend(reason.map(|reason| format!("{admin}: {reason}")));
            let lag = copy.lag.map_or_else(|| "?".to_owned(), |lag| lag.to_string());
            writeln!(
                table,
                "{:<6} {:>4} {:>12} {:>8} {:>6} {:>12}  {:<16} {state}",
                report.node,
                copy.partition,
                copy.applied,
                lag,
                copy.cut,
                copy.sealed,
                &copy.digest[..copy.digest.len().min(16)],
            )?;
        }
    }
    let reports: Vec<&NodeReport> = reports.iter().map(|(_, report)| report).collect();
    wrong.extend(differences(&reports));
    for line in &wrong {
        writeln!(table, "{line}")?;
    }
    // The reader may have closed the pipe, as `head` does.
    let _ = std::io::stdout().write_all(table.as_bytes());
    Ok(if wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn ask_node(admin: &str) -> anyhow::Result<NodeReport> {
    let text = client::get(admin, "/cluster")?;
    serde_json::from_str(&text).context("the answer is not a node's report")
}

/// The differences between nodes that should be equal: store ids, and digests of the same cut.
fn differences(reports: &[&NodeReport]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(first) = reports.first() else { return found };
    for report in &reports[1..] {
        if report.store != first.store {
            found.push(format!(
                "node {} belongs to store {}, node {} to {}",
                report.node, report.store, first.node, first.store
            ));
        }
    }
    // Only digests of the same cut can be compared.
    let mut digests: BTreeMap<(u32, u64), BTreeMap<&str, Vec<u32>>> = BTreeMap::new();
    for report in reports {
        for copy in &report.partitions {
            let cut = digests.entry((copy.partition, copy.cut)).or_default();
            cut.entry(&copy.digest).or_default().push(report.node);
        }
    }
    for ((partition, cut), digests) in digests.into_iter().filter(|(_, found)| found.len() > 1) {
        let sides: Vec<String> =
            digests.iter().map(|(digest, nodes)| format!("{digest} on {nodes:?}")).collect();
        found.push(format!("partition {partition} differs at cut {cut}: {}", sides.join(", ")));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::cluster::NodePartitionReport;

    fn report(node: u32, cut: u64, digest: &str) -> NodeReport {
        let copy = NodePartitionReport {
            partition: 0,
            applied: 9,
            lag: None,
            cut,
            sealed: 8,
            digest: digest.into(),
            runs: 1,
            duplicates: 0,
            rejected: 0,
            quarantined: None,
            stopped: None,
        };
        NodeReport {
            cluster: "c".into(),
            store: "s".into(),
            node,
            partitions: vec![copy],
            unknown_outcomes: 0,
            clients_replaced: 0,
            consumers_replaced: 0,
        }
    }

    #[test]
    fn copies_are_compared_at_equal_cuts_only() {
        let (a, b, c) = (report(1, 4, "aa"), report(2, 4, "aa"), report(3, 5, "bb"));
        assert!(differences(&[&a, &b, &c]).is_empty());
        let other = report(3, 4, "bb");
        assert_eq!(differences(&[&a, &b, &other]).len(), 1);
    }
}
