//! The destinations of events: the tables `[[event_destinations]]` of the settings file.

use std::time::Duration;

use anyhow::{Context as _, bail};
use ingest::record::QUEUE_BYTES_MAX;
use serde::Deserialize;

use super::units::{ByteSize, TimeSpan, YEAR};
use crate::secret::Secret;

/// The longest time that a receiver may take to answer. A delivery must end before another node may take it over.
const TIMEOUT_MAX: TimeSpan = TimeSpan::secs(15);
/// The least bytes of events that may wait: a few of the largest events.
const WAITING_BYTES_MIN: ByteSize = ByteSize::bytes(64 << 10);
/// The most bytes of events that may wait. They pass through every merge of runs.
const WAITING_BYTES_MAX: ByteSize = ByteSize::mib(16 << 10);

/// A destination of events, which rules of buckets name.
#[derive(Clone, Debug)]
pub struct EventDestination {
    /// The name, unique among the destinations.
    pub name: String,
    /// The way to the receiver.
    pub kind: DestinationKind,
    /// The most bytes of events that wait in each partition; beyond, the oldest are dropped.
    pub waiting_bytes_max: u64,
    /// The age from which on events are dropped while deliveries fail; of a stream, how long events can be read.
    pub age_max: Duration,
    /// The names of the users who may set rules for the destination, whose bounds they share; `None` for all users.
    pub users: Option<Vec<String>>,
}

impl EventDestination {
    /// Returns true if a user may set rules for the destination.
    pub fn is_for(&self, user: &str) -> bool {
        self.users.as_ref().is_none_or(|users| users.iter().any(|known| known == user))
    }
}

/// The way to the receiver of events.
#[derive(Clone, Debug)]
pub enum DestinationKind {
    /// POST requests to a server.
    Webhook {
        /// The address; its scheme is `http`.
        url: http::Uri,
        /// The value of the header `authorization`.
        token: Option<Secret>,
        /// The longest time for one request.
        timeout: Duration,
    },
    /// Messages in a topic of Kafka.
    Kafka {
        /// Addresses of brokers, as `host:port`.
        brokers: Vec<String>,
        /// The topic.
        topic: String,
    },
    /// Kept for readers that ask for events over HTTP.
    Stream,
}

impl DestinationKind {
    /// The name in settings and in ARNs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Webhook { .. } => "webhook",
            Self::Kafka { .. } => "kafka",
            Self::Stream => "stream",
        }
    }
}

/// A table of the settings file. Each kind has keys of its own.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct DestinationTable {
    name: String,
    kind: String,
    url: Option<String>,
    token: Option<Secret>,
    timeout_seconds: Option<toml::Value>,
    brokers: Option<String>,
    topic: Option<String>,
    waiting_bytes_max: Option<toml::Value>,
    age_max: Option<toml::Value>,
    users: Option<Vec<String>>,
}

/// Checks the tables. Fails with the name of the destination for a key that is missing, that another kind has, or whose
/// value is wrong, and for a name twice.
pub fn destinations(tables: &[DestinationTable]) -> anyhow::Result<Vec<EventDestination>> {
    let mut found: Vec<EventDestination> = Vec::new();
    for table in tables {
        let checked = table.check().with_context(|| format!("event destination {:?}", table.name));
        let checked = checked?;
        if found.iter().any(|other| other.name == checked.name) {
            bail!("event destination {:?} is defined twice", table.name);
        }
        found.push(checked);
    }
    Ok(found)
}

impl DestinationTable {
    fn check(&self) -> anyhow::Result<EventDestination> {
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
        let is_name = !self.name.is_empty() && self.name.len() <= QUEUE_BYTES_MAX;
        if !is_name || !self.name.chars().all(is_plain) {
            bail!("a name has 1 to {QUEUE_BYTES_MAX} of a-z, 0-9, - and _");
        }
        let waiting = quantity(&self.waiting_bytes_max, "waiting_bytes_max", ByteSize::mib(1024))?;
        if !(WAITING_BYTES_MIN..=WAITING_BYTES_MAX).contains(&waiting) {
            bail!("waiting_bytes_max must be {WAITING_BYTES_MIN} to {WAITING_BYTES_MAX}");
        }
        let age = quantity(&self.age_max, "age_max", TimeSpan::secs(7 * 86_400))?;
        if !(TimeSpan::secs(1)..=YEAR).contains(&age) {
            bail!("age_max must be 1s to 365d");
        }
        if self.users.as_ref().is_some_and(Vec::is_empty) {
            bail!("users is empty: name a user, or leave it out for all users");
        }
        Ok(EventDestination {
            name: self.name.clone(),
            kind: self.kind()?,
            waiting_bytes_max: waiting.get(),
            age_max: age.get(),
            users: self.users.clone(),
        })
    }

    fn kind(&self) -> anyhow::Result<DestinationKind> {
        let has = |keys: &[(&str, bool)]| {
            keys.iter().find(|(_, has)| *has).map(|(key, _)| key.to_string())
        };
        let of_webhook = [
            ("url", self.url.is_some()),
            ("token", self.token.is_some()),
            ("timeout_seconds", self.timeout_seconds.is_some()),
        ];
        let of_kafka = [("brokers", self.brokers.is_some()), ("topic", self.topic.is_some())];
        let (kind, foreign) = match self.kind.as_str() {
            "webhook" => (self.webhook()?, has(&of_kafka)),
            "kafka" => (self.kafka()?, has(&of_webhook)),
            "stream" => (DestinationKind::Stream, has(&of_webhook).or_else(|| has(&of_kafka))),
            other => bail!("kind is {other:?}: expected webhook, kafka or stream"),
        };
        match foreign {
            Some(key) => bail!("a destination of kind {} has no {key}", kind.name()),
            None => Ok(kind),
        }
    }

    fn webhook(&self) -> anyhow::Result<DestinationKind> {
        let text = self.url.as_deref().context("a webhook needs a url")?;
        let url: http::Uri = text.parse().with_context(|| format!("{text:?} is not a URL"))?;
        match url.scheme_str() {
            Some("http") => {}
            Some("https") => bail!(
                "{text} is https, which this server does not speak yet: give the http URL of a TLS proxy"
            ),
            _ => bail!("{text:?} is not a URL that begins with http://"),
        }
        if url.host().is_none_or(str::is_empty) {
            bail!("{text:?} names no host");
        }
        let timeout = quantity(&self.timeout_seconds, "timeout_seconds", TimeSpan::secs(10))?;
        if timeout.get().is_zero() || timeout > TIMEOUT_MAX {
            bail!("timeout_seconds must be more than 0 and at most {TIMEOUT_MAX}");
        }
        Ok(DestinationKind::Webhook { url, token: self.token.clone(), timeout: timeout.get() })
    }

    fn kafka(&self) -> anyhow::Result<DestinationKind> {
        let brokers = self.brokers.as_deref().context("a kafka destination needs brokers")?;
        let brokers: Vec<String> = brokers.split(',').map(|one| one.trim().to_owned()).collect();
        let is_address = |one: &String| {
            one.rsplit_once(':').is_some_and(|(host, port)| {
                !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0)
            })
        };
        if let Some(wrong) = brokers.iter().find(|one| !is_address(one)) {
            bail!("{wrong:?} is not a broker's address: expected host:port");
        }
        let topic = self.topic.clone().context("a kafka destination needs a topic")?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if topic.is_empty() || topic.len() > 249 || !topic.chars().all(is_plain) {
            bail!(
                "{topic:?} is not a topic of Kafka: expected 1 to 249 of a-z, A-Z, 0-9, ., _ and -"
            );
        }
        Ok(DestinationKind::Kafka { brokers, topic })
    }
}

/// Reads a quantity that is text with a unit, or a number alone.
fn quantity<Q: std::str::FromStr>(
    value: &Option<toml::Value>,
    key: &str,
    default: Q,
) -> anyhow::Result<Q> {
    let text = match value {
        None => return Ok(default),
        Some(toml::Value::String(text)) => text.clone(),
        Some(toml::Value::Integer(number)) => number.to_string(),
        Some(_) => bail!("{key} must be text in quotes or a whole number"),
    };
    text.parse().map_err(|_| anyhow::anyhow!("{key} is {text:?}: expected a number with a unit"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct File {
        event_destinations: Vec<DestinationTable>,
    }

    fn read(tables: &str) -> anyhow::Result<Vec<EventDestination>> {
        let file: File = toml::from_str(tables)?;
        destinations(&file.event_destinations)
    }

    fn table(keys: &str) -> String {
        format!("[[event_destinations]]\n{keys}\n")
    }

    #[test]
    fn each_kind_is_read_with_its_keys() {
        let webhook = "name = \"hook\"\nkind = \"webhook\"\nurl = \"http://[::1]:80/a?b\"\ntoken = \"t\"\ntimeout_seconds = \"500ms\"";
        let kafka = "name = \"lake_1\"\nkind = \"kafka\"\nbrokers = \"a:1, [::1]:2\"\ntopic = \"events\"\nwaiting_bytes_max = \"2GiB\"";
        let stream =
            "name = \"s\"\nkind = \"stream\"\nage_max = \"1h\"\nusers = [\"ann\", \"root\"]";
        let read = read(&[webhook, kafka, stream].map(table).concat()).unwrap();
        let [webhook, kafka, stream] = &read[..] else { panic!("{read:?}") };
        let DestinationKind::Webhook { url, token, timeout } = &webhook.kind else { panic!() };
        assert_eq!((url.host(), url.path_and_query().unwrap().as_str()), (Some("[::1]"), "/a?b"));
        assert_eq!(token.as_ref().map(Secret::expose), Some("t"));
        assert_eq!(*timeout, Duration::from_millis(500));
        assert_eq!((webhook.waiting_bytes_max, webhook.age_max.as_secs()), (1 << 30, 604_800));
        let DestinationKind::Kafka { brokers, topic } = &kafka.kind else { panic!() };
        assert_eq!(
            (brokers.len(), topic.as_str(), kafka.waiting_bytes_max),
            (2, "events", 2 << 30)
        );
        assert!(matches!(stream.kind, DestinationKind::Stream));
        assert_eq!(stream.age_max, Duration::from_secs(3600));
        let of = |destination: &EventDestination| {
            ["ann", "root", "bob", ""].map(|user| destination.is_for(user))
        };
        assert_eq!((of(stream), of(webhook)), ([true, true, false, false], [true; 4]));
    }

    #[test]
    fn what_is_wrong_is_refused_with_the_destination_and_the_reason() {
        let hook = "kind = \"webhook\"\nurl = \"http://h/\"\n";
        for (keys, reason) in [
            (format!("name = \"A\"\n{hook}"), "a-z, 0-9"),
            (format!("name = \"\"\n{hook}"), "a-z, 0-9"),
            (format!("name = \"a\"\n{hook}topic = \"t\""), "has no topic"),
            (format!("name = \"a\"\n{hook}age_max = 0"), "age_max must be"),
            (format!("name = \"a\"\n{hook}waiting_bytes_max = 1"), "waiting_bytes_max must be"),
            (format!("name = \"a\"\n{hook}waiting_bytes_max = \"x\""), "a number with a unit"),
            (format!("name = \"a\"\n{hook}timeout_seconds = 60"), "timeout_seconds must be"),
            ("name = \"a\"\nkind = \"webhook\"".into(), "needs a url"),
            ("name = \"a\"\nkind = \"webhook\"\nurl = \"https://h/\"".into(), "TLS proxy"),
            ("name = \"a\"\nkind = \"webhook\"\nurl = \"ftp://h/\"".into(), "http://"),
            ("name = \"a\"\nkind = \"webhook\"\nurl = \"/path\"".into(), "http://"),
            ("name = \"a\"\nkind = \"kafka\"\ntopic = \"t\"".into(), "needs brokers"),
            ("name = \"a\"\nkind = \"kafka\"\nbrokers = \"b\"\ntopic = \"t\"".into(), "host:port"),
            ("name = \"a\"\nkind = \"kafka\"\nbrokers = \"b:1\"\ntopic = \"t t\"".into(), "topic"),
            ("name = \"a\"\nkind = \"stream\"\ntoken = \"t\"".into(), "has no token"),
            ("name = \"a\"\nkind = \"queue\"".into(), "expected webhook, kafka or stream"),
            ("name = \"a\"\nkind = \"stream\"\nusers = []".into(), "users is empty"),
        ] {
            let error = format!("{:#}", read(&table(&keys)).unwrap_err());
            assert!(error.contains(reason), "{keys}: {error}");
        }
        let twice = table(&format!("name = \"a\"\n{hook}")).repeat(2);
        assert!(read(&twice).unwrap_err().to_string().contains("twice"));
        assert!(read(&table(&format!("name = \"a\"\n{hook}unknown = 1"))).is_err());
    }
}
