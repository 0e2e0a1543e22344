//! The writer of listings.

use std::fmt::Write as _;

use super::NAMESPACE;
use crate::escape::escape;

/// Writes an XML document by appending to a string. Element names are never checked or escaped.
pub struct XmlWriter {
    out: String,
}

impl XmlWriter {
    /// Begins a document with its declaration and a root element in S3's namespace. [`Self::finish`] must end the same
    /// root.
    pub fn new(root: &str) -> Self {
        let mut out = String::with_capacity(1024);
        let _ = write!(
            out,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root} xmlns=\"{NAMESPACE}\">"
        );
        Self { out }
    }

    /// Appends an element with text, which is escaped; see [`escape`] for characters that XML cannot represent.
    pub fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.begin(name);
        self.out.push_str(&escape(text));
        self.end(name)
    }

    /// Appends an element whose value is written without escaping. Only for numbers, dates and other values that never
    /// contain special characters.
    pub fn raw(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        self.begin(name);
        let _ = write!(self.out, "{value}");
        self.end(name)
    }

    /// Begins an element. The caller must end it with [`Self::end`] under the same name, which is not checked.
    pub fn begin(&mut self, name: &str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// Ends the element that was begun last and has not been ended. The name must be the same, which is not checked.
    pub fn end(&mut self, name: &str) -> &mut Self {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// Ends the root element, which must have the name given to [`Self::new`], and returns the document.
    pub fn finish(mut self, root: &str) -> String {
        self.end(root);
        self.out
    }
}
