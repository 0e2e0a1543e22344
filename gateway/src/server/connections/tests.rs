//! Who makes room for whom.

use super::*;

fn peer(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 5000))
}

fn connections(all: usize, per_address: usize) -> Arc<ConnectionTable> {
    ConnectionTable::new("test", ConnectionLimits { all, per_address, spares_loopback: true })
}

/// A connection told to end.
fn is_displaced(place: &ConnectionSlot) -> bool {
    !place.connections.open.lock().all.contains_key(&place.connection.id)
}

#[test]
fn who_has_said_nothing_for_longest_makes_room() {
    let all = connections(3, 3);
    let places: Vec<ConnectionSlot> =
        (0..3).map(|at| all.try_admit(peer(1), at).unwrap()).collect();
    let newcomer = all.try_admit(peer(2), 10).unwrap();
    let gone: Vec<bool> = places.iter().map(is_displaced).collect();
    assert_eq!(gone, [true, false, false]);
    assert!(!is_displaced(&newcomer));
    assert_eq!(all.counts(), (3, 1, 0));
    drop(places);
    assert_eq!(all.counts().0, 1);
    assert_eq!(all.open.lock().leaving, 0);
}

#[test]
fn one_that_sent_good_requests_stays_while_others_have_not() {
    let all = connections(2, 2);
    let good = all.try_admit(peer(1), 0).unwrap();
    let under_way = good.begin(false);
    good.connection().prove();
    drop(under_way);
    // A crowd that opens one after the other only ever displaces itself.
    let mut crowd = vec![all.try_admit(peer(2), 1).unwrap()];
    for at in 2..100 {
        crowd.push(all.try_admit(peer(2), at).unwrap());
        let former = crowd.remove(0);
        assert!(is_displaced(&former) && !is_displaced(&good), "{at}");
    }
    // Requests of others that do not stall leave only the idle one, once it has been idle for a while.
    let busy = crowd[0].begin(false);
    let now = all.now();
    assert_eq!(all.try_admit(peer(3), now).err(), Some(NoPlaceReason::All));
    let _third = all.try_admit(peer(3), now + IDLE_MS).unwrap();
    assert!(is_displaced(&good));
    drop(busy);
}

#[test]
fn a_request_is_cut_off_only_when_its_client_stalls() {
    let all = connections(3, 3);
    let places: Vec<ConnectionSlot> =
        (0..3).map(|at| all.try_admit(peer(1), at).unwrap()).collect();
    let _requests: Vec<RequestGuard> = places.iter().map(|place| place.begin(true)).collect();
    // The first is worked at, the second's client sends, the third's does not.
    places[1].connection().waits();
    places[2].connection().waits();
    let later = all.now() + STALLED_MS + 200;
    places[1].connection().moved(STEP_BYTES as usize);
    places[1].connection().waits_since.store(later, Ordering::Relaxed);
    let _newcomer = all.try_admit(peer(2), later).unwrap();
    let gone: Vec<bool> = places.iter().map(is_displaced).collect();
    assert_eq!(gone, [false, false, true]);
    let newcomer = _newcomer.begin(false);
    assert_eq!(all.try_admit(peer(2), later).err(), Some(NoPlaceReason::All), "nobody else stalls");
    drop(newcomer);
}

#[test]
fn newcomers_have_time_for_a_request_while_others_stall() {
    let all = connections(2, 2);
    let stalls = all.try_admit(peer(1), 0).unwrap();
    let _request = stalls.begin(true);
    stalls.connection().waits();
    let later = all.now() + STALLED_MS + HEAD_MS;
    let young = all.try_admit(peer(1), later - HEAD_MS + 1).unwrap();
    let _newcomer = all.try_admit(peer(2), later).unwrap();
    assert!(is_displaced(&stalls) && !is_displaced(&young));
    // With nobody else left, the older of the two goes.
    let _another = all.try_admit(peer(2), later).unwrap();
    assert!(is_displaced(&young) && !is_displaced(&_newcomer));
}

#[test]
fn drops_of_bytes_are_no_progress() {
    let all = connections(1, 1);
    let place = all.try_admit(peer(1), 0).unwrap();
    let _request = place.begin(true);
    let connection = place.connection();
    for _ in 0..10 {
        // Each wait is short, and one byte ends it.
        let began = all.now();
        connection.waits_since.store((began + 1).saturating_sub(100).max(1), Ordering::Relaxed);
        connection.moved(1);
        connection.came();
    }
    connection.waits();
    let stalled = connection.stalled(all.now()).unwrap();
    // The test may run in the first 100 ms of the clock: then the waits are shorter.
    connection.waited.store(stalled.max(900), Ordering::Relaxed);
    assert!(connection.stalled(all.now()).unwrap() >= STALLED_MS);
    connection.moved(STEP_BYTES as usize);
    assert!(connection.stalled(all.now()).unwrap() < STALLED_MS);
}

#[test]
fn an_address_has_a_bound_of_its_own() {
    let all = connections(10, 2);
    let first = all.try_admit(peer(1), 0).unwrap();
    let second = all.try_admit(peer(1), 1).unwrap();
    let other = all.try_admit(peer(2), 0).unwrap();
    let _third = all.try_admit(peer(1), 2).unwrap();
    assert!(is_displaced(&first) && !is_displaced(&second) && !is_displaced(&other));
    let requests = [second.begin(false), _third.begin(false)];
    assert_eq!(all.try_admit(peer(1), 3).err(), Some(NoPlaceReason::Address));
    assert!(all.try_admit(peer(3), 3).is_ok(), "others are not concerned");
    drop(requests);
}

#[test]
fn a_proxy_on_this_machine_is_not_one_client() {
    let all = connections(10, 2);
    let proxy = SocketAddr::from(([127, 0, 0, 1], 5000));
    let places: Vec<ConnectionSlot> = (0..10).map(|at| all.try_admit(proxy, at).unwrap()).collect();
    assert!(!places.iter().any(is_displaced));
    let _eleventh = all.try_admit(proxy, 20).unwrap();
    assert_eq!(places.iter().filter(|place| is_displaced(place)).count(), 1);
}

#[test]
fn few_at_a_time_are_told_to_leave() {
    let all = connections(100, 100);
    let places: Vec<ConnectionSlot> =
        (0..100).map(|at| all.try_admit(peer(1), at).unwrap()).collect();
    let mut newcomers = Vec::new();
    while let Ok(newcomer) = all.try_admit(peer(2), 200) {
        newcomers.push(newcomer);
    }
    // Sockets that are still open are not more than what is kept aside for them.
    assert_eq!(newcomers.len(), all.limits.leaving());
    drop(places);
    assert!(all.try_admit(peer(2), 200).is_ok());
}

#[tokio::test]
async fn some_wait_for_a_place_beside_each_other_and_others_are_refused_at_once() {
    let all = connections(32, 32);
    let places: Vec<ConnectionSlot> =
        (0..32).map(|at| all.try_admit(peer(1), at).unwrap()).collect();
    let _requests: Vec<RequestGuard> = places.iter().map(|place| place.begin(false)).collect();
    let mut waiting = Vec::new();
    let refused = loop {
        match all.arrive(peer(2)) {
            ConnectionArrival::Waits(newcomer) => waiting.push(newcomer),
            ConnectionArrival::Placed(_) => panic!("every place is taken by a request under way"),
            ConnectionArrival::Refused(full) => break full,
        }
    };
    assert_eq!((refused, waiting.len()), (NoPlaceReason::All, all.limits.waiting()));
    // The others end: all who wait get places, none behind the time of another.
    let ended = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        drop(places);
    };
    let began = Instant::now();
    let waits = futures::future::join_all(waiting.iter().map(WaitingConnection::wait));
    let (results, ()) = tokio::join!(waits, ended);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), waiting.len());
    drop((results, waiting));
    assert_eq!(all.waiting.load(Ordering::Relaxed), 0);
    assert_eq!(all.counts(), (0, 0, 1));
}

#[tokio::test]
async fn a_wait_for_a_place_ends() {
    let all = connections(1, 1);
    let place = all.try_admit(peer(1), 0).unwrap();
    let _request = place.begin(false);
    let ConnectionArrival::Waits(newcomer) = all.arrive(peer(2)) else { panic!("one may wait") };
    assert_eq!(newcomer.wait().await.err(), Some(NoPlaceReason::All));
    assert_eq!(all.counts(), (1, 0, 1));
}
