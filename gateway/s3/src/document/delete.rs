//! The documents of DeleteObjects.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The keys to delete.
#[derive(Debug, Deserialize)]
pub struct Delete {
    /// The keys, in the order of the document.
    #[serde(rename = "Object", default)]
    pub objects: Vec<DeleteKey>,
    #[serde(rename = "Quiet", default)]
    quiet: String,
}

impl Delete {
    /// True when the response has the failures only. Any other text than `true` means false, as an empty element does.
    pub fn is_quiet(&self) -> bool {
        self.quiet.trim() == "true"
    }
}

impl XmlDocument for Delete {
    const ROOT: &'static str = "Delete";
}

/// A key, or one version of it. An unknown element is refused: it may be a condition, and without it the delete would be
/// unconditional.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteKey {
    /// The key, not validated.
    pub key: String,
    /// The version's id, not validated.
    pub version_id: Option<String>,
    /// The entity tag that the object must have.
    #[serde(rename = "ETag")]
    pub etag: Option<String>,
    /// The time that the object must have.
    pub last_modified_time: Option<IgnoredAny>,
    /// The length that the object must have.
    pub size: Option<IgnoredAny>,
}

/// The response of DeleteObjects: first the keys that were deleted, then those that were not, each in the order of the
/// request.
#[derive(Debug, Default, Serialize)]
pub struct DeleteResult {
    /// The keys that were deleted.
    #[serde(rename = "Deleted")]
    pub deleted: Vec<Deleted>,
    /// The keys that were not.
    #[serde(rename = "Error")]
    pub errors: Vec<DeleteError>,
}

impl XmlDocument for DeleteResult {
    const ROOT: &'static str = "DeleteResult";
}

/// A key that was deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Deleted {
    /// The key.
    pub key: String,
    /// The version id of the request.
    pub version_id: Option<String>,
    /// True for a marker that was made or removed; `None` for other deletes.
    pub delete_marker: Option<bool>,
    /// The version id of that marker.
    pub delete_marker_version_id: Option<String>,
}

/// A key that was not deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteError {
    /// The key.
    pub key: String,
    /// The version id of the request.
    pub version_id: Option<String>,
    /// The error's code.
    pub code: &'static str,
    /// The error's message.
    pub message: String,
}
