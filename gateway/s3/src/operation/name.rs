//! The names of S3's operations.

macro_rules! operations {
    ($($name:ident)*) => {
        /// An operation of S3's API, by AWS's name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum Operation {
            $(#[doc = concat!("S3's `", stringify!($name), "`.")] $name,)*
        }

        impl Operation {
            /// Every operation, in the order of the names.
            pub const ALL: &[Operation] = &[$(Operation::$name,)*];
            /// The number of operations.
            pub const COUNT: usize = Operation::ALL.len();

            /// The name, as AWS's documentation, metrics and log lines write it; two operations never share one.
            pub const fn name(self) -> &'static str {
                match self { $(Operation::$name => stringify!($name),)* }
            }
        }
    };
}

operations! {
    AbortMultipartUpload
    CompleteMultipartUpload
    CopyObject
    CreateBucket
    CreateBucketMetadataConfiguration
    CreateBucketMetadataTableConfiguration
    CreateMultipartUpload
    CreateSession
    DeleteBucket
    DeleteBucketAnalyticsConfiguration
    DeleteBucketCors
    DeleteBucketEncryption
    DeleteBucketIntelligentTieringConfiguration
    DeleteBucketInventoryConfiguration
    DeleteBucketLifecycle
    DeleteBucketMetadataConfiguration
    DeleteBucketMetadataTableConfiguration
    DeleteBucketMetricsConfiguration
    DeleteBucketOwnershipControls
    DeleteBucketPolicy
    DeleteBucketReplication
    DeleteBucketTagging
    DeleteBucketWebsite
    DeleteObject
    DeleteObjectAnnotation
    DeleteObjectTagging
    DeleteObjects
    DeletePublicAccessBlock
    GetBucketAbac
    GetBucketAccelerateConfiguration
    GetBucketAcl
    GetBucketAnalyticsConfiguration
    GetBucketCors
    GetBucketEncryption
    GetBucketIntelligentTieringConfiguration
    GetBucketInventoryConfiguration
    GetBucketLifecycleConfiguration
    GetBucketLocation
    GetBucketLogging
    GetBucketMetadataConfiguration
    GetBucketMetadataTableConfiguration
    GetBucketMetricsConfiguration
    GetBucketNotificationConfiguration
    GetBucketOwnershipControls
    GetBucketPolicy
    GetBucketPolicyStatus
    GetBucketReplication
    GetBucketRequestPayment
    GetBucketTagging
    GetBucketVersioning
    GetBucketWebsite
    GetObject
    GetObjectAcl
    GetObjectAnnotation
    GetObjectAttributes
    GetObjectLegalHold
    GetObjectLockConfiguration
    GetObjectRetention
    GetObjectTagging
    GetObjectTorrent
    GetPublicAccessBlock
    HeadBucket
    HeadObject
    ListBucketAnalyticsConfigurations
    ListBucketIntelligentTieringConfigurations
    ListBucketInventoryConfigurations
    ListBucketMetricsConfigurations
    ListBuckets
    ListDirectoryBuckets
    ListMultipartUploads
    ListObjectAnnotations
    ListObjectVersions
    ListObjects
    ListObjectsV2
    ListParts
    ListenBucketNotification
    PostObject
    PutBucketAbac
    PutBucketAccelerateConfiguration
    PutBucketAcl
    PutBucketAnalyticsConfiguration
    PutBucketCors
    PutBucketEncryption
    PutBucketIntelligentTieringConfiguration
    PutBucketInventoryConfiguration
    PutBucketLifecycleConfiguration
    PutBucketLogging
    PutBucketMetricsConfiguration
    PutBucketNotificationConfiguration
    PutBucketOwnershipControls
    PutBucketPolicy
    PutBucketReplication
    PutBucketRequestPayment
    PutBucketTagging
    PutBucketVersioning
    PutBucketWebsite
    PutObject
    PutObjectAcl
    PutObjectAnnotation
    PutObjectLegalHold
    PutObjectLockConfiguration
    PutObjectRetention
    PutObjectTagging
    PutPublicAccessBlock
    RenameObject
    RestoreObject
    SelectObjectContent
    UpdateBucketMetadataAnnotationTableConfiguration
    UpdateBucketMetadataInventoryTableConfiguration
    UpdateBucketMetadataJournalTableConfiguration
    UpdateObjectEncryption
    UploadPart
    UploadPartCopy
    WriteGetObjectResponse
}
