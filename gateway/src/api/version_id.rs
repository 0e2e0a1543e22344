//! Version ids as clients write and read them.

use compactor::outcome::{VersionName, WrittenVersion};
use ingest::ids::Offset;
use ingest::record::VersionRef;
use query::object::FoundObject;
use s3::error::{ErrorCode, S3Error};
use s3::names;

/// The text of a version id: `null`, or the record's offset as 32 hex digits.
pub fn version_text(version: VersionName) -> String {
    match version {
        VersionName::Null => "null".into(),
        VersionName::At(offset) => format!("{:032x}", offset.get()),
    }
}

/// The version that a request names; the current one without a version id. Fails with `NoSuchVersion` for an id that has
/// the right length and that this store never gave, and with `InvalidArgument` for any other text.
pub fn version_ref(text: Option<&str>) -> Result<VersionRef, S3Error> {
    match text {
        None => Ok(VersionRef::Current),
        Some("null") => Ok(VersionRef::Null),
        Some(text) if text.len() == 32 => names::hex_number(text)
            .map(|offset| VersionRef::At(Offset::new(offset)))
            .ok_or_else(|| ErrorCode::NoSuchVersion.into()),
        Some("") => {
            Err(ErrorCode::InvalidArgument.because("Version id cannot be the empty string"))
        }
        Some(_) => Err(ErrorCode::InvalidArgument.because("Invalid version id specified")),
    }
}

/// The name under which clients see a version that was written just now: `null` unless versioning was on.
pub fn written_name(written: &WrittenVersion) -> VersionName {
    if written.is_null { VersionName::Null } else { VersionName::At(written.version) }
}

/// The name under which clients see a version that was found, which may be a delete marker.
pub fn found_name(found: &FoundObject) -> VersionName {
    if found.statement.is_null() { VersionName::Null } else { VersionName::At(found.version) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::request::upload_id;
    use crate::fuzz::{Mutator, rounds};

    #[test]
    fn mutated_ids_are_refused_or_have_one_meaning() {
        let seeds =
            ["000000000000000000000000000000ff", "null", "", "00112233445566778899aabbccddeeff"];
        let mut mutator = Mutator::new(41);
        let mut accepted = 0;
        for _ in 0..rounds(20_000) {
            let text = String::from_utf8_lossy(&mutator.mutated(&seeds)).into_owned();
            if let Ok(VersionRef::At(offset)) = version_ref(Some(&text)) {
                assert_eq!(version_text(VersionName::At(offset)), text.to_ascii_lowercase());
                accepted += 1;
            }
            if let Some(id) = upload_id(&text) {
                assert_eq!(hex::encode(id.0), text.to_ascii_lowercase());
                accepted += 1;
            }
        }
        assert!(accepted > 200, "the mutations are too coarse: {accepted} passed");
    }
}
