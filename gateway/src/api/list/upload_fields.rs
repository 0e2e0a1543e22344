//! Elements that lists of uploads and of parts share.

use compactor::state::OpenUpload;
use s3::checksum::ChecksumAlgorithm;
use s3::xml::XmlWriter;

use crate::api::context::S3Context;
use crate::api::owner;

/// Writes initiator and owner, who are the same: the user who began an upload owns the object that it becomes.
pub fn owners(writer: &mut XmlWriter, context: &S3Context, id: &str) {
    for element in ["Initiator", "Owner"] {
        owner::write(writer, element, context, id);
    }
}

/// Writes the checksum algorithm that an upload was announced with, if there is one.
pub fn checksum_algorithm(writer: &mut XmlWriter, open: &OpenUpload) {
    if let Some(algorithm) = ChecksumAlgorithm::from_code(open.checksum_algorithm) {
        let kind = if open.checksum_is_composite { "COMPOSITE" } else { "FULL_OBJECT" };
        writer.text("ChecksumAlgorithm", algorithm.name()).text("ChecksumType", kind);
    }
}
