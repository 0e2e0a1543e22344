//! Buckets as websites: requests whose host is below a website domain.
//!
//! Only GET and HEAD of objects exist there, and errors are pages in HTML. A request without a signature is one of an
//! anonymous principal, who may do what `iam` permits to everybody; one with a signature has its user's rights. The
//! configuration is the one that this node knows. Redirects that it contains are answered to everybody, as AWS does.

use http::request::Parts;
use http::{Method, Response, StatusCode};
use s3::document::WebsiteConfiguration;
use s3::error::{ALLOW, ErrorCode, S3Error};
use s3::operation::{self, Operation, RequestParts, S3Resource};
use s3::sigv4::{PayloadHash, VerifiedRequest};
use s3::website::page::{error_page, without_document};
use s3::website::{self, Redirect, Route, WebsiteRequest};
use s3::{headers, names};

use super::address;
use super::context::S3Context;
use super::error_details::with_details;
use super::object::attributes::REDIRECT_LOCATION;
use super::object::find::must_exist;
use super::object::get;
use super::request::S3Request;
use super::response::{self, HandlerResult, ResponseBody};
use super::target::RequestTarget;
use crate::users;

/// The headers that concern the object that was asked for, and not the error document.
const OF_OBJECT: [&str; 6] =
    ["range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"];

/// The header that says that a delete marker was found.
const DELETE_MARKER: &str = "x-amz-delete-marker";

/// Returns true if a request names credentials, in a header or in its query. They must be verified then: a request with
/// wrong credentials is never an anonymous one.
pub fn is_signed(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    let is_signature = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default();
        name.eq_ignore_ascii_case("x-amz-signature") || name == "Signature"
    };
    parts.headers.contains_key("authorization") || query.split('&').any(is_signature)
}

/// Fails for methods that websites do not have.
pub fn check_method(method: &Method) -> Result<(), S3Error> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    Err(S3Error::from(ErrorCode::MethodNotAllowed)
        .with("Method", method.as_str())
        .with("ResourceType", "OBJECT")
        .with(ALLOW, "GET, HEAD"))
}

/// A request of the anonymous principal. Fails for a head that cannot be read.
pub fn anonymous(id: &str, parts: Parts) -> Result<S3Request, S3Error> {
    headers::check_text(&parts.headers)?;
    names::decode(parts.uri.path())?;
    let payload = PayloadHash::Unsigned;
    Ok(S3Request {
        id: id.to_owned(),
        user: users::anonymous().clone(),
        verified: VerifiedRequest { payload, is_presigned: false, chunk_signer: None },
        operation: None,
        parts,
        query: Vec::new(),
        bucket: None,
        key: None,
    })
}

/// Serves a request to the website that its host names. Fails with the error of the page; an error document of the
/// bucket is an answer.
pub async fn serve(
    context: &S3Context,
    request: S3Request,
    target: RequestTarget,
) -> HandlerResult {
    let mut request = request;
    let name = target.bucket.unwrap_or_default();
    let missing = |code| S3Error::from(code).with("BucketName", name.as_str());
    let bucket = context.known_bucket(&name).ok_or_else(|| missing(ErrorCode::NoSuchBucket))?;
    let site = context.websites.of(&bucket);
    let site = site.ok_or_else(|| missing(ErrorCode::NoSuchWebsiteConfiguration))?;
    // Neither versions nor overrides of headers exist here; the query is only passed on in redirects.
    let query = request.parts.uri.query().unwrap_or_default().to_owned();
    request.query.clear();
    request.bucket = Some(name);
    let key = target.key.unwrap_or_default();
    let host = address::host(&request.parts).to_owned();
    let protocol = address::protocol(&request.parts.headers);
    let asked = WebsiteRequest { protocol, host: &host, key: &key, query: &query };
    let object = match website::route(&site, &asked) {
        Route::Redirect(to) => return Ok(redirect(&to)),
        Route::Object(object) => object,
    };
    let error = match read(context, &mut request, object).await {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    if error.code.status() == 404
        && let Some(index) = website::folder_index(&site, &key)
        && exists(context, &mut request, index).await?
    {
        return Ok(redirect(&website::to_folder(&key)));
    }
    match website::route_of_error(&site, &asked, error.code.status()) {
        Some(to) => Ok(redirect(&to)),
        None => document_of(context, request, &site, error).await,
    }
}

/// Answers with an object, or with the redirect that the object has. Conditions and ranges are obeyed.
async fn read(context: &S3Context, request: &mut S3Request, key: String) -> HandlerResult {
    request.key = Some(key);
    let is_head = request.parts.method == Method::HEAD;
    let operation = if is_head { Operation::HeadObject } else { Operation::GetObject };
    let parts = RequestParts {
        method: request.parts.method.as_str(),
        resource: S3Resource::Object,
        query: &[],
        headers: &request.parts.headers,
    };
    request.operation = Some(operation::check(Some(operation.definition()), &parts)?);
    let answer =
        if is_head { get::head(context, request).await } else { get::get(context, request).await };
    let answer = answer.map_err(|error| with_details(error, request))?;
    let location = answer.headers().get(REDIRECT_LOCATION).and_then(|value| value.to_str().ok());
    match location {
        Some(location) => Ok(redirect(&Redirect { status: 301, location: location.to_owned() })),
        None => Ok(answer),
    }
}

/// Returns true if a key has an object that the request may read. Fails when that cannot be known just now.
async fn exists(
    context: &S3Context,
    request: &mut S3Request,
    key: String,
) -> Result<bool, S3Error> {
    request.key = Some(key);
    match must_exist(context, request).await {
        Ok(()) => Ok(true),
        Err(error) if error.code.status() >= 500 => Err(error),
        Err(_) => Ok(false),
    }
}

/// Answers with the error document of a website and the status of an error. Fails with the error for a website without
/// such a document, for errors of the server, and when the document cannot be read.
async fn document_of(
    context: &S3Context,
    mut request: S3Request,
    site: &WebsiteConfiguration,
    error: S3Error,
) -> HandlerResult {
    let status = error.code.status();
    let Some(document) = site.error_document.as_ref().filter(|_| status < 500) else {
        return Err(error);
    };
    for name in OF_OBJECT {
        request.parts.headers.remove(name);
    }
    match read(context, &mut request, document.key.clone()).await {
        Ok(mut answer) if answer.status() == StatusCode::OK => {
            *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::NOT_FOUND);
            add_error(&mut answer, &error);
            Ok(answer)
        }
        Ok(answer) => Ok(answer),
        Err(cause) => Err(without_document(error, &document.key, &cause)),
    }
}

fn redirect(to: &Redirect) -> Response<ResponseBody> {
    let mut answer = response::empty(to.status);
    response::set(&mut answer, "location", &to.location);
    answer
}

fn add_error(answer: &mut Response<ResponseBody>, error: &S3Error) {
    response::set(answer, "x-amz-error-code", error.code.text());
    response::set(answer, "x-amz-error-message", &error.message);
}

/// The page of an error, which a response to HEAD does not have.
pub fn page(error: &S3Error, id: &str, is_head: bool) -> Response<ResponseBody> {
    let mut answer = response::error(error, "", id, true);
    // S3 alone says that no marker was found, and only to a HEAD.
    let marker = answer.headers().get(DELETE_MARKER);
    if marker.is_some_and(|marker| marker == "false") {
        answer.headers_mut().remove(DELETE_MARKER);
    }
    if !is_head {
        *answer.body_mut() = ResponseBody::Whole(Some(error_page(error, id, id).into()));
        response::set(&mut answer, "content-type", "text/html; charset=utf-8");
    }
    add_error(&mut answer, error);
    answer
}
