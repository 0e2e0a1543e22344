//! The options of log, bulk files and partitions that follow from the server's settings.

use compactor::catalog::Catalog;
use compactor::layout::PartitionLayout;
use compactor::partition::PartitionOptions;
use ingest::bulk;
use ingest::env::FilePath;
use ingest::ids::PartitionId;
use ingest::log::embedded;

use super::identity::StoreIdentity;
use crate::config::StorageSettings;

/// The folder of a partition's log below the data directory, where the log is on this machine.
pub fn log_folder(partition: PartitionId) -> FilePath {
    FilePath::new("log").join(format!("{:04}", partition.get()))
}

/// How the log is kept under these settings.
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

/// How bulk files are kept under these settings.
pub fn bulk_options(settings: &StorageSettings, catalog: &Catalog) -> bulk::BulkOptions {
    bulk::BulkOptions {
        folder: PartitionLayout::new(catalog.partition).bulk_folder(),
        store: catalog.store,
        partition: catalog.partition,
        next: catalog.next_bulk,
        file_bytes_max: settings.bulk_file_bytes.get(),
        // The log's syncs wait behind these on the device: small enough for a small PUT beside an upload.
        sync_bytes: 4 << 20,
        reserve_bytes: settings.reserve_bytes.get(),
    }
}

/// How partitions are run under these settings, wherever their log is.
pub fn partition_options(settings: &StorageSettings) -> PartitionOptions {
    PartitionOptions {
        cut: settings.cut_policy(),
        reserve_bytes: settings.reserve_bytes.get(),
        ..PartitionOptions::default()
    }
}
