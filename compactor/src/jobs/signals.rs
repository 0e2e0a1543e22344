//! Signals between flush, which adds runs, and merge, which replaces them.

use tokio::sync::{Notify, watch};

/// A request for one merge of all runs, and its end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum FullMerge {
    /// The last one is done, or none was requested.
    #[default]
    Done,
    /// One is to be done next.
    Wanted,
    /// The last one failed; nothing has changed.
    Failed(String),
}

/// Wakes the scheduler and those who wait for merges.
pub(crate) struct MergeSignals {
    changed: Notify,
    merge_ended: Notify,
    whole: watch::Sender<FullMerge>,
}

impl MergeSignals {
    /// No request yet.
    pub fn new() -> Self {
        let (changed, merge_ended) = (Notify::new(), Notify::new());
        Self { changed, merge_ended, whole: watch::Sender::new(FullMerge::Done) }
    }

    /// Wakes the scheduler: a run has been added, or a failed flush has left files behind.
    pub fn note_run(&self) {
        self.changed.notify_one();
    }

    /// Waits for a new run, the end of a merge, or a request. One event before the wait is remembered.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Wakes the scheduler, and the flush job, which waits while many runs stand unmerged: a merge has ended.
    pub fn note_merge(&self) {
        self.changed.notify_one();
        self.merge_ended.notify_one();
    }

    /// Waits for [`MergeSignals::note_merge`]. One call before the wait is remembered.
    pub async fn merge_ended(&self) {
        self.merge_ended.notified().await;
    }

    /// Tells that one merge of all runs is requested.
    pub fn wants_whole(&self) -> bool {
        *self.whole.borrow() == FullMerge::Wanted
    }

    /// Notes how the requested merge of all runs ended.
    pub fn end_whole(&self, end: FullMerge) {
        self.whole.send_replace(end);
    }

    /// Requests one merge of all runs and waits for its end.
    pub async fn request_whole(&self) -> FullMerge {
        let mut whole = self.whole.subscribe();
        self.whole.send_replace(FullMerge::Wanted);
        self.changed.notify_one();
        let ended = whole.wait_for(|whole| *whole != FullMerge::Wanted).await;
        ended.map_or(FullMerge::Done, |ended| ended.clone())
    }
}
