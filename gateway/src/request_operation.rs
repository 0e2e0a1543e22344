//! The operation of a request, by its name in metrics and log lines. The name is never text of a client.

use http::{HeaderMap, HeaderValue, Method};
use s3::names;
use s3::operation::{self, COPY_SOURCE, METHODS, Operation, S3Resource};

/// The prefix of the paths of SQL on the S3 address. No bucket can have this name.
const OWN: &str = "/-";

/// The operation of a request, also of one that was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestOperation {
    /// An operation of S3.
    S3(Operation),
    /// A query in SQL, over HTTP.
    Sql,
    /// A login over PostgreSQL's protocol.
    PostgresLogin,
    /// A request of a browser that asks for permission to make another request.
    Preflight,
    /// A request to the website of a bucket.
    Website,
    /// No operation: the resource has none with the request's method.
    Unknown,
}

impl RequestOperation {
    /// The name in the metric label and the log field `operation`, the same as AWS's for operations of S3.
    pub fn name(self) -> &'static str {
        match self {
            RequestOperation::S3(operation) => operation.name(),
            RequestOperation::Sql => "SQL",
            RequestOperation::PostgresLogin => "PostgreSQL login",
            RequestOperation::Preflight => "Preflight",
            RequestOperation::Website => "Website",
            RequestOperation::Unknown => "Unknown",
        }
    }

    /// Finds the operation from the head of a request that was refused before its query and headers were read. A query
    /// that cannot be decoded counts as empty. Every path below `/-` counts as SQL.
    pub fn of_head(method: &Method, path: &str, query: &str, is_copy: bool) -> Self {
        if path.strip_prefix(OWN).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return RequestOperation::Sql;
        }
        let mut headers = HeaderMap::new();
        if is_copy {
            headers.insert(COPY_SOURCE, HeaderValue::from_static(""));
        }
        let query = names::query(query).unwrap_or_default();
        let (method, resource) = (method.as_str(), resource(path));
        Self::find(&operation::RequestParts { method, resource, query: &query, headers: &headers })
    }

    /// Finds the operation of S3 for a request, also if the request has parameters that the operation does not support.
    /// `Unknown` unless the table has an operation.
    pub fn find(request: &operation::RequestParts<'_>) -> Self {
        operation::find(request)
            .map_or(RequestOperation::Unknown, |found| RequestOperation::S3(found.operation))
    }
}

/// The kind of resource that a path names, percent-encoded or not. Leading slashes are ignored; a bucket may be
/// followed by one slash without a key.
pub fn resource(path: &str) -> S3Resource {
    match path.trim_start_matches('/').split_once('/') {
        Some((_, key)) if !key.is_empty() => S3Resource::Object,
        _ if path.trim_matches('/').is_empty() => S3Resource::Service,
        _ => S3Resource::Bucket,
    }
}

/// The name of every method that S3 does not have.
pub const OTHER_METHOD: &str = "other";

/// The name of a method for metrics and logs: `other` unless S3 has an operation with the method, because a client can
/// send any text as a method.
pub fn method_label(method: &Method) -> &'static str {
    METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER_METHOD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_named_by_the_server() {
        for (method, path, query, is_copy, named) in [
            ("GET", "/", "", false, "ListBuckets"),
            ("PUT", "/photos", "", false, "CreateBucket"),
            ("GET", "/photos/", "list-type=2&prefix=a", false, "ListObjectsV2"),
            ("PUT", "/photos/a/b", "tagging", false, "PutObjectTagging"),
            ("PUT", "/photos/a", "x=1&uploadId=7&partNumber=1", false, "UploadPart"),
            ("PUT", "/photos/a", "", true, "CopyObject"),
            ("DELETE", "/photos/a", "evil=%1b", false, "DeleteObject"),
            ("BREW", "/photos/a", "", false, "Unknown"),
            ("POST", "/-/sql", "", false, "SQL"),
            ("GET", "/-", "", false, "SQL"),
            ("GET", "/-a", "", false, "ListObjects"),
        ] {
            let operation =
                RequestOperation::of_head(&method.parse().unwrap(), path, query, is_copy);
            assert_eq!(operation.name(), named, "{method} {path}");
        }
    }
}
