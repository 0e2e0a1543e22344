//! Who comes to lead, and what becomes of what is in flight meanwhile.

use super::*;

/// Brokers whose followers fetch one message at a time, so that they are behind for a while.
fn slow_followers(sim: &Sim) -> SimBrokers {
    let knobs = BrokerConfig {
        hop_max: Duration::from_millis(40),
        fetch_messages_max: 1,
        ..BrokerConfig::calm()
    };
    SimBrokers::with_knobs(sim, 1, knobs)
}

/// Who has missed something may follow a new leader, which does not know yet how much is committed. It
/// must not count as in sync before it has caught up, or it would come to lead without what it missed.
#[test]
fn who_has_not_caught_up_does_not_come_to_lead() {
    for seed in 0..seeds(300) {
        let sim = Sim::new(seed);
        let brokers = slow_followers(&sim);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            producer.send(PARTITION, value("one")).await.expect("acknowledged");
            let leader = brokers.leader(PARTITION).expect("led");
            let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
            // Committed as soon as the third does not count any more, and then nobody hears of it.
            brokers.crash(third);
            let sent = ["two", "three"].map(|text| producer.send(PARTITION, value(text)));
            let outcomes = futures::future::join_all(sent).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            brokers.crash(leader);
            brokers.restart(third);
            while brokers.leader(PARTITION) != Some(second) {
                sim.sleep(SECOND / 100).await;
            }
            sim.sleep(Duration::from_millis(sim.random().below(150))).await;
            brokers.crash(second);
            brokers.restart(leader);
            sim.sleep(SECOND * 10).await;
            brokers.restart(second);
            sim.sleep(SECOND * 10).await;
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        assert_eq!(run, Ok(["one", "two", "three"].map(str::to_owned).to_vec()), "seed {seed}");
    }
}

/// With one broker in sync a message would be acknowledged that one broker has.
#[test]
fn a_leader_that_is_alone_in_sync_acknowledges_nothing() {
    for seed in 0..seeds(50) {
        let sim = Sim::new(seed);
        let brokers = slow_followers(&sim);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            let leader = brokers.leader(PARTITION).expect("led");
            let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
            brokers.crash(third);
            let sent = (0..300).map(|_| producer.send(PARTITION, value("before")));
            let outcomes = futures::future::join_all(sent).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            brokers.crash(second);
            brokers.restart(third);
            // The second's session ends, and the third has not caught up.
            sim.sleep(SECOND * 3 + SECOND / 10).await;
            let mut sent = producer.send(PARTITION, value("alone"));
            assert_eq!(within(&sim, SECOND, &mut sent).await, None);
            assert_eq!(brokers.leader(PARTITION), Some(leader));
            sent.await
        });
        assert_eq!(run, Ok(Ok(())), "seed {seed}");
    }
}

/// A new leader may refuse a producer's first request, because it does not lead yet, and take the second.
/// The first must not then be taken for a duplicate: it would be acknowledged and be nowhere.
#[test]
fn the_first_requests_of_producers_survive_an_election() {
    for seed in 0..seeds(100) {
        let sim = Sim::new(seed);
        let knobs = BrokerConfig {
            hop_max: Duration::from_millis(40),
            decision_max: Duration::from_millis(300),
            request_messages_max: 1,
            ..BrokerConfig::calm()
        };
        let brokers = SimBrokers::with_knobs(&sim, 1, knobs);
        let run = sim.block_on_cluster(async {
            brokers.crash(brokers.leader(PARTITION).expect("led"));
            sim.sleep(SECOND * 2).await;
            let mut waiting = Vec::new();
            for number in 0..60 {
                let producer = producer(&brokers, 0, number);
                let names = (0..5).map(|message| format!("{number} {message}"));
                let send = |name: String| (producer.send(PARTITION, value(&name)), name);
                let sent: Vec<_> = names.map(send).collect();
                waiting.push(async move {
                    let _alive = producer;
                    let outcomes = sent
                        .into_iter()
                        .map(|(sent, name)| async { sent.await.is_ok().then_some(name) });
                    futures::future::join_all(outcomes).await
                });
                sim.sleep(SECOND / 40).await;
            }
            let acknowledged = futures::future::join_all(waiting).await;
            sim.sleep(SECOND * 5).await;
            let found = texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await);
            for name in acknowledged.iter().flatten().flatten() {
                assert!(found.contains(name), "seed {seed}: {name} is lost");
            }
            let of = |number: u32| -> Vec<&String> {
                found.iter().filter(|name| name.starts_with(&format!("{number} "))).collect()
            };
            for number in 0..60 {
                assert!(of(number).is_sorted_by(|a, b| a < b), "seed {seed}: {:?}", of(number));
            }
            acknowledged.iter().flatten().flatten().count()
        });
        assert!(run.expect("a run") > 200, "seed {seed}");
    }
}

/// What a cut took from a connection took everything behind with it, so that it can be sent again in order.
#[test]
fn a_short_cut_leaves_nothing_in_doubt() {
    for seed in 0..seeds(100) {
        let sim = Sim::new(seed);
        let knobs = BrokerConfig {
            hop_max: Duration::from_millis(40),
            request_messages_max: 1,
            ..BrokerConfig::calm()
        };
        let brokers = SimBrokers::with_knobs(&sim, 1, knobs);
        let run = sim.block_on_cluster(async {
            let mut waiting = Vec::new();
            for _ in 0..20 {
                let producer = producer(&brokers, 0, 0);
                let sent: Vec<_> =
                    (0..5).map(|_| producer.send(PARTITION, value("message"))).collect();
                waiting.push(async move {
                    let _alive = producer;
                    futures::future::join_all(sent).await
                });
                sim.sleep(Duration::from_millis(sim.random().below(100))).await;
                brokers.isolate_node(0);
                sim.sleep(Duration::from_millis(sim.random().below(20))).await;
                brokers.heal();
            }
            futures::future::join_all(waiting).await
        });
        let outcomes: Vec<_> = run.expect("a run").into_iter().flatten().collect();
        assert!(outcomes.iter().all(Result::is_ok), "seed {seed}: {outcomes:?}");
    }
}

#[test]
fn a_partition_without_enough_brokers_in_sync_takes_nothing_and_loses_nothing() {
    for seed in 0..seeds(50) {
        let (sim, brokers) = calm(seed);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            let leader = brokers.leader(PARTITION).expect("led");
            let (second, third) = ((leader + 1) % 3, (leader + 2) % 3);
            producer.send(PARTITION, value("one")).await.expect("acknowledged");
            brokers.crash(third);
            // Until the third is out of sync nothing is committed, and then it is without it.
            producer.send(PARTITION, value("two")).await.expect("acknowledged");
            brokers.crash(leader);
            brokers.crash(second);
            brokers.restart(third);
            sim.sleep(SECOND * 20).await;
            let taken = within(&sim, SECOND * 20, producer.send(PARTITION, value("three"))).await;
            assert_eq!(taken, None, "who has not everything does not lead");
            brokers.mend();
            sim.sleep(SECOND * 10).await;
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        assert_eq!(run, Ok(["one", "two", "three"].map(str::to_owned).to_vec()), "seed {seed}");
    }
}
