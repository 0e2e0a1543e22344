//! Several nodes in one world: each is stopped, paused and cut off from power without the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ingest::env::{Env, FilePath, OpenMode};
use simulator::{CrashSurvival, RunLimits, RunStopped, Sim, SimDisk};

const SECOND: Duration = Duration::from_secs(1);

/// Starts a task that counts seconds.
fn count_seconds(env: &Env) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let (clock, counted) = (env.clock.clone(), count.clone());
    let task = env.rt.spawn(
        "count",
        Box::pin(async move {
            loop {
                clock.sleep(SECOND).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        }),
    );
    task.detach();
    count
}

struct Nodes {
    sim: Sim,
    disks: [SimDisk; 2],
}

impl Nodes {
    fn new(seed: u64) -> Self {
        let sim = Sim::new(seed);
        let disks = [SimDisk::new(&sim), SimDisk::new(&sim)];
        Self { sim, disks }
    }

    fn env(&self, node: usize) -> Env {
        self.sim.node_env(node, &self.disks[node])
    }

    /// Lets time pass, in tenths of a second, so that stories need not end just when a second does.
    async fn pass(&self, tenths: u32) {
        self.sim.sleep(SECOND / 10 * tenths).await;
    }
}

fn seen(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// Says when it is dropped.
struct Last(Arc<AtomicU64>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_stopped_node_takes_only_its_own_tasks_along() {
    for seed in 0..20 {
        let nodes = Nodes::new(seed);
        let run = nodes.sim.block_on_cluster(async {
            let old = nodes.env(0);
            let counts = [count_seconds(&old), count_seconds(&nodes.env(1))];
            let dropped = Arc::new(AtomicU64::new(0));
            let last = Last(dropped.clone());
            let held = async move {
                std::future::pending::<()>().await;
                drop(last);
            };
            old.rt.spawn("hold", Box::pin(held)).detach();
            nodes.pass(35).await;
            nodes.sim.stop_node(0);
            assert_eq!(seen(&dropped), 1, "its tasks are gone at once");
            // Whoever holds the old environment starts nothing any more.
            let late = count_seconds(&old);
            let new = count_seconds(&nodes.env(0));
            nodes.pass(53).await;
            (counts.map(|count| seen(&count)), seen(&late), seen(&new))
        });
        assert_eq!(run, Ok(([3, 8], 0, 5)), "seed {seed}");
    }
}

#[test]
fn a_paused_node_stands_still_and_runs_on() {
    for seed in 0..20 {
        let nodes = Nodes::new(seed);
        let run = nodes.sim.block_on_cluster(async {
            let counts = [count_seconds(&nodes.env(0)), count_seconds(&nodes.env(1))];
            let seen_now = || [seen(&counts[0]), seen(&counts[1])];
            nodes.pass(25).await;
            nodes.sim.pause_node(0);
            assert!(nodes.sim.is_held(0) && !nodes.sim.is_held(1));
            nodes.pass(100).await;
            let paused = seen_now();
            nodes.sim.resume_node(0);
            nodes.pass(23).await;
            (paused, seen_now())
        });
        // The sleep that ran out during the pause counts once; the next begins when the node runs on.
        assert_eq!(run, Ok(([2, 12], [2 + 1 + 2, 14])), "seed {seed}");
    }
}

async fn write(env: &Env, name: &str, is_synced: bool) {
    let path = FilePath::new(name);
    let file = env.disk.open(&path, OpenMode::Create).await.expect("created");
    file.write_at(0, Bytes::from_static(b"bytes")).await.expect("written");
    if is_synced {
        file.sync().await.expect("synced");
        env.disk.sync_folder(None).await.expect("synced");
    }
}

#[test]
fn a_crashed_node_loses_what_it_did_not_sync_and_the_others_nothing() {
    for seed in 0..20 {
        let nodes = Nodes::new(seed);
        let run = nodes.sim.block_on_cluster(async {
            let envs = [nodes.env(0), nodes.env(1)];
            for env in &envs {
                write(env, "kept", true).await;
                write(env, "lost", false).await;
            }
            // A sync that has begun and not ended when the power goes.
            let path = FilePath::new("kept");
            let file = envs[0].disk.open(&path, OpenMode::Write).await.expect("there");
            file.write_at(0, Bytes::from_static(b"BYTES")).await.expect("written");
            let sync = file.sync();
            nodes.sim.crash_node(0, &nodes.disks[0], CrashSurvival::DropAll);
            drop(sync);
            nodes.pass(10).await;
            // What the old life had begun does not end in the new one.
            nodes.sim.crash_node(0, &nodes.disks[0], CrashSurvival::DropAll);
        });
        assert_eq!(run, Ok(()), "seed {seed}");
        let names = |disk: &SimDisk| -> Vec<String> {
            disk.files().iter().map(|path| path.as_str().to_owned()).collect()
        };
        assert_eq!(names(&nodes.disks[0]), ["kept"], "seed {seed}");
        let kept = nodes.disks[0].read_all(&FilePath::new("kept"));
        assert_eq!(kept.as_deref(), Some(b"bytes".as_slice()), "seed {seed}");
        assert_eq!(names(&nodes.disks[1]), ["kept", "lost"], "seed {seed}");
    }
}

#[test]
fn a_node_without_power_stands_still_until_it_is_crashed() {
    for seed in 0..20 {
        let nodes = Nodes::new(seed);
        let run = nodes.sim.block_on_cluster(async {
            let env = nodes.env(0);
            let count = count_seconds(&nodes.env(1));
            nodes.disks[0].crash_at(3);
            let writing = env.clone();
            let write = async move {
                for number in 0..100 {
                    write(&writing, &format!("file-{number}"), true).await;
                }
            };
            env.rt.spawn("write", Box::pin(write)).detach();
            let busy = count_seconds(&env);
            nodes.pass(10_000).await;
            assert!(nodes.disks[0].is_dead() && nodes.sim.is_held(0));
            nodes.sim.resume_node(0);
            assert!(nodes.sim.is_held(0), "a node without power cannot be resumed");
            nodes.sim.crash_node(0, &nodes.disks[0], CrashSurvival::DropAll);
            assert!(!nodes.sim.is_held(0));
            let again = count_seconds(&nodes.env(0));
            nodes.pass(35).await;
            (seen(&busy), seen(&again), seen(&count))
        });
        let (busy, again, other) = run.expect("a run");
        assert!(busy <= 200, "seed {seed}: it lingers for some polls only, not {busy} seconds");
        assert_eq!((again, other), (3, 1003), "seed {seed}");
    }
}

#[test]
fn a_run_ends_at_its_limits_or_when_nothing_can_happen() {
    let mut nodes = Nodes::new(0);
    let stalled = nodes.sim.block_on_cluster(std::future::pending::<()>());
    assert_eq!(stalled, Err(RunStopped::Stalled));
    nodes.sim.set_limits(RunLimits { time: SECOND * 60, ..RunLimits::CLUSTER });
    count_seconds(&nodes.env(0));
    let endless = nodes.sim.block_on_cluster(std::future::pending::<()>());
    assert_eq!(endless, Err(RunStopped::Endless));
    assert!(nodes.sim.now().nanos() < SECOND.as_nanos() as u64 * 65);
}
