//! The response of GetObjectAttributes.

use serde::Serialize;

use super::ChecksumElements;
use crate::xml::XmlDocument;

/// The attributes that the request names.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetObjectAttributesResponse {
    /// The entity tag, without quotation marks here alone.
    #[serde(rename = "ETag")]
    pub etag: Option<String>,
    /// The checksum of the object.
    pub checksum: Option<ChecksumAttributes>,
    /// The parts of an object that was uploaded in parts.
    pub object_parts: Option<ObjectParts>,
    /// The storage class.
    pub storage_class: Option<&'static str>,
    /// The length in bytes.
    pub object_size: Option<u64>,
}

/// The checksums of an object.
#[derive(Debug, Serialize)]
pub struct ChecksumAttributes {
    /// The checksums.
    #[serde(flatten)]
    pub checksums: ChecksumElements,
    /// `COMPOSITE` or `FULL_OBJECT`.
    #[serde(rename = "ChecksumType")]
    pub kind: &'static str,
}

/// A page of an object's parts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ObjectParts {
    /// The number of all parts.
    pub parts_count: usize,
    /// The marker of the request.
    pub part_number_marker: u32,
    /// The last part number of the page.
    pub next_part_number_marker: Option<usize>,
    /// The most parts of the page.
    pub max_parts: usize,
    /// True when parts follow.
    pub is_truncated: bool,
    /// The parts, in the order of their numbers.
    #[serde(rename = "Part")]
    pub parts: Vec<PartAttributes>,
}

/// A part of an object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PartAttributes {
    /// The part's place among the object's parts, counted from 1 on.
    pub part_number: usize,
    /// The length in bytes.
    pub size: u64,
    /// The checksums.
    #[serde(flatten)]
    pub checksums: ChecksumElements,
}

impl XmlDocument for GetObjectAttributesResponse {
    const ROOT: &'static str = "GetObjectAttributesResponse";
}
