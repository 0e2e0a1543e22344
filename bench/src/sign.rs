//! Signs requests, Signature Version 4 in the header.
//!
//! The `s3` crate's own signer takes any request and derives the signing key each time. The signer here runs
//! tens of thousands of times a second beside the server that it measures. For this reason it signs only the
//! three headers that must be signed, derives the key once a day, and keeps the key's initialized HMAC and
//! its buffers. The tests compare it with AWS's examples and with the verifier.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderValue;
use s3::sigv4::CredentialScope;
use s3::time::amz;
use sha2::{Digest, Sha256};

/// The value that replaces the hash of a body that is not signed.
pub const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// The credentials for requests.
#[derive(Clone, clap::Args)]
pub struct Credentials {
    /// Access key.
    #[arg(long, env = "SILTSTONE_ACCESS_KEY")]
    pub access_key: String,
    /// Secret key.
    #[arg(long, env = "SILTSTONE_SECRET_KEY", hide_env_values = true)]
    pub secret_key: String,
    /// Region that the server expects in signatures.
    #[arg(long, default_value = "us-east-1")]
    pub region: String,
}

/// Signs the requests of one connection.
pub struct Signer {
    credentials: Credentials,
    host: String,
    second: i64,
    time: HeaderValue,
    /// Algorithm, time and scope, the beginning of the text that is signed; valid for one second.
    head: String,
    /// The value of `Authorization` up to the signature; valid for one day.
    authorization: String,
    /// HMAC with the day's signing key, before any message.
    key: Hmac<Sha256>,
    /// The day of the key, such as `20130524`; empty before the first request.
    date: String,
    buffer: String,
}

/// The two headers that carry a signature.
pub struct Signed {
    /// The value of `x-amz-date`.
    pub time: HeaderValue,
    /// The value of `authorization`.
    pub authorization: HeaderValue,
}

/// The signed parts of a request.
pub struct Signable<'a> {
    /// The method, `GET` for example.
    pub method: &'a str,
    /// The path, percent-encoded.
    pub path: &'a str,
    /// The query: encoded, sorted, every name with its `=`.
    pub query: &'a str,
    /// The value of `x-amz-content-sha256`.
    pub payload: &'a str,
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length")
}

impl Signer {
    /// A signer for requests to one host. Keys are derived only with the first request of a day. `host` must
    /// equal the request's `host` header.
    pub fn new(credentials: Credentials, host: String) -> Self {
        Self {
            credentials,
            host,
            second: i64::MIN,
            time: HeaderValue::from_static(""),
            head: String::new(),
            authorization: String::new(),
            key: keyed(b""),
            date: String::new(),
            buffer: String::new(),
        }
    }

    /// Signs a request at `now`, in seconds since 1970.
    ///
    /// Derives the key again only if the day has changed since the request before. Panics if the access key
    /// cannot be the value of a header, which [`crate::client::LoadTarget::new`] excludes. The caller must
    /// send the returned headers unchanged.
    pub fn sign(&mut self, request: &Signable<'_>, now: i64) -> Signed {
        if self.second != now {
            self.turn(now);
        }
        let time = self.time.to_str().expect("an amz time is ASCII");
        let Signable { method, path, query, payload } = request;
        let host = &self.host;
        self.buffer.clear();
        write!(
            self.buffer,
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{time}\n\nhost;x-amz-content-sha256;x-amz-date\n{payload}",
        )
        .expect("writing to a String cannot fail");
        let mut digest = [0; 64];
        hex::encode_to_slice(Sha256::digest(self.buffer.as_bytes()), &mut digest)
            .expect("32 bytes are 64 digits");
        let mut signature = self.key.clone();
        signature.update(self.head.as_bytes());
        signature.update(&digest);
        let mut value = Vec::with_capacity(self.authorization.len() + 64);
        value.extend_from_slice(self.authorization.as_bytes());
        value.resize(value.len() + 64, 0);
        let place = &mut value[self.authorization.len()..];
        hex::encode_to_slice(signature.finalize().into_bytes(), place)
            .expect("32 bytes are 64 digits");
        let authorization = HeaderValue::from_maybe_shared(bytes::Bytes::from(value))
            .expect("the access key is checked when the target is made");
        Signed { time: self.time.clone(), authorization }
    }

    /// Updates the time to another second and, if it has changed, the day.
    fn turn(&mut self, now: i64) {
        let time = amz(now);
        let scope = CredentialScope { date: &time[..8], region: &self.credentials.region };
        if self.date != scope.date {
            self.date = scope.date.to_owned();
            self.key = keyed(&scope.key(&self.credentials.secret_key));
            self.authorization = format!(
                "AWS4-HMAC-SHA256 Credential={}/{},SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=",
                self.credentials.access_key,
                scope.text()
            );
        }
        self.head = format!("AWS4-HMAC-SHA256\n{time}\n{}\n", scope.text());
        self.time = HeaderValue::from_str(&time).expect("an amz time is ASCII");
        self.second = now;
    }
}

/// Returns the SHA-256 of a body in hexadecimal digits, for a request whose body is signed. Must be computed
/// before the request is signed.
pub fn payload_hash(body: &[u8]) -> String {
    hex::encode(Sha256::digest(body))
}

#[cfg(test)]
mod tests {
    use s3::credentials::{self, RequestCredentials};
    use s3::names;
    use s3::sigv4::{DerivedKey, EMPTY_SHA256, SecretKey};

    use super::*;

    const NOW: i64 = 1_369_353_600;
    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

    fn signer(host: &str) -> Signer {
        let credentials = Credentials {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: SECRET.into(),
            region: "us-east-1".into(),
        };
        Signer::new(credentials, host.into())
    }

    /// The two examples in "Signature Calculations for the Authorization Header", Amazon S3 API reference,
    /// that sign these three headers.
    #[test]
    fn the_documented_examples_have_their_documented_signatures() {
        let mut signer = signer("examplebucket.s3.amazonaws.com");
        for (query, signature) in [
            ("lifecycle=", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "max-keys=2&prefix=J",
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let request = Signable { method: "GET", path: "/", query, payload: EMPTY_SHA256 };
            let signed = signer.sign(&request, NOW);
            assert_eq!(signed.time, "20130524T000000Z");
            let wanted = format!(
                "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature={signature}"
            );
            assert_eq!(signed.authorization, wanted);
        }
    }

    #[test]
    fn the_server_verifies_what_is_signed_over_seconds_and_days() {
        let mut signer = signer("127.0.0.1:9000");
        let (path, query) = ("/bench/a%20b%2B/c", "continuation-token=x%3D&list-type=2");
        let hash = payload_hash(b"body");
        for payload in [UNSIGNED, &hash] {
            for now in [NOW, NOW, NOW + 1, NOW + 86_400, NOW] {
                let signed = signer.sign(&Signable { method: "PUT", path, query, payload }, now);
                let request = http::Request::put(format!("{path}?{query}"))
                    .header("host", "127.0.0.1:9000")
                    .header("x-amz-content-sha256", payload)
                    .header("x-amz-date", signed.time)
                    .header("authorization", signed.authorization);
                let parts = request.body(()).unwrap().into_parts().0;
                let query = names::query(query).unwrap();
                let Some(RequestCredentials::V4(presented)) =
                    credentials::parse(&parts, &query).unwrap()
                else {
                    panic!("the signature is not found");
                };
                let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
                let decoded = names::decode(path).unwrap();
                presented.verify(&parts, &decoded, &query, secret, now, Some("us-east-1")).unwrap();
            }
        }
    }
}
