//! The identity of a data directory: a store on one machine, or a node's copy of a cluster's store.
//!
//! Two files have the same line with a checksum; `docs/formats/directory.md` specifies the line.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ingest::ids::{NodeId, StoreId};

/// The identity of a data directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DataIdentity {
    /// A store with a log of its own.
    Embedded(StoreIdentity),
    /// A node's copy of a store whose log is on brokers.
    Node(NodeIdentity),
}

/// The identity of a store with a log of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreIdentity {
    /// The id of the store.
    pub store: StoreId,
    /// True once the first record of the store's log is durable, which happens at the first start. Such a store without
    /// a log has lost the log.
    pub is_begun: bool,
}

/// The identity of a node's copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeIdentity {
    /// The id of the store, the same on all nodes.
    pub store: StoreId,
    /// The id of the node.
    pub node: NodeId,
    /// The number of partitions of the store.
    pub partitions: u32,
    /// True once the node's id was confirmed for this directory. Later starts need not claim the id again.
    pub holds_id: bool,
}

impl DataIdentity {
    /// The id of the store to which the directory belongs, of either kind.
    pub fn store(&self) -> StoreId {
        match self {
            DataIdentity::Embedded(own) => own.store,
            DataIdentity::Node(node) => node.store,
        }
    }

    fn line(&self) -> String {
        match self {
            DataIdentity::Embedded(own) => {
                let stage = if own.is_begun { "begun" } else { "new" };
                format!("siltstone store 2 {} {stage}", hex::encode(own.store.0))
            }
            DataIdentity::Node(node) => {
                let held = if node.holds_id { "confirmed" } else { "claimed" };
                let store = hex::encode(node.store.0);
                format!("siltstone node 1 {store} {} {} {held}", node.node, node.partitions)
            }
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (line, crc) = text.trim_end().rsplit_once(' ')?;
        if format!("{:08x}", crc32c::crc32c(line.as_bytes())) != crc {
            return None;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let store = |text: &str| {
            let mut id = [0; 16];
            hex::decode_to_slice(text, &mut id).ok().map(|()| StoreId(id))
        };
        match words[..] {
            ["siltstone", "store", "2", id, stage @ ("new" | "begun")] => {
                let is_begun = stage == "begun";
                Some(DataIdentity::Embedded(StoreIdentity { store: store(id)?, is_begun }))
            }
            ["siltstone", "node", "1", id, node, partitions, held] => {
                Some(DataIdentity::Node(NodeIdentity {
                    store: store(id)?,
                    node: NodeId::new(node.parse().ok()?),
                    partitions: partitions.parse().ok()?,
                    holds_id: held == "confirmed",
                }))
            }
            _ => None,
        }
    }

    fn copies(data: &Path) -> [PathBuf; 2] {
        [data.join("identity.a"), data.join("identity.b")]
    }

    /// Reads the identity of a directory; `None` for a new directory. One readable copy is enough. Fails if no copy is
    /// readable and a damaged one is there, if a store of an earlier version made the directory, and if there is data
    /// without an identity.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let mut damaged = Vec::new();
        let mut found = Vec::new();
        for path in &Self::copies(data) {
            match fs::read(path) {
                // A copy that is not UTF-8 counts as damaged.
                Ok(bytes) => match Self::parse(&String::from_utf8_lossy(&bytes)) {
                    Some(identity) => found.push(identity),
                    None if bytes.starts_with(b"siltstone store 1 ") => bail!(
                        "{} was made by an earlier version of siltstone, whose stores this one cannot open",
                        data.display()
                    ),
                    None => damaged.push(path.display().to_string()),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => bail!("cannot read {}: {error}", path.display()),
            }
        }
        // Power may be lost between the writes of the two copies. A step that one copy has recorded has been done.
        let says_more = |identity: &&DataIdentity| match identity {
            DataIdentity::Embedded(own) => own.is_begun,
            DataIdentity::Node(own) => own.holds_id,
        };
        if let Some(identity) = found.iter().find(says_more).or(found.first()) {
            return Ok(Some(*identity));
        }
        if !damaged.is_empty() {
            bail!("the store's identity is corrupt: {}", damaged.join(", "));
        }
        // Data without an identity must not be taken for a new directory.
        if let Some(name) = data_in(data)? {
            bail!("{} holds data ({name}) and no identity file", data.display());
        }
        Ok(None)
    }

    /// Writes both copies again if one of them is missing, damaged or different. Does nothing otherwise. Fails if a
    /// copy cannot be written.
    pub fn mend(&self, data: &Path) -> anyhow::Result<()> {
        let says_so = |path: &PathBuf| {
            fs::read(path).is_ok_and(|bytes| {
                Self::parse(&String::from_utf8_lossy(&bytes)).as_ref() == Some(self)
            })
        };
        if Self::copies(data).iter().all(says_so) {
            return Ok(());
        }
        tracing::warn!("a copy of the store's identity is restored from the other copy");
        self.write(data)
    }

    /// Writes the two copies one after the other. On return both are durable; after an error one copy is complete,
    /// old or new.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let line = self.line();
        let text = format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()));
        Self::copies(data).iter().try_for_each(|path| write_private(path, text.as_bytes()))
    }
}

/// The name of a file or folder in a directory that only a store makes; `None` if there is no such name. Fails if the
/// directory cannot be listed.
pub fn data_in(data: &Path) -> anyhow::Result<Option<String>> {
    let is_data = |name: &str| {
        let is_partition = name.strip_prefix('p').is_some_and(|number| {
            number.len() >= 4 && number.bytes().all(|digit| digit.is_ascii_digit())
        });
        is_partition || name == "log" || name == "spool" || name.ends_with(".mark")
    };
    let entries = match fs::read_dir(data) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries.with_context(|| format!("cannot list {}", data.display()))?,
    };
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if is_data(&name) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// Makes the random id of a new store, 128 bits. Fails if the system provides no randomness.
pub fn new_store() -> anyhow::Result<StoreId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(StoreId(id))
}

/// Makes a folder of the store with mode 700, and missing folders above it. On return the names of all new folders are
/// durable. Fails if a folder cannot be made or synced; an existing folder is left as it is.
pub fn make_folder(folder: &Path) -> anyhow::Result<()> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|above| !above.exists()).collect();
    // Only the server may read the data. Folders above get the usual permissions.
    let made = folder.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .or_else(|error| if folder.is_dir() { Ok(()) } else { Err(error) })
    });
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    for made in missing {
        sync_folder_of(made)?;
    }
    Ok(())
}

/// Makes the name of a file or folder durable, by a sync of the folder that contains it. Fails if that folder cannot be
/// opened or synced.
pub fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Writes a file that only its owner may read, through a temporary file with the extension `tmp`. On return the content
/// and the name are durable. After an error or a crash the file has its former content or the new one, never a part.
pub fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).truncate(true).write(true).mode(0o600).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_folder_of(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DataIdentity::read(folder.path()).unwrap(), None);
        let node = NodeIdentity {
            store: StoreId([7; 16]),
            node: NodeId::new(3),
            partitions: 4,
            holds_id: true,
        };
        let store =
            |is_begun| DataIdentity::Embedded(StoreIdentity { store: StoreId([9; 16]), is_begun });
        for identity in [store(false), store(true), DataIdentity::Node(node)] {
            identity.write(folder.path()).unwrap();
            assert_eq!(DataIdentity::read(folder.path()).unwrap(), Some(identity));
            // One copy is enough, whichever it is, and mends the other; none is too few.
            for damaged in ["identity.a", "identity.b"] {
                fs::write(folder.path().join(damaged), b"siltstone store 2 00 00").unwrap();
                assert_eq!(DataIdentity::read(folder.path()).unwrap(), Some(identity));
                identity.mend(folder.path()).unwrap();
            }
        }
        for lost in ["identity.a", "identity.b"] {
            fs::remove_file(folder.path().join(lost)).unwrap();
        }
        assert_eq!(DataIdentity::read(folder.path()).unwrap(), None);
    }

    /// A store was begun, and power was lost between its two copies of that.
    #[test]
    fn what_either_copy_says_of_the_past_has_happened() {
        let folder = tempfile::tempdir().unwrap();
        let identity =
            |is_begun| DataIdentity::Embedded(StoreIdentity { store: StoreId([9; 16]), is_begun });
        for behind in ["identity.a", "identity.b"] {
            identity(false).write(folder.path()).unwrap();
            let old = fs::read(folder.path().join(behind)).unwrap();
            identity(true).write(folder.path()).unwrap();
            fs::write(folder.path().join(behind), old).unwrap();
            assert_eq!(
                DataIdentity::read(folder.path()).unwrap(),
                Some(identity(true)),
                "{behind}"
            );
        }
    }

    #[test]
    fn a_directory_with_data_and_no_identity_is_no_new_one() {
        for name in ["log", "p0000", "p0013", "spool", "log-0000.mark"] {
            let folder = tempfile::tempdir().unwrap();
            fs::create_dir(folder.path().join(name)).unwrap();
            let error = DataIdentity::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("pictures")).unwrap();
        assert_eq!(DataIdentity::read(folder.path()).unwrap(), None);
        let line = "siltstone store 1 09090909090909090909090909090909 00000000\n";
        fs::write(folder.path().join("identity.a"), line).unwrap();
        let error = DataIdentity::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("an earlier version"), "{error}");
    }
}
