//! Histories of a simulated store: one that keeps its promises, and several that break one promise each.
//!
//! The store is a map. Each operation takes effect at one moment between its begin and its end. An operation
//! of unknown outcome takes effect in time, much later, or never.

use std::collections::BTreeMap;

use super::recording::{RecordedOperation, Recording};
use crate::history::dice::Dice;
use crate::history::line::{
    Action, Complete, FORMAT, HistorySetup, Invoke, OperationEnding, OperationOutcome, SeenContent,
    WrittenValue,
};

/// The only bucket.
const BUCKET: &str = "b";
/// The longest time between begin and effect, and between effect and end, in nanoseconds of the simulated
/// clock.
const SIDE: u64 = 60;
/// The longest delay of the effect of an unknown write, in nanoseconds after the usual end.
const LATE: u64 = 3000;

/// A fault of the simulated store, which occurs at random.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// No fault.
    None,
    /// Acknowledges a write without doing it.
    LosesWrite,
    /// Acknowledges a delete without doing it.
    LosesDelete,
    /// Answers a read from the state of [`WHILE`] ago.
    ReadsStale,
    /// Judges a condition by the state of [`WHILE`] ago.
    JudgesStale,
    /// Does a write a second time, [`WHILE`] after the first.
    RepeatsWrite,
    /// Lists the state of [`WHILE`] ago.
    ListsStale,
    /// Leaves a key out of a listing.
    ListsLess,
    /// Refuses a conditional write, and yet does it.
    RefusesAndWrites,
}

/// The chance of a fault, in percent.
const BUG_PERCENT: u64 = 4;
/// The age of old states and the delay of repeated writes, in nanoseconds of the simulated clock.
const WHILE: u64 = 400;

/// The parameters of a simulation.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// The seed: equal parameters result in equal histories.
    pub seed: u64,
    /// The total number of operations.
    pub operations: usize,
    /// The number of concurrent clients.
    pub clients: u32,
    /// The number of keys for which the clients contend.
    pub keys: u64,
    /// The percentage of operations without a known outcome.
    pub unknown_percent: u64,
    /// The fault of the store.
    pub bug: Bug,
}

impl Simulation {
    /// Simulates the whole history at once. Operations are in the order in which they began; one of unknown
    /// outcome has no end.
    pub fn run(self) -> Recording {
        let world = World {
            simulation: self,
            dice: Dice::new(self.seed),
            now: 0,
            past: vec![(0, BTreeMap::new())],
            operations: Vec::new(),
            pending: BTreeMap::new(),
            values: 0,
            etags: BTreeMap::new(),
        };
        world.run()
    }
}

/// The objects of the store: the ETag of the value under each key.
type SimulatedObjects = BTreeMap<String, String>;

/// An event of the simulation; operations are named by index, clients by number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SimulatedEvent {
    Effect(usize),
    Repeat(usize),
    End(usize),
    Begin(u32),
}

/// The simulated store with its clients.
struct World {
    simulation: Simulation,
    dice: Dice,
    now: u64,
    /// All states of the store, each with the time at which it began.
    past: Vec<(u64, SimulatedObjects)>,
    operations: Vec<RecordedOperation>,
    /// Events by time; the second number, which is random, keeps events of one time apart.
    pending: BTreeMap<(u64, u64), SimulatedEvent>,
    values: u64,
    /// The ETag that any client saw last under a key.
    etags: BTreeMap<String, String>,
}

impl World {
    fn run(mut self) -> Recording {
        for client in 0..self.simulation.clients {
            let after = self.dice.below(SIDE);
            self.after(after, SimulatedEvent::Begin(client));
        }
        while let Some(((at, _), event)) = self.pending.pop_first() {
            self.now = at;
            match event {
                SimulatedEvent::Begin(client)
                    if self.operations.len() < self.simulation.operations =>
                {
                    self.begin(client);
                }
                SimulatedEvent::Begin(_) => {}
                SimulatedEvent::Effect(index) => self.take_effect(index),
                SimulatedEvent::Repeat(index) => {
                    self.change(&self.operations[index].invoke.action.clone())
                }
                SimulatedEvent::End(index) => self.end(index),
            }
        }
        // Operations of unknown outcome have a result only in the store: the history does not show it.
        for operation in &mut self.operations {
            operation.complete.take_if(|complete| complete.ns == u64::MAX);
        }
        let setup = HistorySetup {
            format: FORMAT,
            tag: "t".into(),
            seed: self.simulation.seed,
            clients: self.simulation.clients,
            endpoints: vec!["e".into()],
            buckets: vec![BUCKET.into()],
            unix_ms: 0,
        };
        Recording { setup, operations: self.operations }
    }

    fn after(&mut self, time: u64, event: SimulatedEvent) {
        let apart = self.dice.roll();
        self.pending.insert((self.now + time, apart), event);
    }

    fn has_bug(&mut self, bug: Bug) -> bool {
        self.simulation.bug == bug && self.dice.chance(BUG_PERCENT)
    }

    fn written(&mut self, client: u32) -> WrittenValue {
        self.values += 1;
        let value = format!("t-{client}.{}", self.values);
        WrittenValue { etag: format!("e{value}"), value, bytes: 10 }
    }

    fn begin(&mut self, client: u32) {
        let key = format!("k{}", self.dice.below(self.simulation.keys));
        let written = self.written(client);
        let action = match self.dice.below(100) {
            0..35 => Action::Get { key },
            35..40 => Action::Head { key },
            40..60 => Action::Put { key, written },
            60..70 => Action::PutIfAbsent { key, written },
            70..82 => match self.etags.get(&key).cloned() {
                Some(if_match) => Action::PutIfMatch { key, written, if_match },
                None => Action::Get { key },
            },
            82..92 => Action::Delete { key },
            _ => Action::List { prefix: "k".into(), after: String::new(), max_keys: 1000 },
        };
        let index = self.operations.len();
        let invoke = Invoke {
            op: index as u64,
            client,
            endpoint: 0,
            bucket: BUCKET.into(),
            action,
            ns: self.now,
            unix_ms: self.now / 1_000_000,
        };
        self.operations.push(RecordedOperation { invoke, complete: None });
        let effect = 1 + self.dice.below(SIDE);
        let end = effect + 1 + self.dice.below(SIDE);
        if self.dice.chance(self.simulation.unknown_percent) {
            match self.dice.below(3) {
                0 => self.after(effect, SimulatedEvent::Effect(index)),
                1 => {
                    let late = self.dice.below(LATE);
                    self.after(end + late, SimulatedEvent::Effect(index));
                }
                _ => {}
            }
        } else {
            self.after(effect, SimulatedEvent::Effect(index));
            self.after(end, SimulatedEvent::End(index));
        }
        let rest = self.dice.below(SIDE);
        self.after(end + rest, SimulatedEvent::Begin(client));
    }

    /// Returns the present state, or, if the bug occurs, the state of [`WHILE`] ago.
    fn objects(&mut self, staleness: Bug) -> SimulatedObjects {
        let is_stale = self.has_bug(staleness);
        let long_ago = self.now.saturating_sub(WHILE);
        let known = self.past.partition_point(|(since, _)| !is_stale || *since <= long_ago);
        self.past[known - 1].1.clone()
    }

    fn change(&mut self, action: &Action) {
        let mut objects = self.past[self.past.len() - 1].1.clone();
        let key = action.key().unwrap_or_default().to_owned();
        match action.written() {
            Some(written) => objects.insert(key, written.etag.clone()),
            None => objects.remove(&key),
        };
        self.past.push((self.now, objects));
    }

    /// Decides the result of the operation, and changes the state.
    fn take_effect(&mut self, index: usize) {
        let action = self.operations[index].invoke.action.clone();
        let (status, seen) = match &action {
            Action::Get { key } | Action::Head { key } => {
                let objects = self.objects(Bug::ReadsStale);
                match objects.get(key) {
                    None => (404, Some(SeenContent::Absent)),
                    Some(etag) => {
                        let is_get = matches!(action, Action::Get { .. });
                        let value = is_get.then(|| etag[1..].to_owned());
                        (
                            200,
                            Some(SeenContent::Object {
                                value,
                                etag: etag.clone(),
                                bytes: Some(10),
                            }),
                        )
                    }
                }
            }
            Action::List { .. } => {
                let mut objects = self.objects(Bug::ListsStale);
                if self.has_bug(Bug::ListsLess) {
                    objects.pop_first();
                }
                let entries = objects.into_iter().map(|(key, etag)| (key, etag, 10)).collect();
                (200, Some(SeenContent::Page { entries, is_truncated: false }))
            }
            _ => {
                let holds = self.condition_holds(&action);
                let bug = match action {
                    Action::Delete { .. } => Bug::LosesDelete,
                    _ => Bug::LosesWrite,
                };
                if holds && !self.has_bug(bug) || !holds && self.has_bug(Bug::RefusesAndWrites) {
                    self.change(&action);
                    if self.has_bug(Bug::RepeatsWrite) {
                        self.after(WHILE, SimulatedEvent::Repeat(index));
                    }
                }
                (if holds { 200 } else { 412 }, None)
            }
        };
        let outcome = if status == 412 { OperationOutcome::Fail } else { OperationOutcome::Ok };
        let result =
            OperationEnding { outcome, status: Some(status), code: None, seen, wrong: None };
        let op = index as u64;
        self.operations[index].complete = Some(Complete { op, result, ns: u64::MAX, unix_ms: 0 });
    }

    fn condition_holds(&mut self, action: &Action) -> bool {
        let objects = self.objects(Bug::JudgesStale);
        match action {
            Action::PutIfAbsent { key, .. } => !objects.contains_key(key),
            Action::PutIfMatch { key, if_match, .. } => objects.get(key) == Some(if_match),
            _ => true,
        }
    }

    fn end(&mut self, index: usize) {
        let RecordedOperation { invoke, complete } = &mut self.operations[index];
        let complete = complete.as_mut().expect("an operation takes effect before it ends");
        complete.ns = self.now;
        if let (Some(key), Some(SeenContent::Object { etag, .. })) =
            (invoke.action.key(), &complete.result.seen)
        {
            self.etags.insert(key.to_owned(), etag.clone());
        }
    }
}
