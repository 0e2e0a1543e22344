//! The CORS configuration of a bucket.

use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The rules by which web pages of other origins may use a bucket. Limits are not checked here.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsConfiguration {
    /// The rules, in the order of the document. The first that matches a request decides.
    #[serde(rename = "CORSRule")]
    pub rules: Vec<CorsRule>,
}

/// One rule. Every element is a text as the client sent it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsRule {
    /// The name of the rule, without a meaning for the server.
    #[serde(rename = "ID")]
    pub id: Option<String>,
    /// Patterns of the request headers that a page may send.
    #[serde(rename = "AllowedHeader", default)]
    pub allowed_headers: Vec<String>,
    /// The methods that a page may use.
    #[serde(rename = "AllowedMethod")]
    pub allowed_methods: Vec<String>,
    /// Patterns of the origins of pages.
    #[serde(rename = "AllowedOrigin")]
    pub allowed_origins: Vec<String>,
    /// The response headers that a page may read.
    #[serde(rename = "ExposeHeader", default)]
    pub expose_headers: Vec<String>,
    /// The time in seconds for which a browser may keep the answer to a preflight request.
    #[serde(rename = "MaxAgeSeconds")]
    pub max_age_seconds: Option<u32>,
}

impl XmlDocument for CorsConfiguration {
    const ROOT: &'static str = "CORSConfiguration";
}
