//! Events of a bucket, delivered across power cuts, with a receiver that fails: each event at least once, and those of a
//! key in the order of the writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use compactor::delivery::{DeliveryOptions, DueEvent, EventPage, EventReceiver, RunningDelivery};
use compactor::outcome::RecordOutcome;
use compactor::state::{EventQueue, StateKey};
use ingest::env::{Env, Fut};
use ingest::ids::{BucketId, Offset};
use ingest::mutant::Mutant;
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{
    ConfigKind, EventName, EventPosition, NotificationRule, NotificationRules, RecordBody,
    RuleElement, SetBucketConfig, Versioning, WriteCondition,
};
use parking_lot::Mutex;
use simulator::{CrashSurvival, RunStopped, Sim, SimDisk};

use crate::crash::seeds;
use crate::world::{Engine, open};

/// The destination of all events.
pub const QUEUE: &str = "hook";
const BUCKET: &str = "reporting";

/// A receiver outside of the store, which keeps what came through every crash of the store.
#[derive(Default)]
struct Receiver {
    /// Key and version of each event, in the order in which they came.
    came: Mutex<Vec<(String, Offset)>>,
    /// True while nothing is taken.
    is_down: Mutex<bool>,
}

/// The receiver as one life of the store reaches it.
struct Connection {
    receiver: Arc<Receiver>,
    env: Env,
}

impl EventReceiver for Connection {
    fn deliver<'a>(&'a self, events: &'a [DueEvent]) -> Fut<'a, Result<(), String>> {
        Box::pin(async move {
            let pause = || self.env.clock.sleep(Duration::from_millis(self.env.random.next() % 40));
            pause().await;
            if *self.receiver.is_down.lock() {
                return Err("down".into());
            }
            let chance = self.env.random.next() % 10;
            // Of a page that fails the receiver may have taken none, some or all.
            let taken = match chance {
                0 => 0,
                1 => events.len() / 2,
                _ => events.len(),
            };
            for due in &events[..taken] {
                let version = due.event.version.expect("the bucket keeps versions");
                assert_eq!(version, due.position.offset, "an event of another record");
                self.receiver.came.lock().push((due.event.key.as_str().to_owned(), version));
            }
            pause().await;
            if chance < 3 { Err("failed".into()) } else { Ok(()) }
        })
    }
}

fn options(waiting_bytes_max: u64) -> DeliveryOptions {
    DeliveryOptions {
        page_events: 5,
        page_bytes: 10_000,
        waiting_bytes_max,
        age_max: Duration::from_secs(7 * 24 * 3600),
        expects_drops: false,
    }
}

const ROOMY: u64 = 1 << 30;

fn connect(
    sim: &Sim,
    disk: &SimDisk,
    engine: &Engine,
    receiver: &Arc<Receiver>,
    bytes_max: u64,
) -> RunningDelivery {
    let connection = Connection { receiver: receiver.clone(), env: sim.env(disk) };
    engine.partition.deliver(QUEUE, Some(Arc::new(connection)), options(bytes_max))
}

/// Makes the bucket that reports everything, if it is not there yet.
pub async fn reporting(engine: &Engine) -> Result<BucketId, String> {
    let name = BucketName::new(BUCKET).expect("a good name");
    let known = engine.partition.buckets().named(&name).map(|bucket| bucket.id);
    let bucket = match known {
        Some(bucket) => bucket,
        None => engine.bucket(BUCKET, Versioning::Off).await?,
    };
    engine.set_versioning(bucket, Versioning::On).await?;
    let rule = |event: &str| NotificationRule {
        element: RuleElement::Queue,
        id: event.to_owned(),
        arn: String::new(),
        queue: QUEUE.into(),
        events: vec![EventName::named(event).expect("a name of S3")],
        prefix: None,
        suffix: None,
    };
    let rules = vec![rule("s3:ObjectCreated:*"), rule("s3:ObjectRemoved:*")];
    let document = Some(NotificationRules { rules }.document().expect("a small document"));
    let (config, kind) = (engine.config(bucket), ConfigKind::NOTIFICATION);
    let set = SetBucketConfig { bucket, config, kind, document };
    match engine.submit(RecordBody::SetBucketConfig(set)).await? {
        RecordOutcome::Done => Ok(bucket),
        other => Err(format!("{other:?}")),
    }
}

/// Writes, removes and cuts at random; notes what was acknowledged.
async fn write(
    sim: &Sim,
    engine: &Engine,
    bucket: BucketId,
    acknowledged: &Mutex<Vec<(String, Offset)>>,
) -> Result<(), String> {
    for _ in 0..25 {
        let name = format!("key-{}", sim.random().below(4));
        let key = ObjectKey::new(name.clone().into_bytes()).expect("a short key");
        let done = match sim.random().below(10) {
            0 => engine.partition.cut().await.map(|_| None).map_err(|e| e.to_string())?,
            1 => engine.partition.merge().await.map(|()| None).map_err(|e| e.to_string())?,
            2 | 3 => Some(engine.delete(bucket, &key).await?),
            // Refused where the key has an object: nothing may be reported.
            4 => Some(engine.put(bucket, &key, b"new", WriteCondition::IfAbsent).await?),
            _ => Some(engine.put(bucket, &key, &[7; 300], WriteCondition::Always).await?),
        };
        let version = match done {
            Some(RecordOutcome::Written(written)) => written.version,
            Some(RecordOutcome::Deleted(deleted)) => match deleted.version {
                Some(compactor::outcome::VersionName::At(version)) => version,
                other => return Err(format!("a marker without a version: {other:?}")),
            },
            _ => continue,
        };
        acknowledged.lock().push((name, version));
    }
    Ok(())
}

fn queue(engine: &Engine) -> EventQueue {
    let queues = engine.partition.event_queues();
    queues.into_iter().find(|(name, _)| name == QUEUE).map(|(_, queue)| queue).unwrap_or_default()
}

/// Waits until nothing waits in the queue; fails after an hour.
async fn drain(sim: &Sim, disk: &SimDisk, engine: &Engine) -> Result<(), String> {
    let env = sim.env(disk);
    for _ in 0..36_000 {
        if queue(engine).waiting() == 0 {
            return Ok(());
        }
        env.clock.sleep(Duration::from_millis(100)).await;
    }
    Err(format!("events still wait: {:?}", queue(engine)))
}

/// Compares what came with what the bucket has.
async fn check(
    engine: &Engine,
    bucket: BucketId,
    receiver: &Receiver,
    acknowledged: &[(String, Offset)],
) -> Result<(), String> {
    let mut there = BTreeSet::new();
    for (key, versions) in engine.versions(bucket, 7).await.map_err(|e| e.to_string())? {
        let key = String::from_utf8_lossy(&key).into_owned();
        there.extend(versions.iter().map(|version| (key.clone(), version.version)));
    }
    let came = receiver.came.lock().clone();
    let all: BTreeSet<_> = came.iter().cloned().collect();
    if let Some(lost) = acknowledged.iter().find(|write| !all.contains(*write)) {
        return Err(format!("the event of {lost:?}, which was acknowledged, never came"));
    }
    if all != there {
        return Err(format!("came {all:?}\nthere {there:?}"));
    }
    let mut seen = BTreeSet::new();
    let mut last: BTreeMap<&str, Offset> = BTreeMap::new();
    for (key, version) in &came {
        let is_first = seen.insert((key, version));
        let former = last.get(key.as_str()).copied();
        if is_first && former.is_some_and(|former| former > *version) {
            return Err(format!("{key} {version} came after {former:?}"));
        }
        let newest = former.map_or(*version, |former| former.max(*version));
        last.insert(key, newest);
    }
    let queue = queue(engine);
    if (queue.added, queue.delivered, queue.dropped) != (there.len() as u64, there.len() as u64, 0)
    {
        return Err(format!("{queue:?} of {} events", there.len()));
    }
    // Delivered events take no space once their run is merged with another one.
    engine.bucket("quiet", Versioning::Off).await?;
    engine.partition.cut().await.map_err(|e| e.to_string())?;
    engine.partition.merge().await.map_err(|e| e.to_string())?;
    let snapshot = engine.partition.snapshot();
    let kept = EventPage::read(&snapshot, QUEUE, EventPosition::default(), 10, u64::MAX).await;
    let kept = kept.map_err(|e| e.to_string())?.events.len();
    if kept > 0 { Err(format!("{kept} delivered events are kept")) } else { Ok(()) }
}

/// Lives that end in power cuts while events are under way, then one that is checked. Says whether the first one was
/// cut short.
fn run(seed: u64, crash_at: Option<u64>, mutant: Option<Mutant>) -> Result<bool, String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let sim = sim;
    let disk = SimDisk::new(&sim);
    let (receiver, acknowledged) = (Arc::new(Receiver::default()), Mutex::default());
    let mut crashed = false;
    for round in 0..4u64 {
        let is_last = round == 3;
        *receiver.is_down.lock() = !is_last && sim.random().below(4) == 0;
        let at = match crash_at {
            Some(at) if round == 0 => Some(at),
            _ if is_last => None,
            _ => Some(1 + sim.random().below(300)),
        };
        if let Some(at) = at {
            disk.crash_at(disk.operations() + at);
        }
        let lived = sim.block_on(&disk, async {
            let engine = open(&sim, &disk).await?;
            let _delivery = connect(&sim, &disk, &engine, &receiver, ROOMY);
            let bucket = reporting(&engine).await?;
            write(&sim, &engine, bucket, &acknowledged).await?;
            if is_last || !*receiver.is_down.lock() {
                drain(&sim, &disk, &engine).await?;
            }
            if is_last {
                let acknowledged = acknowledged.lock().clone();
                check(&engine, bucket, &receiver, &acknowledged).await?;
            }
            engine.close().await;
            Ok::<(), String>(())
        });
        match lived {
            Err(RunStopped::Crashed) => crashed |= round == 0,
            Err(stopped) => return Err(format!("{stopped:?}")),
            Ok(lived) => lived?,
        }
        match sim.random().below(4) {
            _ if is_last => sim.stop(),
            0 => sim.kill(&disk),
            1 => sim.crash(&disk, CrashSurvival::KeepAll),
            2 => sim.crash(&disk, CrashSurvival::TearLast),
            _ => sim.crash(&disk, CrashSurvival::DropAll),
        }
    }
    Ok(crashed)
}

#[test]
fn every_event_comes_at_least_once_and_in_order_through_power_cuts_at_random() {
    for seed in 0..seeds(60) {
        run(seed, None, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn every_event_comes_after_a_power_cut_at_every_operation() {
    let mut points = 0;
    for operation in 1.. {
        let crashed = run(11, Some(operation), None)
            .unwrap_or_else(|error| panic!("seed 11, operation {operation}: {error}"));
        points += u64::from(crashed);
        if !crashed || points >= seeds(150) {
            break;
        }
    }
    println!("{points} crash points");
}

/// A receiver that is down for good fills neither memory nor disk: the oldest events are dropped and counted.
#[test]
fn a_queue_without_a_receiver_stays_within_its_bound() {
    const BOUND: u64 = 3_000;
    let sim = Sim::new(5);
    let disk = SimDisk::new(&sim);
    let (receiver, acknowledged) = (Arc::new(Receiver::default()), Mutex::default());
    *receiver.is_down.lock() = true;
    let lived = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let _delivery = connect(&sim, &disk, &engine, &receiver, BOUND);
        let bucket = reporting(&engine).await?;
        for _ in 0..6 {
            write(&sim, &engine, bucket, &acknowledged).await?;
        }
        let env = sim.env(&disk);
        env.clock.sleep(Duration::from_secs(60)).await;
        let waiting = queue(&engine);
        assert!(waiting.waiting_bytes() <= BOUND && waiting.dropped > 0, "{waiting:?}");
        let written = acknowledged.lock().len() as u64;
        assert_eq!(waiting.added, written);
        *receiver.is_down.lock() = false;
        drain(&sim, &disk, &engine).await?;
        let drained = queue(&engine);
        assert_eq!(drained.delivered + drained.dropped, written);
        assert_eq!((drained.dropped, drained.waiting_bytes()), (waiting.dropped, 0));
        // The newest ones came, in order.
        let came: BTreeSet<Offset> = receiver.came.lock().iter().map(|(_, at)| *at).collect();
        let newest = acknowledged.lock()[drained.dropped as usize..].to_vec();
        assert_eq!(came, newest.iter().map(|(_, at)| *at).collect());
        engine.close().await;
        Ok::<(), String>(())
    });
    lived.unwrap_or_else(|stopped| panic!("{stopped:?}")).unwrap();
    sim.stop();
}

/// Events that cannot be decoded, first in the queue and between others: each costs itself only, and is counted.
#[test]
fn a_damaged_event_stops_no_other_one() {
    let sim = Sim::new(8);
    let disk = SimDisk::new(&sim);
    let receiver = Arc::new(Receiver::default());
    let lived = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = reporting(&engine).await?;
        for key in ["a", "b", "c", "d", "e"] {
            let key = ObjectKey::new(key.as_bytes().to_vec()).expect("a short key");
            engine.put(bucket, &key, b"bytes", WriteCondition::Always).await?;
        }
        let snapshot = engine.partition.snapshot();
        let page = EventPage::read(&snapshot, QUEUE, EventPosition::default(), 9, u64::MAX).await;
        let events = page.map_err(|error| error.to_string())?.events;
        for at in [0, 2, 3] {
            let position = events[at].position;
            let change = (StateKey::event(QUEUE, position), Some("no event".into()));
            snapshot.view.memtable.insert(position.offset, Vec::new(), vec![change]);
        }
        let _delivery = connect(&sim, &disk, &engine, &receiver, ROOMY);
        drain(&sim, &disk, &engine).await?;
        let came: BTreeSet<String> =
            receiver.came.lock().iter().map(|(key, _)| key.clone()).collect();
        assert_eq!(came, BTreeSet::from(["b".to_owned(), "e".to_owned()]));
        let queue = queue(&engine);
        assert_eq!((queue.added, queue.delivered, queue.dropped), (5, 2, 3));
        engine.close().await;
        Ok::<(), String>(())
    });
    lived.unwrap_or_else(|stopped| panic!("{stopped:?}")).unwrap();
    sim.stop();
}

/// A wall clock that jumps ahead while a receiver is down: no event is too old by that.
#[test]
fn a_clock_that_jumps_ahead_drops_no_event() {
    let sim = Sim::new(6);
    let disk = SimDisk::new(&sim);
    let (receiver, acknowledged) = (Arc::new(Receiver::default()), Mutex::default());
    *receiver.is_down.lock() = true;
    let lived = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let connection = Connection { receiver: receiver.clone(), env: sim.env(&disk) };
        let bounds = DeliveryOptions { age_max: Duration::from_secs(200), ..options(ROOMY) };
        let delivery = engine.partition.deliver(QUEUE, Some(Arc::new(connection)), bounds);
        let bucket = reporting(&engine).await?;
        write(&sim, &engine, bucket, &acknowledged).await?;
        sim.jump_wall_clock(86_400 * 1_000_000);
        sim.sleep(Duration::from_secs(100)).await;
        assert_eq!(queue(&engine).dropped, 0);
        // By the clock that counts they become too old all the same.
        sim.sleep(Duration::from_secs(300)).await;
        assert_eq!(queue(&engine).waiting(), 0);
        assert_eq!(queue(&engine).dropped, acknowledged.lock().len() as u64);
        delivery.stop().await;
        assert_eq!(queue(&engine).process, ingest::ids::WriterId::default(), "given back");
        engine.close().await;
        Ok::<(), String>(())
    });
    lived.unwrap_or_else(|stopped| panic!("{stopped:?}")).unwrap();
    sim.stop();
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_events_are_found() {
    for bug in crate::crash::OF_EVENTS {
        let found = (0..80).find(|seed| {
            let run = std::panic::catch_unwind(|| run(*seed, None, Some(bug)));
            !matches!(run, Ok(Ok(_)))
        });
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} is not found");
    }
}
