use ingest::entry::{ETag, Extent, OWNER_BYTES_MAX, StoredChecksum};
use ingest::env::FilePath;
use ingest::ids::{BulkId, ConfigVersion};
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{
    CONFIG_BYTES_MAX, CONFIG_DOCUMENT_BYTES_MAX, CONFIG_DOCUMENTS_MAX, ConfigKind, EventName,
    EventPosition, REGION_BYTES_MAX, Versioning,
};
use ingest::tail::TaggedTail;
use proptest::prelude::*;

use super::*;
use crate::fuzz::{Mutator, rounds};
use crate::golden;
use crate::memory::{Memory, ready};
use crate::outcome::{DeletedVersion, VersionName, WrittenVersion};
use crate::sealed::FileDigest;
use crate::state_value::{decode_state_value, encode_state_value};
use crate::table::{Table, TableKind, TableValue, TableWriter};

const BUCKET: BucketId = BucketId::new(3);
const UPLOAD: UploadId = UploadId([0x55; 16]);
const WRITER: WriterId = WriterId([0x77; 16]);

fn kind(number: u64) -> ConfigKind {
    let mut out = Encoder::new();
    out.varint(number);
    ConfigKind::decode(&mut Decoder::new(out.finish())).unwrap()
}

fn document(version: u32, bytes: &[u8]) -> ConfigDocument {
    let (version, changed) = (ConfigVersion::new(version), WallTime::from_micros(11));
    ConfigDocument { bytes: Bytes::copy_from_slice(bytes), version, changed }
}

fn bucket() -> BucketState {
    BucketState {
        id: BUCKET,
        name: BucketName::new("a-bucket.1").unwrap(),
        owner: "owner".into(),
        region: "eu-central-1".into(),
        created: WallTime::from_micros(1_700_000_000_000_000),
        versioning: Versioning::Suspended,
        notifications: None,
        config: ConfigVersion::new(7),
        documents: [
            (ConfigKind::VERSIONING, document(5, &Versioning::Suspended.document())),
            (kind(300), document(7, b"<of-a-kind-that-nobody-knows />")),
        ]
        .into(),
        tail: TaggedTail::decode(&mut Decoder::new(Bytes::from_static(b"\x01\x09\x02ab"))).unwrap(),
    }
}

fn written() -> WrittenVersion {
    WrittenVersion {
        version: Offset::new(41),
        is_null: true,
        created: WallTime::from_micros(1_700_000_000_000_001),
        etag: ETag { md5: [0x11; 16], parts: 2 },
        size: 300,
    }
}

fn open_upload() -> UploadState {
    UploadState::Open(OpenUpload {
        created: WallTime::from_micros(5),
        attributes: Attributes {
            owner: "owner".into(),
            metadata: vec![("colour".into(), "grün".into())],
            ..Attributes::default()
        },
        checksum_algorithm: 2,
        checksum_is_composite: true,
    })
}

fn completed_upload() -> UploadState {
    let parts = vec![(PartNumber::new(1), [0x33; 16]), (PartNumber::new(10_000), [0x44; 16])];
    UploadState::Completed { written: written(), parts, at: Offset::new(41) }
}

fn part() -> UploadPart {
    let digest = Bytes::from_static(&[1, 2, 3, 4]);
    UploadPart {
        size: 300,
        md5: [0x33; 16],
        digest: u64::MAX,
        checksum: Some(StoredChecksum { algorithm: 2, is_composite: false, digest }),
        extents: [Extent { file: BulkId::new(7), position: 4096, len: 300 }].into(),
    }
}

/// Every outcome, and every rejection.
fn outcomes() -> Vec<RecordOutcome> {
    let named = |version, is_marker| RecordOutcome::Deleted(DeletedVersion { version, is_marker });
    let mut all = vec![
        RecordOutcome::Done,
        RecordOutcome::BucketCreated(BUCKET),
        RecordOutcome::Written(written()),
        named(None, false),
        named(Some(VersionName::Null), true),
        named(Some(VersionName::At(Offset::new(41))), false),
        RecordOutcome::Changed(VersionName::Null),
        RecordOutcome::Changed(VersionName::At(Offset::new(41))),
        RecordOutcome::PartStored(WallTime::from_micros(5)),
    ];
    let rejections = [
        Rejection::NoSuchBucket,
        Rejection::BucketAlreadyOwned,
        Rejection::BucketExists,
        Rejection::BucketNotEmpty,
        Rejection::Retry(ConfigVersion::new(9)),
        Rejection::PreconditionFailed,
        Rejection::NoSuchKey,
        Rejection::NoSuchVersion,
        Rejection::IsDeleteMarker,
        Rejection::NoSuchUpload,
        Rejection::InvalidPart,
        Rejection::InvalidPartOrder,
        Rejection::EntityTooSmall,
        Rejection::WrongEpoch,
        Rejection::SequenceGap,
        Rejection::Expired,
        Rejection::StaleCut,
        Rejection::PayloadMissing,
        Rejection::BucketWritten,
        Rejection::ConfigurationTooLarge,
        Rejection::ConfigurationMalformed,
    ];
    all.extend(rejections.map(RecordOutcome::Rejected));
    all
}

fn writer() -> WriterState {
    WriterState {
        epoch: Epoch::new(4),
        last: Sequence::new(99),
        seen: Offset::new(41),
        outcomes: outcomes().into(),
    }
}

/// A state run with every kind of entry, a removal among them, in order.
const POSITION: EventPosition = EventPosition { offset: Offset::new(41), rule: 1 };

fn queue() -> EventQueue {
    EventQueue {
        lease: 7,
        process: WRITER,
        position: POSITION,
        added: 1_004,
        delivered: 1_000,
        dropped: 3,
        added_bytes: 300_400,
        done_bytes: 300_000,
    }
}

fn event() -> ObjectEvent {
    ObjectEvent {
        name: EventName::CREATED_PUT,
        time: WallTime::from_micros(1_700_000_000_000_000),
        rule: "rule".into(),
        bucket: BucketName::new("a-bucket.1").unwrap(),
        region: "eu-central-1".into(),
        owner: "owner".into(),
        principal: "principal".into(),
        request: "request".into(),
        key: ObjectKey::new("a/\u{0}b").unwrap(),
        version: Some(Offset::new(41)),
        object: Some((300, ETag { md5: [0x11; 16], parts: 2 })),
        tail: TaggedTail::default(),
    }
}

fn renamed() -> CompletedRename {
    let etag = ETag { md5: [0x11; 16], parts: 0 };
    let created = WallTime::from_micros(7);
    let written =
        WrittenVersion { version: Offset::new(43), is_null: true, created, etag, size: 300 };
    CompletedRename { at: Offset::new(43), request: [0x77; 16], written }
}

fn golden_entries() -> Vec<(StateKey, Option<Bytes>)> {
    let key = "a/\u{0}b".as_bytes();
    vec![
        (StateKey::bucket(BUCKET), Some(bucket().encode())),
        (StateKey::bucket(BUCKET.next()), None),
        (StateKey::event_queue("hook"), Some(queue().encode())),
        (StateKey::event("hook", POSITION), Some(event().encode())),
        (
            StateKey::part(UPLOAD, PartNumber::new(1)),
            Some(encode_part(&part(), WallTime::from_micros(6))),
        ),
        (StateKey::part(UPLOAD, PartNumber::new(10_000)), None),
        (StateKey::rename(BUCKET, "a token"), Some(renamed().encode())),
        (StateKey::upload(BUCKET, key, UPLOAD), Some(open_upload().encode())),
        (
            StateKey::completed_upload(BUCKET, key, UploadId([0x66; 16])),
            Some(completed_upload().encode()),
        ),
        (StateKey::writer(WRITER), Some(writer().encode())),
    ]
}

fn path() -> FilePath {
    FilePath::new("p0000/runs/0000000005.state")
}

fn write() -> Vec<u8> {
    let memory = Memory::default();
    ready(async {
        let disk = memory.disk();
        let mut writer = TableWriter::create(&disk, &path(), TableKind::State, 5).await.unwrap();
        for (key, value) in golden_entries() {
            let value = encode_state_value(value.as_ref());
            let value = TableValue { bytes: &value, ..TableValue::default() };
            writer.add(&key.0, value, None).await.unwrap();
        }
        writer.finish().await.unwrap();
    });
    memory.get(&path()).unwrap()
}

#[test]
fn the_bytes_of_a_state_run_are_those_of_the_golden_file() {
    let golden = golden::check("state-v5.state", &write());
    let memory = Memory::default();
    memory.put(&path(), &golden);
    let digest = FileDigest { len: golden.len() as u64, ..FileDigest::default() };
    let mut found = Vec::new();
    ready(async {
        let disk = memory.disk();
        let table = Table::open(&disk, &path(), TableKind::State, 5, &digest).await.unwrap();
        let mut cursor = table.cursor();
        cursor.seek(b"").await.unwrap();
        while let (Some(key), Some(value)) = (cursor.key(), cursor.value_bytes()) {
            let key = Bytes::copy_from_slice(key);
            found.push((StateKey(key), decode_state_value(value, 5).unwrap()));
            cursor.advance().await.unwrap();
        }
    });
    assert_eq!(found, golden_entries());
    let value = |at: usize| found[at].1.clone().unwrap();
    assert_eq!(BucketState::decode(value(0)), Ok(bucket()));
    assert_eq!(EventQueue::decode(value(2)), Ok(queue()));
    assert_eq!(ObjectEvent::decode(value(3)), Ok(event()));
    assert_eq!(decode_part(value(4)), Ok((WallTime::from_micros(6), part())));
    assert_eq!(CompletedRename::decode(value(6)), Ok(renamed()));
    assert_eq!(UploadState::decode(value(7)), Ok(open_upload()));
    assert_eq!(UploadState::decode(value(8)), Ok(completed_upload()));
    assert_eq!(WriterState::decode(value(9)), Ok(writer()));
}

#[test]
fn a_value_that_is_neither_there_nor_removed_is_refused() {
    for bytes in [&b""[..], b"\0\0", b"\x02", b"\xff\x01"] {
        assert!(decode_state_value(Bytes::copy_from_slice(bytes), 5).is_err(), "{bytes:x?}");
    }
    assert_eq!(decode_state_value(Bytes::from_static(b"\0"), 5), Ok(None));
    assert_eq!(decode_state_value(Bytes::from_static(b"\x01"), 5), Ok(Some(Bytes::new())));
}

/// Decodes as each kind of value; what is accepted must mean the same once it is encoded again.
fn decode_all(bytes: &Bytes) -> usize {
    let mut accepted = 0;
    if let Ok(value) = BucketState::decode(bytes.clone()) {
        assert_eq!(BucketState::decode(value.encode()), Ok(value));
        accepted += 1;
    }
    if let Ok(value) = UploadState::decode(bytes.clone()) {
        assert_eq!(UploadState::decode(value.encode()), Ok(value));
        accepted += 1;
    }
    if let Ok(value) = WriterState::decode(bytes.clone()) {
        assert_eq!(WriterState::decode(value.encode()), Ok(value));
        accepted += 1;
    }
    if let Ok((created, part)) = decode_part(bytes.clone()) {
        assert_eq!(encode_part(&part, created), bytes);
        accepted += 1;
    }
    if let Ok(value) = CompletedRename::decode(bytes.clone()) {
        assert_eq!(CompletedRename::decode(value.encode()), Ok(value));
        accepted += 1;
    }
    accepted
}

#[test]
fn mutated_values_never_panic() {
    let seeds: Vec<Bytes> = golden_entries().into_iter().filter_map(|(_, value)| value).collect();
    let mut mutator = Mutator::new(13);
    let mut accepted = 0;
    for _ in 0..rounds(30_000) {
        accepted += decode_all(&mutator.mutated(&seeds).into());
    }
    assert!(accepted > 1000, "the mutations are too coarse: {accepted} passed");
}

#[test]
fn a_value_that_ends_early_or_late_is_refused() {
    type IsDecoded = fn(Bytes) -> bool;
    let values: [(Bytes, IsDecoded); 7] = [
        (renamed().encode(), |bytes| CompletedRename::decode(bytes).is_ok()),
        (bucket().encode(), |bytes| BucketState::decode(bytes).is_ok()),
        (open_upload().encode(), |bytes| UploadState::decode(bytes).is_ok()),
        (completed_upload().encode(), |bytes| UploadState::decode(bytes).is_ok()),
        (writer().encode(), |bytes| WriterState::decode(bytes).is_ok()),
        (queue().encode(), |bytes| EventQueue::decode(bytes).is_ok()),
        (encode_part(&part(), WallTime::default()), |bytes| decode_part(bytes).is_ok()),
    ];
    for (value, is_decoded) in values {
        assert!(is_decoded(value.clone()));
        for len in 0..value.len() {
            assert!(!is_decoded(value.slice(..len)), "{len} of {} bytes", value.len());
        }
        assert!(!is_decoded([&value[..], b"\0"].concat().into()));
    }
}

#[test]
fn a_writer_has_no_more_outcomes_than_are_kept() {
    let outcomes = VecDeque::from(vec![RecordOutcome::Done; OUTCOMES_MAX]);
    let state = WriterState { outcomes, ..writer() };
    assert_eq!(WriterState::decode(state.encode()), Ok(state));
    let mut out = Encoder::new();
    out.u32(1).u64(1).u64(1).varint(OUTCOMES_MAX as u64 + 1);
    assert_eq!(WriterState::decode(out.finish()).unwrap_err().what, "outcomes");
}

#[test]
fn mutated_state_keys_never_panic() {
    let seeds: Vec<Bytes> = golden_entries().into_iter().map(|(key, _)| key.0).collect();
    let mut mutator = Mutator::new(14);
    let mut parsed = 0;
    for _ in 0..rounds(30_000) {
        let key = StateKey(mutator.mutated(&seeds).into());
        let _ = (key.part_number(), key.is_part());
        if let Some((bucket, name, upload)) = key.parse_upload() {
            assert_eq!(StateKey::upload(bucket, &name, upload), key);
            parsed += 1;
        }
    }
    assert!(parsed > 500, "upload keys are hardly reached: {parsed}");
}

#[test]
fn state_keys_lie_between_their_bounds() {
    let within = |key: &StateKey, from: &[u8], end: &[u8]| *key.0 >= *from && *key.0 < *end;
    let (first, last) = (UploadId([0; 16]), UploadId([0xff; 16]));
    for name in ["a", "a\u{0}", "é"] {
        for id in [first, last] {
            let key = StateKey::upload(BUCKET, name.as_bytes(), id);
            let uploads = StateKey::uploads_from(BUCKET, b"");
            assert!(within(&key, &uploads, &StateKey::uploads_end(BUCKET)));
            assert!(within(&key, &StateKey::uploads_from(BUCKET, name.as_bytes()), b"v"));
            assert!(!within(&key, &StateKey::uploads_from(BUCKET.next(), b""), b"v"));
            assert!(!within(&key, &StateKey::uploads_from(BUCKET, b"\xff"), b"v"));
            assert_eq!(key.parse_upload(), Some((BUCKET, name.to_owned().into(), id)));
            assert!(!key.is_part());
        }
    }
    for number in [0, 1, 10_000, u16::MAX] {
        let key = StateKey::part(last, PartNumber::new(number));
        let from = StateKey::parts_from(last, PartNumber::new(number));
        assert!(within(&key, &from, &StateKey::parts_end(last)));
        assert!(number == 0 || within(&key, &StateKey::parts_from(last, PartNumber::ZERO), b"q"));
        assert_eq!((key.part_number(), key.is_part()), (Some(PartNumber::new(number)), true));
        assert_eq!(key.parse_upload(), None);
    }
    assert!(StateKey::bucket(BUCKET).0.starts_with(StateKey::BUCKETS));
    assert!(StateKey::writer(WRITER).0.starts_with(StateKey::WRITERS));
    assert!(StateKey::bucket(BUCKET) < StateKey::bucket(BucketId::new(256)));
}

#[test]
fn buckets_are_found_by_name_and_id() {
    let mut buckets = Buckets::default();
    buckets.insert(bucket());
    let other =
        BucketState { id: BUCKET.next(), name: BucketName::new("a-bucket.0").unwrap(), ..bucket() };
    buckets.insert(other.clone());
    assert_eq!(buckets.named(&other.name).unwrap().id, other.id);
    assert_eq!(buckets.get(BUCKET).unwrap().name, bucket().name);
    let names: Vec<&str> = buckets.iter().map(|bucket| bucket.name.as_str()).collect();
    assert_eq!(names, ["a-bucket.0", "a-bucket.1"]);
    buckets.insert(BucketState { config: ConfigVersion::new(9), ..bucket() });
    assert_eq!(buckets.named(&bucket().name).unwrap().config, ConfigVersion::new(9));
    buckets.remove(BUCKET);
    assert!(buckets.get(BUCKET).is_none() && buckets.named(&bucket().name).is_none());
    buckets.remove(BUCKET);
    assert_eq!(buckets.iter().count(), 1);
}

fn id(epoch: u32, sequence: u64) -> RecordId {
    RecordId { writer: WRITER, epoch: Epoch::new(epoch), sequence: Sequence::new(sequence) }
}

fn rejected(rejection: Rejection) -> RecordAdmission {
    RecordAdmission::Rejected(rejection)
}

const AT: Offset = Offset::new(7);

#[test]
fn a_record_is_admitted_once_and_in_order() {
    let mut writers = WriterStates::default();
    assert_eq!(writers.admit(&id(1, 1)), rejected(Rejection::WrongEpoch), "nobody was opened");
    writers.record(&id(1, 1), AT, RecordOutcome::Done);
    assert_eq!(writers.iter().count(), 0, "recording opens nobody");
    assert_eq!(writers.open(&id(1, 0), AT), RecordOutcome::Done);
    assert_eq!(writers.admit(&id(1, 1)), RecordAdmission::Next);
    assert_eq!(writers.admit(&id(1, 2)), rejected(Rejection::SequenceGap));
    assert_eq!(writers.admit(&id(1, 0)), rejected(Rejection::Expired));
    let first = RecordOutcome::BucketCreated(BUCKET);
    writers.record(&id(1, 1), AT, first);
    writers.record(&id(1, 2), AT.next(), RecordOutcome::Written(written()));
    // A record that turns up again gets the first outcome, whatever it would do now.
    assert_eq!(writers.admit(&id(1, 1)), RecordAdmission::Repeated(first));
    assert_eq!(
        writers.admit(&id(1, 2)),
        RecordAdmission::Repeated(RecordOutcome::Written(written()))
    );
    assert_eq!(writers.admit(&id(1, 3)), RecordAdmission::Next);
    assert_eq!(writers.admit(&id(1, 4)), rejected(Rejection::SequenceGap));
    for epoch in [0, 2] {
        assert_eq!(writers.admit(&id(epoch, 3)), rejected(Rejection::WrongEpoch));
    }
    let (_, state) = writers.iter().next().unwrap();
    assert_eq!((state.last, state.seen), (Sequence::new(2), AT.next()));
}

#[test]
fn a_newer_instance_goes_on_where_the_fold_stands() {
    let mut writers = WriterStates::default();
    writers.open(&id(2, 40), AT);
    assert_eq!(writers.admit(&id(2, 41)), RecordAdmission::Next);
    writers.record(&id(2, 41), AT, RecordOutcome::Done);
    for epoch in [1, 2] {
        let outcome = RecordOutcome::Rejected(Rejection::WrongEpoch);
        assert_eq!(writers.open(&id(epoch, 0), AT), outcome, "epoch {epoch}");
        assert_eq!(writers.admit(&id(2, 42)), RecordAdmission::Next, "it changes nothing");
    }
    assert_eq!(writers.open(&id(3, 0), AT.next()), RecordOutcome::Done);
    assert_eq!(writers.admit(&id(2, 42)), rejected(Rejection::WrongEpoch));
    assert_eq!(writers.admit(&id(3, 42)), RecordAdmission::Next);
    assert_eq!(writers.admit(&id(3, 41)), RecordAdmission::Repeated(RecordOutcome::Done));
    assert_eq!(writers.iter().next().unwrap().1.seen, AT.next());
}

#[test]
fn old_outcomes_are_forgotten_and_say_so() {
    let mut writers = WriterStates::default();
    writers.open(&id(1, 0), AT);
    let outcome = |n: u64| RecordOutcome::BucketCreated(BucketId::new(n));
    let newest = OUTCOMES_MAX as u64 + 2;
    (1..=newest).for_each(|n| writers.record(&id(1, n), AT, outcome(n)));
    for (sequence, wanted) in [
        (1, rejected(Rejection::Expired)),
        (2, rejected(Rejection::Expired)),
        (3, RecordAdmission::Repeated(outcome(3))),
        (newest, RecordAdmission::Repeated(outcome(newest))),
        (newest + 1, RecordAdmission::Next),
    ] {
        assert_eq!(writers.admit(&id(1, sequence)), wanted, "record {sequence}");
    }
    assert_eq!(writers.iter().next().unwrap().1.outcomes.len(), OUTCOMES_MAX);
}

#[test]
fn numbers_at_their_ends_do_not_overflow() {
    // A log that says so opened a writer at the last number; a record of number 0 then added one to the
    // distance between them.
    let mut writers = WriterStates::default();
    writers.open(&id(1, u64::MAX), AT);
    assert_eq!(writers.admit(&id(1, 0)), rejected(Rejection::Expired));
    assert_eq!(writers.admit(&id(1, u64::MAX)), rejected(Rejection::Expired));
    writers.record(&id(1, u64::MAX), AT, RecordOutcome::Done);
    assert_eq!(writers.admit(&id(1, u64::MAX)), RecordAdmission::Repeated(RecordOutcome::Done));
}

#[test]
fn a_token_is_forgotten_by_log_position() {
    let key = StateKey::rename(BUCKET, "a token");
    let value = renamed().encode();
    let at = renamed().at.get();
    for (next, is_forgotten) in [
        (at, false),
        (at + RENAME_TOKEN_RECORDS, false),
        (at + RENAME_TOKEN_RECORDS + 1, true),
        (u64::MAX, true),
    ] {
        let found = crate::state_value::is_forgotten(&key, Some(&value), Offset::new(next));
        assert_eq!(found, is_forgotten, "{next}");
    }
    assert!(!crate::state_value::is_forgotten(&key, None, Offset::MAX));
    let rot = Bytes::from_static(b"rot");
    assert!(!crate::state_value::is_forgotten(&key, Some(&rot), Offset::MAX));
}

#[test]
fn a_silent_writer_is_forgotten_by_log_position() {
    let mut writers = WriterStates::default();
    writers.open(&id(1, 0), AT);
    let other = RecordId { writer: WriterId([1; 16]), ..id(1, 0) };
    writers.open(&other, AT.next());
    let limit = AT.get() + WRITER_RECORDS;
    assert_eq!(writers.expire(Offset::ZERO), []);
    assert_eq!(writers.expire(Offset::new(limit)), []);
    assert_eq!(writers.expire(Offset::new(limit + 1)), [WRITER]);
    assert_eq!(writers.admit(&id(1, 1)), rejected(Rejection::WrongEpoch));
    assert_eq!(
        writers.admit(&RecordId { sequence: Sequence::new(1), ..other }),
        RecordAdmission::Next
    );
    let restored = WriterState { seen: Offset::new(limit), ..writer() };
    writers.restore(WRITER, restored);
    assert_eq!(writers.admit(&id(4, 100)), RecordAdmission::Next);
}

proptest! {
    #[test]
    fn a_bucket_comes_back(
        id: u64, name in "[a-z0-9.-]{3,63}", owner in ".{0,64}", region in ".{0,16}",
        created: i64, versioning in 0usize..3, config: u32,
        others in proptest::collection::btree_map(2u64..65_536, proptest::collection::vec(any::<u8>(), 0..40), 0..9),
    ) {
        let versioning = [Versioning::Off, Versioning::On, Versioning::Suspended][versioning];
        let mut documents: BTreeMap<ConfigKind, ConfigDocument> =
            others.iter().map(|(number, bytes)| (kind(*number), document(config, bytes))).collect();
        documents.insert(ConfigKind::VERSIONING, document(config, &versioning.document()));
        // Rules of notification have a form of their own: other bytes are refused (below).
        documents.remove(&ConfigKind::NOTIFICATION);
        let state = BucketState {
            id: BucketId::new(id),
            name: BucketName::new(name).unwrap(),
            owner,
            region,
            created: WallTime::from_micros(created),
            versioning,
            notifications: None,
            config: ConfigVersion::new(config),
            documents,
            tail: TaggedTail::default(),
        };
        prop_assert_eq!(BucketState::decode(state.encode()), Ok(state.clone()));

        // The same bucket with bytes that are no rules is refused, not read as one without rules.
        let mut broken = state;
        broken.documents.insert(ConfigKind::NOTIFICATION, document(config, &[]));
        let refused = BucketState::decode(broken.encode()).unwrap_err();
        prop_assert_eq!(refused.what, "rules of a bucket");
    }

    #[test]
    fn a_writer_comes_back(
        epoch: u32, last: u64, seen: u64,
        chosen in proptest::collection::vec(0usize..29, 0..20),
    ) {
        let outcomes = outcomes();
        let state = WriterState {
            epoch: Epoch::new(epoch),
            last: Sequence::new(last),
            seen: Offset::new(seen),
            outcomes: chosen.into_iter().map(|at| outcomes[at]).collect(),
        };
        prop_assert_eq!(WriterState::decode(state.encode()), Ok(state));
    }

    #[test]
    fn an_uploads_key_comes_apart(bucket: u64, name: Vec<u8>, upload: [u8; 16]) {
        let (bucket, upload) = (BucketId::new(bucket), UploadId(upload));
        let key = StateKey::upload(bucket, &name, upload);
        prop_assert_eq!(key.parse_upload(), Some((bucket, name.into(), upload)));
    }
}

#[test]
fn documents_are_counted_against_the_limits_of_a_bucket() {
    let long = Bytes::from(vec![b'x'; CONFIG_DOCUMENT_BYTES_MAX]);
    let time = WallTime::from_micros(12);
    let set = |bucket: &BucketState, number, bytes: &Bytes| {
        bucket.configured(kind(number), Some(bytes), time)
    };
    let empty = BucketState { documents: BTreeMap::new(), versioning: Versioning::Off, ..bucket() };
    let mut full = empty.clone();
    for number in 0..(CONFIG_BYTES_MAX / CONFIG_DOCUMENT_BYTES_MAX) as u64 {
        full = set(&full, number + 2, &long).unwrap();
    }
    assert_eq!(set(&full, 100, &long.slice(..1)), Err(Rejection::ConfigurationTooLarge));
    assert_eq!(BucketState::decode(full.encode()), Ok(full.clone()));
    let less = full.configured(kind(2), None, time).unwrap();
    assert_eq!(set(&less, 100, &long).map(|bucket| bucket.documents.len()), Ok(4));
    let mut many = empty;
    for number in 0..CONFIG_DOCUMENTS_MAX as u64 {
        many = set(&many, number + 100, &Bytes::new()).unwrap();
    }
    assert_eq!(set(&many, 1000, &Bytes::new()), Err(Rejection::ConfigurationTooLarge));
    assert_eq!(BucketState::decode(many.encode()), Ok(many));
}

#[test]
fn documents_in_another_order_or_of_no_versioning_are_refused() {
    let bytes = bucket().encode();
    let list = bytes.len() - (1 + (1 + 4 + 8 + 1 + 1) + (2 + 4 + 8 + 1 + 31) + 5);
    assert_eq!(bytes[list], 2);
    let end = bytes.len() - 5;
    let (first, second) = (bytes.slice(list + 1..list + 16), bytes.slice(list + 16..end));
    let swapped = [&bytes[..=list], &second, &first, &bytes[end..]].concat();
    let error = BucketState::decode(swapped.into()).unwrap_err();
    assert_eq!(error.what, "order of configuration documents");
    let twice = [&bytes[..=list], &first, &first, &bytes[end..]].concat();
    assert!(BucketState::decode(twice.into()).is_err());
    let mut other = bytes.to_vec();
    other[list + 15] = 9;
    assert_eq!(BucketState::decode(other.into()).unwrap_err().what, "versioning");
}

/// Tells that a value can be encoded; one that could not be decoded is a bug, and stops the node.
fn is_encoded(encode: impl FnOnce() -> Bytes) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(encode)).is_ok()
}

#[test]
fn a_value_at_a_limit_is_read_back_and_one_above_is_not_encoded() {
    for over in [0, 1] {
        let state = BucketState { owner: "x".repeat(OWNER_BYTES_MAX + over), ..bucket() };
        assert_eq!(is_encoded(|| state.encode()), over == 0);
        if over == 0 {
            assert_eq!(BucketState::decode(state.encode()), Ok(state));
        }
        let state = BucketState { region: "x".repeat(REGION_BYTES_MAX + over), ..bucket() };
        assert_eq!(is_encoded(|| state.encode()), over == 0);
        let parts = vec![(PartNumber::new(1), [0x33; 16]); PARTS_MAX + over];
        let state = UploadState::Completed { written: written(), parts, at: Offset::new(41) };
        assert_eq!(is_encoded(|| state.encode()), over == 0);
        if over == 0 {
            assert_eq!(UploadState::decode(state.encode()), Ok(state));
        }
        let outcomes = vec![RecordOutcome::Done; OUTCOMES_MAX + over].into();
        let (epoch, last, seen) = (Epoch::new(1), Sequence::new(1), Offset::new(1));
        let state = WriterState { epoch, last, seen, outcomes };
        assert_eq!(is_encoded(|| state.encode()), over == 0);
        if over == 0 {
            assert_eq!(WriterState::decode(state.encode()), Ok(state));
        }
    }
}
