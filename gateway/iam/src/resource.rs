//! The resource that an action is performed on.

use crate::action::ResourceLevel;

/// A bucket, as far as a decision depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BucketResource<'a> {
    /// The name.
    pub name: &'a str,
    /// The owner's canonical id; none where no bucket has the name.
    pub owner: Option<&'a str>,
}

/// A resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource<'a> {
    /// The store as a whole.
    Service,
    /// A bucket.
    Bucket(BucketResource<'a>),
    /// An object, or a multipart upload of that key; neither need exist.
    Object {
        /// The bucket that the object lies in.
        bucket: BucketResource<'a>,
        /// The object's key.
        key: &'a str,
    },
}

impl<'a> Resource<'a> {
    /// The kind of the resource; an action for another kind must be denied.
    pub fn level(&self) -> ResourceLevel {
        match self {
            Resource::Service => ResourceLevel::Service,
            Resource::Bucket(_) => ResourceLevel::Bucket,
            Resource::Object { .. } => ResourceLevel::Object,
        }
    }

    /// The bucket that the resource is or lies in; none only for the store as a whole.
    pub fn bucket(&self) -> Option<&BucketResource<'a>> {
        match self {
            Resource::Service => None,
            Resource::Bucket(bucket) | Resource::Object { bucket, .. } => Some(bucket),
        }
    }
}
