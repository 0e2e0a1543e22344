//! One client of a history: it asks, waits, and writes down what it asked and what it learned.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer::{HistoryAnswer, of_answer, of_lost};
use super::choice::{ObjectPlace, ObjectPlaces, OperationChoice};
use super::dice::Dice;
use super::endpoints::{EndpointTurn, Endpoints};
use super::journal::{Journal, unix_ms};
use super::line::{
    Action, Complete, HistoryLine, Invoke, OperationEnding, OperationOutcome, SeenContent,
};
use super::request::HistoryRequest;
use super::value::HistoryValue;
use crate::client::{ClientConnection, LoadTarget, LostRequest};

/// How long a client waits where no endpoint takes requests.
const PAUSE: Duration = Duration::from_millis(20);
/// How long it waits after a server has failed: a store that cannot write for a while should leave
/// hundreds of unknown writes behind, not hundreds of thousands.
const PAUSE_AFTER_FAILURE_MS: std::ops::Range<u64> = 20..120;

/// What the clients of a history share.
pub struct CallerContext {
    /// The file and its clock.
    pub journal: Journal,
    /// The tag in value ids.
    pub tag: String,
    /// The servers.
    pub targets: Vec<LoadTarget>,
    /// Which of them are asked.
    pub endpoints: Arc<Endpoints>,
    /// The buckets' names.
    pub buckets: Vec<String>,
    /// Where objects are.
    pub places: ObjectPlaces,
    /// How long an answer may take.
    pub within: Duration,
    /// How many bytes a second the values that are not small may take, on average.
    pub bulk_bytes_per_second: u64,
    /// How many they have taken.
    pub bulk_bytes: AtomicU64,
    /// How long a client waits at least from one choice to the next.
    pub interval: Duration,
    /// When the history ends, if that is known.
    pub deadline: Option<Instant>,
    /// The history ends when this file is there.
    pub until_file: Option<PathBuf>,
    /// The next operation's number.
    pub next_op: AtomicU64,
    /// What has happened.
    pub tally: Mutex<CallerTally>,
}

/// How many operations ended how.
#[derive(Clone, Copy, Default, Debug)]
pub struct CallerTally {
    /// Done.
    pub ok: u64,
    /// Not done.
    pub failed: u64,
    /// Nobody knows.
    pub unknown: u64,
    /// Answered wrongly, as far as one answer alone can tell.
    pub wrong: u64,
}

impl CallerTally {
    fn count(&mut self, ending: &OperationEnding) {
        match ending.outcome {
            OperationOutcome::Ok => self.ok += 1,
            OperationOutcome::Fail => self.failed += 1,
            OperationOutcome::Unknown => self.unknown += 1,
        }
        self.wrong += u64::from(ending.wrong.is_some());
    }
}

impl CallerContext {
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.until_file.as_ref().is_some_and(|path| path.exists())
    }

    /// Takes bytes for a value that is not small, if those taken so far are not too many by now. These may
    /// be: else only the smallest would ever find room.
    fn has_room(&self, bytes: u64) -> bool {
        let seconds = self.journal.ns() as f64 / 1e9;
        let allowed = (seconds * self.bulk_bytes_per_second as f64) as u64;
        let take = |taken: u64| (taken < allowed).then_some(taken + bytes);
        self.bulk_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A client.
pub struct Caller {
    shared: Arc<CallerContext>,
    number: u32,
    dice: Dice,
    /// One for each endpoint, where there is one.
    connections: Vec<Option<ClientConnection>>,
    values: u64,
    /// The ETag that was seen last, of each place.
    etags: HashMap<ObjectPlace, String>,
}

impl Caller {
    /// A client with a number and a seed.
    pub fn new(shared: Arc<CallerContext>, number: u32, seed: u64) -> Self {
        let connections = shared.targets.iter().map(|_| None).collect();
        let dice = Dice::new(seed);
        Self { shared, number, dice, connections, values: 0, etags: HashMap::new() }
    }

    /// Works until the history is over.
    pub async fn work(&mut self) -> anyhow::Result<()> {
        let shared = self.shared.clone();
        while !shared.is_over() {
            let mut has_room = |bytes| shared.has_room(bytes);
            let choice = OperationChoice::next(&mut self.dice, &shared.places, &mut has_room);
            let next = tokio::time::Instant::now() + shared.interval;
            self.carry_out(choice).await?;
            sleep_until(next).await;
        }
        Ok(())
    }

    async fn carry_out(&mut self, choice: OperationChoice) -> anyhow::Result<()> {
        match choice {
            OperationChoice::Get(place) => self.get(&place, None).await.map(drop),
            OperationChoice::Head(place) => self.head(&place).await,
            OperationChoice::Put(place, bytes) => self.put(&place, bytes).await,
            OperationChoice::PutIfAbsent(place, bytes) => self.put_if_absent(&place, bytes).await,
            OperationChoice::PutIfMatch { place, bytes, looks_first } => {
                if looks_first || !self.etags.contains_key(&place) {
                    self.head(&place).await?;
                }
                self.put_if_match(&place, bytes).await
            }
            OperationChoice::Delete(place) => self.delete(&place).await,
            OperationChoice::Upload(place, bytes) => self.upload(&place, bytes).await,
            OperationChoice::List { bucket, prefix, max_keys } => {
                self.list(bucket, &prefix, max_keys, None).await.map(drop)
            }
        }
    }

    /// Reads an object, through a given endpoint or any.
    pub async fn get(
        &mut self,
        place: &ObjectPlace,
        through: Option<usize>,
    ) -> anyhow::Result<OperationEnding> {
        let request = HistoryRequest::get(&self.bucket(place), &place.key);
        self.on_object(place, Action::Get { key: place.key.clone() }, &request, through).await
    }

    async fn head(&mut self, place: &ObjectPlace) -> anyhow::Result<()> {
        let request = HistoryRequest::head(&self.bucket(place), &place.key);
        let action = Action::Head { key: place.key.clone() };
        self.on_object(place, action, &request, None).await.map(drop)
    }

    async fn put(&mut self, place: &ObjectPlace, bytes: u64) -> anyhow::Result<()> {
        let value = self.value(bytes);
        let action = Action::Put { key: place.key.clone(), written: value.written() };
        let request = HistoryRequest::put(&self.bucket(place), &place.key, value.body);
        self.on_object(place, action, &request, None).await.map(drop)
    }

    async fn put_if_absent(&mut self, place: &ObjectPlace, bytes: u64) -> anyhow::Result<()> {
        let value = self.value(bytes);
        let action = Action::PutIfAbsent { key: place.key.clone(), written: value.written() };
        let request = HistoryRequest::put(&self.bucket(place), &place.key, value.body).if_absent();
        self.on_object(place, action, &request, None).await.map(drop)
    }

    /// Writes if the ETag is the one that this client saw last; not at all if it saw none.
    async fn put_if_match(&mut self, place: &ObjectPlace, bytes: u64) -> anyhow::Result<()> {
        let Some(if_match) = self.etags.get(place).cloned() else { return Ok(()) };
        let value = self.value(bytes);
        let (key, written) = (place.key.clone(), value.written());
        let request =
            HistoryRequest::put(&self.bucket(place), &key, value.body).if_match(&if_match);
        let action = Action::PutIfMatch { key, written, if_match };
        self.on_object(place, action, &request, None).await.map(drop)
    }

    async fn delete(&mut self, place: &ObjectPlace) -> anyhow::Result<()> {
        let request = HistoryRequest::delete(&self.bucket(place), &place.key);
        let action = Action::Delete { key: place.key.clone() };
        self.on_object(place, action, &request, None).await.map(drop)
    }

    /// Lists a bucket to its end, each page through a given endpoint or any. Tells how the last page
    /// ended.
    pub async fn list(
        &mut self,
        bucket: usize,
        prefix: &str,
        max_keys: u32,
        through: Option<usize>,
    ) -> anyhow::Result<OperationEnding> {
        let bucket = self.shared.buckets[bucket].clone();
        let (mut after, mut token) = (String::new(), None);
        loop {
            let request = HistoryRequest::list(&bucket, prefix, max_keys, token.as_deref());
            let action = Action::List { prefix: prefix.into(), after: after.clone(), max_keys };
            let (ending, answer) = self.operate(&bucket, action, &request, through).await?;
            token = answer.and_then(|answer| answer.element("NextContinuationToken"));
            let last = match &ending.seen {
                Some(SeenContent::Page { entries, is_truncated: true }) => entries.last(),
                _ => None,
            };
            match (last, &token) {
                (Some((key, ..)), Some(_)) => after.clone_from(key),
                _ => return Ok(ending),
            }
        }
    }

    /// An operation on an object that is one request; remembers the ETag that it shows.
    pub(super) async fn on_object(
        &mut self,
        place: &ObjectPlace,
        action: Action,
        request: &HistoryRequest,
        through: Option<usize>,
    ) -> anyhow::Result<OperationEnding> {
        let bucket = self.bucket(place);
        let (ending, _) = self.operate(&bucket, action, request, through).await?;
        match &ending.seen {
            Some(SeenContent::Object { etag, .. }) => {
                self.etags.insert(place.clone(), etag.clone());
            }
            Some(SeenContent::Absent) => {
                self.etags.remove(place);
            }
            _ => {}
        }
        Ok(ending)
    }

    async fn operate(
        &mut self,
        bucket: &str,
        action: Action,
        request: &HistoryRequest,
        through: Option<usize>,
    ) -> anyhow::Result<(OperationEnding, Option<HistoryAnswer>)> {
        let turn = self.turn(through).await;
        let op = self.begin(bucket, &action, &turn)?;
        let answered = self.ask(&turn, request).await;
        let ending = match &answered {
            Ok(answer) => of_answer(&action, answer),
            Err(lost) => of_lost(lost),
        };
        self.end(op, &ending, turn).await?;
        Ok((ending, answered.ok()))
    }

    /// A turn at a given endpoint, or at any, as soon as there is one.
    pub(super) async fn turn(&mut self, through: Option<usize>) -> EndpointTurn {
        if let Some(index) = through {
            return self.shared.endpoints.take_given(index);
        }
        loop {
            match self.shared.endpoints.take(&mut self.dice, Instant::now()) {
                Some(turn) => return turn,
                None => sleep(PAUSE).await,
            }
        }
    }

    /// Writes down that an operation begins, and gives its number.
    pub(super) fn begin(
        &self,
        bucket: &str,
        action: &Action,
        turn: &EndpointTurn,
    ) -> anyhow::Result<u64> {
        let op = self.shared.next_op.fetch_add(1, Ordering::Relaxed);
        let journal = &self.shared.journal;
        journal.write(&HistoryLine::Invoke(Invoke {
            op,
            client: self.number,
            endpoint: turn.index as u32,
            bucket: bucket.to_owned(),
            action: action.clone(),
            ns: journal.ns(),
            unix_ms: unix_ms(),
        }))?;
        Ok(op)
    }

    /// Writes down how it ended, and waits a little if that was badly.
    pub(super) async fn end(
        &mut self,
        op: u64,
        ending: &OperationEnding,
        turn: EndpointTurn,
    ) -> anyhow::Result<()> {
        let journal = &self.shared.journal;
        let (ns, result) = (journal.ns(), ending.clone());
        journal.write(&HistoryLine::Complete(Complete { op, result, ns, unix_ms: unix_ms() }))?;
        self.shared.tally.lock().expect("counting does not panic").count(ending);
        match (ending.outcome, ending.status) {
            (OperationOutcome::Fail, None) => turn.rest(Instant::now()),
            (OperationOutcome::Unknown, Some(_)) => {
                drop(turn);
                let pause = self.dice.within(PAUSE_AFTER_FAILURE_MS);
                sleep(Duration::from_millis(pause)).await;
            }
            _ => {}
        }
        Ok(())
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn ask(
        &mut self,
        turn: &EndpointTurn,
        request: &HistoryRequest,
    ) -> Result<HistoryAnswer, LostRequest> {
        let within = self.shared.within;
        let mut body = Vec::new();
        loop {
            let kept = self.connections[turn.index].take();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(turn.index).await.map_err(LostRequest::Unsent)?,
            };
            let (call, headers) = (request.call(), request.headers());
            match connection.attempt(call, headers, within, &mut body).await {
                Ok((status, headers)) => {
                    self.connections[turn.index] = Some(connection);
                    return Ok(HistoryAnswer { status, headers, body });
                }
                // The server has closed it meanwhile, as it may.
                Err(LostRequest::Unsent(_)) if is_kept => {}
                Err(lost) => return Err(lost),
            }
        }
    }

    async fn connect(&self, index: usize) -> anyhow::Result<ClientConnection> {
        let opening = ClientConnection::open(&self.shared.targets[index]);
        timeout(self.shared.within, opening).await.context("no connection came about in time")?
    }

    pub(super) fn bucket(&self, place: &ObjectPlace) -> String {
        self.shared.buckets[place.bucket].clone()
    }

    pub(super) fn value(&mut self, bytes: u64) -> HistoryValue {
        self.values += 1;
        let id = format!("{}-{}.{}", self.shared.tag, self.number, self.values);
        HistoryValue::new(id, bytes as usize)
    }
}
