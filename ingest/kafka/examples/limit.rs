//! What librdkafka and the brokers can do at best, with the settings of the log's own clients: the measure
//! for what the log adds on top.
//!
//! ```text
//! limit --bootstrap B --cluster C --bytes 4096 --seconds 5      records produced, acknowledged by all
//! limit ... --round-trip                                        one record at a time, until it is read
//! limit ... --consume                                           everything read, from the beginning
//! ```
//!
//! It makes no topic, and writes into partition 0 of the cluster's: never point it at a log in use.

use std::fmt;
use std::fs;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use clap::Parser;
use ingest::ids::PartitionId;
use ingest::log::brokers::ProducerKind;
use kafka::{ConnectionSecurity, KafkaSettings, consumer_config, producer_config};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};

/// Measures the brokers' limit.
#[derive(Parser)]
struct Arguments {
    /// Brokers, as host:port, separated by commas.
    #[arg(long, value_delimiter = ',')]
    bootstrap: Vec<String>,
    /// The cluster whose topic is used.
    #[arg(long)]
    cluster: String,
    /// Length of each record.
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// For how long to produce.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes that may wait for their acknowledgement.
    #[arg(long, default_value_t = 16 << 20)]
    in_flight_bytes: usize,
    /// Milliseconds that a record waits for company, instead of the lane's own.
    #[arg(long)]
    linger_ms: Option<u32>,
    /// Measures one record at a time.
    #[arg(long)]
    round_trip: bool,
    /// Measures reading.
    #[arg(long)]
    consume: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = KafkaSettings::new(
        arguments.bootstrap.clone(),
        &*arguments.cluster,
        ConnectionSecurity::default(),
    )?;
    let limit = Duration::from_secs(arguments.seconds);
    if arguments.round_trip {
        println!("{}", round_trip(&settings, arguments.bytes, limit, arguments.linger_ms)?);
    } else if arguments.consume {
        println!("{}", consume(&settings)?);
    } else {
        let room = arguments.in_flight_bytes;
        println!("{}", produce(&settings, arguments.bytes, limit, room, arguments.linger_ms)?);
    }
    Ok(())
}

/// How much was moved, how fast, at what cost to this process.
struct Rate {
    records: u64,
    bytes: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        write!(
            f,
            "{} records in {seconds:.2} s: {:.0} records/s, {:.1} MiB/s, {:.2} s of CPU",
            self.records,
            self.records as f64 / seconds,
            self.bytes as f64 / seconds / f64::from(1 << 20),
            self.cpu.as_secs_f64()
        )
    }
}

/// How long one thing took, over many.
struct Latencies(Vec<Duration>);

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort();
        let at = |share: usize| sorted.get(sorted.len() * share / 100).copied().unwrap_or_default();
        write!(f, "{} times: p50 {:?}, p99 {:?}", sorted.len(), at(50), at(99))
    }
}

/// The bytes under way, and room for more.
struct Window {
    under_way: Mutex<usize>,
    moved: Condvar,
}

impl Window {
    fn new() -> Arc<Self> {
        Arc::new(Self { under_way: Mutex::new(0), moved: Condvar::new() })
    }

    /// Waits until so much and no more is under way, then adds to it.
    fn enter(&self, most: usize, bytes: usize) {
        let under_way = self.under_way.lock().expect("nobody panics while holding it");
        let wait = self.moved.wait_while(under_way, |under_way| *under_way > most);
        *wait.expect("nobody panics while holding it") += bytes;
    }

    fn leave(&self, bytes: usize) {
        *self.under_way.lock().expect("nobody panics while holding it") -= bytes;
        self.moved.notify_one();
    }
}

/// Counts acknowledgements.
struct Acknowledged(Arc<Window>);

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, report: &DeliveryResult<'_>, (): ()) {
        match report {
            Ok(message) => self.0.leave(message.payload_len()),
            Err((error, _)) => panic!("a record was not acknowledged: {error}"),
        }
    }
}

/// A plain producer, and what it has under way.
fn producer(
    settings: &KafkaSettings,
    lane: ProducerKind,
    linger_ms: Option<u32>,
) -> anyhow::Result<(ThreadedProducer<Acknowledged>, Arc<Window>)> {
    let mut config = producer_config(settings, lane, 0);
    if let Some(linger_ms) = linger_ms {
        config.set("linger.ms", linger_ms.to_string());
    }
    let window = Window::new();
    Ok((config.create_with_context(Acknowledged(window.clone()))?, window))
}

/// A plain consumer of partition 0.
fn consumer(settings: &KafkaSettings, from: Offset) -> anyhow::Result<BaseConsumer> {
    let consumer: BaseConsumer = consumer_config(settings, PartitionId::new(0), 0).create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&settings.topic(), 0, from)?;
    consumer.assign(&assignment)?;
    Ok(consumer)
}

/// Where partition 0 begins and ends.
fn bounds(settings: &KafkaSettings) -> anyhow::Result<(i64, i64)> {
    let client: BaseConsumer = consumer_config(settings, PartitionId::new(0), 0).create()?;
    Ok(client.fetch_watermarks(&settings.topic(), 0, Duration::from_secs(10))?)
}

/// Produces records of equal length for a while, as many as the window allows.
fn produce(
    settings: &KafkaSettings,
    bytes: usize,
    limit: Duration,
    in_flight_bytes: usize,
    linger_ms: Option<u32>,
) -> anyhow::Result<Rate> {
    let (producer, window) = producer(settings, ProducerKind::Data, linger_ms)?;
    let (topic, value) = (settings.topic(), pattern(bytes));
    let produce = |most: usize| -> anyhow::Result<()> {
        window.enter(most, value.len());
        let record = BaseRecord::<(), [u8]>::to(&topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error.into())
    };
    // The first one waits for connections.
    produce(0)?;
    window.enter(0, 0);
    let (began, cpu) = (Instant::now(), cpu()?);
    let mut records = 0;
    while began.elapsed() < limit {
        produce(in_flight_bytes.saturating_sub(bytes))?;
        records += 1;
    }
    window.enter(0, 0);
    let elapsed = began.elapsed();
    Ok(Rate { records, bytes: records * bytes as u64, elapsed, cpu: self::cpu()? - cpu })
}

/// Produces one record at a time, and waits until it is read.
fn round_trip(
    settings: &KafkaSettings,
    bytes: usize,
    limit: Duration,
    linger_ms: Option<u32>,
) -> anyhow::Result<Latencies> {
    let (producer, window) = producer(settings, ProducerKind::Commits, linger_ms)?;
    let (topic, value) = (settings.topic(), pattern(bytes));
    let consumer = consumer(settings, Offset::Offset(bounds(settings)?.1))?;
    let once = || -> anyhow::Result<Duration> {
        let began = Instant::now();
        window.enter(usize::MAX, value.len());
        let record = BaseRecord::<(), [u8]>::to(&topic).partition(0).payload(&value);
        producer.send(record).map_err(|(error, _)| error)?;
        consumer.poll(Duration::from_secs(10)).ok_or(anyhow::anyhow!("nothing comes"))??;
        Ok(began.elapsed())
    };
    once()?;
    let began = Instant::now();
    let mut latencies = Vec::new();
    while began.elapsed() < limit {
        latencies.push(once()?);
    }
    producer.flush(Duration::from_secs(10))?;
    Ok(Latencies(latencies))
}

/// Reads everything that is there now.
fn consume(settings: &KafkaSettings) -> anyhow::Result<Rate> {
    let (first, end) = bounds(settings)?;
    anyhow::ensure!(first < end, "the partition is empty");
    let consumer = consumer(settings, Offset::Offset(first))?;
    let next = || -> anyhow::Result<_> {
        Ok(consumer.poll(Duration::from_secs(10)).ok_or(anyhow::anyhow!("nothing comes"))??)
    };
    // The first one waits for connections.
    let mut last = next()?.offset();
    let (began, cpu) = (Instant::now(), cpu()?);
    let (mut records, mut bytes) = (0, 0);
    while last + 1 < end {
        let message = next()?;
        last = message.offset();
        records += 1;
        bytes += message.payload_len() as u64;
    }
    Ok(Rate { records, bytes, elapsed: began.elapsed(), cpu: self::cpu()? - cpu })
}

/// Bytes that do not compress to nothing.
fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// The processor time that this process has used; Linux counts it in hundredths of a second.
fn cpu() -> anyhow::Result<Duration> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(") ").ok_or(anyhow::anyhow!("an odd /proc/self/stat"))?;
    let fields: Vec<_> = fields.split(' ').collect();
    let ticks = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}
