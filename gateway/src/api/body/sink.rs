//! The sink of payload: memory for small payload, the bucket's partition for large.

use bytes::{Bytes, BytesMut};
use compactor::partition::{PayloadWriter, WrittenPayload};
use ingest::place::Place;
use ingest::record::RecordPayload;
use s3::checksum::crc64_nvme;
use s3::error::S3Error;

use crate::api::context::S3Context;
use crate::api::errors::payload_error;
use crate::api::request::S3Request;

/// The target of payload.
#[derive(Clone, Copy, Debug)]
pub struct PayloadTarget {
    /// The place of its storage class.
    pub place: Place,
    /// Up to this number of bytes stay in memory, and go into the record.
    pub inline_max: u64,
}

/// The sink of a payload of announced length. Dropping it abandons the bytes.
pub enum PayloadSink {
    /// For payload that its record carries.
    Memory(BytesMut),
    /// For payload that is durable before its record is appended.
    Large(PayloadWriter),
}

impl PayloadSink {
    /// Opens a sink for `len` bytes of a target in the partition of the request's bucket. Fails with `SlowDown` when there is
    /// no room.
    pub async fn open(
        context: &S3Context,
        request: &S3Request,
        target: PayloadTarget,
        len: u64,
    ) -> Result<Self, S3Error> {
        Ok(if len <= target.inline_max {
            PayloadSink::Memory(BytesMut::with_capacity(len as usize))
        } else {
            PayloadSink::Large(context.begin_payload(request, target.place, len).await?)
        })
    }

    /// Opens a sink for more bytes than stay in memory, at most `len_max`; their number is known at the end, where
    /// [`Self::shorten`] must be called. Fails with `SlowDown` when there is no room.
    pub async fn open_unannounced(
        context: &S3Context,
        request: &S3Request,
        place: Place,
        len_max: u64,
    ) -> Result<Self, S3Error> {
        let writer = context.begin_unannounced_payload(request, place, len_max).await?;
        Ok(PayloadSink::Large(writer))
    }

    /// True when the bytes do not stay in memory.
    pub fn is_large(&self) -> bool {
        matches!(self, PayloadSink::Large(_))
    }

    /// Takes the next bytes. Waits while the device or the log is behind. After an error the sink must be dropped.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), S3Error> {
        match self {
            PayloadSink::Memory(memory) => memory.extend_from_slice(&bytes),
            PayloadSink::Large(writer) => writer.write(bytes).await.map_err(payload_error)?,
        }
        Ok(())
    }

    /// Makes the bytes so far the whole payload, where fewer came than the sink was opened for, and gives the rest of the
    /// space back. After an error the sink must be dropped.
    pub async fn shorten(&mut self) -> Result<(), S3Error> {
        match self {
            PayloadSink::Memory(_) => Ok(()),
            PayloadSink::Large(writer) => writer.shorten().await.map_err(payload_error),
        }
    }

    /// Ends the payload. On `Ok` large payload is durable. Fails with `IncompleteBody` when fewer bytes came than the sink
    /// was opened for.
    pub async fn finish(self) -> Result<WrittenPayload, S3Error> {
        match self {
            PayloadSink::Memory(memory) => {
                let digest = crc64_nvme(&memory);
                let payload = RecordPayload::Inline(memory.freeze());
                Ok(WrittenPayload { payload, digest, guard: None })
            }
            PayloadSink::Large(writer) => writer.finish().await.map_err(payload_error),
        }
    }
}
