//! Finds and decodes text in the XML of answers.
//!
//! Stores escape differently: one writes `"` unchanged, others as `&quot;`, `&#34;` or `&#x22;`. Text is
//! therefore decoded before it is compared or sent back.

use std::borrow::Cow;

use anyhow::Context;

/// Returns the decoded text of the first element of this name; `None` if there is no such element.
///
/// Fails if the text is not UTF-8 or contains an unknown escape. The element must have no attributes and no
/// prefix.
pub fn text_of(document: &[u8], name: &str) -> anyhow::Result<Option<String>> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let raw = between(document, begin.as_bytes(), end.as_bytes());
    let text = raw.map(|raw| decode(raw).with_context(|| format!("the text of a {name}")));
    Ok(text.transpose()?.map(Cow::into_owned))
}

/// Decodes the escapes of a text in a document, without a copy if there are none.
///
/// Fails if the text is not UTF-8 or contains an unknown escape.
pub fn decode(raw: &[u8]) -> anyhow::Result<Cow<'_, str>> {
    let text = std::str::from_utf8(raw)?;
    // Most texts have nothing to decode, and a listing has millions of keys.
    Ok(if raw.contains(&b'&') { quick_xml::escape::unescape(text)? } else { Cow::Borrowed(text) })
}

/// Returns the bytes between the first `begin` and the first `end` after it.
fn between<'a>(text: &'a [u8], begin: &[u8], end: &[u8]) -> Option<&'a [u8]> {
    let text = &text[find(text, begin)? + begin.len()..];
    find(text, end).map(|len| &text[..len])
}

/// Returns the position of the first `tag`, or `None` if there is none; `tag` must end with its only `>`.
///
/// Looks only at some of the bytes: a byte that is not in `tag` excludes every position of the tag across it,
/// so the search continues after that byte.
pub fn find(text: &[u8], tag: &[u8]) -> Option<usize> {
    let (last, head) = tag.split_last()?;
    let mut at = head.len();
    loop {
        let byte = text.get(at)?;
        if byte == last {
            if text[..at].ends_with(head) {
                return Some(at - head.len());
            }
            at += tag.len();
        } else {
            let from_end = head.iter().rev().position(|of_tag| of_tag == byte);
            at += from_end.map_or(tag.len(), |from_end| from_end + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of this store, MinIO and SeaweedFS, and other notations that XML allows.
    #[test]
    fn what_stores_escape_differently_is_decoded_alike() {
        let etags = [
            "\"ab-2\"",
            "&quot;ab-2&quot;",
            "&#34;ab-2&#34;",
            "&#x22;ab-2&#x22;",
            "&#034;&#97;b-2&quot;",
        ];
        for etag in etags {
            let document = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<CompleteMultipartUploadResult \
                 xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Key>k</Key><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
            );
            let found = text_of(document.as_bytes(), "ETag").unwrap();
            assert_eq!(found.as_deref(), Some("\"ab-2\""), "{etag}");
        }
        let upload = b"<R><UploadId>a&amp;b&lt;&gt;&apos;&#x2F;&#228;</UploadId></R>";
        assert_eq!(text_of(upload, "UploadId").unwrap().as_deref(), Some("a&b<>'/\u{e4}"));
        assert_eq!(text_of(upload, "ETag").unwrap(), None);
        assert_eq!(text_of(b"<R><Key></Key></R>", "Key").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn what_is_not_xml_is_an_error() {
        for text in [&b"&nothing;"[..], b"&#34", b"&", b"&#xzz;", b"&#0;", b"\xff"] {
            let document = [b"<Key>", text, b"</Key>"].concat();
            assert!(text_of(&document, "Key").is_err(), "{}", String::from_utf8_lossy(text));
        }
    }
}
