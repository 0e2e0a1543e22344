//! How a run ends: everything is mended, all nodes come to the same, and that is what clients were told.

use std::collections::BTreeSet;
use std::time::Duration;

use ingest::ids::{CutNumber, Offset, PartitionId};
use ingest::log::{BarrierToken, Log};
use ingest::record::RecordBody;
use simulator::SimRandom;

use super::client::{Client, KEYS};
use super::history::is_linearizable;
use super::node::Running;
use super::world::{NODES, World};

/// A cluster without faults must be whole again within this.
const HEALS_WITHIN: u32 = 300;
const SECOND: Duration = Duration::from_secs(1);

impl World<'_> {
    /// Waits for something that must come once nothing is broken.
    async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<(), String> {
        for _ in 0..HEALS_WITHIN {
            if is_so() {
                return Ok(());
            }
            self.sim.sleep(SECOND).await;
        }
        Err(format!("{what}: not within {HEALS_WITHIN} s without a fault"))
    }

    pub async fn all_up(&self) -> Result<(), String> {
        self.until("all nodes are up", || (0..NODES).all(|n| self.running(n).is_some())).await
    }

    /// Mends everything; a node without power gets it back.
    pub async fn mend(&self) -> Result<(), String> {
        self.brokers.mend();
        for node in 0..NODES {
            if self.disk(node).is_dead() {
                self.cut_power(node, simulator::CrashSurvival::DropAll, Duration::ZERO);
            }
            self.disk(node).clear_faults();
            // One whose power would still go at some operation has been spared.
            self.disk(node).crash_at(u64::MAX);
            self.disk(node).set_capacity(None);
            self.sim.resume_node(node);
        }
        // What a node had no room for it gets by being made anew from the log.
        for node in (0..NODES).filter(|node| self.was_full(*node)) {
            self.count("nodes made anew after a full disk");
            self.wipe(node, Duration::ZERO);
        }
        self.all_up().await
    }

    async fn cut(&self, partition: usize) -> Result<(), String> {
        for _ in 0..HEALS_WITHIN {
            let node = self.random.below(NODES as u64) as usize;
            if let Some(running) = self.running(node) {
                let copy = running.partitions[partition].clone();
                let cut = async move { copy.cut().await.is_ok() };
                if self.ask(&running, SECOND * 30, cut).await == Some(true) {
                    return Ok(());
                }
            }
            self.sim.sleep(SECOND).await;
        }
        Err(format!("p{partition}: no cut can be made"))
    }

    /// All copies come to the same cut with the same digest.
    async fn agree(&self, partition: usize) -> Result<CutNumber, String> {
        self.cut(partition).await?;
        let sealed = |node: usize| {
            let running = self.running(node)?;
            let copy = &running.partitions[partition];
            let catalog = &copy.snapshot().view.sealed.catalog;
            let splits = &copy.counters().digest_splits;
            let splits = splits.load(std::sync::atomic::Ordering::Relaxed);
            Some((catalog.cut, catalog.next, catalog.digest, splits))
        };
        let all = || -> Option<Vec<_>> { (0..NODES).map(sealed).collect() };
        let is_same = || all().is_some_and(|all| all.iter().all(|one| one.0 == all[0].0));
        self.until("all copies are at one cut", is_same).await?;
        let all = all().ok_or("a node has gone")?;
        match all.iter().all(|one| (one.1, one.2, one.3) == (all[0].1, all[0].2, 0)) {
            true => Ok(all[0].0),
            false => Err(format!("p{partition}: copies differ at cut {}: {all:?}", all[0].0)),
        }
    }

    /// The numbers of all cuts that a partition's log asks for.
    async fn asked_cuts(&self, running: &Running, id: PartitionId) -> Option<BTreeSet<CutNumber>> {
        let log = running.log.clone();
        let read = async move {
            let token = log.barrier(id).await.ok()?;
            let mut reader = log.read(id, Offset::ZERO).await.ok()?;
            let mut asked = BTreeSet::new();
            loop {
                for found in reader.next().await.ok()? {
                    if let RecordBody::Cut { number } = found.record.body {
                        asked.insert(number);
                    }
                    if token == BarrierToken::Record(found.record.id) {
                        return Some(asked);
                    }
                }
            }
        };
        self.ask(running, SECOND * 60, read).await.flatten()
    }

    /// Every cut has the number of a record that made it: no record made two.
    async fn check_cuts(&self, partition: usize, last: CutNumber) -> Result<(), String> {
        let running = self.running(0).ok_or("node 0 has gone")?;
        let id = PartitionId::new(partition as u32);
        let mut asked = None;
        for _ in 0..HEALS_WITHIN {
            asked = self.asked_cuts(&running, id).await;
            if asked.is_some() {
                break;
            }
            // A client may be replaced even now, for what befell earlier; whoever waits for it asks again.
            self.sim.sleep(SECOND).await;
        }
        let asked = asked.ok_or(format!("p{partition}: its log cannot be read"))?;
        let mut number = CutNumber::ZERO;
        while number < last {
            number = number.next();
            if !asked.contains(&number) {
                return Err(format!("p{partition}: cut {number} of {last} was never asked for"));
            }
        }
        Ok(())
    }

    async fn read_all(&self, client: &mut Client<'_>, running: &Running) -> Result<(), String> {
        let wait = SECOND * 60;
        for partition in 0..running.partitions.len() {
            for key in 0..KEYS {
                while !client.read_once(running, partition, key, wait).await? {
                    self.sim.sleep(SECOND).await;
                }
            }
            while !client.list_once(running, partition, wait).await? {
                self.sim.sleep(SECOND).await;
            }
        }
        Ok(())
    }

    /// Streams that clients have given up are over everywhere, where nothing kept anybody from saying so.
    async fn check_streams(&self) -> Result<(), String> {
        if !self.is_calm.get() {
            return Ok(());
        }
        let open = |node: usize| {
            self.running(node).map_or(0, |running| {
                let streams = |copy: &std::sync::Arc<compactor::partition::Partition>| {
                    copy.counters().streams.load(std::sync::atomic::Ordering::Relaxed)
                };
                running.partitions.iter().map(streams).sum::<u64>()
            })
        };
        let are_over = || (0..NODES).all(|node| open(node) == 0);
        self.until("streams that were given up are over", are_over).await
    }

    /// Checks everything that must hold once all is mended.
    pub async fn check(&self) -> Result<(), String> {
        self.mend().await?;
        self.check_streams().await?;
        let partitions = self.settings.partitions as usize;
        let mut client = Client::new(self, SimRandom::new(self.random.below(u64::MAX)));
        for node in 0..NODES {
            let running = self.running(node).ok_or("a node has gone")?;
            self.read_all(&mut client, &running).await.map_err(|e| format!("node {node}: {e}"))?;
        }
        let mut cuts = Vec::new();
        for partition in 0..partitions {
            cuts.push(self.agree(partition).await?);
            self.check_cuts(partition, cuts[partition]).await?;
        }
        // What the log tells a node that has nothing is what the others have; and what the others have
        // sealed is there when they start from it.
        let node = self.random.below(NODES as u64) as usize;
        match self.random.chance(50) {
            true => self.wipe(node, Duration::ZERO),
            false => self.cut_power(node, simulator::CrashSurvival::DropAll, Duration::ZERO),
        }
        self.all_up().await?;
        for (partition, cut) in cuts.iter().enumerate() {
            let again = self.agree(partition).await?;
            if again < *cut {
                return Err(format!("p{partition}: cut {cut} became {again}"));
            }
        }
        let running = self.running(node).ok_or("a node has gone")?;
        self.read_all(&mut client, &running).await.map_err(|e| format!("node {node}: {e}"))?;
        (0..NODES).for_each(|node| self.count_life(node));
        for ((partition, key), history) in self.histories.borrow().iter() {
            if !is_linearizable(history) {
                let lines: Vec<String> = history.iter().map(|o| format!("  {o:?}")).collect();
                return Err(format!(
                    "key {key} of p{partition} cannot be explained:\n{}",
                    lines.join("\n")
                ));
            }
        }
        Ok(())
    }
}
