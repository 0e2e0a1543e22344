//! The credentials of a request, read from the header `Authorization` or from a presigned query.

use std::borrow::Cow;

use http::HeaderMap;

use super::canonical::ALGORITHM;
use super::scope::CredentialScope;
use crate::auth_error::{header_time, parameters, without_time};
use crate::error::{ErrorCode, S3Error};
use crate::headers::text;
use crate::names;
use crate::parsed_names::DATE;
use crate::time::{amz, parse_amz};

/// The longest validity of a presigned request, in seconds.
const EXPIRES_MAX: i64 = 7 * 24 * 3600;
/// The parameters of a presigned query.
const PARAMETERS: [&str; 6] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-SignedHeaders",
    "X-Amz-Signature",
];

/// The credentials that a request contains, unproven before [`PresentedCredentials::verify`] has succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PresentedCredentials<'a> {
    /// The access key in the request.
    pub access_key: &'a str,
    /// The scope of the signature.
    pub scope: CredentialScope<'a>,
    /// The names of the signed headers, separated by `;`.
    pub(super) signed_headers: &'a str,
    pub(super) signature: &'a str,
    pub(super) time: RequestTime<'a>,
    /// The validity of a presigned request in seconds; `None` for a signature in a header.
    pub(super) expires: Option<i64>,
}

/// The time of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RequestTime<'a> {
    /// Seconds since 1970.
    pub seconds: i64,
    /// The text in the request.
    pub sent: &'a str,
}

impl<'a> RequestTime<'a> {
    /// The text in the string to sign, such as `20130524T000000Z`, whatever the form in the request.
    pub(super) fn stamp(&self) -> Cow<'a, str> {
        if is_stamp(self.sent) { Cow::Borrowed(self.sent) } else { Cow::Owned(amz(self.seconds)) }
    }
}

fn is_stamp(text: &str) -> bool {
    let is_right = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.bytes().enumerate().all(is_right)
}

/// The error for a header `Authorization` that cannot be read.
pub(super) fn header_error(detail: &str) -> S3Error {
    ErrorCode::AuthorizationHeaderMalformed
        .because(format!("The authorization header is malformed; {detail}"))
}

/// The error for a credential of a presigned query that cannot be read.
pub(super) fn credential_error(detail: &str) -> S3Error {
    query_error(&format!("Error parsing the X-Amz-Credential parameter; {detail}"))
}

/// The error for parameters of a presigned query that cannot be read.
fn query_error(detail: &str) -> S3Error {
    ErrorCode::AuthorizationQueryParametersError.because(detail)
}

/// Reads the parameters of the header, `Name=value` with commas between them.
fn fields(text: &str) -> Result<(&str, &str, &str), S3Error> {
    let mut found = [None; 3];
    for (name, value) in text.split(',').filter_map(|field| field.trim().split_once('=')) {
        let known = ["Credential", "SignedHeaders", "Signature"];
        let Some(at) = known.iter().position(|known| *known == name) else { continue };
        if found[at].replace(value).is_some() {
            return Err(header_error(&format!("{name} is given twice.")));
        }
    }
    match found {
        [Some(credential), Some(headers), Some(signature)] => Ok((credential, headers, signature)),
        _ => Err(header_error(
            "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
        )),
    }
}

/// Splits a credential into access key and scope, neither of which is checked for being empty. The access key may contain
/// slashes. Fails with AWS's message.
pub fn split_credential(text: &str) -> Result<(&str, CredentialScope<'_>), &'static str> {
    let mut fields = text.rsplitn(5, '/');
    let mut next = || fields.next();
    let (Some(end), Some(service), Some(region), Some(date), Some(access_key)) =
        (next(), next(), next(), next(), next())
    else {
        return Err(
            "the Credential is mal-formed; expecting \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
        );
    };
    if end != "aws4_request" {
        return Err("incorrect terminal. This endpoint belongs to \"aws4_request\".");
    }
    if service != "s3" {
        return Err("incorrect service. This endpoint belongs to \"s3\".");
    }
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("incorrect date format. It must be in the format \"yyyyMMdd\".");
    }
    Ok((access_key, CredentialScope { date, region }))
}

/// Splits the credential of a request, which must name a region. Fails with the error that `malformed` makes.
fn parse_credential(
    text: &str,
    malformed: fn(&str) -> S3Error,
) -> Result<(&str, CredentialScope<'_>), S3Error> {
    let (access_key, scope) = split_credential(text).map_err(malformed)?;
    if scope.region.is_empty() {
        return Err(malformed("the region is missing."));
    }
    Ok((access_key, scope))
}

/// Reads the credentials in a header `Authorization`, of which `said` is the text after the algorithm, with the time from
/// `x-amz-date` or, without that header, from `date`. Fails with `AuthorizationHeaderMalformed` when a field is missing,
/// doubled or cannot be read, and with `AccessDenied` without a time.
pub fn of_header<'a>(
    headers: &'a HeaderMap,
    said: &'a str,
) -> Result<PresentedCredentials<'a>, S3Error> {
    let (credential, signed_headers, signature) = fields(said)?;
    let (access_key, scope) = parse_credential(credential, header_error)?;
    let sent = match text(headers, &DATE)? {
        Some(sent) => Some(sent),
        None => text(headers, &http::header::DATE)?,
    };
    let sent = sent.ok_or_else(without_time)?;
    let seconds = header_time(sent).ok_or_else(without_time)?;
    let time = RequestTime { seconds, sent };
    Ok(PresentedCredentials { access_key, scope, signed_headers, signature, time, expires: None })
}

/// Returns true if a query parameter with this name makes its request a presigned one, also if other parameters are
/// missing, which is an error then.
pub fn is_mark(name: &str) -> bool {
    matches!(name, "X-Amz-Algorithm" | "X-Amz-Credential" | "X-Amz-Signature")
}

/// Reads the credentials in a presigned query. Fails with `AuthorizationQueryParametersError` when a parameter is
/// missing, doubled or cannot be read, or allows more than a week.
pub fn of_query(query: &[(String, String)]) -> Result<PresentedCredentials<'_>, S3Error> {
    let twice = |name: &'static str| query_error(&format!("{name} is given twice."));
    let [
        Some(algorithm),
        Some(credential),
        Some(date),
        Some(expires),
        Some(signed_headers),
        Some(signature),
    ] = parameters(query, PARAMETERS, twice)?
    else {
        return Err(query_error(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
        ));
    };
    if algorithm != ALGORITHM {
        return Err(query_error("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let (access_key, scope) = parse_credential(credential, credential_error)?;
    let expires = validity(expires)?;
    let seconds = parse_amz(date).filter(|_| is_stamp(date)).ok_or_else(|| {
        query_error("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    })?;
    let time = RequestTime { seconds, sent: date };
    let expires = Some(expires);
    Ok(PresentedCredentials { access_key, scope, signed_headers, signature, time, expires })
}

/// Parses the seconds for which a presigned request is valid, from zero to a week.
fn validity(text: &str) -> Result<i64, S3Error> {
    if text.strip_prefix('-').and_then(names::number::<i64>).is_some() {
        return Err(query_error("X-Amz-Expires must be non-negative"));
    }
    let seconds = names::number::<i64>(text)
        .ok_or_else(|| query_error("X-Amz-Expires should be a number"))?;
    if seconds > EXPIRES_MAX {
        return Err(query_error(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    Ok(seconds)
}
