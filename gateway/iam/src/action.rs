//! The actions that a request can require, by the names that AWS's Service Authorization Reference gives them.
//!
//! An action is not an operation: `HeadBucket` and `ListObjects` both require `s3:ListBucket`, and a read of an
//! object requires `s3:GetObject` or `s3:GetObjectVersion`. The table of operations in `gateway/s3` says which
//! operation requires which action.
//!
//! Actions of the service `siltstone` have no counterpart in AWS: `QueryBucket` reads a bucket's rows in SQL,
//! `FollowBucket` reads the changes of a bucket in SQL, and `InspectStore` reads files, settings and errors of the
//! store itself.

/// The kind of resource that an action applies to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResourceLevel {
    /// The store as a whole.
    Service,
    /// A bucket.
    Bucket,
    /// An object in a bucket, or a multipart upload that will become one.
    Object,
}

macro_rules! actions {
    ($($service:literal $level:ident { $($name:ident)* })*) => {
        /// An action that a principal may be allowed to perform.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Action {
            $($(
                #[doc = concat!("The action `", $service, ":", stringify!($name), "`.")]
                $name,
            )*)*
        }

        impl Action {
            /// Every action, in the order of the reference within each service and level.
            pub const ALL: &[Action] = &[$($(Action::$name,)*)*];

            /// The name as policies write it, for example `s3:GetObject`.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Action::$name => concat!($service, ":", stringify!($name)),)*)*
                }
            }

            /// The kind of resource that the action applies to; a request for another kind must be denied.
            pub const fn level(self) -> ResourceLevel {
                match self {
                    $($(Action::$name)|* => ResourceLevel::$level,)*
                }
            }
        }
    };
}

actions! {
    "s3" Service {
        ListAllMyBuckets
    }
    "s3" Bucket {
        CreateBucket
        CreateBucketMetadataTableConfiguration
        DeleteBucket
        DeleteBucketMetadataTableConfiguration
        DeleteBucketPolicy
        DeleteBucketWebsite
        GetAccelerateConfiguration
        GetAnalyticsConfiguration
        GetBucketABAC
        GetBucketAcl
        GetBucketCORS
        GetBucketLocation
        GetBucketLogging
        GetBucketMetadataTableConfiguration
        GetBucketNotification
        GetBucketObjectLockConfiguration
        GetBucketOwnershipControls
        GetBucketPolicy
        GetBucketPolicyStatus
        GetBucketPublicAccessBlock
        GetBucketRequestPayment
        GetBucketTagging
        GetBucketVersioning
        GetBucketWebsite
        GetEncryptionConfiguration
        GetIntelligentTieringConfiguration
        GetInventoryConfiguration
        GetLifecycleConfiguration
        GetMetricsConfiguration
        GetReplicationConfiguration
        ListBucket
        ListBucketMultipartUploads
        ListBucketVersions
        PutAccelerateConfiguration
        PutAnalyticsConfiguration
        PutBucketABAC
        PutBucketAcl
        PutBucketCORS
        PutBucketLogging
        PutBucketNotification
        PutBucketObjectLockConfiguration
        PutBucketOwnershipControls
        PutBucketPolicy
        PutBucketPublicAccessBlock
        PutBucketRequestPayment
        PutBucketTagging
        PutBucketVersioning
        PutBucketWebsite
        PutEncryptionConfiguration
        PutIntelligentTieringConfiguration
        PutInventoryConfiguration
        PutLifecycleConfiguration
        PutMetricsConfiguration
        PutReplicationConfiguration
        UpdateBucketMetadataAnnotationTableConfiguration
        UpdateBucketMetadataInventoryTableConfiguration
        UpdateBucketMetadataJournalTableConfiguration
    }
    "s3" Object {
        AbortMultipartUpload
        BypassGovernanceRetention
        DeleteObject
        DeleteObjectAnnotation
        DeleteObjectTagging
        DeleteObjectVersion
        DeleteObjectVersionTagging
        GetObject
        GetObjectAcl
        GetObjectAnnotation
        GetObjectAttributes
        GetObjectLegalHold
        GetObjectRetention
        GetObjectTagging
        GetObjectTorrent
        GetObjectVersion
        GetObjectVersionAcl
        GetObjectVersionAttributes
        GetObjectVersionTagging
        ListMultipartUploadParts
        ListObjectAnnotations
        PutObject
        PutObjectAcl
        PutObjectAnnotation
        PutObjectLegalHold
        PutObjectRetention
        PutObjectTagging
        PutObjectVersionAcl
        PutObjectVersionTagging
        RestoreObject
        UpdateObjectEncryption
    }
    "s3express" Service {
        ListAllMyDirectoryBuckets
    }
    "s3express" Bucket {
        CreateSession
    }
    "s3-object-lambda" Bucket {
        WriteGetObjectResponse
    }
    "siltstone" Service {
        InspectStore
    }
    "siltstone" Bucket {
        FollowBucket
        QueryBucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_policies_and_unique() {
        assert_eq!(Action::GetObject.name(), "s3:GetObject");
        assert_eq!(Action::CreateSession.name(), "s3express:CreateSession");
        let mut names: Vec<&str> = Action::ALL.iter().map(|action| action.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }

    #[test]
    fn an_action_knows_its_kind_of_resource() {
        assert_eq!(Action::ListAllMyBuckets.level(), ResourceLevel::Service);
        assert_eq!(Action::ListBucket.level(), ResourceLevel::Bucket);
        assert_eq!(Action::ListMultipartUploadParts.level(), ResourceLevel::Object);
    }
}
