//! The outcome of renames.

use ingest::entry::{Entry, EntryKey, EntryValue, ObjectVersion};
use ingest::record::{RenameCondition, RenameObject, Versioning};
use ingest::time::WallTime;

use super::condition::{configured, holds};
use super::effects::{LogPosition, RecordEffects};
use super::prior::{FoundVersion, PriorState};
use crate::outcome::{RecordOutcome, Rejection, WrittenVersion};
use crate::state::{Buckets, CompletedRename, StateKey};

/// Puts the object of one key under another key, with the same payload, attributes and time. One record changes both
/// keys, so no reader sees both objects or neither. A repetition under the token of a rename that was done changes
/// nothing and has the outcome of that rename.
///
/// Rejected in buckets that keep versions: the former key would need a delete marker, and its older versions would
/// stay behind.
pub fn rename_object(
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    rename: &RenameObject,
    principal: &str,
) -> RecordEffects {
    let bucket = match configured(buckets, rename.bucket, rename.config) {
        Ok(bucket) => bucket,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    let request = rename.fingerprint(principal);
    if let Some(done) = prior.renamed.filter(|done| !done.is_forgotten(at.offset)) {
        return match done.request == request {
            true => RecordEffects::only(RecordOutcome::Written(done.written)),
            false => RecordEffects::rejected(Rejection::TokenReused),
        };
    }
    if bucket.versioning != Versioning::Off {
        return RecordEffects::rejected(Rejection::KeepsVersions);
    }
    let source = prior.version.as_ref().and_then(object_of);
    let Some(source) = source else { return RecordEffects::rejected(Rejection::NoSuchKey) };
    if !meets(&rename.source_condition, prior.version.as_ref(), at.time) {
        return RecordEffects::rejected(Rejection::SourceConditionFailed);
    }
    if !meets(&rename.condition, prior.current.as_ref(), at.time) {
        return RecordEffects::rejected(Rejection::PreconditionFailed);
    }
    let written = WrittenVersion {
        version: at.offset,
        is_null: true,
        created: source.created,
        etag: source.attributes.etag,
        size: source.attributes.size,
    };
    let completed = CompletedRename { at: at.offset, request, written };
    let token = (!rename.token.is_empty())
        .then(|| (StateKey::rename(rename.bucket, &rename.token), Some(completed.encode())));
    RecordEffects {
        entries: moved(rename, at, source),
        state: token.into_iter().collect(),
        ..RecordEffects::only(RecordOutcome::Written(written))
    }
}

/// The entries of a rename: the removal of the former key, and the object under the new one. None for an object that
/// is renamed to its own key.
fn moved(rename: &RenameObject, at: LogPosition, source: &ObjectVersion) -> Vec<Entry> {
    if rename.source == rename.key {
        return Vec::new();
    }
    let entry = |key: &[u8], statement| {
        let key = EntryKey::new(rename.bucket, key, at.offset, at.offset);
        Entry { key, statement }
    };
    let object = ObjectVersion { is_null: true, ..source.clone() };
    vec![
        entry(rename.source.as_bytes(), EntryValue::NullTombstone),
        entry(rename.key.as_bytes(), EntryValue::Object(object)),
    ]
}

fn object_of(found: &FoundVersion) -> Option<&ObjectVersion> {
    match &found.statement {
        EntryValue::Object(object) => Some(object),
        _ => None,
    }
}

/// Returns true if all parts of a condition hold on the current version of a key. Clients know times of objects in
/// whole seconds.
fn meets(condition: &RenameCondition, found: Option<&FoundVersion>, now: WallTime) -> bool {
    let second = |time: WallTime| time.micros().div_euclid(1_000_000);
    let created = found.and_then(object_of).map(|object| second(object.created));
    let is_modified_since = |since: WallTime| {
        second(since) > second(now) || created.is_some_and(|created| created > second(since))
    };
    let is_unmodified_since =
        |since: WallTime| created.is_none_or(|created| created <= second(since));
    holds(&condition.write, found).is_ok()
        && condition.modified_since.is_none_or(is_modified_since)
        && condition.unmodified_since.is_none_or(is_unmodified_since)
}
