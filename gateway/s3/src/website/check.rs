//! The check of a website configuration, with the errors of AWS.

use super::RULES_MAX;
use crate::document::{RoutingRule, WebsiteConfiguration};
use crate::error::{ErrorCode, S3Error};
use crate::names::number;

/// Fails for a configuration that AWS refuses, with `InvalidArgument`, `InvalidRequest` or `MalformedXml`.
pub fn check(site: &WebsiteConfiguration) -> Result<(), S3Error> {
    if let Some(all) = &site.redirect_all_requests_to {
        let others = site.index_document.is_some()
            || site.error_document.is_some()
            || site.routing_rules.is_some();
        if others {
            return Err(argument(
                "RedirectAllRequestsTo",
                "not null",
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.",
            ));
        }
        if all.host_name.is_empty() {
            return Err(ErrorCode::InvalidRequest.because(
                "A host name must be provided to redirect all requests (e.g. \"example.com\").",
            ));
        }
        check_host(&all.host_name)?;
        return check_protocol(all.protocol.as_deref());
    }
    let Some(index) = &site.index_document else {
        return Err(argument(
            "IndexDocument",
            "null",
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty",
        ));
    };
    if index.suffix.is_empty() || index.suffix.contains('/') {
        let message = "The IndexDocument Suffix is not well formed";
        return Err(argument("IndexDocument", &index.suffix, message));
    }
    if site.error_document.as_ref().is_some_and(|document| document.key.is_empty()) {
        return Err(ErrorCode::MalformedXml.into());
    }
    let rules = site.routing_rules.as_ref().map_or(&[][..], |rules| &rules.rules);
    if rules.len() > RULES_MAX {
        return Err(ErrorCode::InvalidRequest.because(format!(
            "{} routing rules provided, the number of routing rules in a website configuration is limited to {RULES_MAX}.",
            rules.len()
        )));
    }
    rules.iter().try_for_each(check_rule)
}

fn argument(name: &'static str, value: &str, message: &str) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

fn check_rule(rule: &RoutingRule) -> Result<(), S3Error> {
    let invalid = |message: String| Err(ErrorCode::InvalidRequest.because(message));
    if let Some(condition) = &rule.condition {
        let code = condition.http_error_code_returned_equals.as_deref();
        if condition.key_prefix_equals.is_none() && code.is_none() {
            return invalid(
                "Condition cannot be empty. To redirect all requests without a condition, the condition element shouldn't be present."
                    .into(),
            );
        }
        let is_error =
            |code: &str| number(code).is_some_and(|code: u16| (400..600).contains(&code));
        if let Some(code) = code.filter(|code| !is_error(code)) {
            return invalid(format!(
                "The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX."
            ));
        }
    }
    let redirect = &rule.redirect;
    if *redirect == Default::default() {
        return Err(ErrorCode::MalformedXml.into());
    }
    if redirect.replace_key_with.is_some() && redirect.replace_key_prefix_with.is_some() {
        return invalid("You can only define ReplaceKeyPrefix or ReplaceKey but not both.".into());
    }
    let is_redirect = |code: &str| number(code).is_some_and(|code: u16| (301..400).contains(&code));
    let code = redirect.http_redirect_code.as_deref();
    if let Some(code) = code.filter(|code| !is_redirect(code)) {
        return invalid(format!(
            "The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300."
        ));
    }
    check_host(redirect.host_name.as_deref().unwrap_or("host"))?;
    check_protocol(redirect.protocol.as_deref())
}

/// Fails for a host that would end the host of a URL, or the header that the URL stands in.
fn check_host(host: &str) -> Result<(), S3Error> {
    let is_good = |byte: u8| byte.is_ascii_graphic() && !b"/\\?#@<>\"".contains(&byte);
    if !host.is_empty() && host.bytes().all(is_good) {
        return Ok(());
    }
    Err(ErrorCode::InvalidRequest.because(format!("The host name ({host}) is not valid.")))
}

fn check_protocol(protocol: Option<&str>) -> Result<(), S3Error> {
    match protocol {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(ErrorCode::InvalidRequest.because(
            "Invalid protocol, protocol can be http or https. If not defined the protocol will be selected automatically.",
        )),
    }
}
