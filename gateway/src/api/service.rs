//! The S3 service: HTTP requests in, HTTP responses out.
//!
//! ```text
//!   request ──► path, query ──► signature ──► operation ──► dispatch ──► response
//!                           (authentication) (operation)    (handlers)   (errors become responses here)
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderName;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use hyper::body::Body as _;
use s3::error::{ErrorCode, S3Error};
use s3::operation::{self, OperationDefinition, RequestParts, S3Resource};
use s3::parsed_names::COPY_SOURCE;

use super::address;
use super::authentication::{self, Caller};
use super::bucket::head::add_region;
use super::context::S3Context;
use super::cors::{self, CrossOriginRequest};
use super::error_details::with_details;
use super::object::post;
use super::request::{RequestBody, S3Request};
use super::response::{self, ResponseBody};
use super::target::{HostTarget, RequestTarget};
use super::{dispatch, header_names, website};
use crate::request_operation::{self, OTHER_METHOD, RequestOperation, method_label};
use crate::request_report::RequestReport;
use crate::server::connections::ConnectionHandle;
use crate::sql_service::{OFFSET_HEADER, SqlService, offset_text, s3_endpoint};

/// Serves requests to the S3 address.
pub struct S3Service {
    context: S3Context,
    sql: SqlService,
    /// The start of this process in seconds since 1970: request ids of two processes differ in it.
    start: u32,
    requests: AtomicU64,
}

/// Fails for methods that S3 does not know. `path` names the bucket.
fn check_method(parts: &Parts, path: &str) -> Result<(), S3Error> {
    if method_label(&parts.method) != OTHER_METHOD {
        return Ok(());
    }
    let (resource, headers) = (request_operation::resource(path), http::HeaderMap::new());
    let method = parts.method.as_str();
    operation::decide(&RequestParts { method, resource, query: &[], headers: &headers }).map(|_| ())
}

/// The largest head of a request: 16 KiB.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Fails for a head that is too long. Colons, blanks and line ends count, as in the bytes that were received.
fn check_head(parts: &Parts) -> Result<(), S3Error> {
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let line = parts.method.as_str().len() + target + "  HTTP/1.1\r\n".len();
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + ": \r\n".len()
    };
    let bytes = line + parts.headers.iter().map(header).sum::<usize>();
    if bytes <= HEAD_BYTES_MAX {
        return Ok(());
    }
    Err(S3Error::from(ErrorCode::RequestHeaderSectionTooLarge)
        .with("MaxSizeAllowed", HEAD_BYTES_MAX.to_string()))
}

/// The parts of a request that name its operation.
fn parts_of(request: &S3Request) -> RequestParts<'_> {
    let resource = match (&request.bucket, &request.key) {
        (None, _) => S3Resource::Service,
        (Some(_), None) => S3Resource::Bucket,
        (Some(_), Some(_)) => S3Resource::Object,
    };
    RequestParts {
        method: request.parts.method.as_str(),
        resource,
        query: &request.query,
        headers: &request.parts.headers,
    }
}

/// The operation that a request asks for, which may still be refused.
fn operation_of(request: &S3Request) -> RequestOperation {
    match request.bucket.as_deref() {
        Some(s3_endpoint::OWN) => RequestOperation::Sql,
        _ => RequestOperation::find(&parts_of(request)),
    }
}

/// The id of a request: the start in 8 hexadecimal digits, and the number in 12.
fn request_id(start: u32, number: u64) -> String {
    let mut id = String::with_capacity(20);
    // Every response has one, so the digits are written without an interpreter of formats.
    for (number, digits) in [(u64::from(start), 8), (number, 12)] {
        for digit in (0..digits).rev().map(|place| number >> (4 * place) & 0xf) {
            id.push(char::from(b"0123456789ABCDEF"[digit as usize]));
        }
    }
    id
}

/// The facts about a request that are known before its signature is looked at.
struct RequestPlace<'a> {
    /// The place that the host names.
    host: &'a HostTarget,
    /// The path with the bucket, also where the host names the bucket.
    path: &'a str,
    /// The request as one of a page of another origin, if a browser says so.
    page: Option<&'a CrossOriginRequest>,
}

impl S3Service {
    /// A service for requests in a context; SQL on the S3 address goes to `sql`.
    pub fn new(context: S3Context, sql: SqlService) -> Self {
        Self { context, sql, start: authentication::now() as u32, requests: AtomicU64::new(0) }
    }

    /// Serves one request. Never fails: an error becomes S3's response for it. Dropping the future ends the work at its
    /// next wait; a write that was submitted may still be done.
    pub async fn handle(
        self: Arc<Self>,
        request: http::Request<RequestBody>,
    ) -> http::Response<ResponseBody> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let id = request_id(self.start, number);
        let (parts, body) = request.into_parts();
        let address =
            parts.extensions.get::<Arc<ConnectionHandle>>().map(|connection| connection.peer());
        let mut caller = Caller::default();
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        let expects = parts.headers.contains_key(EXPECT);
        let is_copy = parts.headers.contains_key(&COPY_SOURCE);
        let is_empty = body.is_end_stream();
        let page = CrossOriginRequest::of(&parts, &self.context);
        let host = HostTarget::of(&parts, &self.context.options);
        let is_site = host.is_website() && method != http::Method::OPTIONS;
        let path = &address::resource_path(uri.path(), host.bucket());
        let place = RequestPlace { host: &host, path, page: page.as_ref() };
        let answered = self.answer_at(place, &id, &mut caller, parts, body).await;
        let error = answered.as_ref().err();
        let code = error.map_or("", |error| error.code.text());
        let cause = error.filter(|error| error.code.status() >= 500).map(|e| e.message.clone());
        let mut answer = answered.unwrap_or_else(|error| {
            let is_head = method == http::Method::HEAD;
            if is_site {
                website::page(&error, &id, is_head)
            } else {
                response::error(&error, path, &id, is_head)
            }
        });
        // A final answer without `100 Continue` before it is legal, and botocore takes it for an answer to
        // its next request on the connection, which then waits in vain. So the connection ends here.
        if expects && (is_empty || !answer.status().is_success()) {
            response::set(&mut answer, CONNECTION, "close");
        }
        if let Some(page) = &page {
            page.permit(&self.context, &mut answer);
        }
        let operation = caller.operation.unwrap_or_else(|| {
            RequestOperation::of_head(&method, path, uri.query().unwrap_or_default(), is_copy)
        });
        add_region(&mut answer, operation, &self.context);
        response::add_ids(&mut answer, &id);
        header_names::spell(&mut answer);
        let status = answer.status().as_u16();
        let (method, cause) = (&method, cause.as_deref());
        RequestReport { id: &id, operation, method, path, status, code, cause }
            .write(|| caller.who(address));
        answer
    }

    /// Serves one request to the endpoint that its method and its host name: preflight requests, websites, or S3.
    async fn answer_at<'a>(
        &'a self,
        RequestPlace { host, path, page }: RequestPlace<'_>,
        id: &str,
        caller: &mut Caller<'a>,
        parts: Parts,
        body: RequestBody,
    ) -> Result<http::Response<ResponseBody>, S3Error> {
        if parts.method == http::Method::OPTIONS {
            caller.operation = Some(RequestOperation::Preflight);
            check_head(&parts)?;
            return cors::preflight(&self.context, page);
        }
        match host {
            HostTarget::Website(site) => {
                caller.operation = Some(RequestOperation::Website);
                self.answer_website(id, caller, parts, site.clone()).await
            }
            HostTarget::Bucket(_) | HostTarget::Path => {
                check_head(&parts)?;
                check_method(&parts, path)?;
                self.answer(id, caller, parts, host.bucket(), body).await
            }
        }
    }

    /// Serves one request to the website of a bucket.
    async fn answer_website<'a>(
        &'a self,
        id: &str,
        caller: &mut Caller<'a>,
        parts: Parts,
        site: RequestTarget,
    ) -> Result<http::Response<ResponseBody>, S3Error> {
        check_head(&parts)?;
        website::check_method(&parts.method)?;
        let request = if website::is_signed(&parts) {
            let (options, users) = (&self.context.options.authentication, self.context.users());
            let bucket = site.bucket.as_deref();
            authentication::authenticate(options, users, id, caller, parts, bucket)?
        } else {
            website::anonymous(id, parts)?
        };
        // On the heap: the futures of other requests would grow with the largest.
        Box::pin(website::serve(&self.context, request, site)).await
    }

    /// Serves one request up to the response of its handler.
    async fn answer<'a>(
        &'a self,
        id: &str,
        caller: &mut Caller<'a>,
        parts: Parts,
        host_bucket: Option<&str>,
        body: RequestBody,
    ) -> Result<http::Response<ResponseBody>, S3Error> {
        if post::is_form(&parts, host_bucket) {
            // On the heap: the future would be moved with every request.
            return Box::pin(self.answer_form(id, caller, parts, host_bucket, body)).await;
        }
        let (options, users) = (&self.context.options.authentication, self.context.users());
        let mut request =
            authentication::authenticate(options, users, id, caller, parts, host_bucket)?;
        let found = operation_of(&request);
        caller.operation = Some(found);
        let found: Option<&'static OperationDefinition> = match found {
            RequestOperation::Sql => {
                return s3_endpoint::answer(&self.sql, &self.context, &request, body).await;
            }
            RequestOperation::S3(operation) => Some(operation.definition()),
            RequestOperation::PostgresLogin
            | RequestOperation::Preflight
            | RequestOperation::Website
            | RequestOperation::Unknown => None,
        };
        // Fails for an operation that is not served, and for a parameter or header that it does not obey.
        let operation = operation::check(found, &parts_of(&request))?;
        request.operation = Some(operation);
        let answer = dispatch::dispatch(&self.context, operation, &request, body).await;
        let mut answer = answer.map_err(|error| with_details(error, &request))?;
        if operation.is_write() {
            let at = vec![self.context.applied(request.bucket.as_deref().unwrap_or_default())];
            response::set(&mut answer, HeaderName::from_static(OFFSET_HEADER), &offset_text(&at));
        }
        Ok(answer)
    }

    /// Serves a browser's form, whose fields have the signature.
    async fn answer_form<'a>(
        &'a self,
        id: &str,
        caller: &mut Caller<'a>,
        parts: Parts,
        host_bucket: Option<&str>,
        body: RequestBody,
    ) -> Result<http::Response<ResponseBody>, S3Error> {
        address::check_host(&parts)?;
        let form = post::PostForm::open(&self.context, &parts, body).await?;
        let user = caller.find(self.context.users(), form.access_key())?;
        form.verify(user, &self.context.options.authentication)?;
        caller.prove(&parts);
        let now = authentication::now();
        let (request, sizes) = form.request(id, user, parts, host_bucket, now)?;
        let answer = post::put(&self.context, &request, sizes, form).await;
        let mut answer = answer.map_err(|error| with_details(error, &request))?;
        let at = vec![self.context.applied(request.bucket.as_deref().unwrap_or_default())];
        response::set(&mut answer, HeaderName::from_static(OFFSET_HEADER), &offset_text(&at));
        Ok(answer)
    }
}
