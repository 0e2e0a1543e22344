//! The corpora of the fuzz targets of this package, repeated: what once was a new path through a decoder, or a fault, is tried
//! by every run of the tests. `fuzz/README.md` says how the corpora grow.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../../fuzz/repeat.rs"]
mod repeat;
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
