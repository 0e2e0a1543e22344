//! The scope of a signature, and the signing key that is derived from it.

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::RwLock;
use sha2::Sha256;

/// Computes HMAC-SHA256 of bytes with a key of any length. Never fails.
pub fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// The scope of a signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CredentialScope<'a> {
    /// The date of the signing key, such as `20130524`.
    pub date: &'a str,
    /// The region of the signing key, such as `us-east-1`.
    pub region: &'a str,
}

impl CredentialScope<'_> {
    /// The text of the scope in the string to sign: date, region, service and the terminal, in this order.
    pub fn text(&self) -> String {
        format!("{}/{}/s3/aws4_request", self.date, self.region)
    }

    /// Derives the signing key from a secret key, by HMACs over date, region, service and terminal in this order.
    pub fn key(&self, secret: &str) -> [u8; 32] {
        let date = hmac(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        let region = hmac(&date, self.region.as_bytes());
        hmac(&hmac(&region, b"s3"), b"aws4_request")
    }
}

/// A signing key with the scope that it was derived for.
struct ScopedKey {
    date: String,
    region: String,
    key: [u8; 32],
}

/// A cache of the signing key that was derived last from a secret key. Clients use one signing key for a day (UTC) and
/// region, and the derivation takes four HMACs, where the signature takes one. A clone begins empty.
#[derive(Default)]
pub struct DerivedKey(RwLock<Option<ScopedKey>>);

impl DerivedKey {
    /// The signing key for a scope; `None` unless it was kept last.
    pub(super) fn get(&self, scope: &CredentialScope<'_>) -> Option<[u8; 32]> {
        let kept = self.0.read();
        let is_same = |of: &&ScopedKey| of.date == scope.date && of.region == scope.region;
        kept.as_ref().filter(is_same).map(|of| of.key)
    }

    /// Replaces the signing key. Called only after the key has verified a signature, so that nobody without the secret
    /// key can empty the cache.
    pub(super) fn keep(&self, scope: &CredentialScope<'_>, key: [u8; 32]) {
        let (date, region) = (scope.date.to_owned(), scope.region.to_owned());
        *self.0.write() = Some(ScopedKey { date, region, key });
    }
}

impl Clone for DerivedKey {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for DerivedKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("DerivedKey(…)")
    }
}

/// The secret key of the user whose access key a request contains.
#[derive(Clone, Copy)]
pub struct SecretKey<'a> {
    /// The secret key itself.
    pub secret: &'a str,
    /// The signing key that was derived last, replaced only after a request with another scope was verified.
    pub derived: &'a DerivedKey,
}
