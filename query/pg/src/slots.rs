//! Slots for connections: how many are open, how many from one address, how many have not logged in.
//!
//! A connection that has not logged in needs no secret, so such connections have slots of their own. When these
//! are full, the address with most of them loses its oldest: silent connections are closed in favour of one
//! that may log in.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The numbers of slots.
#[derive(Clone, Copy, Debug)]
struct SlotLimits {
    /// Connections that have logged in.
    sessions: usize,
    /// Connections that have logged in, from one address: one client machine must not exclude all others.
    sessions_each: usize,
    /// Connections that have not logged in.
    logins: usize,
}

impl SlotLimits {
    /// Divides the connections: one sixth for logins, the rest for sessions, of which one address may have four
    /// fifths.
    fn of(connections: usize) -> Self {
        let logins = (connections / 6).max(1);
        let sessions = connections.saturating_sub(logins).max(1);
        Self { sessions, sessions_each: (sessions - sessions / 5).max(1), logins }
    }
}

/// All slots of the server.
pub struct ConnectionSlots {
    bounds: SlotLimits,
    state: Mutex<SlotState>,
}

/// The slots in use.
#[derive(Default)]
struct SlotState {
    next: u64,
    /// Connections that have not logged in, oldest first, each with the signal that closes it.
    logins: BTreeMap<u64, (IpAddr, Arc<Notify>)>,
    /// The number of sessions of each address.
    sessions: HashMap<IpAddr, usize>,
}

/// Returns the address under which a connection is counted. One machine usually has an IPv6 network of 64 bits,
/// so the network is counted.
fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

impl SlotState {
    /// Closes the oldest connection of the address that has most connections without a login.
    fn evict(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (address, _) in self.logins.values() {
            *counts.entry(*address).or_default() += 1;
        }
        // The address decides between equal counts, so that the choice does not depend on the order of the map.
        let Some((most, _)) = counts.into_iter().max_by_key(|(address, count)| (*count, *address))
        else {
            return;
        };
        let oldest = self.logins.iter().find(|(_, (address, _))| *address == most);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some((_, ended)) = self.logins.remove(&id)
        {
            ended.notify_one();
        }
    }
}

impl ConnectionSlots {
    /// Makes slots for `connections` connections, all kinds together, never less than one of each kind.
    pub fn new(connections: usize) -> Self {
        Self { bounds: SlotLimits::of(connections), state: Mutex::default() }
    }

    /// Takes a slot for a connection that has not logged in. Never fails and never waits: if no slot is free,
    /// another connection loses its own, see [`ConnectionSlot::is_lost`].
    pub fn enter(self: &Arc<Self>, address: IpAddr) -> ConnectionSlot {
        let address = counted(address);
        let mut state = self.state.lock();
        if state.logins.len() >= self.bounds.logins {
            state.evict();
        }
        let id = state.next;
        state.next += 1;
        let ended = Arc::new(Notify::new());
        state.logins.insert(id, (address, ended.clone()));
        ConnectionSlot { places: self.clone(), id, address, ended, is_session: false }
    }
}

/// The slot of a connection, which is free again when this value is dropped.
pub struct ConnectionSlot {
    places: Arc<ConnectionSlots>,
    id: u64,
    address: IpAddr,
    ended: Arc<Notify>,
    is_session: bool,
}

impl ConnectionSlot {
    /// Waits until the slot was given to another connection, before the login; otherwise without end. Cancel
    /// safe.
    pub async fn is_lost(&self) {
        self.ended.notified().await;
    }

    /// Exchanges the slot for one of a session. Returns false, and the connection must be closed, if no such
    /// slot is free, if the address has too many, or if the slot was lost before.
    pub fn log_in(&mut self) -> bool {
        let bounds = self.places.bounds;
        let mut state = self.places.state.lock();
        // A slot that was lost in the meantime must not become a session.
        let is_there = state.logins.remove(&self.id).is_some();
        let all: usize = state.sessions.values().sum();
        let own = state.sessions.get(&self.address).copied().unwrap_or(0);
        self.is_session = is_there && all < bounds.sessions && own < bounds.sessions_each;
        if self.is_session {
            *state.sessions.entry(self.address).or_default() += 1;
        }
        self.is_session
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        state.logins.remove(&self.id);
        if !self.is_session {
            return;
        }
        if let Some(count) = state.sessions.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                state.sessions.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_lost(place: &ConnectionSlot) -> bool {
        place.is_lost().now_or_never().is_some()
    }

    #[test]
    fn silent_connections_give_way() {
        let places = Arc::new(ConnectionSlots::new(240));
        let mut other = places.enter(address(2));
        let silent: Vec<ConnectionSlot> =
            (0..places.bounds.logins - 1).map(|_| places.enter(address(1))).collect();
        assert!(silent.iter().chain([&other]).all(|place| !is_lost(place)));
        let mut late = places.enter(address(1));
        assert!(is_lost(&silent[0]), "the oldest of who has most");
        assert!(silent[1..].iter().chain([&other, &late]).all(|place| !is_lost(place)));
        assert!(other.log_in() && late.log_in());
        drop((silent, other, late));
        let state = places.state.lock();
        assert!(state.logins.is_empty() && state.sessions.is_empty());
    }

    #[test]
    fn one_address_does_not_have_all_places() {
        let places = Arc::new(ConnectionSlots::new(240));
        let SlotLimits { sessions, sessions_each, .. } = places.bounds;
        let log_in = |last| {
            let mut place = places.enter(address(last));
            place.log_in().then_some(place)
        };
        let first: Vec<ConnectionSlot> = (0..sessions).map_while(|_| log_in(1)).collect();
        assert_eq!(first.len(), sessions_each);
        let second: Vec<ConnectionSlot> = (0..sessions).map_while(|_| log_in(2)).collect();
        assert_eq!(second.len(), sessions - sessions_each);
        drop(first);
        assert!(log_in(1).is_some());
    }

    #[test]
    fn few_places_are_divided_too() {
        for (connections, wanted) in [(240, (200, 160, 40)), (37, (31, 25, 6)), (1, (1, 1, 1))] {
            let SlotLimits { sessions, sessions_each, logins } = SlotLimits::of(connections);
            assert_eq!((sessions, sessions_each, logins), wanted, "{connections}");
        }
    }

    #[test]
    fn networks_of_ipv6_are_counted_as_one() {
        let of = |text: &str| counted(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
