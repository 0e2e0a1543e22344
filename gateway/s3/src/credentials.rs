//! The credentials that a request contains, of whichever version, unproven.

use http::request::Parts;

use crate::auth_error::unsupported;
use crate::error::{ErrorCode, S3Error};
use crate::headers::text;
use crate::sigv2::{self, PresentedV2};
use crate::sigv4::{self, PresentedCredentials};

/// The credentials of a request that is not anonymous.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RequestCredentials<'a> {
    /// A signature of version 4.
    V4(PresentedCredentials<'a>),
    /// A signature of version 2.
    V2(PresentedV2<'a>),
}

impl<'a> RequestCredentials<'a> {
    /// The access key in the request, which proves nothing before the signature is verified.
    pub fn access_key(&self) -> &'a str {
        match self {
            RequestCredentials::V4(presented) => presented.access_key,
            RequestCredentials::V2(presented) => presented.access_key,
        }
    }
}

/// Reads the credentials of a request, from the header `Authorization` or a presigned query, which is decoded; `None`
/// for an anonymous request. Fails for credentials at two places, for an unknown kind of signature, and for missing,
/// doubled or malformed fields.
pub fn parse<'a>(
    parts: &'a Parts,
    query: &'a [(String, String)],
) -> Result<Option<RequestCredentials<'a>>, S3Error> {
    let has = |is_mark: fn(&str) -> bool| query.iter().any(|(name, _)| is_mark(name));
    let (is_v4, is_v2) = (has(sigv4::is_mark), has(sigv2::is_mark));
    let authorization = text(&parts.headers, &http::header::AUTHORIZATION)?;
    match (authorization, is_v4, is_v2) {
        (None, false, false) => Ok(None),
        (Some(said), false, false) => of_header(parts, said).map(Some),
        (None, true, false) => sigv4::of_query(query).map(RequestCredentials::V4).map(Some),
        (None, false, true) => sigv2::of_query(query).map(RequestCredentials::V2).map(Some),
        (said, ..) => Err(argument(
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
            said.unwrap_or_default(),
        )),
    }
}

fn of_header<'a>(parts: &'a Parts, said: &'a str) -> Result<RequestCredentials<'a>, S3Error> {
    let Some((kind, rest)) = said.trim().split_once(' ') else {
        return Err(argument(
            "Authorization header is invalid -- one and only one ' ' (space) required",
            said,
        ));
    };
    match kind {
        sigv4::ALGORITHM => sigv4::of_header(&parts.headers, rest).map(RequestCredentials::V4),
        sigv2::ALGORITHM => {
            let presented = sigv2::of_header(rest).map_err(|message| argument(message, said))?;
            Ok(RequestCredentials::V2(presented))
        }
        _ if kind.starts_with("AWS") => Err(unsupported()),
        _ => Err(argument("Unsupported Authorization Type", said)),
    }
}

/// The error for a header `Authorization` that cannot be read.
fn argument(message: &str, said: &str) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", "Authorization")
        .with("ArgumentValue", said)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::sigv4::{DerivedKey, SecretKey};

    /// Reads and verifies a request's credentials; true if the signature is right.
    fn is_right(headers: &[(&'static str, &[u8])], query: &[(String, String)]) -> bool {
        let mut parts = http::Request::get("/bucket/key").body(()).unwrap().into_parts().0;
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                parts.headers.append(*name, value);
            }
        }
        let secret = SecretKey { secret: "secret", derived: &DerivedKey::default() };
        match parse(&parts, query) {
            Ok(Some(RequestCredentials::V4(presented))) => {
                presented.verify(&parts, "/bucket/key", query, secret, 0, None).is_ok()
            }
            Ok(Some(RequestCredentials::V2(presented))) => {
                presented.verify(&parts, None, query, secret.secret, 0).is_ok()
            }
            Ok(None) | Err(_) => false,
        }
    }

    proptest! {
        #[test]
        fn any_authorization_is_an_error(
            kind in "|AWS|AWS |AWS4-HMAC-SHA256|AWS4-HMAC-SHA256 ",
            rest: Vec<u8>,
            text in "(Credential=|SignedHeaders=|Signature=|host;|/s3/aws4_request|/|,|=|:|[0-9a-z]{0,8}| ){0,12}",
            date: Vec<u8>,
        ) {
            for rest in [rest.as_slice(), text.as_bytes()] {
                let said = [kind.as_bytes(), rest].concat();
                for date in [date.as_slice(), b"19700101T000000Z", b"Thu, 01 Jan 1970 00:00:00 GMT"] {
                    let headers = [("authorization", said.as_slice()), ("x-amz-date", date), ("host", b"h")];
                    prop_assert!(!is_right(&headers, &[]));
                }
            }
        }

        #[test]
        fn any_presigned_query_is_an_error(
            pairs in proptest::collection::vec((
                "X-Amz-(Algorithm|Credential|Date|Expires|SignedHeaders|Signature|Content-Sha256)|AWSAccessKeyId|Signature|Expires|versionId|.{0,4}",
                "AWS4-HMAC-SHA256|a/19700101/r/s3/aws4_request|19700101T000000Z|-?[0-9]{1,20}|host|.{0,20}",
            ), 0..9),
        ) {
            prop_assert!(!is_right(&[("host", b"h")], &pairs));
        }
    }
}
