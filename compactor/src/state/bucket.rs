//! Buckets and their configuration documents, as the fold keeps them in memory and a cut writes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use ingest::codec::{DecodeError, Decoder, Encoder};
use ingest::entry::OWNER_BYTES_MAX;
use ingest::ids::{BucketId, ConfigVersion};
use ingest::name::{BUCKET_NAME_BYTES_MAX, BucketName};
use ingest::record::{
    CONFIG_BYTES_MAX, CONFIG_DOCUMENTS_MAX, ConfigKind, NotificationRules, REGION_BYTES_MAX,
    Versioning, decode_document, encode_document,
};
use ingest::tail::TaggedTail;
use ingest::time::WallTime;

use crate::outcome::Rejection;

/// The state of one bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BucketState {
    /// The bucket's id.
    pub id: BucketId,
    /// The bucket's name.
    pub name: BucketName,
    /// The canonical id of the owner.
    pub owner: String,
    /// The region that the bucket was created for.
    pub region: String,
    /// The time of the record that created the bucket.
    pub created: WallTime,
    /// The versioning that the document of [`ConfigKind::VERSIONING`] states; off without one. Set only together with
    /// that document.
    pub versioning: Versioning,
    /// The rules that the document of [`ConfigKind::NOTIFICATION`] states; `None` without one. Set only together with
    /// that document.
    pub notifications: Option<Arc<NotificationRules>>,
    /// The version of the configuration, raised by each change of a document.
    pub config: ConfigVersion,
    /// The configuration documents by kind, also of kinds that this version does not know.
    pub documents: BTreeMap<ConfigKind, ConfigDocument>,
    /// Fields with tags that this version does not know, written back unchanged.
    pub tail: TaggedTail,
}

/// One configuration document of a bucket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigDocument {
    /// The document in the form in which the gateway accepted it.
    pub bytes: Bytes,
    /// The version of the bucket's configuration that the change of this document made.
    pub version: ConfigVersion,
    /// The time of the record that set the document.
    pub changed: WallTime,
}

impl ConfigDocument {
    fn encode(&self, out: &mut Encoder) {
        out.u32(self.version.get()).i64(self.changed.micros());
        encode_document(&self.bytes, out);
    }

    fn decode(from: &mut Decoder) -> Result<Self, DecodeError> {
        Ok(Self {
            version: ConfigVersion::new(from.u32("configuration version")?),
            changed: WallTime::from_micros(from.i64("time")?),
            // A slice would keep the whole block of the state table in memory.
            bytes: Bytes::copy_from_slice(&decode_document(from)?),
        })
    }
}

impl BucketState {
    /// Returns the bucket after a document was set (`Some`) or removed (`None`), with the next version of its
    /// configuration. Fails with `ConfigurationMalformed` for a document that the fold reads and cannot. Fails with
    /// `ConfigurationTooLarge` if the bucket would have more than [`CONFIG_DOCUMENTS_MAX`] documents, or more than
    /// [`CONFIG_BYTES_MAX`] bytes of them.
    pub fn configured(
        &self,
        kind: ConfigKind,
        document: Option<&Bytes>,
        changed: WallTime,
    ) -> Result<Self, Rejection> {
        let mut bucket = self.clone();
        let version = self.config.next();
        bucket.config = version;
        if kind == ConfigKind::VERSIONING {
            let versioning = Versioning::of_document(document);
            bucket.versioning = versioning.map_err(|_| Rejection::ConfigurationMalformed)?;
        }
        if kind == ConfigKind::NOTIFICATION {
            let rules = rules_of(document);
            bucket.notifications = rules.map_err(|_| Rejection::ConfigurationMalformed)?;
        }
        match document {
            Some(document) => {
                let bytes = Bytes::copy_from_slice(document);
                bucket.documents.insert(kind, ConfigDocument { bytes, version, changed });
            }
            None => {
                bucket.documents.remove(&kind);
            }
        }
        let is_bounded = bucket.documents.len() <= CONFIG_DOCUMENTS_MAX
            && bucket.documents_bytes() <= CONFIG_BYTES_MAX;
        if is_bounded { Ok(bucket) } else { Err(Rejection::ConfigurationTooLarge) }
    }

    fn documents_bytes(&self) -> usize {
        self.documents.values().map(|document| document.bytes.len()).sum()
    }

    /// Encodes the value of a bucket's key. Panics for text or documents beyond a limit; records and
    /// [`BucketState::configured`] never exceed the limits.
    pub fn encode(&self) -> Bytes {
        let mut out = Encoder::new();
        out.u64(self.id.get()).bytes(self.name.as_bytes());
        out.bounded(self.owner.as_bytes(), OWNER_BYTES_MAX, "owner");
        out.bounded(self.region.as_bytes(), REGION_BYTES_MAX, "region");
        out.i64(self.created.micros()).u32(self.config.get());
        out.count(self.documents.len(), CONFIG_DOCUMENTS_MAX, "configuration documents");
        for (kind, document) in &self.documents {
            kind.encode(&mut out);
            document.encode(&mut out);
        }
        self.tail.encode(&mut out);
        out.finish()
    }

    /// Decodes the value of a bucket's key. Fails if bytes are missing or left over, if a text or the documents exceed
    /// their limits, if kinds of documents are not in ascending order, and if a document that the fold reads cannot be read.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Decoder::new(bytes);
        let id = BucketId::new(from.u64("bucket id")?);
        let error = from.error("bucket name");
        let name = BucketName::new(from.bytes(BUCKET_NAME_BYTES_MAX, "bucket name")?);
        let mut bucket = Self {
            id,
            name: name.map_err(|_| error)?,
            owner: from.text(OWNER_BYTES_MAX, "owner")?,
            region: from.text(REGION_BYTES_MAX, "region")?,
            created: WallTime::from_micros(from.i64("time")?),
            versioning: Versioning::Off,
            notifications: None,
            config: ConfigVersion::new(from.u32("configuration version")?),
            documents: BTreeMap::new(),
            tail: TaggedTail::default(),
        };
        for _ in 0..from.count(CONFIG_DOCUMENTS_MAX, "configuration documents")? {
            let error = from.error("order of configuration documents");
            let kind = ConfigKind::decode(&mut from)?;
            if bucket.documents.last_key_value().is_some_and(|(last, _)| *last >= kind) {
                return Err(error);
            }
            bucket.documents.insert(kind, ConfigDocument::decode(&mut from)?);
        }
        let versioning = bucket.documents.get(&ConfigKind::VERSIONING);
        bucket.versioning = Versioning::of_document(versioning.map(|found| &found.bytes))?;
        let rules = bucket.documents.get(&ConfigKind::NOTIFICATION);
        bucket.notifications = rules_of(rules.map(|found| &found.bytes))?;
        if bucket.documents_bytes() > CONFIG_BYTES_MAX {
            return Err(from.error("length of configuration documents"));
        }
        bucket.tail = TaggedTail::decode(&mut from)?;
        from.end("end of bucket")?;
        Ok(bucket)
    }
}

/// The rules that a document states; `None` without a document.
fn rules_of(document: Option<&Bytes>) -> Result<Option<Arc<NotificationRules>>, DecodeError> {
    document.map(|document| NotificationRules::of_document(document).map(Arc::new)).transpose()
}

/// All buckets, by name and by id. Readers share the set behind an `Arc` and the fold replaces it on a change, because
/// buckets change rarely and every request reads them.
#[derive(Clone, Default, Debug)]
pub struct Buckets {
    by_name: BTreeMap<BucketName, Arc<BucketState>>,
    by_id: BTreeMap<BucketId, Arc<BucketState>>,
}

impl Buckets {
    /// The bucket that has a name now; `None` before the bucket is created and after it is deleted.
    pub fn named(&self, name: &BucketName) -> Option<&Arc<BucketState>> {
        self.by_name.get(name)
    }

    /// The bucket with an id; `None` before it is created and after it is deleted.
    pub fn get(&self, id: BucketId) -> Option<&Arc<BucketState>> {
        self.by_id.get(&id)
    }

    /// All buckets, in the byte order of their names, which is the order of S3's list of buckets.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<BucketState>> {
        self.by_name.values()
    }

    /// Returns a set with only those buckets for which `keep` returns true. `keep` is called once for each bucket,
    /// in the order of ids; the bucket states are shared with this set.
    pub fn filtered(&self, keep: impl Fn(&BucketState) -> bool) -> Self {
        let kept = |bucket: &&Arc<BucketState>| keep(bucket);
        let kept: Vec<_> = self.by_id.values().filter(kept).cloned().collect();
        Self {
            by_name: kept.iter().map(|bucket| (bucket.name.clone(), bucket.clone())).collect(),
            by_id: kept.into_iter().map(|bucket| (bucket.id, bucket)).collect(),
        }
    }

    /// Adds a bucket, or replaces the former state of the bucket with the same id. The name of an existing bucket must
    /// not change.
    pub fn insert(&mut self, bucket: BucketState) {
        let bucket = Arc::new(bucket);
        self.by_name.insert(bucket.name.clone(), bucket.clone());
        self.by_id.insert(bucket.id, bucket);
    }

    /// Removes the bucket with an id, so that its name can be used again. An unknown id changes nothing.
    pub fn remove(&mut self, id: BucketId) {
        if let Some(bucket) = self.by_id.remove(&id) {
            self.by_name.remove(&bucket.name);
        }
    }
}
