//! Owners in XML documents: canonical id and display name.

use s3::escape::escape;
use s3::xml::XmlWriter;

use super::context::S3Context;

/// Writes an element with an owner's id and display name. A user who is not known any more has the id as the name.
pub fn write(writer: &mut XmlWriter, element: &str, context: &S3Context, id: &str) {
    writer.begin(element).text("ID", id);
    writer.text("DisplayName", context.display_name(id)).end(element);
}

/// The content of an owner's element, escaped. A listing makes it once and writes it into every line.
pub fn content(context: &S3Context, id: &str) -> String {
    let (id_text, name) = (escape(id), escape(context.display_name(id)));
    format!("<ID>{id_text}</ID><DisplayName>{name}</DisplayName>")
}
