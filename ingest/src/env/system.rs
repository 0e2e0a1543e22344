//! The real disk and real randomness.
//!
//! A disk comes in two kinds over one folder. The *dedicated* kind blocks its caller and is ready at
//! the first poll: for tasks with a thread of their own, where a switch to another thread would cost as
//! much as the sync. The *pooled* kind passes operations that may block to a few I/O threads. A read
//! tries the page cache first (`preadv2` with `RWF_NOWAIT`), so that most reads need no switch at all.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the outside that the core is kept from"
)]

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::channel::oneshot;
use parking_lot::Mutex;

use super::{Disk, DiskError, File, FilePath, Fut, OpenMode, Random};
use crate::place::Place;

mod errno;

type Job = Box<dyn FnOnce() + Send>;

/// I/O threads for operations that may block; they end when the last handle is dropped.
#[derive(Clone)]
struct ThreadPool {
    jobs: std::sync::mpsc::SyncSender<Job>,
}

/// The most jobs that wait for an I/O thread. A caller beyond that blocks until one begins.
const JOBS_MAX: usize = 1024;

impl ThreadPool {
    /// Starts the threads. Fails when the system provides none; those started before end by themselves.
    fn start(threads: usize) -> io::Result<Self> {
        let (jobs, receiver) = std::sync::mpsc::sync_channel::<Job>(JOBS_MAX);
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads {
            let receiver = receiver.clone();
            std::thread::Builder::new().name(format!("disk-{index}")).spawn(move || {
                loop {
                    // Held while waiting: one idle thread waits for a job, the others for the lock.
                    let job = receiver.lock().recv();
                    match job {
                        Ok(job) => job(),
                        Err(_) => return,
                    }
                }
            })?;
        }
        Ok(Self { jobs })
    }
}

/// Runs operations: at once, or on the pool.
#[derive(Clone)]
struct DiskExecutor {
    pool: Option<ThreadPool>,
}

impl DiskExecutor {
    /// Submits an operation now; the future only returns its result. Without a pool the operation runs
    /// before this returns.
    fn run<T: Send + 'static>(
        &self,
        path: &FilePath,
        operation: &'static str,
        act: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Fut<'static, Result<T, DiskError>> {
        let path = path.clone();
        let done =
            move |result: io::Result<T>| result.map_err(|e| disk_error(&path, operation, &e));
        let Some(pool) = &self.pool else {
            return Box::pin(std::future::ready(done(act())));
        };
        let (sender, receiver) = oneshot::channel();
        let job: Job = Box::new(move || {
            // The caller may have dropped its future; the operation is performed all the same.
            let _ = sender.send(act());
        });
        let sent = pool.jobs.send(job);
        Box::pin(async move {
            let stopped = || io::Error::other("the disk's threads have stopped");
            match sent {
                Ok(()) => done(receiver.await.unwrap_or_else(|_| Err(stopped()))),
                Err(_) => done(Err(stopped())),
            }
        })
    }
}

/// The error of an operation, classified for callers.
fn disk_error(path: &FilePath, operation: &'static str, error: &io::Error) -> DiskError {
    let kind = errno::kind_of(error);
    DiskError { kind, operation, path: path.clone(), detail: error.to_string() }
}

/// A data directory on a real file system. Clones use the same threads.
#[derive(Clone)]
pub struct OsDisk {
    root: Arc<Path>,
    hands: DiskExecutor,
}

impl OsDisk {
    /// The kind whose operations block the caller and run before they return. Only for tasks with a
    /// thread of their own, see [`super::Runtime::spawn_dedicated`].
    pub fn dedicated(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into().into(), hands: DiskExecutor { pool: None } }
    }

    /// The kind whose operations run on I/O threads while the caller waits asynchronously. Operations
    /// begin in the order of their submission, `threads` at a time. Fails when the threads cannot be
    /// started.
    pub fn pooled(root: impl Into<PathBuf>, threads: usize) -> io::Result<Self> {
        let pool = Some(ThreadPool::start(threads)?);
        Ok(Self { root: root.into().into(), hands: DiskExecutor { pool } })
    }

    /// The path on the real file system.
    fn place(&self, path: &FilePath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// The check of the place of a path.
    fn vanishing(&self, path: &FilePath) -> VanishedPlace {
        let is_cold = path.place() == Place::Cold;
        VanishedPlace { folder: is_cold.then(|| self.root.join(Place::FOLDER)) }
    }
}

/// Files of a place's identity, of which at least one is in the folder of the place as long as it is there.
pub const IDENTITY_FILES: [&str; 2] = ["identity.a", "identity.b"];

/// Tells a missing file from a missing device: a cold folder without any file of its identity is not the store's
/// folder, for example because its device is not mounted. Nothing is known of the files then.
struct VanishedPlace {
    /// The folder of the cold place; none for the hot place, which cannot vanish without its process.
    folder: Option<PathBuf>,
}

impl VanishedPlace {
    /// True only for the folder of a cold place without identity files. A look costs two system calls.
    fn is_gone(&self) -> bool {
        let folder = self.folder.as_ref();
        folder.is_some_and(|folder| IDENTITY_FILES.iter().all(|name| !folder.join(name).exists()))
    }

    /// The error of an operation in the place.
    fn error(&self) -> io::Error {
        io::Error::new(io::ErrorKind::PermissionDenied, "the cold folder is not there")
    }

    /// Replaces "no such file" by the error of the place, if that has vanished.
    fn explain<T>(&self, result: io::Result<T>) -> io::Result<T> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_gone() => {
                Err(self.error())
            }
            result => result,
        }
    }
}

impl Disk for OsDisk {
    fn open<'a>(
        &'a self,
        path: &'a FilePath,
        how: OpenMode,
    ) -> Fut<'a, Result<Arc<dyn File>, DiskError>> {
        let (place, vanished) = (self.place(path), self.vanishing(path));
        let opened = self.hands.run(path, "open", move || {
            let mut options = fs::OpenOptions::new();
            options
                .read(true)
                .write(how != OpenMode::Read)
                .create_new(how == OpenMode::Create)
                .mode(0o600);
            vanished.explain(options.open(place))
        });
        let hands = self.hands.clone();
        Box::pin(async move {
            let file = Arc::new(opened.await?);
            Ok(Arc::new(OsFile { path: path.clone(), file, hands }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(
        &'a self,
        from: &'a FilePath,
        to: &'a FilePath,
    ) -> Fut<'a, Result<(), DiskError>> {
        let (old, new) = (self.place(from), self.place(to));
        self.hands.run(from, "rename", move || fs::rename(old, new))
    }

    fn remove<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        let (place, vanished) = (self.place(path), self.vanishing(path));
        self.hands.run(path, "remove", move || vanished.explain(fs::remove_file(place)))
    }

    fn create_folder<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        let place = self.place(path);
        self.hands.run(path, "create folder", move || {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(place)
        })
    }

    fn list<'a>(
        &'a self,
        folder: &'a FilePath,
    ) -> Fut<'a, Result<Vec<(FilePath, u64)>, DiskError>> {
        let (place, vanished) = (self.place(folder), self.vanishing(folder));
        let below = folder.clone();
        self.hands.run(folder, "list", move || {
            let mut found = Vec::new();
            for entry in vanished.explain(fs::read_dir(place))? {
                let entry = entry?;
                let metadata = entry.metadata()?;
                // Skipped: names that this program never uses (`lost+found`, leftovers of an editor).
                let name = entry.file_name();
                let name = name.to_str().filter(|name| {
                    name.bytes()
                        .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
                });
                if let Some(name) = name.filter(|_| metadata.is_file()) {
                    found.push((below.join(name), metadata.len()));
                }
            }
            found.sort();
            Ok(found)
        })
    }

    fn sync_folder<'a>(&'a self, folder: Option<&'a FilePath>) -> Fut<'a, Result<(), DiskError>> {
        let root = FilePath::new("root");
        let place = folder.map_or_else(|| self.root.to_path_buf(), |folder| self.place(folder));
        self.hands
            .run(folder.unwrap_or(&root), "sync folder", move || fs::File::open(place)?.sync_all())
    }

    fn free_bytes(&self, place: Place) -> Fut<'_, Result<u64, DiskError>> {
        let (folder, found) = match place {
            Place::Hot => (FilePath::new("root"), self.root.to_path_buf()),
            Place::Cold => (FilePath::new(Place::FOLDER), self.root.join(Place::FOLDER)),
        };
        let vanished = self.vanishing(&folder);
        self.hands.run(&folder, "ask for free space", move || {
            // A folder whose device is not mounted would tell the space of another device.
            if vanished.is_gone() {
                return Err(vanished.error());
            }
            let found = rustix::fs::statvfs(&*found)?;
            Ok(found.f_bavail.saturating_mul(found.f_frsize))
        })
    }
}

/// An open file, with the executor of its disk.
struct OsFile {
    path: FilePath,
    file: Arc<fs::File>,
    hands: DiskExecutor,
}

/// Reads exactly `len` bytes. With `now` it reads only from memory, and returns none when the device
/// would be needed.
fn read_exact(file: &fs::File, position: u64, len: usize, now: bool) -> io::Result<Option<Bytes>> {
    let mut buffer = BytesMut::zeroed(len);
    if !now {
        file.read_exact_at(&mut buffer, position)?;
        return Ok(Some(buffer.freeze()));
    }
    let mut slices = [io::IoSliceMut::new(&mut buffer)];
    let flags = rustix::io::ReadWriteFlags::NOWAIT;
    match rustix::io::preadv2(file, &mut slices, position, flags) {
        Ok(read) if read == len => Ok(Some(buffer.freeze())),
        // Not in memory, only partly in memory, or not supported here: the blocking read decides.
        Ok(_) | Err(_) => Ok(None),
    }
}

/// Returns a range's blocks to the file system. Succeeds without effect where the file system cannot do
/// so.
fn punch(file: &fs::File, range: Range<u64>) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    if range.is_empty() {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, flags, range.start, range.end - range.start) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Reserved space in bytes below which a search for it is not worth its cost.
const UNWRITTEN_MIN: u64 = 128 << 10;

/// Returns blocks that are reserved and were never written. The file system reports them as holes,
/// although they take space.
///
/// A file system that reports a hole where data is would destroy acknowledged payload, so every byte of
/// a hole is read before its blocks are returned.
fn punch_unwritten(file: &fs::File) -> io::Result<()> {
    file.sync_data()?;
    let metadata = file.metadata()?;
    let end = metadata.len();
    let (mut holes, mut data, mut at) = (Vec::new(), 0, 0);
    while at < end {
        let hole = seek(file, rustix::fs::SeekFrom::Hole(at))?.unwrap_or(end).min(end);
        data += hole - at;
        at = seek(file, rustix::fs::SeekFrom::Data(hole))?.unwrap_or(end).clamp(hole, end);
        holes.push(hole..at);
    }
    if metadata.blocks() * 512 < data + UNWRITTEN_MIN {
        return Ok(());
    }
    for hole in holes {
        if !reads_as_zeros(file, &hole)? {
            return Err(io::Error::other("the file system calls a hole what is not one"));
        }
        punch(file, hole)?;
    }
    Ok(())
}

/// True when every byte of a range reads as zero.
fn reads_as_zeros(file: &fs::File, range: &Range<u64>) -> io::Result<bool> {
    let mut buffer = vec![0; 256 << 10];
    let mut at = range.start;
    while at < range.end {
        let wanted = (range.end - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..wanted], at)?;
        if buffer[..wanted].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += wanted as u64;
    }
    Ok(true)
}

/// Finds the beginning of the next hole or of the next data. None beyond the last, or where the file
/// system does not report it.
fn seek(file: &fs::File, what: rustix::fs::SeekFrom) -> io::Result<Option<u64>> {
    match rustix::fs::seek(file, what) {
        Ok(found) => Ok(Some(found)),
        Err(rustix::io::Errno::NXIO | rustix::io::Errno::INVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl File for OsFile {
    fn path(&self) -> &FilePath {
        &self.path
    }

    fn len(&self) -> Fut<'_, Result<u64, DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "ask for the length of", move || Ok(file.metadata()?.len()))
    }

    fn read_at(&self, position: u64, len: usize) -> Fut<'_, Result<Bytes, DiskError>> {
        // Tried on the caller's thread first: bytes in memory need no switch to an I/O thread.
        if self.hands.pool.is_some()
            && let Ok(Some(bytes)) = read_exact(&self.file, position, len, true)
        {
            return Box::pin(std::future::ready(Ok(bytes)));
        }
        let file = self.file.clone();
        let read = move || {
            let bytes = read_exact(&file, position, len, false)?;
            bytes.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
        };
        self.hands.run(&self.path, "read", read)
    }

    fn write_at(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "write", move || file.write_all_at(&bytes, position))
    }

    fn allocate(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "allocate", move || {
            let flags = rustix::fs::FallocateFlags::empty();
            let Range { start, end } = range;
            match rustix::fs::fallocate(&*file, flags, start, end.saturating_sub(start)) {
                Ok(()) => Ok(()),
                // A file system that cannot reserve grows the file; writes may then meet its end.
                Err(rustix::io::Errno::OPNOTSUPP) => {
                    if file.metadata()?.len() < end {
                        file.set_len(end)
                    } else {
                        Ok(())
                    }
                }
                Err(error) => Err(error.into()),
            }
        })
    }

    fn discard(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "discard", move || punch(&file, range))
    }

    fn discard_unwritten(&self) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "discard", move || punch_unwritten(&file))
    }

    fn sync(&self) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "sync", move || file.sync_data())
    }

    fn write_synced(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file.clone();
        self.hands.run(&self.path, "write and sync", move || {
            file.write_all_at(&bytes, position)?;
            file.sync_data()
        })
    }
}

/// Numbers expanded from a seed of the system's entropy. Not for secrets.
pub struct OsRandom {
    state: Mutex<u64>,
}

impl OsRandom {
    /// Starts from a seed that the caller drew from the system. The same seed gives the same numbers in
    /// the same order.
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }
}

impl Random for OsRandom {
    fn next(&self) -> u64 {
        let mut state = self.state.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        xxhash_rust::xxh3::xxh3_64(&state.to_le_bytes())
    }
}

#[cfg(test)]
mod tests;
