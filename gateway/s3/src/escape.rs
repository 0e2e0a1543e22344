//! Text in XML documents: those of answers and those of errors.

use std::borrow::Cow;
use std::fmt::Write;

/// Replaces the characters of a text that cannot stand in an XML element. Those that XML 1.0 cannot hold become
/// numeric references, as AWS writes them; clients that care ask for `encoding-type=url`.
pub fn escape(text: &str) -> Cow<'_, str> {
    let is_plain = |b: u8| b >= 0x20 && !matches!(b, b'<' | b'>' | b'&' | b'"');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\t' | '\n' => out.push(character),
            c if c < ' ' => {
                let _ = write!(out, "&#x{:X};", c as u32);
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}
