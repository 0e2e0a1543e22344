//! The S3 protocol: signatures, chunked bodies, errors, XML, checksums. Pure and synchronous: no socket,
//! no clock (the time comes in as an argument), nothing of the engine.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod auth_error;
pub mod checksum;
pub mod chunked;
pub mod cors;
pub mod credentials;
pub mod document;
pub mod encoded_word;
pub mod error;
pub mod escape;
pub mod form;
pub mod headers;
pub mod host;
pub mod names;
pub mod operation;
pub mod parsed_names;
pub mod post_policy;
pub mod sigv2;
pub mod sigv4;
pub mod time;
pub mod website;
pub mod xml;
