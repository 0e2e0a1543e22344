//! The interface of the pieces that records are made of.

use crate::codec::{DecodeError, Decoder, Encoder};
use crate::name::OBJECT_KEY_BYTES_MAX;

/// A body of one kind, or a piece of bodies: encoding beside decoding.
pub trait RecordPart: Sized {
    /// Appends the part. A field beyond its limit makes the encoder refuse.
    fn encode(&self, out: &mut Encoder);

    /// Takes a part off. Fails for bytes that [`RecordPart::encode`] never writes.
    fn decode(from: &mut Decoder) -> Result<Self, DecodeError>;

    /// A bound on the encoded bytes, without encoding. A body with payload, lists or long texts must override it.
    fn bytes_estimate(&self) -> usize {
        OBJECT_KEY_BYTES_MAX + 512
    }
}
