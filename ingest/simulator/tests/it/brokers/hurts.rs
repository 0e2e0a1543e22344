//! What a cluster does to those who use it: whatever is built on it must bear this, so it must happen.

use super::*;

/// A cluster whose leader is cut off from the other brokers, but from no node.
async fn cut_off_leader(brokers: &SimBrokers) -> usize {
    let producer = producer(brokers, 0, 0);
    producer.send(PARTITION, value("before")).await.expect("acknowledged");
    let leader = brokers.leader(PARTITION).expect("led");
    brokers.isolate(leader);
    leader
}

#[test]
fn a_deposed_leader_acknowledges_nothing_and_a_producer_finds_its_successor() {
    for seed in 0..seeds(100) {
        let sim = Sim::new(seed);
        let brokers = SimBrokers::new(&sim, 1);
        let run = sim.block_on_cluster(async {
            let old = cut_off_leader(&brokers).await;
            let acknowledged = brokers.acknowledgements(old);
            let began = sim.now();
            let producer = producer(&brokers, 0, 0);
            for number in 0..20 {
                producer.send(PARTITION, value(&number.to_string())).await.expect("acknowledged");
            }
            let took = sim.now().since(began);
            assert!(took > SECOND * 2, "nobody leads before the old leader's session ends");
            assert!(took < SECOND * 30, "{took:?}");
            assert_ne!(brokers.leader(PARTITION), Some(old));
            assert_eq!(brokers.acknowledgements(old), acknowledged);
            brokers.mend();
            sim.sleep(SECOND * 5).await;
            assert_eq!(brokers.acknowledgements(old), acknowledged);
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        let wanted: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let found = run.expect("a run");
        assert_eq!((found[0].as_str(), &found[1..]), ("before", &wanted[..]), "seed {seed}");
    }
}

#[test]
fn a_consumer_at_a_deposed_leader_waits_and_its_replacement_gets_on() {
    for seed in 0..seeds(100) {
        let (sim, brokers) = calm(seed);
        let run = sim.block_on_cluster(async {
            let handle = brokers.handle(1);
            let mut consumer = handle.consumer(PARTITION, Offset::ZERO, 0).expect("made");
            let old = cut_off_leader(&brokers).await;
            assert_eq!(texts(&consumer.next().await.expect("delivered")), ["before"]);
            let producer = producer(&brokers, 0, 0);
            for text in ["after", "later", "last"] {
                producer.send(PARTITION, value(text)).await.expect("acknowledged");
            }
            let silent = within(&sim, SECOND * 600, consumer.next()).await;
            assert_eq!(silent, None, "no message and no error, however long");
            // One in three is unlucky and asks the deposed leader, who sends it to itself.
            let mut got_on = Vec::new();
            for attempt in 0..3 {
                let next = handle.consumer(PARTITION, Offset::new(1), attempt);
                let mut next = next.expect("made");
                got_on.push(within(&sim, SECOND * 10, next.next()).await.is_some());
            }
            assert_eq!(got_on.iter().filter(|got_on| **got_on).count(), 2, "{got_on:?}");
            // And the deposed leader takes what lies behind its end for out of range.
            let unlucky = got_on.iter().position(|got_on| !got_on).expect("one") as u32;
            let mut behind = handle.consumer(PARTITION, Offset::new(3), unlucky).expect("made");
            assert_eq!(behind.next().await, Err(ConsumeError::OutOfRange));
            // Healing frees the first.
            brokers.heal();
            assert_eq!(texts(&consumer.next().await.expect("delivered"))[0], "after");
            assert_ne!(brokers.leader(PARTITION), Some(old));
        });
        assert_eq!(run, Ok(()), "seed {seed}");
    }
}

#[test]
fn what_only_a_deposed_leader_has_is_cut_off() {
    for seed in 0..seeds(50) {
        let (sim, brokers) = calm(seed);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            producer.send(PARTITION, value("before")).await.expect("acknowledged");
            let old = brokers.leader(PARTITION).expect("led");
            brokers.isolate(old);
            let lost = producer.send(PARTITION, value("lost"));
            sim.sleep(SECOND / 2).await;
            drop((lost, producer));
            sim.sleep(SECOND * 4).await;
            let next = super::producer(&brokers, 0, 1);
            next.send(PARTITION, value("after")).await.expect("acknowledged");
            brokers.heal();
            sim.sleep(SECOND * 5).await;
            // Even if it leads again.
            let leader = brokers.leader(PARTITION).expect("led");
            (0..3).filter(|broker| *broker != old).for_each(|broker| brokers.crash(broker));
            sim.sleep(SECOND).await;
            (0..3).for_each(|broker| brokers.restart(broker));
            assert_ne!(leader, old);
            sim.sleep(SECOND * 5).await;
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        assert_eq!(run, Ok(vec!["before".to_owned(), "after".to_owned()]), "seed {seed}");
    }
}

/// A message is in flight when its leader dies, its producer is given up, and a successor sends on.
fn send_and_replace(seed: u64) -> Vec<String> {
    let sim = Sim::new(seed);
    let brokers = SimBrokers::new(&sim, 1);
    let run = sim.block_on_cluster(async {
        let first = producer(&brokers, 0, 0);
        first.send(PARTITION, value("before")).await.expect("acknowledged");
        let leader = brokers.leader(PARTITION).expect("led");
        let in_doubt = first.send(PARTITION, value("in doubt"));
        sim.sleep(sim.random().below(3).min(1) as u32 * brokers.knobs().hop_max).await;
        match sim.random().below(2) {
            0 => brokers.crash(leader),
            _ => brokers.isolate(leader),
        }
        sim.sleep(SECOND).await;
        let is_acknowledged = futures::FutureExt::now_or_never(in_doubt);
        drop(first);
        let second = producer(&brokers, 0, 1);
        second.send(PARTITION, value("after")).await.expect("acknowledged");
        sim.sleep(SECOND * 10).await;
        let found = texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await);
        if is_acknowledged == Some(Ok(())) {
            assert_eq!(found, ["before", "in doubt", "after"], "seed {seed}");
        }
        match is_acknowledged {
            Some(Ok(())) => Vec::new(),
            _ => found,
        }
    });
    run.expect("a run")
}

/// Without its acknowledgement a message may be lost, or may have stayed with a broker in sync, or may
/// land behind a message that was sent long after its producer had been dropped.
#[test]
fn what_was_not_acknowledged_is_lost_or_stays_or_lands_late() {
    let (mut lost, mut stayed, mut late) = (0, 0, 0);
    for seed in 0..200 {
        let found = send_and_replace(seed);
        match found.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["before", "after"] => lost += 1,
            ["before", "in doubt", "after"] => stayed += 1,
            ["before", "after", "in doubt"] => late += 1,
            [] => {}
            _ => panic!("seed {seed}: {found:?}"),
        }
    }
    println!("lost {lost}, stayed {stayed}, late {late} of 200");
    assert!(lost >= 10 && stayed >= 10 && late >= 10, "lost {lost}, stayed {stayed}, late {late}");
}

/// The same for a node that dies: it sends nothing again, but what was on its way may be late.
#[test]
fn a_dead_nodes_message_may_land_late() {
    let mut late = 0;
    for seed in 0..200 {
        let sim = Sim::new(seed);
        let knobs = BrokerConfig {
            hop_max: Duration::from_millis(40),
            late_percent: 50,
            request_messages_max: 1,
            ..BrokerConfig::calm()
        };
        let brokers = SimBrokers::with_knobs(&sim, 1, knobs);
        let run = sim.block_on_cluster(async {
            let first = producer(&brokers, 0, 0);
            first.send(PARTITION, value("before")).await.expect("acknowledged");
            let _in_doubt = first.send(PARTITION, value("in doubt"));
            brokers.node_died(0);
            let second = producer(&brokers, 1, 0);
            second.send(PARTITION, value("after")).await.expect("acknowledged");
            sim.sleep(SECOND * 10).await;
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        let found = run.expect("a run");
        late += u64::from(found == ["before", "after", "in doubt"]);
    }
    println!("late {late} of 200");
    assert!(late >= 20, "late {late}");
}

#[test]
fn bounds_may_be_stale() {
    let mut stale = 0;
    for seed in 0..100 {
        let (sim, brokers) = calm(seed);
        let run = sim.block_on_cluster(async {
            cut_off_leader(&brokers).await;
            let producer = producer(&brokers, 0, 0);
            for _ in 0..5 {
                producer.send(PARTITION, value("after")).await.expect("acknowledged");
            }
            brokers.handle(0).bounds(PARTITION).await.expect("asked").end
        });
        stale += u64::from(run.expect("a run") < Offset::new(6));
    }
    assert!((10..90).contains(&stale), "{stale} of 100");
}

#[test]
fn a_broker_that_stood_still_takes_what_has_come_in_and_commits_none_of_it() {
    for seed in 0..seeds(50) {
        let (sim, brokers) = calm(seed);
        let run = sim.block_on_cluster(async {
            let first = producer(&brokers, 0, 0);
            first.send(PARTITION, value("before")).await.expect("acknowledged");
            let old = brokers.leader(PARTITION).expect("led");
            brokers.pause(old);
            let in_doubt = first.send(PARTITION, value("in doubt"));
            sim.sleep(SECOND / 10).await;
            drop((first, in_doubt));
            let second = producer(&brokers, 0, 1);
            second.send(PARTITION, value("after")).await.expect("acknowledged");
            let acknowledged = brokers.acknowledgements(old);
            brokers.resume(old);
            sim.sleep(SECOND * 5).await;
            assert_eq!(brokers.acknowledgements(old), acknowledged);
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        assert_eq!(run, Ok(vec!["before".to_owned(), "after".to_owned()]), "seed {seed}");
    }
}

/// The three faults that lose what was acknowledged, for tests of what notices it.
#[test]
fn lost_power_truncation_and_a_new_topic_lose_acknowledged_messages() {
    for (fault, wanted) in [(0, vec!["0", "1", "2"]), (1, vec!["0", "1"]), (2, vec![])] {
        let (sim, brokers) = calm(fault);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            for number in 0..5 {
                producer.send(PARTITION, value(&number.to_string())).await.expect("acknowledged");
            }
            let mut consumer = brokers.handle(1).consumer(PARTITION, Offset::new(5), 0).unwrap();
            assert_eq!(within(&sim, SECOND, consumer.next()).await, None);
            match fault {
                0 => brokers.lose_power(2),
                1 => brokers.truncate_to(PARTITION, Offset::new(2)),
                _ => brokers.recreate(),
            }
            assert_eq!(consumer.next().await, Err(ConsumeError::OutOfRange));
            sim.sleep(SECOND * 5).await;
            let left = texts(&committed(&sim, &brokers, PARTITION).await);
            let fresh = super::producer(&brokers, 0, 1);
            fresh.send(PARTITION, value("on")).await.expect("acknowledged");
            let found = texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await);
            assert_eq!(found.len(), left.len() + 1);
            // The old producer notices that what it knows to be committed is gone, and goes on.
            let outcome = producer.send(PARTITION, value("again")).await;
            assert!(!matches!(outcome, Err(SendError::NotSent(_))), "{outcome:?}");
            producer.send(PARTITION, value("and again")).await.expect("acknowledged");
            left
        });
        assert_eq!(run, Ok(wanted.into_iter().map(str::to_owned).collect()), "fault {fault}");
    }
}
