//! The section "SQL": the resources of queries.

use std::path::Path;

use sql::SqlOptions;

use super::units::{ByteSize, SettingArg as _, TimeSpan, YEAR};

/// The folder in the data directory for query results that exceed memory.
const SPILL_FOLDER: &str = "spill";

/// The resources of SQL queries.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "SQL")]
pub struct SqlSettings {
    /// The memory that all queries together may use to sort, group and join.
    #[arg(
        id = "sql_memory_bytes",
        long = "sql-memory-bytes",
        env = "SILTSTONE_SQL_MEMORY_BYTES",
        value_name = "SIZE",
        default_value_t = ByteSize::bytes(SqlOptions::default().memory_bytes as u64),
        within(ByteSize::mib(1)..)
    )]
    pub memory: ByteSize,
    /// The disk space that all queries together may use for data that exceeds their memory. With 0, a query that
    /// needs more memory fails.
    #[arg(
        id = "sql_spill_bytes",
        long = "sql-spill-bytes",
        env = "SILTSTONE_SQL_SPILL_BYTES",
        value_name = "SIZE",
        default_value = "4GiB"
    )]
    pub spill: ByteSize,
    /// The number of queries that run at the same time. More queries wait, up to their time limit.
    #[arg(
        id = "sql_queries",
        long = "sql-queries",
        env = "SILTSTONE_SQL_QUERIES",
        value_name = "NUMBER",
        default_value_t = SqlOptions::default().queries_max,
        within(1usize..)
    )]
    pub queries: usize,
    /// Log a warning for each query that takes longer than this.
    #[arg(
        id = "sql_slow_seconds",
        long = "sql-slow-seconds",
        env = "SILTSTONE_SQL_SLOW_SECONDS",
        value_name = "TIME",
        default_value_t = SqlOptions::default().slow.into(),
        within(..=YEAR)
    )]
    pub slow: TimeSpan,
    /// The time limit of a query, from its arrival to its last row. A query that takes longer fails.
    #[arg(
        id = "sql_seconds",
        long = "sql-seconds",
        env = "SILTSTONE_SQL_SECONDS",
        value_name = "TIME",
        default_value_t = SqlOptions::default().deadline.into(),
        within(TimeSpan::secs(1)..=YEAR)
    )]
    pub deadline: TimeSpan,
    /// The number of threads that run all queries together.
    #[arg(
        id = "sql_threads",
        long = "sql-threads",
        env = "SILTSTONE_SQL_THREADS",
        value_name = "NUMBER",
        default_value_t = SqlOptions::default().threads,
        within(1usize..=1024)
    )]
    pub threads: usize,
}

impl SqlSettings {
    /// Returns the options of the SQL engine of a server with that data directory.
    pub fn options(&self, data: &Path) -> SqlOptions {
        let spill = self.spill.get();
        SqlOptions {
            memory_bytes: usize::try_from(self.memory.get()).unwrap_or(usize::MAX),
            spill: (spill > 0).then(|| (data.join(SPILL_FOLDER), spill)),
            queries_max: self.queries,
            slow: self.slow.get(),
            threads: self.threads,
            deadline: self.deadline.get(),
            ..SqlOptions::default()
        }
    }
}
