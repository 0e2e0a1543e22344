//! What is asked of a node's partition, as a server asks for its clients.

use std::sync::Arc;

use bytes::Bytes;
use compactor::outcome::RecordOutcome;
use compactor::partition::{Partition, SubmitError, WrittenPayload};
use ingest::entry::{Attributes, ETag, EntryValue};
use ingest::ids::{BucketId, PartNumber, UploadId};
use ingest::log::ReadError;
use ingest::name::ObjectKey;
use ingest::record::{
    self, CompleteUpload, CreateUpload, PutObject, PutPart, RecordBody, RecordPayload, UploadPart,
    VersionRef,
};
use query::listing::{self, ListItem, ListStart};
use query::object;

use crate::world::{attributes, give};

/// What a read found: the value and the entity tag.
pub type Seen = Option<(Bytes, ETag)>;

/// Reads a key on a node, as fresh as it is promised.
pub async fn read(
    partition: &Partition,
    bucket: BucketId,
    key: &ObjectKey,
) -> Result<Seen, ReadError> {
    let snapshot = partition.fresh().await?;
    let whole = |found: &object::FoundObject| match &found.statement {
        EntryValue::Object(object) => Ok::<_, ReadError>(0..object.attributes.size),
        _ => Ok(0..0),
    };
    let found = object::get(partition, snapshot, bucket, key, VersionRef::Current, whole).await?;
    let Some((found, body)) = found else { return Ok(None) };
    let EntryValue::Object(object) = &found.statement else { return Ok(None) };
    let etag = object.attributes.etag;
    Ok(Some((body.collect().await?, etag)))
}

/// Lists a bucket on a node, page by page of one moment: each key's number and length.
pub async fn list(
    partition: &Partition,
    bucket: BucketId,
    page: usize,
) -> Result<Vec<(Bytes, u64)>, ReadError> {
    let snapshot = partition.fresh().await?;
    let mut all = Vec::new();
    let mut from = ListStart::Start;
    loop {
        let (prefix, delimiter) = (Bytes::new(), Bytes::new());
        let request = listing::ListRequest { bucket, prefix, delimiter, from, max: page };
        let found = listing::objects(&snapshot, &request).await?;
        for listed in found.listed {
            if let ListItem::Line(line) = listed {
                all.push((line.key, line.size));
            }
        }
        match found.next {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}

pub fn config(partition: &Partition, bucket: BucketId) -> ingest::ids::ConfigVersion {
    partition.buckets().get(bucket).map_or_else(Default::default, |bucket| bucket.config)
}

pub async fn submit(partition: &Partition, body: RecordBody) -> Result<RecordOutcome, SubmitError> {
    partition.submit("owner", "request", body).await
}

/// Puts an object; none when its payload could not be given, so that nothing was put.
pub async fn put(
    partition: Arc<Partition>,
    bucket: BucketId,
    key: ObjectKey,
    content: Bytes,
    condition: record::WriteCondition,
) -> Option<Result<RecordOutcome, SubmitError>> {
    let attributes = attributes(&content);
    let WrittenPayload { payload, digest, guard } = give(&partition, &content).await.ok()?;
    let config = config(&partition, bucket);
    let put = PutObject { bucket, config, key, condition, attributes, digest, payload };
    let outcome = submit(&partition, RecordBody::PutObject(put)).await;
    if let Some(guard) = guard {
        guard.settle(&outcome);
    }
    Some(outcome)
}

/// Begins an upload and gives it its parts, the first as long as told; what is left to do completes it.
pub async fn begin_upload(
    partition: Arc<Partition>,
    bucket: BucketId,
    key: ObjectKey,
    upload: UploadId,
    content: Bytes,
    first: usize,
) -> Option<CompleteUpload> {
    let owner = Attributes { owner: "owner".into(), ..Attributes::default() };
    let config = config(&partition, bucket);
    let create = CreateUpload {
        bucket,
        config,
        key: key.clone(),
        upload,
        attributes: owner,
        checksum_algorithm: 0,
        checksum_is_composite: false,
    };
    submit(&partition, RecordBody::CreateUpload(create)).await.ok()?;
    let mut parts = Vec::new();
    for (index, bytes) in [content.slice(..first), content.slice(first..)].into_iter().enumerate() {
        let number = PartNumber::new(index as u16 + 1);
        let md5 = attributes(&bytes).etag.md5;
        let size = bytes.len() as u64;
        let WrittenPayload { payload, digest, guard } = give(&partition, &bytes).await.ok()?;
        let RecordPayload::Stream(stream) = payload else { return None };
        let part = UploadPart { size, md5, digest, checksum: None, extents: Arc::new([]) };
        let key = key.clone();
        let put = PutPart { bucket, config, key, upload, number, part, stream: Some(stream) };
        let outcome = submit(&partition, RecordBody::PutPart(put)).await;
        if let Some(guard) = guard {
            guard.settle(&outcome);
        }
        match outcome {
            Ok(RecordOutcome::PartStored(_)) => parts.push((number, md5)),
            _ => return None,
        }
    }
    let condition = record::WriteCondition::Always;
    Some(CompleteUpload { bucket, config, key, upload, parts, condition, checksum: None })
}
