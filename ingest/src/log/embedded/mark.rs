//! The mark: a two-slot file that repeats, now and then, up to where the log was durable.
//!
//! Every batch carries the mark already; this copy tells when the newest log file is missing altogether.
//! Slots are written in turn, so that a torn write leaves the other one.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use super::batch::BLOCK;
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, Open};
use crate::words::{Offset, PartitionId, StoreId};

const MAGIC: &[u8; 8] = b"SILTMRK1";
const SLOT_BYTES: usize = 48;

fn path(folder: &FilePath) -> FilePath {
    folder.join("mark")
}

fn encode(store: StoreId, partition: PartitionId, turn: u64, durable: Offset) -> BytesMut {
    let mut out = BytesMut::with_capacity(SLOT_BYTES);
    out.put_slice(MAGIC);
    out.put_slice(&store.0);
    out.put_u32_le(partition.get());
    out.put_u64_le(turn);
    out.put_u64_le(durable.get());
    let crc = crc32c::crc32c(&out);
    out.put_u32_le(crc);
    out
}

fn decode(bytes: &[u8], store: StoreId, partition: PartitionId) -> Option<(u64, Offset)> {
    let mut from = bytes.get(28..SLOT_BYTES)?;
    let (turn, durable) = (from.get_u64_le(), Offset::new(from.get_u64_le()));
    (encode(store, partition, turn, durable) == bytes[..SLOT_BYTES]).then_some((turn, durable))
}

/// Reads the mark; zero when there is none, or none that can be read: then the batches' own marks count.
pub async fn read(
    env: &Env,
    folder: &FilePath,
    store: StoreId,
    partition: PartitionId,
) -> Result<Offset, DiskError> {
    let file = match env.disk.open(&path(folder), Open::Read).await {
        Ok(file) => file,
        Err(error) if error.kind == DiskErrorKind::NotFound => return Ok(Offset::ZERO),
        Err(error) => return Err(error),
    };
    let found = slots(file.as_ref(), store, partition).await;
    Ok(found.into_iter().map(|(_, durable)| durable).max().unwrap_or_default())
}

/// The slots that can be read: turn and mark.
async fn slots(file: &dyn File, store: StoreId, partition: PartitionId) -> Vec<(u64, Offset)> {
    let mut found = Vec::new();
    for slot in [0, BLOCK] {
        if let Ok(bytes) = file.read_at(slot, SLOT_BYTES).await {
            found.extend(decode(&bytes, store, partition));
        }
    }
    found
}

/// Writes marks.
pub struct Marker {
    file: Arc<dyn File>,
    store: StoreId,
    partition: PartitionId,
    turn: u64,
}

impl Marker {
    /// Opens the mark file, making it if there is none.
    pub async fn open(
        env: &Env,
        folder: &FilePath,
        store: StoreId,
        partition: PartitionId,
    ) -> Result<Self, DiskError> {
        let disk = &env.disk_dedicated;
        let path = path(folder);
        let file = match disk.open(&path, Open::Write).await {
            Ok(file) => file,
            Err(error) if error.kind == DiskErrorKind::NotFound => {
                let file = disk.open(&path, Open::Create).await?;
                file.allocate(0..2 * BLOCK).await?;
                file.sync().await?;
                disk.sync_folder(Some(folder)).await?;
                file
            }
            Err(error) => return Err(error),
        };
        let found = slots(file.as_ref(), store, partition).await;
        // The next write must not be where the newest mark stands: torn, it would take that one along.
        let turn = found.into_iter().map(|(turn, _)| turn).max().unwrap_or(0);
        Ok(Self { file, store, partition, turn })
    }

    /// Makes the mark durable.
    pub async fn write(&mut self, durable: Offset) -> Result<(), DiskError> {
        self.turn = self.turn.wrapping_add(1);
        let bytes = encode(self.store, self.partition, self.turn, durable);
        self.file.write_synced((self.turn % 2) * BLOCK, bytes.freeze()).await
    }
}

#[cfg(test)]
mod tests;
