//! ListenBucketNotification: the events of a bucket as they happen, one JSON document a line. An operation of MinIO.
//!
//! ```text
//!   GET /bucket?events=NAME[&events=NAME…][&prefix=…][&suffix=…][&ping=SECONDS][&cursor=SEQUENCER|oldest]
//! ```
//! Without a cursor the answer has what happens from now on, and nothing is kept for a client that is not there. With a
//! cursor it has what a destination of kind `stream` keeps: after the event with that sequencer, or from the oldest on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compactor::delivery::DueEvent;
use compactor::partition::EventListener;
use compactor::state::BucketState;
use http::{HeaderValue, Response};
use ingest::name::BucketName;
use ingest::record::{EventName, EventPosition};
use s3::error::{ErrorCode, S3Error};
use s3::names::number;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::kept_events::{KeptEvents, StoredPages};
use crate::api::context::S3Context;
use crate::api::request::S3Request;
use crate::api::response::{HandlerResult, ResponseBody};
use crate::config::{DestinationKind, EventDestination};
use crate::events::message::{EventMessages, position_of};
use crate::server::store::Store;

/// The interval of blanks that keep a connection without events alive.
const BLANKS: Duration = Duration::from_secs(5);
/// The longest interval that a client may ask for, in seconds.
const PING_SECONDS_MAX: u64 = 3600;

/// Names of events and groups that MinIO has and S3 does not. Such an event never happens here, and clients ask for them
/// together with others.
const FOREIGN: [&str; 6] = [
    "s3:ObjectAccessed:",
    "s3:BucketCreated:",
    "s3:BucketRemoved:",
    "s3:ObjectTransition:",
    "s3:Scanner:",
    "s3:ObjectRemoved:NoOP",
];

/// ListenBucketNotification. The answer ends when the client is too far behind, when the bucket gets another owner, and
/// when the server stops. Fails for a name that no event has, and for a cursor whose events are not kept.
pub async fn listen(context: &S3Context, request: &S3Request) -> HandlerResult {
    let view = context.bucket_for_read(request).await?;
    let wanted = WantedEvents::of(request, &view.bucket)?;
    let pulse = Pulse::of(request)?;
    let source = match request.query("cursor") {
        None => EventSource::Live(view.partition.listen(&view.bucket.name)),
        Some(text) => {
            let queue = kept_queue(&view.bucket, &context.options.destinations)?;
            let begin = view.partition.events_begin(&queue);
            let next = position(text, begin)?;
            let changes = view.partition.follow_events();
            let (store, bucket) = (context.store().clone(), view.bucket.name.clone());
            let pages = StoredPages { store, bucket, queue };
            EventSource::Kept(KeptEvents::new(pages, next, changes))
        }
    };
    let listening = Listening {
        source,
        wanted,
        pulse,
        store: context.store().clone(),
        messages: EventMessages { region: context.options.region.clone() },
        stopping: context.options.stopping.clone(),
    };
    let pieces = futures::stream::unfold(listening, |mut listening| async move {
        let line = listening.next().await?;
        Some((Ok(line), listening))
    });
    let mut response = Response::new(ResponseBody::Open(Box::pin(pieces)));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert("content-type", kind);
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn argument(message: &str, name: &str, value: &str) -> S3Error {
    ErrorCode::InvalidArgument
        .because(message)
        .with("ArgumentName", name)
        .with("ArgumentValue", value)
}

/// The queue that keeps the events of a bucket.
fn kept_queue(bucket: &BucketState, destinations: &[EventDestination]) -> Result<String, S3Error> {
    let rules = bucket.notifications.iter().flat_map(|rules| &rules.rules);
    let is_stream = |queue: &str| {
        let mut found = destinations.iter().filter(|destination| destination.name == queue);
        found.any(|destination| matches!(destination.kind, DestinationKind::Stream))
    };
    let mut queues = rules.map(|rule| &rule.queue).filter(|queue| is_stream(queue));
    let message =
        "The bucket keeps no events: no notification rule names a destination of kind stream.";
    queues.next().cloned().ok_or_else(|| ErrorCode::InvalidArgument.because(message))
}

/// The position after the event that a cursor names. `begin` is that of the oldest event.
fn position(text: &str, begin: EventPosition) -> Result<EventPosition, S3Error> {
    if text == "oldest" {
        return Ok(begin);
    }
    let wrong =
        || argument("The cursor must be a sequencer of an event, or oldest", "cursor", text);
    let seen = position_of(text).ok_or_else(wrong)?;
    let after = EventPosition { offset: seen.offset.checked_add(1).ok_or_else(wrong)?, rule: 0 };
    // The rest of the record's events are behind the cursor, unless they are dropped: then the queue begins among them.
    let next = if begin == after { after } else { seen.next() };
    if next < begin {
        let message = "The cursor is too old: events after it are no longer kept";
        return Err(argument(message, "cursor", text));
    }
    Ok(next)
}

/// The events that a client wants.
struct WantedEvents {
    bucket: BucketName,
    owner: String,
    names: Vec<EventName>,
    prefix: String,
    suffix: String,
}

impl WantedEvents {
    fn of(request: &S3Request, bucket: &BucketState) -> Result<Self, S3Error> {
        let mut names = Vec::new();
        for (_, name) in request.query.iter().filter(|(name, _)| name == "events") {
            match EventName::named(name) {
                Some(known) => names.push(known),
                None if FOREIGN.iter().any(|foreign| name.starts_with(foreign)) => {}
                None => {
                    let message = "A specified event is not supported for notifications";
                    return Err(argument(message, "events", name));
                }
            }
        }
        let text = |name| request.query(name).unwrap_or_default().to_owned();
        let (prefix, suffix) = (text("prefix"), text("suffix"));
        let (bucket, owner) = (bucket.name.clone(), bucket.owner.clone());
        Ok(Self { bucket, owner, names, prefix, suffix })
    }

    fn has(&self, due: &DueEvent) -> bool {
        let event = &due.event;
        let key = event.key.as_str();
        event.bucket == self.bucket
            && event.owner == self.owner
            && self.names.iter().any(|name| name.covers(event.name))
            && key.starts_with(&self.prefix)
            && key.ends_with(&self.suffix)
    }

    /// True for an event of another user's bucket with the same name: the client may not see it.
    fn is_of_another(&self, due: &DueEvent) -> bool {
        due.event.bucket == self.bucket && due.event.owner != self.owner
    }

    /// True while the bucket is not known to be another user's. A bucket that is missing may come again.
    fn may_follow(&self, store: &Store) -> bool {
        let known = store.partition_of(self.bucket.as_str()).known_buckets();
        known.named(&self.bucket).is_none_or(|bucket| bucket.owner == self.owner)
    }
}

/// The sign of life without events.
struct Pulse {
    every: Duration,
    line: &'static [u8],
}

impl Pulse {
    fn of(request: &S3Request) -> Result<Self, S3Error> {
        let Some(text) = request.query("ping") else {
            return Ok(Self { every: BLANKS, line: b" " });
        };
        let seconds = number(text).filter(|seconds| (1..=PING_SECONDS_MAX).contains(seconds));
        let wrong = || argument("The ping must be 1 to 3600 seconds", "ping", text);
        let every = Duration::from_secs(seconds.ok_or_else(wrong)?);
        Ok(Self { every, line: b"{\"Records\":[]}\n" })
    }
}

/// The source of a client's events.
enum EventSource {
    Live(EventListener),
    Kept(KeptEvents<StoredPages>),
}

/// One client that listens.
struct Listening {
    source: EventSource,
    wanted: WantedEvents,
    pulse: Pulse,
    store: Arc<Store>,
    messages: EventMessages,
    stopping: watch::Receiver<bool>,
}

impl Listening {
    /// The next piece of the answer; `None` at its end.
    async fn next(&mut self) -> Option<Bytes> {
        let pulse = tokio::time::sleep(self.pulse.every);
        let mut pulse = std::pin::pin!(pulse);
        let Self { source, wanted, store, messages, stopping, .. } = self;
        loop {
            let due = tokio::select! {
                _ = stopping.wait_for(|stops| *stops) => return None,
                () = &mut pulse => return Some(Bytes::from_static(self.pulse.line)),
                due = next_of(source) => due?,
            };
            // Kept events may be of a former owner of the name, and another one of a new owner.
            if wanted.is_of_another(&due) && !wanted.may_follow(store) {
                return None;
            }
            if wanted.has(&due) {
                return Some(line(messages.record(&due)));
            }
        }
    }
}

async fn next_of(source: &mut EventSource) -> Option<Arc<DueEvent>> {
    match source {
        EventSource::Live(listener) => listener.next().await,
        EventSource::Kept(kept) => match kept.next().await {
            Ok(due) => due.map(Arc::new),
            Err(error) => {
                tracing::warn!(%error, "the answer with kept events ends early");
                None
            }
        },
    }
}

/// An event as MinIO's clients read it: with `s3:` in its name.
fn line(mut record: Value) -> Bytes {
    let name = format!("s3:{}", record["eventName"].as_str().unwrap_or_default());
    record["eventName"] = name.into();
    format!("{}\n", json!({ "Records": [record] })).into()
}

#[cfg(test)]
mod tests {
    use ingest::ids::Offset;

    use super::*;

    #[test]
    fn a_cursor_is_a_sequencer_whose_successors_are_kept() {
        let at = |offset| EventPosition { offset: Offset::new(offset), rule: 0 };
        assert_eq!(position("oldest", at(7)), Ok(at(7)));
        let second = |offset, rule| EventPosition { rule, ..at(offset) };
        assert_eq!(position("000000000000001F", at(7)), Ok(second(31, 1)));
        // The event that follows in the same record may be the next one.
        assert_eq!(position("000000000000001F0003", at(7)), Ok(second(31, 4)));
        assert_eq!(position("000000000000001F0003", second(31, 4)), Ok(second(31, 4)));
        assert_eq!(position("0000000000000006", at(7)), Ok(at(7)));
        let far = second(7, 1);
        for (text, begin) in [
            ("0000000000000005", at(7)),
            ("0000000000000006", far),
            ("0000000000000007", second(7, 2)),
            ("00000000000000070001", second(7, 3)),
            ("000000000000000700001", at(0)),
            ("0000000000000007001", at(0)),
            ("ffffffffffffffff0000", at(0)),
            ("6", at(0)),
            ("", at(0)),
            ("+00000000000001F", at(0)),
            ("ffffffffffffffff", at(0)),
            ("newest", at(0)),
        ] {
            let refused = position(text, begin).map_err(|error| error.code);
            assert_eq!(refused, Err(ErrorCode::InvalidArgument), "{text}");
        }
    }
}
