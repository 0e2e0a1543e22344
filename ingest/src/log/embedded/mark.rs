//! The mark files, which repeat from time to time the offset up to which the log was durable.
//!
//! Every batch carries this mark already; the files are the evidence when the newest log file is
//! missing altogether. There are two files of two slots each, one in the log's folder and one beside
//! that folder, so that the loss of either leaves the other. Both are written when a log file is begun.
//! Between these writes only the one beside the folder is, since inside the folder the batches
//! themselves carry the mark. The slots of a file take turns, so that a torn write leaves the other
//! slot intact.

use std::sync::Arc;

use bytes::{Buf, BufMut, BytesMut};

use super::EmbeddedLogOptions;
use super::batch::BLOCK;
use crate::env::{DiskError, DiskErrorKind, Env, File, FilePath, OpenMode};
use crate::ids::{Offset, PartitionId, StoreId};
use crate::log::second_look::confirm_absent;

const MAGIC: &[u8; 8] = b"SILTMRK1";
const SLOT_BYTES: usize = 48;

/// The two mark files of a partition, in this order: in the log's folder, and beside that folder. A
/// partition never shares its mark files with another one.
pub fn paths(options: &EmbeddedLogOptions, partition: PartitionId) -> [FilePath; 2] {
    let folder = options.folder.as_str().replace('/', "-");
    let beside = FilePath::new(format!("{folder}-{:04}.mark", partition.get()));
    [options.partition_folder(partition).join("mark"), beside]
}

/// The bytes of one slot.
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

/// Turn and durable mark of a slot; none when it is not valid, or belongs to another store or
/// partition.
fn decode(bytes: &[u8], store: StoreId, partition: PartitionId) -> Option<(u64, Offset)> {
    let mut from = bytes.get(28..SLOT_BYTES)?;
    let (turn, durable) = (from.get_u64_le(), Offset::new(from.get_u64_le()));
    (encode(store, partition, turn, durable) == bytes[..SLOT_BYTES]).then_some((turn, durable))
}

/// The content of both mark files together.
#[derive(Clone, Copy, Default)]
pub struct Marks {
    /// The highest durable mark: all records below this offset were durable.
    pub durable: Offset,
    /// True when at least one slot could be read.
    pub is_readable: bool,
}

/// Reads both mark files and returns the highest mark. A missing file and an invalid slot, which a
/// second read must confirm, count as no mark, never as an error; the batches carry marks of their own.
/// Fails when a file exists and cannot be opened.
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

/// The valid slots of one file: turn and durable mark. A slot that the device cannot read counts as
/// invalid.
async fn slots(file: &dyn File, store: StoreId, partition: PartitionId) -> Vec<(u64, Offset)> {
    let mut found = Vec::new();
    for slot in [0, BLOCK] {
        // An invalid slot may be torn or never written, which is no damage; but one bad read must not
        // hide a valid one.
        let read = || async {
            let bytes = file.read_at(slot, SLOT_BYTES).await.unwrap_or_default();
            Ok(decode(&bytes, store, partition))
        };
        found.extend(confirm_absent(file, slot, read).await.ok().flatten());
    }
    found
}

/// Writes the mark files. Owned by the writer task, or by a repair, so that no two writers meet.
pub struct Marker {
    /// The file in the log's folder and the one beside it, each with the turn of its newest mark.
    files: [(Arc<dyn File>, u64); 2],
    store: StoreId,
    partition: PartitionId,
    /// True while a file has no mark yet. The next mark then goes to both.
    owes_both: bool,
}

impl Marker {
    /// Opens both mark files and finds their newest slots. A missing file is made, its length and name
    /// made durable before this returns. Fails when the disk does.
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
            // The next write must not go to the slot of the newest mark: a torn write would destroy it.
            let turn = found.into_iter().map(|(turn, _)| turn).max().unwrap_or(0);
            newest.push((file, turn));
        }
        let files = newest.try_into().unwrap_or_else(|_| unreachable!("there are two paths"));
        Ok(Self { files, store: options.store, partition, owes_both })
    }

    /// Writes the mark to the file beside the log's folder, and to both while one has no mark. Durable
    /// when this returns. After an error the older slot still holds the mark before.
    pub async fn write(&mut self, durable: Offset) -> Result<(), DiskError> {
        if self.owes_both {
            return self.write_both(durable).await;
        }
        self.write_to(1, durable).await
    }

    /// Writes the mark to both files if one of them has no mark yet. After success a start finds a mark, whatever
    /// happens next. After an error the next mark still goes to both.
    pub async fn settle(&mut self, durable: Offset) -> Result<(), DiskError> {
        if self.owes_both { self.write_both(durable).await } else { Ok(()) }
    }

    /// Writes the mark to both files, one after the other. Both are durable when this returns; after an
    /// error only the first may be.
    pub async fn write_both(&mut self, durable: Offset) -> Result<(), DiskError> {
        self.owes_both = false;
        self.write_to(0, durable).await?;
        self.write_to(1, durable).await
    }

    /// Writes the next slot of one file and syncs it.
    async fn write_to(&mut self, index: usize, durable: Offset) -> Result<(), DiskError> {
        let (file, turn) = &mut self.files[index];
        *turn = turn.wrapping_add(1);
        let bytes = encode(self.store, self.partition, *turn, durable);
        file.write_synced((*turn % 2) * BLOCK, bytes.freeze()).await
    }
}

/// Opens a mark file for writing, or makes it with both slots reserved and its name synced.
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
