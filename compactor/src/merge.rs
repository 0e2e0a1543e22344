//! Merging runs: neighbours of one level become one run of the next, so that their number stays bounded.
//!
//! A merge keeps what is visible and drops what is superseded; tombstones go once nothing can lie below
//! them, which is when the oldest run takes part. Segments are not touched: entries keep pointing where
//! they did. What a merge drops is counted, and a file that nothing refers to any more is let go.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ingest::entry::EntryKey;
use ingest::env::{Fut, Task};
use ingest::ids::{Offset, RunId};
use ingest::log::{Corruption, ReadError};
use ingest::mutant::Mutant;

use crate::catalog::{Catalog, RunMeta};
use crate::job_error::JobError;
use crate::manifest::{ManifestCursor, ManifestRow};
use crate::partition::PartitionShared;
use crate::run_writer::{FileReferences, RunSpan, RunWriter};
use crate::state::StateKey;
use crate::state_value::{decode_state_value, is_forgotten};
use crate::table::TableCursor;
use crate::tags::{entry_hash, tagged_entry};
use crate::view::OpenRun;
use crate::visibility::{Visibility, VisibilityVerdict};

/// Which runs to merge: neighbours in the catalog's order, oldest first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergePlan {
    /// Their ids.
    pub runs: Vec<RunId>,
    /// The new run's level.
    pub level: u8,
    /// Whether the oldest run takes part, so that nothing can lie below the result.
    pub is_bottom: bool,
}

/// Plans the next merge: the lowest level of which `fan_in` neighbours stand together.
///
/// Runs stand oldest first and levels fall from old to new, so there are at most `fan_in - 1` of each
/// level after planning comes to rest, and the number of levels grows with the logarithm of the entries.
pub fn plan(runs: &[RunMeta], fan_in: usize) -> Option<MergePlan> {
    let mut end = runs.len();
    while end > 0 {
        let level = runs[end - 1].level;
        let start = runs[..end].iter().rposition(|run| run.level != level).map_or(0, |at| at + 1);
        if end - start >= fan_in {
            return Some(MergePlan {
                runs: runs[start..end].iter().map(|run| run.id).collect(),
                level: level.saturating_add(1),
                is_bottom: start == 0,
            });
        }
        end = start;
    }
    None
}

/// Plans one merge of everything, if there is more than one run.
///
/// The result's level is that which cuts like the smallest fresh one would come to with so many entries. Otherwise
/// the one large run of a young store would stand at a low level, and be written anew for a handful of tiny cuts.
pub fn plan_whole(runs: &[RunMeta], fan_in: usize) -> Option<MergePlan> {
    let highest = runs.iter().map(|run| run.level).max()?;
    let entries: u64 = runs.iter().map(|run| run.entries).sum();
    let fresh = runs.iter().filter(|run| run.level == 0 && run.entries > 0);
    // Without a fresh run nothing says what a cut holds; the highest level stands.
    let cuts = fresh.map(|run| run.entries).min().map_or(1, |smallest| entries / smallest);
    let by_size = cuts.max(1).ilog(fan_in.max(2) as u64) as u8;
    (runs.len() > 1).then(|| MergePlan {
        runs: runs.iter().map(|run| run.id).collect(),
        level: highest.max(by_size),
        is_bottom: true,
    })
}

/// Whether somebody has asked for one merge of everything, and what became of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum FullMerge {
    /// It is done, or nobody has asked.
    #[default]
    Done,
    /// It is to be done next.
    Wanted,
    /// It failed; nothing has changed.
    Failed(String),
}

/// Starts the task that merges and collects.
pub(crate) fn start(shared: &Arc<PartitionShared>) -> Task {
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        loop {
            let is_whole = *shared.whole_merge.borrow() == FullMerge::Wanted;
            let plan = {
                let view = shared.view.read();
                let runs = &view.sealed.catalog.runs;
                if is_whole {
                    plan_whole(runs, shared.options.merge_fan_in)
                } else {
                    plan(runs, shared.options.merge_fan_in)
                }
            };
            if is_whole {
                let merged = match plan {
                    Some(plan) => merge(&shared, &plan).await,
                    None => Ok(()),
                };
                shared.merged.notify_one();
                shared.whole_merge.send_replace(match merged {
                    Ok(()) => FullMerge::Done,
                    Err(error) => FullMerge::Failed(error.to_string()),
                });
                continue;
            }
            let Some(plan) = plan else {
                shared.merges.done();
                shared.reopen_damaged().await;
                crate::gc::collect_garbage(&shared).await;
                // Woken by cuts; now and then by itself, since a reader may have let a file go.
                let tick = Duration::from_secs(5);
                let _ =
                    ingest::env::timeout(shared.env.clock.as_ref(), tick, shared.sealed.notified())
                        .await;
                continue;
            };
            let merged = merge(&shared, &plan).await;
            shared.merged.notify_one();
            if let Err(error) = merged {
                tracing::error!(%error, ?plan, "runs could not be merged; trying again later");
                shared.merges.fail(&error);
                shared.reopen_damaged().await;
                crate::gc::collect_garbage(&shared).await;
                shared.env.clock.sleep(Duration::from_secs(10)).await;
            } else {
                shared.merges.done();
            }
        }
    });
    env.rt.spawn_dedicated("merger", task)
}

async fn merge(shared: &PartitionShared, plan: &MergePlan) -> Result<(), JobError> {
    let view = shared.view.read().clone();
    let mut inputs: Vec<Arc<OpenRun>> = Vec::new();
    for id in &plan.runs {
        let open = view.sealed.runs.iter().find(|open| open.run.id == *id);
        inputs.push(open.expect("the plan was made from this catalog or an earlier one").clone());
    }
    if shared.env.mutated(Mutant::WrongRunOrder) {
        inputs.reverse();
    }
    let disk = &shared.env.disk_dedicated;
    let mut ids = shared.publisher.take_ids();
    let drops_tombstones = plan.is_bottom || shared.env.mutated(Mutant::DropTombstonesEarly);
    let mut writer = RunWriter::create(disk, &shared.layout, ids.run, plan.is_bottom).await?;
    let mut dropped = FileReferences::default();
    let gone = merge_entries(&inputs, drops_tombstones, &mut writer, &mut dropped).await?;
    merge_tags(&inputs, &gone, &mut writer).await?;
    let next = view.sealed.catalog.next;
    merge_states(&inputs, drops_tombstones, next, &mut writer, &mut dropped).await?;
    let first = inputs.iter().map(|open| open.run.first).min().unwrap_or_default();
    let below = inputs.iter().map(|open| open.run.below).max().unwrap_or_default();
    let (run, written) = writer.finish(RunSpan { level: plan.level, first, below }).await?;
    disk.sync_folder(Some(&shared.layout.runs_folder())).await?;
    let edit = |catalog: &mut Catalog| replace(catalog, plan, run, &written, &dropped);
    let published = shared.publish(None, edit).await;
    ids.note(&published);
    Ok(published?)
}

/// Puts the merged run where its inputs stood.
fn replace(
    catalog: &mut Catalog,
    plan: &MergePlan,
    run: RunMeta,
    written: &FileReferences,
    dropped: &FileReferences,
) {
    let place = catalog.runs.iter().position(|run| plan.runs.contains(&run.id));
    let place = place.expect("only merges take runs out of the catalog, and there is one merger");
    catalog.runs.retain(|run| !plan.runs.contains(&run.id));
    catalog.runs.insert(place, run);
    // The new run's references come in before those of its inputs go out, so no count dips below what
    // is really held.
    written.add_to(catalog);
    dropped.add_to(catalog);
}

/// The stream of one input run.
struct RowSource {
    cursor: ManifestCursor,
    head: Option<(EntryKey, ManifestRow)>,
}

impl RowSource {
    async fn advance(&mut self) -> Result<(), ReadError> {
        self.head = self.cursor.next().await?.map(|row| (row.entry_key(), row));
        Ok(())
    }
}

/// Merges rows; gives the hashes of entries with tags that are dropped.
async fn merge_entries(
    inputs: &[Arc<OpenRun>],
    drops_tombstones: bool,
    writer: &mut RunWriter,
    dropped: &mut FileReferences,
) -> Result<BTreeSet<u64>, JobError> {
    let mut gone = BTreeSet::new();
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs {
        let manifest = open.manifest.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut source = RowSource { cursor: manifest.cursor()?, head: None };
        source.advance().await?;
        sources.push(source);
    }
    let mut group = Bytes::new();
    let mut visibility = Visibility::default();
    loop {
        let heads = sources.iter().enumerate();
        let lowest = heads
            .filter_map(|(index, source)| source.head.as_ref().map(|(key, _)| (key, index)))
            .min_by(|(a, _), (b, _)| a.cmp(b))
            .map(|(_, index)| index);
        let Some(index) = lowest else { return Ok(gone) };
        let Some((key, row)) = sources[index].head.take() else { return Ok(gone) };
        sources[index].advance().await?;
        // Every input row's references go; those that are kept are counted anew by the writer.
        dropped.count_row(&row, -1);
        if key.group() != group.as_ref() {
            group = Bytes::copy_from_slice(key.group());
            visibility = Visibility::default();
        }
        match visibility.judge(key.version(), row.shape()) {
            VisibilityVerdict::Visible => writer.push(row).await?,
            VisibilityVerdict::Tombstone if !drops_tombstones => writer.push(row).await?,
            VisibilityVerdict::Superseded | VisibilityVerdict::Tombstone => {
                if row.object.is_some_and(|object| !object.tags.is_empty()) {
                    gone.insert(entry_hash(key.as_bytes()));
                }
            }
        }
    }
}

/// Merges tag tables, without the tags of entries that are gone. A hash that stands for another entry as well takes that
/// entry's tags, too: with 64 bits that is less likely than a wrong bit that passes its checksum.
async fn merge_tags(
    inputs: &[Arc<OpenRun>],
    gone: &BTreeSet<u64>,
    writer: &mut RunWriter,
) -> Result<(), JobError> {
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs {
        let table = open.tags.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        cursor.seek(b"").await?;
        sources.push(cursor);
    }
    loop {
        let heads = sources.iter().enumerate();
        let lowest = heads.filter_map(|(index, source)| source.key().map(|key| (key, index))).min();
        let Some((key, index)) = lowest else { return Ok(()) };
        let entry = tagged_entry(key).ok_or_else(|| malformed(&inputs[index]))?;
        if !gone.contains(&entry_hash(&entry)) {
            let key = key.to_vec();
            writer.push_tag(&key).await?;
        }
        sources[index].advance().await?;
    }
}

fn malformed(open: &OpenRun) -> ReadError {
    ReadError::Corrupt(Corruption {
        file: format!("tag table of run {}", open.run.id),
        position: 0,
        detail: "a tag's key is malformed".into(),
    })
}

struct StateSource {
    run: u64,
    cursor: TableCursor,
}

impl StateSource {
    fn key(&self) -> Option<StateKey> {
        self.cursor.key().map(|key| StateKey(Bytes::copy_from_slice(key)))
    }
}

/// Merges state entries: of each key the newest run's value stays.
async fn merge_states(
    inputs: &[Arc<OpenRun>],
    drops_tombstones: bool,
    next: Offset,
    writer: &mut RunWriter,
    dropped: &mut FileReferences,
) -> Result<(), JobError> {
    let mut sources = Vec::with_capacity(inputs.len());
    for open in inputs.iter().rev() {
        let table = open.state.as_ref().map_err(|c| ReadError::Corrupt(c.clone()))?;
        let mut cursor = table.cursor();
        cursor.seek(b"").await?;
        sources.push(StateSource { run: open.run.id.get(), cursor });
    }
    while let Some(key) = sources.iter().filter_map(StateSource::key).min() {
        let mut newest: Option<Option<Bytes>> = None;
        for source in &mut sources {
            if source.key().as_ref() != Some(&key) {
                continue;
            }
            let value = source.cursor.value_bytes().expect("a cursor with a key has a value");
            let value = decode_state_value(value, source.run)?;
            dropped.count_state(&key, value.as_ref(), -1)?;
            newest.get_or_insert(value);
            source.cursor.advance().await?;
        }
        let value = newest.flatten().filter(|value| !is_forgotten(&key, Some(value), next));
        if value.is_some() || !drops_tombstones {
            writer.push_state(&key, value.as_ref()).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(levels: &[u8]) -> Vec<RunMeta> {
        let run = |(id, level): (usize, &u8)| RunMeta {
            id: RunId::new(id as u64),
            level: *level,
            ..RunMeta::default()
        };
        levels.iter().enumerate().map(run).collect()
    }

    #[test]
    fn a_plan_takes_neighbours_of_the_newest_level_that_is_full() {
        let picked = |levels: &[u8]| {
            plan(&runs(levels), 3).map(|plan| {
                let ids: Vec<u64> = plan.runs.iter().map(|id| id.get()).collect();
                (ids, plan.level, plan.is_bottom)
            })
        };
        assert_eq!(picked(&[]), None);
        assert_eq!(picked(&[0, 0]), None);
        assert_eq!(picked(&[0, 0, 0]), Some((vec![0, 1, 2], 1, true)));
        assert_eq!(picked(&[1, 0, 0, 0]), Some((vec![1, 2, 3], 1, false)));
        assert_eq!(picked(&[1, 1, 1, 0]), Some((vec![0, 1, 2], 2, true)));
        assert_eq!(picked(&[2, 1, 1, 0, 0]), None);
    }

    #[test]
    fn a_whole_merge_takes_all_runs_and_keeps_their_highest_level() {
        assert_eq!(plan_whole(&runs(&[]), 4), None);
        assert_eq!(plan_whole(&runs(&[3]), 4), None);
        let plan = plan_whole(&runs(&[2, 1, 0]), 4).unwrap();
        assert_eq!((plan.runs.len(), plan.level, plan.is_bottom), (3, 2, true));
    }

    /// Levels and entries, oldest first; the level of one run of all of them.
    #[test]
    fn a_whole_merge_of_a_young_store_gets_the_level_of_its_size() {
        let level = |sized: &[(u8, u64)]| {
            let levels: Vec<u8> = sized.iter().map(|(level, _)| *level).collect();
            let mut runs = runs(&levels);
            runs.iter_mut().zip(sized).for_each(|(run, (_, entries))| run.entries = *entries);
            plan_whole(&runs, 4).map(|plan| plan.level)
        };
        assert_eq!(level(&[(0, 1_000_000), (0, 10)]), Some(8));
        assert_eq!(level(&[(1, 1_000_000), (0, 10)]), Some(8));
        assert_eq!(level(&[(2, 160), (0, 10), (0, 10)]), Some(2));
        assert_eq!(level(&[(9, 160), (0, 10)]), Some(9));
        assert_eq!(level(&[(1, 40), (1, 40)]), Some(1));
        assert_eq!(level(&[(0, 0), (0, 0)]), Some(0));
    }

    #[test]
    fn the_number_of_runs_stays_bounded() {
        let mut levels: Vec<u8> = Vec::new();
        for _ in 0..10_000 {
            levels.push(0);
            while let Some(plan) = plan(&runs(&levels), 4) {
                let at = plan.runs[0].get() as usize;
                levels.splice(at..at + plan.runs.len(), [plan.level]);
            }
            assert!(levels.len() <= 3 * 7, "{levels:?}");
        }
    }
}
