//! The corpora of the fuzz targets of this package, repeated: what once was a new path through a decoder, or a fault, is tried
//! by every run of the tests. `fuzz/README.md` says how the corpora grow.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "corpora are files")]

#[path = "../../fuzz/repeat.rs"]
mod repeat;
#[path = "../../fuzz/targets/compactor.rs"]
mod targets;

use repeat::repeat;

#[test]
fn catalogs_have_one_encoding() {
    repeat("catalog", targets::catalog);
}

#[test]
fn values_of_the_state_are_read_as_written() {
    repeat("state", targets::state);
}

#[test]
fn values_of_key_indexes_have_one_encoding() {
    repeat("index", targets::index);
}
