//! Golden files: the bytes of every version of every format that this crate writes.
//!
//! The files are in the crate's `tests/golden/`. `SILTSTONE_GOLDEN=write cargo test golden` writes
//! those that are missing and never one that exists: old fixtures stay readable for ever, so a new
//! version of a format takes a new name. The bulk file's (`bulk-v1.bulk`) comes from an implementation
//! of its page in another language and is never written here. Test code, included by path as `fuzz.rs`
//! is.
#![allow(dead_code, reason = "each crate uses what its formats need")]
#![allow(clippy::disallowed_methods, reason = "golden files are files")]

use std::path::PathBuf;

use bytes::Bytes;

/// The path of a golden file of the crate that is tested.
fn path(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

/// The bytes of a golden file. A missing file is made by `make` when the environment variable requests
/// that; otherwise the test fails.
pub fn read(name: &str, make: impl FnOnce() -> Vec<u8>) -> Bytes {
    let path = path(name);
    let is_asked = std::env::var("SILTSTONE_GOLDEN").is_ok_and(|value| value == "write");
    if is_asked && !path.exists() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, make()).unwrap();
    }
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// Compares bytes with a golden file and returns that file's bytes. Fails the test, with the first
/// position that differs, when they are not equal.
pub fn check(name: &str, bytes: &[u8]) -> Bytes {
    let golden = read(name, || bytes.to_vec());
    let differs = golden.iter().zip(bytes).position(|(golden, byte)| golden != byte);
    let differs = differs.unwrap_or(golden.len().min(bytes.len()));
    assert!(golden == bytes, "{name}: the format has drifted at byte {differs}");
    golden
}
