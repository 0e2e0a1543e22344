//! The documents of S3's operations, each a type.

mod access_control;
mod attributes;
mod bucket;
mod copy;
mod cors;
mod delete;
mod notification;
mod ownership;
mod post;
mod tagging;
#[cfg(test)]
mod tests;
mod upload;
mod website;

use std::collections::BTreeMap;

pub use access_control::{AccessControlList, AccessControlPolicy, Grant, Grantee, Owner};
pub use attributes::{
    ChecksumAttributes, GetObjectAttributesResponse, ObjectParts, PartAttributes,
};
pub use bucket::{
    AccelerateConfiguration, AccelerateStatus, BucketLoggingStatus, CreateBucketConfiguration,
    LocationConstraint, Payer, RequestPaymentConfiguration, VersioningConfiguration,
    VersioningStatus,
};
pub use copy::{CopyObjectResult, CopyPartResult};
pub use cors::{CorsConfiguration, CorsRule};
pub use delete::{Delete, DeleteError, DeleteKey, DeleteResult, Deleted};
pub use notification::{
    CloudFunctionConfiguration, EventFilter, FilterRule, KeyFilter, NotificationConfiguration,
    QueueConfiguration, TopicConfiguration,
};
pub use ownership::{ObjectOwnership, OwnershipControls, OwnershipRule};
pub use post::PostResponse;
pub use tagging::{Tag, TagSet, Tagging};
pub use upload::{
    CompleteMultipartUpload, CompleteMultipartUploadResult, CompletedPart, ElementText,
    InitiateMultipartUploadResult,
};
pub use website::{
    ErrorDocument, IndexDocument, RedirectAllRequestsTo, RoutingCondition, RoutingRedirect,
    RoutingRule, RoutingRules, WebsiteConfiguration,
};

/// Elements with checksums, by their names, for example `ChecksumSHA256`.
pub type ChecksumElements = BTreeMap<&'static str, String>;
