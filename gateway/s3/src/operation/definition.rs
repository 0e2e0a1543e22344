//! A row of the table of operations, and the functions that build one.

use crate::error::ErrorCode;
use crate::headers;

use super::body::BodyKind;
use super::name::Operation;
use super::required_action::RequiredAction;

/// The methods of S3's operations.
pub const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// The resource that an operation works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum S3Resource {
    /// All of a user's buckets.
    Service,
    /// A bucket.
    Bucket,
    /// An object.
    Object,
}

impl S3Resource {
    /// The name in errors.
    pub fn name(self) -> &'static str {
        match self {
            S3Resource::Service => "SERVICE",
            S3Resource::Bucket => "BUCKET",
            S3Resource::Object => "OBJECT",
        }
    }
}

/// The degree to which an operation is implemented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperationSupport {
    /// Implemented.
    Served,
    /// A read of configuration that no bucket or object here has; the code is AWS's error for that case.
    Absent(ErrorCode),
    /// Known and not implemented: 501.
    Refused,
    /// Not an operation of the endpoint `s3`: clients sign it for another service, and such a signature is refused
    /// before the operation is looked for.
    OtherService(&'static str),
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct OperationDefinition {
    /// The operation.
    pub operation: Operation,
    /// AWS's name of the operation.
    pub name: &'static str,
    /// The name of an older form of the same request, which AWS's models still have.
    pub older_name: Option<&'static str>,
    /// The HTTP method.
    pub method: &'static str,
    /// The resource that the operation works on.
    pub resource: S3Resource,
    /// Query names that must all be there.
    pub selectors: &'static [&'static str],
    /// The header that must be there.
    pub selecting_header: Option<&'static str>,
    /// Groups of further query names that are obeyed.
    pub parameters: &'static [&'static [&'static str]],
    /// Groups of headers that are obeyed; [`headers::CHECKSUM`] stands for the checksums of all algorithms.
    pub headers: &'static [&'static [&'static str]],
    /// The actions that the operation requires.
    pub actions: &'static [RequiredAction],
    /// The kind of body that requests carry.
    pub body: BodyKind,
    /// The most bytes of a body that is read; 0 where none is read.
    pub body_bytes_max: u64,
    /// The degree to which the operation is implemented.
    pub state: OperationSupport,
}

/// Begins the row of an operation with the method GET; refused unless a later step of the row says otherwise.
pub(super) const fn get(operation: Operation, resource: S3Resource) -> OperationDefinition {
    OperationDefinition::new(operation, "GET", resource)
}

/// Begins the row of an operation with the method HEAD; refused unless a later step of the row says otherwise.
pub(super) const fn head(operation: Operation, resource: S3Resource) -> OperationDefinition {
    OperationDefinition::new(operation, "HEAD", resource)
}

/// Begins the row of an operation with the method PUT; refused unless a later step of the row says otherwise.
pub(super) const fn put(operation: Operation, resource: S3Resource) -> OperationDefinition {
    OperationDefinition::new(operation, "PUT", resource)
}

/// Begins the row of an operation with the method POST; refused unless a later step of the row says otherwise.
pub(super) const fn post(operation: Operation, resource: S3Resource) -> OperationDefinition {
    OperationDefinition::new(operation, "POST", resource)
}

/// Begins the row of an operation with the method DELETE; refused unless a later step of the row says otherwise.
pub(super) const fn delete(operation: Operation, resource: S3Resource) -> OperationDefinition {
    OperationDefinition::new(operation, "DELETE", resource)
}

impl OperationDefinition {
    /// A refused operation without selectors, actions and body.
    const fn new(operation: Operation, method: &'static str, resource: S3Resource) -> Self {
        Self {
            operation,
            name: operation.name(),
            older_name: None,
            method,
            resource,
            selectors: &[],
            selecting_header: None,
            parameters: &[],
            headers: &[],
            actions: &[],
            body: BodyKind::None,
            body_bytes_max: 0,
            state: OperationSupport::Refused,
        }
    }

    /// Adds the name of an older form of the same request, which must not have a row of its own.
    pub(super) const fn older(self, name: &'static str) -> Self {
        Self { older_name: Some(name), ..self }
    }

    /// Sets the query names that must all be in a request, before the operation is one of those that fit.
    pub(super) const fn selected_by(self, selectors: &'static [&'static str]) -> Self {
        Self { selectors, ..self }
    }

    /// Sets the header that must be in a request, before the operation is one of those that fit.
    pub(super) const fn selected_by_header(self, name: &'static str) -> Self {
        Self { selecting_header: Some(name), ..self }
    }

    /// Sets the groups of query names that are obeyed and are not necessary; others that bind are refused.
    pub(super) const fn parameters(self, parameters: &'static [&'static [&'static str]]) -> Self {
        Self { parameters, ..self }
    }

    /// Sets the groups of headers that are obeyed; others that bind or protect are refused.
    pub(super) const fn headers(self, headers: &'static [&'static [&'static str]]) -> Self {
        Self { headers, ..self }
    }

    /// Sets the actions that the operation requires; each only under its own condition.
    pub(super) const fn requires(self, actions: &'static [RequiredAction]) -> Self {
        Self { actions, ..self }
    }

    /// Sets the kind of a body that is not read, since the operation is refused.
    pub(super) const fn unread(self, body: BodyKind) -> Self {
        Self { body, ..self }
    }

    /// Sets a body of an object's bytes; one that declares more than this number of bytes is refused before it is read.
    pub(super) const fn payload(self, bytes_max: u64) -> Self {
        Self { body: BodyKind::Payload, body_bytes_max: bytes_max, ..self }
    }

    /// Sets a body of a form, whose file may have this number of bytes.
    pub(super) const fn form(self, bytes_max: u64) -> Self {
        Self { body: BodyKind::Form, body_bytes_max: bytes_max, ..self }
    }

    /// Sets a body of XML; one of more than this number of bytes is refused, and never kept in memory beyond it.
    pub(super) const fn document(self, bytes_max: usize) -> Self {
        Self { body: BodyKind::Xml, body_bytes_max: bytes_max as u64, ..self }
    }

    /// Marks the operation as implemented; the gateway must have a handler for it.
    pub(super) const fn served(self) -> Self {
        Self { state: OperationSupport::Served, ..self }
    }

    /// Marks a read of configuration that is never there: the answer is this error, unless bucket or object is missing.
    pub(super) const fn absent(self, code: ErrorCode) -> Self {
        Self { state: OperationSupport::Absent(code), ..self }
    }

    /// Marks an operation that clients sign for another service; never found as the operation of a request here.
    pub(super) const fn of_service(self, service: &'static str) -> Self {
        Self { state: OperationSupport::OtherService(service), ..self }
    }

    /// Returns true if the operation may change something: its method is neither GET nor HEAD.
    pub fn is_write(&self) -> bool {
        !matches!(self.method, "GET" | "HEAD")
    }

    /// Returns true if the query name is one of the operation's selectors or parameters; any other name is refused or
    /// ignored.
    pub fn takes(&self, name: &str) -> bool {
        self.selectors.contains(&name) || self.parameters.iter().any(|group| group.contains(&name))
    }

    /// The query names that the operation takes, selectors first.
    pub(super) fn taken(&self) -> impl Iterator<Item = &'static str> {
        let parameters = self.parameters.iter().copied().flatten();
        self.selectors.iter().chain(parameters).copied()
    }

    /// Returns true if the operation obeys a header; one that it does not obey is ignored only if nothing depends on it.
    pub fn obeys(&self, name: &str) -> bool {
        let is_checksum = headers::is_checksum(name);
        let is = |known: &&str| *known == name || *known == headers::CHECKSUM && is_checksum;
        self.headers.iter().any(|group| group.iter().any(is))
    }
}
