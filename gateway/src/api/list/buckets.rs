//! ListBuckets.

use s3::error::ErrorCode;
use s3::names;
use s3::xml::XmlWriter;

use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};
use crate::api::{access, owner};
use crate::users::owns;

/// ListBuckets: the requester's buckets in the order of their names. Fails when one partition cannot be read, since the
/// list would be short.
pub async fn list(context: &S3Context, request: &S3Request) -> HandlerResult {
    access::check_without_bucket(request)?;
    let prefix = request.query("prefix").unwrap_or_default();
    let after = request.query("continuation-token").unwrap_or_default();
    let max = match request.query("max-buckets") {
        None => usize::MAX,
        Some(text) => {
            names::number(text).filter(|max| (1..=10_000).contains(max)).ok_or_else(|| {
                ErrorCode::InvalidArgument
                    .because("max-buckets is not between 1 and 10000")
                    .with("ArgumentName", "max-buckets")
                    .with("ArgumentValue", text)
            })?
        }
    };
    let region = request.query("bucket-region");
    let is_none =
        |region: &&str| !names::is_region(region) && !context.options.has_location(region);
    if let Some(region) = region.filter(is_none) {
        return Err(ErrorCode::InvalidArgument
            .because(format!("Argument value {region} is not a valid AWS Region"))
            .with("ArgumentName", "bucket-region")
            .with("ArgumentValue", region));
    }
    let snapshots = context.all_partitions().await?;
    let mut mine: Vec<_> = snapshots
        .iter()
        .flat_map(|snapshot| snapshot.buckets.iter())
        .filter(|bucket| owns(&request.user, bucket))
        .filter(|bucket| region.is_none_or(|region| region == context.options.region_of(bucket)))
        .filter(|bucket| bucket.name.as_str().starts_with(prefix) && bucket.name.as_str() > after)
        .collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    let root = "ListAllMyBucketsResult";
    let mut writer = XmlWriter::new(root);
    owner::write(&mut writer, "Owner", context, &request.user.id);
    writer.begin("Buckets");
    for bucket in mine.iter().take(max) {
        writer.begin("Bucket").text("Name", bucket.name.as_str());
        writer.text("CreationDate", &s3::time::xml(bucket.created.micros()));
        writer.text("BucketRegion", context.options.region_of(bucket)).end("Bucket");
    }
    writer.end("Buckets");
    if let Some(last) = mine.get(max.wrapping_sub(1)).filter(|_| mine.len() > max) {
        writer.text("ContinuationToken", last.name.as_str());
    }
    if !prefix.is_empty() {
        writer.text("Prefix", prefix);
    }
    Ok(response::xml(writer.finish(root)))
}
