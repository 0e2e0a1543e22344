//! The bodies of requests, and the most bytes that each may have.

/// The most bytes of an object that one request stores or copies: 5 GiB.
pub const UPLOAD_BYTES_MAX: u64 = 5 << 30;
/// The most bytes of a document that describes one thing, for example a bucket's configuration: 1 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a document that names up to 1,000 keys to delete: 8 MiB.
pub const DELETE_BYTES_MAX: usize = 8 << 20;
/// The most bytes of a document that names up to 10,000 parts: 8 MiB.
pub const COMPLETE_BYTES_MAX: usize = 8 << 20;

/// The kind of body that a request carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyKind {
    /// No body; one that comes is not read.
    None,
    /// The bytes of an object or of one part.
    Payload,
    /// An XML document.
    Xml,
    /// A JSON document.
    Json,
    /// A browser's form, which holds an object's bytes as one field.
    Form,
}

impl BodyKind {
    /// The name of the kind on the generated page; empty only for an operation whose requests carry no body.
    pub fn name(self) -> &'static str {
        match self {
            BodyKind::None => "",
            BodyKind::Payload => "payload",
            BodyKind::Xml => "XML",
            BodyKind::Json => "JSON",
            BodyKind::Form => "form",
        }
    }
}
