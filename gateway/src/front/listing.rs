//! ListObjects (both versions) and ListObjectVersions.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use compactor::lookup::find;
use compactor::outcome::VersionName;
use compactor::view::Snapshot;
use ingest::ids::{BucketId, Offset};
use ingest::name::ObjectKey;
use ingest::record::VersionRef;
use query::listing::{self, ListItem, ListPage, ListRequest, ListStart, ListedVersion};
use s3::checksum::etag;
use s3::error::{ErrorCode, S3Error};
use s3::escape::escape;
use s3::names::encode_path;
use s3::xml::XmlWriter;

use super::answer::{self, HandlerResult};
use super::object::version_ref;
use super::{BucketView, S3Request, S3Service, read_error};

const KEYS_MAX: usize = 1000;

/// How keys are written: plain, or percent-encoded.
pub struct KeyStyle {
    encodes: bool,
}

impl KeyStyle {
    /// As a request wants them.
    pub fn of(asked: &S3Request) -> Result<Self, S3Error> {
        match asked.query("encoding-type") {
            None => Ok(Self { encodes: false }),
            Some("url") => Ok(Self { encodes: true }),
            Some(_) => {
                Err(ErrorCode::InvalidArgument
                    .because("Invalid Encoding Method specified in Request"))
            }
        }
    }

    /// Tells how keys are written, where they are not plain.
    pub fn tell(&self, writer: &mut XmlWriter) {
        if self.encodes {
            writer.text("EncodingType", "url");
        }
    }

    /// Writes a key, or a piece of one.
    pub fn text(&self, writer: &mut XmlWriter, name: &str, text: &[u8]) {
        // Keys are UTF-8; a prefix that ends within a character by the delimiter's doing is shown lossily.
        let text = String::from_utf8_lossy(text);
        if self.encodes {
            writer.text(name, &encode_path(&text));
        } else {
            writer.text(name, &text);
        }
    }
}

fn max_keys(asked: &S3Request) -> Result<usize, S3Error> {
    let Some(text) = asked.query("max-keys").filter(|text| !text.is_empty()) else {
        return Ok(KEYS_MAX);
    };
    let parsed: Option<i64> =
        s3::names::number(text).filter(|max| (0..=i64::from(i32::MAX)).contains(max));
    let max = parsed.ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("Argument maxKeys must be an integer between 0 and 2147483647")
            .with("ArgumentName", "max-keys")
            .with("ArgumentValue", text)
    })?;
    Ok((max as usize).min(KEYS_MAX))
}

fn request(asked: &S3Request, bucket: BucketId, from: ListStart) -> Result<ListRequest, S3Error> {
    let bytes =
        |name: &str| Bytes::copy_from_slice(asked.query(name).unwrap_or_default().as_bytes());
    Ok(ListRequest {
        bucket,
        prefix: bytes("prefix"),
        delimiter: bytes("delimiter"),
        from,
        max: max_keys(asked)?,
    })
}

/// A continuation token: kind, key and a checksum, so that a changed one is refused.
fn token(from: &ListStart) -> String {
    let (kind, key) = match from {
        ListStart::Start => (b's', &[][..]),
        ListStart::After(key) | ListStart::AfterVersion(key, _) => (b'k', key.as_ref()),
        ListStart::AfterPrefix(prefix) => (b'p', prefix.as_ref()),
    };
    let mut bytes = vec![1, kind];
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

fn parse_token(text: &str) -> Result<ListStart, S3Error> {
    let parse = || {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let key = Bytes::copy_from_slice(body.get(2..)?);
        match (crc32c::crc32c(body).to_le_bytes() == *crc, &body[..2]) {
            (true, [1, b'k']) => Some(ListStart::After(key)),
            (true, [1, b'p']) => Some(ListStart::AfterPrefix(key)),
            _ => None,
        }
    };
    parse().ok_or_else(|| {
        ErrorCode::InvalidArgument.because("The continuation token provided is incorrect")
    })
}

/// Where a marker puts a listing: after the key; and if it ends like a common prefix, after all under it.
pub fn after_marker(marker: &str, prefix: &str, delimiter: &str) -> ListStart {
    if marker.is_empty() {
        return ListStart::Start;
    }
    let key = Bytes::copy_from_slice(marker.as_bytes());
    let is_prefix = !delimiter.is_empty()
        && marker.strip_prefix(prefix).is_some_and(|rest| {
            rest.find(delimiter) == Some(rest.len().wrapping_sub(delimiter.len()))
        });
    if is_prefix { ListStart::AfterPrefix(key) } else { ListStart::After(key) }
}

/// ListObjects and ListObjectsV2.
pub async fn objects(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let is_v2 = match asked.query("list-type") {
        None => false,
        Some("2") => true,
        Some(_) => {
            return Err(
                ErrorCode::InvalidArgument.because("Invalid List Type specified in Request")
            );
        }
    };
    let style = KeyStyle::of(asked)?;
    let prefix = asked.query("prefix").unwrap_or_default();
    let delimiter = asked.query("delimiter").unwrap_or_default();
    let token_given = asked.query("continuation-token").filter(|token| !token.is_empty());
    let from = match (is_v2, token_given) {
        (true, Some(token)) => parse_token(token)?,
        (true, None) => match asked.query("start-after").unwrap_or_default() {
            "" => ListStart::Start,
            key => ListStart::After(Bytes::copy_from_slice(key.as_bytes())),
        },
        (false, _) => after_marker(asked.query("marker").unwrap_or_default(), prefix, delimiter),
    };
    let request = request(asked, bucket.id, from)?;
    let page = listing::objects(&snapshot, &request).await;
    let page = page.map_err(read_error)?;
    let root = "ListBucketResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Name", bucket.name.as_str());
    style.text(&mut writer, "Prefix", prefix.as_bytes());
    if !delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", delimiter.as_bytes());
    }
    writer.raw("MaxKeys", request.max);
    style.tell(&mut writer);
    if is_v2 {
        writer.raw("KeyCount", page.listed.len());
        if let Some(start) = asked.query("start-after") {
            style.text(&mut writer, "StartAfter", start.as_bytes());
        }
        if let Some(token) = asked.query("continuation-token") {
            writer.text("ContinuationToken", token);
        }
    } else {
        style.text(&mut writer, "Marker", asked.query("marker").unwrap_or_default().as_bytes());
    }
    writer.raw("IsTruncated", page.next.is_some());
    if let Some(next) = &page.next {
        if is_v2 {
            writer.text("NextContinuationToken", &token(next));
        } else if !delimiter.is_empty() {
            match next {
                ListStart::AfterPrefix(key) | ListStart::After(key) => {
                    style.text(&mut writer, "NextMarker", key)
                }
                _ => {}
            }
        }
    }
    let with_owner = !is_v2 || asked.query("fetch-owner") == Some("true");
    let owner = with_owner.then(|| owner(front, &bucket.owner));
    for listed in &page.listed {
        if let ListItem::Line(line) = listed {
            content(&mut writer, &style, line, owner.as_deref());
        }
    }
    prefixes(&mut writer, &style, &page);
    Ok(answer::xml(writer.finish(root)))
}

fn owner(front: &S3Service, id: &str) -> String {
    let mut text = String::new();
    let name = escape(front.users.display_name(id));
    let _ = write!(text, "<ID>{}</ID><DisplayName>{name}</DisplayName>", escape(id));
    text
}

fn content(writer: &mut XmlWriter, style: &KeyStyle, line: &ListedVersion, owner: Option<&str>) {
    writer.begin("Contents");
    style.text(writer, "Key", &line.key);
    facts(writer, line, owner);
    writer.end("Contents");
}

fn facts(writer: &mut XmlWriter, line: &ListedVersion, owner: Option<&str>) {
    writer.text("LastModified", &s3::time::xml(line.created.micros()));
    if !line.is_marker {
        writer.text("ETag", &etag(&line.etag.md5, line.etag.parts)).raw("Size", line.size);
        for algorithm in s3::checksum::ChecksumAlgorithm::KEPT {
            if line.checksums & 1 << (algorithm as u8) != 0 {
                writer.text("ChecksumAlgorithm", algorithm.name());
            }
        }
    }
    if let Some(owner) = owner {
        writer.raw("Owner", owner);
    }
    if !line.is_marker {
        writer.text("StorageClass", "STANDARD");
    }
}

fn prefixes(writer: &mut XmlWriter, style: &KeyStyle, page: &ListPage) {
    for listed in &page.listed {
        if let ListItem::Prefix(prefix) = listed {
            common_prefix(writer, style, prefix);
        }
    }
}

/// Writes a common prefix.
pub fn common_prefix(writer: &mut XmlWriter, style: &KeyStyle, prefix: &[u8]) {
    writer.begin("CommonPrefixes");
    style.text(writer, "Prefix", prefix);
    writer.end("CommonPrefixes");
}

/// The version that a page ended with. A `null` one is told by the offset behind it: another may have its name by
/// the time of the next page.
fn next_version_marker(last: Option<&ListItem>, version: Offset) -> String {
    match last {
        Some(ListItem::Line(line)) if line.is_null => format!("at-{:x}", version.get()),
        _ => super::object::version_text(VersionName::At(version)),
    }
}

/// The offset of the version that a marker names; none for a `null` version that is not there.
async fn version_marker(
    snapshot: &Snapshot,
    bucket: BucketId,
    key: &str,
    marker: &str,
) -> Result<Option<Offset>, S3Error> {
    let invalid = || ErrorCode::InvalidArgument.because("Invalid version id specified");
    if let Some(offset) = marker.strip_prefix("at-") {
        let offset = s3::names::hex_number(offset).ok_or_else(invalid)?;
        return Ok(Some(Offset::new(offset)));
    }
    match version_ref(Some(marker))? {
        VersionRef::At(offset) => Ok(Some(offset)),
        VersionRef::Null => {
            let Ok(key) = ObjectKey::new(key.as_bytes().to_vec()) else { return Ok(None) };
            let found = find(snapshot, bucket, &key, VersionRef::Null).await.map_err(read_error)?;
            Ok(found.map(|item| item.key.version()))
        }
        VersionRef::Current => Err(invalid()),
    }
}

/// ListObjectVersions.
pub async fn versions(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = front.sight(asked).await?;
    let style = KeyStyle::of(asked)?;
    let prefix = asked.query("prefix").unwrap_or_default();
    let delimiter = asked.query("delimiter").unwrap_or_default();
    let marker = asked.query("key-marker").unwrap_or_default();
    let from = match asked.query("version-id-marker").filter(|marker| !marker.is_empty()) {
        None => after_marker(marker, prefix, delimiter),
        Some(_) if marker.is_empty() => {
            return Err(ErrorCode::InvalidArgument
                .because("A version-id marker cannot be specified without a key marker."));
        }
        Some(text) => {
            let key = Bytes::copy_from_slice(marker.as_bytes());
            match version_marker(&snapshot, bucket.id, marker, text).await? {
                Some(offset) => ListStart::AfterVersion(key, offset),
                None => ListStart::After(key),
            }
        }
    };
    let request = request(asked, bucket.id, from)?;
    let page = listing::versions(&snapshot, &request).await;
    let page = page.map_err(read_error)?;
    let root = "ListVersionsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Name", bucket.name.as_str());
    style.text(&mut writer, "Prefix", prefix.as_bytes());
    style.text(&mut writer, "KeyMarker", marker.as_bytes());
    writer.text("VersionIdMarker", asked.query("version-id-marker").unwrap_or_default());
    if !delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", delimiter.as_bytes());
    }
    style.tell(&mut writer);
    writer.raw("MaxKeys", request.max).raw("IsTruncated", page.next.is_some());
    match &page.next {
        Some(ListStart::AfterVersion(key, version)) => {
            style.text(&mut writer, "NextKeyMarker", key);
            writer.text("NextVersionIdMarker", &next_version_marker(page.listed.last(), *version));
        }
        Some(ListStart::AfterPrefix(key) | ListStart::After(key)) => {
            style.text(&mut writer, "NextKeyMarker", key)
        }
        Some(ListStart::Start) | None => {}
    }
    let owner = owner(front, &bucket.owner);
    for listed in &page.listed {
        let ListItem::Line(line) = listed else { continue };
        let element = if line.is_marker { "DeleteMarker" } else { "Version" };
        writer.begin(element);
        style.text(&mut writer, "Key", &line.key);
        let name = if line.is_null { VersionName::Null } else { VersionName::At(line.version) };
        writer
            .text("VersionId", &super::object::version_text(name))
            .raw("IsLatest", line.is_latest);
        facts(&mut writer, line, Some(&owner));
        writer.end(element);
    }
    prefixes(&mut writer, &style, &page);
    Ok(answer::xml(writer.finish(root)))
}
