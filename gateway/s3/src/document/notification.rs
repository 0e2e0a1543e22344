//! The events that a bucket reports.

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::xml::XmlDocument;

/// The document of the notification operations; empty for a bucket that reports nothing. Contents are not checked here.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationConfiguration {
    /// Rules for topics.
    #[serde(rename = "TopicConfiguration", default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicConfiguration>,
    /// Rules for queues.
    #[serde(rename = "QueueConfiguration", default, skip_serializing_if = "Vec::is_empty")]
    pub queues: Vec<QueueConfiguration>,
    /// Rules for functions.
    #[serde(rename = "CloudFunctionConfiguration", default, skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<CloudFunctionConfiguration>,
    /// The wish for events on the bus of AWS.
    #[serde(rename = "EventBridgeConfiguration", default, skip_serializing)]
    pub event_bridge: Option<IgnoredAny>,
}

impl XmlDocument for NotificationConfiguration {
    const ROOT: &'static str = "NotificationConfiguration";
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident $destination:literal)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The id.
            #[serde(rename = "Id", default, skip_serializing_if = "Option::is_none")]
            pub id: Option<String>,
            /// The ARN of the destination.
            #[serde(rename = $destination)]
            pub arn: String,
            /// The names of events.
            #[serde(rename = "Event", default)]
            pub events: Vec<String>,
            /// The filter of keys.
            #[serde(rename = "Filter", default, skip_serializing_if = "Option::is_none")]
            pub filter: Option<EventFilter>,
        }
    )*};
}

rules! {
    /// Events that go to a topic.
    TopicConfiguration "Topic"
    /// Events that go to a queue.
    QueueConfiguration "Queue"
    /// Events that go to a function.
    CloudFunctionConfiguration "CloudFunction"
}

/// The filter of a rule.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventFilter {
    /// The filter of keys.
    #[serde(rename = "S3Key", default)]
    pub key: KeyFilter,
}

/// The texts with which keys begin and end.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFilter {
    /// At most one for each name.
    #[serde(rename = "FilterRule", default)]
    pub rules: Vec<FilterRule>,
}

/// One text.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct FilterRule {
    /// `prefix` or `suffix`, in any case.
    pub name: String,
    /// The text; absent for an empty one.
    #[serde(default)]
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml;

    const DOCUMENT: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TopicConfiguration><Id>a</Id><Topic>arn:t</Topic><Event>s3:ObjectCreated:*</Event></TopicConfiguration><QueueConfiguration><Id>b</Id><Queue>arn:q</Queue><Event>s3:ObjectCreated:Put</Event><Event>s3:ObjectRemoved:*</Event><Filter><S3Key><FilterRule><Name>Prefix</Name><Value>a &amp; b/ </Value></FilterRule><FilterRule><Name>Suffix</Name><Value>.jpg</Value></FilterRule></S3Key></Filter></QueueConfiguration><CloudFunctionConfiguration><CloudFunction>arn:f</CloudFunction><Event>s3:ObjectTagging:Put</Event></CloudFunctionConfiguration></NotificationConfiguration>";

    #[test]
    fn a_document_is_written_as_it_was_read() {
        let read: NotificationConfiguration = xml::read(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(read.queues[0].events.len(), 2);
        assert_eq!(xml::write(&read).unwrap(), DOCUMENT);
        let empty = NotificationConfiguration::default();
        let written = xml::write(&empty).unwrap();
        assert!(written.ends_with("2006-03-01/\"></NotificationConfiguration>"), "{written}");
    }

    #[test]
    fn what_the_document_does_not_have_is_malformed() {
        let read = |inner: &str| {
            let text = format!("<NotificationConfiguration>{inner}</NotificationConfiguration>");
            xml::read::<NotificationConfiguration>(text.as_bytes())
        };
        assert!(read("<EventBridgeConfiguration/>").unwrap().event_bridge.is_some());
        assert!(read("").is_ok());
        for wrong in [
            "<QueueConfiguration><Event>s3:ObjectCreated:*</Event></QueueConfiguration>",
            "<QueueConfiguration><Queue>a</Queue><Queue>b</Queue></QueueConfiguration>",
            "<QueueConfiguration><Topic>a</Topic></QueueConfiguration>",
            "<Other/>",
            "<QueueConfiguration><Queue>a</Queue><Filter><Key/></Filter></QueueConfiguration>",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
