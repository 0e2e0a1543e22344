//! Requests of nodes to brokers that need no client: bounds and deletions.

use std::time::Duration;

use futures::channel::oneshot;
use ingest::ids::Offset;
use ingest::log::brokers::{BrokerError, PartitionBounds};

use super::BROKERS;
use super::cluster::{BrokerEvent, Cluster, ClusterEvent};
use super::partition::ReplicaRole;
use crate::executor::TimerOwner;

/// Time for which a leader waits until its followers have deleted.
const DELETION_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the answer of a request.
type AdminReply<T> = oneshot::Sender<Result<T, BrokerError>>;

/// A request from a node.
pub struct AdminCall {
    pub node: usize,
    pub partition: usize,
    pub question: AdminRequest,
}

/// The content of a request, with the receiver of its answer.
pub enum AdminRequest {
    Bounds(AdminReply<PartitionBounds>),
    DeleteBelow(u64, AdminReply<()>),
}

impl AdminRequest {
    /// Answers the request with an error.
    fn fail(self, reason: &str) {
        let error = BrokerError(reason.into());
        // The caller may have dropped its future.
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
    /// Sends a request to a broker that the node can reach: any broker for bounds, and for a deletion
    /// the one that a reachable broker believes to lead. Fails the request, after a while, when there
    /// is none.
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

    /// Loses a request: the caller gets an error after one to two seconds, as from its own time-out.
    pub fn fail_call(&mut self, call: AdminCall) {
        let delay = Duration::from_secs(1) + self.draw(Duration::from_secs(1));
        let fail = Box::new(move || call.question.fail("no broker answered"));
        self.world.after(TimerOwner::World, delay, fail);
    }

    /// Processes a request at a running broker. The request is lost when the node was cut off from the
    /// broker meanwhile.
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

    /// Sends an answer. A connection that is cut meanwhile does not matter: the answer was sent before.
    fn reply<T: Send + 'static>(&self, reply: AdminReply<T>, value: T) {
        let send = move || drop(reply.send(Ok(value)));
        self.world.after(TimerOwner::World, self.hop(), Box::new(send));
    }

    /// Deletes at a leader, and answers once all followers in sync have deleted. Fails at a broker that
    /// does not lead, and for offsets that are not committed.
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

    /// Answers the deletions that have reached every follower in sync. Called after every progress of a
    /// follower.
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

    /// Fails a deletion that has not reached all followers in time. The deletion itself is not undone,
    /// as in Kafka.
    pub fn expire_deletion(&mut self, partition: usize, broker: usize, number: u64) {
        let Some(leading) = self.partitions[partition].replicas[broker].leading() else { return };
        if let Some(index) = leading.deletions.iter().position(|d| d.number == number) {
            let PendingDeletion { below, reply, .. } = leading.deletions.swap_remove(index);
            AdminRequest::DeleteBelow(below, reply).fail("followers did not delete in time");
        }
    }
}
