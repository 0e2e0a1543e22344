//! Lists: buckets, objects, versions, uploads, parts.

pub mod buckets;
mod item;
mod key_style;
mod marker;
pub mod objects;
mod page_size;
pub mod part_page;
pub mod parts;
mod upload_fields;
pub mod uploads;
pub mod versions;
