//! The names by which rules of buckets refer to destinations.
//!
//! `arn:siltstone:sqs::NAME:KIND`, with a region or none. In a `TopicConfiguration` the service is `sns`, in a
//! `CloudFunctionConfiguration` `lambda`; all mean the same destination.

use ingest::record::RuleElement;

use crate::config::EventDestination;

/// A destination's name in the parts that matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DestinationArn<'a> {
    /// The name in the settings.
    pub name: &'a str,
    /// The kind of destination.
    pub kind: &'a str,
}

/// The service that stands in the ARN of an element.
fn service(element: RuleElement) -> &'static str {
    match element {
        RuleElement::Topic => "sns",
        RuleElement::Queue => "sqs",
        RuleElement::Function => "lambda",
    }
}

impl<'a> DestinationArn<'a> {
    /// Reads the ARN of an element; `None` unless the text has six parts, this server's name, and the element's service.
    pub fn parse(text: &'a str, element: RuleElement) -> Option<Self> {
        let mut parts = text.split(':');
        let mut next = || parts.next();
        let head = (next()?, next()?, next()?);
        let (_region, name, kind) = (next()?, next()?, next()?);
        let is_arn = head == ("arn", "siltstone", service(element));
        (is_arn && next().is_none() && !name.is_empty()).then_some(Self { name, kind })
    }

    /// The destination among those of the settings; `None` unless one has this name and this kind.
    pub fn find<'d>(self, destinations: &[&'d EventDestination]) -> Option<&'d EventDestination> {
        let is =
            |known: &&EventDestination| known.name == self.name && known.kind.name() == self.kind;
        destinations.iter().copied().find(is)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_six_parts_and_the_service_of_its_element() {
        let of =
            |text| DestinationArn::parse(text, RuleElement::Queue).map(|arn| (arn.name, arn.kind));
        assert_eq!(of("arn:siltstone:sqs::hook:webhook"), Some(("hook", "webhook")));
        assert_eq!(of("arn:siltstone:sqs:eu-central-1:hook:kafka"), Some(("hook", "kafka")));
        for wrong in [
            "",
            "hook",
            "arn:aws:sqs:us-east-1:123:queue",
            "arn:siltstone:sns::hook:webhook",
            "arn:siltstone:sqs::hook",
            "arn:siltstone:sqs:::webhook",
            "arn:siltstone:sqs::hook:webhook:more",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        let topic = DestinationArn::parse("arn:siltstone:sns::a:stream", RuleElement::Topic);
        let function =
            DestinationArn::parse("arn:siltstone:lambda::a:stream", RuleElement::Function);
        assert_eq!(topic, function);
        assert!(topic.is_some());
    }
}
