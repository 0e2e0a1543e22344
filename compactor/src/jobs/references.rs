//! Counts of the references to each file, from which garbage collection finds files without references.

use std::collections::BTreeMap;

use bytes::Bytes;
use ingest::ids::{BulkId, SegmentId};
use ingest::log::{Corruption, ReadError};

use crate::catalog::{BulkFileMeta, Catalog};
use crate::manifest::ManifestRow;
use crate::memtable::state_bulk_files;
use crate::state::StateKey;

/// The number of references to each file, or changes of such numbers, since counts have a sign.
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct FileReferences {
    segments: BTreeMap<SegmentId, i64>,
    bulks: BTreeMap<BulkId, i64>,
}

impl FileReferences {
    /// Adds `by` to the counts of the files to which a manifest row refers: the segment with its header,
    /// the segment with its payload if that is another, and each bulk file once.
    pub fn count_row(&mut self, row: &ManifestRow, by: i64) {
        *self.segments.entry(row.header.segment).or_default() += by;
        if let Some(segment) = row.payload_segment {
            *self.segments.entry(segment).or_default() += by;
        }
        for file in &row.bulk_files {
            *self.bulks.entry(*file).or_default() += by;
        }
    }

    /// Adds `by` to the counts of the bulk files to which a state entry refers, each once. Fails with
    /// corruption if the value cannot be decoded; no count has changed then.
    pub fn count_state(
        &mut self,
        key: &StateKey,
        value: Option<&Bytes>,
        by: i64,
    ) -> Result<(), ReadError> {
        let files = state_bulk_files(key, value).map_err(|error| {
            ReadError::Corrupt(Corruption {
                file: "state run".into(),
                position: 0,
                detail: format!("a part cannot be decoded: {error}"),
            })
        })?;
        for file in files {
            *self.bulks.entry(file).or_default() += by;
        }
        Ok(())
    }

    /// Adds the counts to those of a catalog, within an edit. Panics if a count would fall below 0 or a
    /// segment is not in the catalog: such a bug must stop the node before a file is removed because of it.
    pub fn add_to(&self, catalog: &mut Catalog) {
        let add = |count: u64, by: i64| {
            count.checked_add_signed(by).expect("a file has as many references as were counted")
        };
        for (id, by) in &self.segments {
            let segment = catalog.segments.iter_mut().find(|segment| segment.id == *id);
            let segment = segment.expect("a segment that is referred to is in the catalog");
            segment.references = add(segment.references, *by);
        }
        for (id, by) in &self.bulks {
            match catalog.bulks.iter_mut().find(|bulk| bulk.id == *id) {
                Some(bulk) => bulk.references = add(bulk.references, *by),
                None => {
                    catalog.bulks.push(BulkFileMeta { id: *id, references: add(0, *by) });
                }
            }
        }
    }
}
