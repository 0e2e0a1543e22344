//! Races between clients on one key, and a log that delivers records twice.

use std::sync::Arc;

use bytes::Bytes;
use compactor::outcome::{RecordOutcome, Rejection};
use futures::future::join_all;
use ingest::env::Fut;
use ingest::ids::{Offset, PartitionId};
use ingest::log::{
    AppendError, AppendPermit, BarrierToken, CommittedRecord, Log, LogLocation, LogReader,
    LogStatus, ReadError,
};
use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::record::{Record, RecordBody, Versioning, WriteCondition};
use simulator::{Sim, SimDisk};

use crate::world::{open, open_with};

/// Delivers every record twice in a row, as a log may whose client sent again what it was not sure of.
struct Stutter(Arc<dyn Log>);

struct StutterReader(Box<dyn LogReader>);

impl LogReader for StutterReader {
    fn next(&mut self) -> Fut<'_, Result<Vec<CommittedRecord>, ReadError>> {
        Box::pin(async move {
            let batch = self.0.next().await?;
            Ok(batch.into_iter().flat_map(|record| [record.clone(), record]).collect())
        })
    }
}

impl Log for Stutter {
    fn admit(
        &self,
        partition: PartitionId,
        bytes: usize,
    ) -> Fut<'_, Result<AppendPermit, AppendError>> {
        self.0.admit(partition, bytes)
    }

    fn append(
        &self,
        permit: AppendPermit,
        record: Arc<Record>,
    ) -> Fut<'static, Result<(), AppendError>> {
        self.0.append(permit, record)
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
    ) -> Fut<'_, Result<Box<dyn LogReader>, ReadError>> {
        Box::pin(async move {
            let reader = self.0.read(partition, from).await?;
            Ok(Box::new(StutterReader(reader)) as Box<dyn LogReader>)
        })
    }

    fn barrier(&self, partition: PartitionId) -> Fut<'_, Result<BarrierToken, AppendError>> {
        self.0.barrier(partition)
    }

    fn fetch(
        &self,
        partition: PartitionId,
        location: LogLocation,
    ) -> Fut<'_, Result<Bytes, ReadError>> {
        self.0.fetch(partition, location)
    }

    fn end(&self, partition: PartitionId) -> Fut<'_, Result<Offset, ReadError>> {
        self.0.end(partition)
    }

    fn release(&self, partition: PartitionId, below: Offset) -> Fut<'_, ()> {
        self.0.release(partition, below)
    }

    fn trim(&self, partition: PartitionId, below: Offset) -> Fut<'_, Result<(), ReadError>> {
        self.0.trim(partition, below)
    }

    fn status(&self, partition: PartitionId) -> LogStatus {
        self.0.status(partition)
    }
}

/// Of many that create one key only if it is absent, exactly one succeeds.
fn one_creator(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        let key = ObjectKey::new("contended").expect("a short key");
        let puts = (0..6u8).map(|caller| {
            let (engine, key) = (&engine, key.clone());
            async move { engine.put(bucket, &key, &[caller; 9], WriteCondition::IfAbsent).await }
        });
        let mut written = 0;
        for outcome in join_all(puts).await {
            match outcome? {
                RecordOutcome::Written(_) => written += 1,
                RecordOutcome::Rejected(Rejection::PreconditionFailed) => {}
                other => return Err(format!("{other:?}")),
            }
        }
        engine.close().await;
        if written == 1 { Ok(()) } else { Err(format!("{written} callers created one key")) }
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// Records that the log repeats are applied once, across a cut and a restart.
fn repeated_records(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let engine = open_with(&sim, &disk, |log| Arc::new(Stutter(log))).await?;
        let bucket = engine.bucket("versions", Versioning::On).await?;
        let key = ObjectKey::new("key").expect("a short key");
        for payload in [b"one", b"two"] {
            engine.put(bucket, &key, payload, WriteCondition::Always).await?;
            engine.partition.cut().await.map_err(|error| error.to_string())?;
        }
        let refused = engine.put(bucket, &key, b"three", WriteCondition::IfAbsent).await?;
        if refused != RecordOutcome::Rejected(Rejection::PreconditionFailed) {
            return Err(format!("{refused:?}"));
        }
        let found = engine.versions(bucket, 10).await.map_err(|error| error.to_string())?;
        engine.close().await;
        let count = found.values().map(Vec::len).sum::<usize>();
        if count == 2 { Ok(()) } else { Err(format!("{count} versions of 2 puts")) }
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// A bucket is deleted while others put into it and remove again. What was acknowledged is there as long as
/// the bucket is; with the bucket gone nothing may have been acknowledged that was not removed again.
fn bucket_deleted_beside_puts(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        for round in 0..6 {
            let bucket = engine.bucket(&format!("bucket-{round}"), Versioning::Off).await?;
            // The walk through these takes a while, and its offset ages.
            for number in 0..sim.random().below(30) {
                let key = ObjectKey::new(format!("gone-{number}").into_bytes()).expect("short");
                engine.put(bucket, &key, b"", WriteCondition::Always).await?;
                engine.delete(bucket, &key).await?;
            }
            let key = ObjectKey::new("kept").expect("a short key");
            let put = async {
                for _ in 0..sim.random().below(60) {
                    ingest::env::yield_once().await;
                }
                engine.put(bucket, &key, b"payload", WriteCondition::Always).await
            };
            let (deleted, put) = futures::future::join(engine.delete_bucket(bucket), put).await;
            let kept = engine.versions(bucket, 10).await.map_err(|error| error.to_string())?;
            let is_there = engine.partition.buckets().get(bucket).is_some();
            let (deleted, put) = (deleted?, put?);
            let was_put = matches!(put, RecordOutcome::Written(_));
            let fits = match deleted {
                RecordOutcome::Done => !is_there && !was_put,
                _ => is_there && was_put && kept.len() == 1,
            };
            if !fits {
                return Err(format!("round {round}: deleted {deleted:?}, put {put:?}, {kept:?}"));
            }
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// A bucket's deletion that was refused, because of a write since the look, stays refused when the log is
/// replayed: what it hangs on stands in the cut.
fn refused_deletion_over_a_restart(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(seed);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("bucket", Versioning::Off).await?;
        let key = ObjectKey::new("key").expect("a short key");
        let seen = engine.partition.snapshot().at;
        engine.put(bucket, &key, b"payload", WriteCondition::Always).await?;
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        let refused = engine.submit(RecordBody::DeleteBucket { bucket, seen }).await?;
        if refused != RecordOutcome::Rejected(Rejection::BucketWritten) {
            return Err(format!("a look before the put: {refused:?}"));
        }
        engine.close_log().await;
        for _ in 0..2 {
            let engine = open(&sim, &disk).await?;
            let found = engine.versions(bucket, 10).await.map_err(|error| error.to_string())?;
            if engine.partition.buckets().get(bucket).is_none() || found.len() != 1 {
                return Err(format!("the bucket holds {found:?} after a restart"));
            }
            let refused = engine.submit(RecordBody::DeleteBucket { bucket, seen }).await?;
            if refused != RecordOutcome::Rejected(Rejection::BucketWritten) {
                return Err(format!("a look before the put, after a restart: {refused:?}"));
            }
            engine.close().await;
        }
        let engine = open(&sim, &disk).await?;
        let full = engine.delete_bucket(bucket).await?;
        engine.delete(bucket, &key).await?;
        let emptied = engine.delete_bucket(bucket).await?;
        engine.close().await;
        match (full, emptied) {
            (RecordOutcome::Rejected(Rejection::BucketNotEmpty), RecordOutcome::Done) => Ok(()),
            other => Err(format!("full, then emptied: {other:?}")),
        }
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

/// Every race of this page.
pub fn everything(seed: u64, mutant: Option<Mutant>) -> Result<(), String> {
    one_creator(seed, mutant)?;
    repeated_records(seed, mutant)?;
    bucket_deleted_beside_puts(seed, mutant)?;
    refused_deletion_over_a_restart(seed, mutant)
}

#[test]
fn conditions_and_repeated_records_are_decided_where_the_log_is_applied() {
    for seed in 0..20 {
        everything(seed, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_deleted_buckets_are_found() {
    type Race = fn(u64, Option<Mutant>) -> Result<(), String>;
    let bugs: [(Mutant, Race); 2] = [
        (Mutant::DeleteBucketBlindly, bucket_deleted_beside_puts),
        (Mutant::ForgetLastWritesAtCut, refused_deletion_over_a_restart),
    ];
    for (bug, race) in bugs {
        let found = (0..20).find(|seed| race(*seed, Some(bug)).is_err());
        println!("{bug:?}: seed {found:?}");
        assert!(found.is_some(), "{bug:?} is not found");
    }
}

/// Tags that were set while an older memtable was being sealed carried a place in the log that was then trimmed:
/// the object could not be read, and the next cut not be sealed, until a restart.
fn tags_while_a_cut_is_sealed(seed: u64) -> Result<(), String> {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    let done = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        let name = |text: String| ObjectKey::new(text.into_bytes()).expect("a short key");
        for round in 0..4u8 {
            let object = name(format!("tagged-{round}"));
            engine.put(bucket, &object, &[round; 1_000], WriteCondition::Always).await?;
            // Enough for the log to go on in another file, but for its last cut.
            for number in 0..9 {
                let filler = name(format!("filler-{number}"));
                engine.put(bucket, &filler, &[1; 1_400], WriteCondition::Always).await?;
            }
            let set = ingest::record::SetTags {
                bucket,
                config: engine.config(bucket),
                key: object.clone(),
                version: ingest::record::VersionRef::Current,
                tags: vec![("round".into(), round.to_string())],
            };
            let tag = async {
                for _ in 0..sim.random().below(40) {
                    ingest::env::yield_once().await;
                }
                engine.submit(RecordBody::SetTags(set)).await
            };
            let cut = async { engine.partition.cut().await.map_err(|error| error.to_string()) };
            let (cut, tagged) = futures::future::join(cut, tag).await;
            cut?;
            tagged?;
            for _ in 0..2 {
                let found =
                    engine.versions(bucket, 100).await.map_err(|error| error.to_string())?;
                let content = found[object.as_bytes()][0].content.clone();
                if content.as_deref() != Some(&[round; 1_000]) {
                    return Err(format!("{object:?} reads {content:?}"));
                }
                engine.partition.cut().await.map_err(|error| error.to_string())?;
            }
        }
        engine.close().await;
        Ok::<(), String>(())
    });
    done.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn tags_set_while_a_cut_is_sealed_find_their_payload() {
    for seed in 0..crate::crash::seeds(60) {
        tags_while_a_cut_is_sealed(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
