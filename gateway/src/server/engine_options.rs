//! The options of log, bulk files and partitions that follow from the server's settings.

use compactor::catalog::Catalog;
use compactor::layout::PartitionLayout;
use compactor::partition::PartitionOptions;
use ingest::bulk;
use ingest::env::FilePath;
use ingest::ids::PartitionId;
use ingest::log::embedded;

use super::identity::StoreIdentity;
use crate::config::{ServerSettings, StorageSettings};

/// The folder of a partition's log below the data directory, where the log is on this machine.
pub fn log_folder(partition: PartitionId) -> FilePath {
    FilePath::new("log").join(format!("{:04}", partition.get()))
}

/// The options of the log on this machine. Also called by the tools that check or repair a data
/// directory, which must find the same files as the server.
pub fn log_options(settings: &StorageSettings, own: StoreIdentity) -> embedded::EmbeddedLogOptions {
    embedded::EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: own.store,
        is_begun: own.is_begun,
        file_bytes: settings.log_file_bytes.get(),
        queue_bytes: 16 << 20,
        reserve_bytes: settings.reserve_bytes.get(),
    }
}

/// The options of a partition's bulk files. New files get numbers from the catalog's next one on. Also called by the
/// tool that checks a data directory.
pub fn bulk_options(settings: &StorageSettings, catalog: &Catalog) -> bulk::BulkOptions {
    bulk::BulkOptions {
        folder: PartitionLayout::new(catalog.partition).bulk_folder(),
        store: catalog.store,
        partition: catalog.partition,
        next: catalog.next_bulk,
        file_bytes_max: settings.bulk_file_bytes.get(),
        // A sync of the log waits for a sync of this size on the device. Larger ones would delay small PUTs during
        // an upload.
        sync_bytes: 4 << 20,
        reserve_bytes: settings.reserve_bytes.get(),
    }
}

/// The options of a partition that follow from the settings alone, for both kinds of log. All others have their
/// defaults, unless the caller changes them.
pub fn partition_options(settings: &ServerSettings) -> PartitionOptions {
    let (storage, compaction) = (&settings.storage, &settings.compaction);
    PartitionOptions {
        cut: storage.cut_policy(),
        compaction: compaction.policy(),
        merge_fan_in: compaction.fan_in,
        merges_max: compaction.at_once,
        reserve_bytes: storage.reserve_bytes.get(),
        ..PartitionOptions::default()
    }
}
