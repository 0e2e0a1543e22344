//! The corpora of the fuzz targets of this package, repeated: what once was a new path through a decoder, or a fault, is tried
//! by every run of the tests. `fuzz/README.md` says how the corpora grow.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "corpora are files")]

#[path = "../../fuzz/repeat.rs"]
mod repeat;
#[path = "../../fuzz/targets/ingest.rs"]
mod targets;

use repeat::repeat;

#[test]
fn records_have_one_encoding() {
    repeat("record", targets::record);
}

#[test]
fn values_of_entries_have_one_encoding() {
    repeat("entry", targets::entry);
}

#[test]
fn rules_for_notifications_have_one_encoding() {
    repeat("notification", targets::notification);
}
