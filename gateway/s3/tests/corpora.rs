//! The corpora of the fuzz targets of this package, repeated: what once was a new path through a decoder, or a fault, is tried
//! by every run of the tests. `fuzz/README.md` says how the corpora grow.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../fuzz/targets/forms.rs"]
mod forms;
#[path = "../../../fuzz/repeat.rs"]
mod repeat;
#[path = "../../../fuzz/targets/rules.rs"]
mod rules;
#[path = "../../../fuzz/targets/s3.rs"]
mod targets;

use repeat::repeat;

#[test]
fn documents_stay_within_their_bounds() {
    repeat("xml", targets::xml);
}

#[test]
fn chunked_bodies_decode_alike_in_all_pieces() {
    repeat("chunked", targets::chunked);
}

#[test]
fn heads_are_read_or_refused() {
    repeat("head", targets::head);
}

#[test]
fn values_have_one_meaning() {
    repeat("values", targets::values);
}

#[test]
fn requests_signed_with_version_2_cannot_be_changed() {
    repeat("sigv2", targets::sigv2);
}

#[test]
fn forms_are_read_alike_in_all_pieces() {
    repeat("form", forms::form);
}

#[test]
fn policies_allow_what_their_conditions_say() {
    repeat("policy", forms::policy);
}

#[test]
fn cors_rules_permit_what_their_patterns_say() {
    repeat("cors", rules::cors);
}

#[test]
fn websites_redirect_to_the_hosts_of_their_rules() {
    repeat("website", rules::website);
}

#[test]
fn hosts_name_the_buckets_below_the_longest_domain() {
    repeat("host", rules::host);
}
