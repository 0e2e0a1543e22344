//! Operations on the configuration of buckets.

use iam::Action;

use crate::cors::CORS_BYTES_MAX;
use crate::error::ErrorCode;
use crate::website::WEBSITE_BYTES_MAX;

use super::body::{BodyKind, DOCUMENT_BYTES_MAX};
use super::definition::S3Resource::Bucket;
use super::definition::{OperationDefinition, delete, get, post, put};
use super::groups::{DOCUMENT, ID, LISTEN, TOKEN};
use super::name::Operation;
use super::required_action::RequiredAction;

/// The rows, in the order of the page: by the selector.
pub(super) const ROWS: &[OperationDefinition] = &[
    get(Operation::GetBucketAbac, Bucket)
        .selected_by(&["abac"])
        .requires(&[RequiredAction::always(Action::GetBucketABAC)]),
    put(Operation::PutBucketAbac, Bucket)
        .selected_by(&["abac"])
        .requires(&[RequiredAction::always(Action::PutBucketABAC)])
        .unread(BodyKind::Xml),
    get(Operation::GetBucketAccelerateConfiguration, Bucket)
        .selected_by(&["accelerate"])
        .requires(&[RequiredAction::always(Action::GetAccelerateConfiguration)])
        .served(),
    put(Operation::PutBucketAccelerateConfiguration, Bucket)
        .selected_by(&["accelerate"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutAccelerateConfiguration)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    get(Operation::GetBucketAcl, Bucket)
        .selected_by(&["acl"])
        .requires(&[RequiredAction::always(Action::GetBucketAcl)])
        .served(),
    put(Operation::PutBucketAcl, Bucket)
        .selected_by(&["acl"])
        .requires(&[RequiredAction::always(Action::PutBucketAcl)])
        .unread(BodyKind::Xml),
    get(Operation::GetBucketAnalyticsConfiguration, Bucket)
        .selected_by(&["analytics", "id"])
        .requires(&[RequiredAction::always(Action::GetAnalyticsConfiguration)]),
    put(Operation::PutBucketAnalyticsConfiguration, Bucket)
        .selected_by(&["analytics"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutAnalyticsConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketAnalyticsConfiguration, Bucket)
        .selected_by(&["analytics"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutAnalyticsConfiguration)]),
    get(Operation::ListBucketAnalyticsConfigurations, Bucket)
        .selected_by(&["analytics"])
        .parameters(&[TOKEN])
        .requires(&[RequiredAction::always(Action::GetAnalyticsConfiguration)]),
    get(Operation::GetBucketCors, Bucket)
        .selected_by(&["cors"])
        .requires(&[RequiredAction::always(Action::GetBucketCORS)])
        .served(),
    put(Operation::PutBucketCors, Bucket)
        .selected_by(&["cors"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketCORS)])
        .document(CORS_BYTES_MAX)
        .served(),
    delete(Operation::DeleteBucketCors, Bucket)
        .selected_by(&["cors"])
        .requires(&[RequiredAction::always(Action::PutBucketCORS)])
        .served(),
    get(Operation::GetBucketEncryption, Bucket)
        .selected_by(&["encryption"])
        .requires(&[RequiredAction::always(Action::GetEncryptionConfiguration)])
        .absent(ErrorCode::ServerSideEncryptionNotFound),
    put(Operation::PutBucketEncryption, Bucket)
        .selected_by(&["encryption"])
        .requires(&[RequiredAction::always(Action::PutEncryptionConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketEncryption, Bucket)
        .selected_by(&["encryption"])
        .requires(&[RequiredAction::always(Action::PutEncryptionConfiguration)]),
    get(Operation::GetBucketIntelligentTieringConfiguration, Bucket)
        .selected_by(&["intelligent-tiering", "id"])
        .requires(&[RequiredAction::always(Action::GetIntelligentTieringConfiguration)]),
    put(Operation::PutBucketIntelligentTieringConfiguration, Bucket)
        .selected_by(&["intelligent-tiering"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutIntelligentTieringConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketIntelligentTieringConfiguration, Bucket)
        .selected_by(&["intelligent-tiering"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutIntelligentTieringConfiguration)]),
    get(Operation::ListBucketIntelligentTieringConfigurations, Bucket)
        .selected_by(&["intelligent-tiering"])
        .parameters(&[TOKEN])
        .requires(&[RequiredAction::always(Action::GetIntelligentTieringConfiguration)]),
    get(Operation::GetBucketInventoryConfiguration, Bucket)
        .selected_by(&["inventory", "id"])
        .requires(&[RequiredAction::always(Action::GetInventoryConfiguration)]),
    put(Operation::PutBucketInventoryConfiguration, Bucket)
        .selected_by(&["inventory"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutInventoryConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketInventoryConfiguration, Bucket)
        .selected_by(&["inventory"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutInventoryConfiguration)]),
    get(Operation::ListBucketInventoryConfigurations, Bucket)
        .selected_by(&["inventory"])
        .parameters(&[TOKEN])
        .requires(&[RequiredAction::always(Action::GetInventoryConfiguration)]),
    get(Operation::GetBucketLifecycleConfiguration, Bucket)
        .older("GetBucketLifecycle")
        .selected_by(&["lifecycle"])
        .requires(&[RequiredAction::always(Action::GetLifecycleConfiguration)])
        .absent(ErrorCode::NoSuchLifecycleConfiguration),
    put(Operation::PutBucketLifecycleConfiguration, Bucket)
        .older("PutBucketLifecycle")
        .selected_by(&["lifecycle"])
        .requires(&[RequiredAction::always(Action::PutLifecycleConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketLifecycle, Bucket)
        .selected_by(&["lifecycle"])
        .requires(&[RequiredAction::always(Action::PutLifecycleConfiguration)]),
    get(Operation::GetBucketLogging, Bucket)
        .selected_by(&["logging"])
        .requires(&[RequiredAction::always(Action::GetBucketLogging)])
        .served(),
    put(Operation::PutBucketLogging, Bucket)
        .selected_by(&["logging"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketLogging)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    put(Operation::UpdateBucketMetadataAnnotationTableConfiguration, Bucket)
        .selected_by(&["metadataAnnotationTable"])
        .requires(&[RequiredAction::always(
            Action::UpdateBucketMetadataAnnotationTableConfiguration,
        )])
        .unread(BodyKind::Xml),
    get(Operation::GetBucketMetadataConfiguration, Bucket)
        .selected_by(&["metadataConfiguration"])
        .requires(&[RequiredAction::always(Action::GetBucketMetadataTableConfiguration)]),
    post(Operation::CreateBucketMetadataConfiguration, Bucket)
        .selected_by(&["metadataConfiguration"])
        .requires(&[RequiredAction::always(Action::CreateBucketMetadataTableConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketMetadataConfiguration, Bucket)
        .selected_by(&["metadataConfiguration"])
        .requires(&[RequiredAction::always(Action::DeleteBucketMetadataTableConfiguration)]),
    put(Operation::UpdateBucketMetadataInventoryTableConfiguration, Bucket)
        .selected_by(&["metadataInventoryTable"])
        .requires(&[RequiredAction::always(
            Action::UpdateBucketMetadataInventoryTableConfiguration,
        )])
        .unread(BodyKind::Xml),
    put(Operation::UpdateBucketMetadataJournalTableConfiguration, Bucket)
        .selected_by(&["metadataJournalTable"])
        .requires(&[RequiredAction::always(Action::UpdateBucketMetadataJournalTableConfiguration)])
        .unread(BodyKind::Xml),
    get(Operation::GetBucketMetadataTableConfiguration, Bucket)
        .selected_by(&["metadataTable"])
        .requires(&[RequiredAction::always(Action::GetBucketMetadataTableConfiguration)]),
    post(Operation::CreateBucketMetadataTableConfiguration, Bucket)
        .selected_by(&["metadataTable"])
        .requires(&[RequiredAction::always(Action::CreateBucketMetadataTableConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketMetadataTableConfiguration, Bucket)
        .selected_by(&["metadataTable"])
        .requires(&[RequiredAction::always(Action::DeleteBucketMetadataTableConfiguration)]),
    get(Operation::GetBucketMetricsConfiguration, Bucket)
        .selected_by(&["metrics", "id"])
        .requires(&[RequiredAction::always(Action::GetMetricsConfiguration)]),
    put(Operation::PutBucketMetricsConfiguration, Bucket)
        .selected_by(&["metrics"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutMetricsConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketMetricsConfiguration, Bucket)
        .selected_by(&["metrics"])
        .parameters(&[ID])
        .requires(&[RequiredAction::always(Action::PutMetricsConfiguration)]),
    get(Operation::ListBucketMetricsConfigurations, Bucket)
        .selected_by(&["metrics"])
        .parameters(&[TOKEN])
        .requires(&[RequiredAction::always(Action::GetMetricsConfiguration)]),
    get(Operation::GetBucketNotificationConfiguration, Bucket)
        .older("GetBucketNotification")
        .selected_by(&["notification"])
        .requires(&[RequiredAction::always(Action::GetBucketNotification)])
        .served(),
    put(Operation::PutBucketNotificationConfiguration, Bucket)
        .older("PutBucketNotification")
        .selected_by(&["notification"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketNotification)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    get(Operation::ListenBucketNotification, Bucket)
        .selected_by(&["events"])
        .parameters(&[LISTEN])
        .requires(&[RequiredAction::always(Action::GetBucketNotification)])
        .served(),
    get(Operation::GetObjectLockConfiguration, Bucket)
        .selected_by(&["object-lock"])
        .requires(&[RequiredAction::always(Action::GetBucketObjectLockConfiguration)])
        .absent(ErrorCode::ObjectLockConfigurationNotFound),
    put(Operation::PutObjectLockConfiguration, Bucket)
        .selected_by(&["object-lock"])
        .requires(&[RequiredAction::always(Action::PutBucketObjectLockConfiguration)])
        .unread(BodyKind::Xml),
    get(Operation::GetBucketOwnershipControls, Bucket)
        .selected_by(&["ownershipControls"])
        .requires(&[RequiredAction::always(Action::GetBucketOwnershipControls)])
        .served(),
    put(Operation::PutBucketOwnershipControls, Bucket)
        .selected_by(&["ownershipControls"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketOwnershipControls)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    delete(Operation::DeleteBucketOwnershipControls, Bucket)
        .selected_by(&["ownershipControls"])
        .requires(&[RequiredAction::always(Action::PutBucketOwnershipControls)])
        .served(),
    get(Operation::GetBucketPolicy, Bucket)
        .selected_by(&["policy"])
        .requires(&[RequiredAction::always(Action::GetBucketPolicy)])
        .absent(ErrorCode::NoSuchBucketPolicy),
    put(Operation::PutBucketPolicy, Bucket)
        .selected_by(&["policy"])
        .requires(&[RequiredAction::always(Action::PutBucketPolicy)])
        .unread(BodyKind::Json),
    delete(Operation::DeleteBucketPolicy, Bucket)
        .selected_by(&["policy"])
        .requires(&[RequiredAction::always(Action::DeleteBucketPolicy)]),
    get(Operation::GetBucketPolicyStatus, Bucket)
        .selected_by(&["policyStatus"])
        .requires(&[RequiredAction::always(Action::GetBucketPolicyStatus)])
        .absent(ErrorCode::NoSuchBucketPolicy),
    get(Operation::GetPublicAccessBlock, Bucket)
        .selected_by(&["publicAccessBlock"])
        .requires(&[RequiredAction::always(Action::GetBucketPublicAccessBlock)])
        .absent(ErrorCode::NoSuchPublicAccessBlock),
    put(Operation::PutPublicAccessBlock, Bucket)
        .selected_by(&["publicAccessBlock"])
        .requires(&[RequiredAction::always(Action::PutBucketPublicAccessBlock)])
        .unread(BodyKind::Xml),
    delete(Operation::DeletePublicAccessBlock, Bucket)
        .selected_by(&["publicAccessBlock"])
        .requires(&[RequiredAction::always(Action::PutBucketPublicAccessBlock)]),
    get(Operation::GetBucketReplication, Bucket)
        .selected_by(&["replication"])
        .requires(&[RequiredAction::always(Action::GetReplicationConfiguration)])
        .absent(ErrorCode::ReplicationConfigurationNotFound),
    put(Operation::PutBucketReplication, Bucket)
        .selected_by(&["replication"])
        .requires(&[RequiredAction::always(Action::PutReplicationConfiguration)])
        .unread(BodyKind::Xml),
    delete(Operation::DeleteBucketReplication, Bucket)
        .selected_by(&["replication"])
        .requires(&[RequiredAction::always(Action::PutReplicationConfiguration)]),
    get(Operation::GetBucketRequestPayment, Bucket)
        .selected_by(&["requestPayment"])
        .requires(&[RequiredAction::always(Action::GetBucketRequestPayment)])
        .served(),
    put(Operation::PutBucketRequestPayment, Bucket)
        .selected_by(&["requestPayment"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketRequestPayment)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    get(Operation::GetBucketTagging, Bucket)
        .selected_by(&["tagging"])
        .requires(&[RequiredAction::always(Action::GetBucketTagging)])
        .served(),
    put(Operation::PutBucketTagging, Bucket)
        .selected_by(&["tagging"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketTagging)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    delete(Operation::DeleteBucketTagging, Bucket)
        .selected_by(&["tagging"])
        .requires(&[RequiredAction::always(Action::PutBucketTagging)])
        .served(),
    get(Operation::GetBucketVersioning, Bucket)
        .selected_by(&["versioning"])
        .requires(&[RequiredAction::always(Action::GetBucketVersioning)])
        .served(),
    put(Operation::PutBucketVersioning, Bucket)
        .selected_by(&["versioning"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketVersioning)])
        .document(DOCUMENT_BYTES_MAX)
        .served(),
    get(Operation::GetBucketWebsite, Bucket)
        .selected_by(&["website"])
        .requires(&[RequiredAction::always(Action::GetBucketWebsite)])
        .served(),
    put(Operation::PutBucketWebsite, Bucket)
        .selected_by(&["website"])
        .headers(&[DOCUMENT])
        .requires(&[RequiredAction::always(Action::PutBucketWebsite)])
        .document(WEBSITE_BYTES_MAX)
        .served(),
    delete(Operation::DeleteBucketWebsite, Bucket)
        .selected_by(&["website"])
        .requires(&[RequiredAction::always(Action::DeleteBucketWebsite)])
        .served(),
];
