//! The error between types and documents.

use std::fmt::Display;

/// The reason why a document is not of its type, or why a type is no document. Clients never see the text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct XmlError(String);

impl serde::de::Error for XmlError {
    fn custom<T: Display>(message: T) -> Self {
        XmlError(message.to_string())
    }
}

impl serde::ser::Error for XmlError {
    fn custom<T: Display>(message: T) -> Self {
        XmlError(message.to_string())
    }
}
