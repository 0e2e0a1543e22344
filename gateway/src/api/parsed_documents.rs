//! Configuration documents of buckets as types, parsed once for each version of a document.

use std::collections::HashMap;
use std::sync::Arc;

use compactor::state::BucketState;
use ingest::ids::{BucketId, ConfigVersion};
use ingest::name::BucketName;
use ingest::record::ConfigKind;
use parking_lot::Mutex;
use s3::xml::{self, XmlDocument};
use serde::de::DeserializeOwned;

/// The most bytes of the documents whose types are kept; beyond it all are dropped, and parsed again when they are needed.
const BYTES_MAX: usize = 8 << 20;

/// The documents of one kind. Every request that needs a document of a bucket finds it here, without a copy.
pub struct ParsedDocuments<T> {
    kind: ConfigKind,
    /// Shared by all requests; locked for a look-up or an insertion, never while a document is parsed.
    kept: Mutex<KeptDocuments<T>>,
}

struct KeptDocuments<T> {
    by_bucket: HashMap<BucketName, KeptDocument<T>>,
    bytes: usize,
}

struct KeptDocument<T> {
    bucket: BucketId,
    version: ConfigVersion,
    bytes: usize,
    /// `None` for a document that is not of the type, which is only written by another version of this server.
    document: Option<Arc<T>>,
}

impl<T: DeserializeOwned + XmlDocument> ParsedDocuments<T> {
    /// No documents of a kind, whose type must be `T`.
    pub fn new(kind: ConfigKind) -> Self {
        let kept = KeptDocuments { by_bucket: HashMap::new(), bytes: 0 };
        Self { kind, kept: Mutex::new(kept) }
    }

    /// The document of a bucket; `None` for a bucket without one, and, with a line in the log, for a document that cannot
    /// be read. Never waits for the disk.
    pub fn of(&self, bucket: &BucketState) -> Option<Arc<T>> {
        let document = bucket.documents.get(&self.kind)?;
        if let Some(kept) = self.kept.lock().by_bucket.get(&bucket.name)
            && kept.bucket == bucket.id
            && kept.version == document.version
        {
            return kept.document.clone();
        }
        let parsed = xml::read(&document.bytes).map(Arc::new);
        if let Err(error) = &parsed {
            let (bucket, kind) = (bucket.name.as_str(), self.kind);
            tracing::warn!(bucket, ?kind, %error, "a configuration document cannot be read and is passed over");
        }
        let parsed = parsed.ok();
        self.kept.lock().insert(
            bucket.name.clone(),
            KeptDocument {
                bucket: bucket.id,
                version: document.version,
                bytes: document.bytes.len(),
                document: parsed.clone(),
            },
        );
        parsed
    }
}

impl<T> KeptDocuments<T> {
    fn insert(&mut self, name: BucketName, document: KeptDocument<T>) {
        if self.bytes + document.bytes > BYTES_MAX {
            self.by_bucket.clear();
            self.bytes = 0;
        }
        self.bytes += document.bytes;
        if let Some(former) = self.by_bucket.insert(name, document) {
            self.bytes -= former.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use compactor::state::BucketState;
    use ingest::record::Versioning;
    use ingest::tail::TaggedTail;
    use ingest::time::WallTime;
    use s3::document::CorsConfiguration;

    use super::*;

    fn bucket(name: &str, id: u64) -> BucketState {
        BucketState {
            id: BucketId::new(id),
            name: BucketName::new(name.as_bytes().to_vec()).unwrap(),
            owner: "a".into(),
            region: String::new(),
            created: WallTime::from_micros(0),
            versioning: Versioning::Off,
            notifications: None,
            config: ConfigVersion::new(0),
            documents: Default::default(),
            tail: TaggedTail::default(),
        }
    }

    fn with_rules(bucket: &BucketState, origin: &str) -> BucketState {
        let document = format!(
            "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>{origin}</AllowedOrigin></CORSRule></CORSConfiguration>"
        );
        let document = Bytes::from(document.into_bytes());
        bucket.configured(ConfigKind::CORS, Some(&document), WallTime::from_micros(0)).unwrap()
    }

    fn origin(
        documents: &ParsedDocuments<CorsConfiguration>,
        bucket: &BucketState,
    ) -> Option<String> {
        documents.of(bucket).map(|found| found.rules[0].allowed_origins[0].clone())
    }

    #[test]
    fn a_document_is_parsed_once_for_each_version() {
        let documents = ParsedDocuments::new(ConfigKind::CORS);
        let none = bucket("photos", 1);
        assert_eq!(origin(&documents, &none), None);
        let first = with_rules(&none, "a");
        let parsed = documents.of(&first).unwrap();
        assert!(Arc::ptr_eq(&parsed, &documents.of(&first).unwrap()));
        let second = with_rules(&first, "b");
        assert_eq!(origin(&documents, &second).as_deref(), Some("b"));
        assert_eq!(origin(&documents, &first).as_deref(), Some("a"));
        let made_again = with_rules(&bucket("photos", 2), "c");
        assert_eq!(origin(&documents, &made_again).as_deref(), Some("c"), "same name and version");
        let wrong = Bytes::from_static(b"<CORSConfiguration/>");
        let wrong = first.configured(ConfigKind::CORS, Some(&wrong), WallTime::from_micros(0));
        assert_eq!(origin(&documents, &wrong.unwrap()), None);
        assert_eq!(origin(&documents, &none), None);
    }

    #[test]
    fn documents_beyond_the_bound_are_dropped() {
        let documents = ParsedDocuments::new(ConfigKind::CORS);
        let long = "a".repeat(60_000);
        for id in 0..300 {
            let bucket = with_rules(&bucket(&format!("photos-{id}"), id), &long);
            assert_eq!(origin(&documents, &bucket).as_deref(), Some(long.as_str()));
            let kept = documents.kept.lock();
            let bytes: usize = kept.by_bucket.values().map(|kept| kept.bytes).sum();
            assert_eq!(kept.bytes, bytes);
            assert!(bytes <= BYTES_MAX);
        }
    }
}
