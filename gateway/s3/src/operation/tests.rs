//! Requests and the operations that they are, or the codes with which they are refused.

use iam::{Action, ResourceLevel};
use proptest::prelude::*;

use super::*;

fn decided(
    method: &str,
    resource: S3Resource,
    query: &str,
    headers: &[(&'static str, &str)],
) -> Result<&'static str, ErrorCode> {
    let query = crate::names::query(query).unwrap();
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    let request = RequestParts { method, resource, query: &query, headers: &map };
    decide(&request).map(|found| found.name).map_err(|error| error.code)
}

use S3Resource::{Bucket, Object, Service};

#[test]
fn every_row_can_be_found_by_its_method() {
    for definition in OPERATIONS {
        if matches!(definition.state, OperationSupport::OtherService(_)) {
            continue;
        }
        let rows = rows(definition.method, definition.resource);
        assert!(
            rows.iter().any(|row| row.operation == definition.operation),
            "{}",
            definition.name
        );
    }
}

#[test]
fn a_request_is_the_operation_that_it_names() {
    let table = [
        ("GET", Service, "", "ListBuckets"),
        ("GET", Service, "max-buckets=1&x-id=ListBuckets", "ListBuckets"),
        ("GET", Bucket, "", "ListObjects"),
        ("GET", Bucket, "list-type=2&prefix=a&marker=b", "ListObjectsV2"),
        ("GET", Bucket, "versions&list-type=2", "ListObjectVersions"),
        ("GET", Bucket, "uploads", "ListMultipartUploads"),
        ("GET", Bucket, "acl", "GetBucketAcl"),
        ("GET", Bucket, "policy", "GetBucketPolicy"),
        ("HEAD", Bucket, "", "HeadBucket"),
        ("PUT", Bucket, "", "CreateBucket"),
        ("PUT", Bucket, "versioning", "PutBucketVersioning"),
        ("DELETE", Bucket, "", "DeleteBucket"),
        ("POST", Bucket, "delete", "DeleteObjects"),
        ("GET", Object, "x-id=GetObject&foo=bar&foo=baz", "GetObject"),
        ("GET", Object, "versionId=null&partNumber=1&response-expires=0", "GetObject"),
        ("GET", Object, "uploadId=1&max-parts=2", "ListParts"),
        ("HEAD", Object, "partNumber=1", "HeadObject"),
        ("PUT", Object, "x-id=PutObject&X-Amz-Signature=0&x-amz-meta-a=", "PutObject"),
        ("PUT", Object, "partNumber=1&uploadId=2", "UploadPart"),
        ("PUT", Object, "tagging&versionId=null", "PutObjectTagging"),
        ("PUT", Object, "renameObject", "RenameObject"),
        ("DELETE", Object, "versionId=null", "DeleteObject"),
        ("DELETE", Object, "uploadId=1", "AbortMultipartUpload"),
        ("POST", Object, "uploads", "CreateMultipartUpload"),
        ("POST", Object, "uploadId=1", "CompleteMultipartUpload"),
    ];
    for (method, resource, query, name) in table {
        assert_eq!(
            decided(method, resource, query, &[]),
            Ok(name),
            "{method} {resource:?} {query}"
        );
    }
    let copy = [("x-amz-copy-source", "b/k")];
    assert_eq!(decided("PUT", Object, "", &copy), Ok("CopyObject"));
}

#[test]
fn what_names_another_operation_is_refused() {
    use ErrorCode::{InvalidArgument, MethodNotAllowed, NotImplemented};
    let table = [
        ("DELETE", Bucket, "metadataTable", NotImplemented),
        ("DELETE", Bucket, "uploads", MethodNotAllowed),
        ("DELETE", Bucket, "versioning", MethodNotAllowed),
        ("DELETE", Bucket, "location", MethodNotAllowed),
        ("DELETE", Bucket, "prefix=logs/", InvalidArgument),
        ("DELETE", Bucket, "force", NotImplemented),
        ("PUT", Bucket, "delete", MethodNotAllowed),
        ("HEAD", Bucket, "acl", MethodNotAllowed),
        ("POST", Bucket, "uploads", MethodNotAllowed),
        ("POST", Bucket, "versionId=null", InvalidArgument),
        ("POST", Bucket, "append", NotImplemented),
        ("POST", Bucket, "delete&versionId=null", InvalidArgument),
        ("GET", Bucket, "abac", NotImplemented),
        ("GET", Bucket, "acl&policy", InvalidArgument),
        ("GET", Bucket, "versionId=null", InvalidArgument),
        ("PUT", Object, "renameObject&versionId=null", InvalidArgument),
        ("DELETE", Object, "renameObject", MethodNotAllowed),
        ("PUT", Bucket, "renameObject", MethodNotAllowed),
        ("PUT", Object, "uploads", MethodNotAllowed),
        ("PUT", Object, "versions", MethodNotAllowed),
        ("PUT", Object, "versionId=null", InvalidArgument),
        ("PUT", Object, "partNumber=1", InvalidArgument),
        ("PUT", Object, "append", NotImplemented),
        ("PUT", Object, "tagging&uploadId=1", InvalidArgument),
        ("PUT", Object, "partNumber=1&partNumber=2&uploadId=3", InvalidArgument),
        ("DELETE", Object, "uploads", MethodNotAllowed),
        ("DELETE", Object, "partNumber=1", InvalidArgument),
        ("DELETE", Object, "versionId=a&versionId=b", InvalidArgument),
        ("GET", Object, "versions", MethodNotAllowed),
        ("GET", Object, "policy", MethodNotAllowed),
        ("HEAD", Object, "uploadId=1", MethodNotAllowed),
        ("POST", Object, "", MethodNotAllowed),
        ("POST", Object, "uploads&uploadId=1", InvalidArgument),
        ("PATCH", Object, "", MethodNotAllowed),
        ("OPTIONS", Bucket, "", MethodNotAllowed),
        ("PUT", Service, "", MethodNotAllowed),
        ("GET", Service, "location", MethodNotAllowed),
    ];
    for (method, resource, query, code) in table {
        assert_eq!(
            decided(method, resource, query, &[]),
            Err(code),
            "{method} {resource:?} {query}"
        );
    }
}

#[test]
fn a_refused_method_is_told_those_that_are_allowed() {
    let of = |method, resource, query: &str| {
        let query = crate::names::query(query).unwrap();
        let headers = HeaderMap::new();
        let error = decide(&RequestParts { method, resource, query: &query, headers: &headers });
        let extra = error.unwrap_err().extra;
        extra.into_iter().find(|(name, _)| *name == crate::error::ALLOW).unwrap().1
    };
    assert_eq!(of("PATCH", Object, ""), "PUT, DELETE, GET, HEAD");
    assert_eq!(of("PUT", Object, "uploads"), "POST");
    assert_eq!(of("PUT", Object, "versions"), "");
    assert_eq!(of("DELETE", Bucket, "versioning"), "GET, PUT");
}

#[test]
fn headers_are_obeyed_or_refused() {
    let refused = |method, resource, query, headers: &[(&'static str, &str)]| {
        assert_eq!(
            decided(method, resource, query, headers),
            Err(ErrorCode::NotImplemented),
            "{method} {resource:?} {query} {headers:?}"
        );
    };
    let obeyed = |method, resource, query, headers: &[(&'static str, &str)]| {
        let found = decided(method, resource, query, headers);
        assert!(found.is_ok(), "{method} {resource:?} {query} {headers:?}: {found:?}");
    };
    for name in [
        "x-amz-write-offset-bytes",
        "x-amz-if-match-size",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-something-new",
        "x-amz-source-expected-bucket-owner",
        "x-amz-rename-source",
        "x-amz-mp-object-size",
        "x-amz-mfa",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-object-lock-mode",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-range",
    ] {
        for (method, resource) in [
            ("GET", Object),
            ("HEAD", Object),
            ("PUT", Object),
            ("DELETE", Object),
            ("PUT", Bucket),
        ] {
            refused(method, resource, "", &[(name, "1")]);
        }
    }
    for (query, name) in [
        ("uploads", "if-none-match"),
        ("tagging", "if-match"),
        ("partNumber=1&uploadId=2", "if-match"),
        ("partNumber=1&uploadId=2", "x-amz-tagging"),
        ("", "if-unmodified-since"),
        ("", "content-range"),
        ("", "x-amz-grant-read"),
        ("", "x-amz-metadata-directive"),
        ("", "x-amz-checksum-type"),
    ] {
        let method = if query == "uploads" { "POST" } else { "PUT" };
        refused(method, Object, query, &[(name, "*")]);
    }
    refused("PUT", Object, "tagging", &[("x-amz-copy-source", "b/k")]);
    refused("GET", Object, "", &[("x-amz-copy-source", "b/k")]);
    refused("PUT", Object, "", &[("x-amz-acl", "public-read")]);
    refused("PUT", Object, "", &[("x-amz-storage-class", "SNOW")]);
    refused("PUT", Object, "tagging", &[("x-amz-storage-class", "GLACIER")]);
    for value in ["true", "True", "TRUE", "1", ""] {
        refused("PUT", Bucket, "", &[("x-amz-bucket-object-lock-enabled", value)]);
    }
    let class = [("x-amz-storage-class", "NONE")];
    assert_eq!(decided("PUT", Object, "", &class), Err(ErrorCode::InvalidStorageClass));
    let acl = [("x-amz-acl", "public-ready")];
    for query in ["", "acl"] {
        assert_eq!(decided("PUT", Object, query, &acl), Err(ErrorCode::InvalidArgument));
    }

    obeyed("PUT", Bucket, "", &[("x-amz-bucket-object-lock-enabled", "False")]);
    obeyed("PUT", Object, "", &[("x-amz-acl", "private"), ("x-amz-storage-class", "GLACIER")]);
    obeyed("PUT", Object, "", &[("x-amz-website-redirect-location", "/a")]);
    obeyed("PUT", Object, "", &[("if-none-match", "*"), ("x-amz-tagging", "a=1")]);
    obeyed("PUT", Object, "", &[("x-amz-checksum-sha512", "AA=="), ("x-amz-meta-a", "1")]);
    obeyed("PUT", Object, "", &[("x-amz-checksum-type", "FULL_OBJECT")]);
    obeyed("POST", Object, "uploads", &[("x-amz-checksum-type", "COMPOSITE")]);
    obeyed("GET", Object, "", &[("range", "bytes=0-1"), ("if-match", "*")]);
    obeyed("GET", Bucket, "", &[("if-none-match", "*"), ("x-amz-optional-object-attributes", "1")]);
    obeyed("DELETE", Object, "", &[("x-amz-bypass-governance-retention", "true")]);
    obeyed("GET", Object, "", &[("x-amz-user-agent", "a"), ("x-amz-request-payer", "requester")]);
    let copy = ("x-amz-copy-source", "b/k");
    obeyed("PUT", Object, "", &[copy, ("x-amz-source-expected-bucket-owner", "1")]);
    obeyed("PUT", Object, "", &[copy, ("x-amz-copy-source-if-match", "*")]);
    let (part, range) = ("uploadId=1&partNumber=2", ("x-amz-copy-source-range", "bytes=0-1"));
    obeyed("PUT", Object, part, &[copy, range, ("x-amz-copy-source-if-match", "*")]);
    refused("PUT", Object, part, &[range]);
    refused("PUT", Object, "", &[copy, range]);
    refused("PUT", Object, part, &[copy, ("x-amz-metadata-directive", "REPLACE")]);
    refused("PUT", Object, part, &[copy, ("x-amz-tagging", "a=1")]);
}

#[test]
fn every_operation_is_found_by_what_selects_it() {
    for definition in OPERATIONS {
        let query: Vec<(String, String)> =
            definition.selectors.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        let mut headers = HeaderMap::new();
        if let Some(name) = definition.selecting_header {
            headers.insert(name, "b/k".parse().unwrap());
        }
        let request = RequestParts {
            method: definition.method,
            resource: definition.resource,
            query: &query,
            headers: &headers,
        };
        if let OperationSupport::OtherService(_) = definition.state {
            assert_ne!(find(&request).unwrap().operation, definition.operation);
            continue;
        }
        assert_eq!(find(&request).unwrap().name, definition.name);
        match decide(&request) {
            Ok(found) => assert_eq!(found.name, definition.name),
            Err(error) => {
                assert_eq!(definition.state, OperationSupport::Refused, "{}", definition.name);
                assert_eq!(error.code, ErrorCode::NotImplemented, "{}", definition.name);
            }
        }
    }
}

#[test]
fn every_operation_requires_actions_of_its_resource() {
    for definition in OPERATIONS {
        assert!(!definition.actions.is_empty(), "{}", definition.name);
        for required in definition.actions {
            let level = match required.target {
                ActionTarget::Request => match (definition.operation, definition.resource) {
                    // A form names its key in a field, so the path names the bucket alone.
                    (Operation::PostObject, _) | (_, Object) => ResourceLevel::Object,
                    (_, Bucket) => ResourceLevel::Bucket,
                    (_, Service) => ResourceLevel::Service,
                },
                ActionTarget::Bucket => ResourceLevel::Bucket,
                ActionTarget::CopySource | ActionTarget::EachKey => ResourceLevel::Object,
            };
            assert_eq!(required.action.level(), level, "{} {required:?}", definition.name);
        }
    }
}

#[test]
fn every_action_of_aws_is_required_by_an_operation() {
    let is_required = |action: &Action| {
        let mut all = OPERATIONS.iter().flat_map(|definition| definition.actions);
        all.any(|required| required.action == *action)
    };
    for action in Action::ALL.iter().filter(|action| !action.name().starts_with("siltstone:")) {
        assert!(is_required(action), "{}", action.name());
    }
    for action in Action::ALL.iter().filter(|action| action.name().starts_with("siltstone:")) {
        assert!(!is_required(action), "{}", action.name());
    }
}

#[test]
fn a_request_requires_the_actions_of_what_it_carries() {
    let required = |operation: Operation, has_version, headers: &[&'static str]| {
        let mut map = HeaderMap::new();
        headers.iter().for_each(|name| drop(map.insert(*name, "1".parse().unwrap())));
        let actions = operation.definition().actions.iter();
        let actions = actions.filter(|action| action.applies(has_version, &map));
        actions.map(|required| required.action.name()).collect::<Vec<_>>()
    };
    let table: [(Operation, bool, &[&str], &[&str]); 9] = [
        (Operation::GetObject, false, &[], &["s3:GetObject"]),
        (Operation::GetObject, true, &["x-amz-acl"], &["s3:GetObjectVersion"]),
        (Operation::PutObject, false, &["x-amz-meta-a"], &["s3:PutObject"]),
        (
            Operation::PutObject,
            false,
            &["x-amz-grant-read", "x-amz-tagging"],
            &["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectTagging"],
        ),
        (Operation::CopyObject, false, &[], &["s3:GetObject", "s3:PutObject"]),
        (Operation::HeadBucket, false, &[], &["s3:ListBucket"]),
        (Operation::ListObjectVersions, false, &[], &["s3:ListBucketVersions"]),
        (Operation::DeleteObjects, true, &[], &["s3:DeleteObjectVersion"]),
        (Operation::CreateBucket, false, &["x-amz-acl"], &["s3:CreateBucket", "s3:PutBucketAcl"]),
    ];
    for (operation, has_version, headers, wanted) in table {
        assert_eq!(required(operation, has_version, headers), wanted, "{operation:?} {headers:?}");
    }
}

#[test]
fn a_body_is_read_only_by_operations_that_are_served() {
    for definition in OPERATIONS {
        let is_served = definition.state == OperationSupport::Served;
        let is_read = definition.body_bytes_max > 0;
        let has_body = definition.body != body::BodyKind::None;
        assert_eq!(is_read, is_served && has_body, "{}", definition.name);
        assert_eq!(definition.name, definition.operation.name());
    }
}

#[test]
fn every_operation_has_one_row() {
    let rows: usize = FAMILIES.iter().map(|family| family.rows.len()).sum();
    assert_eq!(rows, Operation::COUNT);
    for (operation, definition) in Operation::ALL.iter().zip(OPERATIONS) {
        assert_eq!(definition.operation, *operation);
        assert!(std::ptr::eq(operation.definition(), definition));
    }
}

/// Query names of S3's, and some that nobody knows.
fn names() -> Vec<&'static str> {
    let groups = OPERATIONS.iter().flat_map(|known| known.parameters).copied();
    let selectors = OPERATIONS.iter().map(|known| known.selectors);
    let mut names: Vec<&str> = groups.chain(selectors).flatten().copied().collect();
    names.extend(["x-id", "foo", "X-Amz-Signature", "Acl"]);
    names.sort_unstable();
    names.dedup();
    names
}

proptest! {
    #[test]
    fn a_write_that_is_decided_takes_every_name_that_it_carries(
        method in prop::sample::select(vec!["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", ""]),
        resource in prop::sample::select(vec![Service, Bucket, Object]),
        given in prop::collection::vec((prop::sample::select(names()), "1?"), 0..4),
    ) {
        let query: Vec<(String, String)> =
            given.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let headers = HeaderMap::new();
        let request = RequestParts { method, resource, query: &query, headers: &headers };
        if let Ok(found) = decide(&request) {
            prop_assert_eq!((found.method, found.resource), (method, resource));
            prop_assert!(found.state != OperationSupport::Refused);
            for (name, value) in &query {
                let is_ignored = !is_selector(name)
                    && if found.is_write() { !is_parameter(name) } else { name != "versionId" };
                prop_assert!(found.takes(name) || is_ignored, "{} ignores {}", found.name, name);
                let is_bare = found.is_write() && value.is_empty() && !found.takes(name);
                prop_assert!(!is_bare || headers::is_header_in_query(name));
            }
        }
    }
}
