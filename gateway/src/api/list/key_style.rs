//! How keys are written in a list: plain, or percent-encoded.

use s3::error::{ErrorCode, S3Error};
use s3::names::encode_path;
use s3::xml::XmlWriter;

use crate::api::request::S3Request;

/// The form in which keys are written: plain, or percent-encoded.
pub struct KeyStyle {
    encodes: bool,
}

impl KeyStyle {
    /// The form that a request names in `encoding-type`. Fails with `InvalidArgument` for any form but `url`.
    pub fn of(request: &S3Request) -> Result<Self, S3Error> {
        match request.query("encoding-type") {
            None => Ok(Self { encodes: false }),
            Some("url") => Ok(Self { encodes: true }),
            Some(_) => {
                Err(ErrorCode::InvalidArgument
                    .because("Invalid Encoding Method specified in Request"))
            }
        }
    }

    /// Writes the element that names the form, unless keys are plain.
    pub fn tell(&self, writer: &mut XmlWriter) {
        if self.encodes {
            writer.text("EncodingType", "url");
        }
    }

    /// Writes a key, a prefix, a marker or a delimiter as an element. Bytes that are not UTF-8 are replaced, which only
    /// a prefix that ends inside a character has.
    pub fn text(&self, writer: &mut XmlWriter, name: &str, text: &[u8]) {
        // Keys are UTF-8; a prefix that ends within a character by the delimiter's doing is shown lossily.
        let text = String::from_utf8_lossy(text);
        if self.encodes {
            writer.text(name, &encode_path(&text));
        } else {
            writer.text(name, &text);
        }
    }
}

/// Writes a common prefix as an element, in the form of the list's keys.
pub fn common_prefix(writer: &mut XmlWriter, style: &KeyStyle, prefix: &[u8]) {
    writer.begin("CommonPrefixes");
    style.text(writer, "Prefix", prefix);
    writer.end("CommonPrefixes");
}
