//! The canonical request and the string to sign.
//!
//! Both are bytes, not text: a header may contain bytes that are no UTF-8, and two different values must never have one
//! canonical form.

use std::borrow::Cow;

use http::request::Parts;
use sha2::{Digest, Sha256};

use super::scope::CredentialScope;
use crate::names;

/// The name of the algorithm, with which a header `Authorization` of this version begins.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The capacity for a canonical request in bytes: enough for the requests of SDKs.
const TYPICAL_BYTES: usize = 1 << 10;

/// The parts of a request that a signature covers.
pub(super) struct SignedParts<'a> {
    pub parts: &'a Parts,
    /// The decoded path.
    pub path: &'a str,
    /// The decoded query.
    pub query: &'a [(String, String)],
    /// The names of the signed headers, separated by `;`, in the order of the request.
    pub headers: &'a str,
    /// The value of `x-amz-content-sha256`.
    pub payload: &'a str,
}

impl SignedParts<'_> {
    /// The canonical request, whose hash the signature covers.
    pub(super) fn canonical(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TYPICAL_BYTES);
        out.extend_from_slice(self.parts.method.as_str().as_bytes());
        out.push(b'\n');
        names::encode_path_to(&mut out, self.path);
        out.push(b'\n');
        self.push_query(&mut out);
        out.push(b'\n');
        for name in self.headers.split(';') {
            self.push_header(&mut out, name);
        }
        out.push(b'\n');
        out.extend_from_slice(self.headers.as_bytes());
        out.push(b'\n');
        out.extend_from_slice(self.payload.as_bytes());
        out
    }

    /// Appends the query, encoded and in the order of names, then of values. The signature itself is left out.
    fn push_query(&self, out: &mut Vec<u8>) {
        if self.query.is_empty() {
            return;
        }
        let signed = self.query.iter().filter(|(name, _)| name != "X-Amz-Signature");
        let encoded = signed.map(|(name, value)| (names::encoded(name), names::encoded(value)));
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = encoded.collect();
        pairs.sort_unstable();
        for (index, (name, value)) in pairs.iter().enumerate() {
            if index > 0 {
                out.push(b'&');
            }
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
    }

    /// Appends the line of a header: its values in order, separated by commas. The host of a request without the header
    /// `host` is that of its target.
    fn push_header(&self, out: &mut Vec<u8>, name: &str) {
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        let mut values = self.parts.headers.get_all(name).iter();
        match values.next() {
            Some(first) => push_folded(out, first.as_bytes()),
            None if name == "host" => {
                let authority =
                    self.parts.uri.authority().map_or("", |authority| authority.as_str());
                out.extend_from_slice(authority.as_bytes());
            }
            None => {}
        }
        for value in values {
            out.push(b',');
            push_folded(out, value.as_bytes());
        }
        out.push(b'\n');
    }
}

/// Appends a header's value without blanks at its ends, and with one space for each run of blanks.
fn push_folded(out: &mut Vec<u8>, value: &[u8]) {
    let mut words = value.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    out.extend_from_slice(words.next().unwrap_or_default());
    for word in words {
        out.push(b' ');
        out.extend_from_slice(word);
    }
}

/// The string to sign of a request at a time such as `20130524T000000Z`.
pub(super) fn string_to_sign(time: &str, scope: &CredentialScope<'_>, canonical: &[u8]) -> String {
    let mut hash = [0; 64];
    hex::encode_to_slice(Sha256::digest(canonical), &mut hash)
        .expect("32 bytes are 64 hexadecimal digits");
    let hash = std::str::from_utf8(&hash).expect("hexadecimal digits are ASCII");
    let CredentialScope { date, region } = scope;
    // Pieces are joined into one text of the right size, because every request has one.
    [ALGORITHM, "\n", time, "\n", date, "/", region, "/s3/aws4_request\n", hash].concat()
}
