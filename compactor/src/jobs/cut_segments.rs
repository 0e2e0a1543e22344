//! The segments of one cut: one for all headers and for hot payload, and one for cold payload if there is any.
//!
//! The second one holds nothing but cold payload, each with a copy of its header, and lies in the cold place. If the cold
//! place cannot be written, the same segment is written in the hot place: a cut must neither lose payload nor wait for
//! a device that may never return. The catalog tells the place of each segment.

use std::sync::Arc;

use bytes::Bytes;
use ingest::entry::{EntryKey, EntryValue, PayloadLocation, SegmentLocation};
use ingest::ids::SegmentId;
use ingest::place::Place;

use super::error::JobError;
use crate::catalog::SegmentMeta;
use crate::catalog::file_ids::TakenIds;
use crate::partition::context::PartitionContext;
use crate::sealed::remove_if_there;
use crate::segment::SegmentWriter;

/// Writes the segments of one cut.
pub(crate) struct CutSegments {
    context: Arc<PartitionContext>,
    headers: SegmentWriter,
    /// Created with the first cold payload.
    cold: Option<SegmentWriter>,
    cold_id: SegmentId,
    /// The place for the segment of cold payload.
    cold_home: Place,
}

impl CutSegments {
    /// Creates the file for headers and hot payload; the file for cold payload follows in the place `cold_home` when it
    /// is needed. Files that an earlier try has left under the same ids are removed. Fails if the disk fails.
    pub async fn create(
        context: &Arc<PartitionContext>,
        ids: &TakenIds,
        cold_home: Place,
    ) -> Result<Self, JobError> {
        let headers = create(context, Place::Hot, ids.segment, Place::Hot).await?;
        let (context, cold_id) = (context.clone(), ids.cold_segment);
        Ok(Self { context, headers, cold: None, cold_id, cold_home })
    }

    /// Adds an entry, with its payload if that is inline. Returns the location of the header, and the statement with the
    /// location of a payload that does not lie beside its header. Fails as [`SegmentWriter::add`].
    pub async fn add(
        &mut self,
        key: &EntryKey,
        mut statement: EntryValue,
        payload: Option<Bytes>,
    ) -> Result<(SegmentLocation, EntryValue), JobError> {
        let place = match &statement {
            EntryValue::Object(object) => object.attributes.storage_class().place(),
            _ => Place::Hot,
        };
        let beside = match payload {
            Some(payload) if place == Place::Cold => {
                let at = self.cold().await?.add(key, &statement, Some(payload)).await?;
                if let EntryValue::Object(object) = &mut statement {
                    object.payload = PayloadLocation::Segment(at);
                }
                None
            }
            payload => payload,
        };
        let header = self.headers.add(key, &statement, beside).await?;
        Ok((header, statement))
    }

    /// Returns the writer of cold payload, which is made by the first call.
    async fn cold(&mut self) -> Result<&mut SegmentWriter, JobError> {
        let cold = match self.cold.take() {
            Some(cold) => cold,
            None => create(&self.context, self.cold_home, self.cold_id, Place::Cold).await?,
        };
        Ok(self.cold.insert(cold))
    }

    /// Ends the files and makes them and their names durable; returns their entries for the catalog, none for a segment
    /// without entries. After an error none of the files may be used.
    pub async fn finish(self) -> Result<Vec<SegmentMeta>, JobError> {
        let mut finished = Vec::new();
        let cold = self.cold.map(|cold| (cold, self.cold_home));
        for (writer, place) in std::iter::once((self.headers, Place::Hot)).chain(cold) {
            let (id, objects) = (writer.id(), writer.objects());
            let file = writer.finish().await?;
            let folder = self.context.layout.segments_folder(place);
            self.context.env.disk_dedicated.sync_folder(Some(&folder)).await?;
            if objects > 0 {
                finished.push(SegmentMeta { id, place, file, references: 0, objects });
            }
        }
        Ok(finished)
    }
}

/// Creates a segment in a place, for payload of `payload`.
async fn create(
    context: &PartitionContext,
    place: Place,
    id: SegmentId,
    payload: Place,
) -> Result<SegmentWriter, JobError> {
    let (disk, path) = (&context.env.disk_dedicated, context.layout.segment(place, id));
    remove_if_there(disk, &path).await?;
    Ok(SegmentWriter::create(disk, &path, context.store, id, payload).await?)
}
