//! Faults that a test injects into a cluster. Every fault takes effect at once; its consequences take
//! their time.

use ingest::ids::{Offset, PartitionId};

use super::cluster::{BrokerEvent, Cluster};
use super::network::{BrokerSet, Endpoint, ProcessState};
use super::partition::ReplicaRole;
use super::replica_log::ReplicaLog;
use super::{BROKERS, SimBrokers};

impl SimBrokers {
    /// Kills a broker's process. The log survives, including messages that no other broker has. Does
    /// nothing when the process is down already.
    pub fn crash(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) != ProcessState::Down {
            cluster.end_process(broker);
            cluster.review();
        }
    }

    /// Starts a crashed broker again, with its log. Does nothing unless the process is down. The broker
    /// registers after a fraction of a second, and leads nothing before that.
    pub fn restart(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) == ProcessState::Down {
            cluster.trace(format_args!("b{broker} starts"));
            cluster.network.set_process(broker, ProcessState::Up);
            cluster.review();
        }
    }

    /// Stops a broker as SIGSTOP does: its connections stay, and events that reach it wait in order.
    /// Does nothing unless the process runs.
    pub fn pause(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        if cluster.network.process(broker) == ProcessState::Up {
            cluster.trace(format_args!("b{broker} pauses"));
            cluster.network.set_process(broker, ProcessState::Paused);
            cluster.notice_silence();
            cluster.review();
        }
    }

    /// Continues a paused broker. The broker processes the events of the pause, in order, before it
    /// learns of any decision that it has missed.
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

    /// Cuts the connection between two endpoints, in both directions. Messages that arrive after the
    /// cut are lost, unless they are answers of requests without a client.
    pub fn split(&self, a: Endpoint, b: Endpoint) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("{a:?} and {b:?} are split"));
        cluster.cut(a, b);
        cluster.review();
    }

    /// Cuts a broker off from the other brokers, while nodes can still reach it: the fault that creates
    /// a deposed leader.
    pub fn isolate(&self, broker: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("b{broker} is isolated"));
        for other in BrokerSet::ALL.without(broker).iter() {
            cluster.cut(Endpoint::Broker(broker), Endpoint::Broker(other));
        }
        cluster.review();
    }

    /// Cuts a node off from all brokers, in both directions, until [`SimBrokers::join`] or
    /// [`SimBrokers::heal`].
    pub fn isolate_node(&self, node: usize) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("node {node} is isolated"));
        (0..BROKERS).for_each(|broker| cluster.cut(Endpoint::Node(node), Endpoint::Broker(broker)));
    }

    /// Restores the connection between two endpoints. Messages that were lost before stay lost; clients
    /// send them again.
    pub fn join(&self, a: Endpoint, b: Endpoint) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("{a:?} and {b:?} are joined"));
        cluster.network.set_cut(a, b, false);
        cluster.review();
    }

    /// Restores every connection, but neither paused nor crashed brokers; see [`SimBrokers::mend`].
    /// Lost messages stay lost.
    pub fn heal(&self) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("all are joined"));
        cluster.network.heal();
        cluster.review();
    }

    /// Restores everything, in this order: connections, paused brokers, crashed brokers. Elections
    /// still take their time.
    pub fn mend(&self) {
        self.heal();
        (0..BROKERS).for_each(|broker| self.resume(broker));
        (0..BROKERS).for_each(|broker| self.restart(broker));
    }

    /// Ends a node's clients, even those that are still held somewhere. Messages that they have sent
    /// may still land. Must be called for a node that is killed; stopping the node ends only clients
    /// that its tasks hold.
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

    /// **Loses acknowledged messages.** Cuts the power of all brokers at once: each copy of each
    /// partition loses its last `messages` messages, as if no disk had them yet. The brokers start
    /// again at once, and must register before they lead.
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

    /// **Loses acknowledged messages.** Removes all messages from an offset on from every copy of a
    /// partition, as the election of a leader does that was not in sync. A new leader is elected after
    /// that.
    pub fn truncate_to(&self, partition: PartitionId, offset: Offset) {
        let partition = partition.get() as usize;
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("p{partition} is truncated to {offset}"));
        cluster.begin_anew_with(partition, |log| log.truncate(offset.get()));
    }

    /// **Loses everything.** Deletes the topic and creates it again, empty, with the same name. Clients
    /// learn of it only from offsets that no longer exist.
    pub fn recreate(&self) {
        let mut cluster = self.cluster.lock();
        cluster.trace(format_args!("the topic is made anew"));
        let there = BrokerSet::ALL.iter().filter(|broker| !cluster.controller.is_fenced(*broker));
        let there = there.fold(BrokerSet::default(), BrokerSet::with);
        for partition in 0..cluster.partitions.len() {
            // Where no broker is present, any one may lead later: all copies are empty.
            let in_sync = if there.is_empty() { BrokerSet::ALL } else { there };
            cluster.partitions[partition].decided.in_sync = in_sync;
            cluster.begin_anew_with(partition, |log| log.reset(0));
        }
    }
}

impl Cluster {
    /// Ends a broker's process: its connections are reset and its roles end.
    fn end_process(&mut self, broker: usize) {
        self.trace(format_args!("b{broker} crashes"));
        self.network.set_process(broker, ProcessState::Down);
        self.controller.forget(broker);
        for event in std::mem::take(&mut self.inboxes[broker]) {
            match event {
                BrokerEvent::Call(call) => self.fail_call(call),
                BrokerEvent::FetchArrives(fetch, _) => self.end_fetch(fetch),
                // Senders of requests get a reset below; all other events ended with the process.
                _ => {}
            }
        }
        self.reset_connections(broker);
        for partition in 0..self.partitions.len() {
            self.partitions[partition].replicas[broker].role = ReplicaRole::None;
        }
    }

    /// Cuts a connection and ends the fetches that wait on it.
    fn cut(&mut self, a: Endpoint, b: Endpoint) {
        self.network.set_cut(a, b, true);
        if let (Endpoint::Broker(a), Endpoint::Broker(b)) = (a, b) {
            self.end_parked_fetches(a, b);
            self.end_parked_fetches(b, a);
        } else {
            self.notice_silence();
        }
    }

    /// Ends waiting fetches of a follower that its leader cannot reach any longer.
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

    /// Changes all copies of a partition, and has a leader elected on the changed copies.
    fn begin_anew_with(&mut self, partition: usize, change: impl Fn(&mut ReplicaLog)) {
        for broker in 0..BROKERS {
            self.leave_role(partition, broker);
            change(&mut self.partitions[partition].replicas[broker].log);
        }
        self.elect(partition);
        self.tell_everybody();
    }
}
