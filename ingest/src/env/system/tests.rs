//! Both kinds of disk do what the seam says, on real files.

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
            let file = disk.open(&path, Open::Create).await.unwrap();
            let again = disk.open(&path, Open::Create).await.err().unwrap();
            assert_eq!(again.kind, DiskErrorKind::Exists);
            file.allocate(8192).await.unwrap();
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
            let gone = disk.open(&other, Open::Read).await.err().unwrap();
            assert_eq!(gone.kind, DiskErrorKind::NotFound);
            assert_eq!(file.read_at(10, 5).await.unwrap(), "hello");
            assert!(disk.free_bytes().await.unwrap() > 0);
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
            let file = disk.open(&folder.join("file"), Open::Create).await.unwrap();
            drop(file.write_at(0, Bytes::from_static(b"done")));
            while file.len().await.unwrap() < 4 {}
            assert_eq!(file.read_at(0, 4).await.unwrap(), "done");
        });
    }
}
