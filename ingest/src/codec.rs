//! Bytes to values and back: little-endian, length-prefixed, and total.
//!
//! Every format of the project is written with [`Encoder`] and read with [`Decoder`]. A decoder never
//! panics and never trusts a length before it has been compared with the bytes that are there.
//!
//! An encoder refuses every value that a decoder refuses, so that no value is acknowledged that can never be read:
//! [`Decoder::count`] has its counterpart in [`Encoder::count`], and [`Decoder::bytes`] and [`Decoder::text`]
//! in [`Encoder::bounded`], each with the same limit. Values from outside end in
//! [`Encoder::try_finish`], whose error the caller returns.

use bytes::{BufMut, Bytes, BytesMut};

/// The place and the reason of bytes that could not be decoded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("cannot decode {what} at byte {position}")]
pub struct DecodeError {
    /// The field that was expected.
    pub what: &'static str,
    /// The position in the input, in bytes.
    pub position: usize,
}

/// A value that could not be encoded, because no decoder would take it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{what} beyond its limit: {found}, and at most {limit} can be read back")]
pub struct EncodeError {
    /// The list or text that is too long.
    pub what: &'static str,
    /// The length or count of the value.
    pub found: usize,
    /// The greatest length or count that a decoder takes.
    pub limit: usize,
}

/// Appends values to a buffer.
#[derive(Default, Debug)]
pub struct Encoder {
    buffer: BytesMut,
    /// The first value that was beyond its limit.
    refused: Option<EncodeError>,
    /// True when long values are only checked.
    only_checks: bool,
}

impl Encoder {
    /// Starts with an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts with room for a number of bytes; the buffer grows when it needs more.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(bytes), ..Self::default() }
    }

    /// Starts an encoding that only checks limits: bounded bytes are not copied. The result is
    /// [`Encoder::refused`]; the bytes must not be used.
    pub fn checking() -> Self {
        Self { only_checks: true, ..Self::default() }
    }

    /// Appends one byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.buffer.put_u8(value);
        self
    }

    /// Appends a truth value as one byte: 1 for true, 0 for false.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.u8(u8::from(value))
    }

    /// Appends two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.buffer.put_u16_le(value);
        self
    }

    /// Appends four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.buffer.put_u32_le(value);
        self
    }

    /// Appends eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.buffer.put_u64_le(value);
        self
    }

    /// Appends eight bytes, signed.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.buffer.put_i64_le(value);
        self
    }

    /// Appends an unsigned number in 1 to 10 bytes, seven bits each, low bits first (LEB128).
    pub fn varint(&mut self, mut value: u64) -> &mut Self {
        while value >= 0x80 {
            self.buffer.put_u8((value as u8) | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
        self
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.buffer.put_slice(bytes);
        self
    }

    /// Appends a varint length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.varint(bytes.len() as u64);
        self.raw(bytes)
    }

    /// Appends a count as a varint. A count above `limit` makes the encoder refuse; see [`Encoder::refused`].
    pub fn count(&mut self, count: usize, limit: usize, what: &'static str) -> &mut Self {
        if count > limit {
            self.refused.get_or_insert(EncodeError { what, found: count, limit });
        }
        self.varint(count as u64)
    }

    /// Appends a varint length and the bytes. A length above `limit` makes the encoder refuse.
    pub fn bounded(&mut self, bytes: &[u8], limit: usize, what: &'static str) -> &mut Self {
        self.count(bytes.len(), limit, what);
        if self.only_checks { self } else { self.raw(bytes) }
    }

    /// Fails with the first value that was beyond its limit.
    pub fn refused(&self) -> Result<(), EncodeError> {
        self.refused.map_or(Ok(()), Err)
    }

    /// The number of bytes that have been appended.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// True before the first byte is appended.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.buffer
    }

    /// Overwrites four bytes that were appended before, for lengths and checksums. Panics when they were not.
    pub fn patch_u32(&mut self, position: usize, value: u32) {
        self.buffer[position..position + 4].copy_from_slice(&value.to_le_bytes());
    }

    /// Returns the bytes. Fails when a value was beyond its limit.
    pub fn try_finish(self) -> Result<Bytes, EncodeError> {
        self.refused()?;
        Ok(self.buffer.freeze())
    }

    /// Returns the bytes. Panics when a value was beyond its limit, so it is only for values that were checked before
    /// or that no client can make longer.
    pub fn finish(self) -> Bytes {
        match self.try_finish() {
            Ok(bytes) => bytes,
            Err(error) => panic!("encoded beyond a limit: {error}"),
        }
    }
}

/// Takes values off the front of a buffer, sharing its memory.
#[derive(Clone, Debug)]
pub struct Decoder {
    input: Bytes,
    position: usize,
}

impl Decoder {
    /// Starts at the first byte.
    pub fn new(input: Bytes) -> Self {
        Self { input, position: 0 }
    }

    /// The number of bytes that have been taken.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The number of bytes that are left.
    pub fn remaining(&self) -> usize {
        self.input.len() - self.position
    }

    /// An error at the current position.
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, position: self.position }
    }

    /// Takes `len` bytes, sharing the input's memory. Fails when fewer are left.
    pub fn raw(&mut self, len: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if len > self.remaining() {
            return Err(self.error(what));
        }
        let taken = self.input.slice(self.position..self.position + len);
        self.position += len;
        Ok(taken)
    }

    /// Takes an array. Fails when fewer bytes are left.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let Some(taken) = self.input[self.position..].first_chunk::<N>() else {
            return Err(self.error(what));
        };
        let taken = *taken;
        self.position += N;
        Ok(taken)
    }

    /// Takes one byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Takes a truth value off. Fails for a byte that is neither 0 nor 1, so that values have one encoding.
    pub fn bool(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        let error = self.error(what);
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(error),
        }
    }

    /// Takes two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Takes four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Takes eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Takes eight bytes, signed.
    pub fn i64(&mut self, what: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array(what)?))
    }

    /// Takes a varint in its shortest form; a longer form is refused, so that values have one encoding.
    pub fn varint(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        let start = self.clone();
        let mut value = 0u64;
        for shift in (0..).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift > 63 || (shift == 63 && bits > 1) || (byte == 0 && shift > 0) {
                return Err(start.error(what));
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        unreachable!("the loop ends at the tenth byte")
    }

    /// Takes a varint. Fails when the number exceeds `limit`.
    pub fn count(&mut self, limit: usize, what: &'static str) -> Result<usize, DecodeError> {
        let error = self.error(what);
        match usize::try_from(self.varint(what)?) {
            Ok(count) if count <= limit => Ok(count),
            _ => Err(error),
        }
    }

    /// Takes a varint length, then as many bytes. Fails when the length exceeds `limit`.
    pub fn bytes(&mut self, limit: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        let len = self.count(limit, what)?;
        self.raw(len, what)
    }

    /// Takes length-prefixed UTF-8. Fails for more than `limit` bytes and for bytes that are not UTF-8.
    pub fn text(&mut self, limit: usize, what: &'static str) -> Result<String, DecodeError> {
        let error = self.error(what);
        let bytes = self.bytes(limit, what)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| error)
    }

    /// Fails when bytes are left.
    pub fn end(&self, what: &'static str) -> Result<(), DecodeError> {
        if self.remaining() == 0 { Ok(()) } else { Err(self.error(what)) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_comes_back(value: u64) {
            let mut encoder = Encoder::new();
            encoder.varint(value);
            let mut decoder = Decoder::new(encoder.finish());
            prop_assert_eq!(decoder.varint("number").unwrap(), value);
            prop_assert!(decoder.end("end").is_ok());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let mut decoder = Decoder::new(bytes.into());
            while decoder.bytes(64, "bytes").is_ok() && decoder.varint("number").is_ok() {}
        }
    }

    #[test]
    fn what_a_decoder_refuses_an_encoder_refuses() {
        for (len, is_taken) in [(0, true), (7, true), (8, false)] {
            let bytes = vec![b'a'; len];
            let mut encoder = Encoder::new();
            encoder.count(len, 7, "count").bounded(&bytes, 7, "bytes");
            let mut checked = Encoder::checking();
            checked.count(len, 7, "count").bounded(&bytes, 7, "bytes");
            assert_eq!(checked.refused(), encoder.refused());
            let encoded = encoder.try_finish();
            assert_eq!(encoded.is_ok(), is_taken);
            let Ok(encoded) = encoded else { continue };
            let mut decoder = Decoder::new(encoded);
            assert_eq!(decoder.count(7, "count"), Ok(len));
            assert_eq!(decoder.bytes(7, "bytes").unwrap(), bytes);
        }
    }

    #[test]
    fn a_longer_form_of_a_number_is_refused() {
        let mut decoder = Decoder::new(Bytes::from_static(&[0x80, 0x00]));
        assert!(decoder.varint("number").is_err());
    }
}
