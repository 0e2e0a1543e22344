//! The conditions that a write must meet: the bucket's configuration, and the current version.

use ingest::entry::EntryValue;
use ingest::ids::{BucketId, ConfigVersion};
use ingest::record::WriteCondition;

use super::prior::FoundVersion;
use crate::outcome::Rejection;
use crate::state::{BucketState, Buckets};

/// Finds the bucket and compares the version of the configuration under which the write was accepted. Fails with
/// [`Rejection::Retry`] when the configuration has changed since.
pub fn configured(
    buckets: &Buckets,
    bucket: BucketId,
    config: ConfigVersion,
) -> Result<&BucketState, Rejection> {
    let bucket = buckets.get(bucket).ok_or(Rejection::NoSuchBucket)?;
    if bucket.config != config {
        return Err(Rejection::Retry(bucket.config));
    }
    Ok(bucket)
}

/// Checks a write's condition on the current version. A delete marker counts as no current version.
pub fn holds(condition: &WriteCondition, current: Option<&FoundVersion>) -> Result<(), Rejection> {
    let etag = match current.map(|found| &found.statement) {
        Some(EntryValue::Object(object)) => Some(object.attributes.etag),
        _ => None,
    };
    match (condition, etag) {
        (WriteCondition::Always, _)
        | (WriteCondition::IfAbsent, None)
        | (WriteCondition::IfPresent, Some(_)) => Ok(()),
        (WriteCondition::IfMatch(wanted), Some(etag)) if etag == *wanted => Ok(()),
        (WriteCondition::IfPresent | WriteCondition::IfMatch(_), None) => Err(Rejection::NoSuchKey),
        (WriteCondition::IfAbsent | WriteCondition::IfMatch(_), Some(_)) => {
            Err(Rejection::PreconditionFailed)
        }
    }
}
