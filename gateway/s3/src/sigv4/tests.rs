use http::request::Parts;

use super::*;
use crate::credentials::{self, RequestCredentials};
use crate::error::{ErrorCode, S3Error};
use crate::names;

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

fn presented<'a>(
    parts: &'a Parts,
    query: &'a [(String, String)],
) -> Result<PresentedCredentials<'a>, S3Error> {
    match credentials::parse(parts, query)? {
        Some(RequestCredentials::V4(presented)) => Ok(presented),
        other => panic!("{other:?}"),
    }
}

fn verify(parts: &Parts, now: i64) -> Result<VerifiedRequest, S3Error> {
    let query = names::query(parts.uri.query().unwrap_or("")).unwrap();
    let presented = presented(parts, &query).unwrap();
    let derived = DerivedKey::default();
    let secret = SecretKey { secret: SECRET, derived: &derived };
    let first = presented.verify(parts, parts.uri.path(), &query, secret, now, Some("us-east-1"));
    assert_eq!(derived.get(&presented.scope).is_some(), first.is_ok());
    let again = presented.verify(parts, parts.uri.path(), &query, secret, now, Some("us-east-1"));
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
    let presented = presented(&parts, &query).unwrap();
    let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
    presented.verify(&parts, "/a b", &query, secret, NOW, None).unwrap();
}

/// The documented GET with another header `Authorization`.
fn with_authorization(change: impl Fn(&str) -> String) -> Parts {
    let mut parts = get_object();
    let said = parts.headers["authorization"].to_str().unwrap().to_owned();
    parts.headers.insert("authorization", change(&said).parse().unwrap());
    parts
}

#[test]
fn a_header_that_cannot_be_read_is_refused() {
    for (from, to, code) in [
        (",Signature=", ",Signature=0,Signature=", ErrorCode::AuthorizationHeaderMalformed),
        (
            "SignedHeaders=",
            "SignedHeaders=host,SignedHeaders=",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        (
            "Credential=",
            "Credential=a/20130524/b/s3/aws4_request,Credential=",
            ErrorCode::AuthorizationHeaderMalformed,
        ),
        ("Credential=", "", ErrorCode::AuthorizationHeaderMalformed),
        ("SignedHeaders=", "", ErrorCode::AuthorizationHeaderMalformed),
        ("Signature=", "", ErrorCode::AuthorizationHeaderMalformed),
        ("20130524", "20130525", ErrorCode::AuthorizationHeaderMalformed),
        ("20130524", "2013-5-4", ErrorCode::AuthorizationHeaderMalformed),
        ("us-east-1", "", ErrorCode::AuthorizationHeaderMalformed),
        ("us-east-1", "us-west-1", ErrorCode::AuthorizationHeaderMalformed),
        ("/s3/", "/ec2/", ErrorCode::AuthorizationHeaderMalformed),
        ("aws4_request", "aws2_request", ErrorCode::AuthorizationHeaderMalformed),
        ("host;", "", ErrorCode::AccessDenied),
        ("host;", "Host;", ErrorCode::AccessDenied),
        (";x-amz-date", "", ErrorCode::AccessDenied),
        ("host;", "host;x-amz-meta-a;", ErrorCode::SignatureDoesNotMatch),
        ("host;", "host;host;host;host;host;", ErrorCode::SignatureDoesNotMatch),
        ("host;range", "range;host", ErrorCode::SignatureDoesNotMatch),
        ("Signature=f0", "Signature=F0", ErrorCode::SignatureDoesNotMatch),
        ("Signature=f0", "Signature=\u{7f}", ErrorCode::InvalidArgument),
    ] {
        let mut parts = get_object();
        let said = parts.headers["authorization"].to_str().unwrap().replacen(from, to, 1);
        let Ok(value) = said.parse() else { continue };
        parts.headers.insert("authorization", value);
        let query = [];
        let found = presented(&parts, &query).and_then(|presented| {
            let secret = SecretKey { secret: SECRET, derived: &DerivedKey::default() };
            presented.verify(&parts, "/test.txt", &query, secret, NOW, Some("us-east-1"))
        });
        assert_eq!(found.unwrap_err().code, code, "{from} -> {to}");
    }
    let many = "a;".repeat(8000);
    let parts = with_authorization(|said| said.replace("host;", &format!("{many}host;")));
    assert_eq!(verify(&parts, NOW).unwrap_err().code, ErrorCode::SignatureDoesNotMatch);
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let parts = with_authorization(|said| said.replace("Signature=f0", "Signature=f1"));
    let error = verify(&parts, NOW).unwrap_err();
    let names: Vec<&str> = error.extra.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "AWSAccessKeyId",
            "StringToSign",
            "SignatureProvided",
            "StringToSignBytes",
            "CanonicalRequest",
            "CanonicalRequestBytes"
        ]
    );
    // The texts of AWS's documentation.
    assert_eq!(
        error.extra[1].1,
        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
    );
    assert!(
        error.extra[4].1.starts_with("GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\n")
    );
    assert!(error.extra[5].1.starts_with("47 45 54 0a 2f 74"));
}

#[test]
fn the_host_of_the_target_is_signed_without_a_header() {
    let signed = {
        let request = http::Request::get("/a")
            .header("host", "bucket.localhost")
            .header("x-amz-content-sha256", EMPTY_SHA256)
            .header("x-amz-date", "20130524T000000Z");
        let parts = request.body(()).unwrap().into_parts().0;
        sign(&parts, "/a", &[], "key", SECRET, "us-east-1").unwrap()
    };
    for (target, is_right) in
        [("http://bucket.localhost/a", true), ("http://other.localhost/a", false)]
    {
        let request = http::Request::get(target)
            .header("x-amz-content-sha256", EMPTY_SHA256)
            .header("x-amz-date", "20130524T000000Z")
            .header("authorization", &signed);
        let parts = request.body(()).unwrap().into_parts().0;
        assert_eq!(verify(&parts, NOW).is_ok(), is_right, "{target}");
    }
}
