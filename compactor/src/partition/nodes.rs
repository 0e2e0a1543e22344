//! The node within its cluster: its digests, its id, and its free space.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};
use ingest::ids::{CutNumber, NodeId, PartitionId, WriterId};
use ingest::log::AppendError;
use ingest::record::{ClaimStage, CutDigest, Record, RecordBody, RecordId, RoomReport};
use ingest::time::Tick;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::claims::{ClaimStep, NodeClaim};
use super::context::PartitionContext;
use super::digests::{CutDigests, DigestVerdict};
use super::health::Health;
use super::options::ThisNode;

/// The state of a partition about this node and the others.
pub(crate) struct NodeRegistry {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    node: Option<ThisNode>,
    process: WriterId,
    digests: Mutex<CutDigests>,
    claims: Mutex<Option<NodeClaim>>,
    rooms: Mutex<RoomReports>,
    /// Records that must be appended, in the order in which the task appends them.
    say: mpsc::Sender<RecordBody>,
    /// The receiving end, until the task takes it.
    said: Mutex<Option<mpsc::Receiver<RecordBody>>>,
    /// True if the id belongs to this process; `None` while undecided.
    holds: watch::Sender<Option<bool>>,
}

/// Records about nodes that may wait for their append. Further records are dropped, because each may be
/// repeated later.
const SAY_MAX: usize = 64;

/// The time that a holder has for an objection.
pub const OBJECTION_WAIT: Duration = Duration::from_secs(5);

impl NodeRegistry {
    /// Makes the registry. Only partition 0 keeps claims; on all others the id counts as held.
    pub fn new(health: Arc<Health>, process: WriterId) -> Self {
        let context = health.context().clone();
        let node = context.options.node;
        let claims_id = context.id == PartitionId::ZERO;
        let (say, said) = mpsc::channel(SAY_MAX);
        let claims = node.filter(|_| claims_id);
        let holds = claims.is_none_or(|node| node.held_before).then_some(true);
        Self {
            context,
            health,
            node,
            process,
            digests: Mutex::default(),
            claims: Mutex::new(
                claims.map(|node| NodeClaim::new(node.id, process, node.held_before)),
            ),
            say,
            rooms: Mutex::default(),
            said: Mutex::new(Some(said)),
            holds: watch::Sender::new(holds),
        }
    }

    /// Queues a record about this node; drops it with a warning if too many wait.
    fn say(&self, body: RecordBody) {
        if self.say.try_send(body).is_err() {
            tracing::warn!("a record about this node is left out: too many wait");
        }
    }

    /// Returns the least free space that any other node has reported within the last 10 minutes, in bytes;
    /// `None` without a report.
    pub fn least_room(&self, now: Tick) -> Option<u64> {
        self.rooms.lock().least(now)
    }

    /// Returns a receiver that shows if the id belongs to this process; `None` while undecided.
    pub fn holds(&self) -> watch::Receiver<Option<bool>> {
        self.holds.subscribe()
    }
}

/// The interval at which a node reports its free space without a change.
const ROOM_EVERY: Duration = Duration::from_secs(240);
/// The shortest interval between two reports.
const ROOM_PAUSE: Duration = Duration::from_secs(10);
/// The age beyond which a report does not count, since a node that is gone must not block writes for ever.
const ROOM_AGE_MAX: Duration = Duration::from_secs(600);

/// Reports of free space for payload, of this node and of the others.
#[derive(Default)]
struct RoomReports {
    /// The free space that this node has reported last, and the time of the report.
    told: Option<(u64, Tick)>,
    /// The free space that the others have reported last, and the time at which the report was read.
    others: BTreeMap<NodeId, (u64, Tick)>,
}

impl RoomReports {
    fn least(&self, now: Tick) -> Option<u64> {
        let fresh = self.others.values().filter(|(_, read)| now.since(*read) <= ROOM_AGE_MAX);
        fresh.map(|(bytes, _)| *bytes).min()
    }

    /// Returns true if the free space must be reported again, and then counts it as reported.
    fn tells(&mut self, bytes: u64, now: Tick) -> bool {
        let tells = self.told.is_none_or(|(told, when)| {
            let age = now.since(when);
            age >= ROOM_EVERY || (age >= ROOM_PAUSE && told.abs_diff(bytes) > told / 8)
        });
        if tells {
            self.told = Some((bytes, now));
        }
        tells
    }
}

impl NodeRegistry {
    /// Starts the task that appends this node's queued records, in order. A failed append is repeated every
    /// second until the fold stops.
    pub fn start(self: &Arc<Self>) -> Task {
        let nodes = self.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            let Some(mut said) = nodes.said.lock().take() else { return };
            while let Some(body) = said.recv().await {
                // An unknown outcome needs no care: a repeated record has no further effect.
                while let Err(error) = nodes.append(body.clone()).await {
                    tracing::warn!(%error, "a record about this node could not be appended");
                    nodes.context.env.clock.sleep(Duration::from_secs(1)).await;
                    if nodes.health.is_stopped() {
                        return;
                    }
                }
            }
        });
        self.context.env.rt.spawn("nodes", task)
    }

    async fn append(&self, body: RecordBody) -> Result<(), AppendError> {
        // Such records are distinguished by their content, so they need no number.
        let id = RecordId { writer: self.process, ..RecordId::default() };
        let record = Record::of_the_store(id, body);
        let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
        self.context.log.append(permit, record.into()).await
    }

    /// Claims this node's id; returns true if the id belongs to this process. Waits 5 seconds for an
    /// objection, unless the process has held the id before, then without a limit for the decision in the
    /// log. Must be called only on partition 0, which keeps the claims.
    pub async fn claim(&self) -> bool {
        let Some(node) = self.node else { return true };
        let claim = |stage| RecordBody::Claim { node: node.id, process: self.process, stage };
        self.say(claim(ClaimStage::Claim));
        let mut holds = self.holds();
        if node.held_before {
            return holds.borrow().unwrap_or(true);
        }
        let clock = self.context.env.clock.as_ref();
        let objected = holds.wait_for(Option::is_some);
        if timeout(clock, OBJECTION_WAIT, objected).await.is_none() {
            self.say(claim(ClaimStage::Confirm));
        }
        let settled = self.holds().wait_for(Option::is_some).await.map(|holds| *holds);
        settled.ok().flatten().unwrap_or(false)
    }

    /// Processes a record about a node's id. Called by the fold, in the order of the log; records from
    /// before the end of replay have no effect, since they were decided long ago.
    pub fn take_claim(&self, node: NodeId, process: WriterId, stage: ClaimStage) {
        let step = match self.claims.lock().as_mut() {
            // A replayed claim was decided long ago.
            Some(claims) if self.health.is_replayed() => claims.take(node, process, stage),
            _ => return,
        };
        match step {
            ClaimStep::Nothing => {}
            ClaimStep::Object(claimant) => {
                tracing::error!(%node, "another process claims this node's id");
                self.say(RecordBody::Claim { node, process: claimant, stage: ClaimStage::Object });
            }
            ClaimStep::Holds => drop(self.holds.send_replace(Some(true))),
            ClaimStep::GivesUp => {
                tracing::error!(%node, "this node's id is another process's: stopping");
                self.holds.send_replace(Some(false));
            }
        }
    }

    /// Queues the digest of a cut for the other nodes, and compares it with theirs. Called by the flush
    /// job, after the cut is published.
    pub fn publish_digest(&self, cut: CutNumber, digest: [u8; 32]) {
        let Some(node) = self.node else { return };
        let verdict = self.digests.lock().own(cut, digest);
        self.judge(cut, &verdict);
        self.say(RecordBody::Digest(CutDigest { node: node.id, cut, digest }));
    }

    /// Queues a report of this node's free space for payload, if the last report is older than 240 seconds,
    /// or older than 10 seconds and wrong by more than an eighth. Does nothing before replay has ended.
    pub fn publish_room(&self, bytes: u64) {
        let Some(node) = self.node.filter(|_| self.health.is_replayed()) else { return };
        if self.rooms.lock().tells(bytes, self.context.env.clock.now()) {
            self.say(RecordBody::Room(RoomReport { node: node.id, bytes }));
        }
    }

    /// Processes another node's report of its free space. Called by the fold; reports from before the end
    /// of replay are ignored, because their age is unknown.
    pub fn take_room(&self, room: &RoomReport) {
        let is_old = !self.health.is_replayed();
        if is_old || self.node.is_none_or(|node| node.id == room.node) {
            return;
        }
        let now = self.context.env.clock.now();
        self.rooms.lock().others.insert(room.node, (room.bytes, now));
    }

    /// Processes another node's digest, and compares it with the digests of the same cut. Called by the
    /// fold, during replay too.
    pub fn take_digest(&self, digest: &CutDigest) {
        // The own digest comes from this node's flush, not from the log.
        if self.node.is_none_or(|node| node.id == digest.node) {
            return;
        }
        let verdict = self.digests.lock().take(digest);
        self.judge(digest.cut, &verdict);
    }

    /// Acts on a comparison: a split is counted and logged, and a minority puts this node in quarantine.
    fn judge(&self, cut: CutNumber, verdict: &DigestVerdict) {
        match verdict {
            DigestVerdict::Agrees => {}
            DigestVerdict::Split(others) => {
                self.context
                    .counters
                    .digest_splits
                    .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                tracing::error!(%cut, ?others, partition = %self.context.id, "digests of this cut differ, and nobody can tell which is right");
            }
            DigestVerdict::Outvoted(others) => {
                let reason = format!(
                    "this node's copy of partition {} differs from the others' at cut {cut} and serves nothing: remove its data directory and start it again, it will be made anew from the log",
                    self.context.id
                );
                tracing::error!(%cut, ?others, reason);
                self.health.quarantine(reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_least_room_counts_while_it_is_fresh() {
        let mut rooms = RoomReports::default();
        assert_eq!(rooms.least(at(0)), None);
        rooms.others.insert(NodeId::new(2), (70, at(0)));
        rooms.others.insert(NodeId::new(3), (50, at(100)));
        assert_eq!(rooms.least(at(600)), Some(50));
        assert_eq!(rooms.least(at(650)), Some(50), "what is old does not count");
        rooms.others.insert(NodeId::new(3), (90, at(650)));
        assert_eq!(rooms.least(at(650)), Some(90));
        assert_eq!(rooms.least(at(2000)), None);
    }

    #[test]
    fn room_is_told_when_it_changes_and_now_and_then() {
        let mut rooms = RoomReports::default();
        assert!(rooms.tells(800, at(0)));
        for (bytes, seconds, tells) in
            [(0, 9, false), (750, 20, false), (650, 30, true), (650, 269, false), (650, 270, true)]
        {
            assert_eq!(rooms.tells(bytes, at(seconds)), tells, "{bytes} at {seconds} s");
        }
    }
}
