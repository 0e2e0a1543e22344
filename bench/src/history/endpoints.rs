//! Chooses the endpoint of the next request.
//!
//! The choice is random, so that a read often uses another node than the write before it. Two rules limit the
//! effect of a faulty endpoint. An endpoint that hangs holds up a share of the clients, not all of them one
//! after the other. An endpoint that refuses connections rests for a moment, since otherwise all clients
//! would try it again as fast as it can refuse.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::dice::Dice;

/// The rest of an endpoint that refused a connection.
const REST: Duration = Duration::from_millis(250);
/// The clients that an endpoint may hold up beyond its share. With none, a client could only use the endpoint
/// that another client has just left.
const ROOM: usize = 2;

/// The state of all endpoints, shared by the clients.
pub struct Endpoints {
    /// The most clients that may wait for one endpoint.
    room: usize,
    states: Mutex<Vec<State>>,
}

/// The clients that wait for an endpoint, and the end of its rest.
#[derive(Clone, Copy)]
struct State {
    waiting: usize,
    rests_until: Option<Instant>,
}

impl Endpoints {
    /// Endpoints without any waiting client, for this many clients. Panics if `endpoints` is 0.
    pub fn new(endpoints: usize, clients: usize) -> Self {
        let states = vec![State { waiting: 0, rests_until: None }; endpoints];
        Self { room: clients.div_ceil(endpoints) + ROOM, states: Mutex::new(states) }
    }

    /// Takes a turn at a random endpoint that is not resting at `now` and has room; returns `None` only if
    /// there is none.
    ///
    /// Never waits. The turn ends when the result is dropped.
    pub fn take(self: &Arc<Self>, dice: &mut Dice, now: Instant) -> Option<EndpointTurn> {
        let mut states = self.states.lock().expect("choosing does not panic");
        let is_free = |state: &State| {
            state.waiting < self.room && state.rests_until.is_none_or(|until| until <= now)
        };
        let free: Vec<usize> =
            states.iter().enumerate().filter(|(_, s)| is_free(s)).map(|(index, _)| index).collect();
        if free.is_empty() {
            return None;
        }
        let index = *dice.one_of(&free);
        states[index].waiting += 1;
        Some(EndpointTurn { endpoints: self.clone(), index })
    }

    /// Takes a turn at a given endpoint, even if it is resting or has no room. Never waits.
    ///
    /// The turn ends when the result is dropped. Panics if there is no endpoint of this index.
    pub fn take_given(self: &Arc<Self>, index: usize) -> EndpointTurn {
        let mut states = self.states.lock().expect("choosing does not panic");
        states[index].waiting += 1;
        EndpointTurn { endpoints: self.clone(), index }
    }
}

/// A client's turn at an endpoint, which ends when the value is dropped.
pub struct EndpointTurn {
    endpoints: Arc<Endpoints>,
    /// The index of the endpoint.
    pub index: usize,
}

impl EndpointTurn {
    /// Lets the endpoint rest for 250 ms from `now` on: until then [`Endpoints::take`] does not return it.
    /// Only new turns are affected.
    pub fn rest(&self, now: Instant) {
        let mut states = self.endpoints.states.lock().expect("choosing does not panic");
        states[self.index].rests_until = Some(now + REST);
    }
}

impl Drop for EndpointTurn {
    fn drop(&mut self) {
        let mut states = self.endpoints.states.lock().expect("choosing does not panic");
        states[self.index].waiting -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_endpoints_are_asked() {
        let endpoints = Arc::new(Endpoints::new(3, 6));
        let mut dice = Dice::new(1);
        let mut asked = [0; 3];
        for _ in 0..300 {
            asked[endpoints.take(&mut dice, Instant::now()).unwrap().index] += 1;
        }
        assert!(asked.iter().all(|asked| *asked > 50), "{asked:?}");
    }

    #[test]
    fn an_endpoint_that_hangs_holds_up_a_share_of_the_clients() {
        let endpoints = Arc::new(Endpoints::new(3, 9));
        let (mut dice, now) = (Dice::new(1), Instant::now());
        let mut hanging = Vec::new();
        let mut served = 0;
        for _ in 0..300 {
            match endpoints.take(&mut dice, now).unwrap() {
                turn if turn.index == 0 => hanging.push(turn),
                _ => served += 1,
            }
        }
        assert_eq!((hanging.len(), served), (5, 295));
    }

    #[test]
    fn an_endpoint_that_refused_rests() {
        let endpoints = Arc::new(Endpoints::new(1, 1));
        let (mut dice, now) = (Dice::new(1), Instant::now());
        endpoints.take(&mut dice, now).unwrap().rest(now);
        assert!(endpoints.take(&mut dice, now).is_none());
        assert!(endpoints.take(&mut dice, now + REST).is_some());
    }
}
