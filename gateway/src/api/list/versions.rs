//! ListObjectVersions.

use compactor::lookup::find;
use compactor::outcome::VersionName;
use compactor::view::Snapshot;
use ingest::ids::{BucketId, Offset};
use ingest::name::ObjectKey;
use ingest::record::VersionRef;
use query::listing::{self, ListItem, ListStart};
use s3::error::{ErrorCode, S3Error};
use s3::xml::XmlWriter;

use super::item::{prefixes, version_fields};
use super::key_style::KeyStyle;
use super::marker::after_marker;
use super::page_size::list_request;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::owner;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};
use crate::api::version_id::{version_ref, version_text};

/// ListObjectVersions: keys in the order of their bytes, versions of a key from the newest to the oldest.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let style = KeyStyle::of(request)?;
    let prefix = request.query("prefix").unwrap_or_default();
    let delimiter = request.query("delimiter").unwrap_or_default();
    let marker = request.query("key-marker").unwrap_or_default();
    let from = match request.query("version-id-marker").filter(|marker| !marker.is_empty()) {
        None => after_marker(marker, prefix, delimiter),
        Some(_) if marker.is_empty() => {
            return Err(ErrorCode::InvalidArgument
                .because("A version-id marker cannot be specified without a key marker."));
        }
        Some(text) => {
            let offset = version_marker(&snapshot, bucket.id, marker, text).await?;
            match (after_marker(marker, prefix, delimiter), offset) {
                (ListStart::After(key), Some(offset)) => ListStart::AfterVersion(key, offset),
                // A key within a common prefix has no line of its own.
                (start, _) => start,
            }
        }
    };
    let page_request = list_request(request, bucket.id, from)?;
    let page = listing::versions(&snapshot, &page_request).await;
    let page = page.map_err(read_error)?;
    let root = "ListVersionsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Name", bucket.name.as_str());
    style.text(&mut writer, "Prefix", prefix.as_bytes());
    style.text(&mut writer, "KeyMarker", marker.as_bytes());
    writer.text("VersionIdMarker", request.query("version-id-marker").unwrap_or_default());
    if !delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", delimiter.as_bytes());
    }
    style.tell(&mut writer);
    writer.raw("MaxKeys", page_request.max).raw("IsTruncated", page.next.is_some());
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
    let owner = owner::content(context, &bucket.owner);
    for listed in &page.listed {
        let ListItem::Line(line) = listed else { continue };
        let element = if line.is_marker { "DeleteMarker" } else { "Version" };
        writer.begin(element);
        style.text(&mut writer, "Key", &line.key);
        let name = if line.is_null { VersionName::Null } else { VersionName::At(line.version) };
        writer.text("VersionId", &version_text(name)).raw("IsLatest", line.is_latest);
        version_fields(&mut writer, line, Some(&owner));
        writer.end(element);
    }
    prefixes(&mut writer, &style, &page);
    Ok(response::xml(writer.finish(root)))
}

/// The marker of the version that a page ended with. A `null` version is named by its offset, since another version may
/// have the name before the next page.
fn next_version_marker(last: Option<&ListItem>, version: Offset) -> String {
    match last {
        Some(ListItem::Line(line)) if line.is_null => format!("at-{:x}", version.get()),
        _ => version_text(VersionName::At(version)),
    }
}

/// The offset of the version that a marker names; `None` for a `null` version that does not exist. Fails with
/// `InvalidArgument` for a marker of any other form.
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
