//! How keys are written in a list: plain, or percent-encoded.

use s3::error::{ErrorCode, S3Error};
use s3::names::encode_path;
use s3::xml::XmlWriter;

use crate::api::request::S3Request;

/// How keys are written: plain, or percent-encoded.
pub struct KeyStyle {
    encodes: bool,
}

impl KeyStyle {
    /// As a request wants them.
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

    /// Tells how keys are written, where they are not plain.
    pub fn tell(&self, writer: &mut XmlWriter) {
        if self.encodes {
            writer.text("EncodingType", "url");
        }
    }

    /// Writes a key, or a piece of one.
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

/// Writes a common prefix.
pub fn common_prefix(writer: &mut XmlWriter, style: &KeyStyle, prefix: &[u8]) {
    writer.begin("CommonPrefixes");
    style.text(writer, "Prefix", prefix);
    writer.end("CommonPrefixes");
}
