//! Bulk files on the simulated disk: what comes back, what is refused, what collection may have.

#![allow(clippy::disallowed_macros, reason = "a test tells what it found")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{join, join_all};
use ingest::bulk::{BulkError, BulkFiles, BulkOptions, BulkReader, PayloadUpload, UploadedPayload};
use ingest::entry::Extent;
use ingest::env::FilePath;
use ingest::ids::{BulkId, PartitionId, StoreId};
use ingest::log::ReadError;
use ingest::mutant::Mutant;
use ingest::place::{PerPlace, Place};
use proptest::prelude::*;
use simulator::trace::Trace;
use simulator::{CrashSurvival, DiskFault, DiskOperation, FaultKind, Sim, SimDisk};

pub const FRAME: u64 = 64 << 10;

pub fn options() -> BulkOptions {
    BulkOptions {
        folder: FilePath::new("p0000/bulk"),
        store: StoreId([3; 16]),
        partition: PartitionId::ZERO,
        next: PerPlace::default(),
        file_bytes_max: 1 << 20,
        sync_bytes: 100 << 10,
        reserve_bytes: 0,
    }
}

pub fn path(id: BulkId) -> FilePath {
    FilePath::new(format!("p0000/bulk/{:010}.bulk", id.number())).within(id.place())
}

pub async fn open(sim: &Sim, disk: &SimDisk) -> Arc<BulkFiles> {
    BulkFiles::open(sim.env(disk), options()).await.expect("the folder opens")
}

/// Payload that differs in every frame and for every tag.
pub fn payload(tag: u8, len: usize) -> Bytes {
    (0..len).map(|i| (i as u64 * 31 + (i as u64 >> 16) + u64::from(tag)) as u8).collect()
}

/// Uploads in pieces of the given lengths, over and over.
pub async fn upload(
    bulk: &Arc<BulkFiles>,
    bytes: &Bytes,
    lens: &[usize],
) -> Result<UploadedPayload, BulkError> {
    let mut upload = bulk.begin(Place::Hot, bytes.len() as u64).await?;
    let mut rest = bytes.clone();
    for len in lens.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        upload.write(rest.split_to((*len).min(rest.len()))).await?;
    }
    upload.finish().await
}

pub async fn read(
    bulk: &Arc<BulkFiles>,
    extents: &[Extent],
    range: std::ops::Range<u64>,
) -> Result<Vec<u8>, ReadError> {
    let mut reader = bulk.read(extents, range);
    let mut found = Vec::new();
    while let Some(bytes) = reader.next().await? {
        found.extend_from_slice(&bytes);
    }
    Ok(found)
}

fn run<T>(seed: u64, story: impl AsyncFnOnce(&Sim, &SimDisk) -> T) -> T {
    let sim = Sim::new(seed);
    let disk = SimDisk::new(&sim);
    sim.block_on(&disk, story(&sim, &disk)).expect("the story ends")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_range_of_two_uploads_at_once_comes_back(
        seed: u64,
        sizes in prop::array::uniform2(prop_oneof![1usize..5000, 60_000usize..1_500_000]),
        lens in prop::collection::vec(1usize..200_000, 1..6),
        cuts in prop::collection::vec((0.0..=1.0f64, 0.0..=1.0f64), 6),
    ) {
        run(seed, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let payloads = [payload(1, sizes[0]), payload(2, sizes[1])];
            let (first, second) =
                join(upload(&bulk, &payloads[0], &lens), upload(&bulk, &payloads[1], &lens)).await;
            for (written, payload) in [first, second].into_iter().zip(&payloads) {
                let written = written.expect("written");
                let digest = crc_64_nvme(payload);
                assert_eq!(written.digest, digest);
                let len: u64 = written.extents.iter().map(|extent| extent.len).sum();
                assert_eq!(len, payload.len() as u64);
                for (a, b) in &cuts {
                    let at = |share: f64| (share * payload.len() as f64) as usize;
                    let range = at(a.min(*b))..at(a.max(*b));
                    let found = read(&bulk, &written.extents, range.start as u64..range.end as u64);
                    assert!(found.await.expect("read") == payload[range]);
                }
            }
        });
    }
}

/// The digest by its definition, bit by bit: polynomial ad93d23594c93659, reflected, inverted.
fn crc_64_nvme(bytes: &[u8]) -> u64 {
    let step = |crc: u64, _| if crc & 1 == 1 { crc >> 1 ^ 0x9a6c_9329_ac4b_c9b5 } else { crc >> 1 };
    let table: Vec<u64> = (0..256).map(|byte| (0..8).fold(byte, step)).collect();
    !bytes.iter().fold(!0, |crc, byte| table[(crc as u8 ^ byte) as usize] ^ crc >> 8)
}

#[test]
fn an_upload_larger_than_a_file_goes_on_in_the_next() {
    run(1, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let bytes = payload(1, 2_500_000);
        let written = upload(&bulk, &bytes, &[70_000]).await.expect("written");
        let files: Vec<u64> = written.extents.iter().map(|extent| extent.file.get()).collect();
        assert_eq!(files, [1, 2, 3]);
        assert_eq!(bulk.in_flight().len(), 3);
        let found = read(&bulk, &written.extents, 0..bytes.len() as u64).await.expect("read");
        assert!(found == bytes);
        for id in written.extents.iter().map(|extent| extent.file) {
            let len = disk.read_all(&path(id)).expect("the file").len() as u64;
            assert!(len <= options().file_bytes_max, "{len}");
        }
    });
}

#[test]
fn a_file_is_sealed_when_it_is_full_and_let_go_of() {
    run(2, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let [first, second] = [BulkId::new(1), BulkId::new(2)];
        let one = upload(&bulk, &payload(1, 700_000), &[50_000]).await.expect("written");
        assert_eq!(bulk.open_files(), [first]);
        let other = upload(&bulk, &payload(2, 700_000), &[50_000]).await.expect("written");
        assert_eq!(other.extents[0].file, second);
        assert_eq!(bulk.next()[Place::Hot], second.next());
        // Full, and its record's outcome is not known yet.
        assert!(!bulk.is_sealed(first));
        assert_eq!(bulk.collectable(Place::Hot).await, Ok(vec![]));
        drop(one.guard);
        drop(other.guard);
        assert!(bulk.is_sealed(first) && !bulk.is_sealed(second) && bulk.in_flight().is_empty());
        assert_eq!(bulk.open_files(), [second]);
        assert_eq!(bulk.collectable(Place::Hot).await, Ok(vec![first]));
        // A reader that began goes on; one that comes after is told that something is wrong.
        let mut reader = bulk.read(one.extents.clone(), 0..700_000);
        let mut found = reader.next().await.expect("read").expect("bytes").to_vec();
        bulk.remove(first).await.expect("removed");
        bulk.remove(first).await.expect("removed twice");
        assert_eq!(bulk.list().await, Ok(vec![second]));
        while let Some(bytes) = reader.next().await.expect("read") {
            found.extend_from_slice(&bytes);
        }
        assert!(found == payload(1, 700_000));
        let late = read(&bulk, &one.extents, 0..10).await;
        assert!(matches!(late, Err(ReadError::Corrupt(_))), "{late:?}");
    });
}

#[test]
fn a_new_life_begins_a_new_file_with_a_new_number() {
    run(3, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let written = upload(&bulk, &payload(1, 300_000), &[50_000]).await.expect("written");
        let bulk = open(sim, disk).await;
        assert_eq!(bulk.next()[Place::Hot], BulkId::new(2));
        assert!(bulk.is_sealed(BulkId::new(1)), "nothing is appended to it any more");
        let next = upload(&bulk, &payload(2, 300_000), &[50_000]).await.expect("written");
        assert_eq!(next.extents[0].file, BulkId::new(2));
        let found = read(&bulk, &written.extents, 0..300_000).await.expect("read");
        assert!(found == payload(1, 300_000));
        let known = BulkOptions { next: PerPlace::each(|place| BulkId::of(place, 9)), ..options() };
        let bulk = BulkFiles::open(sim.env(disk), known).await.expect("opens");
        bulk.skip_to(BulkId::new(4));
        let later = upload(&bulk, &payload(3, 300_000), &[50_000]).await.expect("written");
        assert_eq!(later.extents[0].file, BulkId::new(9));
    });
}

#[test]
fn too_few_or_too_many_bytes_are_refused() {
    run(4, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let mut short = bulk.begin(Place::Hot, 1000).await.expect("begun");
        short.write(payload(1, 999)).await.expect("taken");
        let refused = short.finish().await.expect_err("a byte is missing");
        assert_eq!(refused, BulkError::WrongLength { announced: 1000, given: 999 });
        let mut long = bulk.begin(Place::Hot, 1000).await.expect("begun");
        let refused = long.write(payload(1, 1001)).await.expect_err("a byte too many");
        assert_eq!(refused, BulkError::WrongLength { announced: 1000, given: 1001 });
        assert_eq!(long.finish().await.expect_err("broken"), BulkError::Broken);
        assert!(bulk.in_flight().is_empty());
        let empty = bulk
            .begin(Place::Hot, 0)
            .await
            .expect("begun")
            .finish()
            .await
            .expect("nothing to write");
        assert!(empty.extents.is_empty());
    });
}

#[test]
fn an_abandoned_upload_leaves_its_space_to_nobody() {
    run(5, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let mut abandoned = bulk.begin(Place::Hot, 300_000).await.expect("begun");
        abandoned.write(payload(1, 280_000)).await.expect("taken");
        drop(abandoned);
        let written = upload(&bulk, &payload(2, 300_000), &[50_000]).await.expect("written");
        assert!(written.extents[0].position > 300_000);
        let found = read(&bulk, &written.extents, 0..300_000).await.expect("read");
        assert!(found == payload(2, 300_000));
    });
}

/// The length of a browser's file is known at its end only: the rest of what was announced is the next upload's.
#[test]
fn a_shortened_upload_leaves_its_rest_to_the_next() {
    let frame = 65_504;
    for len in [
        0,
        1,
        4064,
        4065,
        frame - 1,
        frame,
        frame + 1,
        4 * frame,
        4 * frame + 1,
        300_000,
        1_043_000,
    ] {
        run(len as u64, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let bytes = payload(1, len);
            let mut upload = bulk.begin(Place::Hot, 3_000_000).await.expect("begun");
            for at in (0..len).step_by(50_000) {
                upload.write(bytes.slice(at..len.min(at + 50_000))).await.expect("taken");
            }
            upload.shorten().await.expect("shortened");
            assert!(upload.write(payload(9, 1)).await.is_err(), "{len}: no byte follows");
            drop(upload);
            let mut upload = bulk.begin(Place::Hot, 3_000_000).await.expect("begun");
            upload.write(bytes.clone()).await.expect("taken");
            upload.shorten().await.expect("shortened");
            let written = upload.finish().await.expect("finished");
            let same = super::bulk::upload(&bulk, &bytes, &[50_000]).await.expect("written");
            assert_eq!(written.digest, same.digest, "{len}");
            let lens =
                |of: &UploadedPayload| of.extents.iter().map(|extent| extent.len).sum::<u64>();
            assert_eq!((lens(&written), lens(&same)), (len as u64, len as u64));
            for of in [&written, &same] {
                let found = read(&bulk, &of.extents, 0..len as u64).await.expect("read");
                assert!(found == bytes, "{len}");
            }
            let blocks = (len + len.div_ceil(frame) * 32).next_multiple_of(4096) as u64;
            let taken = taken(sim, disk, &bulk).await;
            assert!(taken <= 2 * blocks + 3 * 4096, "{len}: {taken} bytes are taken");
            // The place is free as well: beside the two, another upload fits into the same file.
            let next = super::bulk::upload(&bulk, &payload(2, 100), &[100]).await.expect("written");
            let last = same.extents.last().map_or(next.extents[0].file, |extent| extent.file);
            assert!(next.extents[0].file <= last.next(), "{len}");
        });
    }
}

/// A body may say nothing of its length: an upload takes place as bytes come, and has the same bytes as any other.
#[test]
fn an_upload_of_unknown_length_takes_place_as_it_comes() {
    let (frame, most) = (65_504, 3_000_000);
    for len in [
        0,
        1,
        frame - 1,
        frame,
        2 * frame - 1,
        2 * frame,
        2 * frame + 1,
        4 * frame,
        4 * frame + 1,
        9 * frame,
        1_043_000,
        most - 1,
        most,
    ] {
        run(len as u64, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let bytes = payload(1, len);
            let mut abandoned =
                bulk.begin_unannounced(Place::Hot, most as u64).await.expect("begun");
            abandoned.write(bytes.clone()).await.expect("taken");
            drop(abandoned);
            let mut upload = bulk.begin_unannounced(Place::Hot, most as u64).await.expect("begun");
            for at in (0..len).step_by(50_000) {
                upload.write(bytes.slice(at..len.min(at + 50_000))).await.expect("taken");
            }
            if len < most {
                upload.shorten().await.expect("shortened");
            }
            let written = upload.finish().await.expect("finished");
            let same = super::bulk::upload(&bulk, &bytes, &[50_000]).await.expect("written");
            assert_eq!(written.digest, same.digest, "{len}");
            let sum: u64 = written.extents.iter().map(|extent| extent.len).sum();
            assert_eq!(sum, len as u64);
            let (last, others) = match written.extents.split_last() {
                Some((last, others)) => (last.len, others),
                None => (1, &[][..]),
            };
            let is_whole = |extent: &Extent| extent.len.is_multiple_of(frame as u64);
            assert!(last > 0 && others.iter().all(is_whole), "{len}: {:?}", written.extents);
            let found = read(&bulk, &written.extents, 0..len as u64).await.expect("read");
            assert!(found == bytes, "{len}");
            let blocks = (len + len.div_ceil(frame) * 32).next_multiple_of(4096) as u64;
            let taken = taken(sim, disk, &bulk).await;
            assert!(taken <= 2 * blocks + 8 * 4096, "{len}: {taken} bytes are taken");
        });
    }
    run(1, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let mut long = bulk.begin_unannounced(Place::Hot, 1000).await.expect("begun");
        let refused = long.write(payload(1, 1001)).await.expect_err("a byte too many");
        assert_eq!(refused, BulkError::WrongLength { announced: 1000, given: 1001 });
        // A short one keeps no place from the next.
        let mut files = Vec::new();
        for _ in 0..5 {
            let mut short = bulk.begin_unannounced(Place::Hot, 1 << 40).await.expect("begun");
            short.write(payload(1, 1000)).await.expect("taken");
            short.shorten().await.expect("shortened");
            files.push(short.finish().await.expect("finished").extents[0].file);
        }
        files.dedup();
        assert!(files.len() <= 2, "{files:?}");
    });
}

#[test]
fn a_dropped_write_cannot_be_finished() {
    // Some seed makes the device slow enough for a write to wait.
    let mut waited = 0;
    for seed in 0..20 {
        waited += run(seed, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let mut upload = bulk.begin(Place::Hot, 900_000).await.expect("begun");
            {
                let write = std::pin::pin!(upload.write(payload(1, 900_000)));
                if futures::poll!(write).is_ready() {
                    return 0;
                }
            }
            assert_eq!(upload.finish().await.expect_err("incomplete"), BulkError::Broken);
            1
        });
    }
    assert!(waited > 0);
}

#[test]
fn a_dropped_begin_leaves_only_garbage() {
    let mut cut_short = 0;
    for (seed, polls) in (0..20).flat_map(|seed| (0..16).map(move |polls| (seed, polls))) {
        cut_short += run(seed, async |sim, disk| {
            let env = sim.env(disk);
            let bulk = open(sim, disk).await;
            let mut begin = Box::pin(bulk.begin(Place::Hot, 2_000_000));
            for _ in 0..polls {
                if futures::poll!(&mut begin).is_ready() {
                    return 0;
                }
                env.clock.sleep(Duration::from_micros(500)).await;
            }
            drop(begin);
            assert!(bulk.in_flight().is_empty());
            let written = upload(&bulk, &payload(1, 300_000), &[50_000]).await.expect("written");
            let found = read(&bulk, &written.extents, 0..300_000).await.expect("read");
            assert!(found == payload(1, 300_000));
            for id in bulk.collectable(Place::Hot).await.expect("listed") {
                bulk.remove(id).await.expect("removed");
            }
            assert_eq!(bulk.list().await, Ok(vec![written.extents[0].file]));
            1
        });
    }
    assert!(cut_short > 50, "{cut_short}");
}

#[test]
fn a_full_device_refuses_before_anything_is_taken() {
    run(6, async |sim, disk| {
        let reserve = BulkOptions { reserve_bytes: 200_000, ..options() };
        let bulk = BulkFiles::open(sim.env(disk), reserve).await.expect("opens");
        disk.set_capacity(Some(1_000_000));
        let full = bulk.begin(Place::Hot, 900_000).await.err().expect("no room above the reserve");
        assert!(matches!(full, BulkError::Full { free: 1_000_000, .. }), "{full:?}");
        assert_eq!(bulk.list().await, Ok(vec![]), "nothing was begun");
        let written = upload(&bulk, &payload(1, 600_000), &[50_000]).await.expect("written");
        for len in [300_000, 5_000_000, u64::MAX] {
            assert!(matches!(bulk.begin(Place::Hot, len).await, Err(BulkError::Full { .. })));
        }
        assert_eq!(bulk.list().await, Ok(vec![BulkId::new(1)]));
        let found = read(&bulk, &written.extents, 0..600_000).await.expect("reads go on");
        assert!(found == payload(1, 600_000));
        // Removal makes room.
        drop(written);
        upload(&bulk, &payload(2, 100_000), &[50_000]).await.expect("what fits is taken");
    });
}

/// The free space that was asked for may be gone when it is taken: another file system user was faster.
#[test]
fn a_device_that_fills_meanwhile_leaves_no_half_made_file() {
    for capacity in [2000, 20_000, 1_100_000, 1_800_000] {
        run(capacity, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let bytes = payload(1, 2_500_000);
            let given = async {
                let mut upload = bulk.begin(Place::Hot, 2_500_000).await?;
                for at in (0..bytes.len()).step_by(70_000) {
                    upload.write(bytes.slice(at..bytes.len().min(at + 70_000))).await?;
                }
                upload.finish().await
            };
            let given = join(given, async { disk.set_capacity(Some(capacity)) }).await.0;
            assert!(matches!(given, Err(BulkError::Full { .. })), "{capacity}: {given:?}");
            sim.sleep(Duration::from_secs(1)).await;
            assert!(disk.used_bytes() < 20_000, "{capacity}: {} are taken", disk.used_bytes());
            assert!(bulk.list().await.expect("listed").len() as u64 <= 1 + capacity / 1_000_000);
            disk.set_capacity(None);
            upload(&bulk, &payload(1, 300_000), &[50_000]).await.expect("room again");
        });
    }
}

/// Bytes that the bulk files take beside their headers.
async fn taken(sim: &Sim, disk: &SimDisk, bulk: &BulkFiles) -> u64 {
    // What is given back is so by a task.
    sim.sleep(Duration::from_secs(1)).await;
    let files = bulk.list().await.expect("listed").len() as u64;
    disk.used_bytes() - files * 4096
}

/// Clients announce much, send a little and go: a store that keeps what they announced is full of nothing.
fn little_comes_of_much(sent: usize, mutant: Option<Mutant>) -> Result<(), String> {
    let mut sim = Sim::new(sent as u64);
    sim.set_mutant(mutant);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        let bulk = open(&sim, &disk).await;
        let mut kept = Vec::new();
        for tag in 0..8 {
            let mut abandoned = bulk.begin(Place::Hot, 900_000).await.expect("begun");
            abandoned.write(payload(9, sent)).await.expect("taken");
            let held = disk.used_bytes();
            kept.push(upload(&bulk, &payload(tag, 30_000), &[9_000]).await.expect("written"));
            drop(abandoned);
            let most = 400_000 + 2 * sent as u64;
            if held > most {
                return Err(format!("{held} bytes are taken for {sent} that came"));
            }
        }
        let taken = taken(&sim, &disk, &bulk).await;
        // Eight uploads of eight blocks are all there is.
        if taken != 8 * 32_768 {
            return Err(format!("{taken} bytes are taken for nothing"));
        }
        for (tag, written) in kept.iter().enumerate() {
            match read(&bulk, &written.extents, 0..30_000).await {
                Ok(found) if found == payload(tag as u8, 30_000) => {}
                other => return Err(format!("upload {tag}: {:?}", other.map(|_| "other bytes"))),
            }
        }
        Ok(())
    });
    run.map_err(|stopped| format!("{stopped:?}"))?
}

#[test]
fn what_was_announced_and_never_came_takes_no_space() {
    for sent in [0, 1, 5_000, 70_000, 300_000] {
        little_comes_of_much(sent, None).unwrap_or_else(|error| panic!("{sent}: {error}"));
    }
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bugs_of_given_back_space_are_found() {
    for bug in [Mutant::ReserveWhole, Mutant::KeepAbandoned, Mutant::DiscardNeighbour] {
        let found =
            [0, 70_000].into_iter().find_map(|sent| little_comes_of_much(sent, Some(bug)).err());
        println!("{bug:?}: {found:?}");
        assert!(found.is_some(), "{bug:?} was not found");
    }
}

/// A process that is killed has no time to give anything back; the next one does.
#[test]
fn what_a_killed_process_had_reserved_is_given_back_by_the_next() {
    for seed in 0..10 {
        let sim = Sim::new(seed);
        let disk = SimDisk::new(&sim);
        let begun = sim.block_on(&disk, async {
            let bulk = open(&sim, &disk).await;
            let written = upload(&bulk, &payload(1, 30_000), &[9_000]).await.expect("written");
            let mut uploads = Vec::new();
            for _ in 0..4 {
                let mut upload = bulk.begin(Place::Hot, 900_000).await.expect("begun");
                upload.write(payload(2, 5_000)).await.expect("taken");
                uploads.push(upload);
            }
            sim.sleep(Duration::from_secs(1)).await;
            assert!(disk.used_bytes() > 100_000);
            // Nothing is dropped in a process that is killed.
            std::mem::forget(uploads);
            (written.extents.to_vec(), bulk.list().await.expect("listed"))
        });
        sim.crash(&disk, CrashSurvival::KeepAll);
        let (extents, files) = begun.expect("ends");
        let checked = sim.block_on(&disk, async {
            let bulk = open(&sim, &disk).await;
            for id in &files {
                bulk.tidy(*id).await.expect("given back");
            }
            let taken = taken(&sim, &disk, &bulk).await;
            assert_eq!(taken, 32_768, "one upload of eight blocks is all there is");
            read(&bulk, &extents, 0..30_000).await.expect("read")
        });
        assert!(checked.expect("ends") == payload(1, 30_000));
    }
}

/// A write that is refused when all of it has come, by its condition say, has been written for nothing.
#[test]
fn payload_of_a_refused_write_is_given_back() {
    run(8, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let refused = upload(&bulk, &payload(1, 300_000), &[50_000]).await.expect("written");
        let named = upload(&bulk, &payload(2, 30_000), &[50_000]).await.expect("written");
        refused.guard.give_back();
        drop(named.guard);
        assert_eq!(taken(sim, disk, &bulk).await, 32_768);
        let found = read(&bulk, &named.extents, 0..30_000).await.expect("read");
        assert!(found == payload(2, 30_000));
        let gone = read(&bulk, &refused.extents, 0..300_000).await;
        assert!(matches!(gone, Err(ReadError::Corrupt(_))), "zeros are no payload: {gone:?}");
    });
}

/// Those who have announced and not sent keep others out for a moment only; those who send keep their room.
#[test]
fn a_promise_counts_for_what_comes() {
    run(9, async |sim, disk| {
        let bulk = open(sim, disk).await;
        disk.set_capacity(Some(1_000_000));
        let mut idle = bulk.begin(Place::Hot, 900_000).await.expect("begun");
        idle.write(payload(1, 10)).await.expect("taken");
        let second = bulk.begin(Place::Hot, 500_000).await.err().expect("the room is promised");
        assert!(matches!(second, BulkError::Full { .. }));
        sim.sleep(Duration::from_secs(500)).await;
        let second = upload(&bulk, &payload(2, 500_000), &[50_000]).await.expect("written");
        // Whoever comes back too late is told so, and what came is given back.
        let late = async {
            for _ in 0..9 {
                idle.write(payload(1, 99_000)).await?;
            }
            idle.finish().await
        };
        let late = late.await;
        assert!(matches!(late, Err(BulkError::Full { .. })), "{late:?}");
        assert!(taken(sim, disk, &bulk).await < 520_000);
        let found = read(&bulk, &second.extents, 0..500_000).await.expect("read");
        assert!(found == payload(2, 500_000));
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Uploads come and go beside each other, finished, shortened, abandoned and refused: those that are
    /// kept are whole, and nothing else takes space.
    #[test]
    fn only_what_is_kept_takes_space(
        seed: u64,
        steps in prop::collection::vec((0usize..4, 0u8..7, 1usize..400_000), 1..40),
    ) {
        run(seed, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let mut open_uploads: [Option<(PayloadUpload, Bytes, usize)>; 4] = [None, None, None, None];
            let mut kept: Vec<(UploadedPayload, Bytes)> = Vec::new();
            for (tag, (slot, what, len)) in steps.into_iter().enumerate() {
                let Some((mut upload, bytes, given)) = open_uploads[slot].take() else {
                    let bytes = payload(tag as u8, len);
                    let upload = bulk.begin(Place::Hot, len as u64).await.expect("begun");
                    open_uploads[slot] = Some((upload, bytes, 0));
                    continue;
                };
                match what {
                    0 => {
                        upload.write(bytes.slice(given..)).await.expect("taken");
                        kept.push((upload.finish().await.expect("finished"), bytes));
                    }
                    1 => drop(upload),
                    2 => {
                        upload.write(bytes.slice(given..)).await.expect("taken");
                        upload.finish().await.expect("finished").guard.give_back();
                    }
                    3..6 => {
                        upload.shorten().await.expect("shortened");
                        match what {
                            3 => drop(upload),
                            4 => upload.finish().await.expect("finished").guard.give_back(),
                            _ => {
                                let written = upload.finish().await.expect("finished");
                                kept.push((written, bytes.slice(..given)));
                            }
                        }
                    }
                    _ => {
                        let more = given.max((given + len).min(bytes.len()));
                        upload.write(bytes.slice(given..more)).await.expect("taken");
                        open_uploads[slot] = Some((upload, bytes, more));
                    }
                }
            }
            drop(open_uploads);
            let taken = taken(sim, disk, &bulk).await;
            let mut least = 0;
            for (written, bytes) in &kept {
                let found = read(&bulk, &written.extents, 0..bytes.len() as u64).await;
                assert!(found.expect("read") == *bytes);
                let blocks = |len: u64| (len + len.div_ceil(65_504) * 32).next_multiple_of(4096);
                least += written.extents.iter().map(|extent| blocks(extent.len)).sum::<u64>();
            }
            assert_eq!(taken, least);
        });
    }
}

#[test]
fn a_failed_sync_or_write_fails_all_that_is_unfinished_and_retires_the_file() {
    for (operation, seed) in [DiskOperation::Sync, DiskOperation::Write]
        .into_iter()
        .flat_map(|o| (0..40).map(move |s| (o, s)))
    {
        run(seed, async |sim, disk| {
            let bulk = open(sim, disk).await;
            let before = upload(&bulk, &payload(1, 100_000), &[50_000]).await.expect("written");
            let mut waiting = bulk.begin(Place::Hot, 100_000).await.expect("begun");
            waiting.write(payload(2, 50_000)).await.expect("taken");
            disk.inject(DiskFault::once(operation, ".bulk", 0, FaultKind::Error));
            let failed = upload(&bulk, &payload(3, 400_000), &[50_000]).await;
            assert!(matches!(failed, Err(BulkError::Failed { .. })), "{failed:?}");
            // The fault is over; the file is given up all the same.
            let ended = async move {
                waiting.write(payload(2, 50_000)).await?;
                waiting.finish().await
            };
            let ended = ended.await;
            assert!(matches!(ended, Err(BulkError::Failed { .. })), "{ended:?}");
            let after = upload(&bulk, &payload(4, 100_000), &[50_000]).await.expect("a new file");
            assert_eq!(after.extents[0].file, BulkId::new(2));
            for (written, tag) in [(&before, 1), (&after, 4)] {
                let found = read(&bulk, &written.extents, 0..100_000).await.expect("read");
                assert!(found == payload(tag, 100_000));
            }
            drop(before);
            assert!(bulk.is_sealed(BulkId::new(1)));
        });
    }
}

#[test]
fn many_files_are_read_with_few_handles() {
    run(7, async |sim, disk| {
        let bulk = open(sim, disk).await;
        let mut written = Vec::new();
        for tag in 0..80 {
            written.push(upload(&bulk, &payload(tag, 600_000), &[600_000]).await.expect("written"));
        }
        for (tag, written) in written.iter().enumerate() {
            let found = read(&bulk, &written.extents, FRAME..FRAME + 10).await.expect("read");
            assert!(found == payload(tag as u8, 600_000)[FRAME as usize..FRAME as usize + 10]);
        }
    });
}

/// How many syncs of bulk files a history has.
fn syncs(trace: &Trace) -> usize {
    let is_sync = |line: &&String| line.contains(" Sync ") && line.contains(".bulk");
    trace.lines().iter().filter(is_sync).count()
}

#[test]
fn uploads_of_one_file_share_syncs_and_long_ones_sync_on_the_way() {
    for seed in 0..10 {
        let trace = Arc::new(Trace::new(true));
        let sim = Sim::with_trace(seed, trace.clone());
        let disk = SimDisk::new(&sim);
        let run = sim.block_on(&disk, async {
            let bulk = open(&sim, &disk).await;
            let large = payload(1, 5_000_000);
            let long = BulkOptions {
                next: PerPlace::each(|place| BulkId::of(place, 9)),
                file_bytes_max: 8 << 20,
                sync_bytes: 512 << 10,
                ..options()
            };
            let long = BulkFiles::open(sim.env(&disk), long).await.expect("opens");
            let before = syncs(&trace);
            upload(&long, &large, &[100_000]).await.expect("written");
            let on_the_way = syncs(&trace) - before;
            assert!((9..=12).contains(&on_the_way), "{on_the_way} syncs of 512 KiB in 5 MB");
            // All have written when the first asks.
            let mut uploads = Vec::new();
            for tag in 0..8 {
                let mut upload = bulk.begin(Place::Hot, 50_000).await.expect("begun");
                upload.write(payload(tag, 50_000)).await.expect("taken");
                uploads.push(upload);
            }
            let before = syncs(&trace);
            let finished = join_all(uploads.into_iter().map(PayloadUpload::finish)).await;
            assert!(finished.iter().all(Result::is_ok));
            let shared = syncs(&trace) - before;
            assert!(shared < 8, "{shared} syncs for 8 uploads");
        });
        run.expect("the story ends");
    }
}

/// The server's threads share the files and hand uploads and readers to each other.
#[test]
fn uploads_and_readers_move_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>(_: T) {}
    shared::<BulkFiles>();
    shared::<UploadedPayload>();
    let _ = |upload: PayloadUpload| sent(upload.finish());
    let _ = |mut reader: BulkReader| sent(reader.next());
    let _ = |bulk: &'static Arc<BulkFiles>| sent(bulk.begin(Place::Hot, 1));
}
