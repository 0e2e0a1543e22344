//! CopyObject: the source is read, then written. The copy shares no bytes with its source.

use compactor::outcome::WrittenVersion;
use ingest::entry::{Attributes, ETag, StorageClass, StoredChecksum, WriteOrigin};
use ingest::record::Versioning;
use s3::checksum::{ChecksumAlgorithm, etag};
use s3::document::CopyObjectResult;
use s3::error::{ErrorCode, S3Error};

use super::attributes::{REDIRECT_LOCATION, attributes, wanted_checksum};
use super::copy_source::CopySource;
use super::write::write;
use crate::api::body::{self, PayloadTarget, TakenPayload};
use crate::api::conditions;
use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, checksum_elements};
use crate::api::version_id::{version_text, written_name};

/// The attributes that the request replaces; the others are the source's.
struct CopyDirectives {
    replaces_metadata: bool,
    replaces_tags: bool,
}

/// Stored headers that a copy never takes from its source.
const NOT_COPIED: [&str; 2] = [StorageClass::HEADER, REDIRECT_LOCATION];

impl CopyDirectives {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let replaces = |name: &str| match request.header(name)? {
            None | Some("COPY") => Ok(false),
            Some("REPLACE") => Ok(true),
            Some(_) => Err(ErrorCode::InvalidArgument.because(format!("Unknown {name}."))),
        };
        Ok(Self {
            replaces_metadata: replaces("x-amz-metadata-directive")?,
            replaces_tags: replaces("x-amz-tagging-directive")?,
        })
    }

    /// The stored headers of the copy. Storage class and redirection are the request's own, whatever it replaces.
    fn headers(&self, own: &Attributes, source: &Attributes) -> Vec<(String, String)> {
        if self.replaces_metadata {
            return own.headers.clone();
        }
        let is_not_copied = |(name, _): &&(String, String)| NOT_COPIED.contains(&name.as_str());
        let copied = source.headers.iter().filter(|header| !is_not_copied(header));
        copied.chain(own.headers.iter().filter(is_not_copied)).cloned().collect()
    }

    /// The attributes of the copy: `own` are the request's, `source` those of the source, `copied` the payload.
    fn attributes(
        &self,
        own: Attributes,
        source: &Attributes,
        copied: &TakenPayload,
    ) -> Attributes {
        let described = if self.replaces_metadata { &own } else { source };
        let metadata = described.metadata.clone();
        let mut attributes = Attributes {
            size: source.size,
            etag: ETag { md5: copied.md5, parts: 0 },
            headers: self.headers(&own, source),
            metadata,
            tags: if self.replaces_tags { own.tags } else { source.tags.clone() },
            checksums: match &copied.checksum {
                Some(computed) => vec![computed.clone()],
                None => source.checksums.clone(),
            },
            owner: own.owner,
            ..Attributes::default()
        };
        attributes.set_origin(WriteOrigin::Copy);
        attributes
    }
}

/// The algorithm of the checksum to compute for a copy, where the request names none: a checksum over the checksums of
/// parts is of no use to an object without parts, so the copy gets one of the whole object. `None` keeps the source's.
fn inherited_algorithm(source: &Attributes) -> Option<ChecksumAlgorithm> {
    let composite = source.checksums.iter().find(|checksum| checksum.is_composite)?;
    ChecksumAlgorithm::from_code(composite.algorithm)
}

/// CopyObject. The source is read from one snapshot. The response comes after the copy is durable and visible; an error
/// before that leaves no copy.
pub async fn copy(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let key = request.object_key()?;
    let condition = conditions::of_write(&request.parts.headers)?;
    let source = CopySource::of(request)?;
    let mut from = source.open(context, request, |size| Ok(0..size)).await?;
    let own = attributes(request)?;
    let wanted = wanted_checksum(request, "x-amz-checksum-algorithm")?
        .or_else(|| inherited_algorithm(&from.object.attributes));
    let directives = CopyDirectives::of(request)?;
    let changes = directives.replaces_metadata || directives.replaces_tags;
    let changes = changes
        || request.header(StorageClass::HEADER)?.is_some()
        || request.header(REDIRECT_LOCATION)?.is_some();
    let is_itself = from.bucket.id == bucket.id && source.key == key && source.version.is_none();
    if is_itself && !changes {
        return Err(ErrorCode::InvalidRequest.because("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes."));
    }
    let place = own.storage_class().place();
    let target = PayloadTarget { place, inline_max: context.options.inline_bytes_max };
    let (bytes, len) = (&mut from.body, from.len);
    let copied = body::copy_payload(context, request, bytes, len, target, wanted).await?;
    let attributes = directives.attributes(own, &from.object.attributes, &copied);
    let checksums = match attributes.checksums.as_slice() {
        [] => vec![copied.visible_checksum()],
        given => given.to_vec(),
    };
    let payload = copied.payload;
    let written = write(context, request, &bucket, &key, condition, attributes, payload).await?;
    let mut answer = response::document(&result(&written, &checksums))?;
    // Of a copy alone AWS names the version of a bucket whose versioning is suspended, too.
    if bucket.versioning != Versioning::Off {
        response::set(&mut answer, "x-amz-version-id", &version_text(written_name(&written)));
    }
    from.add_version(&mut answer);
    Ok(answer)
}

/// The document that describes a copy.
fn result(written: &WrittenVersion, checksums: &[StoredChecksum]) -> CopyObjectResult {
    CopyObjectResult {
        etag: etag(&written.etag.md5, written.etag.parts),
        last_modified: s3::time::xml(written.created.micros()),
        checksums: checksum_elements(checksums),
        checksum_type: checksums.first().map(StoredChecksum::kind),
    }
}
