//! Producers and consumers while nothing is wrong, or only one thing.

use ingest::log::brokers::PartitionBounds;
use simulator::SimDisk;

use super::*;

#[test]
fn messages_are_read_in_the_order_in_which_they_were_sent() {
    for seed in 0..50 {
        let sim = Sim::new(seed);
        let brokers = SimBrokers::new(&sim, 1);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            let wanted: Vec<String> = (0..100).map(|number| number.to_string()).collect();
            let sent = wanted.iter().map(|text| producer.send(PARTITION, value(text)));
            let outcomes = futures::future::join_all(sent).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            assert_eq!(texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await), wanted);
        });
        assert_eq!(run, Ok(()), "seed {seed}");
    }
}

#[test]
fn lost_acknowledgements_cost_time_and_nothing_else() {
    for seed in 0..20 {
        let sim = Sim::new(seed);
        let knobs = BrokerConfig {
            lost_answers_percent: 30,
            request_messages_max: 1,
            ..BrokerConfig::calm()
        };
        let brokers = SimBrokers::with_knobs(&sim, 1, knobs);
        let run = sim.block_on_cluster(async {
            let producer = producer(&brokers, 0, 0);
            let wanted: Vec<String> = (0..30).map(|number| number.to_string()).collect();
            let sent = wanted.iter().map(|text| producer.send(PARTITION, value(text)));
            let outcomes = futures::future::join_all(sent).await;
            assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
            assert!(sim.now().nanos() > 1_000_000_000, "some were sent again");
            assert_eq!(texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await), wanted);
        });
        assert_eq!(run, Ok(()), "seed {seed}");
    }
}

#[test]
fn offsets_may_have_gaps() {
    let sim = Sim::new(1);
    let brokers =
        SimBrokers::with_knobs(&sim, 1, BrokerConfig { gap_percent: 50, ..BrokerConfig::calm() });
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        for number in 0..20 {
            producer.send(PARTITION, value(&number.to_string())).await.expect("acknowledged");
        }
        read_all(&sim, &brokers, PARTITION, Offset::ZERO).await
    });
    let found = run.expect("a run");
    assert_eq!(found.len(), 20);
    assert!(found[19].offset.get() > 22, "{:?}", found[19].offset);
}

#[test]
fn a_dropped_wait_for_messages_loses_none() {
    let (sim, brokers) = calm(3);
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        let mut consumer = brokers.handle(1).consumer(PARTITION, Offset::ZERO, 0).expect("made");
        let mut found = Vec::new();
        for number in 0..50 {
            let sent = producer.send(PARTITION, value(&number.to_string()));
            // Too short for most deliveries.
            if let Some(delivered) = within(&sim, SECOND / 500, consumer.next()).await {
                found.extend(delivered.expect("delivered"));
            }
            sent.await.expect("acknowledged");
        }
        while found.len() < 50 {
            found.extend(consumer.next().await.expect("delivered"));
        }
        texts(&found)
    });
    let wanted: Vec<String> = (0..50).map(|number| number.to_string()).collect();
    assert_eq!(run, Ok(wanted));
}

#[test]
fn what_is_deleted_is_out_of_range_for_everybody() {
    let (sim, brokers) = calm(4);
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        for number in 0..10 {
            producer.send(PARTITION, value(&number.to_string())).await.expect("acknowledged");
        }
        let handle = brokers.handle(0);
        handle.delete_below(PARTITION, Offset::new(20)).await.expect_err("that is not there");
        handle.delete_below(PARTITION, Offset::new(7)).await.expect("deleted");
        // Whoever leads next has deleted it too.
        brokers.crash(brokers.leader(PARTITION).expect("led"));
        sim.sleep(SECOND * 5).await;
        let mut below = handle.consumer(PARTITION, Offset::new(6), 0).expect("made");
        assert_eq!(below.next().await, Err(ConsumeError::OutOfRange));
        let mut above = handle.consumer(PARTITION, Offset::new(11), 0).expect("made");
        assert_eq!(above.next().await, Err(ConsumeError::OutOfRange));
        assert_eq!(
            handle.bounds(PARTITION).await,
            Ok(PartitionBounds { first: Offset::new(7), end: Offset::new(10) })
        );
        texts(&read_all(&sim, &brokers, PARTITION, Offset::new(7)).await)
    });
    assert_eq!(run, Ok(vec!["7".to_owned(), "8".to_owned(), "9".to_owned()]));
}

#[test]
fn a_deletion_that_does_not_reach_everybody_is_not_reported_as_done() {
    let (sim, brokers) = calm(5);
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        producer.send(PARTITION, value("one")).await.expect("acknowledged");
        let leader = brokers.leader(PARTITION).expect("led");
        brokers.isolate(leader);
        // Two of three brokers are asked who leads, and name the isolated one until they have a new leader.
        brokers.handle(0).delete_below(PARTITION, Offset::new(1)).await
    });
    run.expect("a run").expect_err("no follower has deleted anything");
}

#[test]
fn what_never_leaves_is_not_sent() {
    let (sim, brokers) = calm(6);
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        let long = producer.send(PARTITION, Bytes::from(vec![0; 2 << 20])).await;
        let elsewhere = producer.send(PartitionId::new(7), value("x")).await;
        let nowhere = {
            brokers.isolate_node(0);
            producer.send(PARTITION, value("x")).await
        };
        let took = sim.now();
        assert!((60..70).contains(&(took.nanos() / 1_000_000_000)), "{took:?}");
        [long, elsewhere, nowhere]
    });
    let outcomes = run.expect("a run");
    for outcome in outcomes {
        assert!(matches!(outcome, Err(SendError::NotSent(_))), "{outcome:?}");
    }
}

#[test]
fn a_message_that_nobody_acknowledges_in_time_is_unknown_and_later_ones_go_on() {
    let (sim, brokers) = calm(7);
    let run = sim.block_on_cluster(async {
        let producer = producer(&brokers, 0, 0);
        producer.send(PARTITION, value("before")).await.expect("acknowledged");
        // The leader takes it, and cannot commit it; nor is anybody else elected.
        let leader = brokers.leader(PARTITION).expect("led");
        brokers.crash((leader + 1) % 3);
        brokers.crash((leader + 2) % 3);
        let outcome = producer.send(PARTITION, value("in doubt")).await;
        assert!(matches!(outcome, Err(SendError::Unknown(_))), "{outcome:?}");
        brokers.mend();
        producer.send(PARTITION, value("after")).await.expect("acknowledged");
        texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
    });
    let found = run.expect("a run");
    let without: Vec<&String> = found.iter().filter(|text| *text != "in doubt").collect();
    assert_eq!(without, ["before", "after"]);
    assert!(
        found.is_sorted_by_key(|text| ["before", "in doubt", "after"]
            .iter()
            .position(|t| t == text))
    );
}

#[test]
fn nobody_to_ask_is_said_after_a_while() {
    let (sim, brokers) = calm(8);
    let run = sim.block_on_cluster(async {
        let handle = brokers.handle(0);
        (0..3).for_each(|broker| brokers.crash(broker));
        let mut consumer = handle.consumer(PARTITION, Offset::ZERO, 0).expect("made");
        let failed = consumer.next().await;
        assert!(matches!(failed, Err(ConsumeError::Unavailable(_))), "{failed:?}");
        handle.bounds(PARTITION).await.expect_err("nobody answers");
        assert!(handle.consumer(PartitionId::new(1), Offset::ZERO, 0).is_err());
        brokers.mend();
        producer(&brokers, 0, 0).send(PARTITION, value("back")).await.expect("acknowledged");
        texts(&consumer.next().await.expect("delivered"))
    });
    assert_eq!(run, Ok(vec!["back".to_owned()]));
}

/// Starts a node that sends a message every tenth of a second.
fn start_sender(sim: &Sim, brokers: &SimBrokers, disk: &SimDisk) {
    let env = sim.node_env(0, disk);
    let (handle, clock) = (brokers.handle(0), env.clock.clone());
    let send = async move {
        let producer = handle.producer(ProducerKind::Commits, 0).expect("a producer");
        for number in 0.. {
            drop(producer.send(PARTITION, value(&number.to_string())));
            clock.sleep(SECOND / 10).await;
        }
    };
    env.rt.spawn("send", Box::pin(send)).detach();
}

#[test]
fn a_paused_node_sends_nothing_and_goes_on_where_it_was() {
    for seed in 0..20 {
        let (sim, brokers) = calm(seed);
        let disk = SimDisk::new(&sim);
        let run = sim.block_on_cluster(async {
            start_sender(&sim, &brokers, &disk);
            sim.sleep(SECOND * 2 + SECOND / 20).await;
            sim.pause_node(0);
            // What it had on its way arrives.
            sim.sleep(SECOND / 2).await;
            let paused = committed(&sim, &brokers, PARTITION).await.len();
            sim.sleep(SECOND * 20).await;
            let still = committed(&sim, &brokers, PARTITION).await.len();
            sim.resume_node(0);
            sim.sleep(SECOND * 2).await;
            (paused, still, texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await))
        });
        let (paused, still, found) = run.expect("a run");
        assert_eq!(paused, still, "seed {seed}");
        assert!((18..=21).contains(&paused) && found.len() > paused + 10, "seed {seed}: {paused}");
        let wanted: Vec<String> = (0..found.len()).map(|number| number.to_string()).collect();
        assert_eq!(found, wanted, "seed {seed}");
    }
}

#[test]
fn a_stopped_node_has_no_clients_any_more_and_begins_anew() {
    for seed in 0..20 {
        let (sim, brokers) = calm(seed);
        let disk = SimDisk::new(&sim);
        let run = sim.block_on_cluster(async {
            start_sender(&sim, &brokers, &disk);
            // Held by nobody of the node, as a test does that keeps what a node made.
            let kept = producer(&brokers, 0, 0);
            sim.sleep(SECOND * 2 + SECOND / 20).await;
            sim.stop_node(0);
            brokers.node_died(0);
            let refused = kept.send(PARTITION, value("from beyond")).await;
            assert!(matches!(refused, Err(SendError::NotSent(_))), "{refused:?}");
            sim.sleep(SECOND / 2).await;
            let stopped = committed(&sim, &brokers, PARTITION).await.len();
            sim.sleep(SECOND * 20).await;
            let still = committed(&sim, &brokers, PARTITION).await.len();
            start_sender(&sim, &brokers, &disk);
            sim.sleep(SECOND).await;
            (stopped, still, texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await))
        });
        let (stopped, still, found) = run.expect("a run");
        assert_eq!(stopped, still, "seed {seed}");
        let old = (0..stopped).map(|number| number.to_string());
        let new = (0..found.len() - stopped).map(|number| number.to_string());
        assert_eq!(found, old.chain(new).collect::<Vec<_>>(), "seed {seed}");
        assert!(found.len() > stopped + 5, "seed {seed}");
    }
}

/// In a world of one node, too, the brokers are no part of what is stopped.
#[test]
fn brokers_go_on_when_all_nodes_are_stopped() {
    for seed in 0..20 {
        let (sim, brokers) = calm(seed);
        let disk = SimDisk::new(&sim);
        let env = sim.env(&disk);
        let handle = brokers.handle(0);
        let sent = sim.block_on(&disk, async {
            let producer = handle.producer(ProducerKind::Commits, 0).expect("a producer");
            producer.send(PARTITION, value("one")).await.expect("acknowledged");
            brokers.crash(brokers.leader(PARTITION).expect("led"));
            let doomed = handle.producer(ProducerKind::Commits, 0).expect("a producer");
            let send = async move {
                let _ = doomed.send(PARTITION, value("two")).await;
                panic!("nobody is left to hear of it");
            };
            env.rt.spawn("send", Box::pin(send)).detach();
            env.clock.sleep(SECOND / 10).await;
        });
        assert_eq!(sent, Ok(()), "seed {seed}");
        sim.stop();
        let found = sim.block_on(&disk, async {
            // The election that was due takes place.
            let producer = handle.producer(ProducerKind::Commits, 1).expect("a producer");
            producer.send(PARTITION, value("three")).await.expect("acknowledged");
            texts(&read_all(&sim, &brokers, PARTITION, Offset::ZERO).await)
        });
        assert_eq!(found, Ok(vec!["one".to_owned(), "three".to_owned()]), "seed {seed}");
    }
}
