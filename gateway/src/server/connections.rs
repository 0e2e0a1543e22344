//! Connections: how many there may be, and which one makes room for another.
//!
//! Each connection takes a file handle and memory, and the engine needs handles, too. So there is a bound for
//! each listener, and one for each address. At the bound a newcomer is not simply refused, or whoever opens
//! connections and says nothing would keep everybody out: a connection that does nothing is closed for it.
//! In this order:
//!
//! 1. those between requests that never sent one with valid credentials (silent, half a head, refused), the
//!    one that has waited longest first, if it had the time to send one;
//! 2. those between requests that did, and those in the middle of a request whose client neither sends nor
//!    takes what it should: the one that has done nothing for longest first;
//! 3. those of the first kind that have only just come.
//!
//! A request that moves, or that waits for this server, is never cut off. When there is nobody to close, the
//! newcomer waits for a moment and is then refused.
//!
//! A request costs a few writes to its own connection and no lock. Who makes room is found by a look at all
//! connections, which only a newcomer at the bound has to pay.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes that show that a request moves.
const STEP_BYTES: u64 = 4 << 10;
/// A request is stalled, when places are short, after its client was waited for so long since the last step.
const STALLED_MS: u64 = 500;
/// A newcomer has so long for its first request; before, others that stall make room instead of it.
const HEAD_MS: u64 = 500;
/// A connection that has sent good requests is idle after so long.
const IDLE_MS: u64 = 3000;
/// A newcomer waits so long for a place.
const PATIENCE: Duration = Duration::from_millis(1500);
/// While newcomers wait, who has stalled by now is looked for this often.
const LOOK: Duration = Duration::from_millis(50);

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Of all addresses together.
    pub all: usize,
    /// Of one address.
    pub per_address: usize,
    /// Loopback is no one client's address: a TLS proxy brings everybody from there. Only `all` binds it.
    pub spares_loopback: bool,
}

impl ConnectionLimits {
    /// Connections that were told to end and are not gone yet: so many handles more are needed for a moment.
    pub fn leaving(&self) -> usize {
        (self.all / 8).clamp(4, 64)
    }
}

/// One connection, as its own task and the requests on it see it.
pub struct ConnectionHandle {
    id: u64,
    peer: SocketAddr,
    started: Instant,
    is_proven: AtomicBool,
    /// Set when it has to make room.
    ends: Notify,
    /// Bytes since the last step.
    moved: AtomicU64,
    /// Milliseconds that the client was waited for since the last step, without the wait that is under way.
    waited: AtomicU64,
    /// When the wait under way began, plus one; 0 for none.
    waits_since: AtomicU64,
    /// The request under way announced a body whose end has not been read.
    owes_body: AtomicBool,
    /// Bytes came since the last request: part of a head.
    has_part: AtomicBool,
    /// When it came to be between requests, in milliseconds plus one; 0 while a request is under way.
    between_since: AtomicU64,
}

impl ConnectionHandle {
    /// The client's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Notes that a request with valid credentials came.
    pub fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Notes that the body of the request under way has been read to its end.
    pub fn body_ended(&self) {
        self.owes_body.store(false, Ordering::Relaxed);
    }

    /// Tells that the client may still be sending something that nobody will read.
    pub fn owes(&self) -> bool {
        self.owes_body() || self.has_part.load(Ordering::Relaxed)
    }

    /// Tells that the body of the last request has not been read to its end.
    pub fn owes_body(&self) -> bool {
        self.owes_body.load(Ordering::Relaxed)
    }

    /// Waits until it has to make room.
    pub async fn displaced(&self) {
        self.ends.notified().await;
    }

    /// Notes that bytes came.
    pub fn received(&self, bytes: usize) {
        if bytes > 0 && self.between_since.load(Ordering::Relaxed) > 0 {
            self.has_part.store(true, Ordering::Relaxed);
        }
        self.moved(bytes);
    }

    /// Notes that bytes came or went.
    pub fn moved(&self, bytes: usize) {
        let sum = self.moved.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if sum >= STEP_BYTES {
            self.step();
        }
    }

    fn step(&self) {
        self.moved.store(0, Ordering::Relaxed);
        self.waited.store(0, Ordering::Relaxed);
        if self.waits_since.load(Ordering::Relaxed) > 0 {
            self.waits_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Notes that the client is waited for, until [`ConnectionHandle::came`].
    pub fn waits(&self) {
        if self.waits_since.load(Ordering::Relaxed) == 0 {
            self.waits_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Notes that the client is not waited for any more.
    pub fn came(&self) {
        let since = self.waits_since.swap(0, Ordering::Relaxed);
        if since > 0 {
            let waited = (self.now() + 1).saturating_sub(since);
            self.waited.fetch_add(waited, Ordering::Relaxed);
        }
    }

    /// Milliseconds that the client has been waited for since the last step; none when it is not waited for.
    fn stalled(&self, now: u64) -> Option<u64> {
        let since = self.waits_since.load(Ordering::Relaxed);
        let waits = (now + 1).saturating_sub(since);
        (since > 0).then(|| self.waited.load(Ordering::Relaxed) + waits)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Milliseconds that it has been between requests; none while one is under way.
    fn between(&self, now: u64) -> Option<u64> {
        let since = self.between_since.load(Ordering::Relaxed);
        (since > 0).then(|| (now + 1).saturating_sub(since))
    }
}

#[derive(Default)]
struct OpenConnections {
    next: u64,
    all: BTreeMap<u64, Arc<ConnectionHandle>>,
    by_address: HashMap<IpAddr, usize>,
    /// Told to end, not gone yet.
    leaving: usize,
}

impl OpenConnections {
    fn remove(&mut self, id: u64) -> Option<Arc<ConnectionHandle>> {
        let connection = self.all.remove(&id)?;
        let address = connection.peer.ip();
        if let Some(count) = self.by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(connection)
    }

    /// Chooses the connection that makes room, of one address or of all; see the module's description.
    fn victim(&self, address: Option<IpAddr>, now: u64) -> Option<u64> {
        // Each with the time that speaks against it, in milliseconds.
        let (mut unproven, mut idle_or_stalled) = (None, None);
        for (id, connection) in &self.all {
            if address.is_some_and(|ip| connection.peer.ip() != ip) {
                continue;
            }
            let stalled = connection.stalled(now);
            match connection.between(now) {
                None if stalled.is_some_and(|ms| ms >= STALLED_MS) => {
                    idle_or_stalled = idle_or_stalled.max(stalled.map(|ms| (ms, *id)));
                }
                // The last answer may still be on its way to a client that takes it.
                Some(_) if stalled.is_some_and(|ms| ms < STALLED_MS) => {}
                Some(age) if !connection.is_proven.load(Ordering::Relaxed) => {
                    unproven = unproven.max(Some((age, Reverse(*id))));
                }
                Some(age) if age >= IDLE_MS => {
                    idle_or_stalled = idle_or_stalled.max(Some((age, *id)));
                }
                _ => {}
            }
        }
        let had_time = unproven.filter(|(age, _)| *age >= HEAD_MS);
        let of = |(_, Reverse(id))| id;
        had_time.map(of).or(idle_or_stalled.map(|(_, id)| id)).or(unproven.map(of))
    }
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlaceReason {
    /// The listener's places are taken.
    All,
    /// The address's places are taken.
    Address,
}

/// The state that a listener's connections share.
pub struct ConnectionTable {
    /// Which listener's they are.
    pub name: &'static str,
    limits: ConnectionLimits,
    started: Instant,
    open: Mutex<OpenConnections>,
    /// A place may have become free.
    left: Notify,
    /// Newcomers that wait for a place.
    newcomers: AtomicUsize,
    displaced: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionTable {
    /// No connections yet.
    pub fn new(name: &'static str, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            name,
            limits,
            started: Instant::now(),
            open: Mutex::default(),
            left: Notify::new(),
            newcomers: AtomicUsize::new(0),
            displaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// How many are open, how many made room so far, and how many were refused.
    pub fn counts(&self) -> (usize, u64, u64) {
        let open = self.open.lock().all.len();
        (open, self.displaced.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Finds a place for a newcomer; waits for one if there is hope.
    pub async fn admit(
        self: &Arc<Self>,
        peer: SocketAddr,
    ) -> Result<ConnectionSlot, NoPlaceReason> {
        let until = Instant::now() + PATIENCE;
        loop {
            let full = match self.try_admit(peer, self.now()) {
                Ok(place) => return Ok(place),
                Err(full) => full,
            };
            if full == NoPlaceReason::Address || Instant::now() >= until {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(full);
            }
            // Somebody leaves, or has stalled for long enough when it is looked next.
            self.newcomers.fetch_add(1, Ordering::Relaxed);
            let _ = tokio::time::timeout(LOOK, self.left.notified()).await;
            self.newcomers.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn try_admit(
        self: &Arc<Self>,
        peer: SocketAddr,
        now: u64,
    ) -> Result<ConnectionSlot, NoPlaceReason> {
        let mut open = self.open.lock();
        let address = peer.ip();
        let of_address = open.by_address.get(&address).copied().unwrap_or(0);
        let is_spared = self.limits.spares_loopback && address.to_canonical().is_loopback();
        let is_short = if of_address >= self.limits.per_address && !is_spared {
            Some((Some(address), NoPlaceReason::Address))
        } else if open.all.len() >= self.limits.all {
            Some((None, NoPlaceReason::All))
        } else {
            None
        };
        if let Some((from, full)) = is_short {
            if open.leaving >= self.limits.leaving() {
                return Err(NoPlaceReason::All);
            }
            let victim = open.victim(from, now).and_then(|id| open.remove(id));
            let Some(victim) = victim else { return Err(full) };
            open.leaving += 1;
            self.displaced.fetch_add(1, Ordering::Relaxed);
            victim.ends.notify_one();
        }
        let id = open.next;
        open.next += 1;
        let connection = Arc::new(ConnectionHandle {
            id,
            peer,
            started: self.started,
            is_proven: AtomicBool::new(false),
            ends: Notify::new(),
            moved: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
            owes_body: AtomicBool::new(false),
            has_part: AtomicBool::new(false),
            between_since: AtomicU64::new(now + 1),
        });
        *open.by_address.entry(address).or_default() += 1;
        open.all.insert(id, connection.clone());
        drop(open);
        Ok(ConnectionSlot { connections: self.clone(), connection })
    }

    fn ends(&self, connection: &ConnectionHandle) {
        connection.between_since.store(self.now() + 1, Ordering::Relaxed);
        // One that is missed here is found by the next look.
        if self.newcomers.load(Ordering::Relaxed) > 0 {
            self.left.notify_one();
        }
    }
}

/// A connection's place, held until its socket is closed.
pub struct ConnectionSlot {
    connections: Arc<ConnectionTable>,
    connection: Arc<ConnectionHandle>,
}

impl ConnectionSlot {
    /// The connection that has it.
    pub fn connection(&self) -> &Arc<ConnectionHandle> {
        &self.connection
    }

    /// Notes that a request begins; it is under way until the answer has been handed over.
    pub fn begin(&self, has_body: bool) -> RequestGuard {
        let connection = &self.connection;
        connection.between_since.store(0, Ordering::Relaxed);
        connection.has_part.store(false, Ordering::Relaxed);
        connection.owes_body.store(has_body, Ordering::Relaxed);
        connection.step();
        RequestGuard { connections: self.connections.clone(), connection: connection.clone() }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock();
        if open.remove(self.connection.id).is_none() {
            open.leaving -= 1;
        }
        drop(open);
        self.connections.left.notify_one();
    }
}

/// A request under way.
pub struct RequestGuard {
    connections: Arc<ConnectionTable>,
    connection: Arc<ConnectionHandle>,
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.connections.ends(&self.connection);
    }
}

#[cfg(test)]
mod tests;
