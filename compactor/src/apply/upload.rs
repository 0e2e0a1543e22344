//! The outcome of records about multipart uploads.

use ingest::entry::{Attributes, ETag, Extent, PartSummary, PayloadLocation};
use ingest::ids::{PartNumber, UploadId};
use ingest::record::{AbortUpload, CompleteUpload, CreateUpload, PutPart, UploadPart};
use md5::{Digest, Md5};

use super::condition::{configured, holds};
use super::effects::{LogPosition, RecordEffects};
use super::object::write_version;
use super::prior::PriorState;
use super::rules::StoreRules;
use crate::memtable::StateChange;
use crate::outcome::{RecordOutcome, Rejection};
use crate::state::{
    Buckets, COMPLETED_UPLOAD_RECORDS, OpenUpload, StateKey, UploadState, encode_part,
};

/// Opens an upload.
pub fn create_upload(buckets: &Buckets, at: LogPosition, create: &CreateUpload) -> RecordEffects {
    if let Err(rejection) = configured(buckets, create.bucket, create.config) {
        return RecordEffects::rejected(rejection);
    }
    let key = StateKey::upload(create.bucket, create.key.as_bytes(), create.upload);
    let open = UploadState::Open(OpenUpload {
        created: at.time,
        attributes: create.attributes.clone(),
        checksum_algorithm: create.checksum_algorithm,
        checksum_is_composite: create.checksum_is_composite,
    });
    RecordEffects {
        state: vec![(key, Some(open.encode()))],
        ..RecordEffects::only(RecordOutcome::Done)
    }
}

/// Removes an upload and its parts.
pub fn abort_upload(buckets: &Buckets, prior: PriorState, abort: &AbortUpload) -> RecordEffects {
    if let Err(rejection) = configured(buckets, abort.bucket, abort.config) {
        return RecordEffects::rejected(rejection);
    }
    if !matches!(prior.upload, Some(UploadState::Open(_))) {
        return RecordEffects::rejected(Rejection::NoSuchUpload);
    }
    let mut state = remove_parts(abort.upload, &prior.parts);
    state.push((StateKey::upload(abort.bucket, abort.key.as_bytes(), abort.upload), None));
    RecordEffects { state, ..RecordEffects::only(RecordOutcome::Done) }
}

/// Stores a part; a part of the same number is replaced.
pub fn put_part(
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    put: &PutPart,
) -> RecordEffects {
    if let Err(rejection) = configured(buckets, put.bucket, put.config) {
        return RecordEffects::rejected(rejection);
    }
    if !matches!(prior.upload, Some(UploadState::Open(_))) {
        return RecordEffects::rejected(Rejection::NoSuchUpload);
    }
    let key = StateKey::part(put.upload, put.number);
    let value = encode_part(&put.part, at.time);
    let outcome = RecordOutcome::PartStored(at.time);
    RecordEffects { state: vec![(key, Some(value))], ..RecordEffects::only(outcome) }
}

fn remove_parts(upload: UploadId, parts: &[(PartNumber, UploadPart)]) -> Vec<StateChange> {
    parts.iter().map(|(number, _)| (StateKey::part(upload, *number), None)).collect()
}

/// Picks the parts that a completion names, in its order.
fn choose_parts<'a>(
    rules: &StoreRules,
    named: &[(PartNumber, [u8; 16])],
    parts: &'a [(PartNumber, UploadPart)],
) -> Result<Vec<(PartNumber, &'a UploadPart)>, Rejection> {
    if named.is_empty() {
        return Err(Rejection::InvalidPart);
    }
    if !named.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(Rejection::InvalidPartOrder);
    }
    let mut chosen = Vec::with_capacity(named.len());
    for (number, md5) in named {
        let found = parts.binary_search_by_key(number, |(number, _)| *number);
        let part = found.map(|index| &parts[index].1).map_err(|_| Rejection::InvalidPart)?;
        if part.md5 != *md5 {
            return Err(Rejection::InvalidPart);
        }
        chosen.push((*number, part));
    }
    let but_last = &chosen[..chosen.len() - 1];
    if but_last.iter().any(|(_, part)| part.size < rules.part_bytes_min) {
        return Err(Rejection::EntityTooSmall);
    }
    Ok(chosen)
}

/// Makes an object of an upload's parts.
pub fn complete_upload(
    rules: &StoreRules,
    buckets: &Buckets,
    at: LogPosition,
    prior: PriorState,
    complete: &CompleteUpload,
) -> RecordEffects {
    let bucket = match configured(buckets, complete.bucket, complete.config) {
        Ok(bucket) => bucket,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    let open = match prior.upload {
        Some(UploadState::Open(open)) => open,
        // Completing twice with the same parts gets the first answer again.
        Some(UploadState::Completed { written, parts, at: completed })
            if parts == complete.parts
                && at.offset.get() - completed.get() <= COMPLETED_UPLOAD_RECORDS =>
        {
            return RecordEffects::only(RecordOutcome::Written(written));
        }
        _ => return RecordEffects::rejected(Rejection::NoSuchUpload),
    };
    let chosen = match choose_parts(rules, &complete.parts, &prior.parts) {
        Ok(chosen) => chosen,
        Err(rejection) => return RecordEffects::rejected(rejection),
    };
    if let Err(rejection) = holds(&complete.condition, prior.current.as_ref()) {
        return RecordEffects::rejected(rejection);
    }
    let (attributes, digest, payload) = join_parts(&chosen, open.attributes, complete);
    let (entry, written) = write_version(bucket, &complete.key, at, attributes, digest, payload);
    let completed =
        UploadState::Completed { written, parts: complete.parts.clone(), at: at.offset };
    let mut state = remove_parts(complete.upload, &prior.parts);
    let (bucket, key, upload) = (complete.bucket, complete.key.as_bytes(), complete.upload);
    state.push((StateKey::upload(bucket, key, upload), None));
    state.push((StateKey::completed_upload(bucket, key, upload), Some(completed.encode())));
    RecordEffects {
        entries: vec![entry],
        state,
        ..RecordEffects::only(RecordOutcome::Written(written))
    }
}

/// The attributes, the payload's digest and the payload's place of an object made of parts.
fn join_parts(
    chosen: &[(PartNumber, &UploadPart)],
    known: Attributes,
    complete: &CompleteUpload,
) -> (Attributes, u64, PayloadLocation) {
    let mut md5 = Md5::new();
    let mut digest = 0;
    let mut size = 0;
    let mut extents: Vec<Extent> = Vec::new();
    for (_, part) in chosen {
        md5.update(part.md5);
        digest = combine(digest, part.digest, part.size);
        size += part.size;
        extents.extend_from_slice(&part.extents);
    }
    let summary = |(number, part): &(PartNumber, &UploadPart)| PartSummary {
        number: *number,
        size: part.size,
        checksum: Some(part.visible_checksum()),
    };
    let attributes = Attributes {
        size,
        etag: ETag { md5: md5.finalize().into(), parts: chosen.len() as u16 },
        checksums: complete.checksum.iter().cloned().collect(),
        parts: chosen.iter().map(summary).collect(),
        ..known
    };
    let payload = match extents.is_empty() {
        true => PayloadLocation::Empty,
        false => PayloadLocation::Bulk(extents.into()),
    };
    (attributes, digest, payload)
}

/// The CRC-64/NVME of two stretches from those of each.
fn combine(first: u64, second: u64, second_len: u64) -> u64 {
    crc_fast::checksum_combine(crc_fast::CrcAlgorithm::Crc64Nvme, first, second, second_len)
}
