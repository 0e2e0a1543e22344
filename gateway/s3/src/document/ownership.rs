//! The owner of objects that others write to a bucket.

use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The ownership controls of a bucket: exactly one rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OwnershipControls {
    /// The rule.
    pub rule: OwnershipRule,
}

/// The rule of ownership controls.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct OwnershipRule {
    /// The owner of objects.
    pub object_ownership: ObjectOwnership,
}

/// The owner of objects, and the meaning of access control lists. Without grants to others all three mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ObjectOwnership {
    /// The bucket's owner owns all objects; access control lists have no effect.
    BucketOwnerEnforced,
    /// The bucket's owner owns objects that are written with `x-amz-acl: bucket-owner-full-control`.
    BucketOwnerPreferred,
    /// The writer owns an object.
    ObjectWriter,
}

impl OwnershipControls {
    /// The controls of the header `x-amz-object-ownership`; `None` for a text that AWS does not know, which must be
    /// refused.
    pub fn named(text: &str) -> Option<Self> {
        let object_ownership = match text {
            "BucketOwnerEnforced" => ObjectOwnership::BucketOwnerEnforced,
            "BucketOwnerPreferred" => ObjectOwnership::BucketOwnerPreferred,
            "ObjectWriter" => ObjectOwnership::ObjectWriter,
            _ => return None,
        };
        Some(Self { rule: OwnershipRule { object_ownership } })
    }
}

impl XmlDocument for OwnershipControls {
    const ROOT: &'static str = "OwnershipControls";
}
