//! Both kinds of disk keep the contract of the trait, on real files.

use super::*;
use crate::env::DiskErrorKind;

fn disks(root: &Path) -> [Arc<dyn Disk>; 2] {
    let pooled = OsDisk::pooled(root.join("pooled"), 2).unwrap();
    let dedicated = OsDisk::dedicated(root.join("dedicated"));
    [Arc::new(pooled), Arc::new(dedicated)]
}

#[test]
fn files_are_written_read_renamed_and_removed() {
    let root = tempfile::tempdir().unwrap();
    for disk in disks(root.path()) {
        futures::executor::block_on(async {
            let folder = FilePath::new("a/b");
            disk.create_folder(&folder).await.unwrap();
            let path = folder.join("file");
            let file = disk.open(&path, OpenMode::Create).await.unwrap();
            let again = disk.open(&path, OpenMode::Create).await.err().unwrap();
            assert_eq!(again.kind, DiskErrorKind::Exists);
            file.allocate(0..8192).await.unwrap();
            file.write_at(10, Bytes::from_static(b"hello")).await.unwrap();
            file.write_synced(15, Bytes::from_static(b" world")).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(file.len().await.unwrap(), 8192);
            assert_eq!(file.read_at(10, 11).await.unwrap(), "hello world");
            let short = file.read_at(8190, 10).await.err().unwrap();
            assert_eq!(short.kind, DiskErrorKind::ShortRead);
            let other = folder.join("other");
            disk.rename(&path, &other).await.unwrap();
            disk.sync_folder(Some(&folder)).await.unwrap();
            disk.sync_folder(None).await.unwrap();
            assert_eq!(disk.list(&folder).await.unwrap(), [(other.clone(), 8192)]);
            disk.remove(&other).await.unwrap();
            let gone = disk.open(&other, OpenMode::Read).await.err().unwrap();
            assert_eq!(gone.kind, DiskErrorKind::NotFound);
            assert_eq!(file.read_at(10, 5).await.unwrap(), "hello");
            assert!(disk.free_bytes(Place::Hot).await.unwrap() > 0);
        });
    }
}

/// Blocks that a file takes, in bytes.
fn blocks(root: &Path) -> u64 {
    ["pooled/a/file", "dedicated/a/file"]
        .iter()
        .filter_map(|name| fs::metadata(root.join(name)).ok())
        .map(|metadata| metadata.blocks() * 512)
        .sum()
}

#[test]
fn space_is_reserved_by_range_and_given_back() {
    const MIB: u64 = 1 << 20;
    let root = tempfile::tempdir().unwrap();
    for disk in disks(root.path()) {
        let before = blocks(root.path());
        let taken = || blocks(root.path()) - before;
        futures::executor::block_on(async {
            disk.create_folder(&FilePath::new("a")).await.unwrap();
            let file = disk.open(&FilePath::new("a/file"), OpenMode::Create).await.unwrap();
            file.allocate(64 * MIB..72 * MIB).await.unwrap();
            assert_eq!(file.len().await.unwrap(), 72 * MIB);
            assert!((8 * MIB..9 * MIB).contains(&taken()), "{} bytes for 8 MiB", taken());
            let payload = Bytes::from(vec![7; 2 << 20]);
            file.write_at(65 * MIB, payload.clone()).await.unwrap();
            file.discard_unwritten().await.unwrap();
            assert!((2 * MIB..3 * MIB).contains(&taken()), "{} bytes for 2 MiB", taken());
            assert_eq!(file.read_at(65 * MIB, 2 << 20).await.unwrap(), payload);
            file.discard(65 * MIB..66 * MIB).await.unwrap();
            assert!((MIB..2 * MIB).contains(&taken()), "{} bytes for 1 MiB", taken());
            assert_eq!(file.read_at(66 * MIB, 1 << 20).await.unwrap(), payload.slice(..1 << 20));
            assert!(file.read_at(65 * MIB, 1 << 20).await.unwrap().iter().all(|byte| *byte == 0));
            assert_eq!(file.len().await.unwrap(), 72 * MIB);
        });
    }
}

#[test]
fn an_operation_whose_future_is_dropped_is_done() {
    let root = tempfile::tempdir().unwrap();
    for disk in disks(root.path()) {
        futures::executor::block_on(async {
            let folder = FilePath::new("a");
            disk.create_folder(&folder).await.unwrap();
            let file = disk.open(&folder.join("file"), OpenMode::Create).await.unwrap();
            drop(file.write_at(0, Bytes::from_static(b"done")));
            while file.len().await.unwrap() < 4 {}
            assert_eq!(file.read_at(0, 4).await.unwrap(), "done");
        });
    }
}
