//! The page that a website shows for an error.

use std::fmt::Write as _;

use crate::error::{ALLOW, S3Error};
use crate::escape::escape;

/// The name of the extra value with the code of the error that kept the error document from being shown.
pub const DOCUMENT_CODE: &str = "ErrorDocumentCode";
/// The name of the extra value with the message of that error.
pub const DOCUMENT_MESSAGE: &str = "ErrorDocumentMessage";
/// The name of the extra value with the key of the error document.
pub const DOCUMENT_KEY: &str = "ErrorDocumentKey";

/// Adds to an error that its error document could not be shown, and why.
#[must_use]
pub fn without_document(error: S3Error, key: &str, cause: &S3Error) -> S3Error {
    error
        .with(DOCUMENT_CODE, cause.code.text())
        .with(DOCUMENT_MESSAGE, cause.message.clone())
        .with(DOCUMENT_KEY, key)
}

/// The page of an error in HTML: status, code, message, further values in their order, and the ids of request and host.
/// Every value is escaped, since keys and hosts are text of clients.
pub fn error_page(error: &S3Error, request: &str, host: &str) -> String {
    let status = error.code.status();
    let reason =
        http::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let title = format!("{status} {}", reason.unwrap_or_default());
    let mut page =
        format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
    let line = |page: &mut String, name: &str, value: &str| {
        let _ = writeln!(page, "<li>{name}: {}</li>", escape(value));
    };
    line(&mut page, "Code", error.code.text());
    line(&mut page, "Message", &error.message);
    let of_document = |name: &str| match name {
        DOCUMENT_CODE => Some("Code"),
        DOCUMENT_MESSAGE => Some("Message"),
        DOCUMENT_KEY => Some("Key"),
        _ => None,
    };
    for (name, value) in error.extra.iter().filter(|(name, _)| *name != ALLOW) {
        if of_document(name).is_none() {
            line(&mut page, name, value);
        }
    }
    line(&mut page, "RequestId", request);
    line(&mut page, "HostId", host);
    page.push_str("</ul>\n");
    if error.extra.iter().any(|(name, _)| *name == DOCUMENT_CODE) {
        page.push_str("<h3>An Error Occurred While Attempting to Retrieve a Custom Error Document</h3>\n<ul>\n");
        for (name, value) in &error.extra {
            if let Some(name) = of_document(name) {
                line(&mut page, name, value);
            }
        }
        page.push_str("</ul>\n");
    }
    page.push_str("<hr/>\n</body>\n</html>\n");
    page
}
