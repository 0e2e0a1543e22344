//! Authorisation: the names of the actions that a request can require. Pure: no socket, no clock, no storage.

mod action;

pub use action::{Action, ResourceLevel};
