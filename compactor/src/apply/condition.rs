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

/// Checks a write's condition on the current version. A delete marker counts as no current version, except for
/// [`WriteCondition::IfVersion`], which names a version of either sort.
pub fn holds(condition: &WriteCondition, current: Option<&FoundVersion>) -> Result<(), Rejection> {
    let object = current.and_then(|found| match &found.statement {
        EntryValue::Object(object) => Some(object),
        _ => None,
    });
    let holds = match condition {
        WriteCondition::Always => true,
        WriteCondition::IfAbsent => object.is_none(),
        WriteCondition::IfPresent => object.is_some(),
        WriteCondition::IfMatch(etag) => object.is_some_and(|it| it.attributes.etag == *etag),
        WriteCondition::IfVersion(version) => current.is_some_and(|it| it.version == *version),
        WriteCondition::IfNoneMatch(etag) => object.is_none_or(|it| it.attributes.etag != *etag),
    };
    if holds {
        return Ok(());
    }
    let is_there = match condition {
        WriteCondition::IfVersion(_) => current.is_some(),
        _ => object.is_some(),
    };
    Err(if is_there { Rejection::PreconditionFailed } else { Rejection::NoSuchKey })
}
