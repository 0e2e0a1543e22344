//! Configurations that are refused, routes of requests, and pages of errors.

use super::*;
use crate::error::{ALLOW, ErrorCode, S3Error};
use crate::website::page::{error_page, without_document};
use crate::xml;

/// A configuration with the content of its root element.
fn site(content: &str) -> Result<WebsiteConfiguration, S3Error> {
    let document = format!("<WebsiteConfiguration>{content}</WebsiteConfiguration>");
    let site: WebsiteConfiguration = xml::read(document.as_bytes())?;
    check(&site)?;
    let again = xml::write(&site).unwrap();
    assert_eq!(xml::read::<WebsiteConfiguration>(again.as_bytes()).unwrap(), site);
    Ok(site)
}

const INDEX: &str = "<IndexDocument><Suffix>index.html</Suffix></IndexDocument>";

fn with_rules(rules: &[(&str, &str)]) -> Result<WebsiteConfiguration, S3Error> {
    let rule = |(condition, redirect): &(&str, &str)| {
        let condition = match *condition {
            "" => String::new(),
            condition => format!("<Condition>{condition}</Condition>"),
        };
        format!("<RoutingRule>{condition}<Redirect>{redirect}</Redirect></RoutingRule>")
    };
    let rules: String = rules.iter().map(rule).collect();
    site(&format!("{INDEX}<RoutingRules>{rules}</RoutingRules>"))
}

const TO_HOST: &str = "<HostName>example.com</HostName>";

#[test]
fn configurations_that_aws_refuses_are_refused() {
    let all = "<RedirectAllRequestsTo><HostName>example.com</HostName></RedirectAllRequestsTo>";
    for good in [
        INDEX.to_owned(),
        all.to_owned(),
        all.replace("</HostName>", "</HostName><Protocol>https</Protocol>"),
        format!("{INDEX}<ErrorDocument><Key>errors/4xx.html</Key></ErrorDocument>"),
    ] {
        assert!(site(&good).is_ok(), "{good}");
    }
    let (argument, request, malformed) =
        (ErrorCode::InvalidArgument, ErrorCode::InvalidRequest, ErrorCode::MalformedXml);
    for (wrong, code) in [
        (String::new(), argument),
        ("<ErrorDocument><Key>a</Key></ErrorDocument>".into(), argument),
        (INDEX.replace("index.html", "a/index.html"), argument),
        (INDEX.replace("index.html", ""), argument),
        ("<IndexDocument/>".into(), malformed),
        (INDEX.repeat(2), malformed),
        (format!("{INDEX}<Unknown/>"), malformed),
        (format!("{INDEX}<ErrorDocument><Key/></ErrorDocument>"), malformed),
        (format!("{INDEX}<RoutingRules/>"), malformed),
        (format!("{INDEX}{all}"), argument),
        (format!("{all}<ErrorDocument><Key>a</Key></ErrorDocument>"), argument),
        ("<RedirectAllRequestsTo/>".into(), malformed),
        (all.replace("example.com", ""), request),
        (all.replace("example.com", "a/b"), request),
        (all.replace("example.com", "a&#10;b"), request),
        (all.replace("</HostName>", "</HostName><Protocol>ftp</Protocol>"), request),
    ] {
        assert_eq!(site(&wrong).unwrap_err().code, code, "{wrong}");
    }
}

#[test]
fn rules_that_aws_refuses_are_refused() {
    let code =
        |code: &str| format!("<HttpErrorCodeReturnedEquals>{code}</HttpErrorCodeReturnedEquals>");
    let status = |status: &str| format!("<HttpRedirectCode>{status}</HttpRedirectCode>");
    for (condition, redirect) in [
        ("", TO_HOST.to_owned()),
        ("<KeyPrefixEquals/>", TO_HOST.to_owned()),
        ("", "<ReplaceKeyPrefixWith/>".to_owned()),
        ("", status("301")),
        ("", status("399")),
        (code("404").as_str(), TO_HOST.to_owned()),
        (code("599").as_str(), TO_HOST.to_owned()),
    ] {
        assert!(with_rules(&[(condition, &redirect)]).is_ok(), "{condition} {redirect}");
    }
    let both = "<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>b</ReplaceKeyPrefixWith>";
    for (condition, redirect) in [
        ("<!-- none -->", TO_HOST.to_owned()),
        ("", both.to_owned()),
        ("", status("200")),
        ("", status("300")),
        ("", status("400")),
        ("", status("abc")),
        ("", "<Protocol>gopher</Protocol>".to_owned()),
        ("", "<HostName/>".to_owned()),
        ("", "<HostName>a@b</HostName>".to_owned()),
        (code("302").as_str(), TO_HOST.to_owned()),
        (code("600").as_str(), TO_HOST.to_owned()),
        (code("").as_str(), TO_HOST.to_owned()),
    ] {
        let error = with_rules(&[(condition, &redirect)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{condition} {redirect}");
    }
    for (condition, redirect) in [("", ""), ("", "<Unknown/>"), ("<Unknown/>", TO_HOST)] {
        let error = with_rules(&[(condition, redirect)]).unwrap_err();
        assert_eq!(error.code, ErrorCode::MalformedXml, "{condition} {redirect}");
    }
    assert!(with_rules(&[("", TO_HOST); 50]).is_ok());
    let many = with_rules(&[("", TO_HOST); 51]).unwrap_err();
    assert!(many.message.starts_with("51 routing rules"), "{many}");
}

fn asked<'a>(key: &'a str, query: &'a str) -> WebsiteRequest<'a> {
    WebsiteRequest { protocol: "http", host: "site.localhost:9000", key, query }
}

/// The route of a request as a text: a key, or status and URL.
fn routed(site: &WebsiteConfiguration, key: &str, query: &str) -> String {
    match route(site, &asked(key, query)) {
        Route::Object(key) => key,
        Route::Redirect(to) => format!("{} {}", to.status, to.location),
    }
}

#[test]
fn folders_are_their_index_documents() {
    let site = site(INDEX).unwrap();
    for (key, wanted) in [
        ("", "index.html"),
        ("a/", "a/index.html"),
        ("/", "/index.html"),
        ("a//", "a//index.html"),
        ("a", "a"),
        ("a/b.css", "a/b.css"),
    ] {
        assert_eq!(routed(&site, key, "x=1"), wanted, "{key}");
    }
    for (key, wanted) in
        [("a", Some("a/index.html")), ("a/b", Some("a/b/index.html")), ("", None), ("a/", None)]
    {
        assert_eq!(folder_index(&site, key).as_deref(), wanted, "{key}");
    }
    let folder = to_folder("ž a");
    assert_eq!((folder.status, folder.location.as_str()), (302, "/%C5%BE%20a/"));
    assert_eq!(to_folder("/example.com").location, "/%2Fexample.com/", "no other host");
    assert_eq!(route_of_error(&site, &asked("a", ""), 404), None);
}

#[test]
fn all_requests_go_to_another_host() {
    let to = |protocol: &str| {
        site(&format!(
            "<RedirectAllRequestsTo><HostName>example.com</HostName>{protocol}</RedirectAllRequestsTo>"
        ))
        .unwrap()
    };
    let same = to("");
    assert_eq!(routed(&same, "", ""), "301 http://example.com/");
    assert_eq!(routed(&same, "a b/", "x=1&y"), "301 http://example.com/a%20b/?x=1&y");
    assert_eq!(routed(&to("<Protocol>https</Protocol>"), "a", ""), "301 https://example.com/a");
}

#[test]
fn the_first_rule_that_applies_decides() {
    let site = with_rules(&[
        (
            "<KeyPrefixEquals>docs/</KeyPrefixEquals>",
            "<ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith>",
        ),
        ("<KeyPrefixEquals>images/</KeyPrefixEquals>", "<ReplaceKeyWith>folder gone.html</ReplaceKeyWith>"),
        (
            "<KeyPrefixEquals>old</KeyPrefixEquals>",
            "<Protocol>https</Protocol><HostName>example.com</HostName><HttpRedirectCode>307</HttpRedirectCode>",
        ),
        (
            "<KeyPrefixEquals>thumbs/</KeyPrefixEquals><HttpErrorCodeReturnedEquals>404</HttpErrorCodeReturnedEquals>",
            "<HostName>resize.example.com</HostName><ReplaceKeyPrefixWith>v1?key=</ReplaceKeyPrefixWith>",
        ),
        (
            "<HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals>",
            "<ReplaceKeyWith>login</ReplaceKeyWith>",
        ),
    ])
    .unwrap();
    for (key, query, wanted) in [
        ("docs/a.html", "", "301 http://site.localhost:9000/documents/a.html"),
        ("docs/a b", "x=1", "301 http://site.localhost:9000/documents/a%20b?x=1"),
        ("docs/", "", "301 http://site.localhost:9000/documents/"),
        ("doc", "", "doc"),
        ("images/a", "", "301 http://site.localhost:9000/folder%20gone.html"),
        ("older/?", "", "307 https://example.com/older/%3F"),
        ("thumbs/a", "", "thumbs/a"),
        ("", "", "index.html"),
    ] {
        assert_eq!(routed(&site, key, query), wanted, "{key}");
    }
    for (key, status, wanted) in [
        ("thumbs/a b.png", 404, Some("301 http://resize.example.com/v1?key=a%20b.png")),
        ("thumbs/a", 403, Some("301 http://site.localhost:9000/login")),
        ("other", 404, None),
        ("docs/a", 404, None),
        ("thumbs/a", 500, None),
    ] {
        let found = route_of_error(&site, &asked(key, ""), status);
        let found = found.map(|to| format!("{} {}", to.status, to.location));
        assert_eq!(found.as_deref(), wanted, "{key} {status}");
    }
    let everything =
        with_rules(&[("", "<ReplaceKeyPrefixWith>a/</ReplaceKeyPrefixWith>")]).unwrap();
    assert_eq!(routed(&everything, "b", ""), "301 http://site.localhost:9000/a/b");
}

#[test]
fn a_page_has_no_markup_of_clients() {
    let key = "<script>alert(\"1\")</script>&";
    let error = S3Error::from(ErrorCode::NoSuchKey).with("Key", key).with(ALLOW, "GET");
    let page = error_page(&error, "ID<", "host");
    assert!(page.contains("<title>404 Not Found</title>"), "{page}");
    assert!(page.contains("<li>Code: NoSuchKey</li>"), "{page}");
    assert!(
        page.contains("<li>Key: &lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&amp;</li>"),
        "{page}"
    );
    assert!(page.contains("<li>RequestId: ID&lt;</li>"), "{page}");
    assert!(
        !page.contains("<script>") && !page.contains("Allow") && !page.contains("<h3>"),
        "{page}"
    );
    let cause = S3Error::from(ErrorCode::AccessDenied);
    let page = error_page(&without_document(error, "<b>", &cause), "ID", "host");
    let (first, nested) = page.split_once("<h3>").unwrap();
    assert!(first.contains("NoSuchKey") && !first.contains("AccessDenied"), "{page}");
    assert!(nested.contains("<li>Code: AccessDenied</li>"), "{page}");
    assert!(nested.contains("<li>Key: &lt;b&gt;</li>"), "{page}");
}
