//! Operations on objects.

pub mod acl;
pub mod attributes;
pub mod copy;
pub mod copy_source;
pub mod delete;
pub mod delete_many;
pub mod find;
pub mod get;
pub mod get_attributes;
pub mod post;
pub mod put;
mod read;
pub mod rename;
pub mod tagging;
mod write;
