//! The strict reader of documents: plain elements and text within bounds, and nothing else.

use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// The largest depth of elements that is read, the root included.
const DEPTH_MAX: usize = 8;
/// The largest number of elements that is read from one document.
const ELEMENTS_MAX: usize = 200_000;

/// An element of a document that was read: its name, its text, and its child elements. Attributes are dropped.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct XmlElement {
    /// The name without a namespace prefix.
    pub name: String,
    /// The text directly in the element, with all white space and without that of child elements; references are resolved.
    pub text: String,
    /// The child elements, in the order of the document.
    pub children: Vec<XmlElement>,
}

/// Returns true for a character that XML 1.0 permits in a document.
fn is_permitted(character: char) -> bool {
    match character {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        other => other >= ' ',
    }
}

/// The root element of a document. `None` for bytes that are not UTF-8, for characters that XML 1.0 forbids, for malformed
/// XML, for a document type or processing instruction, for unknown entities, for more than 8 levels, and for more than
/// 200,000 elements. A reference to a control character other than U+0000 is accepted, because listings contain such.
pub fn parse(bytes: &[u8]) -> Option<XmlElement> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(is_permitted))?;
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
            // A document type could define entities that expand without bound.
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

/// Makes the element of a start tag. `None` beyond the bounds of depth and number, and after the end of the root.
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
