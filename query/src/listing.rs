//! Listings: pages of keys, common prefixes, or versions, in byte order.
//!
//! One merged cursor goes over tail and runs. With a delimiter, a common prefix is told once, after a
//! visible key was found under it, and the cursor then seeks past everything that begins with it. A page
//! is never shorter than it should be: what cannot be read is an error.

use bytes::Bytes;
use compactor::cursor::{Cursor, Item};
use compactor::listed::{Kind, checksum_bits};
use compactor::view::{Snapshot, What};
use compactor::visible::{Verdict, Visibility};
use ingest::entry::{ETag, EntryKey, Statement};
use ingest::log::ReadError;
use ingest::words::{BucketId, Offset, WallTime};

/// What to list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The bucket.
    pub bucket: BucketId,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Keys that share what comes before this, after the prefix, are told as one. Empty for none.
    pub delimiter: Bytes,
    /// Where to begin.
    pub from: From,
    /// The most keys and prefixes together.
    pub max: usize,
}

/// Where a listing begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum From {
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
pub struct Line {
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
pub enum Listed {
    /// A key or version.
    Line(Line),
    /// Keys under a common prefix.
    Prefix(Bytes),
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What is on it, in order.
    pub listed: Vec<Listed>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<From>,
}

fn line(item: &Item, is_latest: bool) -> Line {
    let key = item.key.object_key();
    let version = item.key.version();
    let bare = Line {
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
    match &item.what {
        What::Run(listed) => Line {
            is_null: listed.is_null,
            is_marker: listed.kind == Kind::Marker,
            size: listed.size,
            etag: listed.etag,
            created: listed.created,
            checksums: listed.checksums,
            ..bare
        },
        What::Tail(Statement::Object(object)) => Line {
            is_null: object.is_null,
            is_marker: false,
            size: object.attributes.size,
            etag: object.attributes.etag,
            created: object.created,
            checksums: checksum_bits(&object.attributes.checksums),
            ..bare
        },
        What::Tail(Statement::Marker { is_null, created, .. }) => {
            Line { is_null: *is_null, created: *created, ..bare }
        }
        What::Tail(Statement::Removed | Statement::NullRemoved) => bare,
    }
}

/// Lists current objects.
pub async fn objects(snapshot: &Snapshot, request: &Request) -> Result<Page, ReadError> {
    list(snapshot, request, false).await
}

/// Lists all versions and delete markers, newest first within a key.
pub async fn versions(snapshot: &Snapshot, request: &Request) -> Result<Page, ReadError> {
    list(snapshot, request, true).await
}

/// The common prefix that a key falls under, if it does.
pub(crate) fn common_prefix(request: &Request, key: &Bytes) -> Option<Bytes> {
    let delimiter = request.delimiter.as_ref();
    if delimiter.is_empty() {
        return None;
    }
    let rest = &key[request.prefix.len()..];
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(key.slice(..request.prefix.len() + at + delimiter.len()))
}

/// Where the cursor goes first.
fn first_seek(request: &Request) -> Option<Bytes> {
    let bucket = request.bucket;
    let begin = EntryKey::seek_key(bucket, &request.prefix);
    let from = match &request.from {
        From::Start => begin.clone(),
        From::After(key) => EntryKey::seek_after_key(bucket, key),
        From::AfterPrefix(prefix) => EntryKey::seek_after_prefix(bucket, prefix)?,
        // From the version's key on: visibility is judged over the whole key.
        From::AfterVersion(key, _) => EntryKey::seek_key(bucket, key),
    };
    Some(from.max(begin))
}

async fn list(
    snapshot: &Snapshot,
    request: &Request,
    with_versions: bool,
) -> Result<Page, ReadError> {
    let mut listed = Vec::new();
    let end = Page { listed: Vec::new(), next: None };
    let Some(from) = first_seek(request).filter(|_| request.max > 0) else { return Ok(end) };
    let mut cursor = Cursor::over_all(snapshot)?;
    cursor.seek(&from).await?;
    let mut group = Bytes::new();
    let mut visibility = Visibility::default();
    let mut is_latest = true;
    while let Some(next) = cursor.peek() {
        if next.bucket() != request.bucket {
            break;
        }
        let Some(item) = cursor.next().await? else { break };
        if item.key.group() != group.as_ref() {
            let key = item.key.object_key();
            if !key.starts_with(&request.prefix) {
                break;
            }
            group = Bytes::copy_from_slice(item.key.group());
            visibility = Visibility::default();
            is_latest = true;
        }
        let verdict = visibility.judge(item.key.version(), item.shape());
        if verdict != Verdict::Visible {
            continue;
        }
        let key = item.key.object_key();
        let shows = with_versions || (is_latest && item.is_object());
        let was_latest = std::mem::replace(&mut is_latest, false);
        if shows && !is_told_before(request, &item) {
            let prefix = common_prefix(request, &key);
            if listed.len() == request.max {
                let next = last_place(&listed, with_versions);
                return Ok(Page { listed, next });
            }
            match prefix {
                Some(prefix) => {
                    let after = EntryKey::seek_after_prefix(request.bucket, &prefix);
                    listed.push(Listed::Prefix(prefix));
                    let Some(after) = after else { break };
                    cursor.seek(&after).await?;
                    continue;
                }
                None => listed.push(Listed::Line(line(&item, was_latest))),
            }
        }
        if !with_versions {
            // The rest of the key's versions does not matter here.
            cursor.seek(&EntryKey::seek_after_key(request.bucket, &key)).await?;
        }
    }
    Ok(Page { listed, next: None })
}

/// Whether a version was on an earlier page.
fn is_told_before(request: &Request, item: &Item) -> bool {
    match &request.from {
        From::AfterVersion(key, version) => {
            item.key.object_key() == *key && item.key.version() >= *version
        }
        _ => false,
    }
}

/// Where a page that ends here goes on.
fn last_place(listed: &[Listed], with_versions: bool) -> Option<From> {
    Some(match listed.last()? {
        Listed::Prefix(prefix) => From::AfterPrefix(prefix.clone()),
        Listed::Line(line) if with_versions => From::AfterVersion(line.key.clone(), line.version),
        Listed::Line(line) => From::After(line.key.clone()),
    })
}
