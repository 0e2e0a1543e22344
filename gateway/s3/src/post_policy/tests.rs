use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

/// Names and values of fields.
type FieldPairs<'a> = &'a [(&'a str, &'a str)];

const NOW: i64 = 1_764_547_200;
const LATER: &str = "\"expiration\": \"2025-12-01T00:00:01.5Z\"";

fn decode(document: &str) -> Result<PostPolicy, S3Error> {
    PostPolicy::decode(&STANDARD.encode(document))
}

fn with(conditions: &str) -> Result<PostPolicy, S3Error> {
    decode(&format!("{{{LATER}, \"conditions\": [{conditions}]}}"))
}

fn fields(pairs: &[(&str, &str)]) -> FormFields {
    let mut fields = FormFields::default();
    pairs.iter().for_each(|(name, value)| fields.push((*name).into(), (*value).into()).unwrap());
    fields
}

fn refusal(policy: &PostPolicy, pairs: &[(&str, &str)]) -> Option<String> {
    policy.check("photos", &fields(pairs), NOW).err().map(|error| {
        assert_eq!(error.code, ErrorCode::AccessDenied);
        error.message
    })
}

#[test]
fn a_document_that_is_no_policy_is_refused_as_aws_refuses_it() {
    let conditions = "\"conditions\": []";
    let deep = "[".repeat(4000);
    for (document, message) in [
        ("", "Invalid JSON."),
        ("expiration", "Invalid JSON."),
        ("[]", "Invalid JSON."),
        (&deep, "Invalid JSON."),
        (&format!("{{{conditions}}}"), "Policy missing expiration."),
        (&format!("{{{LATER}}}"), "Policy missing conditions."),
        (&format!("{{{LATER}, \"CONDITIONS\": []}}"), "Unexpected: 'conditions'"),
        (&format!("{{{LATER}, {conditions}, \"Statement\": 1}}"), "Unexpected: 'statement'"),
        (
            &format!("{{{LATER}, \"conditions\": {{}}}}"),
            "Invalid 'conditions' value: must be a List.",
        ),
        (&format!("{{\"expiration\": 5, {conditions}}}"), "Invalid 'expiration' value: '5'"),
    ] {
        let error = decode(document).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidPolicyDocument, "{document}");
        assert_eq!(error.message, format!("Invalid Policy: {message}"), "{document}");
    }
    for wrong in [
        "2026-09-29 12:00:00.123456+00:00",
        "2026-09-29T12:00:00+02:00",
        "2026-02-30T12:00:00Z",
        "2026-09-29",
        "",
    ] {
        let document = format!("{{\"expiration\": \"{wrong}\", {conditions}}}");
        let wanted = format!("Invalid Policy: Invalid 'expiration' value: '{wrong}'");
        assert_eq!(decode(&document).unwrap_err().message, wanted);
    }
    for (condition, message) in [
        (
            "{}",
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ),
        (
            "{\"a\": \"1\", \"b\": \"2\"}",
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        ),
        ("{\"a\": 1}", "Invalid Simple-Condition: value must be a string."),
        ("{\"a\": null}", "Invalid JSON."),
        ("5", "Invalid condition test: must be a List or Object."),
        ("[]", "Invalid Condition: missing operation identifier."),
        ("[\"is\", \"$a\", \"1\"]", "Invalid Condition: unknown operation 'is'."),
        ("[\"eq\", \"$a\"]", "Invalid eq: wrong number of arguments."),
        ("[\"eq\", \"$a\", 1]", "Invalid JSON."),
        (
            "[\"content-length-range\", 0]",
            "Invalid content-length-range: wrong number of arguments.",
        ),
        (
            "[\"content-length-range\", -1, 0]",
            "Invalid content-length-range: -1 is no number of bytes.",
        ),
        (
            "[\"content-length-range\", 0, 512.5]",
            "Invalid content-length-range: 512.5 is no number of bytes.",
        ),
        ("[\"content-length-range\", [], 1]", "Invalid JSON."),
    ] {
        let error = with(condition).unwrap_err();
        assert_eq!(error.message, format!("Invalid Policy: {message}"), "{condition}");
    }
    assert_eq!(
        PostPolicy::decode("{}").unwrap_err().message,
        "Invalid Policy: invalid Base64 encoding."
    );
}

#[test]
fn a_policy_ends_at_its_expiration() {
    let policy = with("{\"bucket\": \"photos\"}").unwrap();
    let at = |now| policy.check("photos", &FormFields::default(), now);
    assert_eq!(at(NOW + 1), Ok(()));
    let error = at(NOW + 2).unwrap_err();
    assert_eq!(error.message, "Invalid according to Policy: Policy expired.");
}

#[test]
fn a_condition_holds_for_the_values_that_it_allows() {
    let table: [(&str, FieldPairs<'_>, bool); 20] = [
        ("{\"key\": \"a\"}", &[("Key", "a")], true),
        ("{\"kEY\": \"a\"}", &[("key", "A")], false),
        ("[\"eq\", \"$key\", \"a\"]", &[("key", "a")], true),
        ("[\"EQ\", \"$KEY\", \"a\"]", &[("key", "ab")], false),
        ("[\"StArTs-WiTh\", \"$key\", \"a/\"]", &[("key", "a/b")], true),
        ("[\"starts-with\", \"$key\", \"a/\"]", &[("key", "b/a/")], false),
        ("[\"starts-with\", \"$key\", \"\"]", &[("key", "anything")], true),
        ("[\"starts-with\", \"$key\", \"\"]", &[], true),
        ("[\"starts-with\", \"$key\", \"a\"]", &[], false),
        ("[\"starts-with\", \"key\", \"\"]", &[("key", "a")], false),
        ("{\"$key\": \"a\"}", &[("key", "a")], false),
        (
            "[\"starts-with\", \"$Content-Type\", \"image/\"]",
            &[("Content-Type", "image/jpg,image/png, image/gif")],
            true,
        ),
        (
            "[\"starts-with\", \"$Content-Type\", \"image/\"]",
            &[("Content-Type", "image/jpg,text/plain")],
            false,
        ),
        ("[\"starts-with\", \"$x-amz-meta-a\", \"b\"]", &[("x-amz-meta-a", "b,c")], true),
        ("[\"eq\", \"$x-amz-meta-a\", \"\"]", &[("x-amz-meta-a", "b")], false),
        ("{\"key\": \"\\\\$a\"}", &[("key", "\\$a")], true),
        ("{\"key\": \"\\$a\\v\"}", &[("key", "$a\u{b}")], true),
        ("[\"content-length-range\", \"x\", \"10\"]", &[], false),
        ("[\"content-length-range\", \"5\", 10]", &[], true),
        ("{\"bucket\": \"other\"}", &[("bucket", "other")], false),
    ];
    for (condition, pairs, holds) in table {
        let policy = with(&format!("{condition}, [\"starts-with\", \"$bucket\", \"p\"]")).unwrap();
        let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
        let refused = refusal(&policy, pairs);
        let failed = refused.as_ref().is_some_and(|told| told.contains("Policy Condition failed"));
        assert_eq!(!failed, holds, "{condition} {names:?}: {refused:?}");
    }
}

#[test]
fn a_condition_that_fails_is_told_as_the_policy_has_it() {
    for (condition, told) in [
        ("{\"Key\": \"a\"}", "[\"eq\", \"$Key\", \"a\"]"),
        ("[\"EQ\",\"$Key\",\"say \\\"a\\\"\"]", "[\"eq\", \"$Key\", \"say \\\"a\\\"\"]"),
        ("[\"starts-with\",\"key\",\"a\"]", "[\"starts-with\", \"key\", \"a\"]"),
        (
            "[\"content-length-range\",\"test\",\"10\"]",
            "[\"content-length-range\", \"test\", \"10\"]",
        ),
    ] {
        let policy = with(condition).unwrap();
        let wanted = format!("Invalid according to Policy: Policy Condition failed: {told}");
        assert_eq!(refusal(&policy, &[("key", "b")]), Some(wanted));
    }
}

#[test]
fn every_field_needs_a_condition() {
    let policy = with("{\"bucket\": \"photos\"}, [\"starts-with\", \"$key\", \"\"]").unwrap();
    let free = [
        ("key", "a"),
        ("Policy", "1"),
        ("x-amz-signature", "1"),
        ("AWSAccessKeyId", "1"),
        ("signature", "1"),
        ("X-Ignore-A", "1"),
        ("x-amz-checksum-sha256", "1"),
    ];
    assert_eq!(refusal(&policy, &free), None);
    for name in [
        "x-amz-meta-a",
        "Content-Type",
        "StorageClass",
        "submit",
        "x-amz-credential",
        "acl",
        "tagging",
    ] {
        let wanted = format!("Invalid according to Policy: Extra input fields: {name}");
        assert_eq!(refusal(&policy, &[("key", "a"), (name, "")]), Some(wanted));
    }
    let without_bucket = with("[\"starts-with\", \"$key\", \"\"]").unwrap();
    let wanted = "Invalid according to Policy: Extra input fields: bucket";
    assert_eq!(refusal(&without_bucket, &[("key", "a")]).as_deref(), Some(wanted));
}

#[test]
fn ranges_of_sizes_are_taken_together() {
    let range = |conditions: &str| with(conditions).unwrap().size_range(100);
    assert_eq!(range(""), SizeRange { min: 0, max: 100 });
    assert_eq!(range("[\"content-length-range\", 5, \"10\"]"), SizeRange { min: 5, max: 10 });
    let two = range("[\"content-length-range\", 5, 1000], [\"content-length-range\", 1, 50]");
    assert_eq!(two, SizeRange { min: 5, max: 50 });
    assert!(two.check_min(5).is_ok() && two.check_max(50, 0).is_ok());
    assert_eq!(
        two.check_min(4).unwrap_err().extra,
        [("ProposedSize", "4".into()), ("MinSizeAllowed", "5".into())]
    );
    assert_eq!(
        two.check_max(51, 90).unwrap_err().extra,
        [("ProposedSize", "90".into()), ("MaxSizeAllowed", "50".into())]
    );
}

#[test]
fn a_policy_may_name_a_key_with_the_file_name() {
    let policy = with("{\"bucket\": \"photos\"}, {\"key\": \"a/${filename}/b\"}").unwrap();
    let mut given = fields(&[("key", "a/${filename}/b")]);
    given.set_filename(Some("x/f.txt".into())).unwrap();
    assert_eq!(policy.check("photos", &given, NOW), Ok(()));
    let other = with("{\"bucket\": \"photos\"}, [\"starts-with\", \"$key\", \"a/${f\"]").unwrap();
    assert!(other.check("photos", &given, NOW).is_err(), "the key that is stored counts");
}

proptest! {
    #[test]
    fn no_text_makes_a_policy_panic(text in ".{0,200}", inner in "[\\[\\]{}\",:$a-z0-9\\\\-]{0,80}") {
        let _ = PostPolicy::decode(&text);
        let _ = decode(&text);
        if let Ok(policy) = with(&inner) {
            let _ = refusal(&policy, &[("key", &text)]);
        }
    }
}
