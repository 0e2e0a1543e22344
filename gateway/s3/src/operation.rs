//! Which operation a request is: S3's operations in one table, and the decision by method, resource, query and
//! headers.
//!
//! An operation is named by its method, its resource (service, bucket, object), and by *selectors*: query names
//! such as `acl` or `uploadId`, and for copies the header `x-amz-copy-source`. It obeys *parameters*, further query
//! names, and headers ([`headers`]). A request is the operation with most selectors of those that fit. Whatever is
//! left over and would select another operation or bind this one is refused before anything is read or changed: a
//! client that asks for more than is done would lose what it has.
//!
//! | left over | answer |
//! |---|---|
//! | a selector that this resource has with another method, or that another resource has | 405 |
//! | a second selector | 400 |
//! | on a write a parameter of other operations; `versionId`, `partNumber` on a read, too | 400 |
//! | on a write an unknown name without a value, which is how selectors are written | 501 |
//! | any other name | ignored, as AWS does: SDKs add `x-id=GetObject` and the like |

use std::sync::LazyLock;

use http::HeaderMap;

use crate::error::{ErrorCode, S3Error};
use crate::headers;

/// The resource that an operation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum S3Resource {
    /// All of a user's buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

impl S3Resource {
    /// The name in errors.
    fn name(self) -> &'static str {
        match self {
            S3Resource::Service => "SERVICE",
            S3Resource::Bucket => "BUCKET",
            S3Resource::Object => "OBJECT",
        }
    }
}

/// The degree to which an operation is implemented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperationSupport {
    /// Implemented.
    Served,
    /// A read of configuration that no bucket or object here has; the code is what AWS says then.
    Absent(ErrorCode),
    /// Known and not implemented: 501.
    Refused,
}

/// A row of the table.
#[derive(Debug)]
pub struct OperationDefinition {
    /// The operation.
    pub operation: Operation,
    /// AWS's name of it.
    pub name: &'static str,
    /// Its method.
    pub method: &'static str,
    /// The resource that it works on.
    pub resource: S3Resource,
    /// Query names that must all be there.
    pub selectors: &'static [&'static str],
    /// The header that must be there.
    pub selecting_header: Option<&'static str>,
    /// Groups of further query names that it obeys.
    pub parameters: &'static [&'static [&'static str]],
    /// Groups of headers that it obeys; [`headers::CHECKSUM`] stands for the checksums of all algorithms.
    pub headers: &'static [&'static [&'static str]],
    /// The degree to which it is implemented.
    pub state: OperationSupport,
}

// Groups of query names.
const OVERRIDES: &[&str] = &[
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
];
const VERSION: &[&str] = &["versionId"];
const PART: &[&str] = &["partNumber"];
const PAGE: &[&str] = &["delimiter", "encoding-type", "max-keys", "prefix"];
const MARKER: &[&str] = &["marker"];
const PAGE_V2: &[&str] = &["continuation-token", "fetch-owner", "start-after"];
const VERSIONS: &[&str] = &["key-marker", "version-id-marker"];
const UPLOADS: &[&str] =
    &["delimiter", "encoding-type", "key-marker", "max-uploads", "prefix", "upload-id-marker"];
const PARTS: &[&str] = &["max-parts", "part-number-marker"];
const BUCKETS: &[&str] = &["max-buckets", "continuation-token", "prefix", "bucket-region"];
const TOKEN: &[&str] = &["continuation-token"];
const ID: &[&str] = &["id"];
const ANNOTATION: &[&str] = &["annotationName"];
const ANNOTATIONS: &[&str] = &["max-annotation-results", "annotation-prefix"];
const SELECT: &[&str] = &["select-type"];
// Groups of headers. What every operation obeys, or none in full, is in `headers::unobeyed`.
const COPY_SOURCE: &str = "x-amz-copy-source";
const CONDITIONS: &[&str] = &["if-match", "if-none-match"];
const READ: &[&str] = &[
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
    "range",
    "x-amz-checksum-mode",
];
/// The headers of a body's checksum.
const DOCUMENT: &[&str] =
    &["content-md5", headers::CHECKSUM, "x-amz-trailer", "x-amz-decoded-content-length"];
const BODY: &[&str] = &[
    "content-md5",
    headers::CHECKSUM,
    "x-amz-trailer",
    "x-amz-decoded-content-length",
    "x-amz-sdk-checksum-algorithm",
];
const STORED: &[&str] = &["x-amz-tagging"];
const COPY: &[&str] = &[
    COPY_SOURCE,
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-if-none-match",
    "x-amz-copy-source-if-modified-since",
    "x-amz-copy-source-if-unmodified-since",
    "x-amz-source-expected-bucket-owner",
    "x-amz-metadata-directive",
    "x-amz-tagging-directive",
    "x-amz-checksum-algorithm",
];
const UPLOAD: &[&str] = &["x-amz-checksum-algorithm", "x-amz-checksum-type"];
const COMPLETE: &[&str] = &["x-amz-checksum-type", "x-amz-mp-object-size"];
/// Whoever may write here owns the bucket, so each of AWS's three rules of ownership comes to the same.
const OWNERSHIP: &[&str] = &["x-amz-object-ownership"];

macro_rules! operations {
    ($($name:ident $method:ident $resource:ident [$($selector:literal)*] [$($parameters:ident)*]
        [$($headers:ident)*] $(by $by:ident)? => $state:ident $(($code:ident))?;)*) => {
        /// An operation of S3's.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs, reason = "the names are S3's own, and documented there")]
        pub enum Operation { $($name,)* }

        /// All operations of S3's.
        pub const OPERATIONS: &[OperationDefinition] = &[$(OperationDefinition {
            operation: Operation::$name,
            name: stringify!($name),
            method: stringify!($method),
            resource: S3Resource::$resource,
            selectors: &[$($selector,)*],
            selecting_header: [$(Some($by),)? None][0],
            parameters: &[$($parameters,)*],
            headers: &[$($headers,)*],
            state: OperationSupport::$state $((ErrorCode::$code))?,
        },)*];
    };
}

// name, method, resource, [selectors], [parameters], [headers], by a header, state
operations! {
AbortMultipartUpload DELETE Object ["uploadId"] [] [] => Served;
CompleteMultipartUpload POST Object ["uploadId"] [] [CONDITIONS COMPLETE DOCUMENT] => Served;
CopyObject PUT Object [] [] [CONDITIONS COPY STORED] by COPY_SOURCE => Served;
CreateBucket PUT Bucket [] [] [DOCUMENT OWNERSHIP] => Served;
CreateBucketMetadataConfiguration POST Bucket ["metadataConfiguration"] [] [] => Refused;
CreateBucketMetadataTableConfiguration POST Bucket ["metadataTable"] [] [] => Refused;
CreateMultipartUpload POST Object ["uploads"] [] [STORED UPLOAD] => Served;
CreateSession GET Bucket ["session"] [] [] => Refused;
DeleteBucket DELETE Bucket [] [] [] => Served;
DeleteBucketAnalyticsConfiguration DELETE Bucket ["analytics"] [ID] [] => Refused;
DeleteBucketCors DELETE Bucket ["cors"] [] [] => Refused;
DeleteBucketEncryption DELETE Bucket ["encryption"] [] [] => Refused;
DeleteBucketIntelligentTieringConfiguration DELETE Bucket ["intelligent-tiering"] [ID] [] => Refused;
DeleteBucketInventoryConfiguration DELETE Bucket ["inventory"] [ID] [] => Refused;
DeleteBucketLifecycle DELETE Bucket ["lifecycle"] [] [] => Refused;
DeleteBucketMetadataConfiguration DELETE Bucket ["metadataConfiguration"] [] [] => Refused;
DeleteBucketMetadataTableConfiguration DELETE Bucket ["metadataTable"] [] [] => Refused;
DeleteBucketMetricsConfiguration DELETE Bucket ["metrics"] [ID] [] => Refused;
DeleteBucketOwnershipControls DELETE Bucket ["ownershipControls"] [] [] => Refused;
DeleteBucketPolicy DELETE Bucket ["policy"] [] [] => Refused;
DeleteBucketReplication DELETE Bucket ["replication"] [] [] => Refused;
DeleteBucketTagging DELETE Bucket ["tagging"] [] [] => Refused;
DeleteBucketWebsite DELETE Bucket ["website"] [] [] => Refused;
DeleteObject DELETE Object [] [VERSION] [CONDITIONS] => Served;
DeleteObjectAnnotation DELETE Object ["annotation"] [VERSION ANNOTATION] [] => Refused;
DeleteObjectTagging DELETE Object ["tagging"] [VERSION] [] => Served;
DeleteObjects POST Bucket ["delete"] [] [DOCUMENT] => Served;
DeletePublicAccessBlock DELETE Bucket ["publicAccessBlock"] [] [] => Refused;
GetBucketAbac GET Bucket ["abac"] [] [] => Refused;
GetBucketAccelerateConfiguration GET Bucket ["accelerate"] [] [] => Served;
GetBucketAcl GET Bucket ["acl"] [] [] => Served;
GetBucketAnalyticsConfiguration GET Bucket ["analytics" "id"] [] [] => Refused;
GetBucketCors GET Bucket ["cors"] [] [] => Absent(NoSuchCorsConfiguration);
GetBucketEncryption GET Bucket ["encryption"] [] [] => Absent(ServerSideEncryptionNotFound);
GetBucketIntelligentTieringConfiguration GET Bucket ["intelligent-tiering" "id"] [] [] => Refused;
GetBucketInventoryConfiguration GET Bucket ["inventory" "id"] [] [] => Refused;
GetBucketLifecycleConfiguration GET Bucket ["lifecycle"] [] [] => Absent(NoSuchLifecycleConfiguration);
GetBucketLocation GET Bucket ["location"] [] [] => Served;
GetBucketLogging GET Bucket ["logging"] [] [] => Served;
GetBucketMetadataConfiguration GET Bucket ["metadataConfiguration"] [] [] => Refused;
GetBucketMetadataTableConfiguration GET Bucket ["metadataTable"] [] [] => Refused;
GetBucketMetricsConfiguration GET Bucket ["metrics" "id"] [] [] => Refused;
GetBucketNotificationConfiguration GET Bucket ["notification"] [] [] => Served;
GetBucketOwnershipControls GET Bucket ["ownershipControls"] [] [] => Absent(OwnershipControlsNotFound);
GetBucketPolicy GET Bucket ["policy"] [] [] => Absent(NoSuchBucketPolicy);
GetBucketPolicyStatus GET Bucket ["policyStatus"] [] [] => Absent(NoSuchBucketPolicy);
GetBucketReplication GET Bucket ["replication"] [] [] => Absent(ReplicationConfigurationNotFound);
GetBucketRequestPayment GET Bucket ["requestPayment"] [] [] => Served;
GetBucketTagging GET Bucket ["tagging"] [] [] => Absent(NoSuchTagSet);
GetBucketVersioning GET Bucket ["versioning"] [] [] => Served;
GetBucketWebsite GET Bucket ["website"] [] [] => Absent(NoSuchWebsiteConfiguration);
GetObject GET Object [] [OVERRIDES VERSION PART] [READ] => Served;
GetObjectAcl GET Object ["acl"] [VERSION] [] => Served;
GetObjectAnnotation GET Object ["annotation"] [VERSION ANNOTATION] [] => Refused;
GetObjectAttributes GET Object ["attributes"] [VERSION] [] => Refused;
GetObjectLegalHold GET Object ["legal-hold"] [VERSION] [] => Absent(NoSuchObjectLockConfiguration);
GetObjectLockConfiguration GET Bucket ["object-lock"] [] [] => Absent(ObjectLockConfigurationNotFound);
GetObjectRetention GET Object ["retention"] [VERSION] [] => Absent(NoSuchObjectLockConfiguration);
GetObjectTagging GET Object ["tagging"] [VERSION] [] => Served;
GetObjectTorrent GET Object ["torrent"] [] [] => Refused;
GetPublicAccessBlock GET Bucket ["publicAccessBlock"] [] [] => Absent(NoSuchPublicAccessBlock);
HeadBucket HEAD Bucket [] [] [] => Served;
HeadObject HEAD Object [] [OVERRIDES VERSION PART] [READ] => Served;
ListBucketAnalyticsConfigurations GET Bucket ["analytics"] [TOKEN] [] => Refused;
ListBucketIntelligentTieringConfigurations GET Bucket ["intelligent-tiering"] [TOKEN] [] => Refused;
ListBucketInventoryConfigurations GET Bucket ["inventory"] [TOKEN] [] => Refused;
ListBucketMetricsConfigurations GET Bucket ["metrics"] [TOKEN] [] => Refused;
ListBuckets GET Service [] [BUCKETS] [] => Served;
ListMultipartUploads GET Bucket ["uploads"] [UPLOADS] [] => Served;
ListObjectAnnotations GET Object ["annotation"] [VERSION TOKEN ANNOTATIONS] [] => Refused;
ListObjectVersions GET Bucket ["versions"] [PAGE VERSIONS] [] => Served;
ListObjects GET Bucket [] [PAGE MARKER] [] => Served;
ListObjectsV2 GET Bucket ["list-type"] [PAGE PAGE_V2] [] => Served;
ListParts GET Object ["uploadId"] [PARTS] [] => Served;
PostObject POST Bucket [] [] [] => Refused;
PutBucketAbac PUT Bucket ["abac"] [] [] => Refused;
PutBucketAccelerateConfiguration PUT Bucket ["accelerate"] [] [] => Refused;
PutBucketAcl PUT Bucket ["acl"] [] [] => Refused;
PutBucketAnalyticsConfiguration PUT Bucket ["analytics"] [ID] [] => Refused;
PutBucketCors PUT Bucket ["cors"] [] [] => Refused;
PutBucketEncryption PUT Bucket ["encryption"] [] [] => Refused;
PutBucketIntelligentTieringConfiguration PUT Bucket ["intelligent-tiering"] [ID] [] => Refused;
PutBucketInventoryConfiguration PUT Bucket ["inventory"] [ID] [] => Refused;
PutBucketLifecycleConfiguration PUT Bucket ["lifecycle"] [] [] => Refused;
PutBucketLogging PUT Bucket ["logging"] [] [] => Refused;
PutBucketMetricsConfiguration PUT Bucket ["metrics"] [ID] [] => Refused;
PutBucketNotificationConfiguration PUT Bucket ["notification"] [] [] => Refused;
PutBucketOwnershipControls PUT Bucket ["ownershipControls"] [] [] => Refused;
PutBucketPolicy PUT Bucket ["policy"] [] [] => Refused;
PutBucketReplication PUT Bucket ["replication"] [] [] => Refused;
PutBucketRequestPayment PUT Bucket ["requestPayment"] [] [] => Refused;
PutBucketTagging PUT Bucket ["tagging"] [] [] => Refused;
PutBucketVersioning PUT Bucket ["versioning"] [] [DOCUMENT] => Served;
PutBucketWebsite PUT Bucket ["website"] [] [] => Refused;
PutObject PUT Object [] [] [CONDITIONS STORED BODY] => Served;
PutObjectAcl PUT Object ["acl"] [VERSION] [] => Refused;
PutObjectAnnotation PUT Object ["annotation"] [VERSION ANNOTATION] [] => Refused;
PutObjectLegalHold PUT Object ["legal-hold"] [VERSION] [] => Refused;
PutObjectLockConfiguration PUT Bucket ["object-lock"] [] [] => Refused;
PutObjectRetention PUT Object ["retention"] [VERSION] [] => Refused;
PutObjectTagging PUT Object ["tagging"] [VERSION] [DOCUMENT] => Served;
PutPublicAccessBlock PUT Bucket ["publicAccessBlock"] [] [] => Refused;
RenameObject PUT Object ["renameObject"] [] [] => Refused;
RestoreObject POST Object ["restore"] [VERSION] [] => Refused;
SelectObjectContent POST Object ["select"] [SELECT] [] => Refused;
UpdateBucketMetadataAnnotationTableConfiguration PUT Bucket ["metadataAnnotationTable"] [] [] => Refused;
UpdateBucketMetadataInventoryTableConfiguration PUT Bucket ["metadataInventoryTable"] [] [] => Refused;
UpdateBucketMetadataJournalTableConfiguration PUT Bucket ["metadataJournalTable"] [] [] => Refused;
UpdateObjectEncryption PUT Object ["encryption"] [VERSION] [] => Refused;
UploadPart PUT Object ["uploadId"] [PART] [BODY] => Served;
UploadPartCopy PUT Object ["uploadId"] [PART] [] by COPY_SOURCE => Refused;}

/// The methods of S3's operations.
pub const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// The request's parts that name its operation.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// Its method.
    pub method: &'a str,
    /// The resource that its path names.
    pub resource: S3Resource,
    /// Its query, decoded.
    pub query: &'a [(String, String)],
    /// Its headers, with those that a presigned query stands for.
    pub headers: &'a HeaderMap,
}

/// A selector that takes another operation's place. `list-type` and `id` only choose between two forms of one read.
fn is_strong(name: &str) -> bool {
    !matches!(name, "list-type" | "id")
}

fn is_selector(name: &str) -> bool {
    is_strong(name) && OPERATIONS.iter().any(|definition| definition.selectors.contains(&name))
}

fn is_parameter(name: &str) -> bool {
    OPERATIONS.iter().any(|definition| definition.takes(name))
}

impl OperationDefinition {
    /// Tells whether the operation may change something.
    pub fn is_write(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD")
    }

    /// Tells whether the query name is one of its selectors or parameters.
    fn takes(&self, name: &str) -> bool {
        self.selectors.contains(&name) || self.parameters.iter().any(|group| group.contains(&name))
    }

    /// Tells whether it obeys a header.
    pub fn obeys(&self, name: &str) -> bool {
        let is_checksum = headers::is_checksum(name);
        let is = |known: &&str| *known == name || *known == headers::CHECKSUM && is_checksum;
        self.headers.iter().any(|group| group.iter().any(is))
    }

    /// Tells whether the request has its selectors; method and resource are the same already.
    fn fits(&self, request: &RequestParts<'_>) -> bool {
        let has = |selector: &&str| request.query.iter().any(|(name, _)| name == selector);
        self.selectors.iter().all(has)
            && self.selecting_header.is_none_or(|name| request.headers.contains_key(name))
    }

    /// The number of selectors: by selectors that take another's place, then by the others.
    fn rank(&self) -> (usize, usize) {
        let strong = self.selectors.iter().filter(|name| is_strong(name)).count();
        (strong, self.selectors.len() + usize::from(self.selecting_header.is_some()))
    }
}

/// The rows of one method and resource: a request is compared with these alone.
fn rows(method: &str, resource: S3Resource) -> &'static [&'static OperationDefinition] {
    static ROWS: LazyLock<[[Vec<&'static OperationDefinition>; 3]; METHODS.len()]> =
        LazyLock::new(|| {
            METHODS.map(|method| {
                [S3Resource::Service, S3Resource::Bucket, S3Resource::Object].map(|resource| {
                    let is_here = |row: &&OperationDefinition| {
                        row.method == method && row.resource == resource
                    };
                    OPERATIONS.iter().filter(is_here).collect()
                })
            })
        });
    let method = METHODS.iter().position(|known| *known == method);
    method.map_or(&[], |method| &ROWS[method][resource as usize])
}

/// Finds the operation that a request asks for, whatever else it asks for; `None` where the method has none.
pub fn find(request: &RequestParts<'_>) -> Option<&'static OperationDefinition> {
    let rows = rows(request.method, request.resource).iter().copied();
    rows.filter(|row| row.fits(request)).max_by_key(|row| row.rank())
}

/// The operation that a request asks for, which is served or absent. What it does not obey is refused.
pub fn decide(request: &RequestParts<'_>) -> Result<&'static OperationDefinition, S3Error> {
    let Some(found) = find(request) else {
        let selector = request.query.iter().map(|(name, _)| name).find(|name| is_selector(name));
        return Err(not_allowed(request, selector.map_or("", String::as_str)));
    };
    check_query(found, request)?;
    if found.state == OperationSupport::Refused {
        return Err(
            ErrorCode::NotImplemented.because(format!("{} is not implemented.", found.name))
        );
    }
    headers::check(found, request.headers)?;
    Ok(found)
}

fn check_query(found: &OperationDefinition, request: &RequestParts<'_>) -> Result<(), S3Error> {
    for (index, (name, value)) in request.query.iter().enumerate() {
        let name = name.as_str();
        if request.query[..index].iter().any(|(other, _)| other == name) && is_parameter(name) {
            return Err(invalid(name, value, format!("The parameter {name} is given twice.")));
        }
        if found.takes(name) {
            continue;
        }
        if is_selector(name) {
            return Err(match found.selectors.iter().find(|selector| is_strong(selector)) {
                Some(first) => invalid(
                    "ResourceType",
                    first,
                    format!("Conflicting query string parameters: {first}, {name}"),
                ),
                None => not_allowed(request, name),
            });
        }
        let binds = found.is_write() || matches!(name, "versionId" | "partNumber");
        if binds && is_parameter(name) {
            let what = if name == "versionId" { "a version-id" } else { name };
            return Err(invalid(name, value, format!("This operation does not accept {what}.")));
        }
        if found.is_write() && value.is_empty() && !headers::is_header_in_query(name) {
            return Err(S3Error::from(ErrorCode::NotImplemented).with("Parameter", name));
        }
    }
    Ok(())
}

fn invalid(name: &str, value: &str, message: String) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

/// 405, with the methods that the resource has under the selector.
fn not_allowed(request: &RequestParts<'_>, selector: &str) -> S3Error {
    let mut methods: Vec<&str> = Vec::new();
    for definition in OPERATIONS.iter().filter(|known| known.resource == request.resource) {
        let is_one = match selector {
            "" => definition.selectors.is_empty(),
            _ => definition.selectors.contains(&selector),
        };
        if is_one && !methods.contains(&definition.method) {
            methods.push(definition.method);
        }
    }
    S3Error::from(ErrorCode::MethodNotAllowed)
        .with("Method", request.method)
        .with("ResourceType", request.resource.name())
        .with(crate::error::ALLOW, methods.join(", "))
}

#[cfg(test)]
mod tests;
