//! Listings: pages of keys, common prefixes, or versions, in byte order.
//!
//! One merged cursor goes over memtable and runs. With a delimiter, a common prefix is told once, after a
//! visible key was found under it, and the cursor then seeks past everything that begins with it. A page
//! is never shorter than it should be: what cannot be read is an error.

use bytes::Bytes;
use compactor::cursor::{CursorEntry, CursorItem, EntryCursor, HistoryScope, may_have_more};
use compactor::index_value::{IndexValueKind, checksum_bits};
use compactor::lookup::find;
use compactor::view::{EntryData, Snapshot};
use compactor::visibility::{EntryShape, Visibility, VisibilityVerdict};
use ingest::entry::{ETag, EntryKey, EntryParts, EntryValue, entry_parts};
use ingest::ids::{BucketId, Offset};
use ingest::log::{Corruption, ReadError};
use ingest::name::ObjectKey;
use ingest::record::{VersionRef, key_hash};
use ingest::time::WallTime;
use memchr::memmem::Finder;

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListRequest {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Keys that share what comes before this, after the prefix, are told as one. Empty for none.
    pub delimiter: Bytes,
    /// Where to begin.
    pub from: ListStart,
    /// The most keys and prefixes together.
    pub max: usize,
}

/// Where a listing begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListStart {
    /// At the first key.
    Start,
    /// After this key (which need not exist).
    After(Bytes),
    /// After every key that begins with this.
    AfterPrefix(Bytes),
    /// After this version of this key; for listings of versions.
    AfterVersion(Bytes, Offset),
}

/// A key or version, as a listing shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedVersion {
    /// The key.
    pub key: Bytes,
    /// The offset of the record that made the version.
    pub version: Offset,
    /// Whether clients know it as `null`.
    pub is_null: bool,
    /// Whether it is a delete marker.
    pub is_marker: bool,
    /// Whether it is the newest of its key.
    pub is_latest: bool,
    /// Length in bytes.
    pub size: u64,
    /// Entity tag.
    pub etag: ETag,
    /// When it was made.
    pub created: WallTime,
    /// The algorithms of its checksums as bits.
    pub checksums: u8,
}

/// One thing on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListItem {
    /// A key or version.
    Line(ListedVersion),
    /// Keys under a common prefix.
    Prefix(Bytes),
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListPage {
    /// What is on it, in order.
    pub listed: Vec<ListItem>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<ListStart>,
}

impl ListPage {
    const END: ListPage = ListPage { listed: Vec::new(), next: None };
}

/// Where the cursor goes first.
fn first_seek(request: &ListRequest) -> Option<Bytes> {
    let bucket = request.bucket;
    let begin = EntryKey::seek_key(bucket, &request.prefix);
    let from = match &request.from {
        ListStart::Start => begin.clone(),
        ListStart::After(key) => EntryKey::seek_after_key(bucket, key),
        ListStart::AfterPrefix(prefix) => EntryKey::seek_after_prefix(bucket, prefix)?,
        // From the version's key on: visibility is judged over the whole key.
        ListStart::AfterVersion(key, _) => EntryKey::seek_key(bucket, key),
    };
    Some(from.max(begin))
}

/// Lists current objects.
///
/// Each source shows the entry that decides a key as far as it knows, so the first of them decides the key.
/// Only where a removal stands first, or a statement about an older version, must what is behind be asked.
pub async fn objects(snapshot: &Snapshot, request: &ListRequest) -> Result<ListPage, ReadError> {
    let mut page = PageBuilder::new(request, false);
    let Some(from) = first_seek(request).filter(|_| request.max > 0) else {
        return Ok(ListPage::END);
    };
    let mut cursor = EntryCursor::over_heads(snapshot)?;
    cursor.seek(&from).await?;
    let mut group = Vec::new();
    loop {
        let Some(standing) = cursor.standing()? else { return Ok(page.end()) };
        if !page.covers(standing.key) {
            return Ok(page.end());
        }
        group.clear();
        group.extend_from_slice(standing.key.group());
        let step = match decide(snapshot, &standing)? {
            KeyDecision::Object => page.take(standing.key, || standing.what(), true)?,
            KeyDecision::Hidden => ListStep::Next,
            KeyDecision::AskAll => {
                let key = standing.key.object_key().into_owned();
                match current(snapshot, &mut cursor, request.bucket, &group, key).await? {
                    Some(item) => page.take(item.key.parts(), || Ok(item.what.clone()), true)?,
                    None => ListStep::Next,
                }
            }
        };
        match step {
            ListStep::Next => {
                // What older sources say of the key does not matter.
                while cursor.key().is_some_and(|key| is_of(key, &group)) {
                    cursor.advance().await?;
                }
            }
            ListStep::Seek(target) => cursor.seek(&target).await?,
            ListStep::Full => return Ok(page.full()),
            ListStep::End => return Ok(page.end()),
        }
    }
}

/// What the first statement about a key amounts to.
enum KeyDecision {
    /// It is the key's current object.
    Object,
    /// The key has no current object.
    Hidden,
    /// It does not decide.
    AskAll,
}

fn decide(snapshot: &Snapshot, first: &CursorEntry<'_>) -> Result<KeyDecision, ReadError> {
    let (kind, _) = first.kind()?;
    if matches!(kind, IndexValueKind::Tombstone | IndexValueKind::NullTombstone) {
        return Ok(KeyDecision::AskAll);
    }
    // The bottom run shows nothing of a key whose newest version is a marker. A statement that made its
    // version is newer than anything there; one about an older version may not be.
    let made_it = first.key.version() == first.key.sequence();
    if !made_it && !first.is_bottom() {
        let hash = key_hash(first.key.bucket(), &first.key.object_key());
        if may_have_more(snapshot, hash, HistoryScope::Bottom)? {
            return Ok(KeyDecision::AskAll);
        }
    }
    Ok(if kind == IndexValueKind::Object { KeyDecision::Object } else { KeyDecision::Hidden })
}

/// The current object of the key that the cursor stands at, by everything that any source says of it.
async fn current(
    snapshot: &Snapshot,
    heads: &mut EntryCursor,
    bucket: BucketId,
    group: &[u8],
    key: Vec<u8>,
) -> Result<Option<CursorItem>, ReadError> {
    if may_have_more(snapshot, key_hash(bucket, &key), HistoryScope::All)? {
        let key = ObjectKey::new(key).map_err(|error| {
            let detail = format!("a key of the index is none: {error}");
            ReadError::Corrupt(Corruption { file: "key index".into(), position: 0, detail })
        })?;
        let found = find(snapshot, bucket, &key, VersionRef::Current).await?;
        return Ok(found.filter(CursorItem::is_object));
    }
    // One entry of each source is all there is.
    let mut visibility = Visibility::default();
    while heads.key().is_some_and(|key| is_of(key, group)) {
        let Some(standing) = heads.standing()? else { break };
        let (kind, is_null) = standing.kind()?;
        let shape = EntryShape::of_kind(kind, is_null);
        if visibility.judge(standing.key.version(), shape) == VisibilityVerdict::Visible {
            return Ok(if kind == IndexValueKind::Object { Some(standing.item()?) } else { None });
        }
        heads.advance().await?;
    }
    Ok(None)
}

/// Lists all versions and delete markers, newest first within a key.
pub async fn versions(snapshot: &Snapshot, request: &ListRequest) -> Result<ListPage, ReadError> {
    let mut page = PageBuilder::new(request, true);
    let Some(from) = first_seek(request).filter(|_| request.max > 0) else {
        return Ok(ListPage::END);
    };
    let mut cursor = EntryCursor::over_all(snapshot)?;
    cursor.seek(&from).await?;
    let mut group = Vec::new();
    let mut visibility = Visibility::default();
    let mut is_latest = true;
    loop {
        let Some(standing) = cursor.standing()? else { return Ok(page.end()) };
        if standing.key.group() != group.as_slice() {
            if !page.covers(standing.key) {
                return Ok(page.end());
            }
            group.clear();
            group.extend_from_slice(standing.key.group());
            visibility = Visibility::default();
            is_latest = true;
        }
        let (kind, is_null) = standing.kind()?;
        let shape = EntryShape::of_kind(kind, is_null);
        let mut step = ListStep::Next;
        if visibility.judge(standing.key.version(), shape) == VisibilityVerdict::Visible {
            let was_latest = std::mem::replace(&mut is_latest, false);
            if !is_told_before(request, standing.key) {
                step = page.take(standing.key, || standing.what(), was_latest)?;
            }
        }
        match step {
            ListStep::Next => cursor.advance().await?,
            ListStep::Seek(target) => cursor.seek(&target).await?,
            ListStep::Full => return Ok(page.full()),
            ListStep::End => return Ok(page.end()),
        }
    }
}

/// Whether an encoded entry is one of a group's.
fn is_of(encoded: &[u8], group: &[u8]) -> bool {
    entry_parts(encoded).is_some_and(|key| key.group() == group)
}

/// What to do after an entry has been taken.
enum ListStep {
    Next,
    /// Everything below this has been told.
    Seek(Bytes),
    /// The page had no room for it.
    Full,
    /// Nothing can come after it.
    End,
}

/// Finds the common prefix that a key falls under.
pub(crate) struct CommonPrefixes<'a> {
    /// A key's common prefix ends after this much at the least.
    begin: usize,
    delimiter: &'a [u8],
    finder: Finder<'a>,
}

impl<'a> CommonPrefixes<'a> {
    pub fn new(request: &'a ListRequest) -> Self {
        let delimiter = request.delimiter.as_ref();
        Self { begin: request.prefix.len(), delimiter, finder: Finder::new(delimiter) }
    }

    /// How much of a key under the request's prefix is its common prefix, if it has one.
    pub fn len_of(&self, key: &[u8]) -> Option<usize> {
        if self.delimiter.is_empty() {
            return None;
        }
        let at = self.finder.find(key.get(self.begin..)?)?;
        Some(self.begin + at + self.delimiter.len())
    }
}

/// A page that is being filled.
struct PageBuilder<'a> {
    request: &'a ListRequest,
    /// What every encoded key begins with that the listing covers.
    start: Bytes,
    common: CommonPrefixes<'a>,
    with_versions: bool,
    listed: Vec<ListItem>,
}

impl<'a> PageBuilder<'a> {
    fn new(request: &'a ListRequest, with_versions: bool) -> Self {
        Self {
            request,
            start: EntryKey::seek_key(request.bucket, &request.prefix),
            common: CommonPrefixes::new(request),
            with_versions,
            listed: Vec::with_capacity(request.max.min(1024)),
        }
    }

    /// Whether a key is in the bucket and under the prefix. Keys come in order, and none before the first
    /// that is.
    fn covers(&self, key: EntryParts<'_>) -> bool {
        key.group().starts_with(&self.start)
    }

    /// Takes a visible entry.
    fn take(
        &mut self,
        entry: EntryParts<'_>,
        what: impl FnOnce() -> Result<EntryData, ReadError>,
        is_latest: bool,
    ) -> Result<ListStep, ReadError> {
        if self.listed.len() == self.request.max {
            return Ok(ListStep::Full);
        }
        let key = entry.object_key();
        if let Some(len) = self.common.len_of(&key) {
            let prefix = Bytes::copy_from_slice(&key[..len]);
            let after = EntryKey::seek_after_prefix(self.request.bucket, &prefix);
            self.listed.push(ListItem::Prefix(prefix));
            return Ok(after.map_or(ListStep::End, ListStep::Seek));
        }
        let key = Bytes::copy_from_slice(&key);
        self.listed.push(ListItem::Line(line(key, entry.version(), &what()?, is_latest)));
        Ok(ListStep::Next)
    }

    /// The page, if there is nothing after it.
    fn end(self) -> ListPage {
        ListPage { listed: self.listed, next: None }
    }

    /// The page, if there is more after it.
    fn full(self) -> ListPage {
        let next = match self.listed.last() {
            None => None,
            Some(ListItem::Prefix(prefix)) => Some(ListStart::AfterPrefix(prefix.clone())),
            Some(ListItem::Line(line)) if self.with_versions => {
                Some(ListStart::AfterVersion(line.key.clone(), line.version))
            }
            Some(ListItem::Line(line)) => Some(ListStart::After(line.key.clone())),
        };
        ListPage { listed: self.listed, next }
    }
}

fn line(key: Bytes, version: Offset, what: &EntryData, is_latest: bool) -> ListedVersion {
    let bare = ListedVersion {
        key,
        version,
        is_null: false,
        is_marker: true,
        is_latest,
        size: 0,
        etag: ETag::default(),
        created: WallTime::default(),
        checksums: 0,
    };
    match what {
        EntryData::Run(listed) => ListedVersion {
            is_null: listed.is_null,
            is_marker: listed.kind == IndexValueKind::Marker,
            size: listed.size,
            etag: listed.etag,
            created: listed.created,
            checksums: listed.checksums,
            ..bare
        },
        EntryData::Memtable(EntryValue::Object(object)) => ListedVersion {
            is_null: object.is_null,
            is_marker: false,
            size: object.attributes.size,
            etag: object.attributes.etag,
            created: object.created,
            checksums: checksum_bits(&object.attributes.checksums),
            ..bare
        },
        EntryData::Memtable(EntryValue::Marker { is_null, created, .. }) => {
            ListedVersion { is_null: *is_null, created: *created, ..bare }
        }
        EntryData::Memtable(EntryValue::Tombstone | EntryValue::NullTombstone) => bare,
    }
}

/// Whether a version was on an earlier page.
fn is_told_before(request: &ListRequest, entry: EntryParts<'_>) -> bool {
    match &request.from {
        ListStart::AfterVersion(key, version) => {
            entry.version() >= *version && entry.object_key().as_ref() == key.as_ref()
        }
        _ => false,
    }
}
