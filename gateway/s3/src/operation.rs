//! Which operation a request is: S3's operations in one table, and the decision by method, resource, query and
//! headers.
//!
//! The rows are in a file for each family, `operation/object.rs` and its neighbours. Routing, the actions that a request
//! requires, labels of metrics, log lines and the page `docs/s3.md` derive from them.
//!
//! An operation is named by its method, its resource (service, bucket, object), and by *selectors*: query names
//! such as `acl` or `uploadId`, and for copies the header `x-amz-copy-source`. It obeys *parameters*, further query
//! names, and headers ([`headers`]). A request is the operation with most selectors of those that fit. Whatever is
//! left over and would select another operation or bind this one is refused before anything is read or changed: a
//! client that asks for more than is done would lose what it has.
//!
//! | left over | answer |
//! |---|---|
//! | a selector that this resource has with another method, or that another resource has | 405 |
//! | a second selector | 400 |
//! | on a write a parameter of other operations; `versionId`, `partNumber` on a read, too | 400 |
//! | on a write an unknown name without a value, which is how selectors are written | 501 |
//! | any other name | ignored, as AWS does: SDKs add `x-id=GetObject` and the like |

use std::collections::HashSet;
use std::sync::LazyLock;

use http::HeaderMap;

use crate::error::{ErrorCode, S3Error};
use crate::headers;

pub mod body;
mod bucket;
mod configuration;
pub mod definition;
mod groups;
mod multipart;
mod name;
mod object;
mod object_property;
mod page;
mod required_action;
mod table;

pub use definition::{METHODS, OperationDefinition, OperationSupport, S3Resource};
pub use name::Operation;
pub use page::page;
pub use required_action::{
    ActionCondition, ActionTarget, COPY_SOURCE, RENAME_SOURCE, RequiredAction,
};
pub use table::{FAMILIES, OPERATIONS, OperationFamily};

/// The request's parts that name its operation.
#[derive(Clone, Copy, Debug)]
pub struct RequestParts<'a> {
    /// Its method.
    pub method: &'a str,
    /// The resource that its path names.
    pub resource: S3Resource,
    /// Its query, decoded.
    pub query: &'a [(String, String)],
    /// Its headers, with those that a presigned query stands for.
    pub headers: &'a HeaderMap,
}

/// A selector that takes another operation's place. The others only choose between two forms of one read.
fn is_strong(name: &str) -> bool {
    !matches!(name, "list-type" | "id" | "annotationName")
}

/// Returns true if a query parameter with this name selects another operation than a request without it.
pub(crate) fn is_selector(name: &str) -> bool {
    static SELECTORS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        OPERATIONS.iter().flat_map(|definition| definition.selectors).copied().collect()
    });
    is_strong(name) && SELECTORS.contains(name)
}

/// A query name that may occur several times.
fn is_list(name: &str) -> bool {
    name == "events"
}

/// Returns true if an operation takes a query parameter with this name, as a selector or as a further one.
fn is_parameter(name: &str) -> bool {
    static PARAMETERS: LazyLock<HashSet<&str>> =
        LazyLock::new(|| OPERATIONS.iter().flat_map(|definition| definition.taken()).collect());
    PARAMETERS.contains(name)
}

impl OperationDefinition {
    /// Returns true if the request has its selectors; method and resource are the same already.
    fn fits(&self, request: &RequestParts<'_>) -> bool {
        let has = |selector: &&str| request.query.iter().any(|(name, _)| name == selector);
        self.selectors.iter().all(has)
            && self.selecting_header.is_none_or(|name| request.headers.contains_key(name))
    }

    /// The number of selectors: by selectors that take another's place, then by the others.
    fn rank(&self) -> (usize, usize) {
        let strong = self.selectors.iter().filter(|name| is_strong(name)).count();
        (strong, self.selectors.len() + usize::from(self.selecting_header.is_some()))
    }
}

/// The rows of one method and resource: a request is compared with these alone.
fn rows(method: &str, resource: S3Resource) -> &'static [&'static OperationDefinition] {
    static ROWS: LazyLock<[[Vec<&'static OperationDefinition>; 3]; METHODS.len()]> =
        LazyLock::new(|| {
            METHODS.map(|method| {
                [S3Resource::Service, S3Resource::Bucket, S3Resource::Object].map(|resource| {
                    let is_here = |row: &&OperationDefinition| {
                        row.method == method
                            && row.resource == resource
                            && !matches!(row.state, OperationSupport::OtherService(_))
                    };
                    OPERATIONS.iter().copied().filter(is_here).collect()
                })
            })
        });
    let method = METHODS.iter().position(|known| *known == method);
    method.map_or(&[], |method| &ROWS[method][resource as usize])
}

/// Finds the operation that a request asks for, whatever else it asks for; `None` where the method has none.
pub fn find(request: &RequestParts<'_>) -> Option<&'static OperationDefinition> {
    let rows = rows(request.method, request.resource).iter().copied();
    rows.filter(|row| row.fits(request)).max_by_key(|row| row.rank())
}

/// The operation that a request asks for, which is served or absent. A request that asks for more than it obeys is
/// refused.
pub fn decide(request: &RequestParts<'_>) -> Result<&'static OperationDefinition, S3Error> {
    check(find(request), request)
}

/// Refuses a request that is no operation's, whose operation is not implemented, or that carries anything which its
/// operation does not obey and must. `found` is the answer of [`find`] for the same request.
pub fn check(
    found: Option<&'static OperationDefinition>,
    request: &RequestParts<'_>,
) -> Result<&'static OperationDefinition, S3Error> {
    let Some(found) = found else {
        let selector = request.query.iter().map(|(name, _)| name).find(|name| is_selector(name));
        return Err(not_allowed(request, selector.map_or("", String::as_str)));
    };
    check_query(found, request)?;
    headers::check_values(request.headers)?;
    if found.state == OperationSupport::Refused {
        return Err(
            ErrorCode::NotImplemented.because(format!("{} is not implemented.", found.name))
        );
    }
    headers::check(found, request.headers)?;
    Ok(found)
}

fn check_query(found: &OperationDefinition, request: &RequestParts<'_>) -> Result<(), S3Error> {
    let mut seen = HashSet::new();
    for (name, value) in request.query {
        let name = name.as_str();
        let is_twice = !seen.insert(name);
        if is_twice && is_parameter(name) && !is_list(name) {
            return Err(invalid(name, value, format!("The parameter {name} is given twice.")));
        }
        if found.takes(name) {
            continue;
        }
        if is_selector(name) {
            return Err(match found.selectors.iter().find(|selector| is_strong(selector)) {
                Some(first) => invalid(
                    "ResourceType",
                    first,
                    format!("Conflicting query string parameters: {first}, {name}"),
                ),
                None => not_allowed(request, name),
            });
        }
        let binds = found.is_write() || matches!(name, "versionId" | "partNumber");
        if binds && is_parameter(name) {
            let what = if name == "versionId" { "a version-id" } else { name };
            return Err(invalid(name, value, format!("This operation does not accept {what}.")));
        }
        if found.is_write() && value.is_empty() && !headers::is_header_in_query(name) {
            return Err(S3Error::from(ErrorCode::NotImplemented).with("Parameter", name));
        }
    }
    Ok(())
}

fn invalid(name: &str, value: &str, message: String) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

/// 405, with the methods that the resource has under the selector.
fn not_allowed(request: &RequestParts<'_>, selector: &str) -> S3Error {
    let mut methods: Vec<&str> = Vec::new();
    for definition in OPERATIONS.iter().filter(|known| known.resource == request.resource) {
        let is_one = match selector {
            "" => definition.selectors.is_empty(),
            _ => definition.selectors.contains(&selector),
        };
        if is_one && !methods.contains(&definition.method) {
            methods.push(definition.method);
        }
    }
    S3Error::from(ErrorCode::MethodNotAllowed)
        .with("Method", request.method)
        .with("ResourceType", request.resource.name())
        .with(crate::error::ALLOW, methods.join(", "))
}

#[cfg(test)]
mod tests;
