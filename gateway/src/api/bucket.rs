//! Operations on buckets.

pub mod acl;
pub mod configuration;
pub mod cors;
pub mod create;
pub mod delete;
pub mod head;
mod kept_events;
pub mod listen;
pub mod location;
pub mod notification;
pub mod ownership;
pub mod tagging;
pub mod versioning;
pub mod website;
