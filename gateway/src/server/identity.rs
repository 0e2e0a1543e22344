//! Whose a data directory is: a store on one machine, or a node's copy of a cluster's.
//!
//! Two copies of one line with a checksum; `docs/formats/directory.md` specifies it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::bail;
use ingest::words::{NodeId, StoreId};

/// Whose a data directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Identity {
    /// A store with a log of its own.
    Embedded(StoreId),
    /// A node's copy of a store whose log is on brokers.
    Node(NodeIdentity),
}

/// See [`Identity::Node`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeIdentity {
    /// The store, which all nodes share.
    pub store: StoreId,
    /// Which node.
    pub node: NodeId,
    /// How many partitions the store has.
    pub partitions: u32,
    /// Whether the node's id has been confirmed for this directory.
    pub holds_id: bool,
}

impl Identity {
    /// The store.
    pub fn store(&self) -> StoreId {
        match self {
            Identity::Embedded(store) => *store,
            Identity::Node(node) => node.store,
        }
    }

    fn line(&self) -> String {
        match self {
            Identity::Embedded(store) => format!("siltstone store 1 {}", hex::encode(store.0)),
            Identity::Node(node) => {
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
            ["siltstone", "store", "1", id] => Some(Identity::Embedded(store(id)?)),
            ["siltstone", "node", "1", id, node, partitions, held] => {
                Some(Identity::Node(NodeIdentity {
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

    /// Reads whose a directory is; none when it is new.
    pub fn read(data: &Path) -> anyhow::Result<Option<Self>> {
        let mut damaged = Vec::new();
        for path in &Self::copies(data) {
            match fs::read(path) {
                // A copy that is not even text is damaged like any other.
                Ok(bytes) => match Self::parse(&String::from_utf8_lossy(&bytes)) {
                    Some(identity) => return Ok(Some(identity)),
                    None => damaged.push(path.display().to_string()),
                },
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => bail!("cannot read {}: {error}", path.display()),
            }
        }
        if !damaged.is_empty() {
            bail!("the store's identity is corrupt: {}", damaged.join(", "));
        }
        // Without an identity there must be no data either.
        if data.join("log").exists() || data.join("p0000").exists() {
            bail!("{} holds data and no identity file", data.display());
        }
        Ok(None)
    }

    /// Writes whose a directory is, durably.
    pub fn write(&self, data: &Path) -> anyhow::Result<()> {
        let line = self.line();
        let text = format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()));
        Self::copies(data).iter().try_for_each(|path| write_private(path, text.as_bytes()))
    }
}

/// Draws an id for a new store.
pub fn new_store() -> anyhow::Result<StoreId> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(StoreId(id))
}

/// Makes the name of a file or folder durable.
pub fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

/// Writes a file that only its owner may read, durably and at once.
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
        assert_eq!(Identity::read(folder.path()).unwrap(), None);
        let node = NodeIdentity {
            store: StoreId([7; 16]),
            node: NodeId::new(3),
            partitions: 4,
            holds_id: true,
        };
        for identity in [Identity::Embedded(StoreId([9; 16])), Identity::Node(node)] {
            identity.write(folder.path()).unwrap();
            assert_eq!(Identity::read(folder.path()).unwrap(), Some(identity));
            // One copy is enough, whichever it is; none is too few.
            fs::write(folder.path().join("identity.a"), b"siltstone store 1 00 00").unwrap();
            assert_eq!(Identity::read(folder.path()).unwrap(), Some(identity));
        }
        fs::remove_file(folder.path().join("identity.b")).unwrap();
        assert!(Identity::read(folder.path()).is_err());
    }
}
