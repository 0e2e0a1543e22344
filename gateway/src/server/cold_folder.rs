//! The folder of the cold place: made, or linked to a folder on another device, by the first start, and recognised by
//! every later one.
//!
//! `cold` in the data directory is the folder itself, or a link to it. Server, `fsck` and other tools reach the files
//! through this name, so none of them needs the setting, and a forgotten setting changes nothing. Two files in the
//! folder have the id of the store; `docs/formats/directory.md` specifies their line. Without one of them the folder is
//! not the store's: its device is not mounted, or the link leads elsewhere.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ingest::env::system::IDENTITY_FILES;
use ingest::ids::StoreId;
use ingest::place::Place;

use super::identity::{data_in, make_folder, sync_folder_of, write_private};
use crate::config::ServerSettings;

/// Ensures that the cold folder of a store is there. A new store makes it, or links to the folder that the settings name; any
/// other store must have it already. `is_begun` is true for a store that has been served before: it has
/// a cold folder, and nothing is made in its place.
///
/// On return folder, link and identity are durable. Fails, without any change to a store that is begun, if the folder is
/// missing, is not the one of the setting, or belongs to another store.
pub fn open(settings: &ServerSettings, store: StoreId, is_begun: bool) -> anyhow::Result<()> {
    let setting = settings.storage.cold_folder.as_deref();
    open_in(&settings.service.data, setting, store, is_begun)
}

/// Does the work of [`open`] in a data directory. `setting` is the folder that the operator names.
fn open_in(
    data: &Path,
    setting: Option<&Path>,
    store: StoreId,
    is_begun: bool,
) -> anyhow::Result<()> {
    let folder = data.join(Place::FOLDER);
    if fs::symlink_metadata(&folder).is_err() && !is_begun {
        make(&folder, setting, store)?;
    }
    if let Some(setting) = setting
        && real(&folder)? != real(setting)?
    {
        bail!(
            "the cold folder of this store is {}, not {}: to move it, stop the server, copy the folder with everything \
             in it, and make {} a link to the copy",
            real(&folder)?.display(),
            setting.display(),
            folder.display()
        );
    }
    match check(&folder, store)? {
        Some(lost) => mend(&folder, store, lost),
        None if is_begun => bail!(
            "{} is not the cold folder of this store: it has no identity file. If its device is not mounted, mount it \
             and start again",
            folder.display()
        ),
        None => write_identity(&folder, store),
    }
}

/// Fails unless the cold folder of a data directory is there and belongs to the store. Changes nothing.
pub fn verify(data: &Path, store: StoreId) -> anyhow::Result<()> {
    let folder = data.join(Place::FOLDER);
    if check(&folder, store)?.is_none() {
        bail!("{} is not there, or its device is not mounted", folder.display());
    }
    Ok(())
}

/// The absolute path of a folder without links. Fails if the folder is not there.
fn real(folder: &Path) -> anyhow::Result<PathBuf> {
    let found = fs::canonicalize(folder);
    found.with_context(|| format!("the cold folder {} cannot be used", folder.display()))
}

/// Makes the cold folder of a new store, with its identity, and the link to it if the operator names a folder.
fn make(folder: &Path, setting: Option<&Path>, store: StoreId) -> anyhow::Result<()> {
    let Some(setting) = setting else { return make_folder(folder) };
    make_folder(setting)?;
    if check(setting, store)?.is_none() {
        if let Some(name) = data_in(setting)? {
            bail!("{} holds data ({name}) and no identity file", setting.display());
        }
        write_identity(setting, store)?;
    }
    let target = real(setting)?;
    symlink(&target, folder).with_context(|| format!("cannot link to {}", target.display()))?;
    sync_folder_of(folder)
}

fn copies(folder: &Path) -> [PathBuf; 2] {
    IDENTITY_FILES.map(|name| folder.join(name))
}

fn text(store: StoreId) -> String {
    let line = format!("siltstone cold 1 {}", hex::encode(store.0));
    format!("{line} {:08x}\n", crc32c::crc32c(line.as_bytes()))
}

/// Returns `None` if the folder has no identity file, otherwise true if one of the two copies is missing or damaged.
/// Fails if no copy can be read, and if a copy is of another store.
fn check(folder: &Path, store: StoreId) -> anyhow::Result<Option<bool>> {
    let (mut good, mut damaged, mut missing) = (0, 0, 0);
    for path in copies(folder) {
        match fs::read(&path) {
            Ok(found) if found == text(store).as_bytes() => good += 1,
            Ok(found) if is_of_another(&found) => {
                bail!("{} is the cold folder of another store", folder.display());
            }
            Ok(_) => damaged += 1,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => missing += 1,
            Err(error) => bail!("cannot read {}: {error}", path.display()),
        }
    }
    match (good, damaged, missing) {
        (0, 0, _) => Ok(None),
        (0, ..) => bail!("the identity of the cold folder {} is corrupt", folder.display()),
        (good, ..) => Ok(Some(good < 2)),
    }
}

/// True for a whole line of any store or data directory.
fn is_of_another(found: &[u8]) -> bool {
    let text = String::from_utf8_lossy(found);
    text.trim_end().rsplit_once(' ').is_some_and(|(line, crc)| {
        line.starts_with("siltstone ") && format!("{:08x}", crc32c::crc32c(line.as_bytes())) == crc
    })
}

/// Writes the identity again if a copy of it was lost.
fn mend(folder: &Path, store: StoreId, is_lost: bool) -> anyhow::Result<()> {
    if !is_lost {
        return Ok(());
    }
    tracing::warn!("a copy of the cold folder's identity is restored from the other copy");
    write_identity(folder, store)
}

/// Writes both copies of the identity, one after the other; on return both are durable.
fn write_identity(folder: &Path, store: StoreId) -> anyhow::Result<()> {
    copies(folder).iter().try_for_each(|path| write_private(path, text(store).as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: StoreId = StoreId([7; 16]);
    const OTHER: StoreId = StoreId([8; 16]);

    /// A data directory and a folder for cold payload, both not made yet.
    fn folders() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let all = tempfile::tempdir().unwrap();
        let (data, cold) = (all.path().join("data"), all.path().join("device/cold"));
        make_folder(&data).unwrap();
        (all, data, cold)
    }

    fn refused(opened: anyhow::Result<()>, word: &str) {
        let error = format!("{:#}", opened.unwrap_err());
        assert!(error.contains(word), "{word:?} in {error:?}");
    }

    #[test]
    fn a_new_store_makes_it_and_a_later_start_finds_it() {
        for named in [false, true] {
            let (_all, data, cold) = folders();
            let setting = named.then_some(cold.as_path());
            open_in(&data, setting, OWN, false).unwrap();
            // The start may have been interrupted; a second first start changes nothing.
            open_in(&data, setting, OWN, false).unwrap();
            open_in(&data, setting, OWN, true).unwrap();
            open_in(&data, None, OWN, true).unwrap();
            verify(&data, OWN).unwrap();
            assert_eq!(cold.join("identity.a").exists(), named);
            for lost in IDENTITY_FILES {
                fs::remove_file(data.join("cold").join(lost)).unwrap();
                open_in(&data, None, OWN, true).unwrap();
                fs::write(data.join("cold").join(lost), b"siltstone co").unwrap();
                open_in(&data, None, OWN, true).unwrap();
                assert_eq!(check(&data.join("cold"), OWN).unwrap(), Some(false));
            }
        }
    }

    #[test]
    fn another_folder_is_refused() {
        let (_all, data, cold) = folders();
        open_in(&data, Some(&cold), OWN, false).unwrap();
        let elsewhere = data.join("elsewhere");
        refused(open_in(&data, Some(&elsewhere), OWN, true), "cannot be used");
        fs::create_dir(&elsewhere).unwrap();
        refused(open_in(&data, Some(&elsewhere), OWN, true), "to move it");
        refused(open_in(&data, Some(&cold), OTHER, true), "another store");
        refused(verify(&data, OTHER), "another store");
        // The same folder for a second store.
        let second = data.join("second");
        make_folder(&second).unwrap();
        refused(open_in(&second, Some(&cold), OTHER, false), "another store");
        assert!(!second.join("cold").exists());
        // A data directory, and a folder with files of a store and without a name.
        for name in IDENTITY_FILES {
            fs::write(elsewhere.join(name), "siltstone store 2 07 begun 9d5ee0a4\n").unwrap();
        }
        fs::create_dir(data.join("nameless")).unwrap();
        fs::create_dir(data.join("nameless/p0000")).unwrap();
        refused(open_in(&second, Some(&elsewhere), OTHER, false), "corrupt");
        refused(open_in(&second, Some(&data.join("nameless")), OTHER, false), "p0000");
    }

    #[test]
    fn a_folder_that_is_gone_is_no_empty_one() {
        let (_all, data, cold) = folders();
        open_in(&data, Some(&cold), OWN, false).unwrap();
        // The device is not mounted: the folder is there, and empty.
        for name in IDENTITY_FILES {
            fs::remove_file(cold.join(name)).unwrap();
        }
        refused(open_in(&data, Some(&cold), OWN, true), "mount it");
        refused(verify(&data, OWN), "mounted");
        fs::remove_dir_all(&cold).unwrap();
        refused(open_in(&data, Some(&cold), OWN, true), "cannot be used");
        refused(open_in(&data, None, OWN, true), "mount it");
        // Even the link is gone: nothing is made in its place.
        fs::remove_file(data.join("cold")).unwrap();
        refused(open_in(&data, None, OWN, true), "mount it");
        assert!(fs::symlink_metadata(data.join("cold")).is_err());
    }
}
