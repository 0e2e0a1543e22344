//! Whatever happens short of losing disks: what was acknowledged is there once and in order, and nothing
//! that was delivered is taken back.

use parking_lot::Mutex;
use simulator::SimDisk;

use super::*;

const NODES: usize = 2;
const PARTITIONS: u32 = 2;
const MESSAGES: u64 = 60;

/// One producer's messages in one partition, by number.
#[derive(Default)]
struct Known {
    sent: u64,
    acknowledged: Vec<u64>,
    not_sent: Vec<u64>,
}

/// What nodes know, by node and partition; and what their consumers have delivered.
#[derive(Default)]
struct Shared {
    known: Mutex<Vec<Known>>,
    delivered: Mutex<Vec<Vec<CommittedMessage>>>,
}

fn index(node: usize, partition: u32) -> usize {
    node * PARTITIONS as usize + partition as usize
}

/// Sends numbered messages, at times many at once, and notes what is heard of them.
async fn produce(sim: &Sim, brokers: &SimBrokers, shared: &Shared, node: usize) {
    let producer = producer(brokers, node, 0);
    let mut waiting = Vec::new();
    for number in 1..=MESSAGES {
        for partition in 0..PARTITIONS {
            let text = format!("{node} {number}");
            shared.known.lock()[index(node, partition)].sent = number;
            let sent = producer.send(PartitionId::new(partition), value(&text));
            waiting.push(async move {
                let outcome = sent.await;
                let known = &mut shared.known.lock()[index(node, partition)];
                match outcome {
                    Ok(()) => known.acknowledged.push(number),
                    Err(SendError::NotSent(_)) => known.not_sent.push(number),
                    Err(SendError::Unknown(_)) => {}
                }
            });
        }
        if sim.random().chance(60) {
            sim.sleep(Duration::from_millis(sim.random().below(600))).await;
        }
    }
    futures::future::join_all(waiting).await;
}

/// Follows a partition with one consumer after another: a new one when the last failed or was silent.
async fn consume(sim: &Sim, brokers: &SimBrokers, shared: &Shared, node: usize, partition: u32) {
    let place = index(node, partition);
    for attempt in 0.. {
        let last = shared.delivered.lock()[place].last().map(|message| message.offset.next());
        let from = last.unwrap_or(Offset::ZERO);
        let handle = brokers.handle(node);
        let consumer = handle.consumer(PartitionId::new(partition), from, attempt);
        let mut consumer = consumer.expect("a consumer");
        while let Some(Ok(messages)) = within(sim, SECOND * 4, consumer.next()).await {
            shared.delivered.lock()[place].extend(messages);
        }
        sim.sleep(SECOND / 10).await;
    }
}

/// One fault that begins, lasts and ends.
async fn hurt(sim: &Sim, brokers: &SimBrokers) {
    let random = sim.random();
    sim.sleep(Duration::from_millis(random.below(6000))).await;
    let any = random.below(3) as usize;
    let broker = match brokers.leader(PARTITION) {
        Some(leader) if random.chance(60) => leader,
        _ => any,
    };
    let other = (broker + 1 + random.below(2) as usize) % 3;
    let node = random.below(NODES as u64) as usize;
    let lasts = Duration::from_millis([500, 3000, 12_000, 70_000][random.below(4) as usize]);
    match random.below(8) {
        0 => brokers.crash(broker),
        1 => brokers.pause(broker),
        2 => brokers.isolate(broker),
        3 => brokers.split(Endpoint::Broker(broker), Endpoint::Broker(other)),
        4 => brokers.split(Endpoint::Broker(broker), Endpoint::Node(node)),
        5 => brokers.isolate_node(node),
        6 => {
            brokers.crash(broker);
            brokers.crash(other);
        }
        _ => {
            brokers.isolate(broker);
            sim.sleep(Duration::from_millis(random.below(5000))).await;
            brokers.crash(other);
        }
    }
    sim.sleep(lasts).await;
    brokers.mend();
}

/// Runs a seed: nodes send and follow while faults come and go, then everything is mended and read.
fn story(seed: u64, keeps_lines: bool) -> (Arc<Trace>, Result<u64, String>) {
    let trace = Arc::new(Trace::new(keeps_lines));
    let sim = Sim::with_trace(seed, trace.clone());
    let brokers = SimBrokers::new(&sim, PARTITIONS as usize);
    let shared = Shared::default();
    let places = NODES * PARTITIONS as usize;
    shared.known.lock().resize_with(places, Known::default);
    shared.delivered.lock().resize_with(places, Vec::new);
    let run = sim.block_on_cluster(async {
        let produced = (0..NODES).map(|node| produce(&sim, &brokers, &shared, node));
        let consumed =
            (0..NODES).flat_map(|node| (0..PARTITIONS).map(move |partition| (node, partition)));
        let consumed = consumed.map(|(node, p)| consume(&sim, &brokers, &shared, node, p));
        let faults = async {
            for _ in 0..1 + sim.random().below(3) {
                hurt(&sim, &brokers).await;
            }
        };
        let story = async {
            futures::future::join(futures::future::join_all(produced), faults).await;
            brokers.mend();
            // Time for the followers, and for whatever is late.
            sim.sleep(SECOND * 30).await;
        };
        let consumed = futures::future::join_all(consumed);
        let story = std::pin::pin!(story);
        futures::future::select(story, std::pin::pin!(consumed)).await;
        let mut found = Vec::new();
        for partition in 0..PARTITIONS {
            found.push(read_all(&sim, &brokers, PartitionId::new(partition), Offset::ZERO).await);
        }
        found
    });
    let checked = match run {
        Ok(found) => check(&shared, &found),
        Err(stopped) => Err(format!("{stopped:?}")),
    };
    (trace, checked)
}

fn check(shared: &Shared, found: &[Vec<CommittedMessage>]) -> Result<u64, String> {
    let mut acknowledged = 0;
    for node in 0..NODES {
        for partition in 0..PARTITIONS {
            let place = index(node, partition);
            let found = &found[partition as usize];
            if !found.is_sorted_by(|a, b| a.offset < b.offset) {
                return Err("offsets do not rise".into());
            }
            let own = texts(found).into_iter().filter_map(|text| {
                let number = text.strip_prefix(&format!("{node} "))?;
                Some(number.parse::<u64>().expect("a number"))
            });
            let own: Vec<u64> = own.collect();
            if !own.is_sorted_by(|a, b| a < b) {
                return Err(format!("node {node} partition {partition}: {own:?}"));
            }
            let known = &shared.known.lock()[place];
            let lost = known.acknowledged.iter().find(|number| !own.contains(number));
            if let Some(lost) = lost {
                return Err(format!("node {node} partition {partition}: {lost} is lost"));
            }
            let unsent = known.not_sent.iter().find(|number| own.contains(number));
            if let Some(unsent) = unsent {
                return Err(format!("node {node} partition {partition}: {unsent} was not sent"));
            }
            if own.last().is_some_and(|last| *last > known.sent) {
                return Err(format!("node {node} partition {partition}: {own:?} was never sent"));
            }
            let delivered = &shared.delivered.lock()[place];
            if !found.starts_with(delivered) {
                return Err(format!("node {node} partition {partition}: a delivery was wrong"));
            }
            if delivered.len() < found.len() {
                return Err(format!("node {node} partition {partition}: a consumer is stuck"));
            }
            acknowledged += known.acknowledged.len() as u64;
        }
    }
    Ok(acknowledged)
}

#[test]
fn acknowledged_messages_survive_faults_once_and_in_order() {
    let seeds = seeds(300);
    let mut acknowledged = 0;
    for seed in 0..seeds {
        acknowledged += story(seed, false).1.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    let sent = seeds * MESSAGES * PARTITIONS as u64 * NODES as u64;
    println!("{acknowledged} of {sent} messages acknowledged over {seeds} seeds");
    assert!(acknowledged * 2 > sent, "most faults are short enough to send most messages");
}

#[test]
fn a_seed_runs_twice_with_equal_traces() {
    for seed in 0..seeds(100) {
        simulator::trace::assert_repeatable(seed, |seed, keeps_lines| story(seed, keeps_lines).0);
    }
}

#[test]
fn a_cluster_ends_with_its_world() {
    let sim = Sim::new(1);
    let disk = SimDisk::new(&sim);
    let brokers = SimBrokers::new(&sim, 1);
    let env = sim.node_env(0, &disk);
    let held = Arc::new(());
    let (handle, witness) = (brokers.handle(0), held.clone());
    let task = async move {
        let producer = handle.producer(ProducerKind::Data, 0).expect("a producer");
        let _ = producer.send(PARTITION, value("hello")).await;
        std::future::pending::<()>().await;
        drop((handle, producer, witness));
    };
    env.rt.spawn("send", Box::pin(task)).detach();
    let run = sim.block_on_cluster(sim.sleep(SECOND));
    assert_eq!(run, Ok(()));
    assert_eq!(texts(&brokers.committed(PARTITION).expect("led")), ["hello"]);
    // A task that waits for ever holds a handle of the cluster, which holds the world.
    drop((env, brokers, disk, sim));
    assert_eq!(Arc::strong_count(&held), 1);
}
