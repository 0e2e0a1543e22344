//! AWS Signature Version 4: verification of signed headers and presigned queries, and a signer.
//!
//! Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference. S3's own rules:
//! the path is encoded once and not normalised (`//` and `..` stay), and the payload hash is a header.

use hmac::{Hmac, KeyInit, Mac};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::{ErrorCode, S3Error};
use crate::headers::text;
use crate::names;
use crate::time::{amz, parse_amz, parse_http};

/// The largest difference between the time of a request and that of this server, in seconds.
const SKEW: i64 = 15 * 60;
/// The longest validity of a presigned request, in seconds.
const EXPIRES_MAX: i64 = 7 * 24 * 3600;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The SHA-256 of an empty body, in hexadecimal.
pub const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Computes HMAC-SHA256 of bytes with a key of any length. Never fails.
pub fn hmac(key: &[u8], bytes: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The statement of a request about its body, from `x-amz-content-sha256`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PayloadHash {
    /// The SHA-256 of the body.
    Sha256([u8; 32]),
    /// No statement: the signature does not cover the body.
    Unsigned,
    /// The body has unsigned chunks, and trailers.
    StreamingUnsignedTrailer,
    /// The body has signed chunks.
    StreamingSigned,
    /// The body has signed chunks, and signed trailers.
    StreamingSignedTrailer,
}

impl PayloadHash {
    fn parse(text: &str) -> Result<Self, S3Error> {
        Ok(match text {
            "UNSIGNED-PAYLOAD" => PayloadHash::Unsigned,
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => PayloadHash::StreamingUnsignedTrailer,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => PayloadHash::StreamingSigned,
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => PayloadHash::StreamingSignedTrailer,
            other if other.starts_with("STREAMING-AWS4-ECDSA") => {
                return Err(
                    ErrorCode::NotImplemented.because("ECDSA signatures are not implemented.")
                );
            }
            other => {
                let mut hash = [0; 32];
                hex::decode_to_slice(other, &mut hash).map_err(|_| {
                    ErrorCode::InvalidArgument.because(
                        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
                    )
                })?;
                PayloadHash::Sha256(hash)
            }
        })
    }

    /// Returns true if the body has the aws-chunked encoding and must be decoded before it is used.
    pub fn is_chunked(self) -> bool {
        !matches!(self, PayloadHash::Sha256(_) | PayloadHash::Unsigned)
    }
}

/// The scope of a signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialScope {
    /// The date of the signing key, such as `20130524`.
    pub date: String,
    /// The region of the signing key, such as `us-east-1`.
    pub region: String,
}

impl CredentialScope {
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

/// A cache of the signing key that was derived last from a secret key. Clients use one signing key for a day (UTC) and
/// region, and the derivation takes four HMACs, where the signature takes one. A clone begins empty.
#[derive(Default)]
pub struct DerivedKey(RwLock<Option<(CredentialScope, [u8; 32])>>);

impl DerivedKey {
    fn get(&self, scope: &CredentialScope) -> Option<[u8; 32]> {
        let kept = self.0.read();
        kept.as_ref().filter(|(of, _)| of == scope).map(|(_, key)| *key)
    }

    fn keep(&self, scope: &CredentialScope, key: [u8; 32]) {
        *self.0.write() = Some((scope.clone(), key));
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

/// The credentials that a request contains, unproven before [`PresentedCredentials::verify`] has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentedCredentials {
    /// The access key in the request.
    pub access_key: String,
    /// The scope of the signature.
    pub scope: CredentialScope,
    signed_headers: Vec<String>,
    signature: String,
    time: i64,
    /// The validity of a presigned request in seconds; `None` for a signature in a header.
    expires: Option<i64>,
}

/// The facts about a request whose signature was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifiedRequest {
    /// The statement of the request about its body, which is not compared with the body yet.
    pub payload: PayloadHash,
    /// The signature of the request, which the signature of the first chunk covers.
    pub signature: String,
    /// The scope of the signature.
    pub scope: CredentialScope,
    /// The signing key, with which chunks and trailers are verified.
    pub key: [u8; 32],
    /// The time in the string to sign, such as `20130524T000000Z`.
    pub time: String,
}

impl std::fmt::Debug for VerifiedRequest {
    /// Shows neither the signing key nor the signature.
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = out.debug_struct("Verified");
        shown.field("payload", &self.payload).field("scope", &self.scope).field("time", &self.time);
        shown.finish_non_exhaustive()
    }
}

fn parse_credential(
    text: &str,
    malformed: &dyn Fn(&str) -> S3Error,
) -> Result<(String, CredentialScope), S3Error> {
    let mut fields = text.rsplitn(5, '/');
    let mut next = || {
        fields.next().ok_or_else(|| {
        malformed("the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".")
    })
    };
    let (end, service, region, date, access_key) = (next()?, next()?, next()?, next()?, next()?);
    if end != "aws4_request" {
        return Err(malformed("incorrect terminal. This endpoint belongs to \"aws4_request\"."));
    }
    if service != "s3" {
        return Err(malformed("incorrect service. This endpoint belongs to \"s3\"."));
    }
    if date.len() != 8 || !date.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed("incorrect date format. It must be in the format \"yyyyMMdd\"."));
    }
    Ok((access_key.into(), CredentialScope { date: date.into(), region: region.into() }))
}

/// Reads the credentials of a request, from the header `Authorization` or a presigned `query`; `None` for an anonymous
/// request. Fails if both contain credentials, for other signature versions, and for missing or malformed fields.
pub fn parse(
    parts: &Parts,
    query: &[(String, String)],
) -> Result<Option<PresentedCredentials>, S3Error> {
    let find = |name: &str| query.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let authorization = parts.headers.get("authorization");
    let is_presigned = find("X-Amz-Algorithm").is_some() || find("X-Amz-Signature").is_some();
    if authorization.is_some() && is_presigned {
        return Err(ErrorCode::InvalidArgument.because("Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or the Authorization header should be specified"));
    }
    if let Some(value) = authorization {
        return of_header(&parts.headers, value).map(Some);
    }
    if !is_presigned {
        // Presigned queries of signature version 2 have these parameters.
        return if find("AWSAccessKeyId").is_some() && find("Signature").is_some() {
            Err(unsupported())
        } else {
            Ok(None)
        };
    }
    of_query(find).map(Some)
}

/// The error for a signature of another version.
fn unsupported() -> S3Error {
    ErrorCode::InvalidRequest.because("The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.")
}

/// Reads the header `Authorization`, with the time from `x-amz-date` or `date`. Fails with
/// `AuthorizationHeaderMalformed` when a field is missing or cannot be read, and with `AccessDenied` without a time.
fn of_header(headers: &HeaderMap, value: &HeaderValue) -> Result<PresentedCredentials, S3Error> {
    let malformed = |detail: &str| {
        ErrorCode::AuthorizationHeaderMalformed
            .because(format!("The authorization header is malformed; {detail}"))
    };
    let said = value.to_str().map_err(|_| malformed("it is not ASCII."))?;
    let Some(fields) = said.strip_prefix(ALGORITHM) else { return Err(unsupported()) };
    let field = |name: &str| {
        let mut fields = fields.split(',').map(str::trim);
        let found = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
        found.ok_or_else(|| malformed(&format!("the authorization header requires {name}.")))
    };
    let (access_key, scope) = parse_credential(field("Credential")?, &malformed)?;
    let date = text(headers, "x-amz-date")?.and_then(parse_amz);
    let date = match date {
        Some(date) => Some(date),
        None => {
            text(headers, "date")?.and_then(|date| parse_http(date).or_else(|| parse_amz(date)))
        }
    };
    let time = date.ok_or_else(|| {
        ErrorCode::AccessDenied
            .because("AWS authentication requires a valid Date or x-amz-date header")
    })?;
    let signed = field("SignedHeaders")?.split(';').map(str::to_owned).collect();
    Ok(PresentedCredentials {
        access_key,
        scope,
        signed_headers: signed,
        signature: field("Signature")?.to_owned(),
        time,
        expires: None,
    })
}

/// Reads the parameters of a presigned query. Fails with `AuthorizationQueryParametersError` when one is missing,
/// cannot be read, or allows more than a week.
fn of_query<'a>(find: impl Fn(&str) -> Option<&'a str>) -> Result<PresentedCredentials, S3Error> {
    let malformed = |detail: &str| {
        ErrorCode::AuthorizationQueryParametersError
            .because(format!("Error parsing the X-Amz-Credential parameter; {detail}"))
    };
    let missing = || {
        ErrorCode::AuthorizationQueryParametersError.because("Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
    };
    let get = |name: &str| find(name).ok_or_else(missing);
    if get("X-Amz-Algorithm")? != ALGORITHM {
        return Err(ErrorCode::AuthorizationQueryParametersError
            .because("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let (access_key, scope) = parse_credential(get("X-Amz-Credential")?, &malformed)?;
    let expires = get("X-Amz-Expires")?;
    let is_negative = expires.strip_prefix('-').and_then(names::number::<i64>).is_some();
    if is_negative {
        return Err(ErrorCode::AuthorizationQueryParametersError
            .because("X-Amz-Expires must be non-negative"));
    }
    let expires: i64 = names::number(expires).ok_or_else(|| {
        ErrorCode::AuthorizationQueryParametersError.because("X-Amz-Expires should be a number")
    })?;
    if expires > EXPIRES_MAX {
        return Err(ErrorCode::AuthorizationQueryParametersError.because(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    let time = parse_amz(get("X-Amz-Date")?).ok_or_else(|| {
        ErrorCode::AuthorizationQueryParametersError
            .because("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    Ok(PresentedCredentials {
        access_key,
        scope,
        signed_headers: get("X-Amz-SignedHeaders")?.split(';').map(str::to_owned).collect(),
        signature: get("X-Amz-Signature")?.to_owned(),
        time,
        expires: Some(expires),
    })
}

/// The canonical request, whose hash the signature covers.
fn canonical(
    parts: &Parts,
    path: &str,
    query: &[(String, String)],
    signed_headers: &[String],
    payload: &str,
) -> String {
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (names::encode(name), names::encode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut headers = String::new();
    for name in signed_headers {
        let values: Vec<String> = parts
            .headers
            .get_all(name.as_str())
            .iter()
            .map(|value| {
                let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
                text.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        headers.push_str(&format!("{name}:{}\n", values.join(",")));
    }
    format!(
        "{}\n{}\n{}\n{headers}\n{}\n{payload}",
        parts.method,
        names::encode_path(path),
        pairs.join("&"),
        signed_headers.join(";"),
    )
}

fn string_to_sign(time: &str, scope: &CredentialScope, canonical: &str) -> String {
    format!("{ALGORITHM}\n{time}\n{}\n{}", scope.text(), sha256_hex(canonical.as_bytes()))
}

impl PresentedCredentials {
    /// Verifies the signature of a request, without the body. `path` is decoded, `now` is in seconds since 1970,
    /// `region` is this server's. Checks in this order, and fails with the first error: the region, the time or
    /// expiry, the set of signed headers, the statement about the body, the signature (in constant time).
    pub fn verify(
        &self,
        parts: &Parts,
        path: &str,
        query: &[(String, String)],
        secret: SecretKey<'_>,
        now: i64,
        region: &str,
    ) -> Result<VerifiedRequest, S3Error> {
        if self.scope.region != region {
            let code = if self.expires.is_some() {
                ErrorCode::AuthorizationQueryParametersError
            } else {
                ErrorCode::AuthorizationHeaderMalformed
            };
            let message = format!(
                "The authorization header is malformed; the region '{}' is wrong; expecting '{region}'",
                self.scope.region
            );
            return Err(code.because(message).with("Region", region));
        }
        self.check_time(now)?;
        self.check_signed_headers(parts)?;
        let text = self.payload_text(parts, query)?;
        let payload = PayloadHash::parse(text)?;
        let canonical = canonical(parts, path, query, &self.signed_headers, text);
        let time = amz(self.time);
        let to_sign = string_to_sign(&time, &self.scope, &canonical);
        let kept = secret.derived.get(&self.scope);
        let key = kept.unwrap_or_else(|| self.scope.key(secret.secret));
        let wanted = hex::encode(hmac(&key, to_sign.as_bytes()));
        if !time.starts_with(&self.scope.date)
            || !bool::from(wanted.as_bytes().ct_eq(self.signature.as_bytes()))
        {
            return Err(S3Error::from(ErrorCode::SignatureDoesNotMatch)
                .with("AWSAccessKeyId", self.access_key.clone())
                .with("StringToSign", to_sign)
                .with("CanonicalRequest", canonical));
        }
        if kept.is_none() {
            secret.derived.keep(&self.scope, key);
        }
        Ok(VerifiedRequest { payload, signature: wanted, scope: self.scope.clone(), key, time })
    }

    /// Fails for a request whose time differs too much, and for a presigned request that has expired or begins later.
    fn check_time(&self, now: i64) -> Result<(), S3Error> {
        match self.expires {
            None if (now - self.time).abs() > SKEW => {
                Err(S3Error::from(ErrorCode::RequestTimeTooSkewed)
                    .with("RequestTime", amz(self.time))
                    .with("ServerTime", amz(now)))
            }
            Some(_) if self.time - now > SKEW => {
                Err(ErrorCode::AccessDenied.because("Request is not yet valid"))
            }
            Some(expires) if now > self.time + expires => Err(ErrorCode::AccessDenied
                .because("Request has expired")
                .with("X-Amz-Expires", expires.to_string())
                .with("Expires", amz(self.time + expires))
                .with("ServerTime", amz(now))),
            _ => Ok(()),
        }
    }

    /// The value of `x-amz-content-sha256` in the header or, for a presigned request, in the query. Without a value a
    /// presigned request has an unsigned body, and any other request fails. Fails for two different values.
    fn payload_text<'a>(
        &self,
        parts: &'a Parts,
        query: &'a [(String, String)],
    ) -> Result<&'a str, S3Error> {
        const NAME: &str = "x-amz-content-sha256";
        let in_header = text(&parts.headers, NAME)?;
        if self.expires.is_none() {
            return in_header.ok_or_else(|| {
                ErrorCode::InvalidRequest
                    .because("Missing required header for this request: x-amz-content-sha256")
            });
        }
        let mut in_query = query.iter().filter(|(name, _)| name.eq_ignore_ascii_case(NAME));
        let said = in_query.next().map(|(_, value)| value.as_str());
        let differs = |value: &str| Some(value) != said;
        if said.is_some() && in_header.is_some_and(differs)
            || in_query.any(|(_, value)| differs(value))
        {
            return Err(ErrorCode::InvalidArgument
                .because("x-amz-content-sha256 is given twice.")
                .with("ArgumentName", NAME));
        }
        Ok(in_header.or(said).unwrap_or("UNSIGNED-PAYLOAD"))
    }

    /// Fails with `AccessDenied` unless `host` and all headers that begin with `x-amz-` are signed, and with
    /// `SignatureDoesNotMatch` if a signed header is absent. A presigned request need not sign `x-amz-content-sha256`.
    fn check_signed_headers(&self, parts: &Parts) -> Result<(), S3Error> {
        let is_signed = |name: &str| self.signed_headers.iter().any(|signed| signed == name);
        let must = |name: &str| {
            name.starts_with("x-amz-")
                && !(self.expires.is_some() && name == "x-amz-content-sha256")
        };
        let unsigned = parts.headers.keys().map(|name| name.as_str()).filter(|name| must(name));
        let mut unsigned: Vec<&str> = unsigned.filter(|name| !is_signed(name)).collect();
        if !is_signed("host") {
            unsigned.push("host");
        }
        if !unsigned.is_empty() {
            return Err(ErrorCode::AccessDenied
                .because("There were headers present in the request which were not signed")
                .with("HeadersNotSigned", unsigned.join(", ")));
        }
        if self.signed_headers.iter().any(|name| !parts.headers.contains_key(name.as_str())) {
            return Err(ErrorCode::SignatureDoesNotMatch.into());
        }
        Ok(())
    }
}

/// Signs a request and returns the value of its header `Authorization`. `path` and `query` must be decoded. All headers
/// are signed, so they must be complete before; `host` must be among them. `None` if `x-amz-date` or
/// `x-amz-content-sha256` is missing or cannot be read.
pub fn sign(
    parts: &Parts,
    path: &str,
    query: &[(String, String)],
    access_key: &str,
    secret: &str,
    region: &str,
) -> Option<String> {
    let time = text(&parts.headers, "x-amz-date").ok()??;
    let payload = text(&parts.headers, "x-amz-content-sha256").ok()??;
    let scope = CredentialScope { date: time.get(..8)?.to_owned(), region: region.to_owned() };
    let mut signed: Vec<String> = parts.headers.keys().map(|name| name.to_string()).collect();
    signed.sort();
    let canonical = canonical(parts, path, query, &signed, payload);
    let to_sign = string_to_sign(time, &scope, &canonical);
    let signature = hex::encode(hmac(&scope.key(secret), to_sign.as_bytes()));
    Some(format!(
        "{ALGORITHM} Credential={access_key}/{},SignedHeaders={},Signature={signature}",
        scope.text(),
        signed.join(";")
    ))
}

/// Computes the signature of a chunk from the SHA-256 of its bytes. `previous` is the signature of the chunk before, or
/// of the request for the first chunk, so chunks cannot change their order.
pub fn chunk_signature(verified: &VerifiedRequest, previous: &str, chunk_sha256: &[u8]) -> String {
    let to_sign = format!(
        "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{previous}\n{EMPTY_SHA256}\n{}",
        verified.time,
        verified.scope.text(),
        hex::encode(chunk_sha256)
    );
    hex::encode(hmac(&verified.key, to_sign.as_bytes()))
}

/// Computes the signature of the trailers: a line `name:value` with LF for each, in the order of the body.
/// `previous` is the signature of the last chunk, which is empty.
pub fn trailer_signature(verified: &VerifiedRequest, previous: &str, trailers: &str) -> String {
    let to_sign = format!(
        "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{previous}\n{}",
        verified.time,
        verified.scope.text(),
        sha256_hex(trailers.as_bytes())
    );
    hex::encode(hmac(&verified.key, to_sign.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    const NOW: i64 = 1_369_353_600;

    fn get_object() -> Parts {
        // The first example of AWS's documentation.
        let request = http::Request::get("/test.txt")
            .header("host", "examplebucket.s3.amazonaws.com")
            .header("range", "bytes=0-9")
            .header("x-amz-content-sha256", EMPTY_SHA256)
            .header("x-amz-date", "20130524T000000Z")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
        request.body(()).unwrap().into_parts().0
    }

    fn verify(parts: &Parts, now: i64) -> Result<VerifiedRequest, S3Error> {
        let query = names::query(parts.uri.query().unwrap_or("")).unwrap();
        let presented = parse(parts, &query).unwrap().unwrap();
        let derived = DerivedKey::default();
        let secret = SecretKey { secret: SECRET, derived: &derived };
        let first = presented.verify(parts, parts.uri.path(), &query, secret, now, "us-east-1");
        assert_eq!(derived.get(&presented.scope).is_some(), first.is_ok());
        let again = presented.verify(parts, parts.uri.path(), &query, secret, now, "us-east-1");
        assert!(first == again, "the kept key verifies alike");
        first
    }

    #[test]
    fn the_documented_get_is_verified() {
        verify(&get_object(), NOW).unwrap();
    }

    #[test]
    fn the_documented_presigned_get_is_verified_until_it_expires() {
        let uri = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
        let request = http::Request::get(uri).header("host", "examplebucket.s3.amazonaws.com");
        let parts = request.body(()).unwrap().into_parts().0;
        verify(&parts, NOW + 86_400).unwrap();
        let expired = verify(&parts, NOW + 86_401).unwrap_err();
        assert_eq!(expired.code, ErrorCode::AccessDenied);
    }

    #[test]
    fn a_changed_request_is_refused() {
        let mut parts = get_object();
        parts.headers.insert("range", "bytes=0-8".parse().unwrap());
        assert_eq!(verify(&parts, NOW).unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
        let mut parts = get_object();
        parts.headers.insert("x-amz-meta-a", "b".parse().unwrap());
        assert_eq!(verify(&parts, NOW).unwrap_err().code, ErrorCode::AccessDenied);
        let parts = get_object();
        assert_eq!(verify(&parts, NOW + 901).unwrap_err().code, ErrorCode::RequestTimeTooSkewed);
    }

    #[test]
    fn what_is_signed_is_verified() {
        let request = http::Request::put("/a%20b?x=1&y")
            .header("host", "h")
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .header("x-amz-date", "20130524T000000Z");
        let mut parts = request.body(()).unwrap().into_parts().0;
        let query = names::query(parts.uri.query().unwrap()).unwrap();
        let signed = sign(&parts, "/a b", &query, "key", SECRET, "us-east-1").unwrap();
        parts.headers.insert("authorization", signed.parse().unwrap());
        let presented = parse(&parts, &query).unwrap().unwrap();
        let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
        presented.verify(&parts, "/a b", &query, secret, NOW, "us-east-1").unwrap();
    }
}
