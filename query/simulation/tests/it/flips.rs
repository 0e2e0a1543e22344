//! One flipped byte at a time, over every byte of a store that was closed cleanly.
//!
//! Whatever byte it is, reads give the right bytes or an error that names the file; nothing panics, nothing
//! is silently missing. A flip in a segment, manifest or key index does not stop the store, and one in a
//! segment concerns only the objects of one block.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use bytes::Bytes;
use compactor::manifest::schema;
use compactor::view::EntryData;
use ingest::entry::{EntryValue, PayloadLocation};
use ingest::env::FilePath;
use ingest::ids::{BucketId, Offset};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{VersionRef, Versioning, WriteCondition};
use query::listing::{self, ListItem, ListRequest, ListStart};
use query::object;
use query::scan::{self, KeyBounds, ScanCounts, VersionScope};
use simulator::{Sim, SimDisk, SimRandom};

use crate::world::{Engine, open};

/// A version that must be found: bucket, key, version, `null` or not, its bytes unless it is a marker.
pub type Known = (BucketId, Bytes, Offset, bool, Option<Bytes>);

/// Makes a store with every kind of file: two runs and segments, bulk payload, an open upload, a marker,
/// and records that are not folded yet.
pub async fn fill(engine: &Engine) -> Result<(), String> {
    let plain = engine.bucket("plain", Versioning::Off).await?;
    let kept = engine.bucket("versions", Versioning::On).await?;
    let key = |name: &str| ObjectKey::new(name.as_bytes().to_vec()).expect("a short key");
    let put = async |bucket, name: &str, bytes: usize| {
        let payload: Vec<u8> = (0..bytes).map(|at| (at * 7 + name.len()) as u8).collect();
        engine.put(bucket, &key(name), &payload, WriteCondition::Always).await.map(|_| ())
    };
    for number in 0..10 {
        put(plain, &format!("small/{number}"), 100 + 130 * number).await?;
    }
    put(plain, "large", 3_000).await?;
    engine.partition.cut().await.map_err(|error| error.to_string())?;
    for number in 0..6 {
        put(kept, &format!("v/{}", number % 3), 50 * number).await?;
    }
    engine.delete(kept, &key("v/1")).await?;
    put(plain, "small/3", 77).await?;
    engine.delete(plain, &key("small/4")).await?;
    engine.partition.cut().await.map_err(|error| error.to_string())?;
    put(plain, "memtable/inline", 700).await?;
    put(plain, "memtable/large", 5_000).await?;
    engine.delete(plain, &key("small/5")).await?;
    Ok(())
}

async fn lines(
    engine: &Engine,
    bucket: BucketId,
) -> Result<Vec<listing::ListedVersion>, ReadError> {
    let (prefix, delimiter) = (Bytes::new(), Bytes::new());
    let request = ListRequest { bucket, prefix, delimiter, from: ListStart::Start, max: 1000 };
    let page = listing::versions(&engine.partition.snapshot(), &request).await?;
    let line = |listed| match listed {
        ListItem::Line(line) => Some(line),
        ListItem::Prefix(_) => None,
    };
    Ok(page.listed.into_iter().filter_map(line).collect())
}

pub async fn get(engine: &Engine, known: &Known) -> Result<Option<Bytes>, ReadError> {
    let (bucket, key, version, is_null, _) = known;
    let key = ObjectKey::new(key.clone()).expect("a listed key");
    let version = if *is_null { VersionRef::Null } else { VersionRef::At(*version) };
    let whole = |found: &object::FoundObject| match &found.statement {
        EntryValue::Object(object) => Ok::<_, ReadError>(0..object.attributes.size),
        _ => Ok(0..0),
    };
    let Some((found, body)) =
        object::get(&engine.partition, engine.partition.snapshot(), *bucket, &key, version, whole)
            .await?
    else {
        panic!("{key:?} is silently missing");
    };
    match found.statement {
        EntryValue::Object(_) => Ok(Some(body.collect().await?)),
        _ => Ok(None),
    }
}

/// All versions by a scan of all columns: bucket, key, version, size.
pub async fn scanned(engine: &Engine) -> Result<Vec<(u64, String, u64)>, ReadError> {
    let snapshot = engine.partition.snapshot();
    let buckets = snapshot.buckets.iter().map(|bucket| bucket.id).collect();
    let bounds = KeyBounds::new(buckets);
    let columns: Vec<usize> = (0..schema().fields().len()).collect();
    let (shown, batch_rows, counts) = (VersionScope::Versions, 100, ScanCounts::default());
    let scan::ScanSplit { disjoint, overlapping } = scan::split(&snapshot, &bounds).await?;
    let mut found = Vec::new();
    if let Some(disjoint) = disjoint {
        let wanted = scan::DisjointRead {
            shown,
            columns: columns.clone(),
            conditions: Vec::new(),
            batch_rows,
        };
        let mut scan = disjoint.read(&wanted, &counts)?;
        while let Some(batch) = scan.next().await? {
            take(&batch, &mut found);
        }
    }
    if let Some(overlapping) = overlapping {
        let request = scan::ScanRequest { shown, bounds, overlapping, columns, batch_rows };
        let mut scan = scan::scan(&snapshot, request, counts)?;
        while let Some(batch) = scan.next().await? {
            take(&batch, &mut found);
        }
    }
    found.sort_by(|a, b| (a.0, &a.1, Reverse(a.2)).cmp(&(b.0, &b.1, Reverse(b.2))));
    Ok(found)
}

fn take(batch: &scan::ScanBatch, found: &mut Vec<(u64, String, u64)>) {
    let number = |index: usize| batch.rows.column(index).as_primitive::<UInt64Type>().clone();
    let (buckets, versions) = (number(0), number(2));
    let keys = batch.rows.column(1).as_string::<i32>();
    for row in 0..batch.rows.num_rows() {
        found.push((buckets.value(row), keys.value(row).to_owned(), versions.value(row)));
    }
}

/// The block of a segment where an object's header or payload lies.
async fn block_of(engine: &Engine, known: &Known) -> Option<(u64, u64)> {
    let key = ObjectKey::new(known.1.clone()).expect("a listed key");
    let version = if known.3 { VersionRef::Null } else { VersionRef::At(known.2) };
    let snapshot = engine.partition.snapshot();
    let found = compactor::lookup::find(&snapshot, known.0, &key, version).await.ok()??;
    match found.what {
        EntryData::Run(listed) => Some((listed.location.segment.get(), listed.location.position)),
        EntryData::Memtable(EntryValue::Object(object)) => match object.payload {
            PayloadLocation::Segment(at) => Some((at.segment.get(), at.position)),
            _ => None,
        },
        EntryData::Memtable(_) => None,
    }
}

/// The error names a file of the store.
fn names_a_file(text: &str) -> bool {
    [
        ".log", ".bulk", ".seg", ".parquet", ".sums", ".keys", ".more", ".tags", ".state",
        "catalog", "log/", "run ",
    ]
    .iter()
    .any(|part| text.contains(part))
}

/// A store that was made, and what must be found in it.
pub struct Store {
    pub disk: SimDisk,
    pub known: Vec<Known>,
    pub blocks: BTreeMap<usize, (u64, u64)>,
    pub scanned: Vec<(u64, String, u64)>,
}

fn make() -> Store {
    let sim = Sim::new(1);
    let disk = SimDisk::new(&sim);
    let made = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await?;
        fill(&engine).await?;
        engine.close_log().await;
        Ok::<(), String>(())
    });
    made.expect("not stopped").expect("filled");
    sim.stop();
    learn(&sim, disk)
}

/// Opens a store once more, and takes down what is in it.
pub fn learn(sim: &Sim, disk: SimDisk) -> Store {
    let read = sim.block_on(&disk, async {
        let engine = open(sim, &disk).await.expect("opens");
        let mut known = Vec::new();
        let buckets: Vec<BucketId> = engine.partition.buckets().iter().map(|b| b.id).collect();
        for bucket in buckets {
            for line in lines(&engine, bucket).await.expect("listed") {
                let entry = (bucket, line.key.clone(), line.version, line.is_null, None);
                let bytes = get(&engine, &entry).await.expect("read");
                assert_eq!(bytes.is_none(), line.is_marker);
                known.push((bucket, line.key, line.version, line.is_null, bytes));
            }
        }
        let mut blocks = BTreeMap::new();
        for (index, known) in known.iter().enumerate() {
            if let Some(block) = block_of(&engine, known).await {
                blocks.insert(index, block);
            }
        }
        let scanned = scanned(&engine).await.expect("scanned");
        assert_eq!(scanned.len(), known.len());
        engine.close_log().await;
        (known, blocks, scanned)
    });
    let (known, blocks, scanned) = read.expect("not stopped");
    sim.stop();
    Store { disk, known, blocks, scanned }
}

/// The effect of damage.
#[derive(Default, Debug)]
pub struct Effect {
    pub is_refused: bool,
    pub lost: usize,
    pub listings: usize,
    pub scans: usize,
}

fn flip(store: &Store, file: &FilePath, position: u64, xor: u8) -> Result<Effect, String> {
    let sim = Sim::new(position);
    let disk = store.disk.copy_into(&sim);
    disk.corrupt(file, position, xor);
    look(store, &sim, &disk, file.as_str().ends_with(".seg"))
}

/// Starts a damaged store: everything is right, or an error names a file; never less in silence.
pub fn look(
    store: &Store,
    sim: &Sim,
    disk: &SimDisk,
    is_one_block: bool,
) -> Result<Effect, String> {
    let done = sim.block_on(disk, async {
        let mut effect = Effect::default();
        let engine = match open(sim, disk).await {
            Ok(engine) => engine,
            Err(error) if names_a_file(&error) => {
                effect.is_refused = true;
                return Ok(effect);
            }
            Err(error) => return Err(format!("a start names no file: {error}")),
        };
        let mut lost_blocks = BTreeSet::new();
        for (index, known) in store.known.iter().enumerate() {
            match get(&engine, known).await {
                Ok(bytes) if bytes == known.4 => {}
                Ok(_) => return Err(format!("wrong bytes of {:?}", known.1)),
                Err(error) if names_a_file(&error.to_string()) => {
                    effect.lost += 1;
                    lost_blocks.insert(store.blocks.get(&index));
                }
                Err(error) => return Err(format!("an error names no file: {error}")),
            }
        }
        if is_one_block && lost_blocks.len() > 1 {
            return Err(format!("objects of {} blocks are lost", lost_blocks.len()));
        }
        let mut listed = Ok(0);
        let buckets: BTreeSet<BucketId> = store.known.iter().map(|known| known.0).collect();
        for bucket in buckets {
            match lines(&engine, bucket).await {
                Ok(lines) => listed = listed.map(|count| count + lines.len()),
                Err(error) => listed = Err(error),
            }
        }
        match listed {
            Ok(count) if count == store.known.len() => {}
            Ok(count) => return Err(format!("{count} versions are listed")),
            Err(error) if names_a_file(&error.to_string()) => effect.listings += 1,
            Err(error) => return Err(format!("an error names no file: {error}")),
        }
        match scanned(&engine).await {
            Ok(found) if found == store.scanned => {}
            Ok(found) => return Err(format!("{} rows are scanned", found.len())),
            Err(error) if names_a_file(&error.to_string()) => effect.scans += 1,
            Err(error) => return Err(format!("an error names no file: {error}")),
        }
        Ok(effect)
    });
    sim.stop();
    done.map_err(|stopped| format!("{stopped:?}"))?
}

#[derive(Default)]
struct Tally {
    flips: u64,
    harmless: u64,
    refused: u64,
    with_loss: u64,
    objects: u64,
    objects_most: usize,
    listings: u64,
    scans: u64,
}

fn kind(file: &FilePath) -> String {
    let name = file.name();
    name.rsplit_once('.').map_or(name, |(_, ending)| ending).to_owned()
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.flips += other.flips;
        self.harmless += other.harmless;
        self.refused += other.refused;
        self.with_loss += other.with_loss;
        self.objects += other.objects;
        self.objects_most = self.objects_most.max(other.objects_most);
        self.listings += other.listings;
        self.scans += other.scans;
    }

    fn count(&mut self, effect: &Effect) {
        let is_harmless = !effect.is_refused && effect.lost + effect.listings + effect.scans == 0;
        self.add(&Tally {
            flips: 1,
            harmless: u64::from(is_harmless),
            refused: u64::from(effect.is_refused),
            with_loss: u64::from(effect.lost > 0),
            objects: effect.lost as u64,
            objects_most: effect.lost,
            listings: effect.listings as u64,
            scans: effect.scans as u64,
        });
    }
}

/// Flips one thread's share of the places: each has a store of its own, made alike.
fn share(seed: u64, all: bool, thread: u64) -> BTreeMap<String, Tally> {
    let store = make();
    let random = SimRandom::new(seed);
    let mut counts: BTreeMap<String, Tally> = BTreeMap::new();
    for file in store.disk.files() {
        let len = store.disk.read_all(&file).map_or(0, |bytes| bytes.len() as u64);
        for number in 0..if all { len } else { len.min(60) } {
            let position = if all { number } else { random.below(len) };
            let xor = 1 << random.below(8);
            if number % THREADS != thread {
                continue;
            }
            let effect = flip(&store, &file, position, xor).unwrap_or_else(|error| {
                panic!("seed {seed}, {file} at {position} ^ {xor}: {error}")
            });
            let sealed =
                ["seg", "parquet", "sums", "keys", "more", "tags"].contains(&kind(&file).as_str());
            assert!(!(sealed && effect.is_refused), "{file} at {position} stops the store");
            counts.entry(kind(&file)).or_default().count(&effect);
        }
    }
    counts
}

const THREADS: u64 = 2;

/// Every byte with `SILTSTONE_FLIPS=all`, else a sample by `SILTSTONE_SEED`.
#[test]
fn a_flipped_byte_is_found_or_harmless() {
    let all = std::env::var("SILTSTONE_FLIPS").is_ok_and(|value| value == "all");
    let seed = std::env::var("SILTSTONE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut counts: BTreeMap<String, Tally> = BTreeMap::new();
    std::thread::scope(|scope| {
        let shares: Vec<_> =
            (0..THREADS).map(|thread| scope.spawn(move || share(seed, all, thread))).collect();
        for part in shares {
            for (kind, tally) in part.join().expect("no flip breaks a promise") {
                counts.entry(kind).or_default().add(&tally);
            }
        }
    });
    let store = make();
    let lens = store.disk.files().into_iter().filter_map(|file| store.disk.read_all(&file));
    let total: usize = lens.map(|bytes| bytes.len()).sum();
    println!("{total} bytes, {} versions", store.known.len());
    println!(
        "kind      flips harmless refused-start objects-lost(flips,sum,most) listing-error scan-error"
    );
    for (kind, c) in counts {
        println!(
            "{kind:8} {:6} {:8} {:8} {:8} {:8} {:4} {:8} {:8}",
            c.flips,
            c.harmless,
            c.refused,
            c.with_loss,
            c.objects,
            c.objects_most,
            c.listings,
            c.scans
        );
    }
}
