//! CORS: the answer to preflight requests, and the headers of every answer to a request of a web page.
//!
//! Browsers send preflight requests without a signature, and show an error to a page only if the error has the headers,
//! too. Both are therefore decided from the bucket's rules alone, as this node knows them: no snapshot is read, and nothing
//! depends on the user. Who may use a bucket is decided elsewhere.

use std::sync::Arc;

use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderMap, Response};
use s3::cors::{self, CORS_METHODS, CorsRequest};
use s3::document::CorsConfiguration;
use s3::error::ErrorCode;

use super::context::S3Context;
use super::response::{self, HandlerResult, ResponseBody};
use super::target::RequestTarget;

/// The header of the method that a page wants to use.
const METHOD: &str = "access-control-request-method";
/// The header of the headers that a page wants to send.
const HEADERS: &str = "access-control-request-headers";

/// The message for a preflight request that no rule allows, with the spelling of AWS.
const NOT_ALLOWED: &str = "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, \
    request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's \
    CORS spec.";

/// A request that a browser has made for a page of some origin.
pub struct CrossOriginRequest {
    origin: String,
    method: String,
    /// The method of `Access-Control-Request-Method`.
    asked_method: Option<String>,
    asked_headers: Option<String>,
    target: RequestTarget,
}

/// The text of a header; several are one list, and one that is not text is absent.
fn list(headers: &HeaderMap, name: &str) -> Option<String> {
    let texts: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

impl CrossOriginRequest {
    /// The request, if it names an origin; costs a search for one header otherwise. Called before the signature is verified.
    pub fn of(parts: &Parts, context: &S3Context) -> Option<Self> {
        let origin = parts.headers.get(ORIGIN)?.to_str().ok()?.to_owned();
        Some(Self {
            origin,
            method: parts.method.to_string(),
            asked_method: list(&parts.headers, METHOD),
            asked_headers: list(&parts.headers, HEADERS),
            target: RequestTarget::of(parts, &context.options),
        })
    }

    fn rules(&self, context: &S3Context) -> Option<Arc<CorsConfiguration>> {
        let bucket = context.known_bucket(self.target.bucket.as_deref()?)?;
        context.cors.of(&bucket)
    }

    fn asked(&self) -> CorsRequest<'_> {
        CorsRequest {
            origin: &self.origin,
            method: self.asked_method.as_deref().unwrap_or(&self.method),
            headers: self.asked_headers.as_deref(),
        }
    }

    /// Adds the headers that permit the page to read an answer, errors included, if a rule of the bucket does.
    pub fn permit(&self, context: &S3Context, answer: &mut Response<ResponseBody>) {
        let Some(rules) = self.rules(context) else { return };
        if let Some(grant) = cors::grant(&rules, &self.asked()) {
            for (name, value) in grant.headers() {
                response::set(answer, name, &value);
            }
        }
    }
}

/// Answers OPTIONS, without a look at signatures; [`CrossOriginRequest::permit`] adds the headers. Fails with `BadRequest`
/// without an origin or a method that S3 has, and with `AccessForbidden` when the bucket is missing, has no rules, or has
/// none that allows the request.
pub fn preflight(context: &S3Context, request: Option<&CrossOriginRequest>) -> HandlerResult {
    let Some(request) = request else {
        return Err(ErrorCode::BadRequest
            .because("Insufficient information. Origin request header needed."));
    };
    let asked = request.asked_method.as_deref();
    let forbidden = |message: &str, resource: &str| {
        Err(ErrorCode::AccessForbidden
            .because(message)
            .with("Method", asked.unwrap_or("OPTIONS"))
            .with("ResourceType", resource))
    };
    let name = request.target.bucket.as_deref().unwrap_or_default();
    if context.known_bucket(name).is_none() {
        return forbidden("CORSResponse: Bucket not found", "BUCKET");
    }
    let Some(rules) = request.rules(context) else {
        return forbidden("CORSResponse: CORS is not enabled for this bucket.", "BUCKET");
    };
    if !asked.is_some_and(|asked| CORS_METHODS.contains(&asked)) {
        let asked = asked.unwrap_or("null");
        return Err(ErrorCode::BadRequest
            .because(format!("Invalid Access-Control-Request-Method: {asked}")));
    }
    match cors::grant(&rules, &request.asked()) {
        Some(_) => Ok(response::empty(200)),
        None if request.target.key.is_some() => forbidden(NOT_ALLOWED, "OBJECT"),
        None => forbidden(NOT_ALLOWED, "BUCKET"),
    }
}
