//! Which operation a request asks for. What is not there yet is refused in words: a write with
//! `NotImplemented`, a read of absent configuration with what AWS says of a bucket that has none.

use http::{Method, Response};
use hyper::body::Incoming;
use s3::error::{Code, S3Error};
use s3::xml::Writer;

use super::answer::{self, Answer};
use super::{Asked, Front, bucket, listing, multipart, object, sql};

type Answered = Result<Response<Answer>, S3Error>;

/// Sub-resources of buckets and objects that are not implemented, with what a read of an absent one says.
const ABSENT: &[(&str, Option<Code>)] = &[
    ("policy", Some(Code::NoSuchBucketPolicy)),
    ("policyStatus", Some(Code::NoSuchBucketPolicy)),
    ("cors", Some(Code::NoSuchCorsConfiguration)),
    ("lifecycle", Some(Code::NoSuchLifecycleConfiguration)),
    ("encryption", Some(Code::ServerSideEncryptionNotFound)),
    ("website", Some(Code::NoSuchWebsiteConfiguration)),
    ("replication", Some(Code::ReplicationConfigurationNotFound)),
    ("publicAccessBlock", Some(Code::NoSuchPublicAccessBlock)),
    ("ownershipControls", Some(Code::OwnershipControlsNotFound)),
    ("object-lock", Some(Code::ObjectLockConfigurationNotFound)),
    ("retention", Some(Code::NoSuchObjectLockConfiguration)),
    ("legal-hold", Some(Code::NoSuchObjectLockConfiguration)),
    ("acl", None),
    ("logging", None),
    ("notification", None),
    ("requestPayment", None),
    ("accelerate", None),
    ("analytics", Some(Code::NotImplemented)),
    ("inventory", Some(Code::NotImplemented)),
    ("metrics", Some(Code::NotImplemented)),
    ("intelligent-tiering", Some(Code::NotImplemented)),
    ("torrent", Some(Code::NotImplemented)),
    ("restore", Some(Code::NotImplemented)),
    ("select", Some(Code::NotImplemented)),
    ("attributes", Some(Code::NotImplemented)),
    ("session", Some(Code::NotImplemented)),
];

/// Headers that would have to be obeyed and cannot be yet.
fn refuse_headers(asked: &Asked) -> Result<(), S3Error> {
    let refused = |name: &str| {
        Err(Code::NotImplemented
            .because(format!("{name} is not implemented."))
            .with("Header", name))
    };
    for name in asked.parts.headers.keys().map(http::HeaderName::as_str) {
        let is_refused = name.starts_with("x-amz-server-side-encryption")
            || name.starts_with("x-amz-copy-source-server-side-encryption")
            || name.starts_with("x-amz-grant-")
            || name.starts_with("x-amz-object-lock")
            || name == "x-amz-website-redirect-location";
        if is_refused {
            return refused(name);
        }
    }
    if asked
        .header("x-amz-acl")
        .is_some_and(|acl| acl != "private" && acl != "bucket-owner-full-control")
    {
        return refused("x-amz-acl");
    }
    if asked.header("x-amz-storage-class").is_some_and(|class| class != "STANDARD") {
        return refused("x-amz-storage-class");
    }
    if asked.header("x-amz-bucket-object-lock-enabled").is_some_and(|on| on == "true") {
        return refused("x-amz-bucket-object-lock-enabled");
    }
    Ok(())
}

async fn absent(front: &Front, asked: &Asked) -> Option<Answered> {
    let found = ABSENT.iter().find(|(name, _)| asked.query(name).is_some())?;
    let (name, code) = *found;
    if asked.parts.method != Method::GET {
        return Some(Err(Code::NotImplemented.because(format!("?{name} is not implemented."))));
    }
    if let Err(error) = front.sight(asked).await {
        return Some(Err(error));
    }
    if let Some(code) = code {
        return Some(Err(code.into()));
    }
    let empty = |root: &str| Ok(answer::xml(Writer::new(root).finish(root)));
    Some(match name {
        "acl" => bucket::acl(front, asked).await,
        "logging" => empty("BucketLoggingStatus"),
        "notification" => empty("NotificationConfiguration"),
        "accelerate" => empty("AccelerateConfiguration"),
        _ => {
            let root = "RequestPaymentConfiguration";
            let mut writer = Writer::new(root);
            writer.text("Payer", "BucketOwner");
            Ok(answer::xml(writer.finish(root)))
        }
    })
}

/// Answers a request.
pub async fn route(front: &Front, asked: Asked, body: Incoming) -> Answered {
    let method = asked.parts.method.clone();
    let has = |name: &str| asked.query(name).is_some();
    if method != Method::GET && method != Method::HEAD {
        refuse_headers(&asked)?;
    }
    if asked.bucket.is_none() {
        return match method {
            Method::GET => bucket::list(front, &asked).await,
            _ => Err(Code::MethodNotAllowed.into()),
        };
    }
    if asked.bucket.as_deref() == Some(sql::OWN) {
        return sql::answer(front, &asked, body).await;
    }
    if let Some(answered) = absent(front, &asked).await {
        return answered;
    }
    if asked.key.is_none() {
        return match method {
            Method::GET if has("location") => bucket::location(front, &asked).await,
            Method::GET if has("versioning") => bucket::versioning(front, &asked).await,
            Method::GET if has("tagging") => {
                front.sight(&asked).await?;
                Err(Code::NoSuchTagSet.into())
            }
            Method::GET if has("uploads") => multipart::list_uploads(front, &asked).await,
            Method::GET if has("versions") => listing::versions(front, &asked).await,
            Method::GET => listing::objects(front, &asked).await,
            Method::HEAD => bucket::head(front, &asked).await,
            Method::PUT if has("versioning") => bucket::set_versioning(front, &asked, body).await,
            Method::PUT if has("tagging") => Err(Code::NotImplemented.into()),
            Method::PUT => bucket::create(front, &asked, body).await,
            Method::DELETE if has("tagging") => Err(Code::NotImplemented.into()),
            Method::DELETE => bucket::delete(front, &asked).await,
            Method::POST if has("delete") => object::delete_many(front, &asked, body).await,
            Method::POST => Err(Code::NotImplemented.because("POST uploads are not implemented.")),
            _ => Err(Code::MethodNotAllowed.into()),
        };
    }
    let is_copy = asked.parts.headers.contains_key("x-amz-copy-source");
    match method {
        Method::GET if has("tagging") => object::tags(front, &asked).await,
        Method::GET if has("uploadId") => multipart::list_parts(front, &asked).await,
        Method::GET => object::get(front, &asked, false).await,
        Method::HEAD => object::get(front, &asked, true).await,
        Method::PUT if has("tagging") => object::set_tags(front, &asked, body).await,
        Method::PUT if has("uploadId") && is_copy => {
            Err(Code::NotImplemented.because("UploadPartCopy is not implemented."))
        }
        Method::PUT if has("uploadId") => multipart::put_part(front, &asked, body).await,
        Method::PUT if is_copy => object::copy(front, &asked).await,
        Method::PUT => object::put(front, &asked, body).await,
        Method::DELETE if has("tagging") => object::delete_tags(front, &asked).await,
        Method::DELETE if has("uploadId") => multipart::abort(front, &asked).await,
        Method::DELETE => object::delete(front, &asked).await,
        Method::POST if has("uploads") => multipart::create(front, &asked).await,
        Method::POST if has("uploadId") => multipart::complete(front, &asked, body).await,
        Method::POST => Err(Code::NotImplemented.into()),
        _ => Err(Code::MethodNotAllowed.into()),
    }
}
