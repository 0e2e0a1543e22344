//! A scan shows what listings show, wherever the entries stand: disjoint in one run of many pages, overlapping by newer
//! runs and the memtable, with versions of a key that go on over the end of a page.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::UInt64Type;
use bytes::Bytes;
use compactor::outcome::RecordOutcome;
use ingest::ids::BucketId;
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{DeleteObject, RecordBody, SetTags, VersionRef, Versioning, WriteCondition};
use query::listing::{self, ListItem, ListRequest, ListStart};
use query::scan::{self, KeyBounds, ScanCounts, VersionScope};
use simulator::{Sim, SimDisk, SimRandom};

use crate::world::{Engine, open};

/// Enough for several pages of 1,024 rows.
const KEYS: u64 = 3000;

fn key(number: u64) -> ObjectKey {
    ObjectKey::new(format!("k/{number:05}").into_bytes()).unwrap()
}

type Rows = Vec<(String, u64)>;

async fn listed(engine: &Engine, bucket: BucketId, shown: VersionScope) -> Result<Rows, ReadError> {
    let (prefix, delimiter) = (Bytes::new(), Bytes::new());
    let request =
        ListRequest { bucket, prefix, delimiter, from: ListStart::Start, max: usize::MAX };
    let snapshot = engine.partition.snapshot();
    let page = match shown {
        VersionScope::Objects => listing::objects(&snapshot, &request).await?,
        VersionScope::Versions => listing::versions(&snapshot, &request).await?,
    };
    let rows = page.listed.into_iter().map(|listed| match listed {
        ListItem::Line(line) => (String::from_utf8(line.key.to_vec()).unwrap(), line.version.get()),
        ListItem::Prefix(prefix) => panic!("{prefix:?}"),
    });
    Ok(rows.collect())
}

/// The rows of a scan in the order of keys, and how many of the rows are disjoint.
async fn scanned(
    engine: &Engine,
    bucket: BucketId,
    shown: VersionScope,
) -> Result<(Rows, usize), ReadError> {
    scanned_within(engine, KeyBounds::new(vec![bucket]), shown).await
}

async fn scanned_within(
    engine: &Engine,
    bounds: KeyBounds,
    shown: VersionScope,
) -> Result<(Rows, usize), ReadError> {
    let snapshot = engine.partition.snapshot();
    let split = scan::split(&snapshot, &bounds).await?;
    let (columns, batch_rows, counts) = (vec![0, 1, 2, 4], 700, ScanCounts::default());
    let mut rows = Rows::new();
    let mut latest: BTreeMap<(u64, String), u64> = BTreeMap::new();
    let mut take = |batch: &scan::ScanBatch| {
        let keys = batch.rows.column_by_name("key").unwrap().as_string::<i32>().clone();
        let versions = batch.rows.column_by_name("version").unwrap();
        let versions = versions.as_primitive::<UInt64Type>();
        for row in 0..batch.rows.num_rows() {
            rows.push((keys.value(row).to_owned(), versions.value(row)));
            if batch.is_latest.value(row) {
                let bucket = batch.rows.column_by_name("bucket_id").unwrap();
                let bucket = bucket.as_primitive::<UInt64Type>().value(row);
                let key = (bucket, keys.value(row).to_owned());
                let other = latest.insert(key, versions.value(row));
                assert_eq!(other, None, "two newest versions of {}", keys.value(row));
            }
        }
    };
    let mut disjoint_rows = 0;
    if let Some(disjoint) = split.disjoint {
        for share in disjoint.shares(3) {
            let (columns, conditions) = (columns.clone(), Vec::new());
            let wanted = scan::DisjointRead { shown, columns, conditions, batch_rows };
            let mut scan = share.read(&wanted, &counts)?;
            while let Some(batch) = scan.next().await? {
                disjoint_rows += batch.rows.num_rows();
                take(&batch);
            }
        }
    }
    if let Some(overlapping) = split.overlapping {
        let request = scan::ScanRequest { shown, bounds, overlapping, columns, batch_rows };
        let mut scan = scan::scan(&snapshot, request, counts)?;
        while let Some(batch) = scan.next().await? {
            take(&batch);
        }
    }
    rows.sort_by(|a, b| (&a.0, b.1).cmp(&(&b.0, a.1)));
    Ok((rows, disjoint_rows))
}

async fn same(engine: &Engine, bucket: BucketId) -> usize {
    let mut disjoint = 0;
    for shown in [VersionScope::Objects, VersionScope::Versions] {
        let listed = listed(engine, bucket, shown).await.unwrap();
        let (scanned, disjoint_rows) = scanned(engine, bucket, shown).await.unwrap();
        assert_eq!(scanned, listed, "{shown:?}");
        disjoint = disjoint_rows;
    }
    disjoint
}

/// Does something to a key of the lower half that was there before, or not.
async fn disturb(engine: &Engine, bucket: BucketId, random: &SimRandom) {
    let key = match random.below(8) {
        0 => ObjectKey::new("a key of its own").unwrap(),
        _ => key(random.below(KEYS / 2)),
    };
    let done = match random.below(4) {
        0 => engine.put(bucket, &key, b"other", WriteCondition::Always).await.map(|_| ()),
        1 => engine.delete(bucket, &key).await.map(|_| ()),
        2 => {
            let tags = vec![("a".to_owned(), "b".to_owned())];
            let (config, version) = (engine.config(bucket), VersionRef::Current);
            let set = SetTags { bucket, config, key, version, tags };
            engine.submit(RecordBody::SetTags(set)).await.map(|_| ())
        }
        _ => {
            let config = engine.config(bucket);
            let (version, condition) = (VersionRef::Null, WriteCondition::Always);
            let delete = DeleteObject { bucket, config, key, version, condition };
            engine.submit(RecordBody::DeleteObject(delete)).await.map(|_| ())
        }
    };
    done.unwrap();
}

#[test]
fn a_scan_shows_what_listings_show() {
    for (seed, versioning) in
        [(1, Versioning::Off), (2, Versioning::On), (3, Versioning::Suspended)]
    {
        let sim = Sim::new(seed);
        let disk = SimDisk::new(&sim);
        let random = SimRandom::new(seed);
        let ran = sim.block_on(&disk, async {
            let engine = open(&sim, &disk).await.unwrap();
            let bucket = engine.bucket("bucket", versioning).await.unwrap();
            for number in 0..KEYS {
                engine.put(bucket, &key(number), b"payload", WriteCondition::Always).await.unwrap();
            }
            // The versions of one key fill more than a page.
            if versioning == Versioning::On {
                for _ in 0..1500 {
                    engine.put(bucket, &key(1000), b"again", WriteCondition::Always).await.unwrap();
                }
            }
            engine.partition.cut().await.unwrap();
            engine.partition.merge().await.unwrap();
            assert!(same(&engine, bucket).await >= KEYS as usize, "all is disjoint after a merge");
            let mut settled_least = usize::MAX;
            for round in 0..12 {
                disturb(&engine, bucket, &random).await;
                if round % 4 == 3 {
                    engine.partition.cut().await.unwrap();
                }
                settled_least = settled_least.min(same(&engine, bucket).await);
            }
            engine.partition.merge().await.unwrap();
            same(&engine, bucket).await;
            settled_least
        });
        // A few keys contest a few pages, not all.
        let disjoint = ran.expect("not stopped");
        assert!(disjoint > 0, "seed {seed}: nothing stays disjoint");
    }
}

/// A bucket's rows stay in a run after the bucket is gone, in one page with those of others.
#[test]
fn a_bucket_that_is_gone_is_not_scanned() {
    for gone in 0..3 {
        let sim = Sim::new(gone);
        let disk = SimDisk::new(&sim);
        let ran = sim.block_on(&disk, async {
            let engine = open(&sim, &disk).await.unwrap();
            let mut buckets = Vec::new();
            for name in ["aaa", "bbb", "ccc"] {
                let bucket = engine.bucket(name, Versioning::Off).await.unwrap();
                buckets.push(bucket);
                let count = if buckets.len() as u64 == gone + 1 { 1 } else { 10 };
                for number in 0..count {
                    engine
                        .put(bucket, &key(number), b"payload", WriteCondition::Always)
                        .await
                        .unwrap();
                }
            }
            engine.partition.cut().await.unwrap();
            engine.partition.merge().await.unwrap();
            let bucket = buckets.remove(gone as usize);
            engine.delete(bucket, &key(0)).await.unwrap();
            let deleted = engine.delete_bucket(bucket).await.unwrap();
            assert_eq!(deleted, RecordOutcome::Done);
            let bounds = KeyBounds::new(buckets.clone());
            for bucket in buckets {
                same(&engine, bucket).await;
            }
            let (rows, _) = scanned_within(&engine, bounds, VersionScope::Objects).await.unwrap();
            rows.len()
        });
        assert_eq!(ran.expect("not stopped"), 20, "without bucket {gone}");
    }
}
