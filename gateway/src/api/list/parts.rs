//! ListParts.

use compactor::lookup;
use ingest::ids::PartNumber;
use s3::checksum::etag;
use s3::xml::XmlWriter;

use super::part_page::PartPage;
use super::upload_fields::{checksum_algorithm, owners};
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::multipart::open_upload::open_upload;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, checksum_element};

/// ListParts, in the order of part numbers. Fails with `NoSuchUpload` unless the upload is open.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
    let page = PartPage::of(
        ("max-parts", request.query("max-parts")),
        ("part-number-marker", request.query("part-number-marker")),
    )?;
    let from = PartNumber::new(page.after().saturating_add(1));
    let parts = lookup::parts(&snapshot, upload, from, page.max + 1).await;
    let mut parts = parts.map_err(read_error)?;
    let is_truncated = page.is_truncated(parts.len());
    parts.truncate(page.max);
    let root = "ListPartsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("UploadId", &hex::encode(upload.0));
    owners(&mut writer, context, &open.attributes.owner);
    writer
        .text("StorageClass", open.attributes.storage_class().name())
        .raw("PartNumberMarker", page.marker);
    if let Some((last, ..)) = parts.last() {
        writer.raw("NextPartNumberMarker", last);
    }
    writer.raw("MaxParts", page.max).raw("IsTruncated", is_truncated);
    checksum_algorithm(&mut writer, &open);
    for (number, created, part) in &parts {
        writer.begin("Part").raw("PartNumber", number);
        writer.text("LastModified", &s3::time::xml(created.micros()));
        writer.text("ETag", &etag(&part.md5, 0)).raw("Size", part.size);
        checksum_element(&mut writer, &part.visible_checksum());
        writer.end("Part");
    }
    Ok(response::xml(writer.finish(root)))
}
