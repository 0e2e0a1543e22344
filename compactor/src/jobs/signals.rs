//! Signals between flushes, which add runs, and merges, which replace them.

use tokio::sync::{Notify, watch};

/// The state of the request for one merge of all runs.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum FullMerge {
    /// The last requested merge has ended well, or none was requested.
    #[default]
    Done,
    /// A merge is requested, or runs.
    Wanted,
    /// The last requested merge failed, with this error; readers see no change.
    Failed(String),
}

/// Wakes the scheduler, and tasks that wait for merges.
pub(crate) struct MergeSignals {
    changed: Notify,
    merge_ended: Notify,
    whole: watch::Sender<FullMerge>,
}

impl MergeSignals {
    /// Makes the signals without a request.
    pub fn new() -> Self {
        let (changed, merge_ended) = (Notify::new(), Notify::new());
        Self { changed, merge_ended, whole: watch::Sender::new(FullMerge::Done) }
    }

    /// Wakes the scheduler, after a run has been added or a failed flush has left files behind. Never
    /// blocks; several calls may wake it once.
    pub fn note_run(&self) {
        self.changed.notify_one();
    }

    /// Waits for a new run, the end of a merge, or a request. One signal before the wait is remembered, and
    /// the wait then ends at once. May be cancelled. Called by the scheduler only.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the scheduler and the flush job after a merge has ended; the flush job waits while there are
    /// many unmerged runs.
    pub fn note_merge(&self) {
        self.changed.notify_one();
        self.merge_ended.notify_one();
    }

    /// Waits for [`MergeSignals::note_merge`]. One call before the wait is remembered. Called by the flush
    /// job only.
    pub async fn merge_ended(&self) {
        self.merge_ended.notified().await;
    }

    /// Returns true from the request of a merge of all runs until [`MergeSignals::end_whole`].
    pub fn wants_whole(&self) -> bool {
        *self.whole.borrow() == FullMerge::Wanted
    }

    /// Ends the requested merge of all runs with its result, and wakes everyone who waits in
    /// [`MergeSignals::request_whole`].
    pub fn end_whole(&self, end: FullMerge) {
        self.whole.send_replace(end);
    }

    /// Requests one merge of all runs and waits for its end. A request while such a merge is running ends
    /// together with that merge. Dropping the future does not cancel the request.
    pub async fn request_whole(&self) -> FullMerge {
        let mut whole = self.whole.subscribe();
        self.whole.send_replace(FullMerge::Wanted);
        self.changed.notify_one();
        let ended = whole.wait_for(|whole| *whole != FullMerge::Wanted).await;
        ended.map_or(FullMerge::Done, |ended| ended.clone())
    }
}
