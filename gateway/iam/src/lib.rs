//! Authorisation: who may do what with which resource. Pure: no socket, no clock, no storage; the facts come in as
//! arguments, and the answer is a decision that names its reason.
//!
//! ```text
//!   Principal ─┐
//!   Action ────┤
//!   Resource ──┼──► authorize ──► Decision
//!   context ───┘
//! ```

mod action;
mod context;
mod decision;
mod policy;
mod principal;
mod resource;

pub use action::{Action, ResourceLevel};
pub use context::RequestContext;
pub use decision::{Decision, DenyReason};
pub use policy::authorize;
pub use principal::{Principal, UserPrincipal};
pub use resource::{BucketResource, Resource};
