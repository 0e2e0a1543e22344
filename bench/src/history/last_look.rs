//! Reads every object and lists every bucket through every endpoint, after the clients have stopped.
//!
//! A write that was acknowledged and lost is found only if it is read. During a history chance decides which
//! objects are read, and where. At the end everything is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::caller::{Caller, CallerContext};
use super::choice::ObjectPlace;
use super::line::OperationEnding;

/// The most keys on a page.
const PAGE_KEYS: u32 = 1000;

/// One read: an object, or a bucket by its index.
enum LookResult {
    Object(ObjectPlace),
    Bucket(usize),
}

/// The list of reads, which all clients carry out together.
pub struct LastLook {
    /// The reads, each with the index of its endpoint.
    sights: Vec<(LookResult, usize)>,
    next: AtomicUsize,
    /// Endpoints without an answer to an earlier read, which are skipped: waiting for each of them every time
    /// would take hours.
    is_dead: Vec<AtomicBool>,
}

impl LastLook {
    /// Lists all reads: for each endpoint, all objects, then all buckets. Nothing is read before
    /// [`Self::take_part`].
    pub fn new(shared: &CallerContext) -> Arc<Self> {
        let places = shared.places.all();
        let endpoints = 0..shared.targets.len();
        let mut sights = Vec::new();
        for endpoint in endpoints.clone() {
            let objects = places.iter().cloned().map(LookResult::Object);
            let buckets = (0..shared.buckets.len()).map(LookResult::Bucket);
            sights.extend(objects.chain(buckets).map(|sight| (sight, endpoint)));
        }
        let is_dead = endpoints.map(|_| AtomicBool::new(false)).collect();
        Arc::new(Self { sights, next: AtomicUsize::new(0), is_dead })
    }

    /// Carries out reads that no other client has taken yet, until there are none, and records them.
    ///
    /// After the first read without an answer, all further reads through its endpoint are skipped. Fails only
    /// if the history file cannot be written.
    pub async fn take_part(&self, caller: &mut Caller) -> anyhow::Result<()> {
        loop {
            let next = self.next.fetch_add(1, Ordering::Relaxed);
            let Some((sight, endpoint)) = self.sights.get(next) else { return Ok(()) };
            let is_dead = &self.is_dead[*endpoint];
            if is_dead.load(Ordering::Relaxed) {
                continue;
            }
            let through = Some(*endpoint);
            let ending: OperationEnding = match sight {
                LookResult::Object(place) => caller.get(place, through).await?,
                LookResult::Bucket(bucket) => caller.list(*bucket, "", PAGE_KEYS, through).await?,
            };
            if ending.status.is_none() {
                is_dead.store(true, Ordering::Relaxed);
            }
        }
    }
}
