//! Every decision as a table: the record, what was there before, what becomes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::Decoder;
use ingest::entry::{
    Attributes, ETag, Entry, EntryKey, EntryValue, Extent, LogLocation, LoggedPayload,
    ObjectVersion, PartSummary, PayloadLocation, StoredChecksum, WriteOrigin,
};
use ingest::ids::{BulkId, ConfigVersion, Offset, PartNumber, SegmentId, UploadId};
use ingest::name::BucketName;
use ingest::record::{
    AbortUpload, CompleteUpload, ConfigKind, CreateBucket, CreateUpload, DeleteObject, EventCursor,
    EventName, EventPosition, NotificationRule, NotificationRules, PutObject, PutPart, RecordId,
    RecordPayload, RuleElement, SetBucketConfig, SetTags, UploadPart, Versioning,
};
use ingest::tail::TaggedTail;
use md5::{Digest, Md5};

use super::*;
use crate::memtable::StateChange;
use crate::outcome::{DeletedVersion, VersionName, WrittenVersion};
use crate::state::{
    BucketState, COMPLETED_UPLOAD_RECORDS, ConfigDocument, EventQueue, ObjectEvent, OpenUpload,
    StateKey, UploadState, decode_part,
};

mod rename;

const BUCKET: BucketId = BucketId::new(3);
const CONFIG: ConfigVersion = ConfigVersion::new(2);
const OTHER_CONFIG: ConfigVersion = ConfigVersion::new(1);
const NOBODYS: BucketId = BucketId::new(4);
const UPLOAD: UploadId = UploadId([0x55; 16]);
const AT: Offset = Offset::new(2_000_000);
const TIME: WallTime = WallTime::from_micros(1_700_000_000_000_000);
const CUT: CutNumber = CutNumber::new(5);
const RULES: StoreRules = StoreRules { part_bytes_min: 100 };
const LOCATION: LogLocation = LogLocation { file: 7, position: 4096, len: 900 };
const ETAG: ETag = ETag { md5: [0x11; 16], parts: 0 };
const OTHER_ETAG: ETag = ETag { md5: [0x22; 16], parts: 0 };
const PARTS_ETAG: ETag = ETag { md5: [0x11; 16], parts: 2 };

fn key() -> ObjectKey {
    ObjectKey::new("a/b").unwrap()
}

fn bucket(versioning: Versioning) -> BucketState {
    BucketState {
        id: BUCKET,
        name: BucketName::new("bucket").unwrap(),
        owner: "owner".into(),
        region: "region".into(),
        created: WallTime::from_micros(1),
        versioning,
        notifications: None,
        config: CONFIG,
        documents: BTreeMap::new(),
        tail: TaggedTail::default(),
    }
}

fn with(versioning: Versioning) -> Buckets {
    let mut buckets = Buckets::default();
    buckets.insert(bucket(versioning));
    buckets
}

fn record(body: RecordBody) -> Record {
    Record {
        id: RecordId::default(),
        principal: "principal".into(),
        request: "r".into(),
        time: WallTime::default(),
        body,
    }
}

fn decide(versioning: Versioning, prior: PriorState, body: RecordBody) -> RecordEffects {
    decide_on(&with(versioning), prior, body)
}

fn decide_on(buckets: &Buckets, prior: PriorState, body: RecordBody) -> RecordEffects {
    let committed = CommittedRecord {
        offset: AT,
        // The fold's time counts, not that of the record.
        time: WallTime::from_micros(9),
        location: LOCATION,
        record: Arc::new(record(body)),
    };
    apply(&RULES, PartitionId::ZERO, buckets, CUT, TIME, prior, &committed)
}

fn off(prior: PriorState, body: RecordBody) -> RecordEffects {
    decide(Versioning::Off, prior, body)
}

fn rejected(rejection: Rejection) -> RecordEffects {
    RecordEffects {
        outcome: RecordOutcome::Rejected(rejection),
        entries: Vec::new(),
        state: Vec::new(),
        bucket: None,
        queue: None,
        events: Vec::new(),
        freezes: false,
    }
}

fn done() -> RecordEffects {
    RecordEffects { outcome: RecordOutcome::Done, ..rejected(Rejection::NoSuchKey) }
}

fn attributes(etag: ETag) -> Attributes {
    Attributes {
        size: 7,
        etag,
        owner: "owner".into(),
        headers: vec![("content-type".into(), "text/plain".into())],
        tags: vec![("old".into(), "tag".into())],
        ..Attributes::default()
    }
}

fn object(etag: ETag, is_null: bool) -> FoundVersion {
    let statement = EntryValue::Object(ObjectVersion {
        is_null,
        created: WallTime::from_micros(3),
        digest: 8,
        attributes: Arc::new(attributes(etag)),
        payload: PayloadLocation::Empty,
    });
    FoundVersion { version: Offset::new(40), statement }
}

fn marker(is_null: bool) -> FoundVersion {
    let created = WallTime::from_micros(3);
    let statement = EntryValue::Marker { is_null, created, owner: "owner".into() };
    FoundVersion { version: Offset::new(41), statement }
}

fn current(found: Option<FoundVersion>) -> PriorState {
    PriorState { current: found, ..PriorState::default() }
}

fn version(found: Option<FoundVersion>) -> PriorState {
    PriorState { version: found, ..PriorState::default() }
}

/// What each condition makes of each thing that may be current.
fn conditions() -> Vec<(WriteCondition, Option<FoundVersion>, Option<Rejection>)> {
    let failed = Some(Rejection::PreconditionFailed);
    let missing = Some(Rejection::NoSuchKey);
    let there = || Some(object(ETAG, false));
    let hidden = || Some(marker(false));
    vec![
        (WriteCondition::Always, None, None),
        (WriteCondition::Always, hidden(), None),
        (WriteCondition::Always, there(), None),
        (WriteCondition::IfAbsent, None, None),
        (WriteCondition::IfAbsent, hidden(), None),
        (WriteCondition::IfAbsent, there(), failed),
        (WriteCondition::IfPresent, None, missing),
        (WriteCondition::IfPresent, hidden(), missing),
        (WriteCondition::IfPresent, there(), None),
        (WriteCondition::IfMatch(ETAG), None, missing),
        (WriteCondition::IfMatch(ETAG), hidden(), missing),
        (WriteCondition::IfMatch(ETAG), there(), None),
        (WriteCondition::IfMatch(OTHER_ETAG), there(), failed),
        // The parts belong to the tag: the same digest over another number of them is another object.
        (WriteCondition::IfMatch(PARTS_ETAG), there(), failed),
        (WriteCondition::IfMatch(ETAG), Some(object(PARTS_ETAG, false)), failed),
        (WriteCondition::IfMatch(PARTS_ETAG), Some(object(PARTS_ETAG, false)), None),
        (WriteCondition::IfVersion(Offset::new(40)), None, missing),
        (WriteCondition::IfVersion(Offset::new(40)), there(), None),
        (WriteCondition::IfVersion(Offset::new(41)), there(), failed),
        // A delete marker is a version, too: what expires names it.
        (WriteCondition::IfVersion(Offset::new(41)), hidden(), None),
        (WriteCondition::IfVersion(Offset::new(40)), hidden(), failed),
    ]
}

fn put(payload: RecordPayload) -> PutObject {
    PutObject {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        condition: WriteCondition::Always,
        attributes: attributes(ETAG),
        digest: 0xd1_6e57,
        payload,
    }
}

fn delete(version: VersionRef) -> DeleteObject {
    DeleteObject {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        version,
        condition: WriteCondition::Always,
    }
}

fn inline(bytes: &'static [u8]) -> RecordPayload {
    RecordPayload::Inline(Bytes::from_static(bytes))
}

fn entry(version: Offset, statement: EntryValue) -> Entry {
    Entry { key: EntryKey::new(BUCKET, key().as_bytes(), version, AT), statement }
}

#[test]
fn a_writers_beginning_and_a_barrier_change_nothing() {
    for body in [RecordBody::OpenWriter, RecordBody::Barrier] {
        assert_eq!(off(PriorState::default(), body), done());
    }
}

#[test]
fn a_bucket_is_created_once_and_named_by_its_offset() {
    let create = |name: &str, owner: &str| {
        RecordBody::CreateBucket(CreateBucket {
            name: BucketName::new(name.to_owned()).unwrap(),
            owner: owner.into(),
            region: "there".into(),
        })
    };
    let own = off(PriorState::default(), create("bucket", "owner"));
    assert_eq!(own, rejected(Rejection::BucketAlreadyOwned));
    let others = off(PriorState::default(), create("bucket", "somebody"));
    assert_eq!(others, rejected(Rejection::BucketExists));
    let state = BucketState {
        id: BucketId::new(AT.next().get()),
        name: BucketName::new("another").unwrap(),
        owner: "somebody".into(),
        region: "there".into(),
        created: TIME,
        versioning: Versioning::Off,
        notifications: None,
        config: ConfigVersion::ZERO,
        documents: BTreeMap::new(),
        tail: TaggedTail::default(),
    };
    let wanted = RecordEffects {
        outcome: RecordOutcome::BucketCreated(state.id),
        state: vec![(StateKey::bucket(state.id), Some(state.encode()))],
        bucket: Some((state.id, Some(state))),
        ..done()
    };
    assert_eq!(off(PriorState::default(), create("another", "somebody")), wanted);
}

#[test]
fn only_an_empty_bucket_is_deleted_and_its_uploads_go_with_it() {
    let uploads = || {
        vec![
            StateKey::part(UPLOAD, PartNumber::new(1)),
            StateKey::upload(BUCKET, key().as_bytes(), UPLOAD),
        ]
    };
    let delete = |bucket, last_write: Option<u64>, seen| {
        let last_write = last_write.map(Offset::new);
        let prior = PriorState { last_write, bucket_uploads: uploads(), ..PriorState::default() };
        off(prior, RecordBody::DeleteBucket { bucket, seen: Offset::new(seen) })
    };
    assert_eq!(delete(NOBODYS, None, 7), rejected(Rejection::NoSuchBucket));
    for (last_write, seen) in [(7, 7), (8, 7), (0, 0), (u64::MAX, 7)] {
        let effects = delete(BUCKET, Some(last_write), seen);
        assert_eq!(effects, rejected(Rejection::BucketWritten), "{last_write} {seen}");
    }
    let mut state: Vec<StateChange> = uploads().into_iter().map(|key| (key, None)).collect();
    state.push((StateKey::bucket(BUCKET), None));
    let wanted = RecordEffects { state, bucket: Some((BUCKET, None)), ..done() };
    for (last_write, seen) in [(None, 0), (None, 7), (Some(6), 7), (Some(0), 1)] {
        assert_eq!(delete(BUCKET, last_write, seen), wanted, "{last_write:?} {seen}");
    }
}

fn set_config(kind: ConfigKind, document: Option<&[u8]>) -> SetBucketConfig {
    let document = document.map(Bytes::copy_from_slice);
    SetBucketConfig { bucket: BUCKET, config: CONFIG, kind, document }
}

/// The bucket after a record that sets documents, all of them at once.
fn with_documents(documents: &[(ConfigKind, &[u8])]) -> BucketState {
    let document = |bytes: &[u8]| ConfigDocument {
        bytes: Bytes::copy_from_slice(bytes),
        version: CONFIG.next(),
        changed: TIME,
    };
    let documents = documents.iter().map(|(kind, bytes)| (*kind, document(bytes))).collect();
    BucketState { documents, config: CONFIG.next(), ..bucket(Versioning::Off) }
}

fn changed(state: BucketState) -> RecordEffects {
    RecordEffects {
        state: vec![(StateKey::bucket(BUCKET), Some(state.encode()))],
        bucket: Some((BUCKET, Some(state))),
        ..done()
    }
}

#[test]
fn each_change_of_a_document_raises_the_configuration() {
    let set = |set| off(PriorState::default(), RecordBody::SetBucketConfig(set));
    let kind = ConfigKind::VERSIONING;
    for versioning in [Versioning::Off, Versioning::On, Versioning::Suspended] {
        let document = versioning.document();
        let state = BucketState { versioning, ..with_documents(&[(kind, &document)]) };
        assert_eq!(set(set_config(kind, Some(&document))), changed(state));
    }
    // Documents that the fold does not read are kept as they came.
    let unknown = ConfigKind::decode(&mut Decoder::new(Bytes::from_static(&[99]))).unwrap();
    let state = with_documents(&[(unknown, b"<any />")]);
    assert_eq!(set(set_config(unknown, Some(b"<any />"))), changed(state));
    // The removal of a document that is not there is a change like any other.
    assert_eq!(set(set_config(unknown, None)), changed(with_documents(&[])));
    let mut buckets = with(Versioning::Off);
    let versioned =
        bucket(Versioning::Off).configured(kind, Some(&Versioning::On.document()), TIME).unwrap();
    buckets.insert(BucketState { config: CONFIG, ..versioned });
    let removed = decide_on(
        &buckets,
        PriorState::default(),
        RecordBody::SetBucketConfig(set_config(kind, None)),
    );
    assert_eq!(removed, changed(with_documents(&[])));
}

#[test]
fn a_document_is_refused_under_another_configuration_or_when_the_fold_cannot_read_it() {
    let set = |set| off(PriorState::default(), RecordBody::SetBucketConfig(set)).outcome;
    let rejected = RecordOutcome::Rejected;
    let kind = ConfigKind::VERSIONING;
    let good = set_config(kind, Some(&[1]));
    let nobodys = SetBucketConfig { bucket: NOBODYS, ..good.clone() };
    assert_eq!(set(nobodys), rejected(Rejection::NoSuchBucket));
    let stale = SetBucketConfig { config: OTHER_CONFIG, ..good };
    assert_eq!(set(stale), rejected(Rejection::Retry(CONFIG)));
    for document in [&b""[..], &[3], &[1, 0]] {
        let refused = set(set_config(kind, Some(document)));
        assert_eq!(refused, rejected(Rejection::ConfigurationMalformed));
    }
}

#[test]
fn a_put_makes_a_version_or_replaces_null() {
    let extents: Arc<[Extent]> =
        [Extent { file: BulkId::new(7), position: 4096, len: 70_000 }].into();
    for (versioning, is_null) in
        [(Versioning::Off, true), (Versioning::Suspended, true), (Versioning::On, false)]
    {
        for (payload, wanted) in [
            (inline(b""), PayloadLocation::Empty),
            (inline(b"payload"), PayloadLocation::Log(LoggedPayload::new(LOCATION))),
            (RecordPayload::Bulk(extents.clone()), PayloadLocation::Bulk(extents.clone())),
        ] {
            let effects =
                decide(versioning, PriorState::default(), RecordBody::PutObject(put(payload)));
            let object = ObjectVersion {
                is_null,
                created: TIME,
                digest: 0xd1_6e57,
                attributes: Arc::new(attributes(ETAG)),
                payload: wanted,
            };
            let written =
                WrittenVersion { version: AT, is_null, created: TIME, etag: ETAG, size: 7 };
            let wanted = RecordEffects {
                outcome: RecordOutcome::Written(written),
                entries: vec![entry(AT, EntryValue::Object(object))],
                ..done()
            };
            assert_eq!(effects, wanted, "{versioning:?}");
        }
    }
}

#[test]
fn a_put_is_done_only_if_its_condition_holds() {
    for (condition, found, rejection) in conditions() {
        let body = RecordBody::PutObject(PutObject { condition, ..put(inline(b"payload")) });
        let effects = off(current(found.clone()), body);
        let wanted = match rejection {
            Some(rejection) => rejected(rejection),
            None => off(PriorState::default(), RecordBody::PutObject(put(inline(b"payload")))),
        };
        assert_eq!(effects, wanted, "{condition:?} with {found:?}");
    }
}

#[test]
fn a_write_under_another_configuration_is_asked_again() {
    let complete = |bucket, config| {
        RecordBody::CompleteUpload(CompleteUpload { bucket, config, ..complete(&[1]) })
    };
    type BodyOf<'a> = &'a dyn Fn(BucketId, ConfigVersion) -> RecordBody;
    let (upload, number) = (UPLOAD, PartNumber::new(1));
    let bodies: [BodyOf; 8] = [
        &|bucket, config| RecordBody::PutObject(PutObject { bucket, config, ..put(inline(b"p")) }),
        &|bucket, config| {
            RecordBody::DeleteObject(DeleteObject { bucket, config, ..delete(VersionRef::Current) })
        },
        &complete,
        &|bucket, config| {
            let (key, version) = (key(), VersionRef::Current);
            RecordBody::SetTags(SetTags { bucket, config, key, version, tags: Vec::new() })
        },
        &|bucket, config| {
            let OpenUpload { attributes, checksum_algorithm, checksum_is_composite, .. } = open();
            RecordBody::CreateUpload(CreateUpload {
                bucket,
                config,
                key: key(),
                upload,
                attributes,
                checksum_algorithm,
                checksum_is_composite,
            })
        },
        &|bucket, config| {
            let (key, part) = (key(), part(1));
            RecordBody::PutPart(PutPart { bucket, config, key, upload, number, part, stream: None })
        },
        &|bucket, config| {
            RecordBody::AbortUpload(AbortUpload { bucket, config, key: key(), upload })
        },
        &|bucket, config| {
            let (kind, document) = (ConfigKind::VERSIONING, None);
            RecordBody::SetBucketConfig(SetBucketConfig { bucket, config, kind, document })
        },
    ];
    for body in bodies {
        // The newer and the older configuration alike, before anything else is looked at.
        for config in [OTHER_CONFIG, CONFIG.next()] {
            let effects = off(PriorState::default(), body(BUCKET, config));
            assert_eq!(effects, rejected(Rejection::Retry(CONFIG)));
        }
        let effects = off(PriorState::default(), body(NOBODYS, CONFIG));
        assert_eq!(effects, rejected(Rejection::NoSuchBucket));
    }
}

#[test]
fn a_delete_leaves_what_its_bucket_keeps() {
    let null = VersionRef::Null;
    let at = |offset| VersionRef::At(Offset::new(offset));
    let marked = |is_null| EntryValue::Marker { is_null, created: TIME, owner: "principal".into() };
    let null_removed = || Some((AT, EntryValue::NullTombstone));
    let removed = |offset| Some((Offset::new(offset), EntryValue::Tombstone));
    let named = |version, is_marker| DeletedVersion { version: Some(version), is_marker };
    let unnamed = DeletedVersion { version: None, is_marker: false };
    let (by_null, by_offset) = (VersionName::Null, |o| VersionName::At(Offset::new(o)));
    type Case = (VersionRef, Option<FoundVersion>, Option<(Offset, EntryValue)>, DeletedVersion);
    let versions: Vec<Case> = vec![
        (null, Some(object(ETAG, true)), null_removed(), named(by_null, false)),
        (null, Some(marker(true)), null_removed(), named(by_null, true)),
        (null, None, None, named(by_null, false)),
        (at(40), Some(object(ETAG, false)), removed(40), named(by_offset(40), false)),
        (at(41), Some(marker(false)), removed(41), named(by_offset(41), true)),
        (at(9), None, None, named(by_offset(9), false)),
    ];
    let currents: [(Versioning, EntryValue, DeletedVersion); 3] = [
        (Versioning::Off, EntryValue::NullTombstone, unnamed),
        (Versioning::On, marked(false), named(VersionName::At(AT), true)),
        (Versioning::Suspended, marked(true), named(by_null, true)),
    ];
    for (versioning, statement, deleted) in currents {
        let body = RecordBody::DeleteObject(delete(VersionRef::Current));
        let wanted = RecordEffects {
            outcome: RecordOutcome::Deleted(deleted),
            entries: vec![entry(AT, statement)],
            ..done()
        };
        assert_eq!(decide(versioning, PriorState::default(), body), wanted, "{versioning:?}");
        // A certain version goes in the same way whatever the bucket keeps from now on.
        for (wanted_version, found, statement, deleted) in versions.clone() {
            let body = RecordBody::DeleteObject(delete(wanted_version));
            let entries = statement.map(|(version, statement)| entry(version, statement));
            let wanted = RecordEffects {
                outcome: RecordOutcome::Deleted(deleted),
                entries: entries.into_iter().collect(),
                ..done()
            };
            let effects = decide(versioning, version(found.clone()), body);
            assert_eq!(effects, wanted, "{versioning:?}, {wanted_version:?}, {found:?}");
        }
    }
}

#[test]
fn a_delete_is_done_only_if_its_condition_holds() {
    for (condition, found, rejection) in conditions() {
        let body = |condition| {
            RecordBody::DeleteObject(DeleteObject { condition, ..delete(VersionRef::Current) })
        };
        let effects = off(current(found.clone()), body(condition));
        let wanted = match rejection {
            Some(rejection) => rejected(rejection),
            None => off(PriorState::default(), body(WriteCondition::Always)),
        };
        assert_eq!(effects, wanted, "{condition:?} with {found:?}");
    }
}

#[test]
fn tags_are_set_on_an_object_that_is_there() {
    let at = VersionRef::At(Offset::new(40));
    let set = |version| SetTags {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        version,
        tags: vec![("new".into(), "tags".into())],
    };
    for (wanted_version, found, rejection) in [
        (VersionRef::Current, None, Rejection::NoSuchKey),
        (VersionRef::Null, None, Rejection::NoSuchVersion),
        (at, None, Rejection::NoSuchVersion),
        (VersionRef::Current, Some(marker(false)), Rejection::IsDeleteMarker),
        (VersionRef::Null, Some(marker(true)), Rejection::IsDeleteMarker),
        (at, Some(marker(false)), Rejection::IsDeleteMarker),
    ] {
        let effects = off(version(found.clone()), RecordBody::SetTags(set(wanted_version)));
        assert_eq!(effects, rejected(rejection), "{wanted_version:?}, {found:?}");
    }
    for (is_null, name) in [(true, VersionName::Null), (false, VersionName::At(Offset::new(40)))] {
        for wanted_version in [VersionRef::Current, VersionRef::Null, at] {
            let found = object(ETAG, is_null);
            let EntryValue::Object(mut tagged) = found.statement.clone() else { unreachable!() };
            // Everything but the tags stays, its place and time above all.
            let tags = set(at).tags;
            tagged.attributes = Arc::new(Attributes { tags, ..attributes(ETAG) });
            let wanted = RecordEffects {
                outcome: RecordOutcome::Changed(name),
                entries: vec![entry(Offset::new(40), EntryValue::Object(tagged))],
                ..done()
            };
            let effects = off(version(Some(found)), RecordBody::SetTags(set(wanted_version)));
            assert_eq!(effects, wanted);
        }
    }
}

fn open() -> OpenUpload {
    OpenUpload {
        created: TIME,
        attributes: attributes(ETag::default()),
        checksum_algorithm: 2,
        checksum_is_composite: true,
    }
}

fn upload_key() -> StateKey {
    StateKey::upload(BUCKET, key().as_bytes(), UPLOAD)
}

fn part_key(number: u16) -> StateKey {
    StateKey::part(UPLOAD, PartNumber::new(number))
}

#[test]
fn an_upload_is_opened_in_a_bucket_that_is_there() {
    let create = |bucket| {
        let OpenUpload { attributes, checksum_algorithm, checksum_is_composite, .. } = open();
        RecordBody::CreateUpload(CreateUpload {
            bucket,
            config: CONFIG,
            key: key(),
            upload: UPLOAD,
            attributes,
            checksum_algorithm,
            checksum_is_composite,
        })
    };
    assert_eq!(off(PriorState::default(), create(NOBODYS)), rejected(Rejection::NoSuchBucket));
    let state = vec![(upload_key(), Some(UploadState::Open(open()).encode()))];
    assert_eq!(off(PriorState::default(), create(BUCKET)), RecordEffects { state, ..done() });
}

/// Payload of a part: as long as its number, a hundredfold, plus one.
fn payload(number: u16) -> Vec<u8> {
    vec![number as u8; usize::from(number) * 100 + 1]
}

fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, bytes)
}

fn part(number: u16) -> UploadPart {
    let bytes = payload(number);
    UploadPart {
        size: bytes.len() as u64,
        md5: [number as u8; 16],
        digest: crc64(&bytes),
        checksum: (number % 2 == 1).then(|| StoredChecksum {
            algorithm: 2,
            is_composite: false,
            digest: Bytes::from(vec![number as u8; 4]),
        }),
        extents: [Extent { file: BulkId::new(number.into()), position: 4096, len: 100 }].into(),
    }
}

/// An open upload with these parts.
fn uploaded(numbers: &[u16]) -> PriorState {
    PriorState {
        upload: Some(UploadState::Open(open())),
        parts: numbers.iter().map(|n| (PartNumber::new(*n), part(*n))).collect(),
        ..PriorState::default()
    }
}

fn answer() -> WrittenVersion {
    WrittenVersion { version: Offset::new(8), is_null: true, created: TIME, etag: ETAG, size: 9 }
}

fn completed(numbers: &[u16], at: u64) -> PriorState {
    let parts = complete(numbers).parts;
    let upload = UploadState::Completed { written: answer(), parts, at: Offset::new(at) };
    PriorState { upload: Some(upload), ..PriorState::default() }
}

fn complete(numbers: &[u16]) -> CompleteUpload {
    CompleteUpload {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        upload: UPLOAD,
        parts: numbers.iter().map(|n| (PartNumber::new(*n), [*n as u8; 16])).collect(),
        condition: WriteCondition::Always,
        checksum: None,
    }
}

#[test]
fn parts_and_their_end_need_an_open_upload() {
    let (bucket, config, key, upload) = (BUCKET, CONFIG, key(), UPLOAD);
    let put = || {
        let (number, part) = (PartNumber::new(2), part(2));
        RecordBody::PutPart(PutPart {
            bucket,
            config,
            key: key.clone(),
            upload,
            number,
            part,
            stream: None,
        })
    };
    let abort =
        || RecordBody::AbortUpload(AbortUpload { bucket, config, key: key.clone(), upload });
    for prior in [PriorState::default(), completed(&[1], 9)] {
        assert_eq!(off(prior.clone(), put()), rejected(Rejection::NoSuchUpload));
        assert_eq!(off(prior, abort()), rejected(Rejection::NoSuchUpload));
    }
    let effects = off(uploaded(&[2]), put());
    let value = effects.state[0].1.clone().unwrap();
    assert_eq!(decode_part(value.clone()), Ok((TIME, part(2))));
    let stored = RecordEffects { outcome: RecordOutcome::PartStored(TIME), ..done() };
    assert_eq!(effects, RecordEffects { state: vec![(part_key(2), Some(value))], ..stored });
    let state = vec![(part_key(1), None), (part_key(7), None), (upload_key(), None)];
    assert_eq!(off(uploaded(&[1, 7]), abort()), RecordEffects { state, ..done() });
}

#[test]
fn a_completion_names_parts_that_are_there_in_order() {
    let wrong_md5 = CompleteUpload {
        parts: vec![(PartNumber::new(1), [1; 16]), (PartNumber::new(2), [9; 16])],
        ..complete(&[])
    };
    for (complete, rejection) in [
        (complete(&[]), Rejection::InvalidPart),
        (complete(&[2, 1]), Rejection::InvalidPartOrder),
        (complete(&[1, 1]), Rejection::InvalidPartOrder),
        (complete(&[1, 4]), Rejection::InvalidPart),
        (complete(&[0]), Rejection::InvalidPart),
        (wrong_md5, Rejection::InvalidPart),
    ] {
        let named = format!("{:?}", complete.parts);
        let effects = off(uploaded(&[1, 2, 3]), RecordBody::CompleteUpload(complete));
        assert_eq!(effects, rejected(rejection), "{named}");
    }
    let effects = off(PriorState::default(), RecordBody::CompleteUpload(complete(&[1])));
    assert_eq!(effects, rejected(Rejection::NoSuchUpload));
}

#[test]
fn only_the_last_part_may_be_small() {
    let with_sizes = |sizes: &[u64]| {
        let part = |(index, size): (usize, &u64)| {
            let number = index as u16 + 1;
            (PartNumber::new(number), UploadPart { size: *size, ..part(number) })
        };
        PriorState { parts: sizes.iter().enumerate().map(part).collect(), ..uploaded(&[]) }
    };
    for (sizes, is_done) in [
        (&[1][..], true),
        (&[0], true),
        (&[100, 1], true),
        (&[99, 1000], false),
        (&[99, 1], false),
        (&[100, 99, 100], false),
        (&[99, 100, 100], false),
        (&[100, 100, 0], true),
    ] {
        let numbers: Vec<u16> = (1..=sizes.len() as u16).collect();
        let effects = off(with_sizes(sizes), RecordBody::CompleteUpload(complete(&numbers)));
        let is_small = effects == rejected(Rejection::EntityTooSmall);
        assert_eq!(is_small, !is_done, "{sizes:?}: {:?}", effects.outcome);
        assert_eq!(matches!(effects.outcome, RecordOutcome::Written(_)), is_done);
    }
    assert_eq!(StoreRules::default().part_bytes_min, 5_242_880);
}

#[test]
fn a_completed_upload_is_one_object_of_its_parts() {
    let checksum =
        StoredChecksum { algorithm: 2, is_composite: true, digest: Bytes::from_static(b"sums") };
    let complete = CompleteUpload { checksum: Some(checksum.clone()), ..complete(&[1, 3]) };
    // Part 2 was uploaded and is not named: it goes, too.
    for (versioning, is_null) in [(Versioning::Off, true), (Versioning::On, false)] {
        let body = RecordBody::CompleteUpload(complete.clone());
        let effects = decide(versioning, uploaded(&[1, 2, 3]), body);
        let whole = [payload(1), payload(3)].concat();
        let md5: [u8; 16] = Md5::digest([[1; 16], [3; 16]].concat()).into();
        let etag = ETag { md5, parts: 2 };
        let summary = |number: u16| PartSummary {
            number: PartNumber::new(number),
            size: payload(number).len() as u64,
            checksum: part(number).checksum,
        };
        let attributes = Attributes {
            size: whole.len() as u64,
            etag,
            checksums: vec![checksum.clone()],
            parts: vec![summary(1), summary(3)],
            ..open().attributes
        };
        let object = ObjectVersion {
            is_null,
            created: TIME,
            digest: crc64(&whole),
            attributes: Arc::new(attributes),
            payload: PayloadLocation::Bulk(
                [&part(1).extents[..], &part(3).extents[..]].concat().into(),
            ),
        };
        let size = whole.len() as u64;
        let written = WrittenVersion { version: AT, is_null, created: TIME, etag, size };
        let parts = complete.parts.clone();
        let kept = UploadState::Completed { written, parts, at: AT };
        let wanted = RecordEffects {
            outcome: RecordOutcome::Written(written),
            entries: vec![entry(AT, EntryValue::Object(object))],
            state: vec![
                (part_key(1), None),
                (part_key(2), None),
                (part_key(3), None),
                (upload_key(), None),
                (StateKey::completed_upload(BUCKET, key().as_bytes(), UPLOAD), Some(kept.encode())),
            ],
            ..done()
        };
        assert_eq!(effects, wanted, "{versioning:?}");
    }
}

#[test]
fn parts_without_payload_make_an_empty_object() {
    let empty = UploadPart { size: 0, digest: 0, extents: [].into(), ..part(1) };
    let prior = PriorState { parts: vec![(PartNumber::new(1), empty)], ..uploaded(&[]) };
    let effects = off(prior, RecordBody::CompleteUpload(complete(&[1])));
    let EntryValue::Object(object) = &effects.entries[0].statement else { panic!("no object") };
    assert_eq!((&object.payload, object.attributes.size), (&PayloadLocation::Empty, 0));
    assert_eq!(object.attributes.checksums, []);
}

#[test]
fn completing_again_with_the_same_parts_gets_the_first_answer() {
    let oldest = AT.get() - COMPLETED_UPLOAD_RECORDS;
    let answered = RecordEffects { outcome: RecordOutcome::Written(answer()), ..done() };
    let gone = rejected(Rejection::NoSuchUpload);
    for (before, named, wanted) in [
        (completed(&[1, 3], oldest), &[1, 3][..], &answered),
        (completed(&[1, 3], oldest - 1), &[1, 3], &gone),
        (completed(&[1, 3], AT.get() - 1), &[1, 3], &answered),
        (completed(&[1, 3], AT.get() - 1), &[1], &gone),
        (completed(&[1, 3], AT.get() - 1), &[3, 1], &gone),
    ] {
        let effects = off(before, RecordBody::CompleteUpload(complete(named)));
        assert_eq!(&effects, wanted, "{named:?}");
    }
    // Whatever is current by now: the condition was judged the first time.
    let body = CompleteUpload { condition: WriteCondition::IfPresent, ..complete(&[1]) };
    assert_eq!(off(completed(&[1], oldest), RecordBody::CompleteUpload(body)), answered);
}

#[test]
fn an_upload_is_completed_only_if_its_condition_holds() {
    for (condition, found, rejection) in conditions() {
        let body =
            |condition| RecordBody::CompleteUpload(CompleteUpload { condition, ..complete(&[1]) });
        let prior = PriorState { current: found.clone(), ..uploaded(&[1]) };
        let wanted = match rejection {
            Some(rejection) => rejected(rejection),
            None => off(uploaded(&[1]), body(WriteCondition::Always)),
        };
        assert_eq!(off(prior, body(condition)), wanted, "{condition:?} with {found:?}");
    }
    // Wrong parts are named before a condition that does not hold.
    let body = CompleteUpload { condition: WriteCondition::IfPresent, ..complete(&[9]) };
    let effects = off(uploaded(&[1]), RecordBody::CompleteUpload(body));
    assert_eq!(effects, rejected(Rejection::InvalidPart));
}

#[test]
fn only_the_next_cut_freezes() {
    for (number, freezes) in [(4, false), (5, false), (6, true), (7, false), (u64::MAX, false)] {
        let effects =
            off(PriorState::default(), RecordBody::Cut { number: CutNumber::new(number) });
        let wanted = if freezes {
            RecordEffects { freezes, ..done() }
        } else {
            rejected(Rejection::StaleCut)
        };
        assert_eq!(effects, wanted, "cut {number}");
    }
}

#[test]
fn a_record_needs_what_its_outcome_hangs_on() {
    let needs_of = |body| needs(&with(Versioning::Off), &record(body));
    let nothing = ReadSet::default();
    let target = Some((BUCKET, key()));
    let upload = Some((BUCKET, key(), UPLOAD));
    let at = VersionRef::At(Offset::new(40));
    let conditions = [
        (WriteCondition::Always, None),
        (WriteCondition::IfAbsent, target.clone()),
        (WriteCondition::IfPresent, target.clone()),
        (WriteCondition::IfMatch(ETAG), target),
    ];
    for (condition, current) in conditions {
        let wanted = ReadSet { current, ..ReadSet::default() };
        let body = RecordBody::PutObject(PutObject { condition, ..put(inline(b"p")) });
        assert_eq!(needs_of(body), wanted);
        for version in [VersionRef::Current, VersionRef::Null, at] {
            let body = RecordBody::DeleteObject(DeleteObject { condition, ..delete(version) });
            let version = (version != VersionRef::Current).then(|| (BUCKET, key(), version));
            assert_eq!(needs_of(body), ReadSet { version, ..wanted.clone() });
        }
        let body = RecordBody::CompleteUpload(CompleteUpload { condition, ..complete(&[1]) });
        assert_eq!(needs_of(body), ReadSet { upload: upload.clone(), parts: true, ..wanted });
    }
    for version in [VersionRef::Current, VersionRef::Null, at] {
        let body = RecordBody::SetTags(SetTags {
            bucket: BUCKET,
            config: CONFIG,
            key: key(),
            version,
            tags: Vec::new(),
        });
        let version = Some((BUCKET, key(), version));
        assert_eq!(needs_of(body), ReadSet { version, ..ReadSet::default() });
    }
    let delete_bucket = |bucket| RecordBody::DeleteBucket { bucket, seen: Offset::new(40) };
    let uploads = ReadSet { uploads_of: Some(BUCKET), ..ReadSet::default() };
    assert_eq!(needs_of(delete_bucket(BUCKET)), uploads);
    assert_eq!(needs_of(delete_bucket(NOBODYS)), nothing);
    let (number, part) = (PartNumber::new(1), part(1));
    let (bucket, config, key, id) = (BUCKET, CONFIG, key(), UPLOAD);
    let put_part =
        PutPart { bucket, config, key: key.clone(), upload: id, number, part, stream: None };
    let abort = RecordBody::AbortUpload(AbortUpload { bucket, config, key, upload: id });
    for (body, parts) in [(RecordBody::PutPart(put_part), false), (abort, true)] {
        assert_eq!(needs_of(body), ReadSet { upload: upload.clone(), parts, ..ReadSet::default() });
    }
    for body in [RecordBody::OpenWriter, RecordBody::Barrier, RecordBody::Cut { number: CUT }] {
        assert_eq!(needs_of(body), nothing);
    }
}

#[test]
fn the_same_record_on_the_same_state_has_the_same_effects() {
    let body = || RecordBody::CompleteUpload(complete(&[1, 2, 3]));
    assert_eq!(off(uploaded(&[1, 2, 3]), body()), off(uploaded(&[1, 2, 3]), body()));
}

#[test]
fn a_version_in_a_segment_is_tagged_where_it_lies() {
    let at = ingest::entry::SegmentLocation { segment: SegmentId::new(3), position: 60, index: 2 };
    let mut found = object(ETAG, false);
    if let EntryValue::Object(object) = &mut found.statement {
        object.payload = PayloadLocation::Segment(at);
    }
    let set = SetTags {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        version: VersionRef::Current,
        tags: Vec::new(),
    };
    let effects = off(version(Some(found)), RecordBody::SetTags(set));
    let EntryValue::Object(object) = &effects.entries[0].statement else { panic!("no object") };
    assert_eq!(object.payload, PayloadLocation::Segment(at));
}

/// A bucket whose rules report everything but copies to `all`, and tagging to `tags`, too.
fn reporting(versioning: Versioning) -> Buckets {
    let rule = |queue: &str, events: &[&str]| NotificationRule {
        element: RuleElement::Queue,
        id: format!("to {queue}"),
        arn: String::new(),
        queue: queue.into(),
        events: events.iter().map(|name| EventName::named(name).unwrap()).collect(),
        prefix: Some("a/".into()),
        suffix: None,
    };
    let all = [
        "s3:ObjectCreated:Put",
        "s3:ObjectCreated:Post",
        "s3:ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectRemoved:*",
        "s3:ObjectTagging:*",
    ];
    let rules = vec![rule("all", &all), rule("tags", &["s3:ObjectTagging:Put"])];
    let notifications = Some(Arc::new(NotificationRules { rules }));
    let mut buckets = Buckets::default();
    buckets.insert(BucketState { notifications, ..bucket(versioning) });
    buckets
}

fn wrote(origin: WriteOrigin) -> RecordBody {
    let mut attributes = attributes(ETAG);
    attributes.set_origin(origin);
    RecordBody::PutObject(PutObject { attributes, ..put(inline(b"payload")) })
}

fn deletes(version: VersionRef, condition: WriteCondition) -> RecordBody {
    RecordBody::DeleteObject(DeleteObject { condition, ..delete(version) })
}

fn tags(tags: &[(&str, &str)]) -> RecordBody {
    let tags = tags.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    let (config, key, version) = (CONFIG, key(), VersionRef::Current);
    RecordBody::SetTags(SetTags { bucket: BUCKET, config, key, version, tags })
}

/// One decision: versioning, what is there, the record, and the events: queue, name, version, size.
type EventCase<'a> =
    (Versioning, PriorState, RecordBody, &'a [(&'a str, EventName, Option<Offset>, Option<u64>)]);

#[test]
fn a_record_makes_the_events_that_its_bucket_reports() {
    use Versioning::{Off, On, Suspended};
    let none = PriorState::default;
    let is_there = || version(Some(object(ETAG, false)));
    let old = VersionRef::At(Offset::new(40));
    let any = WriteCondition::Always;
    let (made, found) = (Some(AT), Some(Offset::new(40)));
    let failing = WriteCondition::IfPresent;
    let completes = || RecordBody::CompleteUpload(complete(&[1]));
    let cases: &[EventCase<'_>] = &[
        (Off, none(), wrote(WriteOrigin::Put), &[("all", EventName::CREATED_PUT, None, Some(7))]),
        (On, none(), wrote(WriteOrigin::Put), &[("all", EventName::CREATED_PUT, made, Some(7))]),
        (Off, none(), wrote(WriteOrigin::Post), &[("all", EventName::CREATED_POST, None, Some(7))]),
        (Off, none(), wrote(WriteOrigin::Copy), &[]),
        (
            Off,
            none(),
            deletes(VersionRef::Current, any),
            &[("all", EventName::REMOVED_DELETE, None, None)],
        ),
        (
            On,
            none(),
            deletes(VersionRef::Current, any),
            &[("all", EventName::REMOVED_MARKER, made, None)],
        ),
        (
            Suspended,
            none(),
            deletes(VersionRef::Current, any),
            &[("all", EventName::REMOVED_MARKER, None, None)],
        ),
        (On, is_there(), deletes(old, any), &[("all", EventName::REMOVED_DELETE, found, None)]),
        // Nothing is there, or the condition fails: nothing is reported.
        (On, none(), deletes(old, any), &[]),
        (On, none(), deletes(VersionRef::Current, failing), &[]),
        (
            On,
            is_there(),
            tags(&[("a", "b")]),
            &[
                ("all", EventName::TAGGING_PUT, found, Some(7)),
                ("tags", EventName::TAGGING_PUT, found, Some(7)),
            ],
        ),
        (On, is_there(), tags(&[]), &[("all", EventName::TAGGING_DELETE, found, Some(7))]),
        (On, none(), tags(&[]), &[]),
        (On, uploaded(&[1]), completes(), &[("all", EventName::CREATED_COMPLETE, made, Some(101))]),
        // A completion that is repeated reports nothing again.
        (On, completed(&[1], 1_999_999), completes(), &[]),
    ];
    for (versioning, prior, body, wanted) in cases {
        let decided = |buckets: &Buckets| decide_on(buckets, prior.clone(), body.clone());
        let effects = decided(&reporting(*versioning));
        let found: Vec<_> = effects
            .events
            .iter()
            .map(|event| {
                let read = ObjectEvent::decode(event.value.clone()).unwrap();
                let of = (read.bucket.as_str(), read.key.as_str(), read.principal.as_str());
                assert_eq!(of, ("bucket", "a/b", "principal"));
                assert_eq!((read.time, read.rule), (TIME, format!("to {}", event.queue)));
                assert_eq!(event.position.offset, AT);
                let size = read.object.map(|(size, _)| size);
                (event.queue.clone(), read.name, read.version, size)
            })
            .collect();
        let wanted: Vec<_> = wanted
            .iter()
            .map(|(queue, name, version, size)| ((*queue).to_owned(), *name, *version, *size))
            .collect();
        assert_eq!(found, wanted, "{versioning:?} {body:?}");
        // Without rules the record has the same effects, and no event.
        let quiet = decided(&with(*versioning));
        assert_eq!(quiet, RecordEffects { events: Vec::new(), ..effects });
    }
}

#[test]
fn a_cursor_moves_under_its_lease_only() {
    let cursor = |lease| EventCursor {
        queue: "hook".into(),
        lease,
        process: ingest::ids::WriterId([1; 16]),
        position: EventPosition { offset: AT, rule: 1 },
        delivered: 5,
        dropped: 0,
        bytes: 100,
    };
    let body = RecordBody::EventCursor(cursor(3));
    let wanted = ReadSet { queue: Some("hook".into()), ..ReadSet::default() };
    assert_eq!(needs(&with(Versioning::Off), &record(body.clone())), wanted);
    for (lease, is_taken) in [(1, false), (2, true), (3, false)] {
        let queue = EventQueue { lease, ..EventQueue::default() };
        let prior = PriorState { queue: Some(queue), ..PriorState::default() };
        let effects = off(prior, body.clone());
        let wanted = match queue.moved(&cursor(3)) {
            Ok(moved) => RecordEffects { queue: Some(("hook".into(), moved)), ..done() },
            Err(rejection) => rejected(rejection),
        };
        assert_eq!(effects, wanted);
        assert_eq!(effects.queue.is_some(), is_taken, "lease {lease}");
    }
}
