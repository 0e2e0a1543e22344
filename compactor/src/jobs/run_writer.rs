//! Writes a run: manifest, key index, tag table and state table at the same time, with a count of its
//! references.
//!
//! Flushes and merges use the same writer, so that their runs have the same form.

use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::Encoder;
use ingest::env::Disk;
use ingest::ids::{BucketId, Offset, RunId};
use ingest::record::key_hash;

use super::error::JobError;
use super::references::FileReferences;
use crate::catalog::RunMeta;
use crate::index_value::IndexValueKind;
use crate::layout::PartitionLayout;
use crate::manifest::{ManifestRow, ManifestWriter};
use crate::memtable::state_bulk_bytes;
use crate::sealed::remove_if_there;
use crate::state::StateKey;
use crate::state_value::encode_state_value;
use crate::table::{TableKind, TableValue, TableWriter};
use crate::visibility::EntryShape;

/// The range of a run in the log, and its level.
#[derive(Clone, Copy, Debug)]
pub struct RunSpan {
    /// The run's level: 0 for a flush, otherwise the level of the merge's plan.
    pub level: u8,
    /// The lowest offset of the run's records.
    pub first: Offset,
    /// The offset at which the run's records end, exclusive.
    pub below: Offset,
}

/// The state of the key whose entries are being written.
#[derive(Default)]
struct WrittenKey {
    /// Bucket and key of the entries, see `ingest::entry`.
    group: Vec<u8>,
    has_latest: bool,
}

/// Writes the files of one run.
pub struct RunWriter {
    id: RunId,
    manifest: ManifestWriter,
    keys: TableWriter,
    more: TableWriter,
    tags: TableWriter,
    state: TableWriter,
    entries: u64,
    inline_bytes: u64,
    bulk_bytes: u64,
    is_bottom: bool,
    key: WrittenKey,
    /// The numbers of each table's last entry, see [`crate::index_value::IndexValue::numbers`].
    keys_numbers: [u64; 5],
    more_numbers: [u64; 5],
    /// The references of everything that was written.
    pub references: FileReferences,
}

impl RunWriter {
    /// Creates a run's files; files that an earlier attempt has left under these names are removed before.
    /// `is_bottom` must be true only if no older run exists. Fails if the disk fails.
    pub async fn create(
        disk: &Arc<dyn Disk>,
        layout: &PartitionLayout,
        id: RunId,
        is_bottom: bool,
    ) -> Result<Self, JobError> {
        let paths = layout.run_files(id);
        for path in &paths {
            remove_if_there(disk, path).await?;
        }
        let [manifest, sums, keys, more, tags, state] = &paths;
        Ok(Self {
            id,
            manifest: ManifestWriter::create(disk, manifest, sums, id).await?,
            keys: TableWriter::create(disk, keys, TableKind::Keys, id.get()).await?,
            more: TableWriter::create(disk, more, TableKind::More, id.get()).await?,
            tags: TableWriter::create(disk, tags, TableKind::Tags, id.get()).await?,
            state: TableWriter::create(disk, state, TableKind::State, id.get()).await?,
            entries: 0,
            inline_bytes: 0,
            bulk_bytes: 0,
            is_bottom,
            key: WrittenKey::default(),
            keys_numbers: [0; 5],
            more_numbers: [0; 5],
            references: FileReferences::default(),
        })
    }

    /// Adds an entry. Entries must come in the order of their sort keys, without superseded ones; otherwise
    /// the call panics or marks a wrong version as the latest. After an error the files must be discarded.
    pub async fn push(&mut self, mut row: ManifestRow) -> Result<(), JobError> {
        self.references.count_row(&row, 1);
        let key = row.entry_key();
        let is_first = key.group() != self.key.group.as_slice();
        if is_first {
            self.key.group.clear();
            self.key.group.extend_from_slice(key.group());
            self.key.has_latest = false;
        }
        let is_version = matches!(row.shape(), EntryShape::Version(_));
        row.is_latest = is_version && !std::mem::replace(&mut self.key.has_latest, is_version);
        // A search for current objects reads one entry of each key. If older runs may exist this is the
        // first entry, whatever its kind; in the oldest run only a current object is needed.
        let decides = match self.is_bottom {
            true => row.is_latest && row.kind == IndexValueKind::Object,
            false => is_first,
        };
        let listed = row.listed();
        let mut value = Encoder::new();
        listed.encode(&mut value);
        let hash = key_hash(BucketId::new(row.bucket), row.key.as_bytes());
        let (table, numbers) = match decides {
            true => (&mut self.keys, &mut self.keys_numbers),
            false => (&mut self.more, &mut self.more_numbers),
        };
        *numbers = listed.numbers(*numbers);
        let value = TableValue { numbers: *numbers, bytes: value.as_slice() };
        table.add(key.as_bytes(), value, Some(hash)).await?;
        let bytes = match row.bulk_files.is_empty() {
            true => &mut self.inline_bytes,
            false => &mut self.bulk_bytes,
        };
        *bytes += row.object.as_ref().map_or(0, |object| object.size);
        self.manifest.push(row).await?;
        self.entries += 1;
        Ok(())
    }

    /// Adds a tag's key. Keys must rise strictly, otherwise the call panics; see [`crate::tags::tag_keys`].
    pub async fn push_tag(&mut self, key: &[u8]) -> Result<(), JobError> {
        Ok(self.tags.add(key, TableValue::default(), None).await?)
    }

    /// Adds a state entry, `None` for a removed key. Keys must rise strictly, otherwise the call panics.
    /// Fails with corruption if the references in a value cannot be decoded.
    pub async fn push_state(
        &mut self,
        key: &StateKey,
        value: Option<&Bytes>,
    ) -> Result<(), JobError> {
        self.references.count_state(key, value, 1)?;
        self.bulk_bytes += state_bulk_bytes(key, value);
        let value = encode_state_value(value);
        self.state.add(&key.0, TableValue { bytes: &value, ..TableValue::default() }, None).await?;
        Ok(())
    }

    /// Ends and syncs all files; returns the run's catalog entry and the references of its content. The
    /// caller must sync the folder, and only then publish the run. After an error none of the files may be
    /// used.
    pub async fn finish(self, span: RunSpan) -> Result<(RunMeta, FileReferences), JobError> {
        let (manifest, sums) = self.manifest.finish().await?;
        let run = RunMeta {
            id: self.id,
            level: span.level,
            first: span.first,
            below: span.below,
            entries: self.entries,
            inline_bytes: self.inline_bytes,
            bulk_bytes: self.bulk_bytes,
            manifest,
            sums,
            keys: self.keys.finish().await?,
            more: self.more.finish().await?,
            tags: self.tags.finish().await?,
            state: self.state.finish().await?,
        };
        Ok((run, self.references))
    }
}
