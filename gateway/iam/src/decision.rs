//! The decision, with the reason of a refusal.

/// The answer to a question for permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The principal may perform the action.
    Allow,
    /// The principal may not, for this reason.
    Deny(DenyReason),
}

impl Decision {
    /// Returns true unless the decision is a refusal.
    pub fn is_allowed(self) -> bool {
        self == Decision::Allow
    }
}

/// The reason of a refusal. Clients get `AccessDenied` for every one, so that they learn nothing about others'
/// buckets; the text is for operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DenyReason {
    /// The request carries no signature, and nothing here is public.
    Anonymous,
    /// The bucket belongs to another user.
    NotOwner,
    /// Only operators may perform the action.
    NotOperator,
    /// The owner is not the one whom the client expects.
    UnexpectedOwner,
    /// The action does not apply to a resource of this kind; a bug of the caller.
    WrongResource,
}

impl DenyReason {
    /// The reason as a clause for operators; never for the client, who could learn an owner from it.
    pub fn text(self) -> &'static str {
        match self {
            DenyReason::Anonymous => "the request carries no signature",
            DenyReason::NotOwner => "the bucket belongs to another user",
            DenyReason::NotOperator => "only operators may perform the action",
            DenyReason::UnexpectedOwner => "the owner is not the one whom the client expects",
            DenyReason::WrongResource => "the action does not apply to this kind of resource",
        }
    }
}
