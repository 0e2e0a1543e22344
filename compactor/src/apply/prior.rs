//! The prior facts that outcomes depend on: the question, and the answer.

use ingest::entry::EntryValue;
use ingest::ids::{BucketId, Offset, PartNumber, UploadId};
use ingest::name::ObjectKey;
use ingest::record::{UploadPart, VersionRef};

use crate::state::{CompletedRename, EventQueue, StateKey, UploadState};

/// The prior facts that a record's outcome depends on.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ReadSet {
    /// The key whose newest version is needed.
    pub current: Option<(BucketId, ObjectKey)>,
    /// The key and the version of it that is needed.
    pub version: Option<(BucketId, ObjectKey, VersionRef)>,
    /// The bucket whose uploads and whose last write are needed.
    pub uploads_of: Option<BucketId>,
    /// The upload that is needed.
    pub upload: Option<(BucketId, ObjectKey, UploadId)>,
    /// True when the parts of that upload are needed, too.
    pub parts: bool,
    /// The queue of events that is needed.
    pub queue: Option<String>,
    /// The key of the earlier rename that is needed.
    pub renamed: Option<StateKey>,
}

/// The prior facts, resolved.
#[derive(Clone, Default, Debug)]
pub struct PriorState {
    /// See [`ReadSet::current`].
    pub current: Option<FoundVersion>,
    /// See [`ReadSet::version`].
    pub version: Option<FoundVersion>,
    /// The last record that may have put an entry into the bucket. Only the fold knows it, and adds it; see
    /// [`ReadSet::uploads_of`].
    pub last_write: Option<Offset>,
    /// The state keys of the bucket's uploads and their parts; see [`ReadSet::uploads_of`].
    pub bucket_uploads: Vec<StateKey>,
    /// See [`ReadSet::upload`].
    pub upload: Option<UploadState>,
    /// The upload's parts in order of their numbers; see [`ReadSet::parts`].
    pub parts: Vec<(PartNumber, UploadPart)>,
    /// See [`ReadSet::queue`]. Only the fold knows it, and adds it.
    pub queue: Option<EventQueue>,
    /// See [`ReadSet::renamed`].
    pub renamed: Option<CompletedRename>,
    /// The number of entries and state values that were read for all this. No outcome depends on it.
    pub looked_at: u64,
}

/// A visible version, as far as outcomes depend on it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FoundVersion {
    /// The offset of the record that made the version.
    pub version: Offset,
    /// The statement about the version: an object or a marker.
    pub statement: EntryValue,
}

impl FoundVersion {
    /// True for a delete marker.
    pub(super) fn is_marker(&self) -> bool {
        matches!(self.statement, EntryValue::Marker { .. })
    }
}
