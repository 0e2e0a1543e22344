//! Any sequence of operations, against a model of S3 that fits on a page.
//!
//! Generated and shrunk by proptest: puts with every condition, deletes of keys and versions, renames, versioning
//! switched, tags, multipart uploads over cuts, cuts, clean restarts and power cuts between operations.
//! Listings of every mix of prefix, delimiter, start and page size are compared page by page. [`logs`] runs
//! it on each log that the engine can have.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use compactor::outcome::{RecordOutcome, Rejection};
use futures::future::join;
use ingest::entry::{Attributes, ETag, EntryValue};
use ingest::ids::{BucketId, Offset, PartNumber, UploadId};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{
    AbortUpload, CompleteUpload, CreateUpload, DeleteObject, PutPart, RecordBody, RecordPayload,
    RenameCondition, RenameObject, SetTags, UploadPart, VersionRef, Versioning, WriteCondition,
};
use proptest::prelude::*;
use query::listing::{self, ListItem, ListRequest, ListStart};
use query::object;

use crate::world::{Engine, attributes, give_beside};

mod logs;

const KEYS: [&str; 14] = [
    "a", "a/", "a/b", "a/b/c", "a/b/d", "a//b", "b", "b\u{0}", "b\u{0}/x", "c-1", "c-2", "é/1",
    "é/2", "~",
];
const PREFIXES: [&str; 9] = ["", "a", "a/", "a/b", "a/b/", "b", "c", "é/", "nothing"];
const DELIMITERS: [&str; 5] = ["", "/", "b", "-", "//"];

#[derive(Clone, Debug)]
enum When {
    Always,
    IfAbsent,
    IfPresent,
    IfMatch,
    IfMatchOther,
    IfVersion,
    IfVersionBefore,
}

#[derive(Clone, Debug)]
enum Start {
    First,
    After(usize),
    AfterPrefix(usize),
}

#[derive(Clone, Debug)]
enum Op {
    Put(usize, usize, usize, When),
    Delete(usize, usize),
    DeleteVersion(usize, usize, usize),
    Switch(usize, bool),
    Tag(usize, usize, usize),
    Rename { bucket: usize, from: usize, to: usize, when: When, cuts: bool },
    Multipart { bucket: usize, key: usize, parts: Vec<usize>, cuts: bool, aborts: bool },
    Cut,
    Merge,
    Restart,
    PowerCut,
    List { bucket: usize, prefix: usize, delimiter: usize, start: Start, page: usize },
    ListVersions { bucket: usize, prefix: usize, delimiter: usize, page: usize },
}

impl When {
    /// The condition on a key's current object, and whether it holds.
    fn on(&self, current: Option<&Version>) -> (WriteCondition, bool) {
        let other = attributes(b"no such").etag;
        let condition = match self {
            When::Always => WriteCondition::Always,
            When::IfAbsent => WriteCondition::IfAbsent,
            When::IfPresent => WriteCondition::IfPresent,
            When::IfMatch => WriteCondition::IfMatch(current.map_or(other, |it| it.etag)),
            When::IfMatchOther => WriteCondition::IfMatch(other),
            // The model does not know the versions of markers, so it names those of objects only.
            When::IfVersion => WriteCondition::IfVersion(current.map_or(Offset::MAX, |it| it.at)),
            When::IfVersionBefore => WriteCondition::IfVersion(Offset::ZERO),
        };
        let holds = match self {
            When::Always => true,
            When::IfAbsent => current.is_none(),
            When::IfPresent | When::IfMatch | When::IfVersion => current.is_some(),
            When::IfMatchOther | When::IfVersionBefore => false,
        };
        (condition, holds)
    }
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        4 => Just(When::Always),
        1 => Just(When::IfAbsent),
        1 => Just(When::IfPresent),
        1 => Just(When::IfMatch),
        1 => Just(When::IfMatchOther),
        1 => Just(When::IfVersion),
        1 => Just(When::IfVersionBefore),
    ]
}

fn start() -> impl Strategy<Value = Start> {
    prop_oneof![
        3 => Just(Start::First),
        2 => (0..KEYS.len()).prop_map(Start::After),
        1 => (0..KEYS.len()).prop_map(Start::AfterPrefix),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let (bucket, key) = (0..2usize, 0..KEYS.len());
    let size = prop_oneof![Just(0usize), 1..200usize, Just(2_000usize), Just(20_000usize)];
    let sizes = prop::collection::vec(1..3_000usize, 1..4);
    let (prefix, delimiter) = (0..PREFIXES.len(), 0..DELIMITERS.len());
    prop_oneof![
        8 => (bucket.clone(), key.clone(), size, when()).prop_map(|(b, k, s, w)| Op::Put(b, k, s, w)),
        3 => (bucket.clone(), key.clone()).prop_map(|(b, k)| Op::Delete(b, k)),
        2 => (bucket.clone(), key.clone(), 0..3usize).prop_map(|(b, k, n)| Op::DeleteVersion(b, k, n)),
        1 => (bucket.clone(), any::<bool>()).prop_map(|(b, on)| Op::Switch(b, on)),
        2 => (bucket.clone(), key.clone(), 0..3usize).prop_map(|(b, k, n)| Op::Tag(b, k, n)),
        3 => (bucket.clone(), key.clone(), key.clone(), when(), any::<bool>()).prop_map(
            |(bucket, from, to, when, cuts)| Op::Rename { bucket, from, to, when, cuts }),
        2 => (bucket.clone(), key, sizes, any::<bool>(), any::<bool>()).prop_map(
            |(bucket, key, parts, cuts, aborts)| Op::Multipart { bucket, key, parts, cuts, aborts }),
        2 => Just(Op::Cut),
        1 => Just(Op::Merge),
        1 => Just(Op::Restart),
        1 => Just(Op::PowerCut),
        5 => (bucket.clone(), prefix.clone(), delimiter.clone(), start(), 1..6usize).prop_map(
            |(bucket, prefix, delimiter, start, page)| Op::List { bucket, prefix, delimiter, start, page }),
        2 => (bucket, prefix, delimiter, 1..6usize).prop_map(
            |(bucket, prefix, delimiter, page)| Op::ListVersions { bucket, prefix, delimiter, page }),
    ]
}

/// A version as S3 keeps it.
#[derive(Clone, Debug)]
struct Version {
    at: Offset,
    is_null: bool,
    /// None for a delete marker.
    content: Option<Bytes>,
    etag: ETag,
    tags: Vec<(String, String)>,
}

/// A bucket as S3 keeps it: versions of each key, newest first.
#[derive(Clone, Debug, Default)]
struct Bucket {
    versioning: Versioning,
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
}

impl Bucket {
    fn current(&self, key: &[u8]) -> Option<&Version> {
        self.keys.get(key)?.first().filter(|version| version.content.is_some())
    }

    fn add(&mut self, key: &[u8], at: Offset, etag: ETag, content: Option<Bytes>) {
        let is_null = self.versioning != Versioning::On;
        let versions = self.keys.entry(key.to_vec()).or_default();
        if is_null {
            versions.retain(|version| !version.is_null);
        }
        versions.insert(0, Version { at, is_null, content, etag, tags: Vec::new() });
    }

    fn prune(&mut self) {
        self.keys.retain(|_, versions| !versions.is_empty());
    }

    /// What a listing shows, key by key.
    fn listed(
        &self,
        prefix: &[u8],
        delimiter: &[u8],
        start: &Start,
        versions: bool,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut told = BTreeSet::new();
        for (key, all) in &self.keys {
            let is_after = match start {
                Start::First => true,
                Start::After(marker) => key.as_slice() > KEYS[*marker].as_bytes(),
                Start::AfterPrefix(marker) => {
                    let marker = KEYS[*marker].as_bytes();
                    key.as_slice() > marker && !key.starts_with(marker)
                }
            };
            let is_shown = versions || all[0].content.is_some();
            if !key.starts_with(prefix) || !is_after || !is_shown {
                continue;
            }
            let rest = &key[prefix.len()..];
            let group = (!delimiter.is_empty())
                .then(|| rest.windows(delimiter.len()).position(|window| window == delimiter))
                .flatten();
            match group {
                Some(at) => {
                    let group = &key[..prefix.len() + at + delimiter.len()];
                    if told.insert(group.to_vec()) {
                        found.push(format!("prefix {:?}", String::from_utf8_lossy(group)));
                    }
                }
                None => {
                    let shown = if versions { all.len() } else { 1 };
                    for (number, version) in all[..shown].iter().enumerate() {
                        found.push(line_text(
                            key,
                            version.is_null,
                            version.content.is_none(),
                            number == 0,
                            version.content.as_ref().map_or(0, Bytes::len) as u64,
                        ));
                    }
                }
            }
        }
        found
    }
}

fn line_text(key: &[u8], is_null: bool, is_marker: bool, is_latest: bool, size: u64) -> String {
    let key = String::from_utf8_lossy(key);
    format!("{key:?} null={is_null} marker={is_marker} latest={is_latest} {size}")
}

struct Checked {
    engine: Engine,
    ids: [BucketId; 2],
    buckets: [Bucket; 2],
    step: usize,
}

fn object_key(key: usize) -> ObjectKey {
    ObjectKey::new(KEYS[key].as_bytes().to_vec()).expect("a short key")
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<(), String> {
    if found == wanted { Ok(()) } else { Err(format!("{what}: {found:?} instead of {wanted:?}")) }
}

impl Checked {
    fn content(&mut self, size: usize) -> Bytes {
        self.step += 1;
        let step = self.step;
        (0..size).map(|at| (at * 31 + step) as u8).collect::<Vec<u8>>().into()
    }

    async fn put(&mut self, b: usize, k: usize, size: usize, when: &When) -> Result<(), String> {
        let content = self.content(size);
        let key = object_key(k);
        let (condition, holds) = when.on(self.buckets[b].current(KEYS[k].as_bytes()));
        let outcome = self.engine.put(self.ids[b], &key, &content, condition).await?;
        match outcome {
            RecordOutcome::Written(written) if holds => {
                self.buckets[b].add(
                    KEYS[k].as_bytes(),
                    written.version,
                    written.etag,
                    Some(content),
                );
            }
            RecordOutcome::Rejected(Rejection::PreconditionFailed | Rejection::NoSuchKey)
                if !holds => {}
            other => return Err(format!("a put that should {holds} be done: {other:?}")),
        }
        self.get(b, k).await
    }

    async fn get(&self, b: usize, k: usize) -> Result<(), String> {
        let whole = |found: &object::FoundObject| match &found.statement {
            EntryValue::Object(object) => Ok::<_, ReadError>(0..object.attributes.size),
            _ => Ok(0..0),
        };
        let key = object_key(k);
        let partition = &self.engine.partition;
        let found = object::get(
            partition,
            partition.fresh().await.map_err(|error| error.to_string())?,
            self.ids[b],
            &key,
            VersionRef::Current,
            whole,
        )
        .await;
        let found = match found.map_err(|error| error.to_string())? {
            Some((found, body)) => match found.statement {
                EntryValue::Object(object) => {
                    let bytes = body.collect().await.map_err(|error| error.to_string())?;
                    Some((bytes, object.attributes.tags.clone()))
                }
                _ => None,
            },
            None => None,
        };
        let wanted = self.buckets[b].current(KEYS[k].as_bytes());
        let wanted = wanted.and_then(|v| Some((v.content.clone()?, v.tags.clone())));
        same(&format!("GET {:?}", KEYS[k]), found, wanted)
    }

    async fn delete(&mut self, b: usize, k: usize) -> Result<(), String> {
        let name = KEYS[k].as_bytes();
        let outcome = self.engine.delete(self.ids[b], &object_key(k)).await?;
        let RecordOutcome::Deleted(_) = outcome else {
            return Err(format!("a delete: {outcome:?}"));
        };
        match self.buckets[b].versioning {
            Versioning::Off => {
                self.buckets[b].keys.remove(name);
            }
            _ => self.buckets[b].add(name, Offset::MAX, ETag::default(), None),
        }
        self.get(b, k).await
    }

    /// Renames the current object, also while the memtable that has it becomes a run, and once more under its token.
    async fn rename(
        &mut self,
        b: usize,
        (from, to): (usize, usize),
        when: &When,
        cuts: bool,
    ) -> Result<(), String> {
        self.step += 1;
        let (source, target) = (KEYS[from].as_bytes(), KEYS[to].as_bytes());
        let found = self.buckets[b].current(source).cloned();
        let (write, holds) = when.on(self.buckets[b].current(target));
        let rename = RecordBody::RenameObject(RenameObject {
            bucket: self.ids[b],
            config: self.engine.config(self.ids[b]),
            key: object_key(to),
            condition: RenameCondition { write, ..RenameCondition::default() },
            source: object_key(from),
            source_condition: RenameCondition::default(),
            token: self.step.to_string(),
        });
        let renamed = self.engine.submit(rename.clone());
        let outcome = match cuts {
            true => {
                let (cut, outcome) = join(self.engine.partition.cut(), renamed).await;
                cut.map_err(|error| error.to_string())?;
                outcome?
            }
            false => renamed.await?,
        };
        let wanted = match found {
            _ if self.buckets[b].versioning != Versioning::Off => Rejection::KeepsVersions,
            None => Rejection::NoSuchKey,
            Some(_) if !holds => Rejection::PreconditionFailed,
            Some(version) => {
                let RecordOutcome::Written(written) = outcome else {
                    return Err(format!("a rename: {outcome:?}"));
                };
                same("a rename again", self.engine.submit(rename).await?, outcome)?;
                if from != to {
                    let moved = Version { at: written.version, ..version };
                    self.buckets[b].keys.remove(source);
                    self.buckets[b].keys.insert(target.to_vec(), vec![moved]);
                }
                self.get(b, from).await?;
                return self.get(b, to).await;
            }
        };
        same("a rename", outcome, RecordOutcome::Rejected(wanted))?;
        self.get(b, from).await?;
        self.get(b, to).await
    }

    async fn delete_version(&mut self, b: usize, k: usize, number: usize) -> Result<(), String> {
        let name = KEYS[k].as_bytes();
        let version = self.buckets[b].keys.get(name).and_then(|all| all.get(number)).cloned();
        // A marker's own version is not told to the model; only `null` and objects are named here.
        let named = version.filter(|version| version.is_null || version.content.is_some());
        let Some(version) = named else { return Ok(()) };
        let version_ref =
            if version.is_null { VersionRef::Null } else { VersionRef::At(version.at) };
        let delete = DeleteObject {
            bucket: self.ids[b],
            config: self.engine.config(self.ids[b]),
            key: object_key(k),
            version: version_ref,
            condition: WriteCondition::Always,
        };
        let outcome = self.engine.submit(RecordBody::DeleteObject(delete)).await?;
        let RecordOutcome::Deleted(_) = outcome else {
            return Err(format!("a delete: {outcome:?}"));
        };
        if let Some(all) = self.buckets[b].keys.get_mut(name) {
            all.remove(number);
        }
        self.buckets[b].prune();
        self.get(b, k).await
    }

    /// Tags the current version, or an older one: a statement about it then stands in a newer run.
    async fn tag(&mut self, b: usize, k: usize, number: usize) -> Result<(), String> {
        self.step += 1;
        let tags = vec![("step".to_owned(), self.step.to_string())];
        let all = self.buckets[b].keys.get(KEYS[k].as_bytes());
        let version = match all.and_then(|all| all.get(number)) {
            Some(version) if version.content.is_none() && number > 0 => return Ok(()),
            Some(version) if number > 0 && version.is_null => VersionRef::Null,
            Some(version) if number > 0 => VersionRef::At(version.at),
            None if number > 0 => return Ok(()),
            _ => VersionRef::Current,
        };
        let (bucket, key) = (self.ids[b], object_key(k));
        let config = self.engine.config(bucket);
        let set = SetTags { bucket, config, key, version, tags: tags.clone() };
        let outcome = self.engine.submit(RecordBody::SetTags(set)).await?;
        let versions = self.buckets[b].keys.get_mut(KEYS[k].as_bytes());
        let tagged = versions.and_then(|all| all.get_mut(number)).filter(|v| v.content.is_some());
        match (tagged, outcome) {
            (Some(version), RecordOutcome::Changed(_)) => version.tags = tags,
            (None, RecordOutcome::Rejected(_)) => {}
            (tagged, outcome) => return Err(format!("tags of {tagged:?}: {outcome:?}")),
        }
        self.get(b, k).await
    }

    async fn multipart(
        &mut self,
        b: usize,
        k: usize,
        parts: &[usize],
        cuts: bool,
        aborts: bool,
    ) -> Result<(), String> {
        let (bucket, key) = (self.ids[b], object_key(k));
        self.step += 1;
        let mut id = [7; 16];
        id[..8].copy_from_slice(&(self.step as u64).to_le_bytes());
        let upload = UploadId(id);
        let config = self.engine.config(bucket);
        let create = CreateUpload {
            bucket,
            config,
            key: key.clone(),
            upload,
            attributes: Attributes { owner: "owner".into(), ..Attributes::default() },
            checksum_algorithm: 0,
            checksum_is_composite: false,
        };
        self.engine.submit(RecordBody::CreateUpload(create)).await?;
        let (mut whole, mut named) = (Vec::new(), Vec::new());
        for (index, size) in parts.iter().enumerate() {
            let content = self.content(*size);
            let written = give_beside(&self.engine.partition, &content).await?;
            let (extents, stream) = match written.payload {
                RecordPayload::Bulk(extents) => (extents, None),
                RecordPayload::Stream(stream) => (Arc::default(), Some(stream)),
                RecordPayload::Inline(_) => return Err("large payload is in the record".into()),
            };
            let (size, md5) = (*size as u64, attributes(&content).etag.md5);
            let part = UploadPart { size, md5, digest: written.digest, checksum: None, extents };
            let number = PartNumber::new(index as u16 + 1);
            let put = PutPart { bucket, config, key: key.clone(), upload, number, part, stream };
            match self.engine.submit(RecordBody::PutPart(put)).await? {
                RecordOutcome::PartStored(_) => {}
                other => return Err(format!("a part is {other:?}")),
            }
            drop(written.guard);
            if cuts {
                self.engine.partition.cut().await.map_err(|error| error.to_string())?;
            }
            named.push((number, md5));
            whole.extend_from_slice(&content);
        }
        if aborts {
            let abort = RecordBody::AbortUpload(AbortUpload { bucket, config, key, upload });
            same("an abort", self.engine.submit(abort).await?, RecordOutcome::Done)?;
        } else {
            let complete = CompleteUpload {
                bucket,
                config,
                key,
                upload,
                parts: named,
                condition: WriteCondition::Always,
                checksum: None,
            };
            let outcome = self.engine.submit(RecordBody::CompleteUpload(complete)).await?;
            let RecordOutcome::Written(written) = outcome else {
                return Err(format!("{outcome:?}"));
            };
            let content = Some(whole.into());
            self.buckets[b].add(KEYS[k].as_bytes(), written.version, written.etag, content);
        }
        self.get(b, k).await
    }

    async fn list(
        &self,
        b: usize,
        (prefix, delimiter): (&str, &str),
        start: &Start,
        page: usize,
        with_versions: bool,
    ) -> Result<(), String> {
        let wanted =
            self.buckets[b].listed(prefix.as_bytes(), delimiter.as_bytes(), start, with_versions);
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        let mut from = match start {
            Start::First => ListStart::Start,
            Start::After(key) => ListStart::After(bytes(KEYS[*key])),
            Start::AfterPrefix(key) => ListStart::AfterPrefix(bytes(KEYS[*key])),
        };
        let mut found = Vec::new();
        loop {
            let (prefix, delimiter) = (bytes(prefix), bytes(delimiter));
            let request = ListRequest { bucket: self.ids[b], prefix, delimiter, from, max: page };
            let snapshot = self.engine.partition.fresh().await.map_err(|e| e.to_string())?;
            let listed = match with_versions {
                true => listing::versions(&snapshot, &request).await,
                false => listing::objects(&snapshot, &request).await,
            };
            let listed = listed.map_err(|error| error.to_string())?;
            if listed.next.is_some() && listed.listed.len() != page {
                return Err(format!("a page of {} of {page} goes on", listed.listed.len()));
            }
            for item in listed.listed {
                found.push(match item {
                    ListItem::Prefix(group) => {
                        format!("prefix {:?}", String::from_utf8_lossy(&group))
                    }
                    ListItem::Line(line) => line_text(
                        &line.key,
                        line.is_null,
                        line.is_marker,
                        line.is_latest,
                        line.size,
                    ),
                });
            }
            match listed.next {
                Some(next) => from = next,
                None => break,
            }
        }
        let what = format!("{prefix:?} {delimiter:?} {start:?} {page} versions={with_versions}");
        same(&what, found, wanted)
    }

    async fn step(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Put(b, k, size, when) => self.put(*b, *k, *size, when).await,
            Op::Delete(b, k) => self.delete(*b, *k).await,
            Op::DeleteVersion(b, k, number) => self.delete_version(*b, *k, *number).await,
            Op::Switch(b, on) => {
                let versioning = if *on { Versioning::On } else { Versioning::Suspended };
                let switched = self.engine.set_versioning(self.ids[*b], versioning).await?;
                same("a switch", switched, RecordOutcome::Done)?;
                self.buckets[*b].versioning = versioning;
                Ok(())
            }
            Op::Tag(b, k, number) => self.tag(*b, *k, *number).await,
            Op::Rename { bucket, from, to, when, cuts } => {
                self.rename(*bucket, (*from, *to), when, *cuts).await
            }
            Op::Multipart { bucket, key, parts, cuts, aborts } => {
                self.multipart(*bucket, *key, parts, *cuts, *aborts).await
            }
            Op::Cut => {
                self.engine.partition.cut().await.map(|_| ()).map_err(|error| error.to_string())
            }
            Op::Merge => self.engine.partition.merge().await.map_err(|error| error.to_string()),
            Op::List { bucket, prefix, delimiter, start, page } => {
                let text = (PREFIXES[*prefix], DELIMITERS[*delimiter]);
                self.list(*bucket, text, start, *page, false).await
            }
            Op::ListVersions { bucket, prefix, delimiter, page } => {
                let text = (PREFIXES[*prefix], DELIMITERS[*delimiter]);
                self.list(*bucket, text, &Start::First, *page, true).await
            }
            Op::Restart | Op::PowerCut => unreachable!("lives are cut apart before"),
        }
    }

    async fn everything(&self) -> Result<(), String> {
        for b in 0..2 {
            for k in 0..KEYS.len() {
                self.get(b, k).await?;
            }
            self.list(b, ("", ""), &Start::First, 4, true).await?;
            self.list(b, ("", "/"), &Start::First, 2, false).await?;
        }
        // What SQL reads: every version, by bucket and key.
        let scanned = crate::flips::scanned(&self.engine).await.map_err(|e| e.to_string())?;
        let scanned: Vec<(u64, String)> = scanned.into_iter().map(|row| (row.0, row.1)).collect();
        let mut wanted = Vec::new();
        for (id, bucket) in self.ids.iter().zip(&self.buckets) {
            for (key, versions) in &bucket.keys {
                let row = (id.get(), String::from_utf8_lossy(key).into_owned());
                wanted.extend(versions.iter().map(|_| row.clone()));
            }
        }
        wanted.sort();
        same("a scan", scanned, wanted)
    }
}

/// What outlives an engine: the model, and how far the payload's pattern has come.
type Kept = ([BucketId; 2], [Bucket; 2], usize);

/// One life of an engine, from what the life before left. Says at its beginning and at its end whether the
/// store is what the model is.
async fn live(engine: Engine, kept: &mut Option<Kept>, life: &[Op]) -> Result<(), String> {
    let (ids, buckets, step) = match kept.take() {
        Some(kept) => kept,
        None => {
            let plain = engine.bucket("plain", Versioning::Off).await?;
            let versions = engine.bucket("versions", Versioning::On).await?;
            let mut buckets = [Bucket::default(), Bucket::default()];
            buckets[1].versioning = Versioning::On;
            ([plain, versions], buckets, 0)
        }
    };
    let mut checked = Checked { engine, ids, buckets, step };
    checked.everything().await?;
    for op in life {
        if !matches!(op, Op::Restart | Op::PowerCut) {
            checked.step(op).await.map_err(|error| format!("{op:?}: {error}"))?;
        }
    }
    checked.everything().await?;
    let Checked { engine, ids, buckets, step } = checked;
    *kept = Some((ids, buckets, step));
    if !is_power_cut(life) {
        engine.close().await;
    }
    Ok(())
}

/// The operations, cut where a life ends.
fn lives(ops: &[Op]) -> impl Iterator<Item = &[Op]> {
    ops.split_inclusive(|op| matches!(op, Op::Restart | Op::PowerCut)).chain([[].as_slice()])
}

fn is_power_cut(life: &[Op]) -> bool {
    matches!(life.last(), Some(Op::PowerCut))
}
