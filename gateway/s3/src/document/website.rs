//! The website configuration of a bucket.

use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// How a bucket is served as a website. Limits are not checked here.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct WebsiteConfiguration {
    /// The host that all requests are sent to; no other field is set then.
    pub redirect_all_requests_to: Option<RedirectAllRequestsTo>,
    /// The page of a folder.
    pub index_document: Option<IndexDocument>,
    /// The page of an error.
    pub error_document: Option<ErrorDocument>,
    /// Rules that send requests elsewhere.
    pub routing_rules: Option<RoutingRules>,
}

/// The host that all requests are sent to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RedirectAllRequestsTo {
    /// The host.
    pub host_name: String,
    /// `http` or `https`; the request's for none.
    pub protocol: Option<String>,
}

/// The page of a folder.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct IndexDocument {
    /// The name of the page, which is appended to the folder's key.
    pub suffix: String,
}

/// The page of an error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ErrorDocument {
    /// The key of the page.
    pub key: String,
}

/// A list of rules.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoutingRules {
    /// The rules, in the order of the document. The first that applies decides.
    #[serde(rename = "RoutingRule")]
    pub rules: Vec<RoutingRule>,
}

/// A rule that sends requests elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoutingRule {
    /// The condition; every request for none.
    pub condition: Option<RoutingCondition>,
    /// The place where requests are sent to.
    pub redirect: RoutingRedirect,
}

/// The condition of a rule; all of its fields must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoutingCondition {
    /// The text that the request's key begins with.
    pub key_prefix_equals: Option<String>,
    /// The status that the request would be answered with.
    pub http_error_code_returned_equals: Option<String>,
}

/// The place where requests are sent to. A field that is not set stays as in the request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RoutingRedirect {
    /// `http` or `https`.
    pub protocol: Option<String>,
    /// The host.
    pub host_name: Option<String>,
    /// The text in place of the prefix that the condition names.
    pub replace_key_prefix_with: Option<String>,
    /// The text in place of the key.
    pub replace_key_with: Option<String>,
    /// The status of the answer; 301 for none.
    pub http_redirect_code: Option<String>,
}

impl XmlDocument for WebsiteConfiguration {
    const ROOT: &'static str = "WebsiteConfiguration";
}
