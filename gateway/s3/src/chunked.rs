//! The decoder of the aws-chunked encoding, in which a body contains chunks with lengths, signatures and trailers.
//!
//! ```text
//!   10000;chunk-signature=ad80...\r\n <65536 bytes> \r\n  ...  0;chunk-signature=b6c6...\r\n
//!   x-amz-checksum-crc32c:sOO8/Q==\r\n x-amz-trailer-signature:63bd...\r\n \r\n
//! ```
//!
//! minio-go ends a trailer with `\n` alone. After the last trailer it adds an empty line with `\r\n`, before the
//! empty line that ends the body or before the signature of the trailers. The decoder skips this one line.
//!
//! Decoded bytes are returned at once, so memory is bounded for chunks of any length. The signature of a chunk is
//! checked at the end of the chunk, after its bytes were returned; a wrong signature fails the whole body. The caller
//! must therefore not use any byte before [`ChunkedDecoder::finish`] has succeeded. Arbitrary bytes, split at any
//! place, give bytes or an error and never a panic.

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ErrorCode, S3Error};
use crate::sigv4::{ChunkSigner, PayloadHash, VerifiedRequest};

/// The largest length of a line in bytes, its end included.
const LINE_BYTES_MAX: usize = 1024;
/// The largest length of all trailers together in bytes, without line ends.
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// The position of the decoder within the encoding.
enum ChunkState {
    /// In the line with the length of a chunk.
    Head,
    /// In the bytes of a chunk, of which `left` bytes are missing.
    Data { left: u64 },
    /// In the line end that follows the bytes of a chunk.
    DataEnd,
    /// In the trailers.
    Trailers,
    /// After the empty line that ends the body.
    End,
}

/// The decoder of one request body; the module describes the encoding. The payload of the verified request must be one
/// of the chunked kinds.
pub struct ChunkedDecoder {
    is_signed: bool,
    /// The signer of the chunks and trailers, without which no signed chunk is right.
    signer: Option<ChunkSigner>,
    has_trailers: bool,
    /// The decoded length in bytes that the client announced.
    expected: u64,
    decoded: u64,
    state: ChunkState,
    /// The beginning of a line whose end has not arrived.
    line: BytesMut,
    /// The signature of the chunk before, and the signature that the current chunk contains.
    previous: String,
    claimed: String,
    hash: Sha256,
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
    line_end: LineEnd,
}

/// The line end of the last trailer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    /// CR and LF.
    Whole,
    /// LF alone. An empty line may follow, which is skipped.
    Lf,
    /// LF alone, and the empty line after it has been skipped.
    Late,
}

/// The error for a body that is not in valid encoding, as AWS answers it: to AWS such a body ends where the encoding does.
fn malformed() -> S3Error {
    ErrorCode::IncompleteBody.because("The request body is not in valid aws-chunked encoding.")
}

impl ChunkedDecoder {
    /// Starts the decoder of a body that decodes to `expected` bytes, as `x-amz-decoded-content-length` announces. The
    /// verified request decides if chunks must be signed and if trailers are permitted.
    pub fn new(verified: VerifiedRequest, expected: u64) -> Self {
        let has_trailers = verified.payload != PayloadHash::StreamingSigned;
        let signer = verified.chunk_signer;
        Self {
            is_signed: verified.payload.is_signed_in_chunks(),
            previous: signer.as_ref().map_or_else(String::new, |signer| signer.signature.clone()),
            signer,
            has_trailers,
            expected,
            decoded: 0,
            state: ChunkState::Head,
            line: BytesMut::new(),
            claimed: String::new(),
            hash: Sha256::new(),
            trailers: Vec::new(),
            trailer_bytes: 0,
            line_end: LineEnd::Whole,
        }
    }

    /// Decodes the next bytes of the body and appends decoded bytes to `out`, in order and without a copy. Fails with
    /// `IncompleteBody` for a malformed body, `SignatureDoesNotMatch` for a missing or wrong signature, and
    /// `IncompleteBody` for more than the expected bytes. After an error the decoder must not be used again.
    pub fn feed(&mut self, mut input: Bytes, out: &mut Vec<Bytes>) -> Result<(), S3Error> {
        while !input.is_empty() {
            match &mut self.state {
                ChunkState::Data { left } => {
                    let take = (input.len() as u64).min(*left) as usize;
                    let bytes = input.split_to(take);
                    *left -= take as u64;
                    if *left == 0 {
                        self.state = ChunkState::DataEnd;
                    }
                    self.decoded += take as u64;
                    if self.decoded > self.expected {
                        return Err(ErrorCode::IncompleteBody.into());
                    }
                    if self.is_signed {
                        self.hash.update(&bytes);
                    }
                    out.push(bytes);
                }
                ChunkState::End => return Err(malformed()),
                _ => {
                    if let Some(line) = self.take_line(&mut input)? {
                        self.take(&line)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the next line without its end, and removes it from the input; `None` if the end has not arrived.
    fn take_line(&mut self, input: &mut Bytes) -> Result<Option<String>, S3Error> {
        let (piece, is_whole) = match input.iter().position(|byte| *byte == b'\n') {
            Some(at) => (input.split_to(at + 1), true),
            None => (input.split_to(input.len()), false),
        };
        self.line.extend_from_slice(&piece);
        if self.line.len() > LINE_BYTES_MAX {
            return Err(malformed());
        }
        if !is_whole {
            return Ok(None);
        }
        let mut line = self.line.split();
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            if !line.is_empty() {
                self.line_end = LineEnd::Whole;
            }
        } else if matches!(self.state, ChunkState::Trailers) && line.len() > 1 {
            line.truncate(line.len() - 1);
            self.line_end = LineEnd::Lf;
        } else {
            return Err(malformed());
        }
        String::from_utf8(line.to_vec()).map(Some).map_err(|_| malformed())
    }

    fn take(&mut self, line: &str) -> Result<(), S3Error> {
        match self.state {
            ChunkState::Head => self.take_head(line),
            ChunkState::DataEnd if line.is_empty() => {
                self.check_chunk()?;
                self.state = ChunkState::Head;
                Ok(())
            }
            ChunkState::Trailers => self.take_trailer(line),
            _ => Err(malformed()),
        }
    }

    fn take_head(&mut self, line: &str) -> Result<(), S3Error> {
        let (len, extension) = line.split_once(';').unwrap_or((line, ""));
        let is_hex =
            !len.is_empty() && len.len() <= 16 && len.bytes().all(|b| b.is_ascii_hexdigit());
        let len = u64::from_str_radix(len, 16).ok().filter(|_| is_hex).ok_or_else(malformed)?;
        match extension.strip_prefix("chunk-signature=") {
            Some(signature) if self.is_signed => self.claimed = signature.to_owned(),
            None if self.is_signed => return Err(ErrorCode::SignatureDoesNotMatch.into()),
            _ => {}
        }
        if len > 0 {
            self.state = ChunkState::Data { left: len };
            return Ok(());
        }
        self.check_chunk()?;
        self.state = ChunkState::Trailers;
        Ok(())
    }

    /// Compares the signature of the chunk that has just ended, in constant time. Does nothing for unsigned chunks.
    fn check_chunk(&mut self) -> Result<(), S3Error> {
        if !self.is_signed {
            return Ok(());
        }
        let signer = self.signer.as_ref().ok_or(ErrorCode::SignatureDoesNotMatch)?;
        let hash = self.hash.finalize_reset();
        let wanted = signer.chunk(&self.previous, &hash);
        if !bool::from(wanted.as_bytes().ct_eq(self.claimed.as_bytes())) {
            return Err(ErrorCode::SignatureDoesNotMatch.into());
        }
        self.previous = wanted;
        Ok(())
    }

    fn take_trailer(&mut self, line: &str) -> Result<(), S3Error> {
        if line.is_empty() && self.line_end == LineEnd::Lf {
            self.line_end = LineEnd::Late;
            return Ok(());
        }
        if line.is_empty() {
            self.state = ChunkState::End;
            return self.check_trailers();
        }
        self.trailer_bytes += line.len();
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        if !self.has_trailers || self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(malformed());
        }
        self.trailers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        Ok(())
    }

    fn check_trailers(&mut self) -> Result<(), S3Error> {
        let is_signature = |(name, _): &(String, String)| name == "x-amz-trailer-signature";
        let claimed = self.trailers.iter().position(is_signature);
        let claimed = claimed.map(|at| self.trailers.remove(at).1);
        if !self.is_signed || !self.has_trailers {
            return Ok(());
        }
        let signer = self.signer.as_ref().ok_or(ErrorCode::SignatureDoesNotMatch)?;
        let text: String = self.trailers.iter().map(|(n, v)| format!("{n}:{v}\n")).collect();
        let wanted = signer.trailer(&self.previous, &text);
        let claimed = claimed.unwrap_or_default();
        if !bool::from(wanted.as_bytes().ct_eq(claimed.as_bytes())) {
            return Err(ErrorCode::SignatureDoesNotMatch.into());
        }
        Ok(())
    }

    /// Ends the body and returns the trailers in order: names in lower case and values, without the signature. Fails
    /// with `IncompleteBody` if the end or decoded bytes are missing, and with `SignatureDoesNotMatch` for wrong
    /// trailers. Only after success may the decoded bytes be used.
    pub fn finish(mut self) -> Result<Vec<(String, String)>, S3Error> {
        match self.state {
            ChunkState::End => {}
            // All trailers have arrived, and only the empty line that ends the body is missing.
            ChunkState::Trailers if self.line.is_empty() && self.line_end == LineEnd::Late => {
                self.check_trailers()?;
            }
            // Some clients omit the last empty line when there are no trailers.
            ChunkState::Trailers if self.line.is_empty() && self.trailers.is_empty() => {
                self.check_trailers_absent()?;
            }
            _ => return Err(ErrorCode::IncompleteBody.into()),
        }
        if self.decoded != self.expected {
            return Err(ErrorCode::IncompleteBody.into());
        }
        self.line.clear();
        Ok(self.trailers)
    }

    fn check_trailers_absent(&self) -> Result<(), S3Error> {
        if self.is_signed && self.has_trailers {
            Err(ErrorCode::IncompleteBody.into())
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::sigv4::CredentialScope;

    fn verified(payload: PayloadHash) -> VerifiedRequest {
        // The chunked upload of AWS's documentation.
        let scope = CredentialScope { date: "20130524", region: "us-east-1" };
        let key = scope.key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into();
        let signer = ChunkSigner::new(signature, &scope, key, "20130524T000000Z");
        let chunk_signer = payload.is_signed_in_chunks().then_some(signer);
        VerifiedRequest { payload, is_presigned: false, chunk_signer }
    }

    fn documented() -> Bytes {
        let mut body = Vec::new();
        let chunk = |body: &mut Vec<u8>, len: usize, signature: &str| {
            body.extend_from_slice(format!("{len:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend(vec![b'a'; len]);
            body.extend_from_slice(b"\r\n");
        };
        chunk(&mut body, 65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648");
        chunk(&mut body, 1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497");
        chunk(&mut body, 0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9");
        body.into()
    }

    fn split_at_each(body: &Bytes, len: usize) -> Vec<Bytes> {
        let mut rest = body.clone();
        let mut pieces = Vec::new();
        while !rest.is_empty() {
            pieces.push(rest.split_to(len.min(rest.len())));
        }
        pieces
    }

    fn decode(
        body: &Bytes,
        payload: PayloadHash,
        expected: u64,
        split: usize,
    ) -> Result<Vec<u8>, ErrorCode> {
        let mut decoder = ChunkedDecoder::new(verified(payload), expected);
        let mut out = Vec::new();
        for piece in split_at_each(body, split) {
            decoder.feed(piece, &mut out).map_err(|error| error.code)?;
        }
        decoder.finish().map_err(|error| error.code)?;
        Ok(out.concat())
    }

    #[test]
    fn the_documented_body_is_decoded_however_it_is_split() {
        for split in [1, 7, 1000, 1 << 20] {
            let decoded = decode(&documented(), PayloadHash::StreamingSigned, 66_560, split);
            assert_eq!(decoded.unwrap(), vec![b'a'; 66_560]);
        }
    }

    #[test]
    fn a_flipped_or_missing_byte_is_found() {
        let body = documented();
        for at in (0..body.len()).step_by(997).chain(body.len() - 90..body.len() - 4) {
            let mut flipped = body.to_vec();
            flipped[at] ^= 1;
            assert!(decode(&flipped.into(), PayloadHash::StreamingSigned, 66_560, 4096).is_err());
        }
        let cut = body.slice(..body.len() - 86);
        assert!(decode(&cut, PayloadHash::StreamingSigned, 66_560, 4096).is_err());
        assert!(decode(&body, PayloadHash::StreamingSigned, 66_561, 4096).is_err());
        assert!(decode(&body, PayloadHash::StreamingSigned, 66_559, 4096).is_err());
    }

    #[test]
    fn trailers_are_given() {
        let body = Bytes::from_static(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n");
        let payload = PayloadHash::StreamingUnsignedTrailer;
        let mut decoder = ChunkedDecoder::new(verified(payload), 5);
        let mut out = Vec::new();
        decoder.feed(body, &mut out).unwrap();
        let trailers = decoder.finish().unwrap();
        assert_eq!(trailers, [("x-amz-checksum-crc32".into(), "NhCmhg==".into())]);
    }

    #[test]
    fn trailers_may_end_with_a_line_feed() {
        let of = |ends: &str, payload, split| {
            let body = format!("5\r\nhello\r\n0\r\n{ends}");
            let mut decoder = ChunkedDecoder::new(verified(payload), 5);
            let mut out = Vec::new();
            for piece in split_at_each(&body.into(), split) {
                decoder.feed(piece, &mut out)?;
            }
            decoder.finish()
        };
        let payload = PayloadHash::StreamingUnsignedTrailer;
        for split in [1, 2, 3, 1000] {
            for good in [
                "x-amz-checksum-crc32:NhCmhg==\n\r\n\r\n",
                "x-amz-checksum-crc32:NhCmhg==\n\r\n",
                "x-amz-checksum-crc32:NhCmhg==\r\n\r\n",
            ] {
                let trailers = of(good, payload, split).unwrap();
                assert_eq!(trailers, [("x-amz-checksum-crc32".into(), "NhCmhg==".into())]);
            }
            for bad in [
                "x-amz-checksum-crc32:NhCmhg==\n",
                "x-amz-checksum-crc32:NhCmhg==\n\n",
                "x-amz-checksum-crc32:NhCmhg==\n\r\n\r\n\r\n",
                "x-amz-checksum-crc32:NhCmhg==\r\n\r\n\r\n",
                "x-amz-checksum-crc32:NhCmhg==\r\n\n",
                "x-amz-checksum-crc32:NhCmhg==\n\r\n\r\nmore",
                "\n",
            ] {
                assert!(of(bad, payload, split).is_err(), "{bad:?}");
            }
        }
        let lf_in_heads = Bytes::from_static(b"5\nhello\r\n0\r\n\r\n");
        assert!(decode(&lf_in_heads, payload, 5, 1000).is_err());
        let lf_after_data = Bytes::from_static(b"5\r\nhello\n0\r\n\r\n");
        assert!(decode(&lf_after_data, payload, 5, 1000).is_err());
    }

    #[test]
    fn signed_trailers_may_end_with_a_line_feed() {
        let payload = PayloadHash::StreamingSignedTrailer;
        let signer = verified(payload).chunk_signer.unwrap();
        let hash = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
        let first = signer.chunk(&signer.signature, &hash(b"hello"));
        let last = signer.chunk(&first, &hash(b""));
        let trailer = "x-amz-checksum-crc32:NhCmhg==";
        let signature = signer.trailer(&last, &format!("{trailer}\n"));
        let chunks = format!("5;chunk-signature={first}\r\nhello\r\n0;chunk-signature={last}\r\n");
        let signed = format!("x-amz-trailer-signature:{signature}");
        for good in [
            format!("{trailer}\n\r\n{signed}\r\n\r\n"),
            format!("{trailer}\r\n{signed}\r\n\r\n"),
            format!("{trailer}\n{signed}\n\r\n\r\n"),
        ] {
            let body = Bytes::from(format!("{chunks}{good}"));
            assert_eq!(decode(&body, payload, 5, 7).unwrap(), b"hello", "{good:?}");
        }
        let flipped =
            signed.replace(&signature[..1], if signature.starts_with('0') { "1" } else { "0" });
        for bad in [
            format!("{trailer}\n\r\n\r\n"),
            format!("{trailer}\n\r\n"),
            format!("{trailer}\n\r\n{flipped}\r\n\r\n"),
            format!("{trailer}\n\r\n\r\n{signed}\r\n\r\n"),
        ] {
            let body = Bytes::from(format!("{chunks}{bad}"));
            assert!(decode(&body, payload, 5, 7).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>, split in 1usize..9) {
            let _ = decode(&body.clone().into(), PayloadHash::StreamingSigned, 5, split);
            let _ = decode(&body.into(), PayloadHash::StreamingUnsignedTrailer, 5, split);
        }
    }
}
