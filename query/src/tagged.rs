//! Current objects that have a tag, found by the runs' tag tables.
//!
//! A tag table lists the entries that had the tag when its run was written. A look-up of each key then decides
//! whether such an entry is still the key's current object. The cost therefore grows with the number of
//! matches; a scan is faster for a tag of many objects.

use std::collections::BTreeSet;

use bytes::Bytes;
use compactor::lookup::find;
use compactor::manifest::ManifestRow;
use compactor::tags::{tag_prefix, tagged_entry};
use compactor::view::{EntryData, Snapshot};
use ingest::entry::{EntryKey, EntryValue, SegmentLocation};
use ingest::ids::BucketId;
use ingest::log::{Corruption, ReadError};
use ingest::name::ObjectKey;
use ingest::record::VersionRef;

use crate::scan::KeyBounds;

/// A condition on a tag: its name and its value, compared byte by byte.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagFilter {
    /// The name of the tag.
    pub name: String,
    /// The value of the tag.
    pub value: String,
}

/// Keys of buckets, ordered by bucket id and key.
pub type TagCandidates = BTreeSet<(BucketId, Bytes)>;

/// Returns the keys within bounds that have the tag or had it before, or `None` if there are more than `most`.
///
/// Every key must be confirmed by [`row`]. Reads all memtable entries within the bounds and the tag's part of
/// each run's tag table; the memory is bounded by `most` keys. Cancel safe: the call has no effect but its
/// result.
///
/// Errors: [`ReadError::Corrupt`] if a tag table is damaged, [`ReadError::Unavailable`] if it cannot be read
/// now. An unreadable table never counts as empty.
pub async fn candidates(
    snapshot: &Snapshot,
    bounds: &KeyBounds,
    tag: &TagFilter,
    most: usize,
) -> Result<Option<TagCandidates>, ReadError> {
    let mut found = TagCandidates::new();
    let mut add = |entry: &EntryKey| {
        let (bucket, key) = (entry.bucket(), entry.object_key());
        if bounds.has(bucket, &key) {
            found.insert((bucket, key));
        }
        found.len() <= most
    };
    let Some((from, end)) = bounds.entries() else { return Ok(Some(found)) };
    // Memtables have no tag table, so all of their entries within the bounds are read.
    for (memtable, at) in snapshot.memtables() {
        let mut next = Some(from.clone());
        while let Some(from) = next.take().filter(|from| *from < end) {
            let (entries, after) = memtable.entries(&from, at, 256);
            next = after;
            let mut tagged = entries.iter().filter(|(_, statement)| has(statement, tag));
            if !tagged.all(|(key, _)| add(key)) {
                return Ok(None);
            }
        }
    }
    for run in &snapshot.view.sealed.runs {
        let table = run.tags.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        for bucket in bounds.buckets() {
            let prefix = tag_prefix(*bucket, &tag.name, &tag.value);
            cursor.seek(&prefix).await?;
            while let Some(key) = cursor.key().filter(|key| key.starts_with(&prefix)) {
                let entry =
                    tagged_entry(key).and_then(|entry| EntryKey::from_bytes(entry.into()).ok());
                let entry = entry.ok_or_else(|| {
                    ReadError::Corrupt(Corruption {
                        file: format!("tag table of run {}", run.run.id),
                        position: cursor.position(),
                        detail: "a tag's key is malformed".into(),
                    })
                })?;
                if !add(&entry) {
                    return Ok(None);
                }
                cursor.advance().await?;
            }
        }
    }
    Ok(Some(found))
}

/// Returns true if an entry is an object that has the tag.
fn has(statement: &EntryValue, tag: &TagFilter) -> bool {
    match statement {
        EntryValue::Object(object) => object
            .attributes
            .tags
            .iter()
            .any(|(name, value)| *name == tag.name && *value == tag.value),
        _ => false,
    }
}

/// Returns the manifest row of a key's current object if that object has the tag now, otherwise `None`.
///
/// Errors: those of [`crate::object::lookup`], and [`ReadError::Corrupt`] if the candidate is not a valid
/// object key.
pub async fn row(
    snapshot: &Snapshot,
    (bucket, key): &(BucketId, Bytes),
    tag: &TagFilter,
) -> Result<Option<ManifestRow>, ReadError> {
    let key = ObjectKey::new(key.clone()).map_err(|error| {
        ReadError::Corrupt(Corruption {
            file: "tag table".into(),
            position: 0,
            detail: format!("a key is none: {error}"),
        })
    })?;
    let found = find(snapshot, *bucket, &key, VersionRef::Current).await?;
    let Some(item) = found.filter(|item| item.is_object()) else { return Ok(None) };
    let location = match &item.what {
        // The header of an entry in a memtable is in no segment yet.
        EntryData::Memtable(_) => SegmentLocation::NOWHERE,
        EntryData::Run(listed) => listed.location,
    };
    let statement = snapshot.statement(&item.what).await?;
    Ok(has(&statement, tag).then(|| ManifestRow::of(&item.key, &statement, location)))
}
