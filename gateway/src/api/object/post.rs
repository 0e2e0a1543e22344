//! PostObject: a browser's form that writes an object.
//!
//! ```text
//!   fields ──► signature of the policy ──► policy ──► headers of a PUT ──► PutObject
//!                                                       file ─────────────────┘
//! ```
//!
//! The fields become the headers of a PUT before anything is decided about them. The actions that a form requires,
//! its refusals and its effect are therefore those of PutObject.

mod answer;
mod fields;

use std::sync::Arc;

use http::request::Parts;
use s3::auth_error::unsupported;
use s3::error::{ErrorCode, S3Error};
use s3::form::{FormCredentials, FormFields};
use s3::headers;
use s3::names;
use s3::operation::body::UPLOAD_BYTES_MAX;
use s3::operation::{self, Operation, RequestParts, S3Resource};
use s3::post_policy::{PostPolicy, SizeRange};
use s3::sigv4::{PayloadHash, VerifiedRequest};

use super::put::put_with;
use crate::api::address;
use crate::api::authentication::AuthenticationOptions;
use crate::api::body::{self, FormBody};
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::HandlerResult;
use crate::config::{SignatureV2, User};
use crate::request_operation::RequestOperation;

/// True for a request that is PostObject by its head, unless a signature is there.
pub fn is_form(parts: &Parts, host_bucket: Option<&str>) -> bool {
    // Asked for every request, so the cheapest questions come first.
    if parts.method != http::Method::POST || parts.headers.contains_key("authorization") {
        return false;
    }
    let query = parts.uri.query().unwrap_or_default();
    let signatures = ["X-Amz-Signature", "X-Amz-Algorithm", "Signature"];
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
    let is_signed = names.any(|name| signatures.contains(&name));
    let path = address::resource_path(parts.uri.path(), host_bucket);
    let operation = RequestOperation::of_head(&parts.method, &path, query, false);
    operation == RequestOperation::S3(Operation::PostObject) && !is_signed
}

/// The answer to PostObject with a signature in the head: a form has its own. Never succeeds.
pub fn signed(request: &S3Request) -> HandlerResult {
    s3::form::boundary(&request.parts.headers)?;
    Err(ErrorCode::InvalidArgument.because(
        "Only one auth mechanism allowed; a form is signed by its fields, not by the head of the request",
    ))
}

/// A form that has been read up to its file.
pub struct PostForm {
    body: FormBody,
    fields: FormFields,
    credentials: FormCredentials,
    key: String,
}

impl PostForm {
    /// Reads a form up to the first byte of its file. Fails with `AccessDenied` for an anonymous form, and with
    /// `InvalidArgument` without a key, a file, or a part of the signature.
    pub async fn open(
        context: &S3Context,
        parts: &Parts,
        body: RequestBody,
    ) -> Result<Self, S3Error> {
        headers::check_text(&parts.headers)?;
        fields::check_head(&parts.headers)?;
        let mut body = FormBody::new(parts, body, context.options.stall)?;
        let fields = body.fields().await?;
        let key = fields.required("key")?;
        let credentials = FormCredentials::of(&fields)?;
        let credentials = credentials.ok_or(ErrorCode::AccessDenied)?;
        Ok(Self { body, fields, credentials, key })
    }

    /// The access key that the form names, of which nothing is proven before [`Self::verify`].
    pub fn access_key(&self) -> &str {
        &self.credentials.access_key
    }

    /// Verifies the signature with the secret key of the user whom the form names. Fails with `SignatureDoesNotMatch`, and
    /// with `InvalidArgument` for another region and for a version that the settings do not take.
    pub fn verify(&self, user: &User, options: &AuthenticationOptions) -> Result<(), S3Error> {
        // A form is signed before its browser has it, as a presigned URL is.
        if self.credentials.is_version_2() && options.signature_v2 == SignatureV2::Off {
            return Err(unsupported());
        }
        self.credentials.verify(user.secret_key.expose(), options.region.as_deref())
    }

    /// The PUT that the form stands for, and the sizes that its file may have, once its policy allows the fields. The
    /// signature must have been verified. `now` is in seconds since 1970.
    ///
    /// Fails with `InvalidPolicyDocument` and `AccessDenied` by the policy, and for a field or a header of the request that
    /// PutObject would refuse.
    pub fn request(
        &self,
        id: &str,
        user: &Arc<User>,
        mut parts: Parts,
        host_bucket: Option<&str>,
        now: i64,
    ) -> Result<(S3Request, SizeRange), S3Error> {
        let path = names::decode(parts.uri.path())?;
        let bucket = address::bucket_and_key(&path, host_bucket).0.unwrap_or_default();
        let query = names::query(parts.uri.query().unwrap_or_default())?;
        let policy = PostPolicy::decode(&self.credentials.policy)?;
        policy.check(&bucket, &self.fields, now)?;
        let definition = Operation::PostObject.definition();
        let check = |headers| {
            let method = parts.method.as_str();
            let resource = S3Resource::Bucket;
            operation::check(
                Some(definition),
                &RequestParts { method, resource, query: &query, headers },
            )
        };
        check(&parts.headers)?;
        let headers = fields::headers(&self.fields, &parts.headers)?;
        check(&headers)?;
        parts.headers = headers;
        let request = S3Request {
            id: id.to_owned(),
            user: user.clone(),
            verified: VerifiedRequest {
                payload: PayloadHash::Unsigned,
                is_presigned: true,
                chunk_signer: None,
            },
            operation: Some(definition),
            parts,
            query,
            bucket: Some(bucket),
            key: Some(self.key.clone()),
        };
        Ok((request, policy.size_range(UPLOAD_BYTES_MAX)))
    }
}

/// PostObject: PutObject with the form's file, and the answer that the form wants. `request` and `sizes` are those of
/// [`PostForm::request`]. Fails as PutObject does, and for a file of a size that the policy forbids;
/// then nothing is stored.
pub async fn put(
    context: &S3Context,
    request: &S3Request,
    sizes: SizeRange,
    form: PostForm,
) -> HandlerResult {
    let PostForm { body, fields, .. } = form;
    let file = body.file(sizes);
    let take = |target, wanted| body::take_file(context, request, file, target, wanted);
    let stored = put_with(context, request, take).await?;
    let domains = &context.options.authentication.domains;
    Ok(answer::answer(domains, request, &fields, stored))
}
