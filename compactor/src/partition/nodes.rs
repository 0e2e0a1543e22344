//! This node among the others: its digests, its id, and its room.

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

/// What a partition knows of this node and the others.
pub(crate) struct NodeRegistry {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    node: Option<ThisNode>,
    process: WriterId,
    digests: Mutex<CutDigests>,
    claims: Mutex<Option<NodeClaim>>,
    rooms: Mutex<RoomReports>,
    /// What has to be appended, by the task that does.
    say: mpsc::Sender<RecordBody>,
    /// Taken by that task.
    said: Mutex<Option<mpsc::Receiver<RecordBody>>>,
    /// Whether the id is this process's; `None` while that is open.
    holds: watch::Sender<Option<bool>>,
}

/// Records about nodes that wait to be appended. Each may be said again later, so more are dropped.
const SAY_MAX: usize = 64;

/// So long a holder has to object.
pub const OBJECTION_WAIT: Duration = Duration::from_secs(5);

impl NodeRegistry {
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

    fn say(&self, body: RecordBody) {
        if self.say.try_send(body).is_err() {
            tracing::warn!("a record about this node is left out: too many wait");
        }
    }

    /// The least room that any other node has told of lately; none when none has.
    pub fn least_room(&self, now: Tick) -> Option<u64> {
        self.rooms.lock().least(now)
    }

    /// Whether the id is this process's, as far as known.
    pub fn holds(&self) -> watch::Receiver<Option<bool>> {
        self.holds.subscribe()
    }
}

/// A node tells its room this often, and when it has changed much.
const ROOM_EVERY: Duration = Duration::from_secs(240);
/// Not more often than this.
const ROOM_PAUSE: Duration = Duration::from_secs(10);
/// Age beyond which a node's free space is not believed: a node that is gone must not keep writes out for ever.
const ROOM_AGE_MAX: Duration = Duration::from_secs(600);

/// Room for payload, of this node and the others.
#[derive(Default)]
struct RoomReports {
    /// The free space that this node has told last, and when.
    told: Option<(u64, Tick)>,
    /// The free space that the others have told last, and when that was read.
    others: BTreeMap<NodeId, (u64, Tick)>,
}

impl RoomReports {
    fn least(&self, now: Tick) -> Option<u64> {
        let fresh = self.others.values().filter(|(_, read)| now.since(*read) <= ROOM_AGE_MAX);
        fresh.map(|(bytes, _)| *bytes).min()
    }

    /// Says whether room is to be told again, and takes it as told.
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
    /// Starts the task that appends what this node has to say of itself.
    pub fn start(self: &Arc<Self>) -> Task {
        let nodes = self.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            let Some(mut said) = nodes.said.lock().take() else { return };
            while let Some(body) = said.recv().await {
                // An unknown outcome is no matter: saying it twice means the same.
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
        // Told apart by what it says, so it needs no number.
        let id = RecordId { writer: self.process, ..RecordId::default() };
        let record = Record::of_the_store(id, body);
        let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
        self.context.log.append(permit, record).await
    }

    /// Claims this node's id; gives whether it is this process's.
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

    /// The fold has met a record about a node's id.
    pub fn take_claim(&self, node: NodeId, process: WriterId, stage: ClaimStage) {
        let step = match self.claims.lock().as_mut() {
            // What is replayed has been settled long ago.
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

    /// A cut has been published here: tells the others its digest.
    pub fn publish_digest(&self, cut: CutNumber, digest: [u8; 32]) {
        let Some(node) = self.node else { return };
        let verdict = self.digests.lock().own(cut, digest);
        self.judge(cut, &verdict);
        self.say(RecordBody::Digest(CutDigest { node: node.id, cut, digest }));
    }

    /// Tells the others how much room for payload this node has, if there is something new to tell.
    pub fn publish_room(&self, bytes: u64) {
        let Some(node) = self.node.filter(|_| self.health.is_replayed()) else { return };
        if self.rooms.lock().tells(bytes, self.context.env.clock.now()) {
            self.say(RecordBody::Room(RoomReport { node: node.id, bytes }));
        }
    }

    /// The fold has met a node's room.
    pub fn take_room(&self, room: &RoomReport) {
        let is_old = !self.health.is_replayed();
        if is_old || self.node.is_none_or(|node| node.id == room.node) {
            return;
        }
        let now = self.context.env.clock.now();
        self.rooms.lock().others.insert(room.node, (room.bytes, now));
    }

    /// The fold has met a digest.
    pub fn take_digest(&self, digest: &CutDigest) {
        // One's own is known better than it can be read.
        if self.node.is_none_or(|node| node.id == digest.node) {
            return;
        }
        let verdict = self.digests.lock().take(digest);
        self.judge(digest.cut, &verdict);
    }

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
