//! The repetition of a corpus: a module of the file `tests/corpora.rs` of each package with fuzz targets.

use std::path::Path;

/// Calls a target with every file of its corpus. Fails without one.
pub fn repeat(name: &str, target: impl Fn(&[u8])) {
    let packages = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut folders = packages.map(|package| package.join("fuzz/corpus").join(name));
    let folder = folders.find(|folder| folder.is_dir()).unwrap();
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    for file in files {
        target(&std::fs::read(file.path()).unwrap());
    }
}
