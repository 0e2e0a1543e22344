//! The writer of listings.

use std::fmt::Write as _;

use super::NAMESPACE;
use crate::escape::escape;

/// Writes a document by appending, for documents whose writing is most of the work of a request.
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
