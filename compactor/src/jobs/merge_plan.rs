//! Which runs are merged next: decided from the catalog alone.

use ingest::ids::RunId;

use crate::catalog::RunMeta;

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
