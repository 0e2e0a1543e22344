//! S3's XML documents.
//!
//! A document is a type with [`XmlDocument`]: [`read`] makes the type of a request's body, and [`write()`] the body of a response of the type.
//! The strict reader in front of the types knows neither entities of the document's own nor depth without end. Listings are
//! written by [`XmlWriter`], since the XML of a page is most of its work.

pub mod element;
mod error;
mod read;
mod write;
mod writer;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{ErrorCode, S3Error};
use read::XmlField;
use write::ElementSerializer;

pub use writer::XmlWriter;

/// The XML namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A type that is an XML document.
pub trait XmlDocument {
    /// The name of the root element.
    const ROOT: &'static str;
}

/// Reads a document. Fails with `MalformedXml` for a document that is not well-formed, has another root, is too deep or has
/// too many elements, for a field that is missing or of another type, and for two elements where the type has one.
pub fn read<T: XmlDocument + DeserializeOwned>(bytes: &[u8]) -> Result<T, S3Error> {
    let malformed = || S3Error::from(ErrorCode::MalformedXml);
    let root = element::parse(bytes).filter(|root| root.name == T::ROOT).ok_or_else(malformed)?;
    T::deserialize(XmlField::root(&root)).map_err(|_| malformed())
}

/// Writes a document. Fails with `InternalError` only for a type that cannot be XML, for example one with a float.
pub fn write<T: XmlDocument + Serialize>(document: &T) -> Result<String, S3Error> {
    let mut out = String::with_capacity(1024);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    document
        .serialize(ElementSerializer::root(&mut out, T::ROOT))
        .map_err(|error| ErrorCode::InternalError.because(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Example {
        #[serde(rename = "Text")]
        text: String,
        #[serde(rename = "Number", skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
        #[serde(rename = "Flag", default)]
        flag: bool,
        #[serde(rename = "Item", default)]
        items: Vec<Item>,
        #[serde(flatten)]
        others: BTreeMap<String, String>,
    }

    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Item {
        #[serde(rename = "Kind")]
        kind: Kind,
    }

    #[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
    enum Kind {
        First,
        Second,
    }

    impl XmlDocument for Example {
        const ROOT: &'static str = "Example";
    }

    fn example(text: &str) -> Example {
        Example {
            text: text.to_owned(),
            number: Some(7),
            flag: true,
            items: vec![Item { kind: Kind::First }, Item { kind: Kind::Second }],
            others: BTreeMap::from([("Other".to_owned(), text.to_owned())]),
        }
    }

    fn read_example(body: &str) -> Result<Example, S3Error> {
        read(body.as_bytes())
    }

    #[test]
    fn elements_in_any_order_are_fields_of_the_type() {
        let body = "<?xml version=\"1.0\"?><Example xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Item><Kind> Second </Kind></Item><Flag>TRUE</Flag>\n<Text> a&amp;b&#10;</Text><Item><Kind>First</Kind></Item></Example>";
        let read = read_example(body).unwrap();
        assert_eq!(read.text, " a&b\n", "white space is part of a text");
        assert_eq!((read.number, read.flag), (None, true));
        let kinds: Vec<Kind> = read.items.iter().map(|item| item.kind).collect();
        assert_eq!(kinds, [Kind::Second, Kind::First]);
    }

    #[test]
    fn a_document_of_another_form_is_malformed() {
        let of = |fields: &str| read_example(&format!("<Example>{fields}</Example>"));
        assert!(of("<Text/>").is_ok());
        for wrong in [
            "",
            "<Number>1</Number>",
            "<Text>a</Text><Text>b</Text>",
            "<Text><Inner/></Text>",
            "<Text/><Number>-1</Number>",
            "<Text/><Number>4294967296</Number>",
            "<Text/><Number/>",
            "<Text/><Flag>maybe</Flag>",
            "<Text/><Item><Kind>Third</Kind></Item>",
            "<Text/><Item>First</Item>",
            "<Text/><Other><Inner/></Other>",
        ] {
            assert_eq!(of(wrong).unwrap_err().code, ErrorCode::MalformedXml, "{wrong}");
        }
        assert!(read_example("<Other><Text/></Other>").is_err());
    }

    #[test]
    fn bombs_and_scraps_are_refused() {
        let bombs: [&[u8]; 6] = [
            b"<!DOCTYPE a [<!ENTITY b \"cc\">]><Example><Text>&b;</Text></Example>",
            b"<Example><Text>&unknown;</Text></Example>",
            b"<Example><Text></Example>",
            b"<Example><Text/></Example><Example/>",
            b"",
            b"\xff\xfe",
        ];
        for bomb in bombs {
            assert!(read::<Example>(bomb).is_err(), "{}", String::from_utf8_lossy(bomb));
        }
        assert!(read_example(&"<Example>".repeat(1000)).is_err());
    }

    #[test]
    fn attributes_stand_in_the_start_of_their_element() {
        #[derive(Serialize)]
        struct Holder {
            #[serde(rename = "@kind")]
            kind: &'static str,
            #[serde(rename = "ID")]
            id: &'static str,
        }
        impl XmlDocument for Holder {
            const ROOT: &'static str = "Holder";
        }
        let written = write(&Holder { kind: "a\"b", id: "<c>" }).unwrap();
        let wanted = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Holder xmlns=\"{NAMESPACE}\" kind=\"a&quot;b\"><ID>&lt;c&gt;</ID></Holder>"
        );
        assert_eq!(written, wanted);
    }

    proptest! {
        #[test]
        fn a_document_is_read_as_it_was_written(text in "[ -~\\t\\n\\r\\x01é€]*", others: bool) {
            let mut document = example(&text);
            if !others {
                document.others.clear();
                document.number = None;
            }
            prop_assert_eq!(read::<Example>(write(&document).unwrap().as_bytes()).unwrap(), document);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read::<Example>(&bytes);
        }
    }
}
