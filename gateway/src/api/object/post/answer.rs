//! The answer to a form that was stored: a status, a document, or a redirect, as the form wants it.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use s3::document::PostResponse;
use s3::form::FormFields;
use s3::host::Domains;
use s3::names;

use crate::api::address;
use crate::api::request::S3Request;
use crate::api::response::{self, ResponseBody};

/// The answer of PostObject, made from that of PutObject: 303 with a usable redirect, otherwise the status that the form
/// wants, 200 or 201, and 204 for any other. Must be called only after the object is durable.
pub fn answer(
    domains: &Domains,
    request: &S3Request,
    fields: &FormFields,
    mut stored: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let bucket = request.bucket.clone().unwrap_or_default();
    let key = request.key.clone().unwrap_or_default();
    let etag = stored.headers().get("etag").and_then(|etag| etag.to_str().ok());
    let etag = etag.unwrap_or_default().to_owned();
    let wanted = ["success_action_redirect", "redirect"].iter().find_map(|name| fields.get(name));
    let redirect = wanted.and_then(|url| redirect_to(&url, &bucket, &key, &etag));
    if let Some(location) = redirect {
        *stored.status_mut() = StatusCode::SEE_OTHER;
        stored.headers_mut().insert("location", location);
        return stored;
    }
    let mut location = address::object_url(&request.parts, domains, &bucket, "");
    location.push_str(&names::encode(&key));
    response::set(&mut stored, "location", &location);
    match fields.get("success_action_status").as_deref().map(str::trim) {
        Some("200") => *stored.status_mut() = StatusCode::OK,
        Some("201") => {
            *stored.status_mut() = StatusCode::CREATED;
            let text = PostResponse { location, bucket, key, etag }.to_xml();
            *stored.body_mut() = ResponseBody::Whole(Some(Bytes::from(text)));
            response::set(&mut stored, "content-type", "application/xml");
        }
        _ => *stored.status_mut() = StatusCode::NO_CONTENT,
    }
    stored
}

/// The URL of a redirect with what was stored. `None` for a text that is no absolute URL of HTTP, which is ignored as AWS
/// ignores it.
fn redirect_to(url: &str, bucket: &str, key: &str, etag: &str) -> Option<HeaderValue> {
    let (scheme, rest) = url.split_once("://")?;
    let is_http = ["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    if !is_http || rest.is_empty() || rest.starts_with(['/', '?', '#']) {
        return None;
    }
    let (place, fragment) = match url.split_once('#') {
        Some((place, fragment)) => (place, format!("#{fragment}")),
        None => (url, String::new()),
    };
    let and = if place.contains('?') { '&' } else { '?' };
    let encode = |text: &str| names::encode(text).replace("%20", "+");
    let text = format!(
        "{place}{and}bucket={}&key={}&etag={}{fragment}",
        encode(bucket),
        encode(key),
        encode(etag)
    );
    HeaderValue::from_bytes(text.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_tells_what_was_stored() {
        for (url, wanted) in [
            ("http://a.b/c", "http://a.b/c?bucket=photos&key=a%2Fb+%C5%BE&etag=%221%22"),
            ("HTTPS://a?x=1", "HTTPS://a?x=1&bucket=photos&key=a%2Fb+%C5%BE&etag=%221%22"),
            ("http://a/#b?c", "http://a/?bucket=photos&key=a%2Fb+%C5%BE&etag=%221%22#b?c"),
        ] {
            assert_eq!(redirect_to(url, "photos", "a/b ž", "\"1\"").unwrap(), wanted, "{url}");
        }
        let none = [
            "",
            "/relative",
            "a",
            "javascript:alert(1)",
            "ftp://a/b",
            "http:///a",
            "http://",
            "http://?a",
            "http://a/\r\nset-cookie: a",
            "http://a/\u{0}",
            "//a/b",
        ];
        for url in none {
            assert_eq!(redirect_to(url, "photos", "a", "\"1\""), None, "{url:?}");
        }
    }
}
