//! What comes over the wire is believed nothing: mutated bodies, documents, signatures and checksums are
//! refused, or mean what they meant before.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::Bytes;
use http::HeaderValue;
use http::request::Parts;
use s3::checksum::{ChecksumAlgorithm, base64, etag, parse_content_md5, parse_etag};
use s3::chunked::ChunkedDecoder;
use s3::credentials::{self, RequestCredentials};
use s3::document::{CompleteMultipartUpload, CreateBucketConfiguration, Delete, Tagging};
use s3::error::ErrorCode;
use s3::names;
use s3::sigv4::{
    self, ChunkSigner, CredentialScope, DerivedKey, EMPTY_SHA256, PayloadHash, SecretKey,
    VerifiedRequest,
};
use s3::xml::element::{XmlElement, parse};
use s3::xml::{self, XmlDocument};
use sha2::{Digest, Sha256};

#[path = "../../../ingest/src/fuzz.rs"]
mod fuzz;

use fuzz::{Mutator, rounds};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const NOW: i64 = 1_369_353_600;
const CHUNKED: [PayloadHash; 3] = [
    PayloadHash::StreamingSigned,
    PayloadHash::StreamingSignedTrailer,
    PayloadHash::StreamingUnsignedTrailer,
];

fn verified(payload: PayloadHash) -> VerifiedRequest {
    let scope = CredentialScope { date: "20130524", region: "us-east-1" };
    let signature = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into();
    let signer = ChunkSigner::new(signature, &scope, scope.key(SECRET), "20130524T000000Z");
    let chunk_signer = payload.is_signed_in_chunks().then_some(signer);
    VerifiedRequest { payload, is_presigned: false, chunk_signer }
}

/// A body as clients send it, in chunks of the given lengths.
fn encoded(payload: PayloadHash, data: &[u8], lens: &[usize]) -> Vec<u8> {
    let verified = verified(payload);
    let signer = verified.chunk_signer.as_ref();
    let mut previous = signer.map_or_else(String::new, |signer| signer.signature.clone());
    let mut body = Vec::new();
    let mut rest = data;
    for len in lens.iter().chain([&0]) {
        let (chunk, others) = rest.split_at((*len).min(rest.len()));
        rest = others;
        let extension = if let Some(signer) = signer {
            previous = signer.chunk(&previous, &Sha256::digest(chunk));
            format!(";chunk-signature={previous}")
        } else {
            String::new()
        };
        body.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        body.extend_from_slice(chunk);
        body.extend_from_slice(if chunk.is_empty() { b"" } else { b"\r\n" });
    }
    assert!(rest.is_empty());
    if payload != PayloadHash::StreamingSigned {
        body.extend_from_slice(b"x-amz-checksum-crc32c:sOO8/Q==\r\n");
    }
    if let (PayloadHash::StreamingSignedTrailer, Some(signer)) = (payload, signer) {
        let text = "x-amz-checksum-crc32c:sOO8/Q==\n";
        let signature = signer.trailer(&previous, text);
        body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body
}

type Decoded = Result<(Vec<u8>, Vec<(String, String)>), ErrorCode>;

fn decode(payload: PayloadHash, body: &Bytes, expected: u64, split: usize) -> Decoded {
    let mut decoder = ChunkedDecoder::new(verified(payload), expected);
    let (mut out, mut rest) = (Vec::new(), body.clone());
    while !rest.is_empty() {
        let fed = decoder.feed(rest.split_to(split.min(rest.len())), &mut out);
        let decoded: usize = out.iter().map(Bytes::len).sum();
        assert!(decoded as u64 <= expected, "more was handed on than was announced");
        fed.map_err(|error| error.code)?;
    }
    let trailers = decoder.finish().map_err(|error| error.code)?;
    Ok((out.concat(), trailers))
}

#[test]
fn mutated_chunked_bodies_are_refused_or_mean_the_same() {
    let mut mutator = Mutator::new(20);
    let data: Vec<u8> = (0..400u32).map(|n| (n * 7) as u8).collect();
    let lens: [&[usize]; 3] = [&[400], &[1, 99, 300], &[128, 128, 128, 16]];
    for payload in CHUNKED {
        let seeds = lens.map(|lens| encoded(payload, &data, lens));
        let wanted = decode(payload, &seeds[0].clone().into(), 400, 1000).unwrap();
        assert_eq!(wanted.0, data);
        assert_eq!(wanted.1.len(), usize::from(payload != PayloadHash::StreamingSigned));
        let is_signed = payload != PayloadHash::StreamingUnsignedTrailer;
        let mut accepted = 0;
        for _ in 0..rounds(4000) {
            let body = Bytes::from(mutator.mutated(&seeds));
            let expected = if mutator.below(8) == 0 { mutator.edge(400) } else { 400 };
            let whole = decode(payload, &body, expected, usize::MAX);
            let split = 1 + mutator.below(9);
            let pieces = decode(payload, &body, expected, split);
            assert_eq!(whole, pieces, "split into pieces of {split}");
            if let Ok(found) = whole {
                accepted += 1;
                assert!(!is_signed || found == wanted, "a signed body was changed");
            }
        }
        assert!(is_signed || accepted > 10, "{accepted} passed");
    }
}

#[test]
fn lines_and_trailers_of_a_chunked_body_are_bounded() {
    let payload = PayloadHash::StreamingUnsignedTrailer;
    let line = vec![b'a'; 1 << 20];
    assert_eq!(decode(payload, &line.into(), 5, 4096), Err(ErrorCode::IncompleteBody));
    let trailers = format!("0\r\n{}\r\n", "x-amz-meta-a:bbbbbbbbbbbbbbbbbbb\r\n".repeat(1000));
    assert_eq!(decode(payload, &trailers.into(), 0, 4096), Err(ErrorCode::IncompleteBody));
    let huge = Bytes::from_static(b"ffffffffffffffff\r\nabc");
    assert_eq!(decode(payload, &huge, 2, 1), Err(ErrorCode::IncompleteBody));
    let longer = Bytes::from_static(b"10000000000000000\r\nabc");
    assert_eq!(decode(payload, &longer, 5, 1), Err(ErrorCode::IncompleteBody));
}

/// How deep an element goes, how many there are, and how much text they have.
fn measure(element: &XmlElement) -> (usize, usize, usize) {
    let mut found = (0, 0, element.text.len() + element.name.len());
    for (depth, count, text) in element.children.iter().map(measure) {
        found = (found.0.max(depth), found.1 + count, found.2 + text);
    }
    (found.0 + 1, found.1 + 1, found.2)
}

#[test]
fn mutated_documents_stay_within_their_bounds() {
    let seeds: [&[u8]; 5] = [
        b"<?xml version=\"1.0\"?><Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Object><Key>a&amp;b&#10;</Key></Object><Quiet>true</Quiet></Delete>",
        b"<Delete><Object><Key><![CDATA[a<b]]></Key><VersionId>3</VersionId></Object></Delete>",
        b"<Delete><!-- a --><A><B><C><D><E><F><G/></F></E></D></C></B></A></Delete>",
        b"<s:Delete xmlns:s=\"x\"><s:A b='c'>&lt;&gt;&quot;&apos;</s:A></s:Delete>",
        b"<!DOCTYPE a [<!ENTITY b \"cc\">]><Delete>&b;</Delete>",
    ];
    let mut mutator = Mutator::new(21);
    let mut accepted = 0;
    for _ in 0..rounds(20_000) {
        let bytes = mutator.mutated(&seeds);
        if let Some(element) = parse(&bytes) {
            let (depth, _, text) = measure(&element);
            assert!(depth <= 8 && text <= bytes.len(), "depth {depth}, {text} bytes of text");
            accepted += 1;
        }
    }
    assert!(accepted > 100, "the mutations are too coarse: {accepted} passed");
}

/// Reads a mutated document as a type; true for one that is still of the type.
fn is_still<T: XmlDocument + serde::de::DeserializeOwned>(bytes: &[u8]) -> bool {
    xml::read::<T>(bytes).is_ok()
}

#[test]
fn mutated_documents_are_of_their_type_or_refused() {
    let seeds: [&[u8]; 4] = [
        b"<Delete><Object><Key>a</Key><VersionId>3</VersionId><ETag>\"b\"</ETag></Object><Quiet>true</Quiet></Delete>",
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag><ChecksumCRC32>b</ChecksumCRC32></Part></CompleteMultipartUpload>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag><Tag><Key>c</Key><Value/></Tag></TagSet></Tagging>",
        b"<CreateBucketConfiguration><LocationConstraint>a</LocationConstraint></CreateBucketConfiguration>",
    ];
    let mut mutator = Mutator::new(22);
    let mut accepted = [0; 4];
    for _ in 0..rounds(20_000) {
        let bytes = mutator.mutated(&seeds);
        accepted[0] += usize::from(is_still::<Delete>(&bytes));
        accepted[1] += usize::from(is_still::<CompleteMultipartUpload>(&bytes));
        if let Ok(tags) = xml::read::<Tagging>(&bytes) {
            let again = xml::read::<Tagging>(xml::write(&tags).unwrap().as_bytes());
            assert_eq!(again, Ok(tags), "a document is read as it was written");
            accepted[2] += 1;
        }
        accepted[3] += usize::from(is_still::<CreateBucketConfiguration>(&bytes));
    }
    assert!(accepted.iter().all(|count| *count > 10), "{accepted:?} passed");
}

#[test]
fn empty_elements_count_like_others() {
    // They once counted and were not refused: four bytes of a document made an element of a hundred.
    let many = |element: &str, count| format!("<Delete>{}</Delete>", element.repeat(count));
    for element in ["<a/>", "<a></a>"] {
        assert!(parse(many(element, 199_999).as_bytes()).is_some(), "{element}");
        assert!(parse(many(element, 200_000).as_bytes()).is_none(), "{element}");
    }
    let deep = |inner| format!("{}{inner}{}", "<Delete>".repeat(7), "</Delete>".repeat(7));
    for (inner, is_allowed) in
        [("<a/>", true), ("<a></a>", true), ("<a><b/></a>", false), ("<a><b></b></a>", false)]
    {
        assert_eq!(parse(deep(inner).as_bytes()).is_some(), is_allowed, "{inner}");
    }
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::get(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The facts that the signature proves. The key's name is not under the signature: it chooses the secret, which is given
/// here.
fn verify(
    parts: &Parts,
    path: &str,
    query: &[(String, String)],
) -> Option<(String, VerifiedRequest)> {
    let credentials = credentials::parse(parts, query).ok()??;
    let RequestCredentials::V4(presented) = credentials else {
        let RequestCredentials::V2(presented) = credentials else { return None };
        let verified = presented.verify(parts, None, query, SECRET, NOW).ok()?;
        return Some((String::new(), verified));
    };
    let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
    let verified = presented.verify(parts, path, query, secret, NOW, None).ok()?;
    Some((presented.scope.text(), verified))
}

#[test]
fn mutated_authorization_headers_are_refused_or_mean_the_same() {
    let mut parts = request(
        "/a",
        &[
            ("host", "h"),
            ("x-amz-content-sha256", EMPTY_SHA256),
            ("x-amz-date", "20130524T000000Z"),
        ],
    );
    let authorization = sigv4::sign(&parts, "/a", &[], "key", SECRET, "us-east-1").unwrap();
    parts.headers.insert("authorization", authorization.parse().unwrap());
    let wanted = verify(&parts, "/a", &[]).unwrap();
    let mut mutator = Mutator::new(22);
    let mut accepted = 0;
    for _ in 0..rounds(8000) {
        let mut other = parts.clone();
        let name = ["authorization", "authorization", "x-amz-date", "x-amz-content-sha256"]
            [mutator.below(4)];
        let value = mutator.mutated(&[parts.headers[name].as_bytes(), authorization.as_bytes()]);
        let Ok(value) = HeaderValue::from_bytes(&value) else { continue };
        other.headers.insert(name, value);
        if let Some(found) = verify(&other, "/a", &[]) {
            assert_eq!(found, wanted);
            accepted += 1;
        }
    }
    assert!(accepted > 10, "the mutations are too coarse: {accepted} passed");
}

#[test]
fn mutated_presigned_queries_are_refused_or_mean_the_same() {
    let text = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    let parts = request("/test.txt", &[("host", "examplebucket.s3.amazonaws.com")]);
    let wanted = verify(&parts, "/test.txt", &names::query(text).unwrap()).unwrap();
    let mut mutator = Mutator::new(23);
    let mut accepted = 0;
    for _ in 0..rounds(8000) {
        let bytes = mutator.mutated(&[text]);
        let Ok(text) = String::from_utf8(bytes) else { continue };
        let Ok(query) = names::query(&text) else { continue };
        if let Some(found) = verify(&parts, "/test.txt", &query) {
            assert_eq!(found, wanted);
            accepted += 1;
        }
    }
    assert!(accepted > 10, "the mutations are too coarse: {accepted} passed");
}

#[test]
fn mutated_requests_of_version_2_are_refused_or_mean_the_same() {
    let authorization = "AWS AKIAIOSFODNN7EXAMPLE:Rnv0wcudspwfl6t5H/Uug16k0w0=";
    let query = "acl&versionId=7&Expires=1369353700&AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=J21p9MCJ6KgJeiJRanUB8oKDQK4%3D";
    let in_header = |date: &[u8], authorization: &[u8]| {
        let mut parts = request("/a/b?acl", &[("host", "h"), ("x-amz-meta-a", "b")]);
        for (name, value) in [("date", date), ("authorization", authorization)] {
            parts.headers.insert(name, HeaderValue::from_bytes(value).ok()?);
        }
        verify(&parts, "", &names::query("acl").unwrap())
    };
    let in_query =
        |query: &str| verify(&request("/a/b", &[("host", "h")]), "", &names::query(query).ok()?);
    let date = "Fri, 24 May 2013 00:00:00 GMT";
    assert!(in_header(date.as_bytes(), authorization.as_bytes()).is_some());
    let wanted = in_query(query);
    assert!(wanted.is_some());
    let mut mutator = Mutator::new(26);
    let mut accepted = [0; 2];
    for _ in 0..rounds(8000) {
        let mutated = mutator.mutated(&[authorization.as_bytes(), date.as_bytes()]);
        accepted[0] += usize::from(in_header(date.as_bytes(), &mutated).is_some());
        accepted[0] += usize::from(in_header(&mutated, authorization.as_bytes()).is_some());
        let Ok(mutated) = String::from_utf8(mutator.mutated(&[query])) else { continue };
        if let Some(found) = in_query(&mutated) {
            assert_eq!(Some(found), wanted);
            accepted[1] += 1;
        }
    }
    assert!(accepted.iter().all(|count| *count > 5), "{accepted:?} passed");
}

#[test]
fn mutated_checksums_and_entity_tags_are_refused_or_have_one_meaning() {
    let digests =
        ChecksumAlgorithm::ALL.map(|algorithm| base64(&vec![0xa5; algorithm.digest_len()]));
    let md5 = base64(&[0xa5; 16]);
    let tags = [etag(&[0xa5; 16], 0), etag(&[0xa5; 16], 10_000)];
    let mut mutator = Mutator::new(24);
    for _ in 0..rounds(8000) {
        let text = String::from_utf8_lossy(&mutator.mutated(&digests)).into_owned();
        for algorithm in ChecksumAlgorithm::ALL {
            if let Ok(digest) = algorithm.parse(&text) {
                assert_eq!(digest.len(), algorithm.digest_len());
                assert_eq!(base64(&digest), text.trim(), "two texts for one digest");
            }
        }
        let text = String::from_utf8_lossy(&mutator.mutated(&[&md5])).into_owned();
        if let Ok(digest) = parse_content_md5(&text) {
            assert_eq!(base64(&digest), text.trim());
        }
        let text = String::from_utf8_lossy(&mutator.mutated(&tags)).into_owned();
        if let Some((md5, parts)) = parse_etag(&text) {
            assert_eq!(parse_etag(&etag(&md5, parts)), Some((md5, parts)));
        }
        let _ = (names::query(&text), names::decode(&text), names::check_bucket(&text));
        let _ = ChecksumAlgorithm::named(&text);
    }
}

#[test]
fn mutated_times_never_panic() {
    let seeds = ["20130524T000000Z", "Fri, 24 May 2013 00:00:00 GMT", "2013-05-24T00:00:00+02:00"];
    let mut mutator = Mutator::new(25);
    for _ in 0..rounds(8000) {
        let text = String::from_utf8_lossy(&mutator.mutated(&seeds)).into_owned();
        if let Some(seconds) = s3::time::parse_any(&text) {
            let _ = (s3::time::amz(seconds), s3::time::http(seconds.saturating_mul(1_000_000)));
        }
        if let Some(seconds) = s3::time::parse_amz(&text) {
            assert_eq!(s3::time::parse_amz(&s3::time::amz(seconds)), Some(seconds), "{text}");
        }
        let _ = (s3::time::xml(mutator.next() as i64), s3::time::amz(mutator.next() as i64));
    }
}
