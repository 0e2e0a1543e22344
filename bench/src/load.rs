//! Many connections, each with one small request at a time: PUTs or GETs of numbered objects.
//!
//! Without a rate the loop is closed: a connection sends its next request when it has the answer to the last one. So
//! a slow answer also lowers the rate, and latencies are those of a server with at most as many requests as there are
//! connections. With a rate it is open: requests are due at even distances, whatever became of those before, and
//! latencies run from when a request was due, so that what waits behind a slow answer is counted, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::JoinSet;

use crate::client::{ClientConnection, LoadTarget, SignedCall};
use crate::latency::Latencies;
use crate::object::{CompareDepth, ObjectSet, mix};
use crate::payload::Payload;
use crate::report::FigureReport;
use crate::sign::payload_hash;
use crate::stopwatch::{Cost, Stopwatch};

/// So many answers that are not a success end a run.
const FAILURES_MAX: u64 = 10;
/// One of so many bodies is compared as a whole, the others at their edges.
const WHOLE_EVERY: u64 = 64;

/// What a load does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadWork {
    /// Writes objects in the order of their numbers; after `keys` of them it begins again.
    Put {
        /// How many names there are.
        keys: u64,
        /// Whether the SHA-256 of the body is signed with the request.
        signs_payload: bool,
    },
    /// Reads and verifies objects that are there, in random order.
    Get {
        /// How many there are.
        keys: u64,
    },
}

/// When a load ends.
#[derive(Clone, Debug)]
pub enum LoadEnd {
    /// After so much time.
    Elapsed(Duration),
    /// After so many requests.
    Requests(u64),
    /// When somebody sets this.
    Told(Arc<AtomicBool>),
}

/// A load that can be run.
#[derive(Clone, Debug)]
pub struct Load {
    /// What it does.
    pub work: LoadWork,
    /// With which objects.
    pub objects: ObjectSet,
    /// Over how many connections.
    pub connections: usize,
    /// Until when.
    pub until: LoadEnd,
    /// Requests that are due each second; none for a closed loop.
    pub rate: Option<f64>,
}

/// What a load found.
pub struct LoadMeasurement {
    /// Answers that were a success.
    pub requests: u64,
    /// Bytes of the objects that they carried.
    pub bytes: u64,
    /// Answers that were not.
    pub failures: u64,
    /// How long the successes took, from before signing to the last byte of the answer.
    pub latencies: Latencies,
    /// What the load cost.
    pub cost: Cost,
    /// Whether requests were due at a rate.
    pub is_open: bool,
}

impl LoadMeasurement {
    /// Successes per second.
    pub fn rate(&self) -> f64 {
        self.cost.per_second(self.requests)
    }

    /// As a report of a subcommand.
    pub fn report(&self, command: &'static str) -> FigureReport {
        FigureReport::new(command)
            .number("requests_per_second", self.rate())
            .number("mib_per_second", self.cost.mib_per_second(self.bytes))
            .latencies(&self.latencies)
            .count("requests", self.requests)
            .count("failures", self.failures)
            .number("seconds", self.cost.elapsed.as_secs_f64())
            .number("client_cpu_seconds", self.cost.cpu.as_secs_f64())
            .note(match self.is_open {
                true => "open loop: latencies run from when a request was due",
                false => "closed loop: a connection waits for its answer before it sends again",
            })
    }
}

/// What the connections of a run share.
struct RunContext {
    load: Load,
    began: Instant,
    deadline: Option<Instant>,
    /// The next request's number.
    next: AtomicU64,
    failures: AtomicU64,
}

impl RunContext {
    /// Takes the next request's number, unless the run is over.
    fn take(&self) -> Option<u64> {
        let is_over = match &self.load.until {
            LoadEnd::Elapsed(_) => self.deadline.is_some_and(|deadline| Instant::now() >= deadline),
            LoadEnd::Requests(_) => false,
            LoadEnd::Told(told) => told.load(Ordering::Relaxed),
        };
        let number = (!is_over).then(|| self.next.fetch_add(1, Ordering::Relaxed))?;
        match self.load.until {
            LoadEnd::Requests(count) if number >= count => None,
            _ => Some(number),
        }
    }

    /// When a request is to be sent, if not at once.
    fn due(&self, turn: u64) -> Option<Instant> {
        let rate = self.load.rate?;
        Some(self.began + Duration::from_secs_f64(turn as f64 / rate))
    }

    /// Counts a failure, and ends the run when there were too many.
    fn failed(&self, path: &str, status: StatusCode, answer: &[u8]) -> anyhow::Result<()> {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES_MAX {
            return Ok(());
        }
        bail!("{FAILURES_MAX} failures; {path}: {status}: {}", String::from_utf8_lossy(answer));
    }
}

/// Runs a load. All connections are there before the clock starts.
pub async fn run(target: &LoadTarget, load: Load) -> anyhow::Result<LoadMeasurement> {
    let mut connections = Vec::new();
    for _ in 0..load.connections {
        connections.push(ClientConnection::open(target).await?);
    }
    let began = Instant::now();
    let deadline = match load.until {
        LoadEnd::Elapsed(time) => Some(began + time),
        _ => None,
    };
    let bytes = load.objects.bytes() as u64;
    let is_open = load.rate.is_some();
    let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = Arc::new(RunContext { load, began, deadline, next, failures });
    let stopwatch = Stopwatch::start();
    let mut tasks = JoinSet::new();
    for connection in connections {
        tasks.spawn(drive(run.clone(), connection));
    }
    let mut latencies = Latencies::new();
    while let Some(done) = tasks.join_next().await {
        latencies.merge(&done??);
    }
    let requests = latencies.count();
    Ok(LoadMeasurement {
        requests,
        bytes: requests * bytes,
        failures: run.failures.load(Ordering::Relaxed),
        latencies,
        cost: stopwatch.stop(),
        is_open,
    })
}

async fn drive(
    run: Arc<RunContext>,
    mut connection: ClientConnection,
) -> anyhow::Result<Latencies> {
    let mut latencies = Latencies::new();
    let (mut path, mut answer) = (String::new(), Vec::new());
    while let Some(turn) = run.take() {
        let objects = &run.load.objects;
        let (number, method, body, hash) = match run.load.work {
            LoadWork::Put { keys, signs_payload } => {
                let number = turn % keys;
                let body = objects.body(number);
                let hash = signs_payload.then(|| payload_hash(&body));
                (number, Method::PUT, body, hash)
            }
            // The turn's hash: random to a cache, and the same in every run.
            LoadWork::Get { keys } => (mix(turn) % keys, Method::GET, Bytes::new(), None),
        };
        objects.path(number, &mut path);
        let call = SignedCall { method, path: &path, query: "", payload: Payload::Whole(body) };
        let began = match run.due(turn) {
            Some(due) => {
                tokio::time::sleep_until(due.into()).await;
                due
            }
            None => Instant::now(),
        };
        let answered = match &hash {
            Some(hash) => connection.exchange_hashed(call, hash, &mut answer).await,
            None => connection.exchange(call, &mut answer).await,
        };
        let took = began.elapsed();
        let (status, _) = answered.with_context(|| path.clone())?;
        if !status.is_success() {
            run.failed(&path, status, &answer)?;
            continue;
        }
        latencies.record(took);
        if let LoadWork::Get { .. } = run.load.work {
            let depth =
                if turn % WHOLE_EVERY == 0 { CompareDepth::Whole } else { CompareDepth::Edges };
            if let Some(fault) = objects.fault(number, &answer, depth) {
                bail!("{path} was answered wrongly: {fault}");
            }
        }
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(until: LoadEnd) -> RunContext {
        let work = LoadWork::Get { keys: 1 };
        let objects = ObjectSet::new("b", "", 1);
        let load = Load { work, objects, connections: 1, until, rate: Some(4.0) };
        let (next, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        RunContext { load, began: Instant::now(), deadline: None, next, failures }
    }

    #[test]
    fn a_counted_load_ends_after_its_count() {
        let run = load(LoadEnd::Requests(2));
        let taken: Vec<_> = (0..4).map(|_| run.take()).collect();
        assert_eq!(taken, [Some(0), Some(1), None, None]);
    }

    #[test]
    fn requests_are_due_at_even_distances() {
        let run = load(LoadEnd::Requests(9));
        let due = run.due(3).unwrap();
        assert_eq!(due - run.began, Duration::from_millis(750));
    }

    #[test]
    fn a_load_ends_when_told() {
        let told = Arc::new(AtomicBool::new(false));
        let run = load(LoadEnd::Told(told.clone()));
        assert_eq!(run.take(), Some(0));
        told.store(true, Ordering::Relaxed);
        assert_eq!(run.take(), None);
    }

    #[test]
    fn the_last_failure_is_told_with_its_text() {
        let run = load(LoadEnd::Requests(100));
        let fail = || run.failed("/b/k", StatusCode::SERVICE_UNAVAILABLE, b"<Code>SlowDown</Code>");
        assert!((1..FAILURES_MAX).all(|_| fail().is_ok()));
        assert!(fail().unwrap_err().to_string().contains("SlowDown"));
    }
}
