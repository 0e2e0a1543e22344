//! Pages of keys, common prefixes, or versions, in byte order.
//!
//! One merged cursor reads memtable and runs. With a delimiter, a common prefix is listed once, as soon as a
//! visible key is found under it. The cursor then seeks past every key that begins with the prefix, so the cost
//! of a prefix does not depend on the number of its keys. A page is never silently shorter: a file that cannot
//! be read fails the listing.
//!
//! Memory: one page, and one chunk of entries for each source.

use bytes::Bytes;
use compactor::cursor::{CursorEntry, CursorItem, EntryCursor, HistoryScope, may_have_more};
use compactor::index_value::{IndexValueKind, ObjectLabels};
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

/// The parameters of one page, for [`objects`], [`versions`] and [`crate::uploads::uploads`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListRequest {
    /// The bucket; one that does not exist has no keys.
    pub bucket: BucketId,
    /// Only keys that begin with these bytes are listed.
    pub prefix: Bytes,
    /// The bytes that end a common prefix: keys that agree up to the first delimiter after `prefix` are listed
    /// as one item. Empty for no grouping.
    pub delimiter: Bytes,
    /// The place after which the page begins.
    pub from: ListStart,
    /// The most items on the page, keys and common prefixes together. With 0 the page is empty and has no
    /// successor.
    pub max: usize,
}

/// The place after which a page begins. A place below the request's prefix is moved up to the prefix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListStart {
    /// Before the first key.
    Start,
    /// After all entries of this key, which need not exist.
    After(Bytes),
    /// After every key that begins with these bytes.
    AfterPrefix(Bytes),
    /// After this version of this key, within the key; only for listings of versions.
    AfterVersion(Bytes, Offset),
}

/// A key or version on a page, with the attributes that S3's listings return.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedVersion {
    /// The object key.
    pub key: Bytes,
    /// The offset of the record that made the version.
    pub version: Offset,
    /// True if clients know the version as `null`.
    pub is_null: bool,
    /// True if the version is a delete marker.
    pub is_marker: bool,
    /// True if the version is the newest of its key.
    pub is_latest: bool,
    /// Length in bytes; 0 for a delete marker.
    pub size: u64,
    /// Entity tag; the default for a delete marker.
    pub etag: ETag,
    /// The time of the record that made the version.
    pub created: WallTime,
    /// Checksums and storage class; the default for a delete marker.
    pub labels: ObjectLabels,
}

/// One item of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListItem {
    /// A key or version.
    Line(ListedVersion),
    /// A common prefix, delimiter included, that represents all keys that begin with it.
    Prefix(Bytes),
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListPage {
    /// The items in byte order of keys and prefixes; versions of one key are ordered newest first.
    pub listed: Vec<ListItem>,
    /// The start of the next page, or `None` if this page is the last.
    pub next: Option<ListStart>,
}

impl ListPage {
    /// The page of a listing in which nothing can be found.
    const END: ListPage = ListPage { listed: Vec::new(), next: None };
}

/// Returns the encoded entry key at which the cursor begins, or `None` if no key can follow the request's
/// start.
fn first_seek(request: &ListRequest) -> Option<Bytes> {
    let bucket = request.bucket;
    let begin = EntryKey::seek_key(bucket, &request.prefix);
    let from = match &request.from {
        ListStart::Start => begin.clone(),
        ListStart::After(key) => EntryKey::seek_after_key(bucket, key),
        ListStart::AfterPrefix(prefix) => EntryKey::seek_after_prefix(bucket, prefix)?,
        // Begins at the key and not at the version: which versions are visible follows only from all newer
        // entries.
        ListStart::AfterVersion(key, _) => EntryKey::seek_key(bucket, key),
    };
    Some(from.max(begin))
}

/// Lists current objects in byte order of their keys, for ListObjects and SQL.
///
/// Every source delivers the entry that decides a key as far as that source knows. The newest of these entries
/// decides the key, except when it is a tombstone or is about an older version; only then are the key's other
/// entries read. Keys without a current object are passed over and do not count for `max`, so the entries read
/// for a page are not bounded by `max`.
///
/// Errors: [`ReadError::Corrupt`] if a key index cannot be read or an entry cannot be decoded.
/// [`ReadError::Unavailable`] if a file cannot be read now; retry with the same request.
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
        // A copy, since the cursor moves on before its keys are compared with this one.
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
                // The newest entry has decided the key: entries of older sources cannot change the result.
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

/// The meaning of a key's newest entry for a listing of current objects.
enum KeyDecision {
    /// The entry is the key's current object.
    Object,
    /// The key has no current object.
    Hidden,
    /// The entry alone does not decide: the key's other entries must be read.
    AskAll,
}

/// Decides a key by its newest entry, without a read beyond the filters of the bottom run.
///
/// Errors: [`ReadError::Corrupt`] if the entry's value or the bottom run's table cannot be read.
fn decide(snapshot: &Snapshot, first: &CursorEntry<'_>) -> Result<KeyDecision, ReadError> {
    let (kind, _) = first.kind()?;
    if matches!(kind, IndexValueKind::Tombstone | IndexValueKind::NullTombstone) {
        return Ok(KeyDecision::AskAll);
    }
    // The bottom run's head table leaves out keys whose newest version is a delete marker. An entry that made
    // its version is newer than every entry there. An entry about an older version may be older than a marker
    // there.
    let made_it = first.key.version() == first.key.sequence();
    if !made_it && !first.is_bottom() {
        let hash = key_hash(first.key.bucket(), &first.key.object_key());
        if may_have_more(snapshot, hash, HistoryScope::Bottom)? {
            return Ok(KeyDecision::AskAll);
        }
    }
    Ok(if kind == IndexValueKind::Object { KeyDecision::Object } else { KeyDecision::Hidden })
}

/// Returns the current object of the key at which the cursor is positioned, by all entries of all sources.
///
/// Moves `heads` within the key's group at most. Fails if one of the entries cannot be read.
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
    // The runs have no further entries of this key: heads and memtables are all there is.
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

/// Lists all versions and delete markers: keys in byte order, versions of one key newest first.
///
/// Called for ListObjectVersions. Entries that a newer one supersedes are read and passed over, so the entries
/// read for a page are not bounded by `max`. A page that begins after a version reads that version's key again
/// from its newest entry, since visibility and `is_latest` depend on all newer entries.
///
/// Errors: as for [`objects`].
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
            // Versions of earlier pages still decide which version is the latest.
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

/// Returns true if an encoded entry key belongs to the group (bucket and key) `group`.
fn is_of(encoded: &[u8], group: &[u8]) -> bool {
    entry_parts(encoded).is_some_and(|key| key.group() == group)
}

/// The next step of a listing after an entry was offered to the page.
enum ListStep {
    /// Continue with the next entry.
    Next,
    /// Continue at this encoded key: the page has an item for everything below.
    Seek(Bytes),
    /// Stop: the page had no room for the entry, which begins the next page.
    Full,
    /// Stop: no key can follow within the bucket.
    End,
}

/// Finds the common prefix of a key.
pub(crate) struct CommonPrefixes<'a> {
    /// The length of the request's prefix in bytes; the delimiter is searched only after these bytes.
    begin: usize,
    delimiter: &'a [u8],
    finder: Finder<'a>,
}

impl<'a> CommonPrefixes<'a> {
    /// Prepares the search for the request's delimiter; an empty delimiter gives no key a common prefix.
    pub fn new(request: &'a ListRequest) -> Self {
        let delimiter = request.delimiter.as_ref();
        Self { begin: request.prefix.len(), delimiter, finder: Finder::new(delimiter) }
    }

    /// Returns the length in bytes of the common prefix of `key`, delimiter included, or `None` if the key has
    /// none. The key must begin with the request's prefix.
    pub fn len_of(&self, key: &[u8]) -> Option<usize> {
        if self.delimiter.is_empty() {
            return None;
        }
        let at = self.finder.find(key.get(self.begin..)?)?;
        Some(self.begin + at + self.delimiter.len())
    }
}

/// A page under construction: applies `max`, the prefix and the delimiter.
struct PageBuilder<'a> {
    request: &'a ListRequest,
    /// The bytes with which every encoded key of the listing begins.
    start: Bytes,
    common: CommonPrefixes<'a>,
    /// True for a listing of versions: the next page then begins after a version, not after a key.
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
            // The caller may pass any `max`: at most about one page of S3 is reserved in advance.
            listed: Vec::with_capacity(request.max.min(1024)),
        }
    }

    /// Returns true if a key is in the bucket and under the prefix. Keys arrive in order from the first such
    /// key on, so the first `false` ends the listing.
    fn covers(&self, key: EntryParts<'_>) -> bool {
        key.group().starts_with(&self.start)
    }

    /// Adds a visible entry, or the common prefix of its key, and returns the next step. Reads the entry's data
    /// only if the key itself is listed.
    fn take(
        &mut self,
        entry: EntryParts<'_>,
        what: impl FnOnce() -> Result<EntryData, ReadError>,
        is_latest: bool,
    ) -> Result<ListStep, ReadError> {
        // Checked only when another visible entry exists: a full page with nothing behind it is the last one.
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

    /// Returns the page as the last one.
    fn end(self) -> ListPage {
        ListPage { listed: self.listed, next: None }
    }

    /// Returns the page with the start of the next page, which is after the last item.
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

/// Makes the item of a version from the data of a memtable or a run.
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
        labels: ObjectLabels::default(),
    };
    match what {
        EntryData::Run(listed) => ListedVersion {
            is_null: listed.is_null,
            is_marker: listed.kind == IndexValueKind::Marker,
            size: listed.size,
            etag: listed.etag,
            created: listed.created,
            labels: listed.labels,
            ..bare
        },
        EntryData::Memtable(EntryValue::Object(object)) => ListedVersion {
            is_null: object.is_null,
            is_marker: false,
            size: object.attributes.size,
            etag: object.attributes.etag,
            created: object.created,
            labels: ObjectLabels::of(object),
            ..bare
        },
        EntryData::Memtable(EntryValue::Marker { is_null, created, .. }) => {
            ListedVersion { is_null: *is_null, created: *created, ..bare }
        }
        EntryData::Memtable(EntryValue::Tombstone | EntryValue::NullTombstone) => bare,
    }
}

/// Returns true if a version was on an earlier page: the request begins after this version or an older one of
/// its key.
fn is_told_before(request: &ListRequest, entry: EntryParts<'_>) -> bool {
    match &request.from {
        ListStart::AfterVersion(key, version) => {
            entry.version() >= *version && entry.object_key().as_ref() == key.as_ref()
        }
        _ => false,
    }
}
