//! The documents of multipart uploads.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::ChecksumElements;
use crate::xml::XmlDocument;

/// The response of CreateMultipartUpload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InitiateMultipartUploadResult {
    /// The bucket's name.
    pub bucket: String,
    /// The key of the later object.
    pub key: String,
    /// The upload's id.
    pub upload_id: String,
}

impl XmlDocument for InitiateMultipartUploadResult {
    const ROOT: &'static str = "InitiateMultipartUploadResult";
}

/// The parts of an object, as a completion names them.
#[derive(Debug, Deserialize)]
pub struct CompleteMultipartUpload {
    /// The parts, in the order of the document.
    #[serde(rename = "Part", default)]
    pub parts: Vec<CompletedPart>,
}

impl XmlDocument for CompleteMultipartUpload {
    const ROOT: &'static str = "CompleteMultipartUpload";
}

/// A part that a completion names.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompletedPart {
    /// The part's number.
    pub part_number: u16,
    /// The entity tag that the client states.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// All other elements by name: checksums, of algorithms that are known or not, and elements without a meaning here.
    #[serde(flatten)]
    pub others: BTreeMap<String, ElementText>,
}

/// The text of an element; `None` for one that holds elements.
#[derive(Debug)]
pub struct ElementText(pub Option<String>);

impl<'de> Deserialize<'de> for ElementText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct TextOrElements;
        impl<'de> Visitor<'de> for TextOrElements {
            type Value = ElementText;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an element")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ElementText, E> {
                Ok(ElementText(Some(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ElementText, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(ElementText(None))
            }
        }
        from.deserialize_any(TextOrElements)
    }
}

/// The response of CompleteMultipartUpload.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct CompleteMultipartUploadResult {
    /// The URL of the object.
    pub location: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The object's entity tag.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// The object's checksums.
    #[serde(flatten)]
    pub checksums: ChecksumElements,
    /// `COMPOSITE` or `FULL_OBJECT`; `None` without a checksum.
    pub checksum_type: Option<&'static str>,
}

impl XmlDocument for CompleteMultipartUploadResult {
    const ROOT: &'static str = "CompleteMultipartUploadResult";
}
