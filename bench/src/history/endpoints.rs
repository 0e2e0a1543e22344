//! Which endpoint is asked next.
//!
//! At random, so that a read often goes through another node than the write before it. Two things are
//! kept from deciding everything: an endpoint that hangs holds up a share of the clients, not all of them
//! one after the other; and one that refuses connections is left alone for a moment, instead of being
//! asked by everybody as fast as it can refuse.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::dice::Dice;

/// How long an endpoint that refused is left alone.
const REST: Duration = Duration::from_millis(250);
/// An endpoint may hold up so many clients more than its share: with none, a client could only go where
/// one has just come from.
const ROOM: usize = 2;

/// The endpoints' state.
pub struct Endpoints {
    /// How many clients may wait for one endpoint.
    room: usize,
    states: Mutex<Vec<State>>,
}

#[derive(Clone, Copy)]
struct State {
    waiting: usize,
    rests_until: Option<Instant>,
}

impl Endpoints {
    /// Endpoints for so many clients.
    pub fn new(endpoints: usize, clients: usize) -> Self {
        let states = vec![State { waiting: 0, rests_until: None }; endpoints];
        Self { room: clients.div_ceil(endpoints) + ROOM, states: Mutex::new(states) }
    }

    /// Takes an endpoint, if there is one that is not resting and has room.
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

    /// Takes a given endpoint, whatever it does.
    pub fn take_given(self: &Arc<Self>, index: usize) -> EndpointTurn {
        let mut states = self.states.lock().expect("choosing does not panic");
        states[index].waiting += 1;
        EndpointTurn { endpoints: self.clone(), index }
    }
}

/// A client's turn at an endpoint; it ends when this is dropped.
pub struct EndpointTurn {
    endpoints: Arc<Endpoints>,
    /// The endpoint.
    pub index: usize,
}

impl EndpointTurn {
    /// Leaves the endpoint alone for a moment.
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
