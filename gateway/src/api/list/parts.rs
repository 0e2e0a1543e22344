//! ListParts.

use compactor::lookup;
use ingest::ids::PartNumber;
use s3::checksum::{ChecksumAlgorithm, etag};
use s3::error::ErrorCode;
use s3::names::number;
use s3::xml::XmlWriter;

use super::page_size::page_size;
use super::upload_fields::{checksum_algorithm, owners};
use crate::api::context::{BucketView, S3Context};
use crate::api::errors::read_error;
use crate::api::multipart::open_upload::open_upload;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// ListParts, in the order of part numbers. Fails with `NoSuchUpload` unless the upload is open.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    let BucketView { bucket, snapshot, .. } = context.bucket_for_read(request).await?;
    let key = request.object_key()?;
    let upload = request.upload()?;
    let open = open_upload(&snapshot, bucket.id, &key, upload).await?;
    let max = page_size(request, "max-parts")?;
    let marker = request.query("part-number-marker").filter(|text| !text.is_empty()).unwrap_or("0");
    let parsed: Option<u32> = number(marker).filter(|marker| *marker <= i32::MAX as u32);
    let marker = parsed.ok_or_else(|| {
        ErrorCode::InvalidArgument
            .because("Argument part-number-marker must be an integer between 0 and 2147483647")
            .with("ArgumentName", "part-number-marker")
            .with("ArgumentValue", marker)
    })?;
    let after = u16::try_from(marker).unwrap_or(u16::MAX);
    let from = PartNumber::new(after.saturating_add(1));
    let mut parts = lookup::parts(&snapshot, upload, from, max + 1).await.map_err(read_error)?;
    // A page of no parts ends the listing, as one of no keys does.
    let is_truncated = max > 0 && parts.len() > max;
    parts.truncate(max);
    let root = "ListPartsResult";
    let mut writer = XmlWriter::new(root);
    writer.text("Bucket", bucket.name.as_str()).text("Key", key.as_str());
    writer.text("UploadId", &hex::encode(upload.0));
    owners(&mut writer, context, &open.attributes.owner);
    writer.text("StorageClass", "STANDARD").raw("PartNumberMarker", marker);
    if let Some((last, ..)) = parts.last() {
        writer.raw("NextPartNumberMarker", last);
    }
    writer.raw("MaxParts", max).raw("IsTruncated", is_truncated);
    checksum_algorithm(&mut writer, &open);
    for (number, created, part) in &parts {
        writer.begin("Part").raw("PartNumber", number);
        writer.text("LastModified", &s3::time::xml(created.micros()));
        writer.text("ETag", &etag(&part.md5, 0)).raw("Size", part.size);
        if let Some(checksum) = &part.checksum
            && let Some(algorithm) = ChecksumAlgorithm::from_code(checksum.algorithm)
        {
            writer.text(algorithm.element(), &checksum.text());
        }
        writer.end("Part");
    }
    Ok(response::xml(writer.finish(root)))
}
