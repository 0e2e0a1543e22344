//! Facts of a request beside principal, action and resource.

/// Facts of a request that a decision may depend on. A new fact is a new field with a default that no rule minds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RequestContext<'a> {
    /// The canonical id of the owner whom the client expects: `x-amz-expected-bucket-owner`, and for the source of a
    /// copy `x-amz-source-expected-bucket-owner`.
    pub expected_owner: Option<&'a str>,
}
