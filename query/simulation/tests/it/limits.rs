//! What decoding refuses, encoding refuses: in every format, by the same limit under the same name.
//!
//! It looks at the code, so that a format that is added joins by itself: each limit of a `from.count`,
//! `from.bytes` or `from.text` has its counterpart, `out.count` or `.bounded`, in the same package.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Limits that are types' own, or the length of what is read: nothing can be encoded beyond them.
const OF_TYPES: [&str; 5] =
    ["object key", "bucket name", "segment index", "block count", "fingerprints"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        match name.as_deref() {
            Some("tests" | "tests.rs") => {}
            _ if path.is_dir() => sources(&path, found),
            Some(name) if name.ends_with(".rs") => found.push(path),
            _ => {}
        }
    }
}

/// The last two arguments of each call of one of the functions: limit and name.
fn calls(text: &str, functions: &[&str]) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for function in functions {
        for (at, _) in text.match_indices(function) {
            let from = at + function.len();
            let mut depth = 1;
            let end = text[from..].char_indices().find(|(_, c)| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            });
            let Some((len, _)) = end else { continue };
            let arguments: Vec<&str> = text[from..from + len]
                .split(',')
                .map(str::trim)
                .filter(|a| !a.is_empty())
                .collect();
            let [.., limit, what] = arguments[..] else { continue };
            found.insert((limit.to_owned(), what.trim_matches('"').to_owned()));
        }
    }
    found
}

#[test]
fn every_limit_of_decoding_is_one_of_encoding() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut looked_at = 0;
    for package in ["ingest/src", "compactor/src"] {
        let mut files = Vec::new();
        sources(&root.join(package), &mut files);
        let texts: Vec<String> =
            files.iter().map(|f| fs::read_to_string(f).expect("text")).collect();
        // Pairs are told apart by their caller's name.
        let is_variable = |what: &str| what == "what";
        for (file, text) in files.iter().zip(&texts) {
            for (limit, what) in calls(text, &["from.count(", "from.bytes(", "from.text("]) {
                looked_at += 1;
                let writes = |text: &str| {
                    calls(text, &["out.count(", "lengths.count(", ".bounded("]).iter().any(
                        |(of, name)| of.replace("list_max", "LIST_MAX") == limit && *name == what,
                    )
                };
                let is_written = OF_TYPES.contains(&what.as_str())
                    || is_variable(&what)
                    || texts.iter().any(|text| writes(text));
                assert!(is_written, "{}: {what} is read up to {limit}", file.display());
            }
        }
    }
    assert!(looked_at > 25, "{looked_at} limits were found");
}
