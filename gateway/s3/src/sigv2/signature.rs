//! The signature of a string to sign.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The signature of a string to sign: the HMAC-SHA1 with a secret key, in Base64. Never fails.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    signature_of(secret, string_to_sign.as_bytes())
}

/// The signature of a string to sign that may contain any bytes. Never fails.
pub(super) fn signature_of(secret: &str, to_sign: &[u8]) -> String {
    let mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes());
    let mut mac = mac.expect("HMAC takes keys of any length");
    mac.update(to_sign);
    BASE64_STANDARD.encode(mac.finalize().into_bytes())
}
