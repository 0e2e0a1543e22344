//! Multipart uploads.

pub mod abort;
pub mod complete;
pub mod create;
pub mod open_upload;
pub mod part;
pub mod part_copy;
mod part_place;
mod requested_parts;
mod whole_checksum;
