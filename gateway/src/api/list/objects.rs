//! ListObjects and ListObjectsV2.

use bytes::Bytes;
use query::listing::{self, ListItem, ListPage, ListStart, ListedVersion};
use s3::error::{ErrorCode, S3Error};
use s3::xml::XmlWriter;

use super::item::{prefixes, version_fields};
use super::key_style::KeyStyle;
use super::marker::{after_marker, parse_token, token};
use super::page_size::list_request;
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::owner;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// ListObjects and ListObjectsV2, in the order of keys as bytes. One page is from one snapshot; two pages are not.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let is_v2 = match request.query("list-type") {
        None => false,
        Some("2") => true,
        Some(_) => {
            return Err(
                ErrorCode::InvalidArgument.because("Invalid List Type specified in Request")
            );
        }
    };
    let style = KeyStyle::of(request)?;
    let page_request = list_request(request, bucket.id, start(request, is_v2)?)?;
    let page = listing::objects(&snapshot, &page_request).await;
    let page = page.map_err(read_error)?;
    let root = "ListBucketResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Name", bucket.name.as_str());
    style.text(&mut writer, "Prefix", &page_request.prefix);
    if !page_request.delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", &page_request.delimiter);
    }
    writer.raw("MaxKeys", page_request.max);
    style.tell(&mut writer);
    if is_v2 {
        page_v2(&mut writer, &style, request, &page);
    } else {
        page_v1(&mut writer, &style, request, &page);
    }
    let with_owner = !is_v2 || request.query("fetch-owner") == Some("true");
    let owner = with_owner.then(|| owner::content(context, &bucket.owner));
    for listed in &page.listed {
        if let ListItem::Line(line) = listed {
            content(&mut writer, &style, line, owner.as_deref());
        }
    }
    prefixes(&mut writer, &style, &page);
    Ok(response::xml(writer.finish(root)))
}

/// The place at which the page begins. Fails for a continuation token that this store did not give.
fn start(request: &S3Request, is_v2: bool) -> Result<ListStart, S3Error> {
    let text = |name: &str| request.query(name).unwrap_or_default();
    if !is_v2 {
        return Ok(after_marker(text("marker"), text("prefix"), text("delimiter")));
    }
    Ok(match (text("continuation-token"), text("start-after")) {
        ("", "") => ListStart::Start,
        ("", key) => ListStart::After(Bytes::copy_from_slice(key.as_bytes())),
        (token, _) => parse_token(token)?,
    })
}

/// Writes the place of a page as ListObjects does.
fn page_v1(writer: &mut XmlWriter, style: &KeyStyle, request: &S3Request, page: &ListPage) {
    style.text(writer, "Marker", request.query("marker").unwrap_or_default().as_bytes());
    writer.raw("IsTruncated", page.next.is_some());
    let has_delimiter = request.query("delimiter").is_some_and(|text| !text.is_empty());
    if has_delimiter && let Some(ListStart::AfterPrefix(key) | ListStart::After(key)) = &page.next {
        style.text(writer, "NextMarker", key);
    }
}

/// Writes the place of a page as ListObjectsV2 does.
fn page_v2(writer: &mut XmlWriter, style: &KeyStyle, request: &S3Request, page: &ListPage) {
    writer.raw("KeyCount", page.listed.len());
    if let Some(start) = request.query("start-after") {
        style.text(writer, "StartAfter", start.as_bytes());
    }
    if let Some(token) = request.query("continuation-token") {
        writer.text("ContinuationToken", token);
    }
    writer.raw("IsTruncated", page.next.is_some());
    if let Some(next) = &page.next {
        writer.text("NextContinuationToken", &token(next));
    }
}

fn content(writer: &mut XmlWriter, style: &KeyStyle, line: &ListedVersion, owner: Option<&str>) {
    writer.begin("Contents");
    style.text(writer, "Key", &line.key);
    version_fields(writer, line, owner);
    writer.end("Contents");
}
