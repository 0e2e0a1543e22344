//! The controllers: decide who leads, who may become leader, and who has been away for too long.
//!
//! Each broker is a controller too. A majority of them that are connected decides at once. Brokers
//! learn of decisions later, and those outside the majority not at all, so a leader that is cut off
//! continues to believe that it leads.

use std::time::Duration;

use super::BROKERS;
use super::cluster::{BrokerEvent, Cluster, ClusterEvent, ControllerDecision};
use super::network::BrokerSet;

/// The controllers' knowledge of the brokers.
#[derive(Default)]
pub struct Controller {
    brokers: [Registration; BROKERS],
}

/// The controllers' knowledge of one broker.
#[derive(Default)]
struct Registration {
    /// The broker leads nothing and is in sync with no leader.
    is_fenced: bool,
    /// The broker has been started and has not registered yet.
    is_unknown: bool,
    /// Number of the broker's starts.
    start: u64,
    /// Number of the broker's absences, which distinguishes an old timer from the present one.
    absence: u64,
    is_absent: bool,
}

impl Controller {
    /// True when the controllers know the broker's present process, that is, after it has registered.
    pub fn is_registered(&self, broker: usize) -> bool {
        !self.brokers[broker].is_unknown
    }

    /// True while a broker may neither lead nor count as in sync, from the expiry of its session until
    /// it registers again.
    pub fn is_fenced(&self, broker: usize) -> bool {
        self.brokers[broker].is_fenced
    }

    /// Notes that a broker's process has ended. After a restart it must register as a new one, and
    /// leads nothing before.
    pub fn forget(&mut self, broker: usize) {
        self.brokers[broker].is_unknown = true;
        self.brokers[broker].start += 1;
    }
}

impl Cluster {
    /// Re-evaluates which brokers are connected. Must be called after every change of the network or of
    /// a process: it starts and stops sessions, and lets followers fetch again.
    pub fn review(&mut self) {
        let quorum = self.network.quorum();
        for broker in 0..BROKERS {
            let registration = &mut self.controller.brokers[broker];
            if quorum.contains(broker) {
                registration.is_absent = false;
                if registration.is_fenced || registration.is_unknown {
                    let start = registration.start;
                    let delay = Duration::from_millis(20 + self.random.below(480));
                    let registers = ControllerDecision::Registers { broker, start };
                    self.after(delay, ClusterEvent::Controllers(registers));
                }
                self.tell_decisions(broker);
            } else if !quorum.is_empty() && !registration.is_absent {
                registration.is_absent = true;
                registration.absence += 1;
                let absence = registration.absence;
                let delay = self.knobs.session + self.draw(self.knobs.session / 2);
                let expires = ControllerDecision::SessionExpires { broker, absence };
                self.after(delay, ClusterEvent::Controllers(expires));
            }
        }
        if quorum.is_empty() {
            // New controllers grant every broker a whole session.
            self.controller.brokers.iter_mut().for_each(|broker| broker.is_absent = false);
        }
        for partition in 0..self.partitions.len() {
            self.watch_lag(partition);
            for broker in 0..BROKERS {
                self.fetch(partition, broker);
                self.take_into_sync(partition, broker);
            }
        }
    }

    /// Processes an event at the controllers. Events that an earlier change has made obsolete are
    /// ignored.
    pub fn at_controllers(&mut self, decision: ControllerDecision) {
        let quorum = self.network.quorum();
        match decision {
            ControllerDecision::SessionExpires { broker, absence } => {
                let registration = &self.controller.brokers[broker];
                if registration.is_absent && registration.absence == absence {
                    self.fence(broker);
                }
            }
            ControllerDecision::Registers { broker, start } => {
                let registration = &mut self.controller.brokers[broker];
                if registration.start != start || !quorum.contains(broker) {
                    return;
                }
                // A restarted process is a new one, so it leads nothing any longer.
                if std::mem::take(&mut registration.is_unknown) {
                    self.fence(broker);
                }
                self.unfence(broker);
            }
            ControllerDecision::LagExpires { partition, epoch, leader, follower } => {
                let decided = &mut self.partitions[partition].decided;
                let is_current = decided.epoch == epoch && decided.leader == Some(leader);
                if is_current && quorum.contains(leader) && !self.network.joins(leader, follower) {
                    decided.in_sync = decided.in_sync.without(follower);
                    self.tell_decisions(leader);
                }
            }
        }
    }

    /// Sends a broker the present decisions, which arrive after a delay.
    fn tell_decisions(&mut self, broker: usize) {
        let delay = self.draw(self.knobs.decision_max);
        self.after(delay, ClusterEvent::Broker(broker, BrokerEvent::Decisions));
    }

    /// Sends the present decisions to every broker in the majority. Each gets them after a delay of its
    /// own, so their order differs.
    pub fn tell_everybody(&mut self) {
        self.network.quorum().iter().for_each(|broker| self.tell_decisions(broker));
    }

    /// Takes a broker out of the leaders and of those in sync.
    fn fence(&mut self, broker: usize) {
        if std::mem::replace(&mut self.controller.brokers[broker].is_fenced, true) {
            return;
        }
        self.trace(format_args!("b{broker} is fenced"));
        for partition in 0..self.partitions.len() {
            let decided = &mut self.partitions[partition].decided;
            // The last broker in sync stays: only its log has every committed message.
            if decided.in_sync != BrokerSet::one(broker) {
                decided.in_sync = decided.in_sync.without(broker);
            }
            if decided.leader == Some(broker) {
                self.elect(partition);
            }
        }
        self.tell_everybody();
    }

    /// Lets a broker lead and be in sync again.
    fn unfence(&mut self, broker: usize) {
        if !std::mem::take(&mut self.controller.brokers[broker].is_fenced) {
            return;
        }
        self.trace(format_args!("b{broker} is back"));
        for partition in 0..self.partitions.len() {
            if self.partitions[partition].decided.leader.is_none() {
                self.elect(partition);
            }
            self.take_into_sync(partition, broker);
        }
        self.tell_everybody();
    }

    /// Chooses a leader at random among the brokers in sync; none when all of them are fenced. Raises
    /// the epoch, unless there was no leader before and is none now.
    pub fn elect(&mut self, partition: usize) {
        let in_sync = self.partitions[partition].decided.in_sync;
        let candidates: Vec<usize> =
            in_sync.iter().filter(|broker| !self.controller.is_fenced(*broker)).collect();
        let index = self.random.below(candidates.len() as u64) as usize;
        let leader = candidates.get(index).copied();
        let decided = &mut self.partitions[partition].decided;
        if leader.is_none() && decided.leader.is_none() {
            return;
        }
        decided.leader = leader;
        decided.epoch += 1;
        let epoch = decided.epoch;
        self.trace(format_args!(
            "p{partition} elects {leader:?} in epoch {epoch}, in sync {in_sync:?}"
        ));
    }

    /// Adds a follower to those in sync, only if it has every message that may be committed. Called
    /// after each of its fetches and after changes of the network.
    pub fn take_into_sync(&mut self, partition: usize, follower: usize) {
        let Some(leader) = self.partitions[partition].decided.leader else { return };
        let quorum = self.network.quorum();
        if self.controller.is_fenced(follower) || !quorum.contains(leader) {
            return;
        }
        let Self { partitions, .. } = self;
        let partition_state = &mut partitions[partition];
        let decided = &mut partition_state.decided;
        let replica = &mut partition_state.replicas[leader];
        if replica.heard.epoch != decided.epoch || decided.in_sync.contains(follower) {
            return;
        }
        let high_watermark = replica.log.high_watermark();
        let Some(leading) = replica.leading() else { return };
        // A new leader may not know the committed end yet, which is at most the end of its log when it
        // became leader.
        let needs = high_watermark.max(leading.since);
        if leading.followers[follower].is_none_or(|progress| progress.position < needs) {
            return;
        }
        decided.in_sync = decided.in_sync.with(follower);
        // The leader knows at once: its set must never be smaller than the decided one.
        leading.in_sync = leading.in_sync.with(follower);
        let in_sync = decided.in_sync;
        self.trace(format_args!("p{partition} b{follower} is in sync again: {in_sync:?}"));
        // With this follower there may be enough brokers in sync to commit waiting messages.
        self.settle(partition, leader);
    }

    /// Starts a timer for every follower in sync that its leader cannot reach while both reach the
    /// controllers.
    fn watch_lag(&mut self, partition: usize) {
        let decided = self.partitions[partition].decided;
        let Some(leader) = decided.leader else { return };
        for follower in decided.in_sync.without(leader).iter() {
            if !self.network.joins(leader, follower) {
                let epoch = decided.epoch;
                let expires = ControllerDecision::LagExpires { partition, epoch, leader, follower };
                self.after(self.knobs.lag, ClusterEvent::Controllers(expires));
            }
        }
    }
}
