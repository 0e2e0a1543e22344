use http::request::Parts;

use super::*;
use crate::credentials::{self, RequestCredentials};
use crate::error::{ErrorCode, S3Error};
use crate::names;
use crate::sigv4::{PayloadHash, VerifiedRequest};

// The examples of AWS's documentation.
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const BUCKET: &str = "awsexamplebucket1";

fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn verify(parts: &Parts, bucket: Option<&str>, now: &str) -> Result<VerifiedRequest, S3Error> {
    let query = names::query(parts.uri.query().unwrap_or("")).unwrap();
    let now = crate::time::parse_mail(now).unwrap();
    match credentials::parse(parts, &query)? {
        Some(RequestCredentials::V2(presented)) => {
            presented.verify(parts, bucket, &query, SECRET, now)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_documented_requests_are_verified() {
    let date = "Tue, 27 Mar 2007 19:36:42 +0000";
    for (method, target, headers, signature) in [
        ("GET", "/photos/puppy.jpg", &[("date", date)][..], "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="),
        (
            "PUT",
            "/photos/puppy.jpg",
            &[
                ("content-type", "image/jpeg"),
                ("content-length", "94328"),
                ("date", "Tue, 27 Mar 2007 21:15:45 +0000"),
            ],
            "iqRzw+ileNPu1fhspnRs8nOjjIA=",
        ),
        (
            "GET",
            "/?prefix=photos&max-keys=50&marker=puppy",
            &[("user-agent", "Mozilla/5.0"), ("date", "Tue, 27 Mar 2007 19:42:41 +0000")],
            "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
        ),
        (
            "GET",
            "/?acl",
            &[("date", "Tue, 27 Mar 2007 19:44:46 +0000")],
            "82ZHiFIjc+WbcwFKGUVEQspPn+0=",
        ),
    ] {
        let now = headers.iter().find(|(name, _)| *name == "date").unwrap().1;
        let authorization = format!("AWS AKIAIOSFODNN7EXAMPLE:{signature}");
        let mut headers = headers.to_vec();
        headers.push(("authorization", &authorization));
        let parts = request(method, target, &headers);
        let verified = verify(&parts, Some(BUCKET), now).unwrap();
        assert_eq!(verified.payload, PayloadHash::Unsigned);
        assert!(!verified.is_presigned);
        let other = verify(&parts, Some("another"), now).unwrap_err();
        assert_eq!(other.code, ErrorCode::SignatureDoesNotMatch, "{target}");
    }
}

#[test]
fn the_documented_presigned_get_is_verified_until_its_end() {
    let target = "/photos/puppy.jpg?AWSAccessKeyId=AKIAIOSFODNN7EXAMPLE&Signature=NpgCjnDzrM%2BWFzoENXmpNDUsSn8%3D&Expires=1175139620";
    let parts = request("GET", target, &[]);
    let end = "Thu, 29 Mar 2007 03:40:20 +0000";
    assert!(verify(&parts, Some("awsexamplebucket1"), end).is_err(), "signed for another bucket");
    let parts = request("GET", &format!("/johnsmith{target}"), &[]);
    assert!(verify(&parts, None, end).unwrap().is_presigned);
    let expired = verify(&parts, None, "Thu, 29 Mar 2007 03:40:21 +0000").unwrap_err();
    assert_eq!(expired.code, ErrorCode::AccessDenied);
    assert_eq!(
        expired.extra,
        [
            ("Expires", "2007-03-29T03:40:20Z".to_owned()),
            ("ServerTime", "2007-03-29T03:40:21Z".to_owned())
        ]
    );
}

#[test]
fn amz_headers_of_head_and_query_are_in_the_order_of_their_names() {
    let parts = request(
        "PUT",
        "/bucket/a%20b?uploadId=1%2B1&partNumber=2&x=1&x-amz-acl=private&X-Amz-Meta-C=3",
        &[
            ("x-amz-meta-b", " 2 "),
            ("X-Amz-Meta-B", "3"),
            ("x-amz-date", "Tue, 27 Mar 2007 19:36:42 +0000"),
            ("content-type", "text/plain"),
            ("date", "anything"),
        ],
    );
    let query = names::query(parts.uri.query().unwrap()).unwrap();
    let text = to_sign::string_to_sign(&parts, &to_sign::resource(&parts, None), &query, "");
    assert_eq!(
        String::from_utf8(text).unwrap(),
        "PUT\n\ntext/plain\n\nx-amz-acl:private\nx-amz-date:Tue, 27 Mar 2007 19:36:42 +0000\nx-amz-meta-b:2,3\nx-amz-meta-c:3\n/bucket/a%20b?partNumber=2&uploadId=1+1"
    );
}

#[test]
fn every_parameter_that_clients_sign_is_signed() {
    // The list of botocore. A parameter that is not signed could be added to a presigned URL by its holder.
    let signed = "accelerate acl cors defaultObjectAcl location logging partNumber policy requestPayment torrent versioning versionId versions website uploads uploadId response-content-type response-content-language response-expires response-cache-control response-content-disposition response-content-encoding delete lifecycle tagging restore storageClass notification replication analytics metrics inventory select select-type object-lock";
    for name in signed.split(' ') {
        let query = [(name.to_owned(), String::new())];
        let text = to_sign::string_to_sign(&request("GET", "/b", &[]), "/b", &query, "");
        assert!(String::from_utf8(text).unwrap().ends_with(&format!("/b?{name}")), "{name}");
    }
    let query = names::query("prefix=a&list-type=2&max-keys=1&marker=b&x-id=ListObjects").unwrap();
    let text = to_sign::string_to_sign(&request("GET", "/b", &[]), "/b", &query, "");
    assert!(String::from_utf8(text).unwrap().ends_with("/b"));
}

#[test]
fn requests_that_cannot_be_read_are_refused_as_aws_refuses_them() {
    let now = "Tue, 27 Mar 2007 19:36:42 +0000";
    let good = ("authorization", "AWS AKID:c2ln");
    for (target, headers, code) in [
        ("/b", &[("authorization", "AWS HAHAHA"), ("date", now)][..], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", "AWS A:B C"), ("date", now)], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", "AWS :"), ("date", now)], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", "AWS"), ("date", now)], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", ""), ("date", now)], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", "Basic YTpi"), ("date", now)], ErrorCode::InvalidArgument),
        ("/b", &[("authorization", "AWS3 a"), ("date", now)], ErrorCode::InvalidRequest),
        ("/b", &[good], ErrorCode::AccessDenied),
        ("/b", &[good, ("date", "yesterday")], ErrorCode::AccessDenied),
        ("/b", &[good, ("date", now), ("x-amz-date", "")], ErrorCode::AccessDenied),
        ("/b", &[good, ("date", "Fri, 07 Jul 1950 21:53:04 GMT")], ErrorCode::AccessDenied),
        ("/b", &[good, ("date", "Tue, 27 Mar 2007 19:21:41 GMT")], ErrorCode::RequestTimeTooSkewed),
        ("/b", &[good, ("date", "Tue, 07 Jul 9999 21:53:04 GMT")], ErrorCode::RequestTimeTooSkewed),
        (
            "/b",
            &[good, ("date", "Tue, 27 Mar 2007 14:36:42 -0500")],
            ErrorCode::SignatureDoesNotMatch,
        ),
        ("/b?Signature=a", &[good, ("date", now)], ErrorCode::InvalidArgument),
        ("/b?AWSAccessKeyId=a", &[], ErrorCode::AccessDenied),
        ("/b?AWSAccessKeyId=a&Signature=b", &[], ErrorCode::AccessDenied),
        ("/b?AWSAccessKeyId=a&Signature=b&Expires=soon", &[], ErrorCode::AccessDenied),
        ("/b?AWSAccessKeyId=a&Signature=b&Expires=-1", &[], ErrorCode::AccessDenied),
        (
            "/b?AWSAccessKeyId=a&Signature=b&Expires=99999999999999999999",
            &[],
            ErrorCode::AccessDenied,
        ),
        (
            "/b?AWSAccessKeyId=a&Signature=b&Signature=b&Expires=9999999999",
            &[],
            ErrorCode::InvalidArgument,
        ),
        (
            "/b?AWSAccessKeyId=a&Signature=b&X-Amz-Signature=c&Expires=9999999999",
            &[],
            ErrorCode::InvalidArgument,
        ),
        (
            "/b?AWSAccessKeyId=a&Signature=b&Expires=9999999999",
            &[],
            ErrorCode::SignatureDoesNotMatch,
        ),
        (
            "/b?AWSAccessKeyId=a&Signature=b&Expires=9999999999&response-content-type=a%26versionId%3D1",
            &[],
            ErrorCode::InvalidArgument,
        ),
        (
            "/b",
            &[good, ("date", now), ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")],
            ErrorCode::InvalidRequest,
        ),
        (
            "/b",
            &[good, ("date", now), ("content-encoding", "gzip, AWS-chunked")],
            ErrorCode::InvalidRequest,
        ),
    ] {
        let error = verify(&request("GET", target, headers), None, now).unwrap_err();
        assert_eq!(error.code, code, "{target} {headers:?}: {error}");
    }
}

#[test]
fn a_bucket_is_signed_with_and_without_its_slash() {
    let now = "Tue, 27 Mar 2007 19:36:42 GMT";
    for (target, signed, is_right) in [
        ("/b", "/b", true),
        ("/b", "/b/", true),
        ("/b/", "/b/", true),
        ("/b/", "/b", false),
        ("/b/k", "/b/k/", false),
        ("/", "//", false),
    ] {
        let signature = signature(SECRET, &format!("GET\n\n\n{now}\n{signed}"));
        let authorization = format!("AWS AKID:{signature}");
        let headers = [("authorization", authorization.as_str()), ("date", now)];
        let verified = verify(&request("GET", target, &headers), None, now);
        assert_eq!(verified.is_ok(), is_right, "{target} {signed}");
    }
}

#[test]
fn a_mismatch_shows_what_was_signed() {
    let now = "Tue, 27 Mar 2007 19:36:42 GMT";
    let parts = request("GET", "/b", &[("authorization", "AWS AKID:c2ln"), ("date", now)]);
    let error = verify(&parts, None, now).unwrap_err();
    let names: Vec<&str> = error.extra.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["AWSAccessKeyId", "StringToSign", "SignatureProvided", "StringToSignBytes"]);
    assert_eq!(error.extra[1].1, format!("GET\n\n\n{now}\n/b"));
    assert_eq!(error.extra[2].1, "c2ln");
    assert!(error.extra[3].1.starts_with("47 45 54 0a 0a 0a 54"));
}

/// The holder of a URL that was signed together with headers must send each of them. `x-amz-date` and its like are no headers
/// when they are in the query, so nothing else would look at their values.
#[test]
fn no_parameter_stands_for_a_header_that_was_signed() {
    let end = "Thu, 29 Mar 2007 03:40:20 +0000";
    let date = "Tue, 27 Mar 2007 19:36:42 GMT";
    let signed = |method: &str, lines: &str| {
        let signature = signature(SECRET, &format!("{method}\n\n\n1175139620\n{lines}/b/k"));
        crate::names::encode(&signature)
    };
    let target = |signature: &str, more: &str| {
        format!("/b/k?AWSAccessKeyId=A&Signature={signature}&Expires=1175139620{more}")
    };
    let whole = signed("PUT", &format!("x-amz-date:{date}\nx-amz-meta-limit:1\n"));
    let headers = [("x-amz-date", date), ("x-amz-meta-limit", "1")];
    assert!(verify(&request("PUT", &target(&whole, ""), &headers), None, end).is_ok());
    let date = crate::names::encode(date);
    let in_query = format!("&x-amz-date={date}");
    assert!(verify(&request("PUT", &target(&whole, &in_query), &headers[1..]), None, end).is_ok());
    let refused = |more: &str| {
        let parts = request("PUT", &target(&whole, more), &[]);
        verify(&parts, None, end).unwrap_err().code
    };
    for name in ["x-amz-date", "X-Amz-Date"] {
        for line_end in ["%0A", "%0a"] {
            let more = format!("&{name}={date}{line_end}x-amz-meta-limit:1");
            assert_eq!(refused(&more), ErrorCode::InvalidArgument, "{more}");
        }
    }
    let in_name = format!("&x-amz-date:{date}%0Ax-amz-meta-limit=1");
    assert_eq!(refused(&in_name), ErrorCode::InvalidArgument);
    // The same in every parameter that becomes no header, and in some that do.
    for name in [
        "x-amz-algorithm",
        "x-amz-content-sha256",
        "x-amz-credential",
        "x-amz-date",
        "x-amz-expires",
        "x-amz-signature",
        "x-amz-signedheaders",
        "x-amz-checksum-crc32",
        "x-amz-meta-a",
        "x-amz-security-token",
    ] {
        for value in ["1%0Ax-amz-z:2", "1%0D%0Ax-amz-z:2", "%0A", "1%0Dx"] {
            let query = names::query(&format!("{name}={value}")).unwrap();
            assert!(to_sign::check_values(&query).is_err(), "{name}={value}");
        }
        let query = names::query(&format!("{name}=a%20b:c%2Cd")).unwrap();
        assert!(to_sign::check_values(&query).is_ok(), "{name}");
    }
}
