//! GetObjectAttributes.

use ingest::entry::{ObjectVersion, PartSummary};
use ingest::record::Versioning;
use s3::checksum::etag;
use s3::document::{ChecksumAttributes, GetObjectAttributesResponse, ObjectParts, PartAttributes};
use s3::error::{ErrorCode, S3Error};
use s3::headers;

use super::find::{find, object_of};
use super::read::check_conditions;
use crate::api::context::S3Context;
use crate::api::list::part_page::PartPage;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult, checksum_elements};
use crate::api::version_id::{found_name, version_text};

/// The header that names the attributes to answer.
const WANTED: &str = "x-amz-object-attributes";
/// The header with the number of parts on a page.
const PARTS_MAX: &str = "x-amz-max-parts";
/// The header with the part number after which the page begins.
const PARTS_MARKER: &str = "x-amz-part-number-marker";

/// The attributes that a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct WantedAttributes {
    etag: bool,
    checksum: bool,
    parts: bool,
    storage_class: bool,
    size: bool,
}

impl WantedAttributes {
    /// The attributes that a list of names wants. Fails with `InvalidArgument` for an unknown name and for no name.
    fn of(list: &str) -> Result<Self, S3Error> {
        let mut wanted = Self::default();
        for name in list.split(',') {
            match name.trim() {
                "ETag" => wanted.etag = true,
                "Checksum" => wanted.checksum = true,
                "ObjectParts" => wanted.parts = true,
                "StorageClass" => wanted.storage_class = true,
                "ObjectSize" => wanted.size = true,
                _ => {
                    return Err(ErrorCode::InvalidArgument
                        .because("Invalid attribute name specified.")
                        .with("ArgumentName", WANTED)
                        .with("ArgumentValue", list));
                }
            }
        }
        Ok(wanted)
    }
}

/// GetObjectAttributes: the named attributes of a version, without its bytes. Fails as HeadObject does, and with
/// `InvalidArgument` for an attribute that no object has.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let view = context.bucket_for_read(request).await?;
    let bucket = view.bucket.clone();
    let list = headers::stored(&request.parts.headers, WANTED)?.unwrap_or_default();
    let wanted = WantedAttributes::of(&list)?;
    let page = PartPage::of(
        (PARTS_MAX, request.header(PARTS_MAX)?),
        (PARTS_MARKER, request.header(PARTS_MARKER)?),
    )?;
    let found = find(view, request).await?;
    let object = object_of(request, &found)?;
    if let Err(early) = check_conditions(request, object) {
        return early.into_answer();
    }
    let mut answer = response::document(&result(wanted, object, &page))?;
    response::set(&mut answer, "last-modified", &s3::time::http(object.created.micros()));
    if bucket.versioning != Versioning::Off {
        response::set(&mut answer, "x-amz-version-id", &version_text(found_name(&found)));
    }
    Ok(answer)
}

/// The attributes that are wanted; those that the object does not have are left out.
fn result(
    wanted: WantedAttributes,
    object: &ObjectVersion,
    page: &PartPage,
) -> GetObjectAttributesResponse {
    let attributes = &object.attributes;
    let tag = etag(&attributes.etag.md5, attributes.etag.parts);
    let checksums = object.checksums();
    let checksum = checksums.first().map(|first| ChecksumAttributes {
        checksums: checksum_elements(checksums.iter()),
        kind: first.kind(),
    });
    let has_parts = wanted.parts && !attributes.parts.is_empty();
    GetObjectAttributesResponse {
        // Here alone S3 leaves the quotation marks out.
        etag: wanted.etag.then(|| tag.trim_matches('"').to_owned()),
        checksum: checksum.filter(|_| wanted.checksum),
        object_parts: has_parts.then(|| parts(&attributes.parts, page)),
        storage_class: wanted.storage_class.then(|| attributes.storage_class().name()),
        object_size: wanted.size.then_some(attributes.size),
    }
}

/// The number of all parts, and the page of parts that the request wants.
fn parts(all: &[PartSummary], page: &PartPage) -> ObjectParts {
    // Counted from 1 on, whatever the numbers in the upload were: GET with a part number counts so, and clients
    // read an object by its parts from 1 to their number.
    let from = usize::from(page.after()).min(all.len());
    let rest = all.len() - from;
    let shown = from..from + rest.min(page.max);
    let part = |(index, part): (usize, &PartSummary)| PartAttributes {
        part_number: index + 1,
        size: part.size,
        checksums: checksum_elements(&part.checksum),
    };
    ObjectParts {
        parts_count: all.len(),
        part_number_marker: page.marker,
        next_part_number_marker: Some(shown.end).filter(|_| !shown.is_empty()),
        max_parts: page.max,
        is_truncated: page.is_truncated(rest),
        parts: all.iter().enumerate().skip(from).take(shown.len()).map(part).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_attributes_are_read_strictly() {
        let all = "ETag,Checksum, ObjectParts ,StorageClass,ObjectSize";
        let wanted = WantedAttributes::of(all).unwrap();
        let every = WantedAttributes {
            etag: true,
            checksum: true,
            parts: true,
            storage_class: true,
            size: true,
        };
        assert_eq!(wanted, every);
        for wrong in ["", "etag", "ETag,", "ETag,Owner"] {
            assert!(WantedAttributes::of(wrong).is_err(), "{wrong:?}");
        }
    }
}
