//! The tags of an object or bucket.

use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The document of the tagging operations.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Tagging {
    /// The tags.
    #[serde(rename = "TagSet")]
    pub tag_set: TagSet,
}

/// A set of tags. Limits are not checked here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TagSet {
    /// The tags, in the order of the document.
    #[serde(rename = "Tag", default)]
    pub tags: Vec<Tag>,
}

/// A tag.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

impl XmlDocument for Tagging {
    const ROOT: &'static str = "Tagging";
}
