//! The page `docs/s3.md`, generated from the table.

use std::fmt::Write as _;

use crate::error::ErrorCode;

use super::body::BodyKind;
use super::definition::{OperationDefinition, OperationSupport, S3Resource};
use super::name::Operation;
use super::table::{FAMILIES, OPERATIONS};

/// The head of the page.
const HEAD: &str = "\
# S3 operations

<!-- Generated from gateway/s3/src/operation/ by: SILTSTONE_WRITE=1 cargo test --workspace --lib page -->

Every operation of S3's API, with the request that selects it, the query names that it obeys besides those, the IAM
actions that it requires, the body that it takes with the most bytes, and its state: *served*, or the error that is the
answer. An error 404 is AWS's answer for a bucket or object without that configuration; it is given only after the
bucket or object was found. All are in AWS's models but `PostObject`, a browser's form.

A request is the operation with most selectors that fit. A query name or header that selects another operation, binds
or protects, and that the operation does not obey, is refused before anything is read or changed: 405 where the
resource has the selector with another method, 400 for a second selector or a parameter of another operation, 501 for
an unknown name without a value on a write and for a header that is not implemented. Other query names are ignored.
";

/// The whole page as Markdown: a function of the table alone, so that a page that differs from it must be old.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    let count =
        |is: fn(&OperationSupport) -> bool| OPERATIONS.iter().filter(|row| is(&row.state)).count();
    let served = count(|state| *state == OperationSupport::Served);
    let absent = count(|state| matches!(state, OperationSupport::Absent(_)));
    let all = OPERATIONS.len();
    let refused = all - served - absent;
    let _ = writeln!(
        out,
        "\n{all} operations: {served} are served, {absent} answer that there is no such configuration, {refused} are refused."
    );
    for family in FAMILIES {
        let _ = writeln!(out, "\n## {}\n", family.title);
        out.push_str("| operation | request | obeys | requires | body | state |\n");
        out.push_str("|---|---|---|---|---|---|\n");
        family.rows.iter().for_each(|row| line(&mut out, row));
    }
    out
}

/// Adds an operation's line.
fn line(out: &mut String, row: &OperationDefinition) {
    let name = match row.older_name {
        Some(older) => format!("{}, older {older}", row.name),
        None => row.name.to_owned(),
    };
    let names = row.parameters.iter().copied().flatten();
    let obeys: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    let requires: Vec<String> = row.actions.iter().map(|action| action.describe()).collect();
    let _ = writeln!(
        out,
        "| {name} | {} | {} | {} | {} | {} |",
        request(row),
        obeys.join(", "),
        requires.join("; "),
        body(row),
        state(row.state)
    );
}

/// The request line, and the header that selects the operation.
fn request(row: &OperationDefinition) -> String {
    let path = match row.resource {
        // A path of its own, of another service: no bucket can have the name.
        _ if row.operation == Operation::WriteGetObjectResponse => "/WriteGetObjectResponse",
        S3Resource::Service => "/",
        S3Resource::Bucket => "/bucket",
        S3Resource::Object => "/bucket/key",
    };
    let mark = if row.selectors.is_empty() { "" } else { "?" };
    let mut text = format!("`{} {path}{mark}{}`", row.method, row.selectors.join("&"));
    if let Some(header) = row.selecting_header {
        let _ = write!(text, " with `{header}`");
    }
    text
}

fn body(row: &OperationDefinition) -> String {
    let kind = row.body.name();
    match (row.body, row.body_bytes_max) {
        (BodyKind::None, _) | (_, 0) => kind.to_owned(),
        (_, max) if max.is_multiple_of(1 << 30) => format!("{kind}, {} GiB", max >> 30),
        (_, max) => format!("{kind}, {} MiB", max >> 20),
    }
}

fn state(state: OperationSupport) -> String {
    let error = |code: ErrorCode| format!("{} {}", code.status(), code.text());
    match state {
        OperationSupport::Served => "served".to_owned(),
        OperationSupport::Absent(code) => error(code),
        OperationSupport::Refused => error(ErrorCode::NotImplemented),
        OperationSupport::OtherService(service) => {
            format!("{}: signed for `{service}`", error(ErrorCode::AuthorizationHeaderMalformed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_in_docs_is_generated_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/s3.md");
        if std::env::var_os("SILTSTONE_WRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == page(),
            "docs/s3.md is not what the table says; run: SILTSTONE_WRITE=1 cargo test --workspace --lib page"
        );
    }
}
