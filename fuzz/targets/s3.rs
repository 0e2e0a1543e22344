//! Decoders of `s3`: documents, chunked bodies, heads and values of headers. Each function takes one input and panics
//! if the decoder breaks its contract.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method};
use s3::checksum::{ChecksumAlgorithm, base64, etag, parse_content_md5, parse_etag};
use s3::chunked::ChunkedDecoder;
use s3::credentials::{self, RequestCredentials};
use s3::document::{
    CompleteMultipartUpload, CreateBucketConfiguration, Delete, NotificationConfiguration, Tagging,
    VersioningConfiguration,
};
use s3::error::{ErrorCode, S3Error};
use s3::host::Domains;
use s3::operation::{self, RequestParts, S3Resource};
use s3::sigv2::{self, PresentedV2};
use s3::sigv4::{
    ChunkSigner, CredentialScope, DerivedKey, PayloadHash, SecretKey, VerifiedRequest,
};
use s3::xml::element::{XmlElement, parse};
use s3::xml::{self, XmlWriter};
use s3::{escape, headers, names, time};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
/// 2013-05-24T00:00:00Z, the time of the examples in the documentation of signatures.
const NOW: i64 = 1_369_353_600;

/// Splits off the first `N` bytes, which choose what is done with the rest. Missing bytes are 0.
fn choices<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    let mut chosen = [0; N];
    let (head, rest) = data.split_at(data.len().min(N));
    chosen[..head.len()].copy_from_slice(head);
    (chosen, rest)
}

/// The depth of an element, and the bytes of all names and texts.
fn measure(element: &XmlElement) -> (usize, usize) {
    let own = element.text.len() + element.name.len();
    let of_children = element.children.iter().map(measure);
    let (depth, text) = of_children.fold((0, own), |sum, one| (sum.0.max(one.0), sum.1 + one.1));
    (depth + 1, text)
}

/// Reads a document as elements and as every type that requests have. A document stays within its bounds, and one that
/// is written again is read as before.
pub fn xml(data: &[u8]) {
    if let Some(element) = parse(data) {
        let (depth, text) = measure(&element);
        assert!(depth <= 8 && text <= data.len(), "depth {depth}, {text} bytes of text");
    }
    let _ = xml::read::<Delete>(data);
    let _ = xml::read::<CompleteMultipartUpload>(data);
    let _ = xml::read::<CreateBucketConfiguration>(data);
    let _ = xml::read::<VersioningConfiguration>(data);
    if let Ok(tags) = xml::read::<Tagging>(data) {
        let text = xml::write(&tags).unwrap();
        assert_eq!(xml::read::<Tagging>(text.as_bytes()), Ok(tags));
    }
    if let Ok(events) = xml::read::<NotificationConfiguration>(data) {
        let text = xml::write(&events).unwrap();
        let again = xml::read::<NotificationConfiguration>(text.as_bytes()).unwrap();
        assert_eq!(again.topics, events.topics);
        assert_eq!(again.queues, events.queues);
        assert_eq!(again.functions, events.functions);
    }
}

fn verified(payload: PayloadHash) -> VerifiedRequest {
    let scope = CredentialScope { date: "20130524", region: "us-east-1" };
    let signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into();
    let signer = ChunkSigner::new(signature, &scope, scope.key(SECRET), "20130524T000000Z");
    let chunk_signer = payload.is_signed_in_chunks().then_some(signer);
    VerifiedRequest { payload, is_presigned: false, chunk_signer }
}

type Decoded = Result<(Vec<u8>, Vec<(String, String)>), ErrorCode>;

fn decode(payload: PayloadHash, mut rest: Bytes, expected: u64, split: usize) -> Decoded {
    let mut decoder = ChunkedDecoder::new(verified(payload), expected);
    let mut out: Vec<Bytes> = Vec::new();
    while !rest.is_empty() {
        let fed = decoder.feed(rest.split_to(split.min(rest.len())), &mut out);
        let decoded: usize = out.iter().map(Bytes::len).sum();
        assert!(decoded as u64 <= expected, "more was decoded than was announced");
        fed.map_err(|error| error.code)?;
    }
    let trailers = decoder.finish().map_err(|error| error.code)?;
    Ok((out.concat(), trailers))
}

/// Decodes a chunked body: bytes 0 and 1 of the input are the kind of body and the length of pieces, bytes 2 and 3 the
/// decoded length that is announced. The result never depends on the pieces.
pub fn chunked(data: &[u8]) {
    let ([kind, split, low, high], body) = choices(data);
    let payload = [
        PayloadHash::StreamingUnsignedTrailer,
        PayloadHash::StreamingSigned,
        PayloadHash::StreamingSignedTrailer,
    ][usize::from(kind) % 3];
    let body = Bytes::copy_from_slice(body);
    let expected = u64::from(u16::from_le_bytes([low, high]));
    let whole = decode(payload, body.clone(), expected, usize::MAX);
    let pieces = decode(payload, body.clone(), expected, 1 + usize::from(split));
    assert_eq!(whole, pieces, "pieces of {} bytes", 1 + usize::from(split));
    if let Ok((decoded, trailers)) = whole {
        assert_eq!(decoded.len() as u64, expected);
        assert!(trailers.len() <= body.len());
    }
}

/// Makes the head of a request of lines: method and target, then headers. `None` for bytes that are refused before.
fn head_of(data: &[u8]) -> Option<Parts> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = std::str::from_utf8(lines.next()?).ok()?;
    let (method, target) = first.split_once(' ')?;
    let request = http::Request::builder().method(Method::from_bytes(method.as_bytes()).ok()?);
    let mut parts = request.uri(target).body(()).ok()?.into_parts().0;
    for line in lines.take(100) {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        let value = HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        parts.headers.append(HeaderName::from_bytes(name).ok()?, value);
    }
    Some(parts)
}

fn verify(
    presented: &RequestCredentials<'_>,
    parts: &Parts,
    path: &str,
    query: &[(String, String)],
) -> Result<VerifiedRequest, S3Error> {
    let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
    match presented {
        RequestCredentials::V4(presented) => {
            presented.verify(parts, path, query, secret, NOW, Some("us-east-1"))
        }
        RequestCredentials::V2(presented) => presented.verify(parts, None, query, SECRET, NOW),
    }
}

/// Does with a head all that is done before a handler is called: headers, path, query, signature and operation. A
/// verified signature needs the secret, so only heads of the corpus pass; no other may mean the same.
pub fn head(data: &[u8]) {
    let Some(mut parts) = head_of(data) else { return };
    let _ = headers::check_text(&parts.headers);
    let Ok(path) = names::decode(parts.uri.path()) else { return };
    let Ok(query) = names::query(parts.uri.query().unwrap_or_default()) else { return };
    for (name, value) in &query {
        assert_eq!(names::decode(&names::encode(name)).as_ref(), Ok(name));
        assert_eq!(names::decode(&names::encode_path(value)).as_ref(), Ok(value));
    }
    if let Ok(Some(presented)) = credentials::parse(&parts, &query) {
        let _ = verify(&presented, &parts, &path, &query);
    }
    let _ = headers::add_from_query(&mut parts.headers, &query);
    let _ = headers::check_token(&parts.headers);
    for name in ["range", "if-match", "content-type", "x-amz-copy-source", "x-amz-meta-a"] {
        let _ = (headers::text(&parts.headers, name), headers::stored(&parts.headers, name));
    }
    let (bucket, key) = path.trim_start_matches('/').split_once('/').unwrap_or((&path, ""));
    let _ = names::check_bucket(bucket);
    let resource = if key.is_empty() { S3Resource::Bucket } else { S3Resource::Object };
    for resource in [resource, S3Resource::Service] {
        let method = parts.method.as_str();
        let request = RequestParts { method, resource, query: &query, headers: &parts.headers };
        let found = operation::find(&request);
        if let Ok(decided) = operation::decide(&request) {
            assert_eq!(Some(decided.name), found.map(|found| found.name));
        }
    }
}

/// Reads a text as each value that headers, queries and documents contain. A value that is accepted has one text, and
/// is told as it was given.
pub fn values(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for algorithm in ChecksumAlgorithm::ALL {
        if let Ok(digest) = algorithm.parse(text) {
            assert_eq!(digest.len(), algorithm.digest_len());
            assert_eq!(base64(&digest), text.trim(), "two texts for one digest");
        }
    }
    if let Ok(digest) = parse_content_md5(text) {
        assert_eq!(base64(&digest), text.trim());
    }
    if let Some((md5, parts)) = parse_etag(text) {
        assert_eq!(parse_etag(&etag(&md5, parts)), Some((md5, parts)));
    }
    let _ = ChecksumAlgorithm::named(text);
    if let Some(seconds) = time::parse_any(text) {
        let _ = (time::amz(seconds), time::http(seconds.saturating_mul(1_000_000)));
    }
    if let Some(seconds) = time::parse_amz(text) {
        assert_eq!(time::parse_amz(&time::amz(seconds)), Some(seconds));
    }
    if let Some(number) = names::number::<u64>(text) {
        assert_eq!(number.to_string(), text.trim_start_matches('0').to_owned().max("0".into()));
    }
    let _ = (names::hex_number(text), names::check_bucket(text), escape::escape(text));
    let mut writer = XmlWriter::new("Root");
    writer.text("Text", text);
    let written = writer.finish("Root");
    if let Some(root) = parse(written.as_bytes()) {
        assert_eq!(root.children[0].text, text, "a text is read as it was written");
    }
}

/// A request with a signature of version 2, as the server sees it.
#[derive(Clone)]
struct SignedV2 {
    parts: Parts,
    bucket: Option<String>,
    query: Vec<(String, String)>,
}

/// Names of parameters that a signature of version 2 must cover: taken away or changed, each makes another request.
const COVERED: [&str; 16] = [
    "acl",
    "cors",
    "delete",
    "lifecycle",
    "location",
    "notification",
    "partNumber",
    "policy",
    "response-content-disposition",
    "response-content-type",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "website",
];

impl SignedV2 {
    /// Verifies the signature, if the request has one of version 2. Fails for a request that is refused for its headers.
    fn verify(&self) -> Option<Result<VerifiedRequest, S3Error>> {
        let Ok(Some(RequestCredentials::V2(presented))) =
            credentials::parse(&self.parts, &self.query)
        else {
            return None;
        };
        headers::check_text(&self.parts.headers).ok()?;
        headers::add_from_query(&mut self.parts.headers.clone(), &self.query).ok()?;
        Some(presented.verify(&self.parts, self.bucket.as_deref(), &self.query, SECRET, NOW))
    }

    fn is_right(&self) -> bool {
        matches!(self.verify(), Some(Ok(_)))
    }

    /// Signs the request with the string to sign that the refusal of a wrong signature tells. `None` for a request that is
    /// refused for another reason.
    fn signed(mut self) -> Option<Self> {
        let refused = self.verify()?.err()?;
        if refused.code != ErrorCode::SignatureDoesNotMatch {
            return None;
        }
        let told = |wanted: &str| refused.extra.iter().find(|(name, _)| *name == wanted);
        let (_, bytes) = told("StringToSignBytes")?;
        let bytes = bytes.split(' ').map(|byte| u8::from_str_radix(byte, 16).unwrap());
        let to_sign = String::from_utf8(bytes.collect()).ok()?;
        let signature = sigv2::signature(SECRET, &to_sign);
        if let Some((_, place)) = self.query.iter_mut().find(|(name, _)| name == "Signature") {
            *place = signature;
        } else {
            let said = text_of(&self.parts, "authorization")?;
            let PresentedV2 { access_key, .. } =
                sigv2::of_header(said.strip_prefix("AWS ")?).ok()?;
            let said = format!("AWS {access_key}:{signature}");
            self.parts.headers.insert("authorization", said.parse().ok()?);
        }
        Some(self)
    }

    /// The request with another query.
    fn with_query(&self, change: impl FnOnce(&mut Vec<(String, String)>)) -> Self {
        let mut other = self.clone();
        change(&mut other.query);
        other
    }
}

fn text_of<'a>(parts: &'a Parts, name: &str) -> Option<&'a str> {
    parts.headers.get(name)?.to_str().ok()
}

/// Signs a request with version 2, in its header or its query, and changes it in each way that must be noticed. The input
/// is a head as that of [`head`], with any text for a signature. The host names a bucket below `localhost`.
pub fn sigv2(data: &[u8]) {
    // A target without a path is a host, which these requests do not have.
    let Some(parts) = head_of(data).filter(|parts| parts.uri.path().starts_with('/')) else {
        return;
    };
    let Ok(query) = names::query(parts.uri.query().unwrap_or_default()) else { return };
    let host = text_of(&parts, "host").unwrap_or_default();
    let bucket = Domains::default().bucket_of(host);
    let Some(signed) = (SignedV2 { parts, bucket, query }).signed() else { return };
    assert!(signed.is_right(), "a signature of the string to sign is wrong");
    let refused = |other: &SignedV2, what: &str| assert!(!other.is_right(), "{what}");
    let mut other = signed.clone();
    other.parts.method = if signed.parts.method == "PUT" { Method::GET } else { Method::PUT };
    refused(&other, "another method");
    let mut other = signed.clone();
    let path = format!("{}x", signed.parts.uri.path());
    if let Ok(uri) = path.parse() {
        other.parts.uri = uri;
        refused(&other, "another path");
    }
    let mut other = signed.clone();
    other.bucket = Some(signed.bucket.as_ref().map_or("x".into(), |bucket| format!("{bucket}x")));
    refused(&other, "another bucket");
    for name in signed.parts.headers.keys() {
        let name = name.as_str();
        if !name.starts_with("x-amz-") && !["content-md5", "content-type"].contains(&name) {
            continue;
        }
        let mut other = signed.clone();
        other.parts.headers.insert(name.parse::<HeaderName>().unwrap(), "another".parse().unwrap());
        assert!(
            !other.is_right() || text_of(&signed.parts, name) == Some("another"),
            "another {name}"
        );
    }
    for header in ["x-amz-acl", "x-amz-meta-more", "x-amz-copy-source"] {
        let mut other = signed.clone();
        if other.parts.headers.insert(header, "value".parse().unwrap()).is_none() {
            let in_query = |(name, _): &(String, String)| name.eq_ignore_ascii_case(header);
            assert!(!other.is_right() || signed.query.iter().any(in_query), "a new {header}");
        }
    }
    for name in COVERED {
        let more = signed.with_query(|query| query.push((name.into(), "x".into())));
        refused(&more, "one more parameter");
        let Some(at) = signed.query.iter().position(|(known, _)| known == name) else { continue };
        refused(&signed.with_query(|query| drop(query.remove(at))), "one parameter less");
        refused(&signed.with_query(|query| query[at].1.push('x')), "another value");
    }
}
