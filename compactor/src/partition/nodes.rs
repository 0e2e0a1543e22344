//! This node among the others: its digests, and its id.

use std::sync::Arc;
use std::time::Duration;

use ingest::env::{Fut, Task, timeout};
use ingest::log::AppendError;
use ingest::record::{Body, Digest, Record, RecordId, Stage};
use ingest::words::{CutNumber, NodeId, WriterId};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};

use super::Shared;
use super::claims::{Claims, Step};
use super::digests::{Digests, Verdict};

/// Which node this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Whether this data directory has held the id before.
    pub held_before: bool,
}

/// What a partition knows of this node and the others.
pub(crate) struct Nodes {
    node: Option<Node>,
    process: WriterId,
    digests: Mutex<Digests>,
    claims: Mutex<Option<Claims>>,
    /// What has to be appended, by the task that does.
    say: mpsc::Sender<Body>,
    /// Taken by that task.
    said: Mutex<Option<mpsc::Receiver<Body>>>,
    /// Whether the id is this process's; `None` while that is open.
    holds: watch::Sender<Option<bool>>,
}

/// Records about nodes that wait to be appended. Each may be said again later, so more are dropped.
const SAY_MAX: usize = 64;

/// So long a holder has to object.
pub const OBJECTION_WAIT: Duration = Duration::from_secs(5);

impl Nodes {
    pub fn new(node: Option<Node>, process: WriterId, claims_id: bool) -> Self {
        let (say, said) = mpsc::channel(SAY_MAX);
        let claims = node.filter(|_| claims_id);
        let holds = claims.is_none_or(|node| node.held_before).then_some(true);
        Self {
            node,
            process,
            digests: Mutex::default(),
            claims: Mutex::new(claims.map(|node| Claims::new(node.id, process, node.held_before))),
            say,
            said: Mutex::new(Some(said)),
            holds: watch::Sender::new(holds),
        }
    }

    fn say(&self, body: Body) {
        if self.say.try_send(body).is_err() {
            tracing::warn!("a record about this node is left out: too many wait");
        }
    }

    /// Whether the id is this process's, as far as known.
    pub fn holds(&self) -> watch::Receiver<Option<bool>> {
        self.holds.subscribe()
    }
}

/// Starts the task that appends what this node has to say of itself.
pub(super) fn start(shared: &Arc<Shared>) -> Task {
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        let Some(mut said) = shared.nodes.said.lock().take() else { return };
        while let Some(body) = said.recv().await {
            // An unknown outcome is no matter: saying it twice means the same.
            while let Err(error) = append(&shared, body.clone()).await {
                tracing::warn!(%error, "a record about this node could not be appended");
                shared.env.clock.sleep(Duration::from_secs(1)).await;
                if shared.stopped.borrow().is_some() {
                    return;
                }
            }
        }
    });
    env.rt.spawn("nodes", task)
}

async fn append(shared: &Shared, body: Body) -> Result<(), AppendError> {
    // Told apart by what it says, so it needs no number.
    let id = RecordId { writer: shared.nodes.process, ..RecordId::default() };
    let record = Record::of_the_store(id, body);
    let permit = shared.log.admit(shared.id, record.bytes_estimate()).await?;
    shared.log.append(permit, record).await
}

/// Claims this node's id; gives whether it is this process's.
pub(super) async fn claim(shared: &Arc<Shared>) -> bool {
    let Some(node) = shared.nodes.node else { return true };
    let claim = |stage| Body::Claim { node: node.id, process: shared.nodes.process, stage };
    shared.nodes.say(claim(Stage::Claim));
    let mut holds = shared.nodes.holds();
    if node.held_before {
        return holds.borrow().unwrap_or(true);
    }
    let clock = shared.env.clock.as_ref();
    let objected = holds.wait_for(Option::is_some);
    if timeout(clock, OBJECTION_WAIT, objected).await.is_none() {
        shared.nodes.say(claim(Stage::Confirm));
    }
    let settled = shared.nodes.holds().wait_for(Option::is_some).await.map(|holds| *holds);
    settled.ok().flatten().unwrap_or(false)
}

/// The fold has met a record about a node's id.
pub(super) fn take_claim(shared: &Shared, node: NodeId, process: WriterId, stage: Stage) {
    let step = match shared.nodes.claims.lock().as_mut() {
        // What is replayed has been settled long ago.
        Some(claims) if *shared.replayed.borrow() => claims.take(node, process, stage),
        _ => return,
    };
    match step {
        Step::Nothing => {}
        Step::Object(claimant) => {
            tracing::error!(%node, "another process claims this node's id");
            shared.nodes.say(Body::Claim { node, process: claimant, stage: Stage::Object });
        }
        Step::Holds => drop(shared.nodes.holds.send_replace(Some(true))),
        Step::GivesUp => {
            tracing::error!(%node, "this node's id is another process's: stopping");
            shared.nodes.holds.send_replace(Some(false));
        }
    }
}

/// A cut has been published here: tells the others its digest.
pub(crate) fn publish_digest(shared: &Shared, cut: CutNumber, digest: [u8; 32]) {
    let Some(node) = shared.nodes.node else { return };
    let verdict = shared.nodes.digests.lock().own(cut, digest);
    judge(shared, cut, &verdict);
    shared.nodes.say(Body::Digest(Digest { node: node.id, cut, digest }));
}

/// The fold has met a digest.
pub(super) fn take_digest(shared: &Shared, digest: &Digest) {
    // One's own is known better than it can be read.
    if shared.nodes.node.is_none_or(|node| node.id == digest.node) {
        return;
    }
    let verdict = shared.nodes.digests.lock().take(digest);
    judge(shared, digest.cut, &verdict);
}

fn judge(shared: &Shared, cut: CutNumber, verdict: &Verdict) {
    match verdict {
        Verdict::Agrees => {}
        Verdict::Split(others) => {
            shared.counters.digest_splits.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tracing::error!(%cut, ?others, partition = %shared.id, "digests of this cut differ, and nobody can tell which is right");
        }
        Verdict::Outvoted(others) => {
            let reason = format!(
                "this node's copy of partition {} differs from the others' at cut {cut} and serves nothing: remove its data directory and start it again, it will be made anew from the log",
                shared.id
            );
            tracing::error!(%cut, ?others, reason);
            shared.quarantine(reason);
        }
    }
}
