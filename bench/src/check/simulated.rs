//! Histories of a store that is simulated: one that keeps its promises, and ones that break one each.
//!
//! The store is a map. Each operation takes effect at one moment between its begin and its end; one of
//! unknown outcome takes effect then, much later, or never.

use std::collections::BTreeMap;

use super::recording::{RecordedOperation, Recording};
use crate::history::dice::Dice;
use crate::history::line::{
    Action, Complete, FORMAT, HistorySetup, Invoke, OperationEnding, OperationOutcome, SeenContent,
    WrittenValue,
};

/// The only bucket.
const BUCKET: &str = "b";
/// How long an operation takes at most, on either side of its effect.
const SIDE: u64 = 60;
/// How late an unknown write may take effect.
const LATE: u64 = 3000;

/// What a store does wrong, now and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// Nothing.
    None,
    /// It acknowledges a write that is never done.
    LosesWrite,
    /// It acknowledges a delete that is never done.
    LosesDelete,
    /// It answers a read from what was there a while ago.
    ReadsStale,
    /// It judges a condition by what was there a while ago.
    JudgesStale,
    /// It does a write again, a while after it was done.
    RepeatsWrite,
    /// It lists what was there a while ago.
    ListsStale,
    /// It leaves a key out of a listing.
    ListsLess,
    /// It says of a write that it was not done, and does it.
    RefusesAndWrites,
}

/// How often, in a hundred.
const BUG_PERCENT: u64 = 4;
/// How long "a while" is at least.
const WHILE: u64 = 400;

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// What everything follows from.
    pub seed: u64,
    /// Operations in all.
    pub operations: usize,
    /// Clients that work at the same time.
    pub clients: u32,
    /// Keys that they contend for.
    pub keys: u64,
    /// Operations in a hundred whose outcome nobody learns.
    pub unknown_percent: u64,
    /// What the store does wrong.
    pub bug: Bug,
}

impl Simulation {
    /// Simulates it.
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

/// What is there: a value's ETag under each key.
type SimulatedObjects = BTreeMap<String, String>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SimulatedEvent {
    Effect(usize),
    Repeat(usize),
    End(usize),
    Begin(u32),
}

struct World {
    simulation: Simulation,
    dice: Dice,
    now: u64,
    /// All that was there, and since when.
    past: Vec<(u64, SimulatedObjects)>,
    operations: Vec<RecordedOperation>,
    /// What happens, by when; the second number keeps events apart.
    pending: BTreeMap<(u64, u64), SimulatedEvent>,
    values: u64,
    /// The ETag that a client saw last under a key.
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
        // Those of unknown outcome have an ending only in the store: the history does not know it.
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

    /// What is there; or, if this has a bug of a kind, what was there a while ago.
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

    /// Decides how the operation ends, and changes what is there.
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
