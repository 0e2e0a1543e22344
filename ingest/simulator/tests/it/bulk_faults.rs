//! Rot in bulk files: right bytes or an error that names file and place, never wrong bytes.

#![expect(clippy::disallowed_macros, reason = "a test tells what it did")]

use ingest::bulk::{self, BulkError, BulkOptions, UploadedPayload};
use ingest::entry::Extent;
use ingest::env::Env;
use ingest::ids::{BulkId, StoreId};
use ingest::log::{Corruption, ReadError};
use simulator::{DiskFault, DiskOperation, FaultKind, Sim, SimDisk};

use crate::bulk::{FRAME, open, options, path, payload, read, upload};

const FILE: BulkId = BulkId::new(1);

/// Lengths of two uploads, of one frame and of two.
const LENS: [usize; 2] = [3000, 66_000];

/// Two uploads in one file, and the disk that holds them.
fn two_uploads(sim: &Sim, fault: Option<DiskFault>) -> (SimDisk, [Vec<Extent>; 2]) {
    uploads(sim, LENS, fault)
}

fn uploads(sim: &Sim, lens: [usize; 2], fault: Option<DiskFault>) -> (SimDisk, [Vec<Extent>; 2]) {
    let disk = SimDisk::new(sim);
    let run = sim.block_on(&disk, async {
        let bulk = open(sim, &disk).await;
        fault.into_iter().for_each(|fault| disk.inject(fault));
        let first = upload(&bulk, &payload(1, lens[0]), &[9000]).await;
        let second = upload(&bulk, &payload(2, lens[1]), &[9000]).await;
        [first, second].map(|written: Result<UploadedPayload, BulkError>| {
            written.expect("the fault goes unnoticed").extents.to_vec()
        })
    });
    sim.stop();
    (disk.clone(), run.expect("written"))
}

fn corruption<T: std::fmt::Debug>(read: Result<T, ReadError>) -> Corruption {
    match read {
        Err(ReadError::Corrupt(corruption)) => corruption,
        other => panic!("corruption was to be named: {other:?}"),
    }
}

/// Reads both uploads as a new life does: each whole, or what is wrong with it.
fn look(sim: &Sim, disk: &SimDisk, extents: &[Vec<Extent>; 2]) -> [Option<Corruption>; 2] {
    let run = sim.block_on(disk, async {
        let bulk = open(sim, disk).await;
        let mut wrong = [None, None];
        for (index, wrong) in wrong.iter_mut().enumerate() {
            let len: u64 = extents[index].iter().map(|extent| extent.len).sum();
            match read(&bulk, &extents[index], 0..len).await {
                Ok(found) => {
                    assert!(found == payload(index as u8 + 1, len as usize), "wrong bytes");
                }
                failed => *wrong = Some(corruption(failed)),
            }
        }
        wrong
    });
    sim.stop();
    run.expect("looked")
}

fn check(sim: &Sim, disk: &SimDisk, extents: &[Vec<Extent>; 2]) -> Vec<Corruption> {
    check_with(sim.env(disk), sim, disk, &options(), &extents.concat())
}

fn check_with(
    env: Env,
    sim: &Sim,
    disk: &SimDisk,
    options: &BulkOptions,
    extents: &[Extent],
) -> Vec<Corruption> {
    let run = sim.block_on(disk, bulk::verify(&env, options, FILE, extents));
    run.expect("ends").expect("the disk works")
}

/// Flips bytes one at a time, and reads and checks after each.
fn flip(lens: [usize; 2], positions: impl Fn(u64) -> Vec<u64>) {
    let sim = Sim::new(1);
    let (disk, extents) = uploads(&sim, lens, None);
    assert_eq!(look(&sim, &disk, &extents), [None, None]);
    assert_eq!(check(&sim, &disk, &extents), []);
    let len = disk.read_all(&path(FILE)).expect("the file").len() as u64;
    let (mut harmless, mut named) = (0, 0);
    for position in positions(len) {
        disk.corrupt(&path(FILE), position, 0x10);
        let wrong = look(&sim, &disk, &extents);
        let found = check(&sim, &disk, &extents);
        disk.corrupt(&path(FILE), position, 0x10);
        assert!(wrong.iter().flatten().count() <= 1, "byte {position} hits both uploads");
        for corruption in wrong.iter().flatten() {
            assert_eq!(corruption.file, path(FILE).as_str());
            let frame = corruption.position..corruption.position + FRAME;
            assert!(frame.contains(&position), "byte {position}: {corruption}");
            assert_eq!(found, std::slice::from_ref(corruption));
        }
        match wrong {
            [None, None] => harmless += 1,
            _ => named += 1,
        }
        // The check sees a bad copy of the header, which a reader does without.
        let is_header = position < 52 || (2048..2100).contains(&position);
        assert_eq!(is_header, wrong == [None, None] && !found.is_empty(), "byte {position}");
    }
    println!("{lens:?}: {harmless} flips harmless, {named} named");
    let frames: usize = lens.iter().map(|len| len.div_ceil(FRAME as usize - 32)).sum();
    assert!(harmless > 0 && named >= 32 * frames);
}

#[test]
fn every_flipped_byte_of_a_small_file_is_named_or_harmless() {
    flip([3000, 5000], |len| (0..len).collect());
}

/// Every byte of the headers, and a sample of what lies between.
#[test]
fn flipped_bytes_of_an_upload_of_two_frames_are_named_or_harmless() {
    flip(LENS, |len| {
        let starts = [0, 2048, 4096, 8192, 8192 + FRAME];
        let headers = starts.into_iter().flat_map(|start| start..start + 64);
        headers.chain((0..len).step_by(997)).chain([len - 1]).collect()
    });
}

#[test]
fn good_frames_go_out_before_a_bad_one_is_named() {
    let sim = Sim::new(2);
    let (disk, extents) = two_uploads(&sim, None);
    let extent = extents[1][0];
    disk.corrupt(&path(FILE), extent.position + FRAME + 40, 1);
    let run = sim.block_on(&disk, async {
        let bulk = open(&sim, &disk).await;
        let mut reader = bulk.read([extent], 100..66_000);
        let first = reader.next().await.expect("good").expect("bytes");
        assert!(first == payload(2, 66_000).slice(100..65_504));
        for _ in 0..2 {
            let named = corruption(reader.next().await);
            assert_eq!(named.position, extent.position + FRAME);
            assert!(named.detail.contains("stored") && named.detail.contains("computed"));
        }
        let before = read(&bulk, &[extent], 0..65_504).await.expect("the rot is elsewhere");
        assert!(before == payload(2, 65_504));
    });
    run.expect("read");
}

/// A write that the device put elsewhere, or nowhere, is found when it is read, and by the check.
#[test]
fn misdirected_and_lost_writes_are_named() {
    // The first write is the header; the next two are the uploads'.
    let kinds = [FaultKind::Misdirect(4096), FaultKind::Misdirect(512), FaultKind::Stale];
    for (after, kind) in (1..3).flat_map(|after| kinds.map(|kind| (after, kind))) {
        let sim = Sim::new(3);
        let fault = DiskFault::once(DiskOperation::Write, ".bulk", after, kind);
        let (disk, extents) = two_uploads(&sim, Some(fault));
        assert_eq!(disk.clear_faults(), 1);
        let wrong = look(&sim, &disk, &extents);
        let hit = after as usize - 1;
        let named = wrong[hit].as_ref().unwrap_or_else(|| panic!("{after} {kind:?}"));
        assert_eq!(named.position, extents[hit][0].position, "{named}");
        assert!(check(&sim, &disk, &extents).contains(named));
    }
}

/// A header that was lost or landed elsewhere costs the file, and is named as that.
#[test]
fn a_lost_header_is_named() {
    for kind in [FaultKind::Stale, FaultKind::Misdirect(4096)] {
        let sim = Sim::new(4);
        let fault = DiskFault::once(DiskOperation::Write, ".bulk", 0, kind);
        let (disk, extents) = two_uploads(&sim, Some(fault));
        for named in look(&sim, &disk, &extents).into_iter().flatten() {
            assert_eq!((named.file.as_str(), named.position), (path(FILE).as_str(), 0));
        }
        assert_eq!(check(&sim, &disk, &extents)[0].position, 0);
    }
}

#[test]
fn a_missing_or_short_file_is_named() {
    let sim = Sim::new(5);
    let (disk, extents) = two_uploads(&sim, None);
    let lost = disk.copy_into(&sim);
    lost.lose(&path(FILE));
    assert!(look(&sim, &lost, &extents).iter().all(Option::is_some));
    assert_eq!(check(&sim, &lost, &extents)[0].detail, "the file is missing");
    let short = disk.copy_into(&sim);
    short.truncate(&path(FILE), extents[1][0].position + FRAME + 10);
    let [first, second] = look(&sim, &short, &extents);
    assert_eq!(first, None);
    let second = second.expect("cut short");
    assert_eq!(second.position, extents[1][0].position + FRAME);
    assert_eq!(check(&sim, &short, &extents), [second]);
    short.truncate(&path(FILE), 100);
    assert!(look(&sim, &short, &extents).iter().all(Option::is_some));
    assert_eq!(check(&sim, &short, &extents).len(), 1);
}

#[test]
fn extents_that_do_not_fit_the_file_are_named() {
    let sim = Sim::new(6);
    let (disk, extents) = two_uploads(&sim, None);
    let good = extents[1][0];
    let strangers = [
        Extent { len: good.len - 1, ..good },
        Extent { len: good.len + 1, ..good },
        Extent { position: good.position + FRAME, len: 496, ..good },
        Extent { position: good.position + 1, ..good },
        Extent { position: 0, ..good },
        Extent { len: u64::MAX, ..good },
        Extent { position: 1 << 30, ..good },
    ];
    for stranger in strangers {
        let run = sim.block_on(&disk, async {
            let bulk = open(&sim, &disk).await;
            corruption(read(&bulk, &[stranger], 0..stranger.len).await)
        });
        let named = run.expect("read");
        assert_eq!(named.file, path(FILE).as_str(), "{stranger:?}");
        sim.stop();
    }
    // A range that the extents do not have is no end of the payload.
    for (named, range) in [(&[good][..], 0..good.len + 1), (&[], 0..1)] {
        let run = sim.block_on(&disk, async {
            let bulk = open(&sim, &disk).await;
            corruption(read(&bulk, named, range).await)
        });
        assert_eq!(run.expect("read").detail, "the payload ends 1 bytes early");
        sim.stop();
    }
    // The check names what overlaps, once; the same extent twice is no matter.
    let inside = Extent { position: good.position + 4096, len: 100, ..good };
    let found = check(&sim, &disk, &[vec![good, good], vec![inside]]);
    assert!(found.iter().any(|named| named.detail.contains("within another")), "{found:?}");
    assert_eq!(check(&sim, &disk, &[vec![good, good], extents[0].clone()]), []);
    // A file of another store is no file of ours.
    let other = BulkOptions { store: StoreId([4; 16]), ..options() };
    let found = check_with(sim.env(&disk), &sim, &disk, &other, &[good]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].detail.contains("of store"), "{}", found[0]);
}

#[test]
fn a_read_that_fails_once_is_not_corruption() {
    let sim = Sim::new(7);
    let (disk, extents) = two_uploads(&sim, None);
    let run = sim.block_on(&disk, async {
        let bulk = open(&sim, &disk).await;
        read(&bulk, &extents[0], 0..1).await.expect("the handle is there");
        let fault = DiskFault::once(DiskOperation::Read, ".bulk", 0, FaultKind::Error);
        disk.inject(DiskFault { times: 2, ..fault.clone() });
        // Two frames at once fail, then one alone; read once more it is there.
        let found = read(&bulk, &extents[1], 0..66_000).await.expect("read");
        assert!(found == payload(2, 66_000));
        // A frame that fails twice when read alone is damaged, as far as anybody can tell;
        disk.inject(DiskFault { times: 3, ..fault.clone() });
        let failed = corruption(read(&bulk, &extents[1], 0..66_000).await);
        assert!(failed.detail.contains("simulated Io"), "{failed:?}");
        // handles that have run out never are.
        disk.inject(DiskFault { times: 2, kind: FaultKind::Exhausted, ..fault.clone() });
        let failed = read(&bulk, &extents[1], 0..66_000).await;
        assert!(matches!(failed, Err(ReadError::Unavailable { .. })), "{failed:?}");
        // Wrong bytes are as good as none.
        disk.inject(DiskFault { times: 2, kind: FaultKind::Garbled, ..fault });
        let found = read(&bulk, &extents[1], 0..66_000).await.expect("read");
        assert!(found == payload(2, 66_000));
    });
    run.expect("read");
    sim.stop();
}
