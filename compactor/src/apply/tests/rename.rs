//! Renames.

use ingest::record::{RenameCondition, RenameObject};

use super::*;
use crate::state::{CompletedRename, RENAME_TOKEN_RECORDS};

fn source_key() -> ObjectKey {
    ObjectKey::new("a/old").unwrap()
}

fn rename() -> RenameObject {
    RenameObject {
        bucket: BUCKET,
        config: CONFIG,
        key: key(),
        condition: RenameCondition::default(),
        source: source_key(),
        source_condition: RenameCondition::default(),
        token: String::new(),
    }
}

fn body(rename: RenameObject) -> RecordBody {
    RecordBody::RenameObject(rename)
}

fn found(source: Option<FoundVersion>, destination: Option<FoundVersion>) -> PriorState {
    PriorState { version: source, current: destination, ..PriorState::default() }
}

/// An object with every place that payload can have.
fn objects() -> Vec<FoundVersion> {
    let sealed_as = Some(Arc::new(EntryKey::new(BUCKET, b"older", AT, AT)));
    let segment =
        ingest::entry::SegmentLocation { segment: SegmentId::new(3), position: 60, index: 2 };
    let extent = Extent { file: BulkId::new(7), position: 4096, len: 7 };
    let places = [
        PayloadLocation::Empty,
        PayloadLocation::Log(LoggedPayload { at: LOCATION, sealed_as }),
        PayloadLocation::Segment(segment),
        PayloadLocation::Bulk([extent, Extent::missing(7)].into()),
    ];
    let with = |payload| {
        let mut found = object(ETAG, true);
        if let EntryValue::Object(object) = &mut found.statement {
            object.payload = payload;
        }
        found
    };
    places.into_iter().map(with).collect()
}

#[test]
fn an_object_moves_with_everything_that_it_is() {
    for source in objects() {
        let effects = off(found(Some(source.clone()), None), body(rename()));
        let written = WrittenVersion {
            version: AT,
            is_null: true,
            created: WallTime::from_micros(3),
            etag: ETAG,
            size: 7,
        };
        let entry = |key: &ObjectKey, statement| {
            let key = EntryKey::new(BUCKET, key.as_bytes(), AT, AT);
            Entry { key, statement }
        };
        let wanted = RecordEffects {
            entries: vec![
                entry(&source_key(), EntryValue::NullTombstone),
                entry(&key(), source.statement),
            ],
            outcome: RecordOutcome::Written(written),
            ..done()
        };
        assert_eq!(effects, wanted);
    }
}

#[test]
fn nothing_moves_that_is_not_there_or_keeps_versions() {
    use Rejection::{KeepsVersions, NoSuchBucket, NoSuchKey, Retry};
    let is_there = || found(Some(object(ETAG, true)), None);
    let own = || body(rename());
    for versioning in [Versioning::On, Versioning::Suspended] {
        assert_eq!(decide(versioning, is_there(), own()), rejected(KeepsVersions));
    }
    assert_eq!(off(PriorState::default(), own()), rejected(NoSuchKey));
    assert_eq!(off(found(Some(marker(true)), None), own()), rejected(NoSuchKey));
    let other = body(RenameObject { config: OTHER_CONFIG, ..rename() });
    assert_eq!(off(is_there(), other), rejected(Retry(CONFIG)));
    let other = body(RenameObject { bucket: NOBODYS, ..rename() });
    assert_eq!(off(is_there(), other), rejected(NoSuchBucket));
    // Its own key: the same object is there afterwards, and no entry stands twice in the memtable.
    let itself = body(RenameObject { key: source_key(), ..rename() });
    let effects = off(is_there(), itself);
    assert!(matches!(effects.outcome, RecordOutcome::Written(_)), "{effects:?}");
    assert_eq!(effects.entries, []);
}

/// Dates of conditions around the second in which objects are made here, and this record.
fn second(second: i64) -> Option<WallTime> {
    Some(WallTime::from_micros(second * 1_000_000))
}

#[test]
fn conditions_are_decided_on_both_objects() {
    use WriteCondition::{Always, IfAbsent, IfMatch, IfNoneMatch, IfPresent};
    let now = TIME.micros() / 1_000_000;
    let of = |write| RenameCondition { write, ..RenameCondition::default() };
    let modified = |since| RenameCondition { modified_since: second(since), ..of(Always) };
    let unmodified = |since| RenameCondition { unmodified_since: second(since), ..of(Always) };
    // The condition; whether it holds for an object of 1970, and for none.
    let table = [
        (of(Always), true, true),
        (of(IfAbsent), false, true),
        (of(IfPresent), true, false),
        (of(IfMatch(ETAG)), true, false),
        (of(IfMatch(OTHER_ETAG)), false, false),
        (of(IfMatch(PARTS_ETAG)), false, false),
        (of(IfNoneMatch(ETAG)), false, true),
        (of(IfNoneMatch(OTHER_ETAG)), true, true),
        (modified(-1), true, false),
        (modified(0), false, false),
        (modified(now), false, false),
        // A date to come is no condition.
        (modified(now + 1), true, true),
        (unmodified(-1), false, true),
        (unmodified(0), true, true),
        (unmodified(now + 1), true, true),
        (RenameCondition { unmodified_since: second(-1), ..of(IfMatch(ETAG)) }, false, false),
        (RenameCondition { modified_since: second(-1), ..unmodified(0) }, true, false),
    ];
    let failed = Rejection::PreconditionFailed;
    let is_done = |prior, rename, failed| match off(prior, body(rename)).outcome {
        RecordOutcome::Written(_) => true,
        RecordOutcome::Rejected(rejection) if rejection == failed => false,
        other => panic!("{other:?}"),
    };
    let here = || Some(object(ETAG, true));
    for (condition, holds, holds_for_none) in table {
        let source = RenameObject { source_condition: condition, ..rename() };
        let of_source = Rejection::SourceConditionFailed;
        let is_renamed = is_done(found(here(), None), source, of_source);
        assert_eq!(is_renamed, holds, "source: {condition:?}");
        let destination = || RenameObject { condition, ..rename() };
        let both = found(here(), here());
        assert_eq!(is_done(both, destination(), failed), holds, "destination: {condition:?}");
        let alone = found(here(), None);
        let is_renamed = is_done(alone, destination(), failed);
        assert_eq!(is_renamed, holds_for_none, "no destination: {condition:?}");
        let beside_marker = found(here(), Some(marker(true)));
        assert_eq!(is_done(beside_marker, destination(), failed), holds_for_none, "{condition:?}");
    }
}

#[test]
fn a_repetition_under_a_token_changes_nothing() {
    let with_token = || RenameObject { token: "token".into(), ..rename() };
    let first = off(found(Some(object(ETAG, true)), None), body(with_token()));
    let [(state_key, Some(value))] = first.state.as_slice() else { panic!("{first:?}") };
    assert_eq!(*state_key, StateKey::rename(BUCKET, "token"));
    let done = CompletedRename::decode(value.clone()).unwrap();
    let RecordOutcome::Written(written) = first.outcome else { panic!("{first:?}") };
    assert_eq!((done.at, done.written), (AT, written));
    // The source is gone, or another object has its key by now.
    for source in [None, Some(object(OTHER_ETAG, true))] {
        let after = |at: u64| PriorState {
            renamed: Some(CompletedRename { at: Offset::new(at), ..done }),
            ..found(source.clone(), None)
        };
        let oldest = AT.get() - RENAME_TOKEN_RECORDS;
        let repeated = RecordEffects { outcome: first.outcome, ..super::done() };
        assert_eq!(off(after(oldest), body(with_token())), repeated);
        let other = RenameObject { condition: condition_of_another(), ..with_token() };
        assert_eq!(off(after(oldest), body(other)), rejected(Rejection::TokenReused));
        // A token that is not kept any more names nothing.
        let forgotten = off(after(oldest - 1), body(with_token()));
        assert_eq!(forgotten.entries.len(), if source.is_some() { 2 } else { 0 });
    }
    // A rejected rename leaves no token, so the client may try again with it.
    assert_eq!(off(found(None, None), body(with_token())), rejected(Rejection::NoSuchKey));
}

fn condition_of_another() -> RenameCondition {
    RenameCondition { write: WriteCondition::IfAbsent, ..RenameCondition::default() }
}

#[test]
fn a_rename_reads_what_it_depends_on() {
    let needs_of = |rename| needs(&with(Versioning::Off), &record(body(rename)));
    let plain = ReadSet {
        version: Some((BUCKET, source_key(), VersionRef::Current)),
        ..ReadSet::default()
    };
    assert_eq!(needs_of(rename()), plain);
    let conditional = RenameObject { condition: condition_of_another(), ..rename() };
    let wanted = ReadSet { current: Some((BUCKET, key())), ..plain.clone() };
    assert_eq!(needs_of(conditional), wanted);
    let wanted = ReadSet { renamed: Some(StateKey::rename(BUCKET, "token")), ..plain };
    assert_eq!(needs_of(RenameObject { token: "token".into(), ..rename() }), wanted);
}

#[test]
fn a_rename_is_reported_as_a_copy_and_a_removal() {
    let rule = |queue: &str, event: &str| NotificationRule {
        element: RuleElement::Queue,
        id: queue.into(),
        arn: String::new(),
        queue: queue.into(),
        events: vec![EventName::named(event).unwrap()],
        prefix: None,
        suffix: None,
    };
    let rules = vec![
        rule("copies", "s3:ObjectCreated:Copy"),
        rule("puts", "s3:ObjectCreated:Put"),
        rule("removals", "s3:ObjectRemoved:*"),
        rule("created", "s3:ObjectCreated:*"),
        rule("created", "s3:ObjectRemoved:Delete"),
    ];
    let notifications = Some(Arc::new(NotificationRules { rules }));
    let mut buckets = Buckets::default();
    buckets.insert(BucketState { notifications, ..bucket(Versioning::Off) });
    let effects = decide_on(&buckets, found(Some(object(ETAG, true)), None), body(rename()));
    let events: Vec<_> = effects
        .events
        .iter()
        .map(|event| {
            let read = ObjectEvent::decode(event.value.clone()).unwrap();
            assert_eq!(event.position.offset, AT);
            let key = read.key.as_str().to_owned();
            (event.queue.as_str(), event.position.rule, read.name, key, read.object)
        })
        .collect();
    let (made, gone) = (EventName::CREATED_COPY, EventName::REMOVED_DELETE);
    let wanted = [
        ("copies", 0, made, "a/b".to_owned(), Some((7, ETAG))),
        ("created", 3, made, "a/b".to_owned(), Some((7, ETAG))),
        ("removals", 7, gone, "a/old".to_owned(), None),
        ("created", 9, gone, "a/old".to_owned(), None),
    ];
    assert_eq!(events, wanted);
    let rejected = decide_on(&buckets, PriorState::default(), body(rename()));
    assert_eq!(rejected.events, []);
}
