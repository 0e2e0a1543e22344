//! The corpora of the fuzz targets of this package, repeated: what once was a new path through a decoder, or a fault, is tried
//! by every run of the tests. `fuzz/README.md` says how the corpora grow.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "corpora are files")]

#[path = "../../fuzz/targets/compactor.rs"]
mod targets;

/// Calls a target with every file of its corpus. Fails without one.
fn repeat(name: &str, target: impl Fn(&[u8])) {
    let folder = format!("{}/../fuzz/corpus/{name}", env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(!files.is_empty(), "{folder} is empty");
    for file in files {
        target(&std::fs::read(file.path()).unwrap());
    }
}

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
