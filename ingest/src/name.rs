//! Names that clients choose, validated once and carried as types from then on.

use std::fmt;

use bytes::Bytes;

/// The longest object key in bytes (AWS's limit).
pub const OBJECT_KEY_BYTES_MAX: usize = 1024;

/// The longest bucket name in bytes (AWS's limit).
pub const BUCKET_NAME_BYTES_MAX: usize = 63;

/// The reason why a name was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the name is empty")]
    Empty,
    /// The name is longer than the limit.
    #[error("the name has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// The name's length in bytes.
        bytes: usize,
        /// The greatest allowed length in bytes.
        limit: usize,
    },
    /// The name is not UTF-8, or has characters that its kind does not allow.
    #[error("the name has a character that is not allowed")]
    Character,
}

/// An object's key: 1 to 1,024 bytes of UTF-8, taken literally. `..` and `//` have no special meaning.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Bytes);

impl ObjectKey {
    /// Validates a key without copying it. Fails when it is empty, longer than 1,024 bytes or not
    /// UTF-8, in this order.
    pub fn new(bytes: impl Into<Bytes>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > OBJECT_KEY_BYTES_MAX {
            return Err(NameError::TooLong { bytes: bytes.len(), limit: OBJECT_KEY_BYTES_MAX });
        }
        std::str::from_utf8(&bytes).map_err(|_| NameError::Character)?;
        Ok(Self(bytes))
    }

    /// The key's bytes, exactly as the client sent them. Keys are ordered by these bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text. Never fails, since the bytes were validated when the key was made.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("validated when the key was made")
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({:?})", self.as_str())
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens. The gateway checks S3's further
/// rules; this type checks only those on which the formats depend.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketName(Bytes);

impl BucketName {
    /// Validates a name without copying it. Fails with [`NameError::Empty`] or [`NameError::TooLong`], and with
    /// [`NameError::Character`] for a name of fewer than 3 bytes or with another character, in this order.
    pub fn new(name: impl Into<Bytes>) -> Result<Self, NameError> {
        let name = name.into();
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.len() > 63 {
            return Err(NameError::TooLong { bytes: name.len(), limit: 63 });
        }
        let allowed = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-');
        if name.len() < 3 || !name.iter().all(allowed) {
            return Err(NameError::Character);
        }
        Ok(Self(name))
    }

    /// The name as text. Never fails, since the bytes were validated when the name was made.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("validated when the name was made")
    }

    /// The name's bytes, as they are encoded in records. Names are ordered by these bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketName({:?})", self.as_str())
    }
}

impl fmt::Display for BucketName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
