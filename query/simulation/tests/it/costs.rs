//! Work in the fold, for which everybody's writes wait, does not grow with what the store holds.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use compactor::outcome::RecordOutcome;
use ingest::entry::Attributes;
use ingest::ids::{BucketId, PartNumber, UploadId};
use ingest::name::ObjectKey;
use ingest::record::{
    AbortUpload, CompleteUpload, ConfigKind, CreateUpload, DeleteObject, PutPart, RecordBody,
    RenameCondition, RenameObject, SetBucketConfig, SetTags, UploadPart, VersionRef, Versioning,
    WriteCondition,
};
use query::listing::{ListRequest, ListStart};
use query::uploads;
use simulator::{Sim, SimDisk};

use crate::world::{Engine, attributes, open};

const UPLOAD: UploadId = UploadId([1; 16]);
/// The fold looks at so many entries and state values for any record that ends no list.
const LOOKS_MAX: u64 = 8;
const ENDED: UploadId = UploadId([2; 16]);

fn key(name: &str) -> ObjectKey {
    ObjectKey::new(name.as_bytes().to_vec()).expect("a short key")
}

fn create_upload(engine: &Engine, bucket: BucketId, upload: UploadId) -> RecordBody {
    RecordBody::CreateUpload(CreateUpload {
        bucket,
        config: engine.config(bucket),
        key: key("large"),
        upload,
        attributes: Attributes { owner: "owner".into(), ..Attributes::default() },
        checksum_algorithm: 0,
        checksum_is_composite: false,
    })
}

/// An empty part: it has no extents, so that thousands are quickly made.
fn put_part(engine: &Engine, bucket: BucketId, upload: UploadId, number: u16) -> RecordBody {
    let md5 = attributes(b"").etag.md5;
    let part = UploadPart { size: 0, md5, digest: 0, checksum: None, extents: [].into() };
    let number = PartNumber::new(number);
    let (config, key) = (engine.config(bucket), key("large"));
    RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream: None })
}

/// A bucket with so many removed keys and an upload of so many parts beside it.
async fn fill(engine: &Engine, count: u16) -> (BucketId, BucketId) {
    let bucket = engine.bucket("uploads", Versioning::On).await.unwrap();
    let emptied = engine.bucket("emptied", Versioning::Off).await.unwrap();
    engine.submit(create_upload(engine, bucket, UPLOAD)).await.unwrap();
    for number in 1..=count {
        let taken = engine.submit(put_part(engine, bucket, UPLOAD, number)).await.unwrap();
        assert!(matches!(taken, RecordOutcome::PartStored(_)), "{taken:?}");
        let gone = key(&format!("gone-{number}"));
        engine.put(emptied, &gone, b"", WriteCondition::Always).await.unwrap();
        engine.delete(emptied, &gone).await.unwrap();
    }
    for name in ["a", "large"] {
        engine.put(bucket, &key(name), b"payload", WriteCondition::Always).await.unwrap();
    }
    (bucket, emptied)
}

/// How many entries and state values the fold looked at for each kind of record, in a store of a size.
fn looked_at(count: u16, with_cut: bool) -> Vec<(&'static str, u64)> {
    let sim = Sim::new(7);
    let disk = SimDisk::new(&sim);
    let ran = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await.unwrap();
        let (bucket, emptied) = fill(&engine, count).await;
        if with_cut {
            engine.partition.cut().await.unwrap();
            engine.partition.merge().await.unwrap();
        }
        let config = engine.config(bucket);
        let delete = |version, condition| {
            let key = key("a");
            RecordBody::DeleteObject(DeleteObject { bucket, config, key, version, condition })
        };
        let complete = |parts: Vec<u16>| {
            let md5 = attributes(b"").etag.md5;
            RecordBody::CompleteUpload(CompleteUpload {
                bucket,
                config,
                key: key("large"),
                upload: ENDED,
                parts: parts.into_iter().map(|number| (PartNumber::new(number), md5)).collect(),
                condition: WriteCondition::IfPresent,
                checksum: None,
            })
        };
        let tags = SetTags {
            bucket,
            config,
            key: key("a"),
            version: VersionRef::Current,
            tags: vec![("name".into(), "value".into())],
        };
        let present = RenameCondition { write: WriteCondition::IfPresent, ..<_>::default() };
        let rename = RenameObject {
            bucket,
            config,
            key: key("moved"),
            condition: RenameCondition { write: WriteCondition::IfAbsent, ..present },
            source: key("large"),
            source_condition: present,
            token: "token".into(),
        };
        let seen = engine.partition.snapshot().at;
        let abort = |upload| {
            RecordBody::AbortUpload(AbortUpload { bucket, config, key: key("large"), upload })
        };
        let records: Vec<(&str, RecordBody)> = vec![
            ("a first part", put_part(&engine, bucket, UPLOAD, count + 1)),
            ("a part again", put_part(&engine, bucket, UPLOAD, count / 2)),
            ("a part of nothing", put_part(&engine, bucket, UploadId([9; 16]), 1)),
            ("an upload", create_upload(&engine, bucket, ENDED)),
            ("its part", put_part(&engine, bucket, ENDED, 1)),
            ("its completion", complete(vec![1])),
            ("its completion again", complete(vec![1])),
            ("the end of what has ended", abort(ENDED)),
            ("tags", RecordBody::SetTags(tags)),
            ("a delete under a condition", delete(VersionRef::Current, WriteCondition::IfPresent)),
            ("a delete of a version", delete(VersionRef::At(seen), WriteCondition::Always)),
            ("a delete of version null", delete(VersionRef::Null, WriteCondition::Always)),
            ("a rename", RecordBody::RenameObject(rename.clone())),
            ("a rename again", RecordBody::RenameObject(rename)),
            ("a bucket of removed keys", RecordBody::DeleteBucket { bucket: emptied, seen }),
            (
                "versioning",
                RecordBody::SetBucketConfig(SetBucketConfig {
                    bucket,
                    config,
                    kind: ConfigKind::VERSIONING,
                    document: Some(Versioning::Suspended.document()),
                }),
            ),
        ];
        let mut found = Vec::new();
        for (name, body) in records {
            let counter = &engine.partition.counters().prior_looked_at;
            let before = counter.load(Ordering::Relaxed);
            engine.submit(body).await.unwrap();
            found.push((name, counter.load(Ordering::Relaxed) - before));
        }
        assert!(engine.partition.buckets().get(emptied).is_none(), "the bucket was not deleted");
        for condition in
            [WriteCondition::Always, WriteCondition::IfAbsent, WriteCondition::IfPresent]
        {
            let counter = &engine.partition.counters().prior_looked_at;
            let before = counter.load(Ordering::Relaxed);
            engine.put(bucket, &key("a"), b"again", condition).await.unwrap();
            found.push(("a put", counter.load(Ordering::Relaxed) - before));
        }
        engine.close_log().await;
        found
    });
    sim.stop();
    ran.expect("not stopped")
}

/// Parts were all loaded to learn that their upload is open, and a bucket was walked through, removed keys and
/// all, while everybody waited.
#[test]
fn the_fold_looks_at_no_more_in_a_large_store_than_in_a_small_one() {
    for with_cut in [false, true] {
        for count in [10, 300] {
            for (name, looked_at) in looked_at(count, with_cut) {
                let place = format!("{name} among {count}, with a cut: {with_cut}");
                assert!(looked_at <= LOOKS_MAX, "{place}: looked at {looked_at}");
            }
        }
    }
}

/// A record that ends a list looks at it once.
#[test]
fn the_end_of_an_upload_looks_at_its_parts_once() {
    let sim = Sim::new(7);
    let disk = SimDisk::new(&sim);
    let ran = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await.unwrap();
        let (bucket, _) = fill(&engine, 40).await;
        let counter = &engine.partition.counters().prior_looked_at;
        let before = counter.load(Ordering::Relaxed);
        let (config, key) = (engine.config(bucket), key("large"));
        let abort = RecordBody::AbortUpload(AbortUpload { bucket, config, key, upload: UPLOAD });
        assert_eq!(engine.submit(abort).await.unwrap(), RecordOutcome::Done);
        let looked_at = counter.load(Ordering::Relaxed) - before;
        engine.close_log().await;
        looked_at
    });
    sim.stop();
    assert_eq!(ran.expect("not stopped"), 41);
}

/// Operations on the disk that the first page of a bucket's open uploads takes, beside `count` completed ones.
fn listing_reads(count: u8) -> u64 {
    let sim = Sim::new(7);
    let disk = SimDisk::new(&sim);
    let ran = sim.block_on(&disk, async {
        let engine = open(&sim, &disk).await.unwrap();
        let bucket = engine.bucket("uploads", Versioning::Off).await.unwrap();
        for number in 0..count {
            let upload = UploadId([number + 10; 16]);
            engine.submit(create_upload(&engine, bucket, upload)).await.unwrap();
            engine.submit(put_part(&engine, bucket, upload, 1)).await.unwrap();
            let complete = CompleteUpload {
                bucket,
                config: engine.config(bucket),
                key: key("large"),
                upload,
                parts: vec![(PartNumber::new(1), attributes(b"").etag.md5)],
                condition: WriteCondition::Always,
                checksum: None,
            };
            let made = engine.submit(RecordBody::CompleteUpload(complete)).await.unwrap();
            assert!(matches!(made, RecordOutcome::Written(_)), "{made:?}");
        }
        // Its id is above those of all completed uploads of the key.
        engine.submit(create_upload(&engine, bucket, UploadId([0xff; 16]))).await.unwrap();
        engine.partition.cut().await.unwrap();
        engine.partition.merge().await.unwrap();
        let snapshot = engine.partition.snapshot();
        let request = ListRequest {
            bucket,
            prefix: Bytes::new(),
            delimiter: Bytes::new(),
            from: ListStart::Start,
            max: 10,
        };
        let before = disk.operations();
        let page = uploads::uploads(&snapshot, &request, None).await.unwrap();
        assert_eq!(page.listed.len(), 1);
        let reads = disk.operations() - before;
        engine.close_log().await;
        reads
    });
    sim.stop();
    ran.expect("not stopped")
}

/// Completed uploads were kept among the open ones, and every listing read them all: those of the last million records.
#[test]
fn a_listing_of_open_uploads_does_not_read_completed_ones() {
    let (few, many) = (listing_reads(1), listing_reads(240));
    assert!(many <= few + 1, "{many} operations beside 240 completed uploads, {few} beside one");
}
