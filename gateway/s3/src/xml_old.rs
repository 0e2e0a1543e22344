//! S3's XML. Bodies are read into plain values by a strict reader that knows neither entities of the
//! document's own nor depth without end; answers are written by appending, since a listing's XML is most
//! of its work.

use std::fmt::Write as _;

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

use crate::error::{ErrorCode, S3Error};
use crate::escape::escape;

/// The name space of S3's answers.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";
const DEPTH_MAX: usize = 8;
const ELEMENTS_MAX: usize = 200_000;

/// An element that was read: its name, its text, and what is in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct XmlElement {
    /// The name without name space.
    pub name: String,
    /// The text directly in it.
    pub text: String,
    /// The elements directly in it.
    pub children: Vec<XmlElement>,
}

impl XmlElement {
    /// The first element of a name in it.
    pub fn child(&self, name: &str) -> Option<&XmlElement> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The text of the first element of a name in it.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.as_str())
    }
}

/// Reads a document whose root has a given name. Anything that is not plain elements and text is refused.
pub fn read(bytes: &[u8], root: &str) -> Result<XmlElement, S3Error> {
    parse(bytes)
        .filter(|element| element.name == root)
        .ok_or_else(|| ErrorCode::MalformedXml.into())
}

fn parse(bytes: &[u8]) -> Option<XmlElement> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = true;
    let mut open: Vec<XmlElement> = Vec::new();
    let mut elements = 0;
    let mut root = None;
    loop {
        let closed = match reader.read_event().ok()? {
            Event::Start(start) => {
                open.push(begin(&start, &open, &mut elements, root.is_some())?);
                None
            }
            Event::Empty(start) => Some(begin(&start, &open, &mut elements, root.is_some())?),
            Event::End(_) => Some(open.pop()?),
            Event::Text(text) => {
                let text = text.decode().ok()?;
                match open.last_mut() {
                    Some(element) => element.text.push_str(&text),
                    None if text.trim().is_empty() => {}
                    None => return None,
                }
                None
            }
            Event::GeneralRef(reference) => {
                let element = open.last_mut()?;
                match reference.resolve_char_ref().ok()? {
                    Some(character) => element.text.push(character),
                    None => element.text.push_str(match reference.decode().ok()?.as_ref() {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "quot" => "\"",
                        "apos" => "'",
                        _ => return None,
                    }),
                }
                None
            }
            Event::CData(data) => {
                open.last_mut()?.text.push_str(std::str::from_utf8(&data).ok()?);
                None
            }
            Event::Decl(_) | Event::Comment(_) => None,
            // A document type could define entities that grow without bound.
            Event::DocType(_) | Event::PI(_) => return None,
            Event::Eof => break,
        };
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None if root.is_none() => root = Some(element),
                None => return None,
            }
        }
    }
    root.filter(|_| open.is_empty())
}

/// An element that begins here, empty or not, if the document may have another one here.
fn begin(
    start: &BytesStart<'_>,
    open: &[XmlElement],
    elements: &mut usize,
    has_ended: bool,
) -> Option<XmlElement> {
    *elements += 1;
    if open.len() == DEPTH_MAX || *elements > ELEMENTS_MAX || has_ended {
        return None;
    }
    let name = String::from_utf8(start.local_name().as_ref().to_vec()).ok()?;
    Some(XmlElement { name, ..XmlElement::default() })
}

/// Writes a document by appending.
pub struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// Begins a document with a root element in S3's name space.
    pub fn new(root: &str) -> Self {
        let mut out = String::with_capacity(1024);
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">"
        );
        Self { out }
    }

    /// Appends an element with text.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.begin(name);
        self.out.push_str(&escape(text));
        self.end(name)
    }

    /// Appends an element with something that needs no escaping.
    pub fn raw(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.begin(name);
        let _ = write!(self.out, "{value}");
        self.end(name)
    }

    /// Begins an element.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// Ends an element.
    pub fn end(&mut self, name: &str) -> &mut Self {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// Ends the document.
    pub fn finish(mut self, root: &str) -> String {
        self.end(root);
        self.out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_delete_is_read() {
        let body = b"<?xml version=\"1.0\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a&amp;b&#10;</Key></Object><Quiet>true</Quiet></Delete>";
        let delete = read(body, "Delete").unwrap();
        assert_eq!(delete.child("Object").unwrap().text_of("Key"), Some("a&b\n"));
        assert_eq!(delete.text_of("Quiet"), Some("true"));
    }

    #[test]
    fn bombs_and_scraps_are_refused() {
        let bombs: [&[u8]; 6] = [
            b"<!DOCTYPE a [<!ENTITY b \"cc\">]><Delete>&b;</Delete>",
            b"<Delete>&unknown;</Delete>",
            b"<Delete><Object></Delete>",
            b"<Delete/><Delete/>",
            b"",
            b"\xff\xfe",
        ];
        for bomb in bombs {
            assert!(read(bomb, "Delete").is_err(), "{}", String::from_utf8_lossy(bomb));
        }
        let deep = "<Delete>".repeat(1000);
        assert!(read(deep.as_bytes(), "Delete").is_err());
    }

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back(text in "[ -~\\t\\né€]*") {
            let mut writer = XmlWriter::new("A");
            writer.text("B", &text);
            let read = read(writer.finish("A").as_bytes(), "A").unwrap();
            prop_assert_eq!(read.text_of("B"), Some(text.as_str()));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = read(&bytes, "A");
        }
    }
}
