//! Rules that are refused, requests that match rules, and the headers of answers.

use proptest::prelude::*;

use super::*;
use crate::xml;

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

fn rule(methods: &[&str], origins: &[&str], headers: &[&str]) -> CorsRule {
    CorsRule {
        id: None,
        allowed_headers: texts(headers),
        allowed_methods: texts(methods),
        allowed_origins: texts(origins),
        expose_headers: Vec::new(),
        max_age_seconds: None,
    }
}

fn rules(rules: &[CorsRule]) -> CorsConfiguration {
    CorsConfiguration { rules: rules.to_vec() }
}

/// The headers of the answer to a request, without `Vary`; `None` if no rule matches.
fn answer(
    configuration: &CorsConfiguration,
    (origin, method, headers): (&str, &str, Option<&str>),
) -> Option<Vec<(&'static str, String)>> {
    let grant = grant(configuration, &CorsRequest { origin, method, headers })?;
    let mut headers = grant.headers();
    assert_eq!(headers.pop(), Some(("vary", VARY.to_owned())));
    Some(headers)
}

#[test]
fn a_document_is_read_with_all_its_elements_and_no_others() {
    let of = |fields: &str| {
        xml::read::<CorsConfiguration>(
            format!("<CORSConfiguration><CORSRule>{fields}</CORSRule></CORSConfiguration>")
                .as_bytes(),
        )
    };
    let least = "<AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin>";
    for more in [
        "",
        "<AllowedMethod>PUT</AllowedMethod><AllowedOrigin/><AllowedHeader/><ExposeHeader>a</ExposeHeader>",
        "<ID>a</ID><MaxAgeSeconds> 0 </MaxAgeSeconds>",
    ] {
        let read = of(&format!("{least}{more}")).unwrap();
        assert_eq!(check(&read), Ok(()), "{more}");
        let written = xml::write(&read).unwrap();
        assert_eq!(xml::read::<CorsConfiguration>(written.as_bytes()), Ok(read));
    }
    for more in [
        "<MaxAgeSeconds>-1</MaxAgeSeconds>",
        "<MaxAgeSeconds>1.5</MaxAgeSeconds>",
        "<MaxAgeSeconds>1</MaxAgeSeconds><MaxAgeSeconds>2</MaxAgeSeconds>",
        "<ID>a</ID><ID>b</ID>",
        "<AllowedHeaders>a</AllowedHeaders>",
        "<AllowedHeader><A/></AllowedHeader>",
    ] {
        assert!(of(&format!("{least}{more}")).is_err(), "{more}");
    }
    assert!(of("").is_err());
    assert!(of("<AllowedMethod>GET</AllowedMethod>").is_err());
    assert!(of("<AllowedOrigin>*</AllowedOrigin>").is_err());
    assert!(xml::read::<CorsConfiguration>(b"<CORSConfiguration/>").is_err());
}

#[test]
fn rules_that_aws_refuses_are_refused() {
    let malformed = ErrorCode::MalformedXml;
    let invalid = ErrorCode::InvalidRequest;
    let good = rule(&["GET"], &["*"], &[]);
    let with = |change: fn(&mut CorsRule)| {
        let mut rule = good.clone();
        change(&mut rule);
        rules(&[good.clone(), rule])
    };
    assert_eq!(check(&rules(&vec![good.clone(); 100])), Ok(()));
    assert_eq!(check(&with(|rule| rule.id = Some("ž".repeat(255)))), Ok(()));
    assert_eq!(check(&with(|rule| rule.max_age_seconds = Some(i32::MAX as u32))), Ok(()));
    assert_eq!(check(&with(|rule| rule.allowed_origins.push(String::new()))), Ok(()));
    for (configuration, code, part) in [
        (rules(&[]), malformed, ""),
        (rules(&vec![good.clone(); 101]), malformed, ""),
        (with(|rule| rule.allowed_methods.clear()), malformed, ""),
        (with(|rule| rule.allowed_origins.clear()), malformed, ""),
        (with(|rule| rule.max_age_seconds = Some(1 << 31)), malformed, ""),
        (with(|rule| rule.allowed_methods.push("OPTIONS".into())), invalid, "method is OPTIONS"),
        (with(|rule| rule.allowed_methods.push("get".into())), invalid, "method is get"),
        (with(|rule| rule.allowed_methods.push("*".into())), invalid, "method is *"),
        (with(|rule| rule.allowed_methods.push(String::new())), invalid, "method is "),
        (with(|rule| rule.allowed_origins.push("*a*".into())), invalid, "AllowedOrigin \"*a*\""),
        (with(|rule| rule.allowed_headers.push("**".into())), invalid, "AllowedHeader \"**\""),
        (with(|rule| rule.expose_headers.push("x-*".into())), invalid, "ExposeHeader \"x-*\""),
        (with(|rule| rule.id = Some("a".repeat(256))), invalid, "255"),
    ] {
        let error = check(&configuration).unwrap_err();
        assert_eq!(error.code, code, "{configuration:?}");
        assert!(error.message.contains(part), "{} has no {part}", error.message);
    }
}

#[test]
fn the_first_rule_decides_that_names_origin_method_and_headers() {
    let configuration = rules(&[
        rule(&["GET"], &["*suffix"], &[]),
        rule(&["GET"], &["start*end"], &[]),
        rule(&["GET"], &["prefix*"], &[]),
        rule(&["PUT", "DELETE"], &["*.put"], &["x-amz-*", "Content-Type"]),
        rule(&["PUT"], &["*"], &["*-md5"]),
    ]);
    for (origin, method, headers, allowed) in [
        ("foo.suffix", "GET", None, Some(("foo.suffix", "GET"))),
        ("foo.bar", "GET", None, None),
        ("foo.suffix.get", "GET", None, None),
        ("startend", "GET", None, Some(("startend", "GET"))),
        ("start12end", "GET", None, Some(("start12end", "GET"))),
        ("0start12end", "GET", None, None),
        ("starend", "GET", None, None),
        ("prefix", "GET", None, Some(("prefix", "GET"))),
        ("PREFIX", "GET", None, None),
        ("prefix.suffix", "GET", Some(""), Some(("prefix.suffix", "GET"))),
        ("prefix.suffix", "GET", Some("x-amz-date"), None),
        ("prefix", "get", None, None),
        ("prefix", "OPTIONS", None, None),
        ("foo.put", "DELETE", None, Some(("foo.put", "PUT, DELETE"))),
        ("foo.put", "DELETE", Some("x-amz-date"), Some(("foo.put", "PUT, DELETE"))),
        ("foo.put", "DELETE", Some("authorization"), None),
        ("foo.put", "PUT", Some("content-type,Content-MD5"), None),
        ("foo.put", "PUT", Some("content-md5"), Some(("*", "PUT"))),
        ("null", "PUT", None, Some(("*", "PUT"))),
        ("", "PUT", None, Some(("*", "PUT"))),
    ] {
        let found = answer(&configuration, (origin, method, headers));
        let found = found.as_ref().map(|headers| (headers[0].1.as_str(), headers[1].1.as_str()));
        assert_eq!(found, allowed, "{origin} {method} {headers:?}");
    }
}

#[test]
fn an_answer_has_the_headers_that_aws_sends() {
    let mut first = rule(&["GET", "PUT"], &["https://a"], &["x-AMZ-date", "*"]);
    first.expose_headers = texts(&["ETag", "two words", "line\nend", "x-amz-id-2"]);
    first.max_age_seconds = Some(0);
    let all = rule(&["GET"], &["https://b", "*"], &[]);
    let configuration = rules(&[first, all]);
    let headers = answer(&configuration, ("https://a", "GET", Some(" X-Amz-Date ,,B,c ")));
    let wanted = [
        ("access-control-allow-origin", "https://a"),
        ("access-control-allow-methods", "GET, PUT"),
        ("access-control-allow-headers", "x-amz-date, b, c"),
        ("access-control-expose-headers", "ETag, x-amz-id-2"),
        ("access-control-max-age", "0"),
        ("access-control-allow-credentials", "true"),
    ];
    assert_eq!(headers, Some(wanted.map(|(name, value)| (name, value.to_owned())).to_vec()));
    let wanted = [("access-control-allow-origin", "*"), ("access-control-allow-methods", "GET")];
    let wanted = Some(wanted.map(|(name, value)| (name, value.to_owned())).to_vec());
    assert_eq!(answer(&configuration, ("https://c", "GET", None)), wanted);
    let named = answer(&configuration, ("https://b", "GET", None)).unwrap();
    assert_eq!(named[0].1, "https://b", "the element that matches first names the origin");
}

#[test]
fn the_work_for_a_request_is_bounded_by_the_rules() {
    let names = |count| (0..count).map(|at| format!("x-{at}")).collect::<Vec<_>>();
    let of = |allowed: Vec<String>| {
        let mut one = rule(&["GET"], &["*"], &[]);
        one.allowed_headers = allowed;
        rules(&[one])
    };
    // The largest documents: patterns that match nothing, and those that match the last name.
    let many: Vec<String> = (0..1500).map(|at| format!("y*{at}")).collect();
    let all = of(vec!["*".into()]);
    let exact = of(names(2000));
    let patterns = of([many, vec!["X-*".into()]].concat());
    for (count, is_allowed) in [(1, true), (100, true), (101, false), (8000, false)] {
        let names = names(count);
        let doubled = names.iter().map(|name| format!("{},{name}", name.to_uppercase()));
        for asked in [names.join(","), format!(" ,{},, ", names.join(" , "))] {
            for configuration in [&all, &exact, &patterns] {
                let found = answer(configuration, ("https://a", "GET", Some(&asked)));
                assert_eq!(found.is_some(), is_allowed, "{count} names");
            }
        }
        let doubled = doubled.collect::<Vec<_>>().join(",");
        assert_eq!(answer(&exact, ("https://a", "GET", Some(&doubled))).is_some(), count <= 50);
    }
    assert!(answer(&all, ("https://a", "GET", Some(&",".repeat(60_000)))).is_some(), "no name");
    let one_too_many = [names(99), vec!["z".into()]].concat().join(",");
    assert!(answer(&exact, ("https://a", "GET", Some(&one_too_many))).is_none());
}

/// The obvious matcher: tries every length of the text that `*` stands for.
fn naive(pattern: &str, text: &str) -> bool {
    match pattern.find('*') {
        None => pattern == text,
        Some(at) => (0..=text.len()).any(|len| {
            let filling = text.get(at..at + len);
            filling.is_some_and(|filling| {
                format!("{}{filling}{}", &pattern[..at], &pattern[at + 1..]) == text
            })
        }),
    }
}

proptest! {
    #[test]
    fn patterns_match_as_the_obvious_matcher_says(pattern in "[ab]{0,3}\\*?[ab]{0,3}", text in "[abAB]{0,7}") {
        prop_assert_eq!(is_match(&pattern, text.as_bytes(), <[u8]>::eq), naive(&pattern, &text));
        prop_assert_eq!(
            is_match(&pattern, text.as_bytes(), <[u8]>::eq_ignore_ascii_case),
            naive(&pattern, &text.to_ascii_lowercase())
        );
    }

    #[test]
    fn a_grant_is_of_a_rule_that_allows_all_that_is_asked_for(
        rules in prop::collection::vec(
            (
                prop::sample::subsequence(CORS_METHODS.to_vec(), 1..3),
                prop::collection::vec("[ab]?\\*?[ab]?", 1..3),
                prop::collection::vec("[xyX]?\\*?[yz]?", 0..4),
            ),
            1..5,
        ),
        origin in "[ab]{0,3}",
        method in prop::sample::select(CORS_METHODS.to_vec()),
        headers in prop::collection::vec("[xyzY]{1,3}", 0..4),
    ) {
        let configuration = CorsConfiguration {
            rules: rules.iter().map(|(methods, origins, allowed)| CorsRule {
                allowed_origins: origins.clone(),
                allowed_headers: allowed.clone(),
                ..rule(methods, &[], &[])
            }).collect(),
        };
        let asked = headers.join(",");
        let found = grant(&configuration, &CorsRequest { origin: &origin, method, headers: Some(&asked) });
        let first = configuration.rules.iter().position(|rule| {
            rule.allowed_methods.iter().any(|allowed| allowed == method)
                && rule.allowed_origins.iter().any(|pattern| naive(pattern, &origin))
                && headers.iter().all(|name| {
                    let naive = |pattern: &String| naive(&pattern.to_lowercase(), &name.to_lowercase());
                    rule.allowed_headers.iter().any(naive)
                })
        });
        let found = found.map(|grant| configuration.rules.iter().position(|rule| std::ptr::eq(rule, grant.rule)));
        prop_assert_eq!(found.flatten(), first);
    }
}
