//! Loads a server over many connections, each with one small request at a time: PUTs or GETs of numbered
//! objects.
//!
//! Without a rate the loop is closed: a connection sends its next request after the answer to the last one. A
//! slow answer therefore also lowers the rate, and latencies are those of a server with at most as many
//! requests as there are connections. With a rate the loop is open: requests are due at even distances,
//! independent of earlier answers. Latencies then begin when a request was due, so the wait behind a slow
//! answer is included.

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

/// The number of answers without success that ends a run with an error.
const FAILURES_MAX: u64 = 10;
/// One of this many bodies is compared as a whole, the others at their edges only.
const WHOLE_EVERY: u64 = 64;

/// The requests of a load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LoadWork {
    /// Writes objects in the order of their numbers; after `keys` objects the numbers begin again at 0.
    Put {
        /// The number of distinct keys.
        keys: u64,
        /// True if the SHA-256 of the body is signed with the request.
        signs_payload: bool,
    },
    /// Reads existing objects, in random order, and verifies their bytes if they come.
    Read {
        /// The number of objects, which must have been written before with the numbers from 0 on.
        keys: u64,
        /// The method of the requests.
        method: ReadMethod,
    },
}

/// The method by which objects are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReadMethod {
    /// The bytes of the object come.
    Get,
    /// Only the headers come.
    Head,
}

impl ReadMethod {
    /// The name of the method in reports, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            ReadMethod::Get => "get",
            ReadMethod::Head => "head",
        }
    }
}

/// The end of a load.
#[derive(Clone, Debug)]
pub enum LoadEnd {
    /// After this time.
    Elapsed(Duration),
    /// After this many requests.
    Requests(u64),
    /// After another task has set the flag.
    Told(Arc<AtomicBool>),
}

/// The parameters of a load.
#[derive(Clone, Debug)]
pub struct Load {
    /// The requests.
    pub work: LoadWork,
    /// The objects that are written or read.
    pub objects: ObjectSet,
    /// The number of connections.
    pub connections: usize,
    /// The end of the load.
    pub until: LoadEnd,
    /// Requests that are due in each second, which must be above 0; `None` for a closed loop.
    pub rate: Option<f64>,
}

/// The figures of a load.
pub struct LoadMeasurement {
    /// The number of answers with a success.
    pub requests: u64,
    /// The bytes of the objects in these answers or their requests.
    pub bytes: u64,
    /// The number of answers without success.
    pub failures: u64,
    /// The latencies of the successes, to the last byte of the answer. Each latency begins before the header
    /// is signed or, in an open loop, when the request was due. The SHA-256 of a body is computed before.
    pub latencies: Latencies,
    /// Wall-clock and processor time of the load.
    pub cost: Cost,
    /// True if requests were due at a rate.
    pub is_open: bool,
}

impl LoadMeasurement {
    /// Returns the successes per second of wall-clock time; answers that failed are not included.
    pub fn rate(&self) -> f64 {
        self.cost.per_second(self.requests)
    }

    /// Returns the figures as the report of `command`, in the order in which they are printed: rates before
    /// latencies, counts and cost.
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

/// The state that all connections of a run share.
struct RunContext {
    load: Load,
    began: Instant,
    deadline: Option<Instant>,
    /// The number of the next request.
    next: AtomicU64,
    failures: AtomicU64,
}

impl RunContext {
    /// Takes the number of the next request; `None` after the end of the run.
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

    /// Returns the time at which a request is due; `None` in a closed loop.
    fn due(&self, turn: u64) -> Option<Instant> {
        let rate = self.load.rate?;
        Some(self.began + Duration::from_secs_f64(turn as f64 / rate))
    }

    /// Counts a failure; fails with status and text of the answer once there are [`FAILURES_MAX`].
    fn failed(&self, path: &str, status: StatusCode, answer: &[u8]) -> anyhow::Result<()> {
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < FAILURES_MAX {
            return Ok(());
        }
        bail!("{FAILURES_MAX} failures; {path}: {status}: {}", String::from_utf8_lossy(answer));
    }
}

/// Opens all connections, then starts the clock and runs the load until its end.
///
/// Fails if a connection cannot be opened or breaks, an answer does not come in time, a body is not the one
/// that was written, or [`FAILURES_MAX`] answers are not a success. After an error the other connections are
/// dropped. In an open loop, requests that were taken before the end are still sent when they are due.
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
            // The hash of the number: random for a cache, and the same in every run.
            LoadWork::Read { keys, method } => {
                let method = match method {
                    ReadMethod::Get => Method::GET,
                    ReadMethod::Head => Method::HEAD,
                };
                (mix(turn) % keys, method, Bytes::new(), None)
            }
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
        if let LoadWork::Read { method: ReadMethod::Get, .. } = run.load.work {
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
        let work = LoadWork::Read { keys: 1, method: ReadMethod::Get };
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
