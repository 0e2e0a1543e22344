//! What befalls the cluster while clients are at work, drawn from the seed.

use std::time::Duration;

use ingest::ids::PartitionId;
use simulator::brokers::{BROKERS, Endpoint};
use simulator::{CrashSurvival, DiskFault, DiskOperation, FaultKind, SimRandom};

use super::world::{NODES, World};

/// What may happen.
const KINDS: u64 = 13;

/// Brings faults one after the other and takes most of them back. Each seed has some kinds of faults only:
/// a few that come again and again reach deeper than all of them in turn.
pub struct Faults<'a> {
    world: &'a World<'a>,
    random: SimRandom,
    kinds: Vec<u64>,
}

impl<'a> Faults<'a> {
    pub fn new(world: &'a World<'a>, random: SimRandom) -> Self {
        let kinds = (0..1 + random.below(5)).map(|_| random.below(KINDS)).collect();
        Self { world, random, kinds }
    }

    /// A broker, and rather one that leads.
    fn broker(&self) -> usize {
        let partition = self.random.below(u64::from(self.world.settings.partitions)) as u32;
        let leader = self.world.brokers.leader(PartitionId::new(partition));
        let any = self.random.below(BROKERS as u64) as usize;
        leader.filter(|_| self.random.chance(60)).unwrap_or(any)
    }

    fn up_to(&self, millis: u64) -> Duration {
        Duration::from_millis(1 + self.random.below(millis))
    }

    /// How long something lasts: most blink, some outlast every time-out but that for a lost log.
    fn while_(&self) -> Duration {
        let longest = [300, 3_000, 12_000, 40_000][self.random.below(4) as usize];
        self.up_to(longest)
    }

    fn survival(&self) -> CrashSurvival {
        match self.random.below(4) {
            0 => CrashSurvival::DropAll,
            1 => CrashSurvival::KeepAll,
            2 => CrashSurvival::TearLast,
            _ => CrashSurvival::Random(self.random.below(u64::MAX)),
        }
    }

    /// Two at a time, each with pauses of its own.
    pub async fn befall(&self, count: u64) {
        let one_after_the_other = async || {
            for _ in 0..count {
                self.world.sim.sleep(self.up_to(6_000)).await;
                self.one().await;
            }
        };
        futures::future::join(one_after_the_other(), one_after_the_other()).await;
    }

    async fn one(&self) {
        let (world, sim, brokers) = (self.world, self.world.sim, &self.world.brokers);
        let broker = self.broker();
        let node = self.random.below(NODES as u64) as usize;
        let lasts = self.while_();
        match self.kinds[self.random.below(self.kinds.len() as u64) as usize] {
            0 => {
                world.count("brokers crashed");
                brokers.crash(broker);
                sim.sleep(lasts).await;
                brokers.restart(broker);
            }
            1 => {
                world.count("brokers paused");
                brokers.pause(broker);
                sim.sleep(lasts).await;
                brokers.resume(broker);
            }
            2 => {
                world.count("brokers cut off from brokers");
                brokers.isolate(broker);
                sim.sleep(lasts).await;
                for other in (0..BROKERS).filter(|other| *other != broker) {
                    brokers.join(Endpoint::Broker(broker), Endpoint::Broker(other));
                }
            }
            3 => {
                world.count("nodes cut off from one broker");
                brokers.split(Endpoint::Node(node), Endpoint::Broker(broker));
                sim.sleep(lasts).await;
                brokers.join(Endpoint::Node(node), Endpoint::Broker(broker));
            }
            4 => {
                world.count("nodes cut off");
                brokers.isolate_node(node);
                sim.sleep(lasts).await;
                for broker in 0..BROKERS {
                    brokers.join(Endpoint::Node(node), Endpoint::Broker(broker));
                }
            }
            5 => {
                world.count("nodes paused");
                sim.pause_node(node);
                sim.sleep(lasts).await;
                sim.resume_node(node);
            }
            6 => {
                world.count("nodes killed");
                world.kill(node, lasts);
            }
            7 => {
                world.count("nodes without power");
                world.cut_power(node, self.survival(), lasts);
            }
            8 => self.lose_power_at_an_operation(node, lasts).await,
            9 => {
                world.count("nodes wiped");
                world.wipe(node, lasts);
            }
            10 => {
                world.count("full disks");
                world.fill_disk(node, self.random.below(400_000));
                sim.sleep(lasts).await;
                world.disk(node).set_capacity(None);
            }
            11 => {
                world.count("clock jumps");
                // A few hours, or years.
                let hours = [4, 350_000][self.random.below(2) as usize];
                let range = hours * 3_600_000_000;
                let micros = self.random.below(range) as i64 - (range / 2) as i64;
                sim.jump_wall_clock(micros);
            }
            _ => self.hurt_reads(node),
        }
    }

    /// Reads of a node fail for a moment, or handles run out.
    fn hurt_reads(&self, node: usize) {
        self.world.count("reads hurt");
        let (operation, kind, times) = match self.random.below(4) {
            0 => (DiskOperation::Read, FaultKind::Error, 1),
            1 => (DiskOperation::Read, FaultKind::Garbled, 1),
            2 => (DiskOperation::Read, FaultKind::Exhausted, 1 + self.random.below(30)),
            _ => (DiskOperation::Open, FaultKind::Exhausted, 1 + self.random.below(10)),
        };
        // Where a start reads its catalog and makes its folders it fails in words, and that is all.
        let path = ["runs", "segments", "bulk", "spool/"][self.random.below(4) as usize];
        let fault = DiskFault::once(operation, path, self.random.below(20), kind);
        self.world.disk(node).inject(DiskFault { times, ..fault });
    }

    /// The power goes at a disk operation, where it hurts, and not between two.
    async fn lose_power_at_an_operation(&self, node: usize, down: Duration) {
        let world = self.world;
        let disk = world.disk(node);
        disk.crash_at(disk.operations() + 1 + self.random.below(80));
        for _ in 0..30 {
            world.sim.sleep(self.up_to(500)).await;
            if disk.is_dead() {
                world.count("nodes without power at an operation");
                break;
            }
        }
        // A node that was wiped meanwhile has another disk, and this one is nobody's.
        world.cut_power(node, self.survival(), down);
    }
}
