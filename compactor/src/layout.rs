//! Where a partition's files lie below the data directory.
//!
//! ```text
//!   p0000/catalog/0000000012.a  .b     the catalog of generation 12, twice
//!   p0000/segments/0000000003.seg      payload blocks and entry headers
//!   p0000/runs/0000000005.parquet      manifest      .sums its checksums
//!                        .keys .more   key index     .state state entries
//!                        .tags         tag table
//!   p0000/bulk/0000000007.bulk         payload written before its record
//!   p0000/quarantine                   why this copy serves nothing, if it does not
//! ```

use ingest::env::FilePath;
use ingest::ids::{Generation, PartitionId, RunId, SegmentId};

/// Makes the paths of one partition.
#[derive(Clone, Debug)]
pub struct PartitionLayout {
    root: FilePath,
}

/// The partition that a path belongs to, as its first name tells; the first one for any other path.
pub(crate) fn partition_of(path: &FilePath) -> PartitionId {
    let root = path.as_str().split('/').next().and_then(|name| name.strip_prefix('p'));
    root.and_then(|digits| digits.parse().ok()).map_or(PartitionId::ZERO, PartitionId::new)
}

impl PartitionLayout {
    /// The layout of a partition.
    pub fn new(partition: PartitionId) -> Self {
        Self { root: FilePath::new(format!("p{:04}", partition.get())) }
    }

    /// The partition's folder.
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    /// Where catalogs lie.
    pub fn catalog_folder(&self) -> FilePath {
        self.root.join("catalog")
    }

    /// Where segments lie.
    pub fn segments_folder(&self) -> FilePath {
        self.root.join("segments")
    }

    /// Where runs lie.
    pub fn runs_folder(&self) -> FilePath {
        self.root.join("runs")
    }

    /// Where bulk files lie.
    pub fn bulk_folder(&self) -> FilePath {
        self.root.join("bulk")
    }

    /// Says why this copy serves nothing, if it does not.
    pub fn quarantine(&self) -> FilePath {
        self.root.join("quarantine")
    }

    /// The folders that sealed files lie in.
    pub fn folders(&self) -> [FilePath; 2] {
        [self.segments_folder(), self.runs_folder()]
    }

    /// One of a catalog's two copies.
    pub fn catalog(&self, generation: Generation, copy: char) -> FilePath {
        self.catalog_folder().join(format!("{:010}.{copy}", generation.get()))
    }

    /// The name under which a copy of a catalog is written before it gets its own.
    pub fn catalog_temporary(&self, copy: char) -> FilePath {
        self.catalog_folder().join(format!("tmp.{copy}"))
    }

    /// A segment.
    pub fn segment(&self, id: SegmentId) -> FilePath {
        self.segments_folder().join(format!("{:010}.seg", id.get()))
    }

    fn run(&self, id: RunId, ending: &str) -> FilePath {
        self.runs_folder().join(format!("{:010}.{ending}", id.get()))
    }

    /// A run's manifest.
    pub fn manifest(&self, id: RunId) -> FilePath {
        self.run(id, "parquet")
    }

    /// The checksums of a run's manifest.
    pub fn sums(&self, id: RunId) -> FilePath {
        self.run(id, "sums")
    }

    /// A run's key index: the entry that decides each key.
    pub fn keys(&self, id: RunId) -> FilePath {
        self.run(id, "keys")
    }

    /// A run's key index: all other entries.
    pub fn more(&self, id: RunId) -> FilePath {
        self.run(id, "more")
    }

    /// A run's tag table.
    pub fn tags(&self, id: RunId) -> FilePath {
        self.run(id, "tags")
    }

    /// A run's state entries.
    pub fn state(&self, id: RunId) -> FilePath {
        self.run(id, "state")
    }

    /// All files of a run.
    pub fn run_files(&self, id: RunId) -> [FilePath; 6] {
        [
            self.manifest(id),
            self.sums(id),
            self.keys(id),
            self.more(id),
            self.tags(id),
            self.state(id),
        ]
    }
}
