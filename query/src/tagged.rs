//! Current objects that have a tag, by the tag tables.
//!
//! A tag table tells which entries had the tag when its run was written. Whether such an entry is still its key's
//! current object is looked up for each. So this is for tags of few objects; a scan finds many faster.

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

/// A tag that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TagFilter {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Keys of buckets, in order.
pub type TagCandidates = BTreeSet<(BucketId, Bytes)>;

/// The keys within bounds that have the tag, or had it once; `None` when there are more than `most`.
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

/// The row of a key's current object, if that has the tag.
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
        EntryData::Memtable(_) => SegmentLocation::NOWHERE,
        EntryData::Run(listed) => listed.location,
    };
    let statement = snapshot.statement(&item.what).await?;
    Ok(has(&statement, tag).then(|| ManifestRow::of(&item.key, &statement, location)))
}
