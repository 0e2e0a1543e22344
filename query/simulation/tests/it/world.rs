//! A whole engine in a simulated world, clients that use it, and the model they check it against.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use compactor::apply::StoreRules;
use compactor::catalog::Catalog;
use compactor::lookup;
use compactor::outcome::{RecordOutcome, Rejection, VersionName};
use compactor::partition::{self, CutPolicy, Partition, PartitionOptions};
use compactor::state::UploadState;
use ingest::bulk::{self, BulkFiles, UploadedPayload};
use ingest::entry::{Attributes, ETag, EntryValue, StorageClass};
use ingest::env::{DiskError, DiskErrorKind, Env, FilePath, OpenMode};
use ingest::ids::{BucketId, Offset, PartNumber, PartitionId, StoreId, UploadId};
use ingest::log::embedded::{self, EmbeddedLog};
use ingest::log::replicated::ReplicatedLog;
use ingest::log::{Log, ReadError};
use ingest::name::{BucketName, ObjectKey};
use ingest::record::{
    AbortUpload, CompleteUpload, ConfigKind, CreateBucket, CreateUpload, DeleteObject, PutObject,
    PutPart, RecordBody, RecordPayload, RenameCondition, RenameObject, SetBucketConfig, UploadPart,
    VersionRef, Versioning, WriteCondition,
};
use query::listing::{self, ListItem, ListRequest, ListStart};
use query::object;
use simulator::{Sim, SimDisk, SimRandom};

pub const STORE: StoreId = StoreId([9; 16]);
const ID: PartitionId = PartitionId::ZERO;
/// Left free on a device with a limit, for cuts and merges.
const RESERVE_BYTES: u64 = 1 << 20;
/// Payload above this goes beside the record.
const INLINE_MAX: usize = 1500;

/// An engine at work.
pub struct Engine {
    pub partition: Arc<Partition>,
    log: Below,
}

/// The log under it.
enum Below {
    Embedded(Arc<EmbeddedLog>),
    Replicated(Arc<ReplicatedLog>),
}

/// Opens the engine on a disk; an error is what a server would print before it gives up.
pub async fn open(sim: &Sim, disk: &SimDisk) -> Result<Engine, String> {
    open_with(sim, disk, |log| log).await
}

/// Opens the engine with something between it and its log.
pub async fn open_with(
    sim: &Sim,
    disk: &SimDisk,
    between: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
) -> Result<Engine, String> {
    open_as(sim, disk, between, options()).await
}

/// How the engine is run.
pub fn options() -> PartitionOptions {
    PartitionOptions {
        rules: StoreRules { part_bytes_min: 0 },
        cut: CutPolicy { bytes: 40_000, entries: 12, age: Duration::from_secs(5), records: 500 },
        merge_fan_in: 3,
        reserve_bytes: RESERVE_BYTES,
        ..PartitionOptions::default()
    }
}

/// Opens the engine, run in another way.
pub async fn open_as(
    sim: &Sim,
    disk: &SimDisk,
    between: impl FnOnce(Arc<dyn Log>) -> Arc<dyn Log>,
    options: PartitionOptions,
) -> Result<Engine, String> {
    let env = sim.env(disk);
    let found = Partition::catalog(&env, STORE, ID).await.map_err(|e| e.to_string())?;
    let catalog = found.unwrap_or_else(|| Catalog::first(STORE, ID));
    let is_begun = is_begun(&env).await.map_err(|e| e.to_string())?;
    let log_options = log_options(is_begun);
    let floors = BTreeMap::from([(ID, catalog.next)]);
    let (log, report) =
        EmbeddedLog::open(&env, log_options, &floors).await.map_err(|e| e.to_string())?;
    if let Some(corruption) = report.corruptions.get(&ID) {
        return Err(corruption.to_string());
    }
    let log = Arc::new(log);
    let bulk_options = bulk::BulkOptions {
        folder: FilePath::new("p0000/bulk"),
        store: STORE,
        partition: ID,
        next: catalog.next_bulk,
        file_bytes_max: 96 << 10,
        sync_bytes: 64 << 10,
        reserve_bytes: RESERVE_BYTES,
    };
    let bulk = BulkFiles::open(env.clone(), bulk_options).await.map_err(|e| e.to_string())?;
    let partition =
        Partition::open(env.clone(), between(log.clone()), bulk, catalog, options).await;
    let partition = Arc::new(partition.map_err(|e| e.to_string())?);
    if !is_begun {
        // A new store that has no log yet is not known to have one.
        if log.status(ID).end == Offset::ZERO {
            return Err("the log's first file could not be made".into());
        }
        note_begun(&env).await.map_err(|e| e.to_string())?;
    }
    Ok(Engine { partition, log: Below::Embedded(log) })
}

/// How the engine's log is kept.
pub fn log_options(is_begun: bool) -> embedded::EmbeddedLogOptions {
    embedded::EmbeddedLogOptions {
        folder: FilePath::new("log"),
        store: STORE,
        file_bytes: 64 << 10,
        queue_bytes: 256 << 10,
        reserve_bytes: RESERVE_BYTES,
        is_begun,
    }
}

/// Stands for what a data directory's identity says: whether the store has been opened before.
fn begun() -> FilePath {
    FilePath::new("begun")
}

async fn is_begun(env: &Env) -> Result<bool, DiskError> {
    match env.disk.open(&begun(), OpenMode::Read).await {
        Err(error) if error.kind == DiskErrorKind::NotFound => Ok(false),
        opened => opened.map(|_| true),
    }
}

async fn note_begun(env: &Env) -> Result<(), DiskError> {
    env.disk.open(&begun(), OpenMode::Create).await?;
    env.disk.sync_folder(None).await
}

impl Engine {
    /// The engine over the first partition of a log on brokers.
    pub fn on_brokers(partition: Arc<Partition>, log: Arc<ReplicatedLog>) -> Self {
        Self { partition, log: Below::Replicated(log) }
    }

    /// Stops as a server does on SIGTERM.
    pub async fn close(self) {
        let _ = self.partition.cut().await;
        self.close_log().await;
    }

    /// Stops without a last cut: what is in the log is replayed at the next start.
    pub async fn close_log(self) {
        match self.log {
            Below::Embedded(log) => log.close().await,
            Below::Replicated(log) => log.close().await,
        }
    }

    /// Removes a key.
    pub async fn delete(&self, bucket: BucketId, key: &ObjectKey) -> Result<RecordOutcome, String> {
        let delete = DeleteObject {
            bucket,
            config: self.config(bucket),
            key: key.clone(),
            version: VersionRef::Current,
            condition: WriteCondition::Always,
        };
        self.submit(RecordBody::DeleteObject(delete)).await
    }

    pub async fn submit(&self, body: RecordBody) -> Result<RecordOutcome, String> {
        self.partition.submit("owner", "request", body).await.map_err(|e| e.to_string())
    }

    /// Deletes a bucket, if it is empty.
    pub async fn delete_bucket(&self, bucket: BucketId) -> Result<RecordOutcome, String> {
        let deleted = self.partition.delete_bucket("owner", "request", bucket).await;
        deleted.map_err(|e| e.to_string())
    }

    /// Makes a bucket with versioning as wanted.
    pub async fn bucket(&self, name: &str, versioning: Versioning) -> Result<BucketId, String> {
        let name = BucketName::new(name.as_bytes().to_vec()).expect("a good name");
        let create = CreateBucket { name, owner: "owner".into(), region: "here".into() };
        let created = self.submit(RecordBody::CreateBucket(create)).await?;
        let RecordOutcome::BucketCreated(bucket) = created else {
            return Err(format!("{created:?}"));
        };
        if versioning != Versioning::Off {
            self.set_versioning(bucket, versioning).await?;
        }
        Ok(bucket)
    }

    pub async fn write_bulk(&self, payload: &[u8]) -> Result<UploadedPayload, String> {
        let mut upload = self
            .partition
            .bulk()
            .begin(class_of(payload).place(), payload.len() as u64)
            .await
            .map_err(|e| e.to_string())?;
        upload.write(Bytes::copy_from_slice(payload)).await.map_err(|e| e.to_string())?;
        upload.finish().await.map_err(|e| e.to_string())
    }

    /// Puts an object; small payload in the record, more beside it.
    pub async fn put(
        &self,
        bucket: BucketId,
        key: &ObjectKey,
        payload: &[u8],
        condition: WriteCondition,
    ) -> Result<RecordOutcome, String> {
        let written = give(&self.partition, payload).await?;
        let config = self.config(bucket);
        let put = RecordBody::PutObject(PutObject {
            bucket,
            config,
            key: key.clone(),
            condition,
            attributes: attributes(payload),
            digest: written.digest,
            payload: written.payload,
        });
        let outcome = self.submit(put).await;
        if let Some(guard) = written.guard {
            guard.settle(&outcome);
        }
        outcome
    }

    pub fn config(&self, bucket: BucketId) -> ingest::ids::ConfigVersion {
        let buckets = self.partition.buckets();
        buckets.get(bucket).map_or_else(Default::default, |bucket| bucket.config)
    }

    /// Switches a bucket's versioning.
    pub async fn set_versioning(
        &self,
        bucket: BucketId,
        versioning: Versioning,
    ) -> Result<RecordOutcome, String> {
        let (config, kind) = (self.config(bucket), ConfigKind::VERSIONING);
        let document = Some(versioning.document());
        let set = SetBucketConfig { bucket, config, kind, document };
        self.submit(RecordBody::SetBucketConfig(set)).await
    }

    /// Every version in the bucket with its bytes, through pages of a given size.
    pub async fn versions(
        &self,
        bucket: BucketId,
        page: usize,
    ) -> Result<BTreeMap<Bytes, Vec<Version>>, ReadError> {
        let mut found: BTreeMap<Bytes, Vec<Version>> = BTreeMap::new();
        let mut from = ListStart::Start;
        loop {
            let request = ListRequest {
                bucket,
                prefix: Bytes::new(),
                delimiter: Bytes::new(),
                from,
                max: page,
            };
            let snapshot = self.partition.snapshot();
            let listed = listing::versions(&snapshot, &request).await?;
            for listed in listed.listed {
                let ListItem::Line(line) = listed else { continue };
                let versions = found.entry(line.key.clone()).or_default();
                assert_eq!(line.is_latest, versions.is_empty(), "{line:?}");
                let content = match line.is_marker {
                    true => None,
                    false => {
                        Some(self.content(bucket, &line.key, line.version, line.is_null).await?)
                    }
                };
                versions.push(Version { version: line.version, is_null: line.is_null, content });
            }
            match listed.next {
                Some(next) => from = next,
                None => return Ok(found),
            }
        }
    }

    async fn content(
        &self,
        bucket: BucketId,
        key: &Bytes,
        version: Offset,
        is_null: bool,
    ) -> Result<Bytes, ReadError> {
        let key = ObjectKey::new(key.clone()).expect("a listed key");
        let version = if is_null { VersionRef::Null } else { VersionRef::At(version) };
        let whole = |found: &object::FoundObject| match &found.statement {
            EntryValue::Object(object) => Ok::<_, ReadError>(0..object.attributes.size),
            _ => Ok(0..0),
        };
        let found =
            object::get(&self.partition, self.partition.snapshot(), bucket, &key, version, whole)
                .await?;
        let (_, body) =
            found.unwrap_or_else(|| panic!("{key:?} {version:?} is listed and not found"));
        body.collect().await
    }
}

/// Gives payload to a partition: small payload into the record that names it, more beside it.
pub async fn give(
    partition: &Partition,
    payload: &[u8],
) -> Result<partition::WrittenPayload, String> {
    if payload.len() > INLINE_MAX {
        return give_beside(partition, payload).await;
    }
    let inline = RecordPayload::Inline(Bytes::copy_from_slice(payload));
    Ok(partition::WrittenPayload { payload: inline, digest: 0, guard: None })
}

/// Gives payload beside the record, however little it is. Some of it is announced longer than it becomes, as a browser's
/// file is, and some is not announced.
pub async fn give_beside(
    partition: &Partition,
    payload: &[u8],
) -> Result<partition::WrittenPayload, String> {
    let more = payload.first().map_or(0, |byte| u64::from(byte % 4)) * 50_000;
    let is_unannounced = payload.last().is_some_and(|byte| byte % 3 == 0);
    let len_max = payload.len() as u64 + more;
    let place = class_of(payload).place();
    let begun = match is_unannounced {
        true => partition.begin_unannounced_payload(place, len_max + 1).await,
        false => partition.begin_payload(place, len_max).await,
    };
    let mut writer = begun.map_err(|e| e.to_string())?;
    for piece in payload.chunks(40_000) {
        writer.write(Bytes::copy_from_slice(piece)).await.map_err(|e| e.to_string())?;
    }
    if more > 0 || is_unannounced {
        writer.shorten().await.map_err(|e| e.to_string())?;
    }
    writer.finish().await.map_err(|e| e.to_string())
}

/// The storage class with which payload is written: a third of all is cold.
pub fn class_of(payload: &[u8]) -> StorageClass {
    match payload.last() {
        Some(last) if last % 3 == 1 => StorageClass::GlacierIr,
        _ => StorageClass::Standard,
    }
}

pub fn attributes(payload: &[u8]) -> Attributes {
    let digest = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, payload);
    let mut md5 = [0; 16];
    md5[..8].copy_from_slice(&digest.to_le_bytes());
    let etag = ETag { md5, parts: 0 };
    let class = class_of(payload);
    let named = (class != StorageClass::Standard).then(|| class.name().to_owned());
    let headers = named.map(|name| (StorageClass::HEADER.to_owned(), name)).into_iter().collect();
    let (size, owner) = (payload.len() as u64, "owner".into());
    Attributes { size, etag, owner, headers, ..Attributes::default() }
}

/// A version as the model knows it; none for the content of a delete marker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    pub version: Offset,
    pub is_null: bool,
    pub content: Option<Bytes>,
}

/// The versions of a client's keys, newest first.
pub type Model = BTreeMap<Bytes, Vec<Version>>;

/// One client with keys of its own in one bucket.
pub struct Client {
    pub number: u64,
    pub bucket: BucketId,
    pub versioning: Versioning,
    pub model: Model,
    /// What is under way: its effect, but for the version that it will be given.
    pub pending: Option<Pending>,
    random: SimRandom,
    step: u64,
    /// Uploads that have been completed or aborted: nobody may find them open again.
    ended: Vec<(ObjectKey, UploadId)>,
}

/// An operation whose answer has not come.
#[derive(Clone, Debug)]
pub enum Pending {
    Write(Bytes, Bytes),
    Delete(Bytes),
    DeleteVersion(Bytes, Version),
    Rename(Bytes, Bytes),
    Nothing,
}

impl Client {
    pub fn new(number: u64, bucket: BucketId, versioning: Versioning, seed: u64) -> Self {
        let random = SimRandom::new(seed ^ number.wrapping_mul(0x1234_5678_9abc_def1));
        Self {
            number,
            bucket,
            versioning,
            model: Model::new(),
            pending: None,
            random,
            step: 0,
            ended: Vec::new(),
        }
    }

    fn key(&self) -> ObjectKey {
        let name = format!("client-{}/{}", self.number, self.random.below(5));
        ObjectKey::new(name.into_bytes()).expect("a short key")
    }

    fn payload(&mut self) -> Bytes {
        self.step += 1;
        let len = [0, 10, 900, 3000, 70_000][self.random.below(5) as usize];
        let mut payload = format!("{}-{}-", self.number, self.step).into_bytes();
        payload.resize(payload.len().max(len), self.step as u8);
        payload.into()
    }

    /// Applies a write to the model as S3 would.
    pub fn wrote(model: &mut Model, key: Bytes, version: Version) {
        let versions = model.entry(key).or_default();
        if version.is_null {
            versions.retain(|old| !old.is_null);
        }
        versions.insert(0, version);
    }

    /// What the model is if the pending operation was done; `found` tells the version it was given.
    pub fn with_pending(&self, found: &Model) -> Model {
        let mut model = self.model.clone();
        match self.pending.clone() {
            None | Some(Pending::Nothing) => {}
            Some(Pending::Write(key, content)) => {
                let given = found.get(&key).and_then(|versions| versions.first()).cloned();
                if let Some(given) = given.filter(|given| given.content.as_ref() == Some(&content))
                {
                    Self::wrote(&mut model, key, given);
                }
            }
            Some(Pending::Delete(key)) if self.versioning == Versioning::Off => {
                model.remove(&key);
            }
            Some(Pending::Delete(key)) => {
                let given = found.get(&key).and_then(|versions| versions.first()).cloned();
                if let Some(given) = given.filter(|given| given.content.is_none()) {
                    Self::wrote(&mut model, key, given);
                }
            }
            Some(Pending::DeleteVersion(key, version)) => {
                model.entry(key).or_default().retain(|old| *old != version);
            }
            Some(Pending::Rename(from, to)) => Self::renamed(&mut model, &from, to),
        }
        model.retain(|_, versions| !versions.is_empty());
        model
    }

    /// Does one operation at random.
    pub async fn step(&mut self, engine: &Engine) -> Result<(), String> {
        let done = match self.random.below(10) {
            0..=3 => self.put(engine, WriteCondition::Always).await,
            4 => self.put(engine, WriteCondition::IfAbsent).await,
            5 | 6 => self.delete(engine).await,
            7 if self.versioning == Versioning::Off => self.rename(engine).await,
            7 => self.delete_version(engine).await,
            8 => self.multipart(engine).await,
            _ => self.cut(engine).await,
        };
        if done.is_ok() {
            self.pending = None;
        }
        done
    }

    fn take(
        &mut self,
        key: Bytes,
        content: Option<Bytes>,
        outcome: &RecordOutcome,
    ) -> Result<(), String> {
        let (version, is_null) = match outcome {
            RecordOutcome::Written(written) => (written.version, written.is_null),
            RecordOutcome::Deleted(deleted) => match deleted.version {
                Some(VersionName::At(version)) => (version, false),
                _ => (Offset::MAX, true),
            },
            other => return Err(format!("{other:?}")),
        };
        Self::wrote(&mut self.model, key, Version { version, is_null, content });
        Ok(())
    }

    async fn put(&mut self, engine: &Engine, condition: WriteCondition) -> Result<(), String> {
        let (key, payload) = (self.key(), self.payload());
        let name = Bytes::copy_from_slice(key.as_bytes());
        self.pending = Some(Pending::Write(name.clone(), payload.clone()));
        let exists = self.model.get(&name).is_some_and(|versions| versions[0].content.is_some());
        let outcome = engine.put(self.bucket, &key, &payload, condition).await?;
        if condition == WriteCondition::IfAbsent && exists {
            let wanted = RecordOutcome::Rejected(Rejection::PreconditionFailed);
            return if outcome == wanted { Ok(()) } else { Err(format!("overwrote: {outcome:?}")) };
        }
        self.take(name, Some(payload), &outcome)
    }

    async fn delete(&mut self, engine: &Engine) -> Result<(), String> {
        let key = self.key();
        let name = Bytes::copy_from_slice(key.as_bytes());
        self.pending = Some(Pending::Delete(name.clone()));
        let outcome = self.submit_delete(engine, key, VersionRef::Current).await?;
        if self.versioning == Versioning::Off {
            self.model.remove(&name);
            return Ok(());
        }
        self.take(name, None, &outcome)
    }

    async fn delete_version(&mut self, engine: &Engine) -> Result<(), String> {
        let key = self.key();
        let name = Bytes::copy_from_slice(key.as_bytes());
        let Some(version) = self.model.get(&name).and_then(|versions| versions.last()).cloned()
        else {
            return Ok(());
        };
        self.pending = Some(Pending::DeleteVersion(name.clone(), version.clone()));
        let wanted =
            if version.is_null { VersionRef::Null } else { VersionRef::At(version.version) };
        self.submit_delete(engine, key, wanted).await?;
        if let Some(versions) = self.model.get_mut(&name) {
            versions.retain(|old| *old != version);
        }
        self.model.retain(|_, versions| !versions.is_empty());
        Ok(())
    }

    /// Applies a rename to the model.
    fn renamed(model: &mut Model, from: &Bytes, to: Bytes) {
        if let Some(versions) = model.remove(from) {
            model.insert(to, versions);
        }
    }

    async fn rename(&mut self, engine: &Engine) -> Result<(), String> {
        let (source, key) = (self.key(), self.key());
        let name = |key: &ObjectKey| Bytes::copy_from_slice(key.as_bytes());
        let (from, to) = (name(&source), name(&key));
        self.step += 1;
        self.pending = Some(Pending::Rename(from.clone(), to.clone()));
        let rename = RecordBody::RenameObject(RenameObject {
            bucket: self.bucket,
            config: engine.config(self.bucket),
            key,
            condition: RenameCondition::default(),
            source,
            source_condition: RenameCondition::default(),
            token: format!("{}-{}-{}", self.number, self.step, self.random.below(1 << 40)),
        });
        let outcome = engine.submit(rename.clone()).await?;
        let is_there = self.model.contains_key(&from);
        match outcome {
            RecordOutcome::Written(_) if is_there => Self::renamed(&mut self.model, &from, to),
            RecordOutcome::Rejected(Rejection::NoSuchKey) if !is_there => return Ok(()),
            other => return Err(format!("a rename of {from:?}: {other:?}")),
        }
        let again = engine.submit(rename).await?;
        match again == outcome {
            true => Ok(()),
            false => Err(format!("renamed again: {again:?}, first {outcome:?}")),
        }
    }

    async fn submit_delete(
        &self,
        engine: &Engine,
        key: ObjectKey,
        version: VersionRef,
    ) -> Result<RecordOutcome, String> {
        let delete = DeleteObject {
            bucket: self.bucket,
            config: engine.config(self.bucket),
            key,
            version,
            condition: WriteCondition::Always,
        };
        engine.submit(RecordBody::DeleteObject(delete)).await
    }

    async fn multipart(&mut self, engine: &Engine) -> Result<(), String> {
        let key = self.key();
        let name = Bytes::copy_from_slice(key.as_bytes());
        self.step += 1;
        let mut id = [self.number as u8; 16];
        id[..8].copy_from_slice(&self.step.to_le_bytes());
        id[8] = self.random.below(256) as u8;
        let upload = UploadId(id);
        self.pending = Some(Pending::Nothing);
        let create = CreateUpload {
            bucket: self.bucket,
            config: engine.config(self.bucket),
            key: key.clone(),
            upload,
            attributes: Attributes { owner: "owner".into(), ..Attributes::default() },
            checksum_algorithm: 0,
            checksum_is_composite: false,
        };
        engine.submit(RecordBody::CreateUpload(create)).await?;
        let mut whole = Vec::new();
        let mut named = Vec::new();
        for number in 1..=1 + self.random.below(3) as u16 {
            let payload = self.payload();
            let written = engine.write_bulk(&payload).await?;
            let md5 = attributes(&payload).etag.md5;
            let part = UploadPart {
                size: payload.len() as u64,
                md5,
                digest: written.digest,
                checksum: None,
                extents: written.extents,
            };
            let number = PartNumber::new(number);
            let put = PutPart {
                bucket: self.bucket,
                config: engine.config(self.bucket),
                key: key.clone(),
                upload,
                number,
                part,
                stream: None,
            };
            let outcome = engine.submit(RecordBody::PutPart(put)).await?;
            drop(written.guard);
            if !matches!(outcome, RecordOutcome::PartStored(_)) {
                return Err(format!("a part was answered {outcome:?}"));
            }
            named.push((number, md5));
            whole.extend_from_slice(&payload);
            if self.random.chance(20) {
                engine.partition.cut().await.map_err(|error| error.to_string())?;
            }
        }
        if self.random.chance(15) {
            let (bucket, key) = (self.bucket, key.clone());
            let abort = RecordBody::AbortUpload(AbortUpload {
                bucket,
                config: engine.config(bucket),
                key: key.clone(),
                upload,
            });
            let outcome = engine.submit(abort).await?;
            self.ended.push((key, upload));
            return if outcome == RecordOutcome::Done {
                Ok(())
            } else {
                Err(format!("{outcome:?}"))
            };
        }
        let whole = Bytes::from(whole);
        self.pending = Some(Pending::Write(name.clone(), whole.clone()));
        let complete = CompleteUpload {
            bucket: self.bucket,
            config: engine.config(self.bucket),
            key,
            upload,
            parts: named,
            condition: WriteCondition::Always,
            checksum: None,
        };
        let outcome = engine.submit(RecordBody::CompleteUpload(complete.clone())).await?;
        self.take(name, Some(whole), &outcome)?;
        self.ended.push((complete.key.clone(), upload));
        let again = engine.submit(RecordBody::CompleteUpload(complete)).await?;
        if again != outcome {
            return Err(format!("completed again: {again:?}, first {outcome:?}"));
        }
        Ok(())
    }

    /// Asserts that no upload that has ended is open again.
    pub async fn check_uploads(&self, engine: &Engine) -> Result<(), String> {
        let snapshot = engine.partition.snapshot();
        for (key, id) in &self.ended {
            let found = lookup::upload(&snapshot, self.bucket, key, *id).await;
            if matches!(found, Ok(Some(UploadState::Open(_)))) {
                return Err(format!("upload {id:?} of {key:?} has ended and is open again"));
            }
            let parts = lookup::parts(&snapshot, *id, PartNumber::ZERO, usize::MAX).await;
            let parts = parts.map_err(|error| error.to_string())?.len();
            if parts > 0 {
                return Err(format!("upload {id:?} of {key:?} has ended and has {parts} parts"));
            }
        }
        Ok(())
    }

    async fn cut(&mut self, engine: &Engine) -> Result<(), String> {
        self.pending = Some(Pending::Nothing);
        engine.partition.cut().await.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Reads one of its keys, and compares.
    pub async fn look(&self, engine: &Engine) -> Result<(), String> {
        let key = self.key();
        let wanted = self.model.get(key.as_bytes()).map(|versions| versions[0].content.clone());
        let found =
            object::lookup(engine.partition.snapshot(), self.bucket, &key, VersionRef::Current)
                .await;
        let found = found.map_err(|error| error.to_string())?;
        let found = found.map(|found| match found.statement {
            EntryValue::Object(object) => Some(object.attributes.size),
            _ => None,
        });
        let wanted = wanted.map(|content| content.map(|content| content.len() as u64));
        if found != wanted {
            return Err(format!("{key:?}: found {found:?}, wrote {wanted:?}"));
        }
        Ok(())
    }
}
