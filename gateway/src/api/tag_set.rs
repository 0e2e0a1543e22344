//! Tag sets: the document of the tagging operations, and the limits of S3.

use std::collections::HashSet;

use s3::document::{self, Tag, Tagging};
use s3::error::{ErrorCode, S3Error};
use s3::names;
use s3::xml;

/// Tags of one object or bucket, in the order in which they were given.
pub type TagSet = Vec<(String, String)>;

/// The most characters of a key.
const KEY_CHARACTERS_MAX: usize = 128;
/// The most characters of a value.
const VALUE_CHARACTERS_MAX: usize = 256;

/// A resource that has tags.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tagged {
    /// An object, with at most 10 tags.
    Object,
    /// A bucket, with at most 50 tags.
    Bucket,
}

impl Tagged {
    /// The most tags, and the error for more.
    fn limit(self) -> (usize, ErrorCode, &'static str) {
        match self {
            Tagged::Object => (10, ErrorCode::BadRequest, "Object tags cannot be greater than 10"),
            Tagged::Bucket => {
                (50, ErrorCode::InvalidTag, "Bucket tag count cannot be greater than 50")
            }
        }
    }
}

/// Reads the header `x-amz-tagging`: tags as a query. Fails with `InvalidArgument` where the text is not such a query or
/// has a key twice, and as [`check`] does.
pub fn of_header(text: &str) -> Result<TagSet, S3Error> {
    let tags = names::query(text)?;
    let keys: HashSet<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
    if keys.contains("") || keys.len() < tags.len() {
        return Err(ErrorCode::InvalidArgument
            .because("The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.")
            .with("ArgumentName", "x-amz-tagging")
            .with("ArgumentValue", text));
    }
    check(tags, Tagged::Object)
}

/// Reads the document `Tagging`. Fails with `MalformedXml` for another document, and as [`check`] does.
pub fn read(document: &[u8], tagged: Tagged) -> Result<TagSet, S3Error> {
    let read: Tagging = xml::read(document)?;
    check(read.tag_set.tags.into_iter().map(|tag| (tag.key, tag.value)).collect(), tagged)
}

/// The document `Tagging`, with the tags in their order.
pub fn document(tags: &[(String, String)]) -> Tagging {
    let tag = |(key, value): &(String, String)| Tag { key: key.clone(), value: value.clone() };
    Tagging { tag_set: document::TagSet { tags: tags.iter().map(tag).collect() } }
}

/// Returns true if a text has only characters that AWS permits in tags: letters, digits and spaces of any language, and
/// `_ . : / = + - @`.
fn is_permitted(text: &str) -> bool {
    let is_space = |c: char| c.is_whitespace() && !c.is_control();
    text.chars().all(|c| c.is_alphanumeric() || is_space(c) || "_.:/=+-@".contains(c))
}

/// The prefix of keys that AWS keeps for itself.
const RESERVED: &str = "aws:";

/// Fails with `BadRequest` for more tags than an object may have, and with `InvalidTag` for more tags than a bucket may
/// have, for a key or value that is too long or has other characters than AWS permits, for a key that begins with `aws:`, and for a key twice.
pub fn check(tags: TagSet, tagged: Tagged) -> Result<TagSet, S3Error> {
    let (max, code, message) = tagged.limit();
    if tags.len() > max {
        return Err(code.because(message));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        let invalid =
            |message: &str| Err(ErrorCode::InvalidTag.because(message).with("TagKey", key));
        if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX || !is_permitted(key) {
            return invalid("The TagKey you have provided is invalid");
        }
        if key.starts_with(RESERVED) {
            return invalid("System tags cannot be added/updated by requester");
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX || !is_permitted(value) {
            return invalid("The TagValue you have provided is invalid");
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return invalid("Cannot provide multiple Tags with the same key");
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize) -> TagSet {
        (0..count).map(|at| (format!("key-{at}"), "väl ue+".to_owned())).collect()
    }

    #[test]
    fn mutated_documents_are_refused_or_have_tags_within_the_limits() {
        let seeds = [0, 1, 3, 10].map(|count| xml::write(&document(&tags(count))).unwrap());
        let mut mutator = crate::fuzz::Mutator::new(44);
        let mut accepted = 0;
        for _ in 0..crate::fuzz::rounds(10_000) {
            if let Ok(found) = read(&mutator.mutated(&seeds), Tagged::Object) {
                assert!(found.len() <= 10 && found.iter().all(|(key, _)| !key.is_empty()));
                let again = xml::write(&document(&found)).unwrap();
                assert_eq!(read(again.as_bytes(), Tagged::Object).unwrap(), found);
                accepted += 1;
            }
        }
        assert!(accepted > 40, "the mutations are too coarse: {accepted} passed");
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        for count in [0, 1, 10] {
            let document = xml::write(&document(&tags(count))).unwrap();
            assert_eq!(read(document.as_bytes(), Tagged::Object).unwrap(), tags(count));
        }
    }

    #[test]
    fn a_bucket_may_have_more_tags_than_an_object() {
        assert!(check(tags(50), Tagged::Bucket).is_ok());
        assert!(check(tags(51), Tagged::Bucket).is_err());
    }

    #[test]
    fn limits_are_those_of_s3() {
        let long = |key: usize, value: usize| vec![("k".repeat(key), "v".repeat(value))];
        let one = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let twice = [one("a", "1"), one("a", "2")].concat();
        let invalid = Some(ErrorCode::InvalidTag);
        for (given, code) in [
            (tags(10), None),
            (tags(11), Some(ErrorCode::BadRequest)),
            (long(128, 256), None),
            (long(129, 1), invalid),
            (long(1, 257), invalid),
            (long(0, 1), invalid),
            (twice, invalid),
            (one("a b_.:/=+-@é日", "x y_.:/=+-@é日本"), None),
            (one("a,b", "1"), invalid),
            (one("a", "1,2"), invalid),
            (one("a", "<x>"), invalid),
            (one("a", "1\t2"), invalid),
            (one("a\n", "1"), invalid),
            (one("aws:x", "1"), invalid),
            (one("Aws:x", "aws:"), None),
        ] {
            let refused = check(given.clone(), Tagged::Object).err().map(|error| error.code);
            assert_eq!(refused, code, "{given:?}");
        }
    }

    #[test]
    fn a_header_is_a_query_without_doubles() {
        for (text, code) in [
            ("a=1&b=2", None),
            ("a&b=&&", None),
            ("&", None),
            ("a=1&A=2", None),
            ("k=1&k=2", Some(ErrorCode::InvalidArgument)),
            ("=", Some(ErrorCode::InvalidArgument)),
            ("=v", Some(ErrorCode::InvalidArgument)),
            ("aws:x=1", Some(ErrorCode::InvalidTag)),
            ("a=1%2C2", Some(ErrorCode::InvalidTag)),
        ] {
            assert_eq!(of_header(text).err().map(|error| error.code), code, "{text}");
        }
    }
}
