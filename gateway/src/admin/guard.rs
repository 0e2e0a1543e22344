//! What a web page in an operator's browser must not reach.
//!
//! The admin address asks for no credentials (SQL apart), since only this machine reaches it. A browser on this
//! machine does, too, on behalf of any page: it sends forms to `http://127.0.0.1:9001`, and with a name that an
//! attacker's server lets point here it even reads answers. Three things tell such requests from those of an
//! operator: the name they were sent to, the page they come from, and headers that no form can send.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The header that only programs send.
const OWN: &str = "x-siltstone";

/// Lets a request pass, or refuses it in words.
pub async fn check(State(port): State<u16>, request: Request, next: Next) -> Response {
    match refusal(request.method(), request.headers(), port) {
        None => next.run(request).await,
        Some(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
    }
}

/// Why a request is refused, if it is.
fn refusal(method: &Method, headers: &HeaderMap, port: u16) -> Option<&'static str> {
    let Some(host) = only(headers, header::HOST.as_str()) else {
        return Some("the Host header must be there, once");
    };
    if !is_own(host, port) {
        return Some("the Host header must be a loopback address or localhost, with this port");
    }
    if headers.contains_key(header::ORIGIN) {
        let origin = only(headers, header::ORIGIN.as_str());
        let origin = origin.and_then(|origin| origin.strip_prefix("http://"));
        if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Some("requests of pages of other origins are refused");
        }
    }
    if headers.contains_key("sec-fetch-site")
        && !matches!(only(headers, "sec-fetch-site"), Some("none" | "same-origin"))
    {
        return Some("requests of pages of other sites are refused");
    }
    let is_reading = matches!(*method, Method::GET | Method::HEAD);
    if !is_reading && !headers.contains_key(OWN) && is_form_of_browser(headers) {
        return Some("a browser's form is refused; programs send the header x-siltstone");
    }
    None
}

/// A header that is there once, as text.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// Tells that a host is this machine, by a name that nobody else can give away.
fn is_own(host: &str, port: u16) -> bool {
    let (name, given) = match host.rsplit_once(':') {
        Some((name, given)) if !given.ends_with(']') => (name, given.parse().ok()),
        _ => (host, Some(80)),
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let is_loopback = bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    given == Some(port) && (is_loopback || bare.eq_ignore_ascii_case("localhost"))
}

/// Browsers of old send forms to other sites without saying so. Programs that call themselves browsers do not
/// send forms here.
fn is_form_of_browser(headers: &HeaderMap) -> bool {
    let text = |name| only(headers, name).unwrap_or_default();
    let is_browser = text("user-agent").starts_with("Mozilla/")
        || headers.contains_key(header::REFERER)
        || headers.contains_key(header::COOKIE)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"));
    let kind =
        text("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let kinds = ["", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    is_browser && kinds.contains(&kind.as_str())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn is_refused(method: &str, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        refusal(&method.parse().unwrap(), &map, 9001).is_some()
    }

    #[test]
    fn a_host_that_others_can_name_is_refused() {
        for host in
            ["127.0.0.1:9001", "localhost:9001", "LOCALHOST:9001", "[::1]:9001", "127.9.9.9:9001"]
        {
            for method in ["GET", "POST"] {
                assert!(!is_refused(method, &[("host", host)]), "{host}");
            }
        }
        for host in [
            "evil.example:9001",
            "evil.example",
            "127.0.0.1",
            "127.0.0.1:9000",
            "localhost.evil.example:9001",
            "10.0.0.1:9001",
            "127.0.0.1.evil.example:9001",
            "x",
            "",
            ":9001",
            "[::2]:9001",
            "[::1]",
        ] {
            assert!(is_refused("GET", &[("host", host)]), "{host}");
        }
        assert!(is_refused("GET", &[]));
        assert!(is_refused("GET", &[("host", "127.0.0.1:9001"), ("host", "127.0.0.1:9001")]));
    }

    #[test]
    fn pages_of_others_are_refused_and_programs_are_not() {
        let host = ("host", "127.0.0.1:9001");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let browser = ("user-agent", "Mozilla/5.0 (X11)");
        for (headers, refused) in [
            (vec![host], false),
            // urllib, requests and curl name a form's content type when they send anything at all.
            (vec![host, form], false),
            (vec![host, form, ("user-agent", "curl/8")], false),
            (vec![host, ("content-type", "text/plain")], false),
            (vec![host, ("origin", "http://evil.example")], true),
            (vec![host, ("origin", "null")], true),
            (vec![host, ("origin", "http://127.0.0.1:9001")], false),
            (vec![host, ("origin", "http://127.0.0.1:3000")], true),
            (vec![host, ("origin", "https://127.0.0.1:9001")], true),
            (vec![host, ("sec-fetch-site", "cross-site")], true),
            (vec![host, ("sec-fetch-site", "same-site")], true),
            (vec![host, browser, form], true),
            (vec![host, browser], true),
            (vec![host, browser, form, ("x-siltstone", "1")], false),
            (vec![host, form, ("referer", "http://evil.example/")], true),
            (vec![host, form, ("cookie", "a=b")], true),
        ] {
            assert_eq!(is_refused("POST", &headers), refused, "{headers:?}");
        }
        // Somebody looks at the metrics in a browser.
        assert!(!is_refused("GET", &[host, browser, ("sec-fetch-site", "none")]));
        assert!(is_refused("GET", &[host, browser, ("sec-fetch-site", "cross-site")]));
    }
}
