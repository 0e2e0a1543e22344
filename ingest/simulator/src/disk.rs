//! A disk that loses what was not synced, and fails in the ways that disks do.
//!
//! Files are kept twice: as the running system sees them, and as they would be found after a power cut.
//! A write changes the first and marks its sectors dirty; a sync copies the sectors that were dirty when
//! it *began* into the second when it *ends*. Names are kept twice in the same way. A crash goes through
//! what is dirty and decides, sector by sector and name by name, what survives.

mod content;
mod fault;
mod handle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingest::env::{Disk, FilePath};
use parking_lot::Mutex;

use crate::executor::{Sim, World};
use content::FileContent;

pub use fault::{DiskFault, DiskOperation, FaultKind};

/// What of the unsynced bytes and names survives a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashSurvival {
    /// Nothing.
    DropAll,
    /// Everything.
    KeepAll,
    /// All but the last write, of which a part survives.
    TearLast,
    /// Each sector and name is kept, lost or torn, as this number decides.
    Random(u64),
}

/// A change of a folder's names that has not been synced.
#[derive(Clone, Debug)]
enum NameChange {
    Create(FilePath, u64),
    Rename(FilePath, FilePath, u64),
    Remove(FilePath),
}

impl NameChange {
    fn folder(&self) -> Option<FilePath> {
        match self {
            NameChange::Create(path, _) | NameChange::Remove(path) => path.folder(),
            NameChange::Rename(_, to, _) => to.folder(),
        }
    }

    fn apply(&self, names: &mut BTreeMap<FilePath, u64>) {
        match self {
            NameChange::Create(path, file) => {
                names.insert(path.clone(), *file);
            }
            NameChange::Rename(from, to, file) => {
                names.remove(from);
                names.insert(to.clone(), *file);
            }
            NameChange::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

#[derive(Clone, Default)]
struct DiskState {
    files: BTreeMap<u64, FileContent>,
    names: BTreeMap<FilePath, u64>,
    durable_names: BTreeMap<FilePath, u64>,
    /// Unsynced changes of names, each with its number.
    changes: Vec<(u64, NameChange)>,
    next_change: u64,
    folders: BTreeSet<FilePath>,
    next_file: u64,
    last_written: Option<u64>,
    faults: Vec<DiskFault>,
    /// Bytes that may be allocated in all; none for no limit.
    capacity: Option<u64>,
    operations: u64,
    crash_at: Option<u64>,
    is_dead: bool,
    /// Counts the power cuts. What was begun before one never ends.
    power_cuts: u64,
    write_bytes: u64,
}

/// See the module's description. Clones are handles of one disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<World>,
    state: Arc<Mutex<DiskState>>,
}

impl SimDisk {
    /// Makes an empty disk in a world.
    pub fn new(sim: &Sim) -> Self {
        Self { world: sim.world().clone(), state: Arc::default() }
    }

    /// Makes a disk in another world with what this one holds now, as after a clean stop.
    pub fn copy_into(&self, sim: &Sim) -> Self {
        let mut state = self.state.lock().clone();
        state.faults.clear();
        state.operations = 0;
        state.crash_at = None;
        state.is_dead = false;
        state.settle();
        Self { world: sim.world().clone(), state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn handle(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Cuts the power when the operation with this number (from 1) is issued.
    pub fn crash_at(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// How many operations have been issued.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// How many bytes have been written in all.
    pub fn written_bytes(&self) -> u64 {
        self.state.lock().write_bytes
    }

    /// Whether the power is cut.
    pub fn is_dead(&self) -> bool {
        self.state.lock().is_dead
    }

    /// Adds a fault.
    pub fn inject(&self, fault: DiskFault) {
        self.state.lock().faults.push(fault);
    }

    /// Takes all faults away; gives how many of them have shown.
    pub fn clear_faults(&self) -> u64 {
        std::mem::take(&mut self.state.lock().faults).iter().map(|fault| fault.shown).sum()
    }

    /// Limits the bytes that all files may have together.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that all files take together.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// The paths of all files.
    pub fn files(&self) -> Vec<FilePath> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// A file's bytes as the running system sees them.
    pub fn read_all(&self, path: &FilePath) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = state.names.get(path)?;
        Some(state.files[file].live.clone())
    }

    /// Flips bits of a stored byte, on the platter and in memory alike.
    pub fn corrupt(&self, path: &FilePath, position: u64, xor: u8) {
        let mut state = self.state.lock();
        let file = state.names[path];
        if let Some(content) = state.files.get_mut(&file) {
            content.flip(position, xor);
        }
    }

    /// Cuts a file short.
    pub fn truncate(&self, path: &FilePath, len: u64) {
        let mut state = self.state.lock();
        let file = state.names[path];
        if let Some(content) = state.files.get_mut(&file) {
            content.truncate(len);
        }
    }

    /// Loses a file.
    pub fn lose(&self, path: &FilePath) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// The paths of all folders.
    pub fn folders(&self) -> Vec<FilePath> {
        self.state.lock().folders.iter().cloned().collect()
    }

    /// Loses a folder with everything in it.
    pub fn lose_folder(&self, folder: &FilePath) {
        let mut state = self.state.lock();
        let below = format!("{folder}/");
        let is_outside = |path: &FilePath| path != folder && !path.as_str().starts_with(&below);
        state.names.retain(|path, _| is_outside(path));
        state.durable_names.retain(|path, _| is_outside(path));
        state.folders.retain(is_outside);
    }

    /// Decides what survives, and starts again. Faults are taken away.
    pub(crate) fn lose_power(&self, survival: CrashSurvival) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let random = match survival {
            CrashSurvival::Random(seed) => Some(crate::random::SimRandom::new(seed)),
            _ => None,
        };
        let mut names = state.durable_names.clone();
        for (_, change) in &state.changes {
            let survives = match survival {
                CrashSurvival::DropAll => false,
                CrashSurvival::KeepAll | CrashSurvival::TearLast => true,
                CrashSurvival::Random(_) => random.as_ref().is_some_and(|random| random.chance(50)),
            };
            if survives {
                change.apply(&mut names);
            }
        }
        state.names = names;
        let last_written = state.last_written;
        for (id, content) in &mut state.files {
            content.lose_power(survival, random.as_ref(), last_written == Some(*id));
        }
        state.settle();
        state.faults.clear();
        state.crash_at = None;
        state.is_dead = false;
        state.power_cuts += 1;
    }
}

impl DiskState {
    /// Makes everything that is seen durable, and forgets files without a name.
    fn settle(&mut self) {
        self.durable_names = self.names.clone();
        self.changes.clear();
        self.last_written = None;
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        self.files.values_mut().for_each(FileContent::settle);
    }

    /// A removed file takes its space until its removal is durable.
    fn used_bytes(&self) -> u64 {
        let named: BTreeSet<&u64> =
            self.names.values().chain(self.durable_names.values()).collect();
        let bytes = |file: &&u64| self.files.get(*file).map_or(0, FileContent::used_bytes);
        named.iter().map(bytes).sum()
    }
}
