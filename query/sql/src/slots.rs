//! Admission of queries: how many run at a time, how many wait, and a share of both for each user.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine::QueryCounters;
use crate::error::SqlError;

/// The slots of an engine.
pub struct QuerySlots {
    /// Slots of running queries.
    room: Arc<Semaphore>,
    /// The most running queries of one user: one less than all, if there is more than one slot.
    room_each: usize,
    /// The most waiting queries.
    waiting_max: usize,
    /// The most waiting queries of one user: a quarter stays for others.
    waiting_each: usize,
    counters: Arc<QueryCounters>,
    /// Users that have queries here now.
    users: Mutex<HashMap<String, UserShare>>,
}

/// The slots of one user, shared by all queries of the user.
struct UserShare {
    room: Arc<Semaphore>,
    /// Queries that wait.
    waiting: usize,
    /// Queries that wait or run.
    present: usize,
}

impl QuerySlots {
    /// Makes slots for `queries_max` running and `waiting_max` waiting queries. Every query counts as waiting
    /// until it has a slot, so 0 waiting queries would refuse all.
    pub fn new(queries_max: usize, waiting_max: usize, counters: Arc<QueryCounters>) -> Arc<Self> {
        Arc::new(Self {
            room: Arc::new(Semaphore::new(queries_max)),
            room_each: queries_max.saturating_sub(1).max(1),
            waiting_max,
            waiting_each: waiting_max - waiting_max / 4,
            counters,
            users: Mutex::default(),
        })
    }

    /// Admits a query to the waiting ones; [`QuerySlot::wait`] must follow. Never blocks.
    ///
    /// Errors: [`SqlError::Busy`] if too many queries wait, in all or of this user.
    pub fn line_up(self: &Arc<Self>, user: &str) -> Result<QuerySlot, SqlError> {
        let mut users = self.users.lock();
        let waiting = self.counters.waiting.load(Ordering::Relaxed);
        let share = users.get(user);
        let has_room = share.is_none_or(|share| share.waiting < self.waiting_each);
        if waiting >= self.waiting_max || !has_room {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
            return Err(SqlError::Busy);
        }
        let share = users.entry(user.to_owned()).or_insert_with(|| UserShare {
            room: Arc::new(Semaphore::new(self.room_each)),
            waiting: 0,
            present: 0,
        });
        share.waiting += 1;
        share.present += 1;
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let own = share.room.clone();
        let (places, user) = (self.clone(), user.to_owned());
        Ok(QuerySlot { places, user, own, is_waiting: true, held: None })
    }
}

/// A query's slot, from its admission until it is dropped, which frees the slot.
pub struct QuerySlot {
    places: Arc<QuerySlots>,
    user: String,
    own: Arc<Semaphore>,
    is_waiting: bool,
    held: Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)>,
}

impl QuerySlot {
    /// Waits until the query may run: first for one of the user's own slots, then for one of all, each in order
    /// of arrival. A user with many queries therefore waits behind these and not in front of other users.
    ///
    /// Has no deadline: the caller must set one. A dropped call loses its turn and leaves the query waiting.
    pub async fn wait(&mut self) {
        // The semaphores are never closed, so both succeed.
        let (Ok(own), Ok(room)) = (
            self.own.clone().acquire_owned().await,
            self.places.room.clone().acquire_owned().await,
        ) else {
            return;
        };
        self.held = Some((own, room));
        let places = self.places.clone();
        self.stop_waiting(&mut places.users.lock());
    }

    /// Counts the query as not waiting any more, once.
    fn stop_waiting(&mut self, users: &mut HashMap<String, UserShare>) {
        if std::mem::take(&mut self.is_waiting) {
            self.places.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Some(share) = users.get_mut(&self.user) {
                share.waiting -= 1;
            }
        }
    }
}

impl Drop for QuerySlot {
    fn drop(&mut self) {
        let places = self.places.clone();
        let mut users = places.users.lock();
        self.stop_waiting(&mut users);
        if let Some(share) = users.get_mut(&self.user) {
            share.present -= 1;
            if share.present == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn running(place: &mut QuerySlot) -> bool {
        place.wait().now_or_never().is_some()
    }

    #[test]
    fn one_place_is_left_for_others() {
        let places = QuerySlots::new(8, 64, Arc::default());
        let mut alices: Vec<QuerySlot> =
            (0..48).map(|_| places.line_up("alice").expect("a place")).collect();
        assert!(places.line_up("alice").is_err(), "a quarter of those that wait is left, too");
        let under_way = alices.iter_mut().map(running).filter(|is_running| *is_running).count();
        assert_eq!(under_way, 7);
        let mut bobs = places.line_up("bob").expect("a place");
        assert!(running(&mut bobs));
        assert!(!running(&mut places.line_up("carol").expect("a place in the line")));
        drop(alices);
        drop(bobs);
        assert!(places.users.lock().is_empty(), "nobody is remembered");
        assert_eq!(places.counters.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(places.room.available_permits(), 8);
    }

    #[test]
    fn a_single_place_is_anybodys() {
        let places = QuerySlots::new(1, 4, Arc::default());
        let mut first = places.line_up("alice").expect("a place");
        assert!(running(&mut first));
        let mut second = places.line_up("bob").expect("a place");
        assert!(!running(&mut second));
        drop(first);
        assert!(running(&mut second));
    }
}
