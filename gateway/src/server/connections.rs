//! The bounds on the number of connections, and the choice of a connection that is closed for a new one.
//!
//! Each connection takes a file handle and memory, and the engine needs handles, too. Therefore each listener has
//! a bound on all its connections and a bound on those of one address. A new connection at a bound is not simply
//! refused, because then a client with many silent connections could exclude all others: an inactive connection
//! is closed instead. The candidates are, in this order:
//!
//! 1. connections between requests, without a request with valid credentials so far (silent, with an incomplete
//!    head, or refused), that are older than 500 ms; the one that has been between requests for longest first;
//! 2. connections between requests for 3 s or more that have sent a request with valid credentials, and
//!    connections within a request whose client has neither sent nor received 4 KiB in 500 ms of waiting for it;
//!    the one that has been inactive for longest first;
//! 3. connections as in 1, of less than 500 ms.
//!
//! A request that makes progress, or that waits for this server, is never closed. Without a candidate the new
//! connection waits for at most 1.5 s at the listener's bound, or not at all at the address's, and is then refused. New
//! connections wait beside each other, and the listener accepts others meanwhile. The number of those that wait is
//! bounded, because each has a file handle; beyond it new connections are refused at once.
//!
//! A request costs a few writes to the state of its own connection and takes no lock. Only a new connection at a
//! bound searches all connections for a candidate.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The number of bytes after which a request has made progress.
const STEP_BYTES: u64 = 4 << 10;
/// The wait for a client since the last progress, in milliseconds, after which its request may be closed.
const STALLED_MS: u64 = 500;
/// The time of a new connection for its first request, in milliseconds. Before, other candidates are closed first.
const HEAD_MS: u64 = 500;
/// The time between requests, in milliseconds, after which a connection that has sent valid requests may be closed.
const IDLE_MS: u64 = 3000;
/// The longest wait of a new connection for a place.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The interval of the search for a candidate while a new connection waits.
const LOOK: Duration = Duration::from_millis(50);

/// The bounds on the connections of one listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The largest number of connections of all addresses together.
    pub all: usize,
    /// The largest number of connections of one address.
    pub per_address: usize,
    /// True if loopback addresses have no bound of their own, because a TLS proxy on this machine forwards all clients
    /// from there.
    pub spares_loopback: bool,
}

impl ConnectionLimits {
    /// The largest number of connections that have a handle in addition to `all`, because they are being closed for others
    /// or wait for a place: an eighth of it, but at least 4 and at most 64.
    pub fn leaving(&self) -> usize {
        (self.all / 8).clamp(4, 64)
    }

    /// The largest number of new connections that wait for a place: half of [`Self::leaving`]. The other half must
    /// remain for connections that are being closed, because no place becomes free without them.
    pub fn waiting(&self) -> usize {
        self.leaving() / 2
    }
}

/// The state of one connection, shared by its own task, the requests on it and the search for a candidate.
pub struct ConnectionHandle {
    id: u64,
    peer: SocketAddr,
    started: Instant,
    is_proven: AtomicBool,
    /// The number of requests that have begun.
    requests: AtomicUsize,
    /// Notified when the connection must close for another.
    ends: Notify,
    /// Bytes since the last progress.
    moved: AtomicU64,
    /// Milliseconds of waiting for the client since the last progress, without a wait that has not ended.
    waited: AtomicU64,
    /// The begin of the current wait for the client in milliseconds, plus 1; 0 without a wait.
    waits_since: AtomicU64,
    /// True if the last request announced a body whose end has not been read.
    owes_body: AtomicBool,
    /// The number of the last request in whose head a content length was seen.
    lengths_at: AtomicUsize,
    /// True if bytes have arrived since the last request ended: a part of the next head.
    has_part: AtomicBool,
    /// The begin of the time between requests in milliseconds, plus 1; 0 while a request is under way.
    between_since: AtomicU64,
}

impl ConnectionHandle {
    /// The address and port of the peer. For a connection through a proxy these are the proxy's.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The number of requests that have begun on this connection, the one under way included. Never decreases.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    /// Records that a request with valid credentials has arrived. Called after a signature was verified, and on the
    /// admin address after a response of success. Such a connection is closed for others only after a longer time.
    pub fn prove(&self) {
        self.is_proven.store(true, Ordering::Relaxed);
    }

    /// Records that the body of the current request has been read to its end. Must be called by every reader of
    /// bodies, otherwise the connection is closed after an error response.
    pub fn body_ended(&self) {
        self.owes_body.store(false, Ordering::Relaxed);
    }

    /// Returns true if the client may still send bytes that no request will read: the rest of a body, or a part of a
    /// head. Before the socket is closed these bytes must be drained.
    pub fn owes(&self) -> bool {
        self.owes_body() || self.has_part.load(Ordering::Relaxed)
    }

    /// Returns true if the body of the last request has not been read to its end. After an error response the
    /// connection must be closed then.
    pub fn owes_body(&self) -> bool {
        self.owes_body.load(Ordering::Relaxed)
    }

    /// Waits until this connection must close for another. The future may be dropped and called again without losing
    /// the notification.
    pub async fn displaced(&self) {
        self.ends.notified().await;
    }

    /// Returns true while no request is under way.
    pub fn is_between(&self) -> bool {
        self.between_since.load(Ordering::Relaxed) > 0
    }

    /// Records that the head of the next request has a content length.
    pub fn saw_length(&self) {
        self.lengths_at.store(self.requests() + 1, Ordering::Relaxed);
    }

    /// Returns true if a content length was seen in the head of the request that began last. May be false for a head that
    /// came before the request before had ended.
    pub fn has_length(&self) -> bool {
        self.lengths_at.load(Ordering::Relaxed) == self.requests()
    }

    /// Records that bytes were received. Between requests they count as a part of the next head.
    pub fn received(&self, bytes: usize) {
        if bytes > 0 && self.is_between() {
            self.has_part.store(true, Ordering::Relaxed);
        }
        self.moved(bytes);
    }

    /// Records that bytes were received or sent. After 4 KiB the request has made progress, and the wait for the client
    /// counts from 0 again.
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

    /// Records that the server waits for the client, until [`ConnectionHandle::came`]. A second call before that has no
    /// effect.
    pub fn waits(&self) {
        if self.waits_since.load(Ordering::Relaxed) == 0 {
            self.waits_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    /// Records that the server no longer waits for the client, and adds the time of the wait. Without a wait the call
    /// has no effect.
    pub fn came(&self) {
        let since = self.waits_since.swap(0, Ordering::Relaxed);
        if since > 0 {
            let waited = (self.now() + 1).saturating_sub(since);
            self.waited.fetch_add(waited, Ordering::Relaxed);
        }
    }

    /// Milliseconds of waiting for the client since the last progress; `None` if the server does not wait for it now.
    fn stalled(&self, now: u64) -> Option<u64> {
        let since = self.waits_since.load(Ordering::Relaxed);
        let waits = (now + 1).saturating_sub(since);
        (since > 0).then(|| self.waited.load(Ordering::Relaxed) + waits)
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Milliseconds since the last request ended; `None` while a request is under way.
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
    /// The number of connections that were asked to close for others and are still open.
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

    /// Chooses the connection that is closed for another, of one address or of all, as the module describes.
    fn victim(&self, address: Option<IpAddr>, now: u64) -> Option<u64> {
        // The best candidates so far, with their inactive time in milliseconds.
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
                // The end of the last response may still be on its way to a client that receives it.
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

/// The bound at which a new connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPlaceReason {
    /// The bound on all connections of the listener.
    All,
    /// The bound on the connections of the client's address.
    Address,
}

/// The open connections of one listener, with their bounds and counters.
pub struct ConnectionTable {
    /// The name of the listener, in metrics and log lines.
    pub name: &'static str,
    limits: ConnectionLimits,
    started: Instant,
    open: Mutex<OpenConnections>,
    /// Notified when a place may have become free.
    left: Notify,
    /// The number of new connections that wait for a place. Read without the lock at the end of each request.
    waiting: AtomicUsize,
    displaced: AtomicU64,
    refused: AtomicU64,
}

impl ConnectionTable {
    /// Makes a table without connections. `name` must differ between listeners, because metrics contain it.
    pub fn new(name: &'static str, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            name,
            limits,
            started: Instant::now(),
            open: Mutex::default(),
            left: Notify::new(),
            waiting: AtomicUsize::new(0),
            displaced: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// The number of open connections, and since the start the numbers of those that were closed for others and of
    /// those that were refused, in this order.
    pub fn counts(&self) -> (usize, u64, u64) {
        let open = self.open.lock().all.len();
        (open, self.displaced.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Finds a place for a new connection, and closes another one for it at a bound. Never waits: without a candidate
    /// the new connection may wait in a task of its own, or is refused.
    pub fn arrive(self: &Arc<Self>, peer: SocketAddr) -> ConnectionArrival {
        let full = match self.try_admit(peer, self.now()) {
            Ok(slot) => return ConnectionArrival::Placed(slot),
            Err(full) => full,
        };
        let one_more = |waiting| (waiting < self.limits.waiting()).then_some(waiting + 1);
        let may_wait = full == NoPlaceReason::All
            && self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok();
        if may_wait {
            return ConnectionArrival::Waits(WaitingConnection { connections: self.clone(), peer });
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        ConnectionArrival::Refused(full)
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
            let waiting = self.waiting.load(Ordering::Relaxed);
            if open.leaving + waiting >= self.limits.leaving() {
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
            requests: AtomicUsize::new(0),
            ends: Notify::new(),
            moved: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
            owes_body: AtomicBool::new(false),
            lengths_at: AtomicUsize::new(0),
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
        // A new connection that is missed here repeats its search after `LOOK`.
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.left.notify_one();
        }
    }
}

/// The fate of a new connection.
pub enum ConnectionArrival {
    /// The connection has a place.
    Placed(ConnectionSlot),
    /// The connection may wait for a place.
    Waits(WaitingConnection),
    /// The connection is refused.
    Refused(NoPlaceReason),
}

/// The permission of a new connection to wait for a place, given back when this is dropped.
pub struct WaitingConnection {
    connections: Arc<ConnectionTable>,
    peer: SocketAddr,
}

impl WaitingConnection {
    /// Waits at most 1.5 s for a place. Fails with the bound at which there is none. The permission stays with the caller,
    /// who may need it until the refusal has been received. The future may be dropped.
    pub async fn wait(&self) -> Result<ConnectionSlot, NoPlaceReason> {
        let connections = &self.connections;
        let until = Instant::now() + PATIENCE;
        loop {
            // A connection may end, or become a candidate until the next search.
            let _ = tokio::time::timeout(LOOK, connections.left.notified()).await;
            let full = match connections.try_admit(self.peer, connections.now()) {
                Ok(slot) => return Ok(slot),
                Err(full) => full,
            };
            if full == NoPlaceReason::Address || Instant::now() >= until {
                connections.refused.fetch_add(1, Ordering::Relaxed);
                return Err(full);
            }
        }
    }
}

impl Drop for WaitingConnection {
    fn drop(&mut self) {
        self.connections.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of a connection in its table, freed when this is dropped. Must be dropped after the socket.
pub struct ConnectionSlot {
    connections: Arc<ConnectionTable>,
    connection: Arc<ConnectionHandle>,
}

impl ConnectionSlot {
    /// The state of the connection that has the place, for its task and its requests.
    pub fn connection(&self) -> &Arc<ConnectionHandle> {
        &self.connection
    }

    /// Records that a request begins. The request is under way until the guard is dropped, which must be after the
    /// body of the response.
    pub fn begin(&self, has_body: bool) -> RequestGuard {
        let connection = &self.connection;
        connection.requests.fetch_add(1, Ordering::Relaxed);
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

/// Marks a request as under way until it is dropped.
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
