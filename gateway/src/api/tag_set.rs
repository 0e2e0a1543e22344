//! Tag sets: the document of the tagging operations, and the limits of S3.

use s3::document::{self, Tag, Tagging};
use s3::error::{ErrorCode, S3Error};
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
    /// The most tags, and the message for more.
    fn limit(self) -> (usize, &'static str) {
        match self {
            Tagged::Object => (10, "Object tags cannot be greater than 10"),
            Tagged::Bucket => (50, "Bucket tag count cannot be greater than 50"),
        }
    }
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

/// Fails with `InvalidTag` for more tags than the resource may have, for a key or value that is too long, and for a
/// key twice.
pub fn check(tags: TagSet, tagged: Tagged) -> Result<TagSet, S3Error> {
    let (max, too_many) = tagged.limit();
    if tags.len() > max {
        return Err(ErrorCode::InvalidTag.because(too_many));
    }
    for (index, (key, value)) in tags.iter().enumerate() {
        if key.is_empty() || key.chars().count() > KEY_CHARACTERS_MAX {
            return Err(ErrorCode::InvalidTag.because("The TagKey you have provided is invalid"));
        }
        if value.chars().count() > VALUE_CHARACTERS_MAX {
            return Err(ErrorCode::InvalidTag.because("The TagValue you have provided is invalid"));
        }
        if tags[..index].iter().any(|(other, _)| other == key) {
            return Err(
                ErrorCode::InvalidTag.because("Cannot provide multiple Tags with the same key")
            );
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(count: usize) -> TagSet {
        (0..count).map(|at| (format!("key-{at}"), "väl<ue".to_owned())).collect()
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
        let twice = vec![("a".to_owned(), "1".to_owned()), ("a".to_owned(), "2".to_owned())];
        for (given, is_taken) in [
            (tags(10), true),
            (tags(11), false),
            (long(128, 256), true),
            (long(129, 1), false),
            (long(1, 257), false),
            (long(0, 1), false),
            (twice, false),
        ] {
            let checked = check(given.clone(), Tagged::Object);
            assert_eq!(checked.is_ok(), is_taken, "{given:?}");
            assert!(checked.err().is_none_or(|error| error.code == ErrorCode::InvalidTag));
        }
    }
}
