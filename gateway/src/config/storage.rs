//! The section "Storage": when the memtable is flushed, and the sizes of files.

use std::path::PathBuf;

use anyhow::bail;
use compactor::partition::CutPolicy;
use ingest::record::INLINE_BYTES_MAX;

use super::log::LogKind;
use super::sources::{Sources, defaults};
use super::units::{ByteSize, SettingArg as _, TimeSpan, YEAR};

/// The unit of a log file's length, in bytes.
const LOG_BLOCK: u64 = 4096;

/// When the memtable is flushed, and the sizes of files.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Storage")]
pub struct StorageSettings {
    /// Flush the memtable when its log records reach this size. A larger value makes fewer, larger runs and a
    /// longer restart.
    #[arg(
        long,
        env = "SILTSTONE_CUT_BYTES",
        value_name = "SIZE",
        default_value_t = ByteSize::bytes(CutPolicy::default().bytes),
        within(ByteSize::bytes(1)..)
    )]
    pub cut_bytes: ByteSize,
    /// Flush the memtable when it holds this many entries. A larger value takes more memory.
    #[arg(
        long,
        env = "SILTSTONE_CUT_ENTRIES",
        value_name = "NUMBER",
        default_value_t = CutPolicy::default().entries,
        within(1usize..)
    )]
    pub cut_entries: usize,
    /// Flush the memtable at the latest this long after its first write.
    #[arg(
        id = "cut_seconds",
        long = "cut-seconds",
        env = "SILTSTONE_CUT_SECONDS",
        value_name = "TIME",
        default_value_t = CutPolicy::default().age.into(),
        within(TimeSpan::secs(1)..=YEAR)
    )]
    pub cut_age: TimeSpan,
    /// The largest payload that is written inside its log record. Larger payload is written to a bulk file before
    /// the record, or to the log of a cluster in pieces, where the limit is 982560 bytes.
    #[arg(
        long,
        env = "SILTSTONE_INLINE_BYTES_MAX",
        value_name = "SIZE",
        default_value = "256KiB",
        within(..=ByteSize::bytes(INLINE_BYTES_MAX as u64))
    )]
    pub inline_bytes_max: ByteSize,
    /// The length of a new log file. Must be a multiple of 4096 bytes.
    #[arg(
        long,
        env = "SILTSTONE_LOG_FILE_BYTES",
        value_name = "SIZE",
        default_value = "64MiB",
        within(ByteSize::mib(16)..)
    )]
    pub log_file_bytes: ByteSize,
    /// The length at which a bulk file is full and the next upload begins another.
    #[arg(
        long,
        env = "SILTSTONE_BULK_FILE_BYTES",
        value_name = "SIZE",
        default_value = "1GiB",
        within(ByteSize::mib(1)..=ByteSize::mib(1 << 20))
    )]
    pub bulk_file_bytes: ByteSize,
    /// The folder, on another device, for payload of the storage class GLACIER_IR, which an empty store links to at its
    /// first start. Without this setting the payload lies in the folder `cold` of the data directory. Not for a log on
    /// Kafka.
    #[arg(long, env = "SILTSTONE_COLD_FOLDER", value_name = "DIRECTORY")]
    pub cold_folder: Option<PathBuf>,
    /// Refuse writes that make the store larger while the disk has less free space than this. Reads and deletes go on.
    #[arg(long, env = "SILTSTONE_RESERVE_BYTES", value_name = "SIZE", default_value = "512MiB")]
    pub reserve_bytes: ByteSize,
}

impl StorageSettings {
    /// Returns the settings for tools that work on the data directory of a stopped server: the defaults, and no
    /// reserve, since a repair must be possible on a full disk. Reads neither flags, environment nor file.
    pub fn for_tools() -> Self {
        Self { reserve_bytes: ByteSize::ZERO, ..defaults() }
    }

    /// Returns when the memtable is flushed.
    pub fn cut_policy(&self) -> CutPolicy {
        CutPolicy {
            bytes: self.cut_bytes.get(),
            entries: self.cut_entries,
            age: self.cut_age.get(),
            ..CutPolicy::default()
        }
    }

    /// Refuses a length of log files that is no multiple of a block, payload in records beyond the limit of the log in
    /// use, and a cold folder where the payload of a cluster goes through the log to the folders of all nodes.
    pub fn check(&self, log: &LogKind, sources: &Sources) -> anyhow::Result<()> {
        let inline_limit = log.inline_limit();
        if self.cold_folder.is_some() && matches!(log, LogKind::Kafka(_)) {
            bail!("{} is not for a log on Kafka", sources.name("cold_folder"));
        }
        if !self.log_file_bytes.get().is_multiple_of(LOG_BLOCK) {
            let setting = sources.name("log_file_bytes");
            bail!("{setting} is {}: expected a multiple of {LOG_BLOCK}B", self.log_file_bytes);
        }
        if self.inline_bytes_max.get() > inline_limit {
            let setting = sources.name("inline_bytes_max");
            let (size, most) = (self.inline_bytes_max, ByteSize::bytes(inline_limit));
            bail!("{setting} is {size}: expected at most {most} with a log on Kafka");
        }
        Ok(())
    }
}
