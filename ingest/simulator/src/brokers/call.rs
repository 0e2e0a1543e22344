//! What nodes ask of brokers without a client of their own: bounds and deletions.

use std::time::Duration;

use futures::channel::oneshot;
use ingest::ids::Offset;
use ingest::log::brokers::{BrokerError, PartitionBounds};

use super::BROKERS;
use super::cluster::{BrokerEvent, Cluster, ClusterEvent};
use super::partition::ReplicaRole;
use crate::executor::TimerOwner;

/// So long a leader waits until its followers have deleted.
const DELETION_TIMEOUT: Duration = Duration::from_secs(5);

type AdminReply<T> = oneshot::Sender<Result<T, BrokerError>>;

/// A question from a node.
pub struct AdminCall {
    pub node: usize,
    pub partition: usize,
    pub question: AdminRequest,
}

pub enum AdminRequest {
    Bounds(AdminReply<PartitionBounds>),
    DeleteBelow(u64, AdminReply<()>),
}

impl AdminRequest {
    fn fail(self, reason: &str) {
        let error = BrokerError(reason.into());
        // Whoever asked may have gone.
        match self {
            AdminRequest::Bounds(reply) => drop(reply.send(Err(error))),
            AdminRequest::DeleteBelow(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

/// A deletion that has not reached all followers yet.
pub struct PendingDeletion {
    number: u64,
    below: u64,
    reply: AdminReply<()>,
}

impl Cluster {
    /// Sends a question to a broker that can be reached: any for bounds, for a deletion the one that it
    /// believes to lead.
    pub fn call(&mut self, call: AdminCall) {
        let reachable: Vec<usize> =
            (0..BROKERS).filter(|broker| self.network.answers(call.node, *broker)).collect();
        let index = self.random.below(reachable.len() as u64) as usize;
        let asked = reachable.get(index).copied();
        let believed =
            |broker: usize| self.partitions[call.partition].replicas[broker].heard.leader;
        let broker = match &call.question {
            AdminRequest::Bounds(_) => asked,
            AdminRequest::DeleteBelow(..) => asked.and_then(believed),
        };
        match broker {
            Some(broker) => {
                self.after(self.hop(), ClusterEvent::Broker(broker, BrokerEvent::Call(call)))
            }
            None => self.fail_call(call),
        }
    }

    /// A question got lost: whoever asked gives up after a while.
    pub fn fail_call(&mut self, call: AdminCall) {
        let delay = Duration::from_secs(1) + self.draw(Duration::from_secs(1));
        let fail = Box::new(move || call.question.fail("no broker answered"));
        self.world.after(TimerOwner::World, delay, fail);
    }

    pub fn take_call(&mut self, broker: usize, call: AdminCall) {
        if !self.network.serves(call.node, broker) {
            return self.fail_call(call);
        }
        let partition = call.partition;
        match call.question {
            AdminRequest::Bounds(reply) => {
                let log = &self.partitions[partition].replicas[broker].log;
                let first = Offset::new(log.start());
                let bounds = PartitionBounds { first, end: Offset::new(log.high_watermark()) };
                self.reply(reply, bounds);
            }
            AdminRequest::DeleteBelow(below, reply) => {
                self.delete_below(partition, broker, below, reply)
            }
        }
    }

    /// Sends a reply back. A way that has been cut meanwhile is not looked at: the answer was on it.
    fn reply<T: Send + 'static>(&self, reply: AdminReply<T>, value: T) {
        let send = move || drop(reply.send(Ok(value)));
        self.world.after(TimerOwner::World, self.hop(), Box::new(send));
    }

    fn delete_below(&mut self, partition: usize, broker: usize, below: u64, reply: AdminReply<()>) {
        let number = self.next_deletion;
        let replica = &mut self.partitions[partition].replicas[broker];
        let ReplicaRole::Leader(leading) = &mut replica.role else {
            return AdminRequest::DeleteBelow(below, reply).fail("the broker does not lead");
        };
        if below > replica.log.high_watermark() {
            return AdminRequest::DeleteBelow(below, reply).fail("that is not committed");
        }
        replica.log.delete_below(below);
        leading.deletions.push(PendingDeletion { number, below, reply });
        self.next_deletion += 1;
        self.trace(format_args!("p{partition} b{broker} deletes below {below}"));
        let expires = BrokerEvent::DeletionExpires { partition, number };
        self.after(DELETION_TIMEOUT, ClusterEvent::Broker(broker, expires));
        self.wake_followers(partition, broker);
        self.settle(partition, broker);
    }

    /// Answers the deletions that have reached everybody in sync.
    pub fn finish_deletions(&mut self, partition: usize, broker: usize) {
        let Some(leading) = self.partitions[partition].replicas[broker].leading() else { return };
        if leading.deletions.is_empty() {
            return;
        }
        let followers = leading.in_sync.without(broker);
        let start =
            |follower: usize| leading.followers[follower].map_or(0, |progress| progress.start);
        let reached = followers.iter().map(start).min().unwrap_or(u64::MAX);
        let (done, waiting) =
            std::mem::take(&mut leading.deletions).into_iter().partition(|d| d.below <= reached);
        leading.deletions = waiting;
        let done: Vec<PendingDeletion> = done;
        done.into_iter().for_each(|deletion| self.reply(deletion.reply, ()));
    }

    pub fn expire_deletion(&mut self, partition: usize, broker: usize, number: u64) {
        let Some(leading) = self.partitions[partition].replicas[broker].leading() else { return };
        if let Some(index) = leading.deletions.iter().position(|d| d.number == number) {
            let PendingDeletion { below, reply, .. } = leading.deletions.swap_remove(index);
            AdminRequest::DeleteBelow(below, reply).fail("followers did not delete in time");
        }
    }
}
