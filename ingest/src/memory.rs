//! A disk in memory that completes every operation at the first poll, for tests of readers and writers
//! of files.
//!
//! The disk remembers the longest read that was requested: a reader that trusts a length from a damaged
//! file requests more than the file has. Test code, included by path as `fuzz.rs` is. Crashes and
//! lasting faults of the device belong to the simulator.
#![allow(dead_code, reason = "each crate uses what its formats need")]

use std::collections::BTreeMap;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use ingest::env::{
    Clock, Disk, DiskError, DiskErrorKind, Env, File, FilePath, Fut, OpenMode, Random, Runtime,
    Task,
};
use ingest::place::Place;
use ingest::time::{Tick, WallTime};
use parking_lot::Mutex;

/// The value of a future that has nothing to wait for. Panics when the future would wait, which an
/// operation on this disk never does.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("a disk in memory never waits")
}

#[derive(Default)]
struct State {
    files: BTreeMap<FilePath, Arc<Mutex<Vec<u8>>>>,
    longest_read: usize,
    /// A byte of a file. Reads that touch it fail.
    unreadable: Option<(FilePath, u64)>,
    /// Number of reads so far, of all files.
    reads: usize,
    /// The number of the one read that is disturbed, and the disturbance.
    disturbed: Option<(usize, Disturbance)>,
    /// Files that were synced, in order.
    synced: Vec<FilePath>,
    /// Writes to files, in order.
    written: Vec<(FilePath, u64)>,
}

/// A fault of the device that passes: the same read succeeds when repeated.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Disturbance {
    /// The read fails.
    Fails,
    /// The read returns one wrong byte, at this index modulo its length.
    Flips(usize),
}

/// A disk in memory; see the module's description. Clones are handles of one disk.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<State>>);

impl Memory {
    /// The disk as the core uses it. All handles see every change at once, in the order of the
    /// operations.
    pub fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// An environment with this disk, in which no time passes and no task may be started: starting one
    /// panics.
    pub fn env(&self) -> Env {
        Env {
            rt: Arc::new(Still),
            disk: self.disk(),
            disk_dedicated: self.disk(),
            clock: Arc::new(Still),
            random: Arc::new(Still),
            mutant: None,
        }
    }

    /// Stores a file, and replaces one with the same name. Handles that are open on the old file keep
    /// its bytes, and folders never have to exist.
    pub fn put(&self, path: &FilePath, bytes: &[u8]) {
        let content = Arc::new(Mutex::new(bytes.to_vec()));
        self.0.lock().files.insert(path.clone(), content);
    }

    /// A copy of a file's bytes as they are now, synced or not; none only when there is no such file.
    pub fn get(&self, path: &FilePath) -> Option<Vec<u8>> {
        self.0.lock().files.get(path).map(|content| content.lock().clone())
    }

    /// The paths of all files, in ascending order. Folders are not kept, so an empty one never appears.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().files.keys().map(|path| path.as_str().to_owned()).collect()
    }

    /// The most bytes that one read requested so far, including reads that failed because the file was
    /// shorter.
    pub fn longest_read(&self) -> usize {
        self.0.lock().longest_read
    }

    /// Makes one byte of a file unreadable: every read that touches it fails until another byte is
    /// chosen.
    pub fn spoil(&self, path: &FilePath, position: u64) {
        self.0.lock().unreadable = Some((path.clone(), position));
    }

    /// Disturbs the read with this number, counted from 0 at the disk's first read. Only the last call
    /// counts.
    pub fn disturb(&self, number: usize, how: Disturbance) {
        self.0.lock().disturbed = Some((number, how));
    }

    /// The number of reads so far, of all files, including those that failed. The next read gets this
    /// number.
    pub fn reads(&self) -> usize {
        self.0.lock().reads
    }

    /// The files that were synced, in order, once for every sync, so that a test can find a missing
    /// one.
    pub fn synced(&self) -> Vec<FilePath> {
        self.0.lock().synced.clone()
    }

    /// The files and positions that were written, in order, once for every write, before or after any
    /// sync.
    pub fn written(&self) -> Vec<(FilePath, u64)> {
        self.0.lock().written.clone()
    }
}

struct Handle {
    memory: Memory,
    path: FilePath,
    content: Arc<Mutex<Vec<u8>>>,
}

fn error(kind: DiskErrorKind, operation: &'static str, path: &FilePath) -> DiskError {
    DiskError { kind, operation, path: path.clone(), detail: format!("{kind:?}") }
}

fn now<'a, T: Send + 'a>(value: T) -> Fut<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Disk for Memory {
    fn open<'a>(
        &'a self,
        path: &'a FilePath,
        how: OpenMode,
    ) -> Fut<'a, Result<Arc<dyn File>, DiskError>> {
        let mut state = self.0.lock();
        let found = state.files.get(path).cloned();
        let content = match (how, found) {
            (OpenMode::Create, None) => {
                let content = Arc::<Mutex<Vec<u8>>>::default();
                state.files.insert(path.clone(), content.clone());
                content
            }
            (OpenMode::Create, Some(_)) => {
                return now(Err(error(DiskErrorKind::Exists, "open", path)));
            }
            (_, Some(content)) => content,
            (_, None) => return now(Err(error(DiskErrorKind::NotFound, "open", path))),
        };
        let handle = Handle { memory: self.clone(), path: path.clone(), content };
        now(Ok(Arc::new(handle) as Arc<dyn File>))
    }

    fn rename<'a>(
        &'a self,
        from: &'a FilePath,
        to: &'a FilePath,
    ) -> Fut<'a, Result<(), DiskError>> {
        let mut state = self.0.lock();
        let Some(content) = state.files.remove(from) else {
            return now(Err(error(DiskErrorKind::NotFound, "rename", from)));
        };
        state.files.insert(to.clone(), content);
        now(Ok(()))
    }

    fn remove<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        let removed = self.0.lock().files.remove(path);
        now(removed.map(|_| ()).ok_or_else(|| error(DiskErrorKind::NotFound, "remove", path)))
    }

    fn create_folder<'a>(&'a self, _path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        now(Ok(()))
    }

    fn list<'a>(
        &'a self,
        folder: &'a FilePath,
    ) -> Fut<'a, Result<Vec<(FilePath, u64)>, DiskError>> {
        let state = self.0.lock();
        let here = state.files.iter().filter(|(path, _)| path.folder().as_ref() == Some(folder));
        let found = here.map(|(path, content)| (path.clone(), content.lock().len() as u64));
        now(Ok(found.collect()))
    }

    fn sync_folder<'a>(&'a self, _folder: Option<&'a FilePath>) -> Fut<'a, Result<(), DiskError>> {
        now(Ok(()))
    }

    fn free_bytes(&self, _place: Place) -> Fut<'_, Result<u64, DiskError>> {
        now(Ok(u64::MAX))
    }
}

impl File for Handle {
    fn path(&self) -> &FilePath {
        &self.path
    }

    fn len(&self) -> Fut<'_, Result<u64, DiskError>> {
        now(Ok(self.content.lock().len() as u64))
    }

    fn read_at(&self, position: u64, len: usize) -> Fut<'_, Result<Bytes, DiskError>> {
        let mut state = self.memory.0.lock();
        state.longest_read = state.longest_read.max(len);
        let number = state.reads;
        state.reads += 1;
        let disturbed = state.disturbed.filter(|(disturbed, _)| *disturbed == number);
        if matches!(disturbed, Some((_, Disturbance::Fails))) {
            return now(Err(error(DiskErrorKind::Io, "read", &self.path)));
        }
        let end = usize::try_from(position).ok().and_then(|start| start.checked_add(len));
        if let Some((path, byte)) = &state.unreadable
            && *path == self.path
            && (position..position.saturating_add(len as u64)).contains(byte)
        {
            return now(Err(error(DiskErrorKind::Io, "read", &self.path)));
        }
        let content = self.content.lock();
        let found = end.and_then(|end| content.get(position as usize..end));
        let found = found.map(|found| {
            let mut found = found.to_vec();
            if let Some((_, Disturbance::Flips(at))) = disturbed
                && !found.is_empty()
            {
                let at = at % found.len();
                found[at] ^= 0x10;
            }
            Bytes::from(found)
        });
        now(found.ok_or_else(|| error(DiskErrorKind::ShortRead, "read", &self.path)))
    }

    fn write_at(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        self.memory.0.lock().written.push((self.path.clone(), position));
        let mut content = self.content.lock();
        let start = position as usize;
        if content.len() < start + bytes.len() {
            content.resize(start + bytes.len(), 0);
        }
        content[start..start + bytes.len()].copy_from_slice(&bytes);
        now(Ok(()))
    }

    fn allocate(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let mut content = self.content.lock();
        let len = content.len().max(range.end as usize);
        content.resize(len, 0);
        now(Ok(()))
    }

    fn discard(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let mut content = self.content.lock();
        let end = content.len().min(range.end as usize);
        if let Some(bytes) = content.get_mut(range.start as usize..end) {
            bytes.fill(0);
        }
        now(Ok(()))
    }

    fn discard_unwritten(&self) -> Fut<'_, Result<(), DiskError>> {
        now(Ok(()))
    }

    fn sync(&self) -> Fut<'_, Result<(), DiskError>> {
        self.memory.0.lock().synced.push(self.path.clone());
        now(Ok(()))
    }

    fn write_synced(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        let written = self.write_at(position, bytes);
        self.memory.0.lock().synced.push(self.path.clone());
        written
    }
}

/// A runtime that runs nothing, and a clock that stands still.
struct Still;

impl Runtime for Still {
    fn spawn(&self, name: &'static str, _task: Fut<'static, ()>) -> Task {
        panic!("nobody runs {name} here")
    }

    fn spawn_dedicated(&self, name: &'static str, _task: Fut<'static, ()>) -> Task {
        panic!("nobody runs {name} here")
    }

    fn work(&self, _name: &'static str, job: Box<dyn FnOnce() + Send>) -> Fut<'static, ()> {
        job();
        now(())
    }
}

impl Clock for Still {
    fn now(&self) -> Tick {
        Tick::default()
    }

    fn wall(&self) -> WallTime {
        WallTime::default()
    }

    fn sleep(&self, _duration: Duration) -> Fut<'static, ()> {
        Box::pin(std::future::pending())
    }
}

impl Random for Still {
    fn next(&self) -> u64 {
        4
    }
}
