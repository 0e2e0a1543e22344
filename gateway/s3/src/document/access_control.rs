//! Access control lists.

use serde::Serialize;

use crate::xml::XmlDocument;

/// The name space of the attribute with a grantee's type.
const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";

/// An access control list with the owner of its resource.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AccessControlPolicy {
    /// The owner.
    pub owner: Owner,
    /// The grants.
    pub access_control_list: AccessControlList,
}

/// A user who owns a resource.
#[derive(Clone, Debug, Serialize)]
pub struct Owner {
    /// The canonical id.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name for people.
    #[serde(rename = "DisplayName")]
    pub display_name: String,
}

/// Grants, in their order.
#[derive(Debug, Serialize)]
pub struct AccessControlList {
    /// The grants.
    #[serde(rename = "Grant")]
    pub grants: Vec<Grant>,
}

/// A permission of a grantee.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Grant {
    /// The grantee.
    pub grantee: Grantee,
    /// The permission, for example `FULL_CONTROL`.
    pub permission: &'static str,
}

/// A user with a grant.
#[derive(Debug, Serialize)]
pub struct Grantee {
    #[serde(rename = "@xmlns:xsi")]
    name_space: &'static str,
    #[serde(rename = "@xsi:type")]
    kind: &'static str,
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "DisplayName")]
    display_name: String,
}

impl Grantee {
    /// The grantee who is one user, named by canonical id.
    pub fn user(user: Owner) -> Self {
        let Owner { id, display_name } = user;
        Self { name_space: XSI, kind: "CanonicalUser", id, display_name }
    }
}

impl XmlDocument for AccessControlPolicy {
    const ROOT: &'static str = "AccessControlPolicy";
}
