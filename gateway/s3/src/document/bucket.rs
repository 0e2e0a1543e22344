//! Documents of buckets.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The body of CreateBucket.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateBucketConfiguration {
    /// The region of the new bucket.
    pub location_constraint: Option<String>,
    /// The zone of a directory bucket.
    pub location: Option<IgnoredAny>,
    /// The kind of a directory bucket.
    pub bucket: Option<IgnoredAny>,
    /// Tags of the new bucket.
    pub tags: Option<IgnoredAny>,
}

impl XmlDocument for CreateBucketConfiguration {
    const ROOT: &'static str = "CreateBucketConfiguration";
}

/// The response of GetBucketLocation: the region itself, empty for us-east-1.
#[derive(Debug, Serialize)]
pub struct LocationConstraint<'a>(pub &'a str);

impl XmlDocument for LocationConstraint<'_> {
    const ROOT: &'static str = "LocationConstraint";
}

/// The versioning of a bucket.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VersioningConfiguration {
    /// The state; `None` for a bucket whose versioning was never on.
    pub status: Option<VersioningStatus>,
    /// The state of MFA delete.
    pub mfa_delete: Option<String>,
}

/// The state of a bucket's versioning, once it has been on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum VersioningStatus {
    /// Every write makes a version.
    Enabled,
    /// Writes replace version `null`.
    Suspended,
}

impl XmlDocument for VersioningConfiguration {
    const ROOT: &'static str = "VersioningConfiguration";
}

/// The payer of requests to a bucket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RequestPaymentConfiguration {
    /// The payer.
    pub payer: Payer,
}

/// A payer of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Payer {
    /// The bucket's owner.
    BucketOwner,
    /// The user who makes a request.
    Requester,
}

impl XmlDocument for RequestPaymentConfiguration {
    const ROOT: &'static str = "RequestPaymentConfiguration";
}

/// The logging of accesses to a bucket; empty for none.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct BucketLoggingStatus {
    /// The place of the log, in documents that turn logging on.
    #[serde(skip_serializing)]
    pub logging_enabled: Option<IgnoredAny>,
}

impl XmlDocument for BucketLoggingStatus {
    const ROOT: &'static str = "BucketLoggingStatus";
}

/// The acceleration of transfers to a bucket; empty where it was never set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AccelerateConfiguration {
    /// The state; `None` for a bucket whose acceleration was never set.
    pub status: Option<AccelerateStatus>,
}

/// The state of a bucket's acceleration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum AccelerateStatus {
    /// Transfers may use the accelerated address.
    Enabled,
    /// Transfers may not.
    Suspended,
}

impl XmlDocument for AccelerateConfiguration {
    const ROOT: &'static str = "AccelerateConfiguration";
}
