//! One client of a history: sends requests, waits for answers, and records both.

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

/// The pause of a client while no endpoint takes requests.
const PAUSE: Duration = Duration::from_millis(20);
/// The pause of a client after a failure of the server, in milliseconds. A store that cannot write for a
/// while should leave hundreds of unknown writes in the history, not hundreds of thousands.
const PAUSE_AFTER_FAILURE_MS: std::ops::Range<u64> = 20..120;

/// The state that all clients of a history share.
pub struct CallerContext {
    /// The history file and its clock.
    pub journal: Journal,
    /// The tag in value ids.
    pub tag: String,
    /// The servers.
    pub targets: Vec<LoadTarget>,
    /// The choice of the server for the next request.
    pub endpoints: Arc<Endpoints>,
    /// The names of the buckets.
    pub buckets: Vec<String>,
    /// The places of objects.
    pub places: ObjectPlaces,
    /// The time limit of a connection attempt, and of each answer.
    pub within: Duration,
    /// The average rate for values that are not small, in bytes per second.
    pub bulk_bytes_per_second: u64,
    /// The bytes of such values so far.
    pub bulk_bytes: AtomicU64,
    /// The least time between two choices of a client.
    pub interval: Duration,
    /// The end of the history; `None` if only `until_file` ends it.
    pub deadline: Option<Instant>,
    /// A file whose existence ends the history.
    pub until_file: Option<PathBuf>,
    /// The number of the next operation.
    pub next_op: AtomicU64,
    /// The outcomes so far.
    pub tally: Mutex<CallerTally>,
}

/// Numbers of operations by outcome.
#[derive(Clone, Copy, Default, Debug)]
pub struct CallerTally {
    /// Operations that were done.
    pub ok: u64,
    /// Operations that were certainly not done.
    pub failed: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Operations whose answer is wrong by itself, independent of the outcome.
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
    /// Returns true after the deadline, or once the file that ends the history exists.
    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
            || self.until_file.as_ref().is_some_and(|path| path.exists())
    }

    /// Reserves bytes for a value that is not small, if fewer were reserved so far than the rate allows by
    /// now.
    ///
    /// The value itself may exceed the allowance: otherwise only the smallest values would ever be written.
    fn has_room(&self, bytes: u64) -> bool {
        let seconds = self.journal.ns() as f64 / 1e9;
        let allowed = (seconds * self.bulk_bytes_per_second as f64) as u64;
        let take = |taken: u64| (taken < allowed).then_some(taken + bytes);
        self.bulk_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }
}

/// A client of a history, with at most one connection to each endpoint.
pub struct Caller {
    shared: Arc<CallerContext>,
    number: u32,
    dice: Dice,
    /// One connection for each endpoint; `None` while there is none.
    connections: Vec<Option<ClientConnection>>,
    values: u64,
    /// The ETag that this client saw last, for each place.
    etags: HashMap<ObjectPlace, String>,
}

impl Caller {
    /// A client without connections. `seed` decides its choices; `number` must be unique among the clients,
    /// since value ids contain it.
    pub fn new(shared: Arc<CallerContext>, number: u32, seed: u64) -> Self {
        let connections = shared.targets.iter().map(|_| None).collect();
        let dice = Dice::new(seed);
        Self { shared, number, dice, connections, values: 0, etags: HashMap::new() }
    }

    /// Chooses and carries out operations, one after the other, until the history is over.
    ///
    /// The end of the history is checked only between operations. Fails only if the history file cannot be
    /// written; failures of the store are recorded and never end the work. If the future is dropped, the
    /// operation under way stays without an end, so its outcome is unknown.
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

    /// Reads an object through the endpoint `through`, or through any if that is `None`, and records the
    /// operation.
    ///
    /// The result is returned for every answer, and for a lost one. Fails only if the history file cannot be
    /// written.
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

    /// Writes with `If-Match` and the ETag that this client saw last; does nothing if it saw none.
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

    /// Lists a bucket to its end, each page through the endpoint `through` or through any, and records each
    /// page.
    ///
    /// Returns the result of the last page. Stops after the first page that fails, cannot be read, or has no
    /// continuation. Fails only if the history file cannot be written.
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

    /// Carries out an operation on an object that is one request, and remembers the ETag that the answer
    /// shows, or forgets it if there is no object.
    ///
    /// Fails only if the history file cannot be written.
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

    /// Carries out an operation that is one request: records its beginning, sends the request, and records
    /// its end. Also returns the answer, if there is one.
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

    /// Waits until an endpoint takes requests; a given endpoint is taken at once, even if it is resting or
    /// full.
    ///
    /// The wait has no time limit of its own: the turns of other clients end with their requests.
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

    /// Records the beginning of an operation and returns its number. Must be called before anything of the
    /// operation is sent.
    ///
    /// Fails only if the history file cannot be written.
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

    /// Records the end of an operation and ends its turn. Must be called after the answer was read.
    ///
    /// If nothing could be sent, the endpoint rests before other clients take it. If a server has failed, the
    /// client pauses for 20 to 120 ms. Fails only if the history file cannot be written.
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

    /// Sends a request to the turn's endpoint and waits for the answer. Connecting and the answer may each
    /// take the time limit of the history.
    ///
    /// A kept connection that the server has closed is replaced, and the request is sent again only if
    /// nothing of it was sent. The error shows if the request may have been carried out.
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
                // The server may close a kept connection at any time.
                Err(LostRequest::Unsent(_)) if is_kept => {}
                Err(lost) => return Err(lost),
            }
        }
    }

    async fn connect(&self, index: usize) -> anyhow::Result<ClientConnection> {
        let opening = ClientConnection::open(&self.shared.targets[index]);
        timeout(self.shared.within, opening).await.context("no connection came about in time")?
    }

    /// Returns the name of a place's bucket. Panics if the index is not one of this history's buckets, so a
    /// place must never come from another history.
    pub(super) fn bucket(&self, place: &ObjectPlace) -> String {
        self.shared.buckets[place.bucket].clone()
    }

    /// Makes a value of at least `bytes` bytes. The id is never used before or again, neither by this client
    /// nor by another one.
    pub(super) fn value(&mut self, bytes: u64) -> HistoryValue {
        self.values += 1;
        let id = format!("{}-{}.{}", self.shared.tag, self.number, self.values);
        HistoryValue::new(id, bytes as usize)
    }
}
