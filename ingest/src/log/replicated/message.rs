//! Messages as brokers keep them, version 1. `docs/formats/message.md` specifies the bytes.
//!
//! The first message of every partition names the store and the partition; all others are records. A
//! record's checksum also covers the store's id and the partition's number, so that a message of
//! another log, or one in the wrong partition, is never taken for a record of this one.

use bytes::Bytes;

use crate::codec::{DecodeError, Decoder, EncodeError, Encoder};
use crate::ids::{Offset, PartitionId, StoreId};
use crate::log::Corruption;
use crate::record::Record;

const MAGIC: &[u8; 4] = b"SKM1";
const HEADER: usize = 12;
const CLUSTER_BYTES_MAX: usize = 64;

mod kind {
    pub const IDENTITY: u8 = 1;
    pub const RECORD: u8 = 2;
}

/// The identity of a partition: the content of its first message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogIdentity {
    /// The store that the log belongs to.
    pub store: StoreId,
    /// The partition's number.
    pub partition: PartitionId,
    /// The number of partitions of the store. Fixed, since a bucket's partition follows from it.
    pub partitions: u32,
    /// The cluster's name, for people only. At most 64 bytes.
    pub cluster: String,
}

/// The decoded content of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are records, and a box for each costs more"
)]
pub enum MessageContent {
    /// The identity of the partition. Only the first one counts; readers skip all others.
    Identity(LogIdentity),
    /// A record.
    Record(Record),
}

/// A message's bytes: magic number, kind, checksum and body.
fn seal(kind: u8, store: StoreId, partition: PartitionId, body: &[u8]) -> Bytes {
    let mut out = Encoder::with_capacity(HEADER + body.len());
    out.raw(MAGIC).u8(kind).raw(&[0; 3]).u32(checksum(kind, store, partition, body)).raw(body);
    out.finish()
}

/// Checksum of kind, store, partition and body, in this order.
fn checksum(kind: u8, store: StoreId, partition: PartitionId, body: &[u8]) -> u32 {
    let mut context = [0; 21];
    context[0] = kind;
    context[1..17].copy_from_slice(&store.0);
    context[17..].copy_from_slice(&partition.get().to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&context), body)
}

/// Encodes the first message of a partition. Fails when the cluster's name is longer than 64 bytes, as
/// decoding would.
pub fn encode_identity(identity: &LogIdentity) -> Result<Bytes, EncodeError> {
    let mut body = Encoder::new();
    body.raw(&identity.store.0).u32(identity.partition.get()).u32(identity.partitions);
    body.bounded(identity.cluster.as_bytes(), CLUSTER_BYTES_MAX, "cluster name");
    body.refused()?;
    // Sealed without a store, since its reader does not know the store yet.
    Ok(seal(kind::IDENTITY, StoreId::default(), identity.partition, body.as_slice()))
}

/// Encodes a record's message for one partition of one store. The caller must compare the length with
/// [`super::MESSAGE_BYTES_MAX`] before it sends the message.
pub fn encode_record(store: StoreId, partition: PartitionId, record: &Record) -> Bytes {
    seal(kind::RECORD, store, partition, &record.encode())
}

/// Decodes and verifies a message; the record's inline payload shares the memory of `value`. Fails,
/// with the reason as text, on a wrong checksum, another store or partition, an unknown kind, and
/// content that does not decode.
pub fn decode(
    store: StoreId,
    partition: PartitionId,
    value: &Bytes,
) -> Result<MessageContent, String> {
    let read = || -> Result<(u8, u32, Bytes), DecodeError> {
        let mut from = Decoder::new(value.clone());
        let error = from.error("magic number of a message");
        if from.array("magic number of a message")? != *MAGIC {
            return Err(error);
        }
        let kind = from.u8("kind of a message")?;
        let error = from.error("zeros of a message");
        if from.array("zeros of a message")? != [0; 3] {
            return Err(error);
        }
        let stored = from.u32("checksum of a message")?;
        Ok((kind, stored, from.raw(from.remaining(), "body of a message")?))
    };
    let (kind, stored, body) = read().map_err(|error| error.to_string())?;
    let store = if kind == kind::IDENTITY { StoreId::default() } else { store };
    let computed = checksum(kind, store, partition, &body);
    if stored != computed {
        return Err(format!(
            "the checksum is {stored:08x}, computed for this store {computed:08x}"
        ));
    }
    match kind {
        kind::IDENTITY => {
            decode_identity(body).map(MessageContent::Identity).map_err(|error| error.to_string())
        }
        kind::RECORD => {
            Record::decode(body).map(MessageContent::Record).map_err(|error| error.to_string())
        }
        other => Err(format!("a message of kind {other}, made by a newer version perhaps")),
    }
}

/// The record's own encoding inside a message's bytes, without a copy. Only for messages that
/// [`decode`] has accepted as records.
pub fn record_bytes(value: &Bytes) -> Bytes {
    value.slice(HEADER.min(value.len())..)
}

/// The checksum in a message's bytes, unverified; none when the message is too short. Tells a message
/// apart from another one at the same offset.
pub fn stored_checksum(value: &Bytes) -> Option<[u8; 4]> {
    value.get(HEADER - 4..HEADER)?.try_into().ok()
}

/// Decodes the body of an identity, which must have no bytes beyond it.
fn decode_identity(body: Bytes) -> Result<LogIdentity, DecodeError> {
    let mut from = Decoder::new(body);
    let identity = LogIdentity {
        store: StoreId(from.array("store id")?),
        partition: PartitionId::new(from.u32("partition")?),
        partitions: from.u32("number of partitions")?,
        cluster: from.text(CLUSTER_BYTES_MAX, "cluster name")?,
    };
    from.end("end of identity")?;
    Ok(identity)
}

/// The corruption of a message that cannot be decoded, named by partition and offset in place of a
/// file. The caller must have read the message twice before it reports this error.
pub fn corruption(partition: PartitionId, offset: Offset, detail: String) -> Corruption {
    Corruption { file: format!("log partition {partition}, offset {offset}"), position: 0, detail }
}

#[cfg(test)]
mod tests;
