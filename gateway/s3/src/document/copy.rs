//! The responses of copies.

use serde::Serialize;

use super::ChecksumElements;
use crate::xml::XmlDocument;

/// The response of CopyObject.
#[derive(Debug, Serialize)]
pub struct CopyObjectResult {
    /// The entity tag of the copy.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// The time of the copy.
    #[serde(rename = "LastModified")]
    pub last_modified: String,
    /// The checksums of the copy.
    #[serde(flatten)]
    pub checksums: ChecksumElements,
    /// `COMPOSITE` or `FULL_OBJECT`; `None` without a checksum.
    #[serde(rename = "ChecksumType")]
    pub checksum_type: Option<&'static str>,
}

impl XmlDocument for CopyObjectResult {
    const ROOT: &'static str = "CopyObjectResult";
}

/// The response of UploadPartCopy.
#[derive(Debug, Serialize)]
pub struct CopyPartResult {
    /// The time at which the part was stored.
    #[serde(rename = "LastModified")]
    pub last_modified: String,
    /// The entity tag of the part.
    #[serde(rename = "ETag")]
    pub etag: String,
    /// The checksums of the part.
    #[serde(flatten)]
    pub checksums: ChecksumElements,
}

impl XmlDocument for CopyPartResult {
    const ROOT: &'static str = "CopyPartResult";
}
