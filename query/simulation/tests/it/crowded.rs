//! A catalog that nears the most files that it can name: growth is refused long before, and nothing else is.

use compactor::partition::PartitionOptions;
use ingest::name::ObjectKey;
use ingest::record::{Versioning, WriteCondition};
use simulator::{Sim, SimDisk};

use crate::world::{open, open_as, options};

/// A store that goes on acknowledging and cutting until its catalog can be read no more cannot be opened again.
#[test]
fn a_store_stops_growing_before_its_catalog_is_full() {
    let sim = Sim::new(1);
    let disk = SimDisk::new(&sim);
    let files_max = 20;
    let done = sim.block_on(&disk, async {
        let small = PartitionOptions { files_max, ..options() };
        let engine = open_as(&sim, &disk, |log| log, small).await?;
        let bucket = engine.bucket("plain", Versioning::Off).await?;
        let key =
            |number: usize| ObjectKey::new(format!("k{number}").into_bytes()).expect("a short key");
        // Each cut makes a segment, of hot payload, and each holds an object that stays.
        let mut written = 0;
        let refused = loop {
            match engine.put(bucket, &key(written), b"content", WriteCondition::Always).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
            engine.partition.cut().await.map_err(|error| error.to_string())?;
            assert!(written < 40, "it never stops");
        };
        assert!(refused.contains("segments of at most 20"), "{refused}");
        assert_eq!(written, 18);
        assert!(engine.partition.crowded().is_some());
        assert!(engine.partition.catalog_fill() >= 0.9);
        // What is there is served, also after a restart, and deletes make room again.
        engine.close().await;
        let small = PartitionOptions { files_max, ..options() };
        let engine = open_as(&sim, &disk, |log| log, small).await?;
        assert_eq!(engine.versions(bucket, 7).await.map_err(|e| e.to_string())?.len(), 18);
        for number in 0..18 {
            engine.delete(bucket, &key(number)).await?;
        }
        engine.partition.cut().await.map_err(|error| error.to_string())?;
        engine.partition.merge().await.map_err(|error| error.to_string())?;
        let mut waited = 0;
        while engine.partition.crowded().is_some() {
            sim.env(&disk).clock.sleep(std::time::Duration::from_secs(1)).await;
            waited += 1;
            assert!(waited < 60, "no room again");
        }
        engine.put(bucket, &key(0), b"again", WriteCondition::Always).await?;
        engine.close().await;
        open(&sim, &disk).await.map(|_| ())
    });
    assert_eq!(done, Ok(Ok(())));
}
