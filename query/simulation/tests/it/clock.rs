//! A wall clock that is wrong for a while dates nothing that is written later, and little of what is written then.

use std::time::Duration;

use ingest::mutant::Mutant;
use ingest::name::ObjectKey;
use ingest::record::{Versioning, WriteCondition};
use query::listing::{self, ListItem, ListRequest, ListStart};
use simulator::{Sim, SimDisk};

use crate::world::{Engine, open};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
const SLACK: i64 = compactor::partition::TIME_SLACK.as_micros() as i64;

struct Dated<'a> {
    sim: &'a Sim,
    disk: &'a SimDisk,
    /// By how much the wall clock is wrong just now.
    wrong: i64,
}

impl Dated<'_> {
    fn right_time(&self) -> i64 {
        self.sim.env(self.disk).clock.wall().micros() - self.wrong
    }

    fn jump(&mut self, micros: i64) {
        self.sim.jump_wall_clock(micros);
        self.wrong += micros;
    }

    /// Puts an object; gives by how much its date is wrong.
    async fn put(&self, engine: &Engine, name: &str) -> Result<i64, String> {
        let buckets = engine.partition.buckets();
        let bucket = buckets.iter().next().ok_or("no bucket")?.id;
        let key = ObjectKey::new(name.as_bytes().to_vec()).expect("a short key");
        engine.put(bucket, &key, b"payload", WriteCondition::Always).await?;
        let request = ListRequest {
            bucket,
            prefix: name.to_owned().into(),
            delimiter: Default::default(),
            from: ListStart::Start,
            max: 1,
        };
        let listed = listing::versions(&engine.partition.snapshot(), &request).await;
        let listed = listed.map_err(|error| error.to_string())?.listed;
        let Some(ListItem::Line(line)) = listed.into_iter().next() else {
            return Err(format!("{name} is not there"));
        };
        Ok(line.created.micros() - self.right_time())
    }
}

/// Jumps of each length while the store runs, with and without writes meanwhile, then back, then a restart.
fn jumps(mutant: Option<Mutant>) -> Result<(), String> {
    for ahead in [61 * SECOND, 3600 * SECOND, DAY, 29 * DAY, 400 * DAY, 20 * 365 * DAY] {
        for writes in [false, true] {
            let mut sim = Sim::new(1);
            sim.set_mutant(mutant);
            let disk = SimDisk::new(&sim);
            let run = sim.block_on(&disk, async {
                let mut dated = Dated { sim: &sim, disk: &disk, wrong: 0 };
                let mut engine = open(&sim, &disk).await?;
                engine.bucket("plain", Versioning::Off).await?;
                let mut dates = vec![("before", dated.put(&engine, "before").await?)];
                dated.jump(ahead);
                if writes {
                    dates.push(("during", dated.put(&engine, "during").await?));
                    assert!(!engine.partition.warnings().is_empty(), "the jump is told");
                }
                // A cut, a barrier, an empty cut, the fencer: all of them are records.
                sim.sleep(Duration::from_secs(30)).await;
                engine.partition.cut().await.map_err(|error| error.to_string())?;
                assert!(engine.partition.readiness().is_ok(), "writes are taken all the same");
                dated.jump(-ahead);
                dates.push(("after", dated.put(&engine, "after").await?));
                assert_eq!(engine.partition.warnings(), Vec::<String>::new());
                engine.close().await;
                engine = open(&sim, &disk).await?;
                dates.push(("restarted", dated.put(&engine, "restarted").await?));
                engine.close().await;
                Ok::<_, String>(dates)
            });
            sim.stop();
            for (when, wrong) in run.map_err(|stopped| format!("{stopped:?}"))?? {
                if wrong.abs() > SLACK + SECOND {
                    let (wrong, ahead) = (wrong / SECOND, ahead / SECOND);
                    return Err(format!("{ahead} s ahead: {when}: dated {wrong} s wrong"));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn a_clock_that_jumps_ahead_dates_nothing() {
    jumps(None).unwrap_or_else(|error| panic!("{error}"));
}

/// A start with a clock that is years ahead, and one with a clock that is behind.
#[test]
fn a_start_with_a_wrong_clock_poisons_nothing() {
    for wrong in [-20 * 365 * DAY, -DAY, 31 * DAY, 20 * 365 * DAY] {
        let sim = Sim::new(2);
        let disk = SimDisk::new(&sim);
        let run = sim.block_on(&disk, async {
            let mut dated = Dated { sim: &sim, disk: &disk, wrong: 0 };
            let engine = open(&sim, &disk).await?;
            engine.bucket("plain", Versioning::Off).await?;
            dated.put(&engine, "before").await?;
            engine.close().await;
            dated.jump(wrong);
            let engine = open(&sim, &disk).await?;
            let during = dated.put(&engine, "during").await?;
            engine.close().await;
            dated.jump(-wrong);
            let engine = open(&sim, &disk).await?;
            let after = dated.put(&engine, "after").await?;
            Ok::<_, String>((during, after))
        });
        sim.stop();
        let (during, after) = run.expect("it ran").expect("it wrote");
        assert!(during.abs() <= SLACK && after.abs() <= SLACK, "{wrong}: {during}, {after}");
    }
}

/// A store that was down for long, and one whose operator knows better.
#[test]
fn a_right_clock_is_believed_or_can_be_confirmed() {
    let sim = Sim::new(3);
    let disk = SimDisk::new(&sim);
    let run = sim.block_on(&disk, async {
        // What jumps here is right: the store was down, or its clock was behind before.
        let dated = Dated { sim: &sim, disk: &disk, wrong: 0 };
        let engine = open(&sim, &disk).await?;
        engine.bucket("plain", Versioning::Off).await?;
        dated.put(&engine, "first").await?;
        engine.close().await;
        sim.jump_wall_clock(29 * DAY);
        let engine = open(&sim, &disk).await?;
        assert!(dated.put(&engine, "down for a month").await?.abs() <= SLACK);
        sim.jump_wall_clock(DAY);
        assert!(dated.put(&engine, "doubted").await? < -DAY + 2 * SLACK);
        assert!(engine.partition.clock_ahead().1);
        engine.partition.believe_clock();
        assert!(dated.put(&engine, "confirmed").await?.abs() <= SLACK);
        assert!(!engine.partition.clock_ahead().1);
        // Back by five minutes: time stands, and goes on when the clock has caught up.
        sim.jump_wall_clock(-300 * SECOND);
        assert!(dated.put(&engine, "back").await? > 290 * SECOND);
        sim.sleep(Duration::from_secs(310)).await;
        assert!(dated.put(&engine, "caught up").await?.abs() <= SLACK);
        Ok::<_, String>(())
    });
    run.expect("it ran").expect("it wrote");
    sim.stop();
}

#[cfg(feature = "mutants")]
#[test]
fn seeded_bug_of_the_clock_is_found() {
    let error = jumps(Some(Mutant::BelieveAnyClock)).expect_err("BelieveAnyClock");
    println!("BelieveAnyClock: {error}");
}
