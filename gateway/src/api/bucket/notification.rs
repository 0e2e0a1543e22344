//! GetBucketNotificationConfiguration and PutBucketNotificationConfiguration.

use std::collections::BTreeSet;

use ingest::name::OBJECT_KEY_BYTES_MAX;
use ingest::record::{
    ConfigKind, EventName, NOTIFICATION_RULES_MAX, NotificationRule, NotificationRules,
    RULE_ID_BYTES_MAX, RuleElement,
};
use s3::document::{
    CloudFunctionConfiguration, EventFilter, FilterRule, KeyFilter, NotificationConfiguration,
    QueueConfiguration, TopicConfiguration,
};
use s3::error::{ErrorCode, S3Error};
use s3::operation::body::DOCUMENT_BYTES_MAX;
use s3::xml;

use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::{self, HandlerResult};
use crate::config::EventDestination;
use crate::events::arn::DestinationArn;

/// GetBucketNotificationConfiguration: the rules in the order in which they were put; an empty document without rules.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let rules = bucket.notifications.as_deref().map(document_of);
    response::document(&rules.unwrap_or_default())
}

/// PutBucketNotificationConfiguration: replaces all rules; an empty document removes them. Events of writes that are
/// applied after the answer are reported by the new rules. Fails before anything changes for a rule that S3 refuses, and
/// for a destination that the settings do not have for the user.
pub async fn put(context: &S3Context, request: &S3Request, body: RequestBody) -> HandlerResult {
    let bucket = context.bucket_for_write(request).await?;
    let document = body::take_document(context, request, body, DOCUMENT_BYTES_MAX).await?;
    let all = context.options.destinations.iter();
    let destinations: Vec<_> = all.filter(|one| one.is_for(&request.user.name)).collect();
    let rules = rules_of(xml::read(&document)?, &destinations, &request.id)?;
    let document = match rules.rules.is_empty() {
        true => None,
        false => Some(rules.document().map_err(|_| S3Error::from(ErrorCode::EntityTooLarge))?),
    };
    context.set_config(request, &bucket, ConfigKind::NOTIFICATION, document).await?;
    Ok(response::empty(200))
}

/// A rule as the document has it.
struct GivenRule {
    element: RuleElement,
    id: Option<String>,
    arn: String,
    events: Vec<String>,
    filter: Option<EventFilter>,
}

fn given(document: NotificationConfiguration) -> Vec<GivenRule> {
    let NotificationConfiguration { topics, queues, functions, .. } = document;
    let topics = topics.into_iter().map(|rule| {
        let TopicConfiguration { id, arn, events, filter } = rule;
        GivenRule { element: RuleElement::Topic, id, arn, events, filter }
    });
    let queues = queues.into_iter().map(|rule| {
        let QueueConfiguration { id, arn, events, filter } = rule;
        GivenRule { element: RuleElement::Queue, id, arn, events, filter }
    });
    let functions = functions.into_iter().map(|rule| {
        let CloudFunctionConfiguration { id, arn, events, filter } = rule;
        GivenRule { element: RuleElement::Function, id, arn, events, filter }
    });
    topics.chain(queues).chain(functions).collect()
}

/// An error about one value of the document.
fn argument(message: &str, name: &str, value: &str) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

/// Checks a document, as S3 does. `destinations` are those that the rules may name, `request` makes ids for rules without one.
fn rules_of(
    document: NotificationConfiguration,
    destinations: &[&EventDestination],
    request: &str,
) -> Result<NotificationRules, S3Error> {
    if document.event_bridge.is_some() {
        return Err(ErrorCode::NotImplemented.because("EventBridgeConfiguration is not implemented: name a destination of this server in a QueueConfiguration."));
    }
    let given = given(document);
    if given.len() > NOTIFICATION_RULES_MAX {
        let message = "The number of notification configurations exceeds the limit of 100";
        return Err(ErrorCode::InvalidArgument.because(message));
    }
    let mut rules: Vec<NotificationRule> = Vec::with_capacity(given.len());
    for (place, one) in given.into_iter().enumerate() {
        let fallback = format!("{request}-{}", place + 1);
        rules.push(rule_of(one, destinations, fallback)?);
    }
    let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
    if ids.len() < rules.len() {
        let message = "Same ID used for multiple configurations. IDs must be unique";
        return Err(ErrorCode::InvalidArgument.because(message));
    }
    for (place, rule) in rules.iter().enumerate() {
        if rules[..place].iter().any(|other| overlap(rule, other)) {
            return Err(ErrorCode::InvalidArgument.because("Configurations overlap. Configurations on the same bucket cannot share a common event type."));
        }
    }
    Ok(NotificationRules { rules })
}

fn rule_of(
    given: GivenRule,
    destinations: &[&EventDestination],
    fallback: String,
) -> Result<NotificationRule, S3Error> {
    let GivenRule { element, id, arn, events, filter } = given;
    let id = id.filter(|id| !id.is_empty()).unwrap_or(fallback);
    if id.len() > RULE_ID_BYTES_MAX {
        return Err(argument("A configuration ID cannot exceed 255 characters", "Id", &id));
    }
    if events.is_empty() {
        return Err(ErrorCode::MalformedXml.into());
    }
    let events = events.iter().map(|name| {
        let message = "A specified event is not supported for notifications";
        EventName::named(name).ok_or_else(|| argument(message, "Event", name))
    });
    let mut events: Vec<EventName> = events.collect::<Result<_, _>>()?;
    let mut seen = BTreeSet::new();
    events.retain(|event| seen.insert(*event));
    let (prefix, suffix) = filters(filter.unwrap_or_default().key)?;
    let queue = queue_of(&arn, element, destinations)?;
    Ok(NotificationRule { element, id, arn, queue, events, prefix, suffix })
}

/// The queue of the destination that an ARN names. Fails for a destination that the settings do not have.
fn queue_of(
    arn: &str,
    element: RuleElement,
    destinations: &[&EventDestination],
) -> Result<String, S3Error> {
    let name = match element {
        RuleElement::Topic => "Topic",
        RuleElement::Queue => "Queue",
        RuleElement::Function => "CloudFunction",
    };
    if !arn.starts_with("arn:") {
        return Err(argument("The ARN is not well formed", name, arn));
    }
    let found = DestinationArn::parse(arn, element).and_then(|arn| arn.find(destinations));
    let found = found.ok_or_else(|| {
        let message = "Unable to validate the following destination configurations";
        argument(message, arn, "The destination does not exist")
    })?;
    Ok(found.name.clone())
}

/// The prefix and the suffix of a filter, each at most once.
fn filters(filter: KeyFilter) -> Result<(Option<String>, Option<String>), S3Error> {
    let (mut prefix, mut suffix) = (None, None);
    for FilterRule { name, value } in filter.rules {
        let place = match name.to_ascii_lowercase().as_str() {
            "prefix" => &mut prefix,
            "suffix" => &mut suffix,
            _ => {
                let message = "filter rule name must be either prefix or suffix";
                return Err(argument(message, "FilterRule.Name", &name));
            }
        };
        if value.len() > OBJECT_KEY_BYTES_MAX {
            let message =
                "Size of filter rule value cannot exceed 1024 bytes in UTF-8 representation";
            return Err(argument(message, "FilterRule.Value", &value));
        }
        if place.replace(value).is_some() {
            let name = name.to_ascii_lowercase();
            let message = format!("Cannot specify more than one {name} rule in a filter.");
            return Err(argument(&message, "FilterRule.Name", &name));
        }
    }
    Ok((prefix, suffix))
}

/// True for two rules of which both could report one event: S3 takes only one of them.
fn overlap(one: &NotificationRule, other: &NotificationRule) -> bool {
    let shares = |a: &EventName| other.events.iter().any(|b| a.covers(*b) || b.covers(*a));
    let text = |filter: &Option<String>| filter.clone().unwrap_or_default();
    let (prefix, others) = (text(&one.prefix), text(&other.prefix));
    let (suffix, other_suffix) = (text(&one.suffix), text(&other.suffix));
    one.events.iter().any(shares)
        && (prefix.starts_with(&others) || others.starts_with(&prefix))
        && (suffix.ends_with(&other_suffix) || other_suffix.ends_with(&suffix))
}

/// S3's document of a bucket's rules.
fn document_of(rules: &NotificationRules) -> NotificationConfiguration {
    let mut document = NotificationConfiguration::default();
    for rule in &rules.rules {
        let (id, arn) = (Some(rule.id.clone()), rule.arn.clone());
        let events = rule.events.iter().map(|event| event.name().to_owned()).collect();
        let filter = filter_of(rule);
        match rule.element {
            RuleElement::Topic => {
                document.topics.push(TopicConfiguration { id, arn, events, filter });
            }
            RuleElement::Queue => {
                document.queues.push(QueueConfiguration { id, arn, events, filter });
            }
            RuleElement::Function => {
                document.functions.push(CloudFunctionConfiguration { id, arn, events, filter });
            }
        }
    }
    document
}

fn filter_of(rule: &NotificationRule) -> Option<EventFilter> {
    let named = [("Prefix", &rule.prefix), ("Suffix", &rule.suffix)];
    let rules: Vec<FilterRule> = named
        .into_iter()
        .filter_map(|(name, value)| {
            Some(FilterRule { name: name.to_owned(), value: value.clone()? })
        })
        .collect();
    (!rules.is_empty()).then_some(EventFilter { key: KeyFilter { rules } })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::DestinationKind;

    fn destinations() -> Vec<EventDestination> {
        let of = |name: &str, kind| EventDestination {
            name: name.into(),
            kind,
            waiting_bytes_max: 1 << 20,
            age_max: Duration::from_secs(60),
            users: None,
        };
        let (url, timeout) = (http::Uri::from_static("http://h/"), Duration::from_secs(1));
        let hook = DestinationKind::Webhook { url, token: None, timeout };
        vec![of("hook", hook), of("kept", DestinationKind::Stream)]
    }

    fn read(inner: &str) -> Result<NotificationRules, S3Error> {
        let text = format!("<NotificationConfiguration>{inner}</NotificationConfiguration>");
        let destinations = destinations();
        rules_of(xml::read(text.as_bytes())?, &destinations.iter().collect::<Vec<_>>(), "REQUEST")
    }

    fn queue(id: &str, events: &[&str], filters: &[(&str, &str)]) -> String {
        let id = if id.is_empty() { String::new() } else { format!("<Id>{id}</Id>") };
        let events: String = events.iter().map(|name| format!("<Event>{name}</Event>")).collect();
        let filters: String = filters
            .iter()
            .map(|(name, value)| {
                format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
            })
            .collect();
        format!(
            "<QueueConfiguration>{id}<Queue>arn:siltstone:sqs::hook:webhook</Queue>{events}<Filter><S3Key>{filters}</S3Key></Filter></QueueConfiguration>"
        )
    }

    const CREATED: &[&str] = &["s3:ObjectCreated:*"];

    #[test]
    fn rules_come_back_as_they_were_put() {
        let topic = "<TopicConfiguration><Topic>arn:siltstone:sns:r:kept:stream</Topic><Event>s3:ObjectTagging:*</Event></TopicConfiguration>";
        let first = queue("one", CREATED, &[("prefix", "a/"), ("SUFFIX", ".jpg")]);
        let read_rules = read(&format!("{topic}{first}")).unwrap();
        assert_eq!(read_rules.rules[0].id, "REQUEST-1");
        assert_eq!(read_rules.rules[0].queue, "kept");
        let written = xml::write(&document_of(&read_rules)).unwrap();
        let destinations = destinations();
        let destinations: Vec<_> = destinations.iter().collect();
        let again = rules_of(xml::read(written.as_bytes()).unwrap(), &destinations, "").unwrap();
        assert_eq!(again, read_rules);
        assert!(written.contains("<Name>Prefix</Name><Value>a/</Value>"), "{written}");
        assert_eq!(read("").unwrap(), NotificationRules::default());
    }

    #[test]
    fn what_s3_refuses_is_refused() {
        use ErrorCode::{InvalidArgument, MalformedXml, NotImplemented};
        let two = |a: &str, b: &str| format!("{a}{b}");
        let long = "x".repeat(1025);
        let arn = |arn: &str| {
            format!(
                "<QueueConfiguration><Queue>{arn}</Queue><Event>s3:ObjectCreated:*</Event></QueueConfiguration>"
            )
        };
        for (inner, code, message) in [
            (queue("", &[], &[]), MalformedXml, ""),
            (queue("", &["s3:Object"], &[]), InvalidArgument, "not supported"),
            (queue("", CREATED, &[("infix", "a")]), InvalidArgument, "either prefix or suffix"),
            (
                queue("", CREATED, &[("prefix", "a"), ("Prefix", "b")]),
                InvalidArgument,
                "more than one prefix",
            ),
            (queue("", CREATED, &[("suffix", &long)]), InvalidArgument, "1024 bytes"),
            (queue(&"x".repeat(256), CREATED, &[]), InvalidArgument, "255"),
            (
                two(&queue("a", CREATED, &[]), &queue("a", &["s3:ObjectRemoved:*"], &[])),
                InvalidArgument,
                "Same ID",
            ),
            (
                two(&queue("a", CREATED, &[]), &queue("b", &["s3:ObjectCreated:Put"], &[])),
                InvalidArgument,
                "overlap",
            ),
            (
                two(
                    &queue("a", CREATED, &[("prefix", "a")]),
                    &queue("b", CREATED, &[("prefix", "ab")]),
                ),
                InvalidArgument,
                "overlap",
            ),
            (
                two(
                    &queue("a", CREATED, &[("suffix", "g")]),
                    &queue("b", CREATED, &[("prefix", "a")]),
                ),
                InvalidArgument,
                "overlap",
            ),
            (arn("hook"), InvalidArgument, "not well formed"),
            (arn("arn:aws:sqs:us-east-1:1:q"), InvalidArgument, "Unable to validate"),
            (arn("arn:siltstone:sqs::hook:kafka"), InvalidArgument, "Unable to validate"),
            (arn("arn:siltstone:sns::hook:webhook"), InvalidArgument, "Unable to validate"),
            ("<EventBridgeConfiguration/>".into(), NotImplemented, "EventBridge"),
            (queue("", CREATED, &[]).repeat(101), InvalidArgument, "limit of 100"),
        ] {
            let error = read(&inner).unwrap_err();
            assert_eq!(error.code, code, "{inner}: {error}");
            assert!(error.message.contains(message), "{inner}: {error}");
        }
        // Events apart, keys apart, or ends apart.
        for inner in [
            two(&queue("a", CREATED, &[]), &queue("b", &["s3:ObjectRemoved:*"], &[])),
            two(&queue("a", CREATED, &[("prefix", "a")]), &queue("b", CREATED, &[("prefix", "b")])),
            two(&queue("a", CREATED, &[("suffix", "a")]), &queue("b", CREATED, &[("suffix", "b")])),
        ] {
            assert!(read(&inner).is_ok(), "{inner}");
        }
    }

    /// Rules with each choice of some events, prefixes and suffixes.
    fn choices() -> Vec<NotificationRule> {
        let names = ["s3:ObjectCreated:*", "s3:ObjectCreated:Put", "s3:ObjectRemoved:*"];
        let texts = [None, Some(""), Some("a"), Some("ab"), Some("b")];
        let mut rules = Vec::new();
        for name in names {
            for (prefix, suffix) in texts.iter().flat_map(|a| texts.iter().map(move |b| (a, b))) {
                rules.push(NotificationRule {
                    element: RuleElement::Queue,
                    id: String::new(),
                    arn: String::new(),
                    queue: String::new(),
                    events: vec![EventName::named(name).unwrap()],
                    prefix: prefix.map(str::to_owned),
                    suffix: suffix.map(str::to_owned),
                });
            }
        }
        rules
    }

    #[test]
    fn two_rules_overlap_if_an_event_of_some_key_is_one_of_both() {
        let mut keys = vec![String::new()];
        for at in 0.. {
            if keys[at].len() == 4 {
                break;
            }
            keys.extend(["a", "b"].map(|letter| format!("{}{letter}", keys[at])));
        }
        let events = [EventName::CREATED_PUT, EventName::CREATED_COPY, EventName::REMOVED_DELETE];
        let rules = choices();
        for (one, other) in rules.iter().flat_map(|a| rules.iter().map(move |b| (a, b))) {
            let takes = |rule: &NotificationRule, key: &String| {
                events.map(|event| rule.takes(event, key.as_bytes()))
            };
            let is_shared =
                |key: &String| takes(one, key).iter().zip(takes(other, key)).any(|(a, b)| *a && b);
            assert_eq!(overlap(one, other), keys.iter().any(is_shared), "{one:?} {other:?}");
        }
    }
}
