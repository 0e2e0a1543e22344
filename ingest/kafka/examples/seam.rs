//! The same measure as `limit`, taken at the log's seam: records appended through `ReplicatedLog`, each
//! awaited until it is acknowledged. Run both in turn on the same brokers, and compare.
//!
//! ```text
//! seam --bootstrap B --cluster C --bytes 4096 --seconds 5       small records, with payload inside
//! seam ... --bytes 262144 --data                                pieces of large payload
//! seam ... --read                                               everything, decoded and spooled
//! ```
//!
//! The cluster must have been set up with `siltstone init`, and must not be in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use ingest::entry::Attributes;
use ingest::env::{FilePath, production};
use ingest::ids::{
    BucketId, ConfigVersion, Epoch, Offset, PartitionId, Sequence, StreamId, WriterId,
};
use ingest::log::Log;
use ingest::log::brokers::Brokers;
use ingest::log::replicated::{ReplicatedLog, ReplicatedLogOptions};
use ingest::name::ObjectKey;
use ingest::record::{
    PutObject, Record, RecordBody, RecordId, RecordPayload, StreamPiece, WriteCondition,
};
use ingest::time::WallTime;
use kafka::{ConnectionSecurity, KafkaBrokers, KafkaSettings};

const PARTITION: PartitionId = PartitionId::ZERO;

/// Measures the log at its seam.
#[derive(Parser)]
struct Arguments {
    /// Brokers, as host:port, separated by commas.
    #[arg(long, value_delimiter = ',')]
    bootstrap: Vec<String>,
    /// The cluster whose log is used.
    #[arg(long)]
    cluster: String,
    /// How many partitions it has.
    #[arg(long, default_value_t = 1)]
    partitions: u32,
    /// Bytes of payload in each record.
    #[arg(long, default_value_t = 4096)]
    bytes: usize,
    /// For how long to append.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Appends under way at a time.
    #[arg(long, default_value_t = 2048)]
    callers: u64,
    /// Sends pieces of large payload instead of records with small payload inside.
    #[arg(long)]
    data: bool,
    /// Reads everything instead.
    #[arg(long)]
    read: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let folder = tempfile::tempdir()?;
    runtime.block_on(async {
        let env = production::of(folder.path())?;
        let settings = KafkaSettings::new(
            arguments.bootstrap.clone(),
            &*arguments.cluster,
            ConnectionSecurity::default(),
        )?;
        let brokers: Arc<dyn Brokers> = Arc::new(KafkaBrokers::new(settings));
        let options = ReplicatedLogOptions::new(FilePath::new("spool"));
        let log = ReplicatedLog::open(&env, brokers, arguments.partitions, None, options).await?;
        let log: Arc<dyn Log> = Arc::new(log);
        if arguments.read { read(&log).await } else { append(&log, &arguments).await }
    })
}

/// Appends from many callers for a while.
async fn append(log: &Arc<dyn Log>, arguments: &Arguments) -> anyhow::Result<()> {
    let payload = pattern(arguments.bytes);
    let (number, bytes) = (Arc::new(AtomicU64::new(0)), arguments.bytes as u64);
    let once = |log: Arc<dyn Log>, number: u64| {
        let record = record(number, payload.clone(), arguments.data);
        async move {
            let permit = log.admit(PARTITION, record.bytes_estimate()).await?;
            log.append(permit, record.into()).await
        }
    };
    // The first one waits for connections.
    once(log.clone(), number.fetch_add(1, Ordering::Relaxed)).await?;
    let began = Instant::now();
    let end = began + Duration::from_secs(arguments.seconds);
    let callers = (0..arguments.callers).map(|_| {
        let (log, number) = (log.clone(), number.clone());
        async move {
            let mut done = 0u64;
            while Instant::now() < end {
                once(log.clone(), number.fetch_add(1, Ordering::Relaxed)).await?;
                done += 1;
            }
            Ok::<_, anyhow::Error>(done)
        }
    });
    let records: u64 = futures::future::try_join_all(callers).await?.iter().sum();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{records} records in {seconds:.2} s: {:.0} records/s, {:.1} MiB/s",
        records as f64 / seconds,
        (records * bytes) as f64 / seconds / f64::from(1 << 20),
    );
    Ok(())
}

/// Reads everything that was in the log when this began.
async fn read(log: &Arc<dyn Log>) -> anyhow::Result<()> {
    let end = log.end(PARTITION).await?;
    let mut reader = log.read(PARTITION, Offset::ZERO).await?;
    let (began, mut records, mut next) = (Instant::now(), 0u64, Offset::ZERO);
    while next < end {
        let batch = reader.next().await?;
        records += batch.len() as u64;
        next = batch.last().map_or(next, |last| last.offset.next());
    }
    let seconds = began.elapsed().as_secs_f64();
    println!("{records} records in {seconds:.2} s: {:.0} records/s", records as f64 / seconds);
    Ok(())
}

fn record(number: u64, payload: Bytes, is_data: bool) -> Record {
    let id = RecordId {
        writer: WriterId([7; 16]),
        epoch: Epoch::new(1),
        sequence: Sequence::new(number),
    };
    let body = if is_data {
        let total = payload.len() as u64;
        RecordBody::Data(StreamPiece {
            stream: StreamId([7; 16]),
            index: number as u32,
            total,
            bytes: payload,
        })
    } else {
        RecordBody::PutObject(PutObject {
            bucket: BucketId::new(1),
            config: ConfigVersion::ZERO,
            key: ObjectKey::new(format!("key/{number:012}").into_bytes()).expect("a short key"),
            condition: WriteCondition::Always,
            attributes: Attributes { size: payload.len() as u64, ..Attributes::default() },
            digest: 0,
            payload: RecordPayload::Inline(payload),
        })
    };
    Record {
        id,
        principal: "somebody".into(),
        request: String::new(),
        time: WallTime::default(),
        body,
    }
}

/// Bytes that do not compress to nothing.
fn pattern(bytes: usize) -> Bytes {
    (0..bytes as u64).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}
