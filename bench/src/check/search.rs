//! Searches for an order of the steps on one key that explains all that was seen.
//!
//! The order must be that of a register: each step takes effect at one moment between its begin and its end,
//! and sees the content that the step before it left. The search is Wing and Gong's ("Testing and verifying
//! concurrent objects", 1993), in the form of Lowe's just-in-time linearization ("Testing for
//! linearizability", 2017). The search processes begins and ends in the order of time and keeps every
//! *configuration* that is possible so far: the content of the key, and which of the steps under way have
//! taken effect. When a step ends that has not taken effect in a configuration, steps under way take effect
//! there, in every possible order, up to and with that step. If no configuration is left, there is no order.
//!
//! Five rules keep the number of configurations small, and none loses a possible order:
//!
//! - **Steps that only see take effect as soon as the content that they see is there.** They change nothing,
//!   so an earlier moment is never worse.
//! - **A content is not replaced too early.** Values are unique, and each is written once. While a step that
//!   needs a value has not begun yet, nothing may replace that value, or the step could never be explained.
//! - **Values that no step names are one value.** No step can distinguish them.
//! - **Of steps with the same effect, the one that ends first takes effect first.** If another one did, the
//!   two could change places.
//! - **Steps that may also never take effect are counted, not remembered.** An unacknowledged write that no
//!   operation has seen may explain a condition that failed; an unacknowledged delete may explain an absence.
//!   Neither can be left out. Steps of the same effect are interchangeable once they have begun, and a
//!   configuration that has used fewer of them can do everything that one can which has used more. Of two
//!   configurations that differ only in this, the one that has used fewer is kept.
//!
//! The search is bounded. A search that exceeds its bounds proves nothing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The most steps under way at a time: each has a bit.
const UNDER_WAY_MAX: usize = u128::BITS as usize;

/// The content of a key, as far as the steps distinguish contents.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SearchContent(u32);

impl SearchContent {
    /// No object: the content at the beginning.
    pub const ABSENT: Self = Self(0);
    /// Some value that no step names.
    pub const UNNAMED: Self = Self(1);

    /// The value with this number, which must be below `u32::MAX - 1`; each named value of a key needs
    /// another number.
    pub fn named(number: u32) -> Self {
        Self(number + 2)
    }

    fn is_named(self) -> bool {
        self.0 >= 2
    }
}

/// The effect of a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepEffect {
    /// Sees exactly this content.
    Sees(SearchContent),
    /// Sees that there is an object.
    SeesSome,
    /// Sees that this content is not there.
    SeesOtherThan(SearchContent),
    /// Sees any content, without a requirement.
    SeesAny,
    /// Replaces the content, if the content before is the required one.
    Sets {
        /// The content that must be there, or else the step cannot take effect. `None` requires nothing.
        only_over: Option<SearchContent>,
        /// The content afterwards.
        to: SearchContent,
    },
}

/// A step on a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SearchStep {
    /// The moment before which the step has not taken effect.
    pub begin: u64,
    /// The moment by which the step has taken effect. `None`: it may take effect at any later time, or never.
    pub end: Option<u64>,
    /// The effect of the step.
    pub effect: StepEffect,
}

/// The result of a search.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SearchResult {
    /// There is an order.
    Order,
    /// There is no order.
    Contradiction,
    /// Not known: the search exceeded its bounds.
    Nothing,
}

/// Searches for an order of `steps`, which may be given in any order, through at most `configurations_max`
/// configurations.
///
/// Returns [`SearchResult::Nothing`] if more configurations would be needed, or if more than
/// [`UNDER_WAY_MAX`] steps that must take effect are under way at a time. The caller must set each named
/// content by one step only.
pub fn search(steps: &[SearchStep], configurations_max: usize) -> SearchResult {
    let mut search = Search::new(steps, configurations_max);
    for event in events(steps) {
        let gone_on = match event {
            (moment, false, step) => search.begin(moment, step),
            (moment, true, step) => search.end(moment, step),
        };
        if let Err(found) = gone_on {
            return found;
        }
    }
    SearchResult::Order
}

/// Begins (`false`) and ends (`true`) of steps in the order of time. A step that begins when another one ends
/// is concurrent with it.
fn events(steps: &[SearchStep]) -> Vec<(u64, bool, usize)> {
    let begins = steps.iter().enumerate().map(|(index, step)| (step.begin, false, index));
    let ends = steps.iter().enumerate().filter_map(|(index, step)| Some((step.end?, true, index)));
    let mut events: Vec<_> = begins.chain(ends).collect();
    events.sort_unstable();
    events
}

/// Steps that may also never take effect and have the same effect, by number.
type StepKind = u32;

/// The number of steps of each kind that have taken effect, ordered by kind; kinds without any are left out.
type UsedSteps = Vec<(StepKind, u32)>;

/// A possible state of the key, with the steps under way that have led to it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Configuration {
    content: SearchContent,
    /// The steps under way that have taken effect, one bit for each place.
    done: u128,
}

/// For each configuration, the ways to reach it with the fewest used steps.
type Configurations = HashMap<Configuration, Vec<UsedSteps>>;

/// A search under way, at one moment of the steps' time.
struct Search<'a> {
    steps: &'a [SearchStep],
    configurations: Configurations,
    left: usize,
    /// The steps under way that must take effect, each at its place.
    places: [usize; UNDER_WAY_MAX],
    /// The places in use, one bit for each.
    under_way: u128,
    /// The places of the steps that set a content, in the order in which the steps end.
    setting: Vec<usize>,
    /// For each content, the begin of the last step that needs it.
    needed_until: HashMap<SearchContent, u64>,
    /// For each value, the only step that sets it, if that step must take effect.
    writers: HashMap<SearchContent, usize>,
    /// The kinds of steps that may never take effect, by the content that they require: the kind, and the
    /// content that it sets.
    kinds: HashMap<Option<SearchContent>, Vec<(StepKind, SearchContent)>>,
    /// The number of steps of each kind that have begun.
    begun: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(steps: &'a [SearchStep], configurations_max: usize) -> Self {
        let start = Configuration { content: SearchContent::ABSENT, done: 0 };
        let mut search = Self {
            steps,
            configurations: Configurations::from([(start, vec![UsedSteps::new()])]),
            left: configurations_max,
            places: [usize::MAX; UNDER_WAY_MAX],
            under_way: 0,
            setting: Vec::new(),
            needed_until: HashMap::new(),
            writers: HashMap::new(),
            kinds: HashMap::new(),
            begun: Vec::new(),
        };
        for (index, step) in steps.iter().enumerate().filter(|(_, step)| step.end.is_some()) {
            if let Some(content) = needed(step.effect).filter(|content| content.is_named()) {
                let until = search.needed_until.entry(content).or_default();
                *until = step.begin.max(*until);
            }
            if let StepEffect::Sets { to, .. } = step.effect {
                search.writers.insert(to, index);
            }
        }
        search
    }

    fn begin(&mut self, moment: u64, step: usize) -> Result<(), SearchResult> {
        let SearchStep { begin, end, effect } = self.steps[step];
        debug_assert_eq!(begin, moment);
        match (end, effect) {
            (None, StepEffect::Sets { only_over, to }) => self.begin_optional(only_over, to),
            // A step that need not take effect and would change nothing.
            (None, _) => {}
            (Some(_), _) => {
                let free = self.under_way.trailing_ones() as usize;
                if free == UNDER_WAY_MAX {
                    return Err(SearchResult::Nothing);
                }
                self.places[free] = step;
                self.under_way |= 1 << free;
                if let StepEffect::Sets { .. } = effect {
                    let ends_later = |place: &usize| self.steps[self.places[*place]].end > end;
                    let at = self.setting.iter().position(ends_later).unwrap_or(self.setting.len());
                    self.setting.insert(at, free);
                } else {
                    self.see(free, effect);
                }
            }
        }
        Ok(())
    }

    fn begin_optional(&mut self, only_over: Option<SearchContent>, to: SearchContent) {
        let alike = self.kinds.entry(only_over).or_default();
        match alike.iter().find(|(_, other)| *other == to) {
            Some((kind, _)) => self.begun[*kind as usize] += 1,
            None => {
                alike.push((self.begun.len() as StepKind, to));
                self.begun.push(1);
            }
        }
    }

    /// Marks a step that only sees as done in every configuration whose content it sees.
    fn see(&mut self, place: usize, effect: StepEffect) {
        let before = std::mem::take(&mut self.configurations);
        self.configurations = before
            .into_iter()
            .map(|(mut configuration, used)| {
                configuration.done |= u128::from(is_seen(effect, configuration.content)) << place;
                (configuration, used)
            })
            .collect();
    }

    fn end(&mut self, moment: u64, step: usize) -> Result<(), SearchResult> {
        let place = self.place(step).expect("a step has its place until it ends");
        let target = 1 << place;
        let mut next = Configurations::new();
        let mut waiting = Vec::new();
        for (configuration, ways) in std::mem::take(&mut self.configurations) {
            if configuration.done & target != 0 {
                ways.into_iter().for_each(|used| _ = keep(&mut next, configuration, used));
            } else if self.is_in_reach(configuration, step) {
                waiting.extend(ways.into_iter().map(|used| (configuration, used)));
            }
        }
        let mut met = Configurations::new();
        while let Some((configuration, used)) = waiting.pop() {
            self.left = self.left.checked_sub(1).ok_or(SearchResult::Nothing)?;
            self.go_on(moment, configuration, &used, |then, used| {
                if then.done & target != 0 {
                    keep(&mut next, then, used);
                } else if keep(&mut met, then, used.clone()) {
                    waiting.push((then, used));
                }
            });
        }
        self.under_way &= !target;
        self.setting.retain(|setting| *setting != place);
        for (mut configuration, ways) in next {
            configuration.done &= !target;
            for used in ways {
                keep(&mut self.configurations, configuration, used);
            }
        }
        match self.configurations.is_empty() {
            true => Err(SearchResult::Contradiction),
            false => Ok(()),
        }
    }

    /// Returns false if a step can never be explained from here: the content that it needs is not there, and
    /// no step under way that has not taken effect sets it.
    fn is_in_reach(&self, configuration: Configuration, step: usize) -> bool {
        let needed = needed(self.steps[step].effect).filter(|content| content.is_named());
        let Some(needed) = needed.filter(|needed| *needed != configuration.content) else {
            return true;
        };
        let place = self.writers.get(&needed).and_then(|writer| self.place(*writer));
        place.is_some_and(|place| configuration.done & 1 << place == 0)
    }

    /// Returns the place of a step; `None` unless it is under way.
    fn place(&self, step: usize) -> Option<usize> {
        bits(self.under_way).find(|place| self.places[*place] == step)
    }

    /// Passes to `take` each configuration that follows from one more step that sets a content.
    ///
    /// Passes nothing while a step that begins after `moment` needs the present content.
    fn go_on(
        &self,
        moment: u64,
        from: Configuration,
        used: &UsedSteps,
        mut take: impl FnMut(Configuration, UsedSteps),
    ) {
        // Steps that begin at this very moment have begun: of the events at one moment, begins come first.
        if self.needed_until.get(&from.content).is_some_and(|until| *until > moment) {
            return;
        }
        let mut tried = Vec::new();
        let left = self.setting.iter().filter(|place| from.done & 1 << **place == 0);
        for place in left {
            let effect = self.steps[self.places[*place]].effect;
            if let StepEffect::Sets { only_over, to } = effect
                && only_over.is_none_or(|content| content == from.content)
                && !tried.contains(&effect)
            {
                tried.push(effect);
                take(self.seen(to, from.done | 1 << place), used.clone());
            }
        }
        for only_over in [None, Some(from.content)] {
            for (kind, to) in self.kinds.get(&only_over).into_iter().flatten() {
                let is_tried = tried.contains(&StepEffect::Sets { only_over, to: *to });
                if is_tried || *to == from.content {
                    continue;
                }
                if let Some(used) = with_one_more(used, *kind, self.begun[*kind as usize]) {
                    take(self.seen(*to, from.done), used);
                }
            }
        }
    }

    /// Returns the configuration with a new content, after all steps that see this content have taken effect.
    fn seen(&self, content: SearchContent, mut done: u128) -> Configuration {
        for place in bits(self.under_way & !done) {
            let effect = self.steps[self.places[place]].effect;
            done |= u128::from(is_seen(effect, content)) << place;
        }
        Configuration { content, done }
    }
}

/// The positions of the bits that are set, lowest first.
fn bits(mut set: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lowest = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(lowest)
    })
}

/// Returns the content without which a step cannot take effect, if it needs exactly one.
fn needed(effect: StepEffect) -> Option<SearchContent> {
    match effect {
        StepEffect::Sees(content) => Some(content),
        StepEffect::Sets { only_over, .. } => only_over,
        StepEffect::SeesSome | StepEffect::SeesOtherThan(_) | StepEffect::SeesAny => None,
    }
}

/// Returns true if a step of this effect only sees, and sees `content`.
fn is_seen(effect: StepEffect, content: SearchContent) -> bool {
    match effect {
        StepEffect::Sees(seen) => seen == content,
        StepEffect::SeesSome => content != SearchContent::ABSENT,
        StepEffect::SeesOtherThan(other) => content != other,
        StepEffect::SeesAny => true,
        StepEffect::Sets { .. } => false,
    }
}

/// Adds one step of a kind; `None` unless more of that kind have begun than are used.
fn with_one_more(used: &UsedSteps, kind: StepKind, begun: u32) -> Option<UsedSteps> {
    let mut used = used.clone();
    match used.binary_search_by_key(&kind, |(kind, _)| *kind) {
        Ok(at) => {
            used[at].1 += 1;
            (used[at].1 <= begun).then_some(used)
        }
        Err(at) => {
            used.insert(at, (kind, 1));
            Some(used)
        }
    }
}

/// Returns true if `one` has used no more steps than `other` of any kind.
fn is_thriftier(one: &UsedSteps, other: &UsedSteps) -> bool {
    one.iter().all(|(kind, count)| {
        let at = other.binary_search_by_key(kind, |(kind, _)| *kind);
        at.is_ok_and(|at| *count <= other[at].1)
    })
}

/// Keeps a way to reach a configuration, and returns true, unless a way with as few or fewer steps is kept
/// already.
///
/// Ways with more steps are removed.
fn keep(
    configurations: &mut Configurations,
    configuration: Configuration,
    used: UsedSteps,
) -> bool {
    match configurations.entry(configuration) {
        Entry::Vacant(vacant) => {
            vacant.insert(vec![used]);
            true
        }
        Entry::Occupied(mut occupied) => {
            let ways = occupied.get_mut();
            if ways.iter().any(|way| is_thriftier(way, &used)) {
                return false;
            }
            ways.retain(|way| !is_thriftier(&used, way));
            ways.push(used);
            true
        }
    }
}

#[cfg(test)]
mod tests;
