//! The S3 API.
//!
//! ```text
//!   service     receives, finds the operation, turns errors into responses
//!     │
//!   authentication, address     who signed, for which bucket and key
//!     │
//!   dispatch, website    one match from operation to handler; requests to hosts of websites
//!     │
//!   cors                                 preflight requests, and headers for pages of other origins
//!     │
//!   bucket, object, list, multipart      one file for each operation or for a few that share their work
//!     │
//!   context, body                        what handlers call: buckets, records, payload
//!     │
//!   access                               may the user do what the operation does? asked for every bucket
//!     │
//!   parsed_documents, request, response, target, conditions, errors, error_details, version_id, owner
//! ```
//!
//! Imports go down only.

mod access;
mod address;
pub mod authentication;
pub mod body;
mod bucket;
mod conditions;
pub mod context;
mod cors;
mod dispatch;
mod error_details;
mod errors;
mod header_names;
mod list;
mod multipart;
mod object;
mod owner;
mod parsed_documents;
pub mod request;
pub mod response;
pub mod service;
mod tag_set;
mod target;
mod version_id;
mod website;
