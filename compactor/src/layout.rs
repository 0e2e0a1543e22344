//! The paths of a partition's files below the data directory.
//!
//! ```text
//!   p0000/catalog/0000000012.a  .b     the catalog of generation 12, twice
//!   p0000/segments/0000000003.seg      payload blocks and entry headers
//!   p0000/runs/0000000005.parquet      manifest      .sums its checksums
//!                        .keys .more   key index     .state state entries
//!                        .tags         tag table
//!   p0000/bulk/0000000007.bulk         payload written before its record
//!   p0000/quarantine                   the reason for quarantine, while this copy serves nothing
//!   cold/p0000/segments/  bulk/        segments and bulk files of the cold place
//! ```

use ingest::env::FilePath;
use ingest::ids::{Generation, PartitionId, RunId, SegmentId};
use ingest::place::Place;

/// Makes the paths of one partition, relative to the data directory. Only computes names: no file is
/// opened.
#[derive(Clone, Debug)]
pub struct PartitionLayout {
    root: FilePath,
}

/// Returns the partition that a path belongs to, from the first component behind the place; partition 0 for any
/// other path. Called for error reports only.
pub(crate) fn partition_of(path: &FilePath) -> PartitionId {
    let mut names = path.as_str().split('/').filter(|name| *name != Place::FOLDER);
    let root = names.next().and_then(|name| name.strip_prefix('p'));
    root.and_then(|digits| digits.parse().ok()).map_or(PartitionId::ZERO, PartitionId::new)
}

impl PartitionLayout {
    /// Makes the layout of a partition, whose folder is `p` and the partition's number in at least four
    /// digits.
    pub fn new(partition: PartitionId) -> Self {
        Self { root: FilePath::new(format!("p{:04}", partition.get())) }
    }

    /// Returns the partition's folder, which contains all folders and files of the partition.
    pub fn root(&self) -> &FilePath {
        &self.root
    }

    /// Returns the folder of the catalog's generations and of their temporaries.
    pub fn catalog_folder(&self) -> FilePath {
        self.root.join("catalog")
    }

    /// Returns the folder of the segments in a place, in which only garbage collection removes files.
    pub fn segments_folder(&self, place: Place) -> FilePath {
        self.root.join("segments").within(place)
    }

    /// Returns the folder of the runs: manifests, checksums, key indexes, tag tables and state tables.
    pub fn runs_folder(&self) -> FilePath {
        self.root.join("runs")
    }

    /// Returns the folder of the bulk files in the hot place; see [`FilePath::within`] for the cold one. Only [`ingest::bulk::BulkFiles`] creates and removes files
    /// there.
    pub fn bulk_folder(&self) -> FilePath {
        self.root.join("bulk")
    }

    /// Returns the path of the quarantine file. While the file exists this copy must not serve requests;
    /// its content is the reason for the quarantine.
    pub fn quarantine(&self) -> FilePath {
        self.root.join("quarantine")
    }

    /// Returns the folders of sealed files: segments of the hot and of the cold place, then runs.
    pub fn folders(&self) -> [FilePath; 3] {
        let [hot, cold] = Place::ALL.map(|place| self.segments_folder(place));
        [hot, cold, self.runs_folder()]
    }

    /// Returns the path of one of the two copies of a generation, `a` or `b`. Loading parses the name, so
    /// the number has ten digits.
    pub fn catalog(&self, generation: Generation, copy: char) -> FilePath {
        self.catalog_folder().join(format!("{:010}.{copy}", generation.get()))
    }

    /// Returns the temporary name of a catalog's copy, under which the copy is written and synced before it
    /// is renamed.
    pub fn catalog_temporary(&self, copy: char) -> FilePath {
        self.catalog_folder().join(format!("tmp.{copy}"))
    }

    /// Returns the path of a segment in a place. Ids are never used again, so a path never names two different
    /// published segments.
    pub fn segment(&self, place: Place, id: SegmentId) -> FilePath {
        self.segments_folder(place).join(format!("{:010}.seg", id.get()))
    }

    fn run(&self, id: RunId, ending: &str) -> FilePath {
        self.runs_folder().join(format!("{:010}.{ending}", id.get()))
    }

    /// Returns the path of a run's manifest, a Parquet file.
    pub fn manifest(&self, id: RunId) -> FilePath {
        self.run(id, "parquet")
    }

    /// Returns the path of the checksums of a run's manifest; readers need them before they read the
    /// manifest.
    pub fn sums(&self, id: RunId) -> FilePath {
        self.run(id, "sums")
    }

    /// Returns the path of the table of a run's key index that has at most one entry for each key: the
    /// entry that decides the key as far as the run has it.
    pub fn keys(&self, id: RunId) -> FilePath {
        self.run(id, "keys")
    }

    /// Returns the path of the table of a run's key index that has all other entries, which only version
    /// listings and histories read.
    pub fn more(&self, id: RunId) -> FilePath {
        self.run(id, "more")
    }

    /// Returns the path of a run's tag table.
    pub fn tags(&self, id: RunId) -> FilePath {
        self.run(id, "tags")
    }

    /// Returns the path of a run's state table: buckets, uploads, parts, streams, last writes and writers.
    pub fn state(&self, id: RunId) -> FilePath {
        self.run(id, "state")
    }

    /// Returns the paths of all six files of a run, in the order manifest, sums, keys, more, tags, state. A
    /// run is usable only with all of them.
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
