//! The rules in force: owners may do everything with their buckets, operators may look at the store, others nothing.
//!
//! | principal | service | own bucket | other's bucket | no such bucket |
//! |---|---|---|---|---|
//! | anonymous | deny | deny | deny | deny |
//! | user | list own buckets | allow | deny, but CreateBucket | allow |
//! | operator | the same, and look at the store | allow | the same, and follow changes | allow |
//!
//! A bucket that does not exist has nothing to protect: the operation itself answers that it is missing, to any user
//! who has signed. CreateBucket is allowed for a name that another user has, and fails with `BucketAlreadyExists`: a
//! name is one for all users, so that a user learns from it only that the name is taken.

use crate::action::Action;
use crate::context::RequestContext;
use crate::decision::{Decision, DenyReason};
use crate::principal::{Principal, UserPrincipal};
use crate::resource::Resource;

/// Decides if a principal may perform an action on a resource. A pure function, and the only one that decides: the
/// same arguments give the same decision, and nothing is remembered. An action that does not apply to the kind of
/// resource is denied. Requests must be checked for every action that they require before anything is read or changed.
pub fn authorize(
    principal: &Principal<'_>,
    action: Action,
    resource: &Resource<'_>,
    context: &RequestContext<'_>,
) -> Decision {
    let Principal::User(user) = principal else { return Decision::Deny(DenyReason::Anonymous) };
    if action.level() != resource.level() {
        return Decision::Deny(DenyReason::WrongResource);
    }
    let owner = match action {
        // The buckets that are listed or made are the user's own, whoever has others.
        Action::ListAllMyBuckets | Action::ListAllMyDirectoryBuckets | Action::CreateBucket => {
            user.id
        }
        Action::InspectStore => return operators_only(user),
        Action::FollowBucket if user.is_operator => return Decision::Allow,
        _ => match resource.bucket().and_then(|bucket| bucket.owner) {
            Some(owner) if owner == user.id => owner,
            Some(_) => return Decision::Deny(DenyReason::NotOwner),
            None => return Decision::Allow,
        },
    };
    match context.expected_owner {
        Some(expected) if expected != owner => Decision::Deny(DenyReason::UnexpectedOwner),
        _ => Decision::Allow,
    }
}

fn operators_only(user: &UserPrincipal<'_>) -> Decision {
    if user.is_operator { Decision::Allow } else { Decision::Deny(DenyReason::NotOperator) }
}

#[cfg(test)]
mod tests;
