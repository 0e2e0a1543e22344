//! The mark: repeats, now and then, up to where the log was durable.
//!
//! Every batch carries the mark already; these copies tell when the newest log file is missing altogether.
//! There are two files of two slots each, one in the log's folder and one beside that folder, so that the
//! loss of either leaves the other. Where a log file begins both are marked. Between these marks the one
//! beside is: what is in the folder is said by the batches there. The slots of a file take turns, so that a
//! torn write leaves the other one.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use super::EmbeddedLogOptions;
use super::batch::BLOCK;
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, OpenMode};
use crate::ids::{Offset, PartitionId, StoreId};
use crate::log::second_look::confirm_absent;

const MAGIC: &[u8; 8] = b"SILTMRK1";
const SLOT_BYTES: usize = 48;

/// The two mark files of a partition.
pub fn paths(options: &EmbeddedLogOptions, partition: PartitionId) -> [FilePath; 2] {
    let folder = options.folder.as_str().replace('/', "-");
    let beside = FilePath::new(format!("{folder}-{:04}.mark", partition.get()));
    [options.partition_folder(partition).join("mark"), beside]
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

/// The marks' content.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    /// Everything below was durable.
    pub durable: Offset,
    /// True when there is a mark at all.
    pub is_readable: bool,
}

/// Reads the marks. Where none can be read, the batches' own marks count.
pub async fn read(
    env: &Env,
    options: &EmbeddedLogOptions,
    partition: PartitionId,
) -> Result<Marks, DiskError> {
    let mut marks = Marks::default();
    for path in paths(options, partition) {
        let file = match env.disk.open(&path, OpenMode::Read).await {
            Ok(file) => file,
            Err(error) if error.kind == DiskErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for (_, durable) in slots(file.as_ref(), options.store, partition).await {
            marks.durable = marks.durable.max(durable);
            marks.is_readable = true;
        }
    }
    Ok(marks)
}

/// The slots that can be read: turn and mark.
async fn slots(file: &dyn File, store: StoreId, partition: PartitionId) -> Vec<(u64, Offset)> {
    let mut found = Vec::new();
    for slot in [0, BLOCK] {
        // One that is not valid may never have been written, or torn; and it may have been read badly once.
        let read = || async {
            let bytes = file.read_at(slot, SLOT_BYTES).await.unwrap_or_default();
            Ok(decode(&bytes, store, partition))
        };
        found.extend(confirm_absent(file, slot, read).await.ok().flatten());
    }
    found
}

/// Writes marks.
pub struct Marker {
    /// In the log's folder, and beside it; each with the turn of its newest mark.
    files: [(Arc<dyn File>, u64); 2],
    store: StoreId,
    partition: PartitionId,
    /// True when a file has no mark yet: then the next mark goes to both.
    owes_both: bool,
}

impl Marker {
    /// Opens the mark files, making those that are not there.
    pub async fn open(
        env: &Env,
        options: &EmbeddedLogOptions,
        partition: PartitionId,
    ) -> Result<Self, DiskError> {
        let [inside, beside] = paths(options, partition);
        let mut owes_both = false;
        let mut newest = Vec::with_capacity(2);
        for path in [inside, beside] {
            let file = open(env, &path).await?;
            let found = slots(file.as_ref(), options.store, partition).await;
            owes_both |= found.is_empty();
            // The next write must not be where the newest mark stands: torn, it would take that one along.
            let turn = found.into_iter().map(|(turn, _)| turn).max().unwrap_or(0);
            newest.push((file, turn));
        }
        let files = newest.try_into().unwrap_or_else(|_| unreachable!("there are two paths"));
        Ok(Self { files, store: options.store, partition, owes_both })
    }

    /// Makes the mark durable beside the log's folder.
    pub async fn write(&mut self, durable: Offset) -> Result<(), DiskError> {
        if self.owes_both {
            return self.write_both(durable).await;
        }
        self.write_to(1, durable).await
    }

    /// Makes the mark durable in both files.
    pub async fn write_both(&mut self, durable: Offset) -> Result<(), DiskError> {
        self.owes_both = false;
        self.write_to(0, durable).await?;
        self.write_to(1, durable).await
    }

    async fn write_to(&mut self, index: usize, durable: Offset) -> Result<(), DiskError> {
        let (file, turn) = &mut self.files[index];
        *turn = turn.wrapping_add(1);
        let bytes = encode(self.store, self.partition, *turn, durable);
        file.write_synced((*turn % 2) * BLOCK, bytes.freeze()).await
    }
}

async fn open(env: &Env, path: &FilePath) -> Result<Arc<dyn File>, DiskError> {
    let disk = &env.disk_dedicated;
    match disk.open(path, OpenMode::Write).await {
        Err(error) if error.kind == DiskErrorKind::NotFound => {
            let file = disk.open(path, OpenMode::Create).await?;
            file.allocate(0..2 * BLOCK).await?;
            file.sync().await?;
            disk.sync_folder(path.folder().as_ref()).await?;
            Ok(file)
        }
        opened => opened,
    }
}

#[cfg(test)]
mod tests;
