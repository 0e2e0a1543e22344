//! Groups of query names and of headers that operations share.

use crate::headers;

use super::required_action::{COPY_SOURCE, RENAME_SOURCE};

/// Query names that replace headers of the answer.
pub(super) const OVERRIDES: &[&str] = &[
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];
/// The query name of a version.
pub(super) const VERSION: &[&str] = &["versionId"];
/// The query name of a part.
pub(super) const PART: &[&str] = &["partNumber"];
/// Query names of every listing of objects.
pub(super) const PAGE: &[&str] = &["delimiter", "encoding-type", "max-keys", "prefix"];
/// The query name that continues ListObjects.
pub(super) const MARKER: &[&str] = &["marker"];
/// Query names of ListObjectsV2 alone.
pub(super) const PAGE_V2: &[&str] = &["continuation-token", "fetch-owner", "start-after"];
/// Query names that continue ListObjectVersions.
pub(super) const VERSIONS: &[&str] = &["key-marker", "version-id-marker"];
/// Query names of ListMultipartUploads.
pub(super) const UPLOADS: &[&str] =
    &["delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"];
/// Query names of ListParts.
pub(super) const PARTS: &[&str] = &["max-parts", "part-number-marker"];
/// Query names of ListenBucketNotification.
pub(super) const LISTEN: &[&str] = &["prefix", "suffix", "ping", "cursor"];
/// Query names of ListBuckets.
pub(super) const BUCKETS: &[&str] =
    &["max-buckets", "continuation-token", "prefix", "bucket-region"];
/// Query names of ListDirectoryBuckets.
pub(super) const DIRECTORY_BUCKETS: &[&str] = &["continuation-token", "max-directory-buckets"];
/// The query name that continues a listing of configurations.
pub(super) const TOKEN: &[&str] = &["continuation-token"];
/// The query name of one of several configurations of a kind.
pub(super) const ID: &[&str] = &["id"];
/// The query name of an annotation.
pub(super) const ANNOTATION: &[&str] = &["annotationName"];
/// Query names of ListObjectAnnotations.
pub(super) const ANNOTATIONS: &[&str] = &["max-annotation-results", "annotation-prefix"];
/// The query name of the form of SelectObjectContent.
pub(super) const SELECT: &[&str] = &["select-type"];

// Groups of headers. Headers that every operation obeys, or none in full, are in `headers::unobeyed`.

/// Headers of conditional writes.
pub(super) const CONDITIONS: &[&str] = &["if-match", "if-none-match"];
/// Headers of conditional reads of an object.
pub(super) const READ_CONDITIONS: &[&str] =
    &["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];
/// Headers of reads of an object's bytes.
pub(super) const READ: &[&str] = &["if-range", "range", "x-amz-checksum-mode"];
/// Headers of GetObjectAttributes.
pub(super) const ATTRIBUTES: &[&str] =
    &["x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"];
/// The headers of a document's checksum.
pub(super) const DOCUMENT: &[&str] =
    &["content-md5", headers::CHECKSUM, "x-amz-trailer", "x-amz-decoded-content-length"];
/// The headers of a payload's checksum.
pub(super) const BODY: &[&str] = &[
    "content-md5",
    headers::CHECKSUM,
    "x-amz-trailer",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
];
/// Headers that set more than an object and its metadata.
pub(super) const STORED: &[&str] =
    &["x-amz-tagging", "x-amz-storage-class", "x-amz-website-redirect-location"];
/// Headers of a copy's source.
pub(super) const COPY_FROM: &[&str] = &[
    COPY_SOURCE,
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-source-expected-bucket-owner",
];
/// Headers of RenameObject alone.
pub(super) const RENAME: &[&str] = &[
    RENAME_SOURCE,
    "x-amz-rename-source-if-match",
    "x-amz-rename-source-if-none-match",
    "x-amz-rename-source-if-modified-since",
    "x-amz-rename-source-if-unmodified-since",
    "x-amz-client-token",
];
/// The header of the source's bytes that become a part.
pub(super) const COPY_RANGE: &[&str] = &["x-amz-copy-source-range"];
/// Headers of CopyObject alone.
pub(super) const COPY: &[&str] =
    &["x-amz-metadata-directive", "x-amz-tagging-directive", "x-amz-checksum-algorithm"];
/// Headers of CreateMultipartUpload.
pub(super) const UPLOAD: &[&str] = &["x-amz-checksum-algorithm", "x-amz-checksum-type"];
/// Headers of CompleteMultipartUpload.
pub(super) const COMPLETE: &[&str] = &["x-amz-checksum-type", "x-amz-mp-object-size"];
/// Only the owner of a bucket may write here, so each of AWS's three rules of ownership has the same effect.
pub(super) const OWNERSHIP: &[&str] = &["x-amz-object-ownership"];
