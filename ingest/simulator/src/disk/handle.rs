//! The disk's operations. Each takes effect when it is called, except that a sync takes effect when it
//! ends. The future only returns the result, after a latency drawn from the seed. On a disk without
//! power the result never comes.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::channel::oneshot;
use ingest::env::{Disk, DiskError, DiskErrorKind, File, FilePath, Fut, OpenMode};
use ingest::place::Place;

use super::content::{FileContent, PendingSync};
use super::fault::{DiskOperation, FaultKind};
use super::{DiskState, NameChange, SimDisk};

fn error(kind: DiskErrorKind, operation: DiskOperation, path: &FilePath) -> DiskError {
    let operation = match operation {
        DiskOperation::Open => "open",
        DiskOperation::Read => "read",
        DiskOperation::Write => "write",
        DiskOperation::Sync => "sync",
        DiskOperation::SyncFolder => "sync folder",
        DiskOperation::Rename => "rename",
        DiskOperation::Remove => "remove",
        DiskOperation::Allocate => "allocate",
        DiskOperation::Discard => "discard",
        DiskOperation::Look => "look at",
    };
    DiskError { kind, operation, path: path.clone(), detail: format!("simulated {kind:?}") }
}

/// Distance of wrong bytes in a garbled read, from the first byte on.
const GARBLED_EVERY: usize = 97;

impl SimDisk {
    /// Issues an operation: `act` is its effect now, `end` its effect when it ends. Every operation
    /// enters the history.
    fn issue<T: Send + 'static, P: Send + 'static>(
        &self,
        operation: DiskOperation,
        path: &FilePath,
        argument: std::fmt::Arguments<'_>,
        act: impl FnOnce(&mut DiskState, Option<FaultKind>) -> Result<P, DiskErrorKind>,
        end: impl FnOnce(&mut DiskState, P) -> T + Send + 'static,
    ) -> Fut<'static, Result<T, DiskError>> {
        let now = self.world.now().nanos();
        let mut state = self.state.lock();
        // Without power no operation ends, not even with an error.
        if state.is_dead {
            return Box::pin(std::future::pending());
        }
        state.operations += 1;
        self.world.trace.event(format_args!("{now} {operation:?} {path} {argument}"));
        let mut faults = state.faults.iter_mut();
        let fault = faults.find_map(|fault| fault.meets(operation, path).then_some(fault.kind));
        let is_away = state.is_cold_away && path.place() == Place::Cold;
        let acted = match fault {
            _ if is_away => Err(DiskErrorKind::Refused),
            Some(FaultKind::Error) if operation != DiskOperation::Sync => Err(DiskErrorKind::Io),
            Some(FaultKind::Exhausted) => Err(DiskErrorKind::Exhausted),
            fault => act(&mut state, fault),
        };
        // The operation at the power cut has taken effect already, so that it can be torn.
        if state.crash_at == Some(state.operations) {
            state.is_dead = true;
            return Box::pin(std::future::pending());
        }
        let power_cuts = state.power_cuts;
        drop(state);
        let acted = acted.map_err(|kind| error(kind, operation, path));
        let (sender, receiver) = oneshot::channel();
        let disk = self.clone();
        self.world.after_latency(Box::new(move || {
            let result = {
                let mut state = disk.state.lock();
                if state.is_dead || state.power_cuts != power_cuts {
                    return;
                }
                acted.map(|pending| end(&mut state, pending))
            };
            // The caller may have dropped its future; the effect stays.
            drop(sender.send(result));
        }));
        Box::pin(async move {
            match receiver.await {
                Ok(result) => result,
                Err(_) => std::future::pending().await,
            }
        })
    }

    /// Issues an operation whose whole effect is at the call.
    fn at_once<T: Send + 'static>(
        &self,
        operation: DiskOperation,
        path: &FilePath,
        argument: std::fmt::Arguments<'_>,
        act: impl FnOnce(&mut DiskState) -> Result<T, DiskErrorKind>,
    ) -> Fut<'static, Result<T, DiskError>> {
        self.issue(operation, path, argument, |state, _| act(state), |_, value| value)
    }
}

impl DiskState {
    /// Makes a change of names visible. Not durable before the folder is synced.
    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.changes.push((self.next_change, change));
        self.next_change += 1;
    }

    /// True when the files of the place of a path may take this number of bytes more.
    fn has_room(&self, path: &FilePath, more: u64) -> bool {
        let place = path.place();
        self.capacity.get(&place).is_none_or(|capacity| self.used_bytes(place) + more <= *capacity)
    }

    fn content(&mut self, file: u64) -> &mut FileContent {
        self.files.get_mut(&file).expect("an open file has content")
    }

    fn grows_by(&mut self, file: u64, range: &Range<u64>) -> u64 {
        self.content(file).grows_by(range)
    }
}

impl Disk for SimDisk {
    fn open<'a>(
        &'a self,
        path: &'a FilePath,
        how: OpenMode,
    ) -> Fut<'a, Result<Arc<dyn File>, DiskError>> {
        let opened =
            self.at_once(DiskOperation::Open, path, format_args!("{how:?}"), |state| {
                match (how, state.names.get(path).copied()) {
                    (OpenMode::Create, Some(_)) => Err(DiskErrorKind::Exists),
                    (OpenMode::Create, None) => {
                        if path.folder().is_some_and(|folder| !state.folders.contains(&folder)) {
                            return Err(DiskErrorKind::NotFound);
                        }
                        let file = state.next_file;
                        state.next_file += 1;
                        state.files.insert(file, FileContent::default());
                        state.change_names(NameChange::Create(path.clone(), file));
                        Ok(file)
                    }
                    (_, Some(file)) => Ok(file),
                    (_, None) => Err(DiskErrorKind::NotFound),
                }
            });
        let disk = self.clone();
        Box::pin(async move {
            let file = opened.await?;
            Ok(Arc::new(SimFile { disk, path: path.clone(), file }) as Arc<dyn File>)
        })
    }

    fn rename<'a>(
        &'a self,
        from: &'a FilePath,
        to: &'a FilePath,
    ) -> Fut<'a, Result<(), DiskError>> {
        self.at_once(DiskOperation::Rename, from, format_args!("{to}"), |state| {
            let file = state.names.get(from).copied().ok_or(DiskErrorKind::NotFound)?;
            state.change_names(NameChange::Rename(from.clone(), to.clone(), file));
            Ok(())
        })
    }

    fn remove<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        self.at_once(DiskOperation::Remove, path, format_args!(""), |state| {
            if !state.names.contains_key(path) {
                return Err(DiskErrorKind::NotFound);
            }
            state.change_names(NameChange::Remove(path.clone()));
            Ok(())
        })
    }

    fn create_folder<'a>(&'a self, path: &'a FilePath) -> Fut<'a, Result<(), DiskError>> {
        self.at_once(DiskOperation::Look, path, format_args!("create folder"), |state| {
            let mut folder = Some(path.clone());
            while let Some(path) = folder {
                folder = path.folder();
                state.folders.insert(path);
            }
            Ok(())
        })
    }

    fn list<'a>(
        &'a self,
        folder: &'a FilePath,
    ) -> Fut<'a, Result<Vec<(FilePath, u64)>, DiskError>> {
        self.at_once(DiskOperation::Look, folder, format_args!("list"), |state| {
            if !state.folders.contains(folder) {
                return Err(DiskErrorKind::NotFound);
            }
            let is_inside = |path: &FilePath| path.folder().as_ref() == Some(folder);
            let inside = state.names.iter().filter(|(path, _)| is_inside(path));
            Ok(inside
                .map(|(path, file)| (path.clone(), state.files[file].live.len() as u64))
                .collect())
        })
    }

    fn sync_folder<'a>(&'a self, folder: Option<&'a FilePath>) -> Fut<'a, Result<(), DiskError>> {
        let root = FilePath::new("root");
        let path = folder.unwrap_or(&root);
        let wanted = folder.cloned();
        // Changes that come after the sync began are not covered by it.
        let begin = |state: &mut DiskState, fault: Option<FaultKind>| {
            Ok(if fault == Some(FaultKind::LyingSync) { 0 } else { state.next_change })
        };
        self.issue(
            DiskOperation::SyncFolder,
            path,
            format_args!(""),
            begin,
            move |state, covered| {
                let mut kept = Vec::new();
                for (number, change) in std::mem::take(&mut state.changes) {
                    if number < covered && change.folder() == wanted {
                        change.apply(&mut state.durable_names);
                    } else {
                        kept.push((number, change));
                    }
                }
                state.changes = kept;
            },
        )
    }

    fn free_bytes(&self, place: Place) -> Fut<'_, Result<u64, DiskError>> {
        let folder = FilePath::new("root").within(place);
        self.at_once(DiskOperation::Look, &folder, format_args!("free"), |state| {
            let free = |all: &u64| all.saturating_sub(state.used_bytes(place));
            Ok(state.capacity.get(&place).map_or(u64::MAX >> 1, free))
        })
    }
}

struct SimFile {
    disk: SimDisk,
    path: FilePath,
    file: u64,
}

/// Issues the sync of a file, with the faults that meet it.
fn begin_sync(disk: &SimDisk, path: &FilePath, file: u64) -> Fut<'static, Result<(), DiskError>> {
    let act = |state: &mut DiskState, fault: Option<FaultKind>| match fault {
        Some(FaultKind::Error) => {
            state.content(file).fail_sync();
            Err(DiskErrorKind::Io)
        }
        Some(FaultKind::LyingSync) => Ok(None),
        _ => Ok(Some(state.content(file).begin_sync())),
    };
    let end = move |state: &mut DiskState, pending: Option<PendingSync>| {
        if let (Some(pending), Some(content)) = (pending, state.files.get_mut(&file)) {
            content.end_sync(pending);
        }
    };
    disk.issue(DiskOperation::Sync, path, format_args!(""), act, end)
}

impl File for SimFile {
    fn path(&self) -> &FilePath {
        &self.path
    }

    fn len(&self) -> Fut<'_, Result<u64, DiskError>> {
        let file = self.file;
        self.disk.at_once(DiskOperation::Look, &self.path, format_args!("length"), |state| {
            Ok(state.content(file).live.len() as u64)
        })
    }

    fn read_at(&self, position: u64, len: usize) -> Fut<'_, Result<Bytes, DiskError>> {
        let file = self.file;
        let act = |state: &mut DiskState, fault: Option<FaultKind>| {
            let live = &state.content(file).live;
            let start = position as usize;
            let bytes = start.checked_add(len).and_then(|end| live.get(start..end));
            let mut bytes = bytes.ok_or(DiskErrorKind::ShortRead)?.to_vec();
            if fault == Some(FaultKind::Garbled) {
                bytes.iter_mut().step_by(GARBLED_EVERY).for_each(|byte| *byte ^= 0x5a);
            }
            Ok(Bytes::from(bytes))
        };
        let argument = format_args!("{position} {len}");
        self.disk.issue(DiskOperation::Read, &self.path, argument, act, |_, bytes| bytes)
    }

    fn write_at(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file;
        let argument = (position, bytes.len(), crc32c::crc32c(&bytes));
        let act = |state: &mut DiskState, fault: Option<FaultKind>| {
            let more = state.grows_by(file, &(position..position + bytes.len() as u64));
            if !state.has_room(&self.path, more) {
                return Err(DiskErrorKind::NoSpace);
            }
            state.write_bytes += bytes.len() as u64;
            state.last_written = Some(file);
            match fault {
                Some(FaultKind::Stale) => {}
                Some(FaultKind::Misdirect(by)) => state.content(file).write(position + by, &bytes),
                _ => state.content(file).write(position, &bytes),
            }
            Ok(())
        };
        self.disk.issue(
            DiskOperation::Write,
            &self.path,
            format_args!("{argument:?}"),
            act,
            |_, ()| (),
        )
    }

    fn allocate(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file;
        self.disk.at_once(DiskOperation::Allocate, &self.path, format_args!("{range:?}"), |state| {
            let more = state.grows_by(file, &range);
            if !state.has_room(&self.path, more) {
                return Err(DiskErrorKind::NoSpace);
            }
            state.content(file).allocate(&range);
            Ok(())
        })
    }

    fn discard(&self, range: Range<u64>) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file;
        self.disk.at_once(DiskOperation::Discard, &self.path, format_args!("{range:?}"), |state| {
            state.content(file).discard(&range);
            Ok(())
        })
    }

    fn discard_unwritten(&self) -> Fut<'_, Result<(), DiskError>> {
        let file = self.file;
        self.disk.at_once(DiskOperation::Discard, &self.path, format_args!("unwritten"), |state| {
            state.content(file).discard_unwritten();
            Ok(())
        })
    }

    fn sync(&self) -> Fut<'_, Result<(), DiskError>> {
        begin_sync(&self.disk, &self.path, self.file)
    }

    fn write_synced(&self, position: u64, bytes: Bytes) -> Fut<'_, Result<(), DiskError>> {
        // The write is submitted now; the sync follows when it has ended.
        let written = self.write_at(position, bytes);
        Box::pin(async move {
            written.await?;
            begin_sync(&self.disk, &self.path, self.file).await
        })
    }
}
