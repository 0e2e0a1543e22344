//! The last look: when the clients have stopped, every object is read and every bucket listed through
//! every endpoint.
//!
//! A write that was acknowledged and lost shows only if somebody looks. During a history chance decides
//! who looks where; at the end nothing is left to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::caller::{Caller, CallerContext};
use super::choice::ObjectPlace;
use super::line::OperationEnding;

/// How many keys a page has.
const PAGE_KEYS: u32 = 1000;

enum LookResult {
    Object(ObjectPlace),
    Bucket(usize),
}

/// What is looked at, by all clients together.
pub struct LastLook {
    /// What, and through which endpoint.
    sights: Vec<(LookResult, usize)>,
    next: AtomicUsize,
    /// Endpoints that have given no answer: to wait for them again and again would take hours.
    is_dead: Vec<AtomicBool>,
}

impl LastLook {
    /// All that there is to look at.
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

    /// Looks at what no other client has looked at yet, until there is nothing.
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
