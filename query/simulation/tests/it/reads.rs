//! Reads that fail, or give wrong bytes, for a while: everything goes on by itself afterwards, and nothing that
//! is whole is called damaged.

use std::time::Duration;

use bytes::Bytes;
use compactor::partition::{SubmitError, UnreadyReason};
use ingest::ids::BucketId;
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::record::{DeleteObject, RecordBody, VersionRef, Versioning, WriteCondition};
use simulator::{DiskFault, DiskOperation, FaultKind, Sim, SimDisk};

use crate::world::{Engine, open};

/// One that lies inline, and one that lies beside its record.
const SIZES: [usize; 2] = [700, 70_000];

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name.as_bytes().to_vec()).expect("a short key")
}

fn payload(size: usize) -> Vec<u8> {
    (0..size).map(|at| at as u8).collect()
}

fn fault(
    operation: DiskOperation,
    path: &str,
    after: u64,
    times: u64,
    kind: FaultKind,
) -> DiskFault {
    DiskFault { times, ..DiskFault::once(operation, path, after, kind) }
}

/// Objects of both sizes, sealed and not.
async fn furnish(engine: &Engine) -> Result<BucketId, String> {
    let bucket = engine.bucket("plain", Versioning::Off).await?;
    for (name, cuts) in [("sealed", true), ("open", false)] {
        for size in SIZES {
            let key = key(&format!("{name}-{size}"));
            engine.put(bucket, &key, &payload(size), WriteCondition::Always).await?;
        }
        if cuts {
            engine.partition.cut().await.map_err(|error| error.to_string())?;
        }
    }
    Ok(bucket)
}

async fn check(engine: &Engine, bucket: BucketId) -> Result<(), ReadError> {
    let found = engine.versions(bucket, 100).await?;
    for name in ["sealed", "open"] {
        for size in SIZES {
            let versions = &found[format!("{name}-{size}").as_bytes()];
            assert_eq!(versions[0].content, Some(Bytes::from(payload(size))), "{name}-{size}");
        }
    }
    Ok(())
}

/// Runs something in a world of its own; gives what it gave.
fn in_world<T>(mutant: Option<Mutant>, run: impl AsyncFn(&Sim, &SimDisk) -> T) -> T {
    let mut sim = Sim::new(1);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let ended = sim.block_on(&disk, run(&sim, &disk));
    let ended = ended.unwrap_or_else(|stopped| panic!("{stopped:?}"));
    sim.stop();
    ended
}

/// A read that failed between a request's look and the fold's own stopped the partition until a restart. Here
/// any number of reads fails after any number of good ones, in each way.
fn between_looks(mutant: Option<Mutant>) -> Result<u64, String> {
    let mut shown = 0;
    for kind in [FaultKind::Error, FaultKind::Exhausted, FaultKind::Garbled] {
        for operation in [DiskOperation::Read, DiskOperation::Open] {
            for (after, times) in (0..6).flat_map(|after| [1, 2, 3, 9].map(|times| (after, times)))
            {
                let what = format!("{kind:?} of {operation:?} after {after}, {times} times");
                let run = in_world(mutant, async |sim, disk| {
                    let engine = open(sim, disk).await?;
                    let bucket = furnish(&engine).await?;
                    // Closed files are opened again by the look.
                    engine.close().await;
                    let engine = open(sim, disk).await?;
                    disk.inject(fault(operation, "segments", after, times, kind));
                    let (name, old) = (key("sealed-700"), payload(700));
                    let put = engine.put(bucket, &name, &old, WriteCondition::IfPresent).await;
                    let shown = disk.clear_faults();
                    sim.sleep(Duration::from_secs(10)).await;
                    if let Some(reason) = engine.partition.stopped() {
                        return Err(format!("after {put:?} the fold has stopped: {reason}"));
                    }
                    engine
                        .partition
                        .readiness()
                        .map_err(|reason| format!("not ready: {reason}"))?;
                    engine.put(bucket, &key("other"), b"new", WriteCondition::Always).await?;
                    engine.put(bucket, &name, &old, WriteCondition::IfPresent).await?;
                    check(&engine, bucket).await.map_err(|error| error.to_string())?;
                    Ok(shown)
                });
                shown += run.map_err(|error| format!("{what}: {error}"))?;
            }
        }
    }
    Ok(shown)
}

#[test]
fn a_read_that_fails_between_two_looks_stops_nothing() {
    let shown = between_looks(None).unwrap_or_else(|error| panic!("{error}"));
    assert!(shown > 50, "{shown} reads failed");
}

/// Handles stay short for ever, between the look and the fold: writes are refused before they are appended,
/// reads of what is in memory go on, and all is well as soon as there are handles.
fn held(mutant: Option<Mutant>) -> Result<bool, String> {
    let mut was_held = false;
    for after in 0..8 {
        was_held |= in_world(mutant, async |sim, disk| {
            let engine = open(sim, disk).await?;
            let bucket = furnish(&engine).await?;
            disk.inject(fault(
                DiskOperation::Read,
                "segments",
                after,
                u64::MAX,
                FaultKind::Exhausted,
            ));
            let name = key("sealed-700");
            let delete = RecordBody::DeleteObject(DeleteObject {
                bucket,
                config: engine.config(bucket),
                key: name.clone(),
                version: VersionRef::Current,
                condition: WriteCondition::IfPresent,
            });
            let waiting = async { engine.partition.submit("owner", "request", delete).await };
            let meanwhile = async {
                sim.sleep(Duration::from_secs(5)).await;
                let ready = engine.partition.readiness();
                let is_held = matches!(ready, Err(UnreadyReason::Held(_)));
                if is_held {
                    let end = engine.partition.snapshot().at;
                    let cut = RecordBody::Cut {
                        number: engine.partition.snapshot().view.sealed.catalog.cut.next(),
                    };
                    let refused = engine.partition.submit("", "", cut).await;
                    assert!(matches!(refused, Err(SubmitError::NotNow(_))), "{refused:?}");
                    assert_eq!(engine.partition.snapshot().at, end, "nothing was appended");
                } else if let Err(reason) = ready {
                    return Err(format!("not ready: {reason}"));
                }
                disk.clear_faults();
                Ok::<_, String>(is_held)
            };
            let (deleted, is_held) = futures::future::join(waiting, meanwhile).await;
            let is_held = is_held?;
            match (is_held, deleted) {
                (true, Ok(_)) | (false, Ok(_) | Err(SubmitError::Unreadable(_))) => {}
                (_, other) => return Err(format!("after {after} reads: {other:?}")),
            }
            sim.sleep(Duration::from_secs(2)).await;
            engine.partition.readiness().map_err(|reason| reason.to_string())?;
            engine.put(bucket, &name, &payload(700), WriteCondition::Always).await?;
            check(&engine, bucket).await.map_err(|error| error.to_string())?;
            Ok(is_held)
        })?;
    }
    Ok(was_held)
}

#[test]
fn a_fold_without_handles_is_held_and_says_so() {
    assert!(held(None).unwrap_or_else(|error| panic!("{error}")), "the fold was never held");
}

const PLACES: [&str; 5] = ["segments", "runs", "bulk", ".log", "p0000"];

/// Whatever cannot be opened or read for lack of handles, nothing is called corrupt, and it is there later.
fn exhausted(mutant: Option<Mutant>) -> Result<u64, String> {
    let mut shown = 0;
    for operation in [DiskOperation::Open, DiskOperation::Read] {
        for place in PLACES {
            for after in 0..4 {
                let run = in_world(mutant, async |sim, disk| {
                    let engine = open(sim, disk).await?;
                    let bucket = furnish(&engine).await?;
                    engine.close_log().await;
                    let engine = open(sim, disk).await?;
                    disk.inject(fault(operation, place, after, u64::MAX, FaultKind::Exhausted));
                    if let Err(error) = check(&engine, bucket).await
                        && !error.is_transient()
                    {
                        return Err(error.to_string());
                    }
                    sim.sleep(Duration::from_secs(30)).await;
                    let shown = disk.clear_faults();
                    check(&engine, bucket).await.map_err(|error| error.to_string())?;
                    engine.partition.cut().await.map_err(|error| error.to_string())?;
                    check(&engine, bucket).await.map_err(|error| error.to_string())?;
                    Ok(shown)
                });
                shown += run.map_err(|error| format!("{operation:?} {place} {after}: {error}"))?;
            }
        }
    }
    Ok(shown)
}

#[test]
fn exhausted_handles_are_never_damage() {
    let shown = exhausted(None).unwrap_or_else(|error| panic!("{error}"));
    assert!(shown > 20, "{shown} operations failed");
}

/// A device that gives wrong bytes once, or none, anywhere, while everything is read.
fn bad_once(mutant: Option<Mutant>) -> Result<u64, String> {
    let mut shown = 0;
    for kind in [FaultKind::Garbled, FaultKind::Error] {
        for (place, after) in PLACES.iter().flat_map(|place| (0..12).map(move |n| (*place, n))) {
            let run = in_world(mutant, async |sim, disk| {
                let engine = open(sim, disk).await?;
                let bucket = furnish(&engine).await?;
                disk.inject(fault(DiskOperation::Read, place, after, 1, kind));
                check(&engine, bucket).await.map_err(|error| error.to_string())?;
                engine.partition.cut().await.map_err(|error| error.to_string())?;
                check(&engine, bucket).await.map_err(|error| error.to_string())?;
                Ok(disk.clear_faults())
            });
            shown += run.map_err(|error: String| format!("{kind:?} {place} {after}: {error}"))?;
        }
    }
    Ok(shown)
}

#[test]
fn a_read_that_is_bad_once_is_done_again() {
    let shown = bad_once(None).unwrap_or_else(|error| panic!("{error}"));
    assert!(shown > 20, "{shown} reads were bad");
}

/// At a start: short handles make it wait, and a file that seemed damaged is tried again later. Once it kept
/// its run damaged for as long as the process lived.
#[test]
fn what_was_hurt_at_a_start_mends_by_itself() {
    for operation in [DiskOperation::Open, DiskOperation::Read] {
        for (kind, times) in [(FaultKind::Exhausted, 20), (FaultKind::Error, 2)] {
            for after in 0..6 {
                let run = in_world(None, async |sim, disk| {
                    let engine = open(sim, disk).await?;
                    let bucket = furnish(&engine).await?;
                    engine.close().await;
                    disk.inject(fault(operation, "runs", after, times, kind));
                    // State that cannot be read twice refuses the start, in words.
                    let engine = match open(sim, disk).await {
                        Ok(engine) => engine,
                        Err(error) if kind == FaultKind::Error && error.contains("state") => {
                            return Ok(());
                        }
                        Err(error) => return Err(error),
                    };
                    disk.clear_faults();
                    sim.sleep(Duration::from_secs(12)).await;
                    let view = engine.partition.snapshot().view;
                    let damage = view.sealed.runs.iter().find_map(|run| run.damage());
                    if let Some(damage) = damage {
                        return Err(format!("still damaged: {damage}"));
                    }
                    check(&engine, bucket).await.map_err(|error| error.to_string())
                });
                let run: Result<(), String> = run;
                run.unwrap_or_else(|error| panic!("{kind:?} {operation:?} {after}: {error}"));
            }
        }
    }
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_reads_are_found() {
    let found = |name: &str, run: Result<(), String>| {
        let error = run.expect_err(name);
        println!("{name}: {error}");
    };
    found("StopOnTransientRead", held(Some(Mutant::StopOnTransientRead)).map(drop));
    found("ExhaustionIsRot", exhausted(Some(Mutant::ExhaustionIsRot)).map(drop));
    found("BelieveFirstRead", bad_once(Some(Mutant::BelieveFirstRead)).map(drop));
}
