use std::sync::Arc;

use proptest::prelude::*;
use proptest::{collection, option};

use super::*;
use crate::entry::{
    Attributes, CHECKSUM_BYTES_MAX, CHECKSUMS_MAX, ETag, EXTENTS_MAX, EntryValue, Extent,
    LogLocation, LoggedPayload, ObjectVersion, PAIRS_MAX, PARTS_MAX, PartSummary, PayloadLocation,
    SegmentLocation, StoredChecksum, TEXT_BYTES_MAX,
};
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::ids::{
    BulkId, ConfigVersion, CutNumber, NodeId, Offset, PartNumber, SegmentId, StreamId, UploadId,
};
use crate::name::{BucketName, ObjectKey};
use crate::tail::TaggedTail;
use crate::time::WallTime;

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text.as_bytes().to_vec()).unwrap()
}

fn checksum(algorithm: u8, is_composite: bool, digest: &'static [u8]) -> StoredChecksum {
    StoredChecksum { algorithm, is_composite, digest: Bytes::from_static(digest) }
}

fn pair(name: &str, value: &str) -> (String, String) {
    (name.into(), value.into())
}

fn extents() -> Arc<[Extent]> {
    [
        Extent { file: BulkId::new(7), position: 4096, len: 65_604 },
        Extent { file: BulkId::new(300), position: 1 << 30, len: 1 },
    ]
    .into()
}

fn attributes() -> Attributes {
    Attributes {
        size: 65_605,
        etag: ETag { md5: [0x11; 16], parts: 2 },
        owner: "owner".into(),
        headers: vec![pair("content-type", "text/plain"), pair("cache-control", "no-cache")],
        metadata: vec![pair("colour", "grün")],
        tags: vec![pair("tier", ""), pair("a b", "c=d")],
        checksums: vec![checksum(2, false, &[1, 2, 3, 4]), checksum(5, true, &[9; 32])],
        parts: vec![
            PartSummary {
                number: PartNumber::new(1),
                size: 65_604,
                checksum: Some(checksum(3, false, &[8; 8])),
            },
            PartSummary { number: PartNumber::new(10_000), size: 1, checksum: None },
        ],
        tail: tail(&[1, 3, 300], b"of a later version"),
    }
}

/// A tail with one text under each tag, as a later version may write it.
fn tail(tags: &[u16], text: &[u8]) -> TaggedTail {
    let mut out = Encoder::new();
    out.varint(tags.len() as u64);
    for tag in tags {
        out.varint(u64::from(*tag)).bytes(text);
    }
    TaggedTail::decode(&mut Decoder::new(out.finish())).unwrap()
}

/// The highest number that a kind of configuration can have.
fn unknown_kind() -> ConfigKind {
    ConfigKind::decode(&mut Decoder::new(Bytes::from_static(&[0xff, 0xff, 0x03]))).unwrap()
}

/// Every kind of record, and every variant of the pieces that they are made of.
fn golden_bodies() -> Vec<RecordBody> {
    let (bucket, config, key, upload) =
        (BucketId::new(3), ConfigVersion::new(2), key("a/ä\u{0}b"), UploadId([0x55; 16]));
    let put = |condition, payload| {
        RecordBody::PutObject(PutObject {
            bucket,
            config,
            key: key.clone(),
            condition,
            attributes: attributes(),
            digest: 0x0123_4567_89ab_cdef,
            payload,
        })
    };
    let etag = ETag { md5: [0x22; 16], parts: 0 };
    let delete = |version, condition| {
        RecordBody::DeleteObject(DeleteObject {
            bucket,
            config,
            key: key.clone(),
            version,
            condition,
        })
    };
    let part = |checksum, extents| UploadPart {
        size: 300,
        md5: [0x33; 16],
        digest: u64::MAX,
        checksum,
        extents,
    };
    let set_config = |kind, document| {
        RecordBody::SetBucketConfig(SetBucketConfig { bucket, config, kind, document })
    };
    let put_part = |number, part, stream| {
        let number = PartNumber::new(number);
        let key = key.clone();
        RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream })
    };
    let stream = StreamRef { stream: StreamId([0x66; 16]), records: 3 };
    let claim =
        |stage| RecordBody::Claim { node: NodeId::new(2), process: WriterId([0x77; 16]), stage };
    vec![
        RecordBody::OpenWriter,
        RecordBody::CreateBucket(CreateBucket {
            name: BucketName::new("a-bucket.1").unwrap(),
            owner: "owner".into(),
            region: "eu-central-1".into(),
        }),
        RecordBody::DeleteBucket { bucket, seen: Offset::new(77) },
        set_config(ConfigKind::VERSIONING, Some(Versioning::Off.document())),
        set_config(ConfigKind::VERSIONING, Some(Versioning::On.document())),
        set_config(ConfigKind::VERSIONING, None),
        // A kind that this version does not know.
        set_config(
            unknown_kind(),
            Some(Bytes::from_static(
                b"<a document of more than 64 bytes, which makes the store larger />",
            )),
        ),
        put(WriteCondition::Always, RecordPayload::Inline(Bytes::from_static(b"payload"))),
        put(WriteCondition::IfAbsent, RecordPayload::Inline(Bytes::new())),
        put(WriteCondition::IfPresent, RecordPayload::Bulk(extents())),
        put(WriteCondition::IfMatch(etag), RecordPayload::Bulk(extents())),
        delete(VersionRef::Current, WriteCondition::Always),
        delete(VersionRef::Null, WriteCondition::IfMatch(etag)),
        delete(VersionRef::At(Offset::new(41)), WriteCondition::IfPresent),
        RecordBody::SetTags(SetTags {
            bucket,
            config,
            key: key.clone(),
            version: VersionRef::At(Offset::new(41)),
            tags: vec![pair("tier", "cold"), pair("", "")],
        }),
        RecordBody::CreateUpload(CreateUpload {
            bucket,
            config,
            key: key.clone(),
            upload,
            attributes: Attributes { owner: "owner".into(), ..Attributes::default() },
            checksum_algorithm: 5,
            checksum_is_composite: true,
        }),
        put_part(1, part(Some(checksum(4, false, &[7; 20])), extents()), None),
        put_part(10_000, part(None, [].into()), Some(stream)),
        RecordBody::CompleteUpload(CompleteUpload {
            bucket,
            config,
            key: key.clone(),
            upload,
            parts: vec![(PartNumber::new(1), [0x33; 16]), (PartNumber::new(10_000), [0x44; 16])],
            condition: WriteCondition::IfAbsent,
            checksum: Some(checksum(1, true, &[1, 2, 3, 4])),
        }),
        RecordBody::CompleteUpload(CompleteUpload {
            bucket,
            config,
            key: key.clone(),
            upload,
            parts: Vec::new(),
            condition: WriteCondition::Always,
            checksum: None,
        }),
        RecordBody::AbortUpload(AbortUpload { bucket, config, key: key.clone(), upload }),
        delete(VersionRef::Current, WriteCondition::IfVersion(Offset::new(41))),
        RecordBody::Cut { number: CutNumber::new(12) },
        RecordBody::Barrier,
        put(WriteCondition::Always, RecordPayload::Stream(stream)),
        RecordBody::Data(StreamPiece {
            stream: stream.stream,
            index: 2,
            total: 65_605,
            bytes: Bytes::from_static(b"a piece"),
        }),
        RecordBody::Digest(CutDigest {
            node: NodeId::new(2),
            cut: CutNumber::new(12),
            digest: [0x88; 32],
        }),
        claim(ClaimStage::Claim),
        claim(ClaimStage::Object),
        claim(ClaimStage::Confirm),
        RecordBody::Abandon { stream: stream.stream },
        RecordBody::Room(RoomReport { node: NodeId::new(2), bytes: 5 << 30 }),
        RecordBody::EventCursor(EventCursor {
            queue: "hook".into(),
            lease: 7,
            process: WriterId([0x77; 16]),
            position: EventPosition { offset: Offset::new(41), rule: 1 },
            delivered: 1000,
            dropped: 3,
            bytes: 300_000,
        }),
        RecordBody::RenameObject(RenameObject {
            bucket,
            config,
            key: key.clone(),
            condition: RenameCondition::default(),
            source: self::key("old"),
            source_condition: RenameCondition {
                write: WriteCondition::IfNoneMatch(etag),
                modified_since: Some(WallTime::from_micros(1_700_000_000_000_000)),
                unmodified_since: Some(WallTime::from_micros(-1)),
            },
            token: "a token".into(),
        }),
    ]
}

fn golden_records() -> Vec<Record> {
    let record = |(index, body): (usize, RecordBody)| Record {
        id: RecordId {
            writer: WriterId(*b"a writer's id 16"),
            epoch: Epoch::new(4),
            sequence: Sequence::new(index as u64 + 1),
        },
        principal: if index == 0 { String::new() } else { "principal".into() },
        request: if index == 0 { String::new() } else { format!("request-{index}") },
        time: WallTime::from_micros(index as i64 * 1_700_000_000_000_000),
        body,
    };
    golden_bodies().into_iter().enumerate().map(record).collect()
}

fn golden_bytes() -> Vec<Bytes> {
    golden_records().iter().map(Record::encode).collect()
}

#[test]
fn the_bytes_are_those_of_the_golden_file() {
    let line = |bytes: &Bytes| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        digits + "\n"
    };
    let written: String = golden_bytes().iter().map(line).collect();
    let golden = golden::check("records-v3.hex", written.as_bytes());
    let golden = std::str::from_utf8(&golden).unwrap();
    let byte = |line: &str, at| u8::from_str_radix(&line[at..at + 2], 16).unwrap();
    let bytes = |line: &str| Bytes::from_iter((0..line.len()).step_by(2).map(|at| byte(line, at)));
    let read: Vec<Record> =
        golden.lines().map(|line| Record::decode(bytes(line)).unwrap()).collect();
    assert_eq!(read, golden_records());
    let kinds: std::collections::BTreeSet<_> = read.iter().map(|r| r.body.kind()).collect();
    assert_eq!(
        kinds,
        (1..).map_while(RecordKind::of_number).collect(),
        "a kind has no golden record"
    );
}

#[test]
fn another_version_or_kind_is_refused() {
    let bytes = golden_bytes()[0].to_vec();
    let refused = [
        (0, 0, "version"),
        (0, 1, "version"),
        (0, 2, "version"),
        (0, 4, "version"),
        (1, 0, "kind"),
        (1, 21, "kind"),
    ];
    for (at, value, what) in refused {
        let mut other = bytes.clone();
        other[at] = value;
        let error = Record::decode(other.into()).unwrap_err();
        assert!(error.what.contains(what), "{error}");
        assert_eq!(error.position, at);
    }
}

#[test]
fn a_record_that_ends_early_or_late_is_refused() {
    for bytes in golden_bytes() {
        for len in 0..bytes.len() {
            assert!(Record::decode(bytes.slice(..len)).is_err(), "{len} of {} bytes", bytes.len());
        }
        assert!(Record::decode([&bytes[..], b"\0"].concat().into()).is_err());
    }
}

#[test]
fn mutated_records_are_refused_or_have_one_encoding() {
    let (mut mutator, seeds) = (Mutator::new(1), golden_bytes());
    let mut accepted = 0;
    for _ in 0..rounds(60_000) {
        let bytes = Bytes::from(mutator.mutated(&seeds));
        if let Ok(record) = Record::decode(bytes.clone()) {
            assert_eq!(record.encode(), bytes, "{record:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 1000, "the mutations are too coarse: {accepted} passed");
}

fn encoded(statement: &EntryValue) -> Bytes {
    let mut out = Encoder::new();
    statement.encode(&mut out);
    out.finish()
}

#[test]
fn mutated_statements_are_refused_or_have_one_encoding() {
    let segment = SegmentLocation { segment: SegmentId::new(9), position: 60, index: 3 };
    let log = LogLocation { file: 7, position: 4232, len: 900 };
    let places = [
        PayloadLocation::Empty,
        PayloadLocation::Log(LoggedPayload::new(log)),
        PayloadLocation::Segment(segment),
        PayloadLocation::Bulk(extents()),
    ];
    let object = |payload| {
        let attributes = Arc::new(attributes());
        let created = WallTime::from_micros(5);
        EntryValue::Object(ObjectVersion { is_null: true, created, digest: 8, attributes, payload })
    };
    let created = WallTime::from_micros(-5);
    let marker = EntryValue::Marker { is_null: false, created, owner: "owner".into() };
    let others = [marker, EntryValue::Tombstone, EntryValue::NullTombstone];
    let seeds: Vec<Bytes> = places.map(object).iter().chain(&others).map(encoded).collect();
    let mut mutator = Mutator::new(31);
    let mut accepted = 0;
    for _ in 0..rounds(20_000) {
        let bytes = Bytes::from(mutator.mutated(&seeds));
        let mut from = Decoder::new(bytes.clone());
        if let Ok(statement) = EntryValue::decode(&mut from) {
            assert_eq!(encoded(&statement), bytes.slice(..from.position()), "{statement:?}");
            accepted += 1;
        }
    }
    assert!(accepted > 1000, "the mutations are too coarse: {accepted} passed");
}

#[test]
fn a_count_is_a_rumour_until_its_items_are_there() {
    // The list of extents says as many as there may be, and has none.
    let mut out = Encoder::new();
    out.varint(EXTENTS_MAX as u64);
    assert!(Extent::decode_all(&mut Decoder::new(out.finish())).is_err());
    let mut out = Encoder::new();
    out.varint(EXTENTS_MAX as u64 + 1);
    let error = Extent::decode_all(&mut Decoder::new(out.finish())).unwrap_err();
    assert_eq!(error, DecodeError { what: "extents", position: 0 });
}

#[test]
fn the_estimate_bounds_the_encoded_length() {
    for record in golden_records() {
        assert!(record.encode().len() <= record.bytes_estimate(), "{record:?}");
    }
}

#[test]
fn records_about_an_object_have_its_key_hash() {
    let bucket = BucketId::new(3);
    let hash = key_hash(bucket, "a/ä\u{0}b".as_bytes());
    for record in golden_records() {
        let wanted = if record.body.target().is_some() { hash } else { 0 };
        assert_eq!(record.key_hash(), wanted, "{record:?}");
    }
    assert_ne!(hash, key_hash(bucket.next(), "a/ä\u{0}b".as_bytes()));
}

#[test]
fn only_what_makes_the_store_larger_grows() {
    for record in golden_records() {
        let frees = matches!(
            record.body,
            RecordBody::OpenWriter
                | RecordBody::DeleteBucket { .. }
                | RecordBody::DeleteObject(_)
                | RecordBody::AbortUpload(_)
                | RecordBody::Cut { .. }
                | RecordBody::Digest(_)
                | RecordBody::Claim { .. }
                | RecordBody::Abandon { .. }
                | RecordBody::Room(_)
                | RecordBody::EventCursor(_)
                | RecordBody::Barrier
        );
        let frees = match &record.body {
            RecordBody::SetBucketConfig(set) => set.kind == ConfigKind::VERSIONING,
            _ => frees,
        };
        assert_eq!(record.grows(), !frees, "{record:?}");
    }
}

#[test]
fn only_inline_payload_is_given() {
    for record in golden_records() {
        let wanted = match &record.body {
            RecordBody::PutObject(PutObject { payload: RecordPayload::Inline(bytes), .. }) => {
                Some(bytes)
            }
            _ => None,
        };
        assert_eq!(record.inline_payload(), wanted);
    }
}

fn any_pairs(max: usize) -> impl Strategy<Value = Vec<(String, String)>> {
    collection::vec((".{0,8}", ".{0,8}"), 0..max)
}

fn any_checksum() -> impl Strategy<Value = StoredChecksum> {
    (any::<u8>(), any::<bool>(), collection::vec(any::<u8>(), 0..64)).prop_map(
        |(algorithm, is_composite, digest)| StoredChecksum {
            algorithm,
            is_composite,
            digest: digest.into(),
        },
    )
}

fn any_etag() -> impl Strategy<Value = ETag> {
    any::<([u8; 16], u16)>().prop_map(|(md5, parts)| ETag { md5, parts })
}

fn any_attributes() -> impl Strategy<Value = Attributes> {
    let part = (any::<u16>(), any::<u64>(), option::of(any_checksum())).prop_map(
        |(number, size, checksum)| PartSummary { number: PartNumber::new(number), size, checksum },
    );
    (
        any::<u64>(),
        any_etag(),
        ".{0,16}",
        (any_pairs(4), any_pairs(4), any_pairs(4)),
        collection::vec(any_checksum(), 0..3),
        collection::vec(part, 0..4),
        collection::btree_set(any::<u16>(), 0..3),
    )
        .prop_map(
            |(size, etag, owner, (headers, metadata, tags), checksums, parts, fields)| {
                let fields: Vec<u16> = fields.into_iter().collect();
                let tail = tail(&fields, b"");
                Attributes { size, etag, owner, headers, metadata, tags, checksums, parts, tail }
            },
        )
}

fn any_extents() -> impl Strategy<Value = Arc<[Extent]>> {
    let extent = any::<(u64, u64, u64)>().prop_map(|(file, position, len)| Extent {
        file: BulkId::new(file),
        position,
        len,
    });
    collection::vec(extent, 0..5).prop_map(Arc::from)
}

fn any_key() -> impl Strategy<Value = ObjectKey> {
    "(?s).{1,20}".prop_map(|text| ObjectKey::new(text.into_bytes()).unwrap())
}

fn any_condition() -> impl Strategy<Value = WriteCondition> {
    prop_oneof![
        Just(WriteCondition::Always),
        Just(WriteCondition::IfAbsent),
        Just(WriteCondition::IfPresent),
        any_etag().prop_map(WriteCondition::IfMatch),
        any::<u64>().prop_map(|version| WriteCondition::IfVersion(Offset::new(version))),
        any_etag().prop_map(WriteCondition::IfNoneMatch),
    ]
}

fn any_rename_condition() -> impl Strategy<Value = RenameCondition> {
    let date = || option::of(any::<i64>().prop_map(WallTime::from_micros));
    (any_condition(), date(), date()).prop_map(|(write, modified_since, unmodified_since)| {
        RenameCondition { write, modified_since, unmodified_since }
    })
}

fn any_rename() -> impl Strategy<Value = RecordBody> {
    let conditions = (any_rename_condition(), any_rename_condition());
    (any_target(), any_key(), conditions, "[!-~]{0,64}").prop_map(
        |((bucket, config, key, _), source, (condition, source_condition), token)| {
            RecordBody::RenameObject(RenameObject {
                bucket,
                config,
                key,
                condition,
                source,
                source_condition,
                token,
            })
        },
    )
}

fn any_version() -> impl Strategy<Value = VersionRef> {
    prop_oneof![
        Just(VersionRef::Current),
        Just(VersionRef::Null),
        any::<u64>().prop_map(|offset| VersionRef::At(Offset::new(offset))),
    ]
}

fn any_target() -> impl Strategy<Value = (BucketId, ConfigVersion, ObjectKey, UploadId)> {
    (any::<(u64, u32, [u8; 16])>(), any_key()).prop_map(|((bucket, config, upload), key)| {
        (BucketId::new(bucket), ConfigVersion::new(config), key, UploadId(upload))
    })
}

fn any_body() -> impl Strategy<Value = RecordBody> {
    let create = ("[a-z0-9.-]{3,63}", ".{0,16}", ".{0,8}").prop_map(|(name, owner, region)| {
        RecordBody::CreateBucket(CreateBucket {
            name: BucketName::new(name).unwrap(),
            owner,
            region,
        })
    });
    let payload = prop_oneof![
        collection::vec(any::<u8>(), 0..300).prop_map(|bytes| RecordPayload::Inline(bytes.into())),
        any_extents().prop_map(RecordPayload::Bulk),
    ];
    let put = (any_target(), any_condition(), any_attributes(), any::<u64>(), payload).prop_map(
        |((bucket, config, key, _), condition, attributes, digest, payload)| {
            RecordBody::PutObject(PutObject {
                bucket,
                config,
                key,
                condition,
                attributes,
                digest,
                payload,
            })
        },
    );
    let delete = (any_target(), any_version(), any_condition()).prop_map(
        |((bucket, config, key, _), version, condition)| {
            RecordBody::DeleteObject(DeleteObject { bucket, config, key, version, condition })
        },
    );
    let tags = (any_target(), any_version(), any_pairs(5)).prop_map(
        |((bucket, config, key, _), version, tags)| {
            RecordBody::SetTags(SetTags { bucket, config, key, version, tags })
        },
    );
    let upload = (any_target(), any_attributes(), any::<(u8, bool)>()).prop_map(
        |(
            (bucket, config, key, upload),
            attributes,
            (checksum_algorithm, checksum_is_composite),
        )| {
            RecordBody::CreateUpload(CreateUpload {
                bucket,
                config,
                key,
                upload,
                attributes,
                checksum_algorithm,
                checksum_is_composite,
            })
        },
    );
    let part = (
        any_target(),
        any::<(u16, u64, [u8; 16], u64)>(),
        option::of(any_checksum()),
        any_extents(),
    )
        .prop_map(
            |((bucket, config, key, upload), (number, size, md5, digest), checksum, extents)| {
                let part = UploadPart { size, md5, digest, checksum, extents };
                let number = PartNumber::new(number);
                let records = size as u32;
                let stream =
                    part.extents.is_empty().then_some(StreamRef { stream: StreamId(md5), records });
                RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream })
            },
        );
    let parts = collection::vec(any::<(u16, [u8; 16])>(), 0..5);
    let complete = (any_target(), parts, any_condition(), option::of(any_checksum())).prop_map(
        |((bucket, config, key, upload), parts, condition, checksum)| {
            let parts = parts.into_iter().map(|(number, md5)| (PartNumber::new(number), md5));
            let parts = parts.collect();
            RecordBody::CompleteUpload(CompleteUpload {
                bucket,
                config,
                key,
                upload,
                parts,
                condition,
                checksum,
            })
        },
    );
    prop_oneof![
        Just(RecordBody::OpenWriter),
        Just(RecordBody::Barrier),
        create,
        any::<(u64, u64)>().prop_map(|(bucket, seen)| RecordBody::DeleteBucket {
            bucket: BucketId::new(bucket),
            seen: Offset::new(seen),
        }),
        (any_target(), any::<bool>(), option::of(collection::vec(any::<u8>(), 0..300))).prop_map(
            |((bucket, config, ..), is_known, document)| {
                let kind = if is_known { ConfigKind::VERSIONING } else { unknown_kind() };
                let document = document.map(Bytes::from);
                RecordBody::SetBucketConfig(SetBucketConfig { bucket, config, kind, document })
            }
        ),
        any::<u64>().prop_map(|number| RecordBody::Cut { number: CutNumber::new(number) }),
        any_target().prop_map(|(bucket, config, key, upload)| {
            RecordBody::AbortUpload(AbortUpload { bucket, config, key, upload })
        }),
        put,
        delete,
        tags,
        upload,
        part,
        complete,
        any_rename(),
    ]
}

fn any_statement() -> impl Strategy<Value = EntryValue> {
    let place = prop_oneof![
        Just(PayloadLocation::Empty),
        any::<(u64, u64, u32)>().prop_map(|(file, position, len)| {
            PayloadLocation::Log(LoggedPayload::new(LogLocation { file, position, len }))
        }),
        any::<(u64, u64, u32)>().prop_map(|(segment, position, index)| {
            let segment = SegmentId::new(segment);
            PayloadLocation::Segment(SegmentLocation { segment, position, index })
        }),
        any_extents().prop_map(PayloadLocation::Bulk),
    ];
    let object = (any::<(bool, i64, u64)>(), any_attributes(), place).prop_map(
        |((is_null, created, digest), attributes, payload)| {
            let (created, attributes) = (WallTime::from_micros(created), Arc::new(attributes));
            EntryValue::Object(ObjectVersion { is_null, created, digest, attributes, payload })
        },
    );
    let marker = (any::<(bool, i64)>(), ".{0,16}").prop_map(|((is_null, created), owner)| {
        EntryValue::Marker { is_null, created: WallTime::from_micros(created), owner }
    });
    prop_oneof![object, marker, Just(EntryValue::Tombstone), Just(EntryValue::NullTombstone)]
}

proptest! {
    #[test]
    fn a_statement_comes_back(statement in any_statement()) {
        let mut from = Decoder::new(encoded(&statement));
        prop_assert_eq!(EntryValue::decode(&mut from).unwrap(), statement);
        prop_assert!(from.end("end").is_ok());
    }

    #[test]
    fn a_record_comes_back(
        id: ([u8; 16], u32, u64),
        principal in ".{0,64}",
        request in ".{0,64}",
        time: i64,
        body in any_body(),
    ) {
        let id = RecordId {
            writer: WriterId(id.0),
            epoch: Epoch::new(id.1),
            sequence: Sequence::new(id.2),
        };
        let record = Record { id, principal, request, time: WallTime::from_micros(time), body };
        prop_assert_eq!(Record::decode(record.encode()).unwrap(), record);
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0u8..22, bytes: Vec<u8>) {
        let _ = Record::decode(bytes.clone().into());
        // Behind a good head, so that every kind's body is reached.
        let mut whole = golden_bytes()[0].to_vec();
        whole[1] = kind;
        whole.extend_from_slice(&bytes);
        let _ = Record::decode(whole.into());
    }
}

/// A kind of record with `n` of what a limit is about.
type Sized = fn(usize) -> Record;

fn of(body: RecordBody) -> Record {
    Record::of_the_store(RecordId::default(), body)
}

fn put_with(attributes: Attributes, payload: RecordPayload) -> Record {
    of(RecordBody::PutObject(PutObject {
        bucket: BucketId::new(3),
        config: ConfigVersion::ZERO,
        key: key("k"),
        condition: WriteCondition::Always,
        attributes,
        digest: 0,
        payload,
    }))
}

fn put_of(attributes: Attributes) -> Record {
    put_with(attributes, RecordPayload::Inline(Bytes::new()))
}

fn tags_of(tags: Vec<(String, String)>) -> Record {
    let (bucket, config, version) = (BucketId::new(3), ConfigVersion::ZERO, VersionRef::Current);
    of(RecordBody::SetTags(SetTags { bucket, config, key: key("k"), version, tags }))
}

fn rename() -> RenameObject {
    RenameObject {
        bucket: BucketId::new(3),
        config: ConfigVersion::ZERO,
        key: key("new"),
        condition: RenameCondition::default(),
        source: key("old"),
        source_condition: RenameCondition::default(),
        token: String::new(),
    }
}

/// A retried request must be the same whatever has happened to the bucket's configuration since, and no other.
#[test]
fn the_fingerprint_of_a_rename_covers_all_but_the_configuration() {
    let own = rename().fingerprint("me");
    let newer = RenameObject { config: ConfigVersion::new(9), ..rename() };
    assert_eq!(newer.fingerprint("me"), own);
    let other = RenameCondition { write: WriteCondition::IfAbsent, ..<_>::default() };
    let dated = RenameCondition { modified_since: Some(WallTime::default()), ..<_>::default() };
    let undated = RenameCondition { unmodified_since: Some(WallTime::default()), ..<_>::default() };
    let others = [
        RenameObject { bucket: BucketId::new(4), ..rename() },
        RenameObject { key: key("other"), ..rename() },
        RenameObject { source: key("other"), ..rename() },
        RenameObject { condition: other, ..rename() },
        RenameObject { source_condition: other, ..rename() },
        RenameObject { source_condition: dated, ..rename() },
        RenameObject { source_condition: undated, ..rename() },
        RenameObject { token: "token".into(), ..rename() },
    ];
    let mut found: std::collections::BTreeSet<_> =
        others.iter().map(|rename| rename.fingerprint("me")).collect();
    found.extend([own, rename().fingerprint("you")]);
    assert_eq!(found.len(), others.len() + 2);
}

fn text(n: usize) -> String {
    "x".repeat(n)
}

fn bytes(n: usize) -> Bytes {
    vec![7; n].into()
}

fn digest_of(n: usize) -> StoredChecksum {
    StoredChecksum { algorithm: 1, is_composite: false, digest: bytes(n) }
}

/// Every limit that decoding a record has, with a record that has `n` of it.
fn limits() -> Vec<(&'static str, usize, Sized)> {
    vec![
        ("principal", OWNER_BYTES_MAX, |n| Record {
            principal: text(n),
            ..of(RecordBody::Barrier)
        }),
        ("request id", REQUEST_BYTES_MAX, |n| Record {
            request: text(n),
            ..of(RecordBody::Barrier)
        }),
        ("region", REGION_BYTES_MAX, |n| {
            let name = BucketName::new("a-bucket").unwrap();
            of(RecordBody::CreateBucket(CreateBucket {
                name,
                owner: String::new(),
                region: text(n),
            }))
        }),
        ("owner", OWNER_BYTES_MAX, |n| {
            let name = BucketName::new("a-bucket").unwrap();
            of(RecordBody::CreateBucket(CreateBucket {
                name,
                owner: text(n),
                region: String::new(),
            }))
        }),
        ("owner", OWNER_BYTES_MAX, |n| put_of(Attributes { owner: text(n), ..<_>::default() })),
        ("headers", PAIRS_MAX, |n| {
            put_of(Attributes { headers: vec![pair("", ""); n], ..<_>::default() })
        }),
        ("headers", TEXT_BYTES_MAX, |n| {
            put_of(Attributes { headers: vec![(text(n), String::new())], ..<_>::default() })
        }),
        ("metadata", TEXT_BYTES_MAX, |n| {
            put_of(Attributes { metadata: vec![(String::new(), text(n))], ..<_>::default() })
        }),
        ("metadata", PAIRS_MAX, |n| {
            put_of(Attributes { metadata: vec![pair("", ""); n], ..<_>::default() })
        }),
        ("tags", PAIRS_MAX, |n| {
            put_of(Attributes { tags: vec![pair("", ""); n], ..<_>::default() })
        }),
        ("checksums", CHECKSUMS_MAX, |n| {
            let checksums = vec![digest_of(CHECKSUM_BYTES_MAX); n];
            put_of(Attributes { checksums, ..<_>::default() })
        }),
        ("checksum digest", CHECKSUM_BYTES_MAX, |n| {
            put_of(Attributes { checksums: vec![digest_of(n)], ..<_>::default() })
        }),
        ("parts", PARTS_MAX, |n| {
            let checksum = Some(digest_of(CHECKSUM_BYTES_MAX));
            let part = PartSummary { number: PartNumber::new(1), size: u64::MAX, checksum };
            put_of(Attributes { parts: vec![part; n], ..<_>::default() })
        }),
        ("payload", INLINE_BYTES_MAX, |n| {
            put_with(Attributes::default(), RecordPayload::Inline(bytes(n)))
        }),
        ("configuration document", CONFIG_DOCUMENT_BYTES_MAX, |n| {
            let (bucket, config) = (BucketId::new(3), ConfigVersion::ZERO);
            let (kind, document) = (unknown_kind(), Some(bytes(n)));
            of(RecordBody::SetBucketConfig(SetBucketConfig { bucket, config, kind, document }))
        }),
        ("tags", TAGS_MAX, |n| tags_of(vec![pair("", ""); n])),
        ("tag key", TAG_KEY_BYTES_MAX, |n| tags_of(vec![(text(n), String::new())])),
        ("tag value", TAG_VALUE_BYTES_MAX, |n| tags_of(vec![(String::new(), text(n))])),
        ("parts", PARTS_MAX, |n| {
            of(RecordBody::CompleteUpload(CompleteUpload {
                bucket: BucketId::new(3),
                config: ConfigVersion::ZERO,
                key: key("k"),
                upload: UploadId([1; 16]),
                parts: vec![(PartNumber::new(1), [0; 16]); n],
                condition: WriteCondition::Always,
                checksum: None,
            }))
        }),
        ("queue of events", QUEUE_BYTES_MAX, |n| {
            of(RecordBody::EventCursor(EventCursor {
                queue: text(n),
                lease: 0,
                process: WriterId([1; 16]),
                position: EventPosition::default(),
                delivered: 0,
                dropped: 0,
                bytes: 0,
            }))
        }),
        ("token of a client", CLIENT_TOKEN_BYTES_MAX, |n| {
            of(RecordBody::RenameObject(RenameObject { token: text(n), ..rename() }))
        }),
        ("payload of a stream", DATA_BYTES_MAX, |n| {
            let (stream, index, total) = (StreamId([1; 16]), 0, 1);
            of(RecordBody::Data(StreamPiece { stream, index, total, bytes: bytes(n) }))
        }),
    ]
}

/// A record that was acknowledged and could not be decoded stopped the fold for good: a server whose region had
/// 65 letters made its first bucket, and answered nothing more.
#[test]
fn a_record_at_a_limit_is_read_back_and_one_above_is_not_taken() {
    for (what, limit, make) in limits() {
        let record = make(limit);
        assert_eq!(record.check(), Ok(()), "{what}");
        let encoded = record.encode();
        assert!(encoded.len() <= record.bytes_estimate(), "{what}: a permit covers its record");
        assert_eq!(Record::decode(encoded), Ok(record), "{what}");
        let refused = make(limit + 1).check();
        assert_eq!(refused, Err(EncodeError { what, found: limit + 1, limit }));
    }
}

#[test]
fn extents_and_whole_records_have_their_limit() {
    let extent = Extent { file: BulkId::new(1), position: 0, len: 1 };
    let with = |count: usize| {
        put_with(Attributes::default(), RecordPayload::Bulk(vec![extent; count].into()))
    };
    assert_eq!(with(EXTENTS_MAX + 1).check().unwrap_err().what, "extents");
    assert_eq!(with(EXTENTS_MAX).check().unwrap_err().what, "bytes of a record");
    let record = with(200_000);
    assert_eq!(record.check(), Ok(()));
    assert_eq!(Record::decode(record.encode()), Ok(record));
}
