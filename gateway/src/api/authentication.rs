//! Authentication of a request: which user has signed, for which bucket and key.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use http::request::Parts;
use s3::auth_error::unsupported;
use s3::credentials::{self, RequestCredentials};
use s3::error::{ErrorCode, S3Error};
use s3::headers;
use s3::host::Domains;
use s3::names;
use s3::sigv4::{SecretKey, VerifiedRequest};

use super::address;
use super::request::S3Request;
use crate::config::{ServiceSettings, SignatureV2, User};
use crate::refusal::ClientInfo;
use crate::request_operation::RequestOperation;
use crate::server::connections::ConnectionHandle;
use crate::users::Users;

/// The signatures that are taken, and the hosts that name buckets.
#[derive(Clone, Debug)]
pub struct AuthenticationOptions {
    /// The only region that a signature may name; `None` for any.
    pub region: Option<String>,
    /// The signatures of version 2 that are taken.
    pub signature_v2: SignatureV2,
    /// The domains below which a host names a bucket.
    pub domains: Domains,
}

impl AuthenticationOptions {
    /// The options that the settings give, which must have been checked.
    pub fn new(settings: &ServiceSettings) -> Self {
        Self {
            region: settings.region.clone(),
            signature_v2: settings.signature_v2,
            domains: settings.domains.clone().unwrap_or_default(),
        }
    }
}

/// The user whose access key a request names. Names are copied only for a line in the log.
#[derive(Default)]
pub struct Caller<'a> {
    named: Option<&'a User>,
    /// True once the signature is verified.
    is_verified: bool,
    /// The access key that the request names, if no user has it.
    unknown_key: Option<String>,
    /// The operation that the request asks for, once the signature is verified.
    pub operation: Option<RequestOperation>,
}

impl<'a> Caller<'a> {
    /// The user whom an access key names. Nothing is proven yet. Fails with `InvalidAccessKeyId` for a key that no user has.
    pub fn find(&mut self, users: &'a Users, key: &str) -> Result<&'a Arc<User>, S3Error> {
        let Some(user) = users.with_key(key) else {
            self.unknown_key = Some(key.to_owned());
            return Err(S3Error::from(ErrorCode::InvalidAccessKeyId).with("AWSAccessKeyId", key));
        };
        self.named = Some(user);
        Ok(user)
    }

    /// States that the signature of the user was verified. The connection of the request counts as that of a user from
    /// here on.
    pub fn prove(&mut self, parts: &Parts) {
        self.is_verified = true;
        if let Some(connection) = parts.extensions.get::<Arc<ConnectionHandle>>() {
            connection.prove();
        }
    }

    /// The facts for a line in the log: the name of the user only after the signature was verified. `address` is the other
    /// end of the connection.
    pub fn who(self, address: Option<SocketAddr>) -> ClientInfo {
        let user = self.named.filter(|_| self.is_verified).map(|user| user.name.clone());
        let access_key = self.unknown_key.or(self.named.map(|user| user.access_key.clone()));
        ClientInfo { access_key, user, address }
    }
}

/// Seconds since 1970, zero for a clock that stands before. For times of requests only: two calls need not be in order.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

/// The request, once its signature is verified. `host_bucket` is the bucket that the host names. Fails when the
/// credentials are missing, unknown or of a version that is not taken, and when the signature does not match. `caller`
/// learns as much as is known before a failure.
pub fn authenticate<'a>(
    options: &AuthenticationOptions,
    users: &'a Users,
    id: &str,
    caller: &mut Caller<'a>,
    mut parts: Parts,
    host_bucket: Option<&str>,
) -> Result<S3Request, S3Error> {
    headers::check_text(&parts.headers)?;
    address::check_host(&parts)?;
    let path = names::decode(parts.uri.path())?;
    let query = names::query(parts.uri.query().unwrap_or_default())?;
    let presented = credentials::parse(&parts, &query)?.ok_or(ErrorCode::AccessDenied)?;
    check_version(&presented, options.signature_v2)?;
    let user = caller.find(users, presented.access_key())?;
    let secret = SecretKey { secret: user.secret_key.expose(), derived: &user.derived_key };
    let region = options.region.as_deref();
    let verified: VerifiedRequest = match presented {
        RequestCredentials::V4(presented) => {
            presented.verify(&parts, &path, &query, secret, now(), region)?
        }
        RequestCredentials::V2(presented) => {
            presented.verify(&parts, host_bucket, &query, secret.secret, now())?
        }
    };
    caller.prove(&parts);
    headers::add_from_query(&mut parts.headers, &query)?;
    headers::check_token(&parts.headers)?;
    let (bucket, key) = address::bucket_and_key(&path, host_bucket);
    // `//key`: an empty name is no bucket, and the service has no keys.
    if bucket.is_none() && key.is_some() {
        return Err(ErrorCode::InvalidUri.into());
    }
    Ok(S3Request {
        id: id.to_owned(),
        user: user.clone(),
        verified,
        operation: None,
        parts,
        query,
        bucket,
        key,
    })
}

/// Fails for a signature of version 2 that the settings do not allow.
fn check_version(presented: &RequestCredentials<'_>, allowed: SignatureV2) -> Result<(), S3Error> {
    let is_allowed = match presented {
        RequestCredentials::V4(_) => true,
        RequestCredentials::V2(presented) => match allowed {
            SignatureV2::On => true,
            SignatureV2::Presigned => presented.is_presigned(),
            SignatureV2::Off => false,
        },
    };
    if is_allowed { Ok(()) } else { Err(unsupported()) }
}
