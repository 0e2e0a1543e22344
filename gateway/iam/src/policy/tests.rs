//! Every action for every kind of principal and resource, beside the rules written down a second time as a table.

use super::*;
use crate::action::ResourceLevel;
use crate::resource::BucketResource;

const ANONYMOUS: Principal<'_> = Principal::Anonymous;
const ANN: Principal<'_> =
    Principal::User(UserPrincipal { name: "ann", id: "1", is_operator: false });
const ROOT: Principal<'_> =
    Principal::User(UserPrincipal { name: "root", id: "0", is_operator: true });
const PRINCIPALS: [Principal<'_>; 3] = [ANONYMOUS, ANN, ROOT];

const ALLOW: Decision = Decision::Allow;
const ANONYMOUS_DENIED: Decision = Decision::Deny(DenyReason::Anonymous);
const NOT_OWNER: Decision = Decision::Deny(DenyReason::NotOwner);
const NOT_OPERATOR: Decision = Decision::Deny(DenyReason::NotOperator);
const UNEXPECTED_OWNER: Decision = Decision::Deny(DenyReason::UnexpectedOwner);
const WRONG_RESOURCE: Decision = Decision::Deny(DenyReason::WrongResource);

fn decide(principal: &Principal<'_>, action: Action, resource: &Resource<'_>) -> Decision {
    authorize(principal, action, resource, &RequestContext::default())
}

fn resource(level: ResourceLevel, owner: Option<&str>) -> Resource<'_> {
    let bucket = BucketResource { name: "photos", owner };
    match level {
        ResourceLevel::Service => Resource::Service,
        ResourceLevel::Bucket => Resource::Bucket(bucket),
        ResourceLevel::Object => Resource::Object { bucket, key: "a" },
    }
}

/// The decisions on one action for ann and for root: on ann's bucket, on root's, on one of another user's, and on a
/// name that no bucket has. The store as a whole is the same under each.
fn wanted(action: Action) -> ([Decision; 4], [Decision; 4]) {
    match action {
        Action::ListAllMyBuckets | Action::ListAllMyDirectoryBuckets | Action::CreateBucket => {
            ([ALLOW; 4], [ALLOW; 4])
        }
        Action::InspectStore => ([NOT_OPERATOR; 4], [ALLOW; 4]),
        Action::FollowBucket => ([ALLOW, NOT_OWNER, NOT_OWNER, ALLOW], [ALLOW; 4]),
        _ => ([ALLOW, NOT_OWNER, NOT_OWNER, ALLOW], [NOT_OWNER, ALLOW, NOT_OWNER, ALLOW]),
    }
}

#[test]
fn every_action_is_decided_as_the_rules_say() {
    for action in Action::ALL.iter().copied() {
        let (of_ann, of_root) = wanted(action);
        for (index, owner) in [Some("1"), Some("0"), Some("2"), None].into_iter().enumerate() {
            let resource = resource(action.level(), owner);
            let name = action.name();
            assert_eq!(decide(&ANONYMOUS, action, &resource), ANONYMOUS_DENIED, "{name} {owner:?}");
            assert_eq!(decide(&ANN, action, &resource), of_ann[index], "{name} {owner:?}");
            assert_eq!(decide(&ROOT, action, &resource), of_root[index], "{name} {owner:?}");
        }
    }
}

/// A caller that confuses resources must not open what the owner's rule would close.
#[test]
fn an_action_on_another_kind_of_resource_is_denied() {
    let levels = [ResourceLevel::Service, ResourceLevel::Bucket, ResourceLevel::Object];
    for action in Action::ALL.iter().copied() {
        for level in levels.into_iter().filter(|level| *level != action.level()) {
            for principal in PRINCIPALS {
                let decision = decide(&principal, action, &resource(level, Some("1")));
                let wanted = match principal {
                    Principal::Anonymous => ANONYMOUS_DENIED,
                    Principal::User(_) => WRONG_RESOURCE,
                };
                assert_eq!(decision, wanted, "{} on {level:?}", action.name());
            }
        }
    }
}

#[test]
fn a_client_that_expects_another_owner_is_denied() {
    let own = resource(ResourceLevel::Object, Some("1"));
    let others = resource(ResourceLevel::Object, Some("2"));
    let missing = resource(ResourceLevel::Object, None);
    let bucket = resource(ResourceLevel::Bucket, None);
    let service = Resource::Service;
    let table = [
        (Action::GetObject, own, "1", ALLOW),
        (Action::GetObject, own, "2", UNEXPECTED_OWNER),
        (Action::GetObject, own, "", UNEXPECTED_OWNER),
        // The expectation does not tell a user whose a bucket is that the user may not use.
        (Action::GetObject, others, "2", NOT_OWNER),
        (Action::GetObject, others, "1", NOT_OWNER),
        // A bucket that is missing is missing, whatever is expected.
        (Action::GetObject, missing, "2", ALLOW),
        (Action::CreateBucket, bucket, "1", ALLOW),
        (Action::CreateBucket, bucket, "2", UNEXPECTED_OWNER),
        (Action::ListAllMyBuckets, service, "1", ALLOW),
        (Action::ListAllMyBuckets, service, "2", UNEXPECTED_OWNER),
    ];
    for (action, resource, expected, wanted) in table {
        let context = RequestContext { expected_owner: Some(expected) };
        let decision = authorize(&ANN, action, &resource, &context);
        assert_eq!(decision, wanted, "{} {resource:?} {expected}", action.name());
        let decision = authorize(&ANONYMOUS, action, &resource, &context);
        assert_eq!(decision, ANONYMOUS_DENIED, "{}", action.name());
    }
}

/// The texts are for operators, who must be able to tell the reasons apart.
#[test]
fn every_reason_has_a_text_of_its_own() {
    let mut texts = [
        DenyReason::Anonymous,
        DenyReason::NotOwner,
        DenyReason::NotOperator,
        DenyReason::UnexpectedOwner,
        DenyReason::WrongResource,
    ]
    .map(DenyReason::text);
    texts.sort_unstable();
    assert!(texts.windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(
        PRINCIPALS.map(|principal| principal.name().to_owned()),
        ["anonymous", "ann", "root"]
    );
}
