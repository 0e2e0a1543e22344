//! What a test does to a cluster. Every fault takes effect at once; what follows from it takes its time.

use ingest::ids::{Offset, PartitionId};

use super::cluster::{BrokerEvent, Cluster};
use super::network::{BrokerSet, Endpoint, ProcessState};
use super::partition::ReplicaRole;
use super::replica_log::ReplicaLog;
use super::{BROKERS, SimBrokers};

impl SimBrokers {
    /// Kills a broker's process. Its log stays with the system, messages that nobody else has too.
    pub fn crash(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) != ProcessState::Down {
            cluster.end_process(broker);
            cluster.review();
        }
    }

    /// Starts a crashed broker again.
    pub fn restart(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) == ProcessState::Down {
            cluster.trace(format_args!("b{broker} starts"));
            cluster.network.set_process(broker, ProcessState::Up);
            cluster.review();
        }
    }

    /// Lets a broker stand still, as SIGSTOP does: its connections stay, and what it is sent waits.
    pub fn pause(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) == ProcessState::Up {
            cluster.trace(format_args!("b{broker} pauses"));
            cluster.network.set_process(broker, ProcessState::Paused);
            cluster.notice_silence();
            cluster.review();
        }
    }

    /// Lets a paused broker run on. It takes what has come in before it hears what it has missed.
    pub fn resume(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) == ProcessState::Paused {
            cluster.trace(format_args!("b{broker} resumes"));
            cluster.network.set_process(broker, ProcessState::Up);
            for event in std::mem::take(&mut cluster.inboxes[broker]) {
                cluster.at_broker(broker, event);
            }
            cluster.review();
        }
    }

    /// Cuts the way between two places, both directions of it.
    pub fn split(&self, a: Endpoint, b: Endpoint) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("{a:?} and {b:?} are split"));
        cluster.cut(a, b);
        cluster.review();
    }

    /// Cuts a broker off from the other brokers; nodes reach it still.
    pub fn isolate(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("b{broker} is isolated"));
        for other in BrokerSet::ALL.without(broker).iter() {
            cluster.cut(Endpoint::Broker(broker), Endpoint::Broker(other));
        }
        cluster.review();
    }

    /// Cuts a node off from all brokers.
    pub fn isolate_node(&self, node: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("node {node} is isolated"));
        (0..BROKERS).for_each(|broker| cluster.cut(Endpoint::Node(node), Endpoint::Broker(broker)));
    }

    /// Mends the way between two places.
    pub fn join(&self, a: Endpoint, b: Endpoint) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("{a:?} and {b:?} are joined"));
        cluster.network.set_cut(a, b, false);
        cluster.review();
    }

    /// Mends every way that is cut.
    pub fn heal(&self) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("all are joined"));
        cluster.network.heal();
        cluster.review();
    }

    /// Mends everything: ways, paused and crashed brokers.
    pub fn mend(&self) {
        self.heal();
        (0..BROKERS).for_each(|broker| self.resume(broker));
        (0..BROKERS).for_each(|broker| self.restart(broker));
    }

    /// Ends a node's clients, whoever still holds them. What they have sent may still land. Stopping the
    /// node ends those that its tasks hold.
    pub fn node_died(&self, node: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("node {node} has died"));
        *cluster.deaths.entry(node).or_default() += 1;
        for number in 0..cluster.pipes.len() {
            if cluster.pipes[number].contact.life.node == node {
                cluster.close_pipe(number, false);
            }
        }
        for number in 0..cluster.readers.len() {
            if cluster.readers[number].contact.life.node == node {
                cluster.close_reader(number);
            }
        }
    }

    /// **Loses acknowledged messages.** Cuts the power of all brokers at once: each copy of each partition
    /// loses so many of its last messages, which were in no disk yet. The brokers start again.
    pub fn lose_power(&self, messages: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("all brokers lose power and {messages} messages"));
        (0..BROKERS).for_each(|broker| cluster.end_process(broker));
        for partition in &mut cluster.partitions {
            for replica in &mut partition.replicas {
                replica.log.truncate(replica.log.end_without(messages));
            }
        }
        (0..BROKERS).for_each(|broker| cluster.network.set_process(broker, ProcessState::Up));
        cluster.review();
    }

    /// **Loses acknowledged messages.** Takes everything from an offset on away from all copies of a
    /// partition, as the election of a leader does that was not in sync.
    pub fn truncate_to(&self, partition: PartitionId, offset: Offset) {
        let partition = partition.get() as usize;
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("p{partition} is truncated to {offset}"));
        cluster.begin_anew_with(partition, |log| log.truncate(offset.get()));
    }

    /// **Loses everything.** Deletes the topic and makes it anew, empty, with the same name.
    pub fn recreate(&self) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("the topic is made anew"));
        let there = BrokerSet::ALL.iter().filter(|broker| !cluster.controller.is_fenced(*broker));
        let there = there.fold(BrokerSet::default(), BrokerSet::with);
        for partition in 0..cluster.partitions.len() {
            // Where nobody is there, whoever comes first will do: all are empty.
            let in_sync = if there.is_empty() { BrokerSet::ALL } else { there };
            cluster.partitions[partition].decided.in_sync = in_sync;
            cluster.begin_anew_with(partition, |log| log.reset(0));
        }
    }
}

impl Cluster {
    fn end_process(&mut self, broker: usize) {
        self.trace(format_args!("b{broker} crashes"));
        self.network.set_process(broker, ProcessState::Down);
        self.controller.forget(broker);
        for event in std::mem::take(&mut self.inboxes[broker]) {
            match event {
                BrokerEvent::Call(call) => self.fail_call(call),
                BrokerEvent::FetchArrives(fetch, _) => self.end_fetch(fetch),
                // Whoever sent it is told that the process has ended, or has noticed.
                _ => {}
            }
        }
        self.reset_connections(broker);
        for partition in 0..self.partitions.len() {
            self.partitions[partition].replicas[broker].role = ReplicaRole::None;
        }
    }

    fn cut(&mut self, a: Endpoint, b: Endpoint) {
        self.network.set_cut(a, b, true);
        if let (Endpoint::Broker(a), Endpoint::Broker(b)) = (a, b) {
            self.end_parked_fetches(a, b);
            self.end_parked_fetches(b, a);
        } else {
            self.notice_silence();
        }
    }

    /// A leader does not answer what waits for a follower that it cannot reach.
    fn end_parked_fetches(&mut self, leader: usize, follower: usize) {
        for partition in 0..self.partitions.len() {
            let Some(leading) = self.partitions[partition].replicas[leader].leading() else {
                continue;
            };
            if let Some(number) = leading.parked[follower].take() {
                self.forget_fetch(partition, follower, number);
            }
        }
    }

    /// Changes all copies of a partition and has a leader elected that finds them so.
    fn begin_anew_with(&mut self, partition: usize, change: impl Fn(&mut ReplicaLog)) {
        for broker in 0..BROKERS {
            self.leave_role(partition, broker);
            change(&mut self.partitions[partition].replicas[broker].log);
        }
        self.elect(partition);
        self.tell_everybody();
    }
}
