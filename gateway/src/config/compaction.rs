//! The section "Compaction": when runs are merged, and how many merges run at a time.

use clap::ValueEnum;
use compactor::partition::{CompactionPolicy, PartitionOptions};

use super::units::SettingArg as _;

/// The policy by which runs are chosen for a merge.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompactionChoice {
    /// Neighbouring runs of one level become one run of the next level as soon as there are `compaction_fan_in` of them.
    Levels,
    /// Runs are merged only by `siltstone merge`. Their number, and with it the cost of every read, grows with each flush.
    Manual,
}

/// When runs are merged, and how many merges run at a time.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Compaction")]
pub struct CompactionSettings {
    /// The policy by which runs are chosen for a merge. May differ from the policy of an earlier start: the first merge by
    /// `levels` takes all runs that a start with `manual` has left.
    #[arg(
        id = "compaction_policy",
        long = "compaction-policy",
        env = "SILTSTONE_COMPACTION_POLICY",
        value_name = "POLICY",
        default_value = "levels"
    )]
    pub policy: CompactionChoice,
    /// The least number of neighbouring runs of one level that a merge makes into one. A larger value writes every entry fewer
    /// times, and leaves more runs for a read to search.
    #[arg(
        id = "compaction_fan_in",
        long = "compaction-fan-in",
        env = "SILTSTONE_COMPACTION_FAN_IN",
        value_name = "NUMBER",
        default_value_t = PartitionOptions::default().merge_fan_in,
        within(2usize..=64)
    )]
    pub fan_in: usize,
    /// The most merges of a partition at a time. A short merge starts beside a long one; every merge takes memory of its own.
    #[arg(
        id = "compactions_max",
        long = "compactions-max",
        env = "SILTSTONE_COMPACTIONS_MAX",
        value_name = "NUMBER",
        default_value_t = PartitionOptions::default().merges_max,
        within(1usize..=16)
    )]
    pub at_once: usize,
}

impl CompactionSettings {
    /// Returns the policy in the engine's terms.
    pub fn policy(&self) -> CompactionPolicy {
        match self.policy {
            CompactionChoice::Levels => CompactionPolicy::Levels,
            CompactionChoice::Manual => CompactionPolicy::Manual,
        }
    }
}
