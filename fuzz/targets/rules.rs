//! Rules of buckets and names of hosts: CORS, websites and virtual hosts. Each decision is compared with that of a simpler
//! program.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use http::HeaderValue;
use s3::cors::{self, CorsRequest};
use s3::document::{CorsConfiguration, CorsRule, RoutingRule, WebsiteConfiguration};
use s3::host::Domains;
use s3::names::number;
use s3::website::host::WebsiteDomains;
use s3::website::{self, Redirect, Route, WebsiteRequest};
use s3::xml;

/// The first `N` texts of an input, which zero bytes separate; missing ones are empty. `None` for bytes that are not text.
fn texts<const N: usize>(data: &[u8]) -> Option<[&str; N]> {
    let mut all = std::str::from_utf8(data).ok()?.split('\0');
    Some(std::array::from_fn(|_| all.next().unwrap_or_default()))
}

/// Returns true for a text that can be the value of a header as clients send it.
fn is_header(text: &str) -> bool {
    HeaderValue::from_str(text).is_ok()
}

/// Returns true if a text is a pattern's, in which each star stands for any bytes.
fn is_glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| is_glob(rest, &text[at..])),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, text)| first == byte && is_glob(rest, text))
        }
    }
}

fn permits(rule: &CorsRule, request: &CorsRequest<'_>) -> bool {
    let is_any = |patterns: &[String], text: &str| {
        patterns.iter().any(|pattern| is_glob(pattern.as_bytes(), text.as_bytes()))
    };
    let patterns: Vec<_> =
        rule.allowed_headers.iter().map(|name| name.to_ascii_lowercase()).collect();
    let asked = request.headers.unwrap_or_default().to_ascii_lowercase();
    let mut names = asked.split(',').map(str::trim).filter(|name| !name.is_empty());
    rule.allowed_methods.iter().any(|method| method == request.method)
        && is_any(&rule.allowed_origins, request.origin)
        && names.all(|name| is_any(&patterns, name))
}

/// Decides a request by the CORS rules of a bucket. The texts of the input are the document, the origin, the method, and
/// the headers that a preflight request asks for.
pub fn cors(data: &[u8]) {
    let Some([document, origin, method, headers]) = texts(data) else { return };
    let Ok(rules) = xml::read::<CorsConfiguration>(document.as_bytes()) else { return };
    let written = xml::write(&rules).unwrap();
    assert_eq!(xml::read::<CorsConfiguration>(written.as_bytes()).as_ref(), Ok(&rules));
    if cors::check(&rules).is_err() || !is_header(origin) || !is_header(headers) {
        return;
    }
    let headers = (!headers.is_empty()).then_some(headers);
    let request = CorsRequest { origin, method, headers };
    let wanted = rules.rules.iter().find(|rule| permits(rule, &request));
    let grant = cors::grant(&rules, &request);
    assert_eq!(grant.is_some(), wanted.is_some());
    let (Some(grant), Some(rule)) = (grant, wanted) else { return };
    let answered = grant.headers();
    let value = |name: &str| {
        let mut found = answered.iter().filter(|(known, _)| *known == name);
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        value
    };
    for (name, value) in &answered {
        assert!(is_header(value), "{name}: {value:?} cannot be sent");
    }
    let told = value("access-control-allow-origin").unwrap();
    assert!(told == origin || told == "*", "another origin is told");
    assert_eq!(value("access-control-allow-methods"), Some(&*rule.allowed_methods.join(", ")));
    let is_for_all = told == "*" && rule.allowed_origins.iter().any(|pattern| pattern == "*");
    assert_eq!(value("access-control-allow-credentials").is_none(), told == "*");
    assert!(is_for_all || told == origin, "a rule for some origins is told as one for all");
    let age = rule.max_age_seconds.map(|seconds| seconds.to_string());
    assert_eq!(value("access-control-max-age"), age.as_deref());
}

fn applies(rule: &RoutingRule, key: &str, status: Option<u16>) -> bool {
    let condition = rule.condition.clone().unwrap_or_default();
    let code = condition.http_error_code_returned_equals.map(|code| number::<u16>(&code).unwrap());
    code == status && key.starts_with(&condition.key_prefix_equals.unwrap_or_default())
}

/// Fails unless a redirect can be sent, and goes to the host of the rule, or without one to the host of the request.
fn check_redirect(redirect: &Redirect, host: &str, protocol: &str) {
    let Redirect { status, location } = redirect;
    assert!((301..400).contains(status), "{status}");
    assert!(is_header(location), "{location:?} cannot be sent");
    let place = format!("{protocol}://{host}/");
    assert!(location.starts_with(&place), "{location} is not at {place}");
    assert!(!location.contains([' ', '<', '>', '"']), "{location}");
}

fn check_rule(found: Option<&Redirect>, rule: Option<&RoutingRule>, request: &WebsiteRequest<'_>) {
    assert_eq!(found.is_some(), rule.is_some());
    let (Some(found), Some(rule)) = (found, rule) else { return };
    let host = rule.redirect.host_name.as_deref().unwrap_or(request.host);
    check_redirect(found, host, rule.redirect.protocol.as_deref().unwrap_or(request.protocol));
    let code =
        rule.redirect.http_redirect_code.as_deref().map_or(301, |code| number(code).unwrap());
    assert_eq!(found.status, code);
}

/// Routes a request by a website's configuration. The texts of the input are the document, the host, the key, the query,
/// and the status of an error.
pub fn website(data: &[u8]) {
    let Some([document, host, key, query, status]) = texts(data) else { return };
    let Ok(site) = xml::read::<WebsiteConfiguration>(document.as_bytes()) else { return };
    let written = xml::write(&site).unwrap();
    assert_eq!(xml::read::<WebsiteConfiguration>(written.as_bytes()).as_ref(), Ok(&site));
    if website::check(&site).is_err()
        || !is_header(host)
        || host.is_empty()
        || host.contains([' ', '<', '>', '"'])
    {
        return;
    }
    let request = WebsiteRequest { protocol: "http", host, key, query };
    let rules = site.routing_rules.as_ref().map_or(&[][..], |rules| &rules.rules);
    let (suffix, all) = (site.index_document.as_ref(), site.redirect_all_requests_to.as_ref());
    match (website::route(&site, &request), all) {
        (Route::Redirect(found), Some(all)) => {
            check_redirect(&found, &all.host_name, all.protocol.as_deref().unwrap_or("http"));
            return;
        }
        (Route::Redirect(found), None) => {
            let rule = rules.iter().find(|rule| applies(rule, key, None));
            check_rule(Some(&found), rule, &request);
        }
        (Route::Object(found), None) => {
            check_rule(None, rules.iter().find(|rule| applies(rule, key, None)), &request);
            let is_folder = key.is_empty() || key.ends_with('/');
            let end = if is_folder { &*suffix.unwrap().suffix } else { "" };
            assert_eq!(found, format!("{key}{end}"));
        }
        (Route::Object(_), Some(_)) => panic!("not every request is redirected"),
    }
    if let Some(index) = website::folder_index(&site, key) {
        assert!(index.starts_with(key) && index[key.len()..].starts_with('/'));
        let location = website::to_folder(key).location;
        assert!(is_header(&location), "{location:?} cannot be sent");
        assert!(location.starts_with('/') && !location[1..].starts_with(['/', '\\']), "{location}");
    }
    let status = number::<u16>(status).unwrap_or(404);
    let rule = rules.iter().find(|rule| applies(rule, key, Some(status)));
    check_rule(website::route_of_error(&site, &request, status).as_ref(), rule, &request);
}

/// The text before the longest of the domains that a host is below, in lower case; empty for a domain itself.
fn before<'a>(host: &str, domains: impl Iterator<Item = &'a str>) -> Option<String> {
    let name =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = name.map_or(host, |(name, _)| name);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let mut domains: Vec<_> = domains.map(|domain| domain.trim().to_ascii_lowercase()).collect();
    domains.sort_by_key(|domain| std::cmp::Reverse(domain.len()));
    domains.iter().filter(|domain| !domain.is_empty()).find_map(|domain| {
        let before = name.strip_suffix(domain.as_str())?;
        if before.is_empty() {
            Some(String::new())
        } else {
            before.strip_suffix('.').map(str::to_owned)
        }
    })
}

/// Finds the bucket in the name of a host. The texts of the input are the domains of buckets, those of websites, and the
/// host.
pub fn host(data: &[u8]) {
    let Some([domains, websites, host]) = texts(data) else { return };
    if let Ok(parsed) = domains.parse::<Domains>() {
        let wanted = before(host, domains.split(',').chain(["localhost"]));
        assert_eq!(parsed.bucket_of(host), wanted.filter(|bucket| !bucket.is_empty()));
    }
    if let Ok(parsed) = websites.parse::<WebsiteDomains>() {
        assert_eq!(parsed.bucket_of(host), before(host, websites.split(',')));
        assert_eq!(parsed.to_string().parse().as_ref(), Ok(&parsed));
    }
}
