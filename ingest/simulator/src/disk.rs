//! A disk that loses unsynced bytes and names, and fails in the ways that disks do.
//!
//! Files are kept twice: as the running system sees them, and as a power cut would leave them. A write
//! changes the first copy and marks its sectors dirty; a sync copies the sectors that were dirty when
//! it *began* into the second copy when it *ends*. Names are kept twice in the same way. A crash
//! decides for each dirty sector and each changed name if it survives.

mod content;
mod fault;
mod handle;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ingest::env::{Disk, FilePath};
use ingest::place::Place;
use parking_lot::Mutex;

use crate::executor::{Sim, World};
use content::FileContent;

pub use fault::{DiskFault, DiskOperation, FaultKind};

/// The unsynced bytes and names that survive a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashSurvival {
    /// None of them.
    DropAll,
    /// All of them.
    KeepAll,
    /// All but the last write, of which only a part survives.
    TearLast,
    /// Each sector and name is kept, lost or torn, as a stream of numbers from this seed decides.
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
    /// The folder whose sync makes the change durable.
    fn folder(&self) -> Option<FilePath> {
        match self {
            NameChange::Create(path, _) | NameChange::Remove(path) => path.folder(),
            NameChange::Rename(_, to, _) => to.folder(),
        }
    }

    /// Makes the change in a set of names.
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
    /// Unsynced changes of names in order, each with its number.
    changes: Vec<(u64, NameChange)>,
    next_change: u64,
    folders: BTreeSet<FilePath>,
    next_file: u64,
    last_written: Option<u64>,
    faults: Vec<DiskFault>,
    /// The most bytes that all files of a place may take together; places without a limit are left out.
    capacity: BTreeMap<Place, u64>,
    /// True while no operation reaches the cold place.
    is_cold_away: bool,
    operations: u64,
    crash_at: Option<u64>,
    is_dead: bool,
    /// Number of power cuts. Operations begun before one never end.
    power_cuts: u64,
    write_bytes: u64,
}

/// A simulated disk; see the module's description. Clones are handles of one disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Arc<World>,
    state: Arc<Mutex<DiskState>>,
}

impl SimDisk {
    /// Makes an empty disk in a world, whose seed decides about latencies. No limit of space and no
    /// faults, unless they are set.
    pub fn new(sim: &Sim) -> Self {
        Self { world: sim.world().clone(), state: Arc::default() }
    }

    /// Makes a disk in another world with the present content of this one, all of it durable, as after
    /// a clean stop. Faults, counters of operations and a planned power cut are not copied.
    pub fn copy_into(&self, sim: &Sim) -> Self {
        let mut state = self.state.lock().clone();
        state.faults.clear();
        state.operations = 0;
        state.crash_at = None;
        state.is_dead = false;
        state.settle();
        Self { world: sim.world().clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as the core uses it. Every handle acts on the same disk, in the order of the calls.
    pub(crate) fn handle(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Cuts the power when the operation with this number, counted from 1, is issued. The operation
    /// takes effect before the cut, so that it can be torn, but its caller never gets an answer.
    pub fn crash_at(&self, operation: u64) {
        self.state.lock().crash_at = Some(operation);
    }

    /// Number of operations issued since the disk was made, including failed ones. The next operation
    /// has the number after it.
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    /// Number of bytes that successful writes have written in all, before and after power cuts.
    pub fn written_bytes(&self) -> u64 {
        self.state.lock().write_bytes
    }

    /// True from a power cut until the disk is started again by a crash of the world or node.
    /// Operations never end meanwhile.
    pub fn is_dead(&self) -> bool {
        self.state.lock().is_dead
    }

    /// Adds a fault. When several faults meet one operation, only the one that was added first shows.
    pub fn inject(&self, fault: DiskFault) {
        self.state.lock().faults.push(fault);
    }

    /// Removes all faults, and returns how many operations they have met in all, so that a test can
    /// check that they occurred.
    pub fn clear_faults(&self) -> u64 {
        std::mem::take(&mut self.state.lock().faults).iter().map(|fault| fault.shown).sum()
    }

    /// Limits the bytes that all files of the hot place may take together. Files above the limit keep their
    /// bytes; only further growth fails.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.set_capacity_of(Place::Hot, bytes);
    }

    /// Limits the bytes of one place, as [`SimDisk::set_capacity`] does for the hot one.
    pub fn set_capacity_of(&self, place: Place, bytes: Option<u64>) {
        let mut state = self.state.lock();
        match bytes {
            Some(bytes) => state.capacity.insert(place, bytes),
            None => state.capacity.remove(&place),
        };
    }

    /// Takes the cold place away, as when its device is unplugged, or brings it back with everything in it. While
    /// it is away every operation there is refused, also on files that are open. A power cut brings it back.
    pub fn set_cold_away(&self, is_away: bool) {
        self.state.lock().is_cold_away = is_away;
    }

    /// Bytes that all files take together, without holes. A removed file counts until its removal is
    /// durable.
    pub fn used_bytes(&self) -> u64 {
        let state = self.state.lock();
        Place::ALL.into_iter().map(|place| state.used_bytes(place)).sum()
    }

    /// The paths of all files as the running system sees them, in ascending order, before any power
    /// cut.
    pub fn files(&self) -> Vec<FilePath> {
        self.state.lock().names.keys().cloned().collect()
    }

    /// A copy of a file's bytes as the running system sees them, synced or not; none only when there is
    /// no such file.
    pub fn read_all(&self, path: &FilePath) -> Option<Vec<u8>> {
        let state = self.state.lock();
        let file = state.names.get(path)?;
        Some(state.files[file].live.clone())
    }

    /// Flips bits of a stored byte, in the durable copy and the visible one alike. Does nothing beyond
    /// the end of the file; panics when there is no such file.
    pub fn corrupt(&self, path: &FilePath, position: u64, xor: u8) {
        let mut state = self.state.lock();
        let file = state.names[path];
        if let Some(content) = state.files.get_mut(&file) {
            content.flip(position, xor);
        }
    }

    /// Cuts a file short, durably, as damage and not as an operation. Panics when there is no such
    /// file.
    pub fn truncate(&self, path: &FilePath, len: u64) {
        let mut state = self.state.lock();
        let file = state.names[path];
        if let Some(content) = state.files.get_mut(&file) {
            content.truncate(len);
        }
    }

    /// Removes a file, durably, as damage and not as an operation. Open handles can still read it.
    pub fn lose(&self, path: &FilePath) {
        let mut state = self.state.lock();
        state.names.remove(path);
        state.durable_names.remove(path);
    }

    /// The paths of all folders, in ascending order. Folders are durable as soon as they are made,
    /// unlike names of files.
    pub fn folders(&self) -> Vec<FilePath> {
        self.state.lock().folders.iter().cloned().collect()
    }

    /// Removes a folder with everything in it, durably, as damage and not as an operation.
    pub fn lose_folder(&self, folder: &FilePath) {
        let mut state = self.state.lock();
        let below = format!("{folder}/");
        let is_outside = |path: &FilePath| path != folder && !path.as_str().starts_with(&below);
        state.names.retain(|path, _| is_outside(path));
        state.durable_names.retain(|path, _| is_outside(path));
        state.folders.retain(is_outside);
    }

    /// Starts the disk again after its process ended and the system did not: everything stays visible, and
    /// nothing becomes durable by it. Faults are removed, and operations begun before never end.
    pub(crate) fn outlive_process(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.is_cold_away = false;
        state.crash_at = None;
        state.is_dead = false;
        state.power_cuts += 1;
    }

    /// Decides which unsynced bytes and names survive, and starts the disk again with these, all of
    /// them durable. Faults are removed, and operations begun before never end.
    pub(crate) fn lose_power(&self, survival: CrashSurvival) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let random = match survival {
            CrashSurvival::Random(seed) => Some(crate::random::SimRandom::new(seed)),
            _ => None,
        };
        let mut names = state.durable_names.clone();
        for (_, change) in &state.changes {
            // Decided for each change alone: before a sync, a later change may survive without an
            // earlier one.
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
        state.is_cold_away = false;
        state.crash_at = None;
        state.is_dead = false;
        state.power_cuts += 1;
    }
}

impl DiskState {
    /// Makes the visible state durable, and drops files without a name.
    fn settle(&mut self) {
        self.durable_names = self.names.clone();
        self.changes.clear();
        self.last_written = None;
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
        self.files.values_mut().for_each(FileContent::settle);
    }

    /// Bytes of all files of a place with a visible or durable name: a removed file takes its space until its
    /// removal is durable.
    fn used_bytes(&self, place: Place) -> u64 {
        let names = self.names.iter().chain(&self.durable_names);
        let named: BTreeSet<&u64> =
            names.filter(|(path, _)| path.place() == place).map(|(_, file)| file).collect();
        let bytes = |file: &&u64| self.files.get(*file).map_or(0, FileContent::used_bytes);
        named.iter().map(bytes).sum()
    }
}
