//! Escaping of text in the XML documents of responses and errors.

use std::borrow::Cow;
use std::fmt::Write;

/// Replaces `<`, `>`, `&` and `"` by entities. Control characters below U+0020, except tab and line feed, become
/// numeric references, as AWS writes them, although XML 1.0 permits only some of these; a client gets a readable
/// document only with `encoding-type=url`. Returns the text itself without a copy if nothing must be replaced.
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
