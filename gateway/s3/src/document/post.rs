//! The response to a form.

use crate::escape::escape;

/// The response of PostObject with the status 201.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PostResponse {
    /// The URL of the object.
    pub location: String,
    /// The bucket's name.
    pub bucket: String,
    /// The object's key.
    pub key: String,
    /// The object's entity tag, with its quotation marks.
    pub etag: String,
}

impl PostResponse {
    /// The XML document, with its values escaped. Never has a namespace, unlike S3's other documents: clients look for its
    /// elements without one.
    pub fn to_xml(&self) -> String {
        let Self { location, bucket, key, etag } = self;
        let all = [("Location", location), ("Bucket", bucket), ("Key", key), ("ETag", etag)];
        let elements: Vec<String> =
            all.iter().map(|(name, value)| format!("<{name}>{}</{name}>", escape(value))).collect();
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
        format!("{declaration}\n<PostResponse>{}</PostResponse>", elements.concat())
    }
}
