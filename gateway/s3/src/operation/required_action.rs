//! The actions that an operation requires, and when it requires them.

use http::HeaderMap;
use iam::Action;

/// The header that names the source of a copy.
pub const COPY_SOURCE: &str = "x-amz-copy-source";
/// The header that names the source of a rename.
pub const RENAME_SOURCE: &str = "x-amz-rename-source";

/// The resource on which an action is required.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionTarget {
    /// The resource that the request's path names.
    Request,
    /// The bucket that the request's path names, for an operation on an object.
    Bucket,
    /// The object that `x-amz-copy-source` names.
    CopySource,
    /// Each object that the request's document names.
    EachKey,
}

/// The condition under which an action is required.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActionCondition {
    /// Always.
    Always,
    /// The target is named with a version id.
    Version,
    /// The target is named without a version id.
    NoVersion,
    /// The request has this header.
    Header(&'static str),
    /// The request has `x-amz-acl` or a header of a grant.
    Acl,
}

/// An action that an operation requires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequiredAction {
    /// The action.
    pub action: Action,
    /// The resource on which it is required.
    pub target: ActionTarget,
    /// The condition under which it is required.
    pub condition: ActionCondition,
}

impl RequiredAction {
    const fn new(action: Action, condition: ActionCondition) -> Self {
        Self { action, target: ActionTarget::Request, condition }
    }

    /// An action that every request of the operation requires, unless it is put on another target with [`Self::on`].
    pub const fn always(action: Action) -> Self {
        Self::new(action, ActionCondition::Always)
    }

    /// An action that is required only where the target is named with a version id.
    pub const fn of_version(action: Action) -> Self {
        Self::new(action, ActionCondition::Version)
    }

    /// An action that is required only where the target is named without a version id.
    pub const fn of_latest(action: Action) -> Self {
        Self::new(action, ActionCondition::NoVersion)
    }

    /// An action that is required only of requests with a header.
    pub const fn with_header(name: &'static str, action: Action) -> Self {
        Self::new(action, ActionCondition::Header(name))
    }

    /// An action that is required only of requests that set an access control list.
    pub const fn with_acl(action: Action) -> Self {
        Self::new(action, ActionCondition::Acl)
    }

    /// The same action and condition on another target than the resource of the request's path; the last call counts.
    pub const fn on(self, target: ActionTarget) -> Self {
        Self { target, ..self }
    }

    /// Returns true if a request with these headers requires the action on a target that the request names with or
    /// without a version id. The caller looks for the version id where the target is named: in the query, in the
    /// header `x-amz-copy-source`, or in the document before it asks.
    pub fn applies(&self, has_version: bool, headers: &HeaderMap) -> bool {
        match self.condition {
            ActionCondition::Always => true,
            ActionCondition::Version => has_version,
            ActionCondition::NoVersion => !has_version,
            ActionCondition::Header(name) => headers.contains_key(name),
            ActionCondition::Acl => {
                let is_grant = |name: &http::HeaderName| {
                    name == "x-amz-acl" || name.as_str().starts_with("x-amz-grant-")
                };
                headers.keys().any(is_grant)
            }
        }
    }

    /// The action with target and condition as text, for the generated page.
    pub fn describe(&self) -> String {
        let target = match self.target {
            ActionTarget::Request => "",
            ActionTarget::Bucket => " on the bucket",
            ActionTarget::CopySource => " on the source",
            ActionTarget::EachKey => " on each key",
        };
        let condition = match self.condition {
            ActionCondition::Always => String::new(),
            ActionCondition::Version => " with a version id".to_owned(),
            ActionCondition::NoVersion => " without a version id".to_owned(),
            ActionCondition::Header(name) => format!(" with `{name}`"),
            ActionCondition::Acl => " with an ACL header".to_owned(),
        };
        format!("`{}`{target}{condition}", self.action.name())
    }
}
