//! Operations on buckets.

use compactor::outcome::{RecordOutcome, Rejection};
use hyper::body::Incoming;
use ingest::name::BucketName;
use ingest::record::{CreateBucket, RecordBody, Versioning};
use s3::error::{ErrorCode, S3Error};
use s3::escape::escape;
use s3::xml::{self, XmlWriter};

use super::answer::{self, HandlerResult};
use super::{S3Request, S3Service, read_error, submit_error};
use crate::users::owns;

/// XML bodies are at most 1 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;

fn owner(writer: &mut XmlWriter, front: &S3Service, id: &str) {
    writer.begin("Owner").text("ID", id);
    writer.text("DisplayName", front.users.display_name(id)).end("Owner");
}

/// ListBuckets.
pub async fn list(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let prefix = asked.query("prefix").unwrap_or_default();
    let after = asked.query("continuation-token").unwrap_or_default();
    let max = match asked.query("max-buckets") {
        None => usize::MAX,
        Some(text) => {
            s3::names::number(text).filter(|max| (1..=10_000).contains(max)).ok_or_else(|| {
                ErrorCode::InvalidArgument.because("max-buckets is not between 1 and 10000")
            })?
        }
    };
    // All of a store's buckets are in its region.
    let elsewhere =
        asked.query("bucket-region").is_some_and(|region| region != front.settings.region);
    let snapshots = front.store.fresh().await.map_err(read_error)?;
    let mut mine: Vec<_> = snapshots
        .iter()
        .flat_map(|snapshot| snapshot.buckets.iter())
        .filter(|bucket| !elsewhere && owns(&asked.user, bucket))
        .filter(|bucket| bucket.name.as_str().starts_with(prefix) && bucket.name.as_str() > after)
        .collect();
    mine.sort_by(|a, b| a.name.cmp(&b.name));
    let root = "ListAllMyBucketsResult";
    let mut writer = XmlWriter::new(root);
    owner(&mut writer, front, &asked.user.id);
    writer.begin("Buckets");
    for bucket in mine.iter().take(max) {
        writer.begin("Bucket").text("Name", bucket.name.as_str());
        writer.text("CreationDate", &s3::time::xml(bucket.created.micros()));
        writer.text("BucketRegion", &front.settings.region).end("Bucket");
    }
    writer.end("Buckets");
    if let Some(last) = mine.get(max.wrapping_sub(1)).filter(|_| mine.len() > max) {
        writer.text("ContinuationToken", last.name.as_str());
    }
    if !prefix.is_empty() {
        writer.text("Prefix", prefix);
    }
    Ok(answer::xml(writer.finish(root)))
}

/// CreateBucket.
pub async fn create(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let name = asked.bucket.clone().unwrap_or_default();
    s3::names::check_bucket(&name)?;
    let document = front.take_document(asked, body, DOCUMENT_BYTES_MAX).await?;
    let region = if document.is_empty() {
        String::new()
    } else {
        let read = xml::read(&document, "CreateBucketConfiguration")?;
        // Tags and kinds of buckets that are not made here: a bucket without them is not what was asked for.
        if let Some(other) = read.children.iter().find(|child| child.name != "LocationConstraint") {
            return Err(ErrorCode::NotImplemented
                .because(format!("{} of a new bucket is not implemented.", other.name)));
        }
        read.text_of("LocationConstraint").unwrap_or_default().to_owned()
    };
    let is_here = region.is_empty() || region == front.settings.region || region == "us-east-1";
    if !is_here {
        return Err(
            S3Error::from(ErrorCode::InvalidLocationConstraint).with("LocationConstraint", region)
        );
    }
    let valid = BucketName::new(name.clone().into_bytes());
    let valid = valid.map_err(|_| S3Error::from(ErrorCode::InvalidBucketName))?;
    let create = CreateBucket { name: valid, owner: asked.user.id.clone(), region };
    let outcome = front.submit(asked, RecordBody::CreateBucket(create)).await?;
    match outcome {
        // Creating one's own bucket again succeeds in us-east-1, and so everywhere here.
        RecordOutcome::BucketCreated(_)
        | RecordOutcome::Rejected(Rejection::BucketAlreadyOwned) => {
            let mut response = answer::empty(200);
            answer::set(&mut response, "location", &format!("/{name}"));
            Ok(response)
        }
        RecordOutcome::Rejected(Rejection::BucketExists) => {
            Err(S3Error::from(ErrorCode::BucketAlreadyExists).with("BucketName", name))
        }
        other => Err(unexpected(&other)),
    }
}

/// HeadBucket.
pub async fn head(front: &S3Service, asked: &S3Request) -> HandlerResult {
    front.sight(asked).await?;
    let mut response = answer::empty(200);
    answer::set(&mut response, "x-amz-bucket-region", &front.settings.region);
    Ok(response)
}

/// DeleteBucket.
pub async fn delete(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let partition = front.partition_of(asked);
    let deleted = partition.delete_bucket(&asked.user.id, &asked.id, bucket.id).await;
    match deleted.map_err(submit_error)? {
        RecordOutcome::Done => Ok(answer::empty(204)),
        RecordOutcome::Rejected(Rejection::BucketNotEmpty) => {
            Err(S3Error::from(ErrorCode::BucketNotEmpty).with("BucketName", bucket.name.as_str()))
        }
        other => Err(unexpected(&other)),
    }
}

/// GetBucketLocation.
pub async fn location(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.sight(asked).await?.bucket;
    let region = if bucket.region == "us-east-1" { "" } else { bucket.region.as_str() };
    let root = "LocationConstraint";
    // The element holds the text itself; a writer of elements has no word for that.
    let mut text = XmlWriter::new(root).finish(root);
    text.insert_str(text.len() - "</LocationConstraint>".len(), &escape(region));
    Ok(answer::xml(text))
}

/// GetBucketVersioning.
pub async fn versioning(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.sight(asked).await?.bucket;
    let root = "VersioningConfiguration";
    let mut writer = XmlWriter::new(root);
    match bucket.versioning {
        Versioning::Off => {}
        Versioning::On => {
            writer.text("Status", "Enabled");
        }
        Versioning::Suspended => {
            writer.text("Status", "Suspended");
        }
    }
    Ok(answer::xml(writer.finish(root)))
}

/// PutBucketVersioning.
pub async fn set_versioning(front: &S3Service, asked: &S3Request, body: Incoming) -> HandlerResult {
    let bucket = front.bucket(asked).await?;
    let document = front.take_document(asked, body, DOCUMENT_BYTES_MAX).await?;
    let read = xml::read(&document, "VersioningConfiguration")?;
    let mfa_delete = read.text_of("MfaDelete").map(str::trim);
    if mfa_delete.is_some_and(|state| !state.is_empty() && state != "Disabled") {
        return Err(ErrorCode::NotImplemented.because("MFA delete is not implemented."));
    }
    let versioning = match read.text_of("Status") {
        Some("Enabled") => Versioning::On,
        Some("Suspended") => Versioning::Suspended,
        _ => return Err(ErrorCode::MalformedXml.into()),
    };
    match front.submit(asked, RecordBody::SetVersioning { bucket: bucket.id, versioning }).await? {
        RecordOutcome::Done => Ok(answer::empty(200)),
        other => Err(unexpected(&other)),
    }
}

/// GetBucketAcl and GetObjectAcl: the owner has full control, and nobody else has any.
pub async fn acl(front: &S3Service, asked: &S3Request) -> HandlerResult {
    let bucket = front.sight(asked).await?.bucket;
    let root = "AccessControlPolicy";
    let mut writer = XmlWriter::new(root);
    owner(&mut writer, front, &bucket.owner);
    writer.begin("AccessControlList").begin("Grant");
    let name = escape(front.users.display_name(&bucket.owner)).into_owned();
    writer.raw(
        "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"",
        "",
    );
    let mut text = writer.finish(root);
    // The grantee carries an attribute, so its end is written by hand.
    let open = text.rfind("</Grantee").unwrap_or(text.len());
    text.truncate(open);
    text.push_str(&format!(
        "<ID>{}</ID><DisplayName>{name}</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></{root}>",
        escape(&bucket.owner)
    ));
    Ok(answer::xml(text))
}

/// An outcome that this operation cannot have.
pub fn unexpected(outcome: &RecordOutcome) -> S3Error {
    match outcome {
        RecordOutcome::Rejected(rejection) => rejected(*rejection),
        other => {
            ErrorCode::InternalError.because(format!("an outcome that was not expected: {other:?}"))
        }
    }
}

/// What a rejection means to a client.
pub fn rejected(rejection: Rejection) -> S3Error {
    match rejection {
        Rejection::NoSuchBucket => ErrorCode::NoSuchBucket,
        Rejection::BucketAlreadyOwned => ErrorCode::BucketAlreadyOwnedByYou,
        Rejection::BucketExists => ErrorCode::BucketAlreadyExists,
        Rejection::BucketNotEmpty => ErrorCode::BucketNotEmpty,
        Rejection::BucketWritten => ErrorCode::OperationAborted,
        Rejection::PreconditionFailed => ErrorCode::PreconditionFailed,
        Rejection::NoSuchKey => ErrorCode::NoSuchKey,
        Rejection::NoSuchVersion => ErrorCode::NoSuchVersion,
        Rejection::IsDeleteMarker => ErrorCode::MethodNotAllowed,
        Rejection::NoSuchUpload => ErrorCode::NoSuchUpload,
        Rejection::InvalidPart => ErrorCode::InvalidPart,
        Rejection::InvalidPartOrder => ErrorCode::InvalidPartOrder,
        Rejection::EntityTooSmall => ErrorCode::EntityTooSmall,
        Rejection::Retry(_)
        | Rejection::WrongEpoch
        | Rejection::SequenceGap
        | Rejection::Expired
        | Rejection::PayloadMissing
        | Rejection::StaleCut => ErrorCode::ServiceUnavailable,
    }
    .into()
}

impl S3Service {
    /// Submits a record for whoever asks.
    pub async fn submit(
        &self,
        asked: &S3Request,
        body: RecordBody,
    ) -> Result<RecordOutcome, S3Error> {
        let submitted = self.partition_of(asked).submit(&asked.user.id, &asked.id, body).await;
        submitted.map_err(submit_error)
    }
}
