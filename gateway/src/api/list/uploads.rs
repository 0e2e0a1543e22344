//! ListMultipartUploads.

use bytes::Bytes;
use query::listing::{ListRequest, ListStart};
use query::uploads::{self, ListedUpload, UploadItem};
use s3::error::ErrorCode;
use s3::xml::XmlWriter;

use super::key_style::{KeyStyle, common_prefix};
use super::marker::after_marker;
use super::page_size::page_size;
use super::upload_fields::{checksum_algorithm, owners};
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::request::{S3Request, upload_id};
use crate::api::response::{self, HandlerResult};

/// ListMultipartUploads: open uploads in the order of their keys, then of their ids.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let style = KeyStyle::of(request)?;
    let max = page_size("max-uploads", request.query("max-uploads"))?;
    let prefix = request.query("prefix").unwrap_or_default();
    let delimiter = request.query("delimiter").unwrap_or_default();
    let key_marker = request.query("key-marker").unwrap_or_default();
    let id_marker = request.query("upload-id-marker").unwrap_or_default();
    let after = match id_marker {
        "" => None,
        text => Some(upload_id(text).ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because("Invalid uploadId marker")
                .with("ArgumentName", "upload-id-marker")
                .with("ArgumentValue", text)
        })?),
    };
    let list_request = ListRequest {
        bucket: bucket.id,
        prefix: Bytes::copy_from_slice(prefix.as_bytes()),
        delimiter: Bytes::copy_from_slice(delimiter.as_bytes()),
        // With an id the marker is an upload's key, even where it looks like a common prefix.
        from: match after {
            Some(_) => ListStart::After(Bytes::copy_from_slice(key_marker.as_bytes())),
            None => after_marker(key_marker, prefix, delimiter),
        },
        max,
    };
    let page = uploads::uploads(&snapshot, &list_request, after).await.map_err(read_error)?;
    let root = "ListMultipartUploadsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str());
    style.text(&mut writer, "KeyMarker", key_marker.as_bytes());
    writer.text("UploadIdMarker", id_marker);
    style.text(&mut writer, "Prefix", prefix.as_bytes());
    if !delimiter.is_empty() {
        style.text(&mut writer, "Delimiter", delimiter.as_bytes());
    }
    match page.listed.last().filter(|_| page.is_truncated) {
        Some(UploadItem::Upload(upload)) => {
            style.text(&mut writer, "NextKeyMarker", &upload.key);
            writer.text("NextUploadIdMarker", &hex::encode(upload.id.0));
        }
        Some(UploadItem::Prefix(common)) => {
            style.text(&mut writer, "NextKeyMarker", common);
            writer.text("NextUploadIdMarker", "");
        }
        None => {}
    }
    style.tell(&mut writer);
    writer.raw("MaxUploads", max).raw("IsTruncated", page.is_truncated);
    for listed in &page.listed {
        match listed {
            UploadItem::Upload(upload) => write_upload(&mut writer, &style, context, upload),
            UploadItem::Prefix(common) => common_prefix(&mut writer, &style, common),
        }
    }
    Ok(response::xml(writer.finish(root)))
}

fn write_upload(
    writer: &mut XmlWriter,
    style: &KeyStyle,
    context: &S3Context,
    upload: &ListedUpload,
) {
    let open = &upload.open;
    writer.begin("Upload");
    style.text(writer, "Key", &upload.key);
    writer.text("UploadId", &hex::encode(upload.id.0));
    owners(writer, context, &open.attributes.owner);
    writer.text("StorageClass", open.attributes.storage_class().name());
    writer.text("Initiated", &s3::time::xml(open.created.micros()));
    checksum_algorithm(writer, open);
    writer.end("Upload");
}
