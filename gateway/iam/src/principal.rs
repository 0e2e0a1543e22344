//! The makers of requests.

/// A user of the store, as far as a decision depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UserPrincipal<'a> {
    /// The name, for explanations.
    pub name: &'a str,
    /// The canonical id, which owners of buckets are compared with.
    pub id: &'a str,
    /// True for a user who operates the store, and so may see its files and every bucket's changes.
    pub is_operator: bool,
}

/// The maker of a request. A value of `User` must only be made after the request's signature was verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Principal<'a> {
    /// Nobody in particular: the request carries no signature.
    Anonymous,
    /// A user.
    User(UserPrincipal<'a>),
}

impl Principal<'_> {
    /// The name for explanations; `anonymous` for a request without a signature.
    pub fn name(&self) -> &str {
        match self {
            Principal::Anonymous => "anonymous",
            Principal::User(user) => user.name,
        }
    }
}
