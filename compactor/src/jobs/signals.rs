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

/// Wakes the merge job and those who wait for it.
pub(crate) struct MergeSignals {
    run_added: Notify,
    merge_ended: Notify,
    full: watch::Sender<FullMerge>,
}

impl MergeSignals {
    /// No request yet.
    pub fn new() -> Self {
        let (run_added, merge_ended) = (Notify::new(), Notify::new());
        Self { run_added, merge_ended, full: watch::Sender::new(FullMerge::Done) }
    }

    /// Wakes the merge job: a run has been added, or a failed flush has left files behind.
    pub fn note_run(&self) {
        self.run_added.notify_one();
    }

    /// Waits for [`MergeSignals::note_run`]. One call before the wait is remembered.
    pub async fn run_added(&self) {
        self.run_added.notified().await;
    }

    /// Wakes the flush job, which waits while many runs stand unmerged.
    pub fn note_merge(&self) {
        self.merge_ended.notify_one();
    }

    /// Waits for [`MergeSignals::note_merge`]. One call before the wait is remembered.
    pub async fn merge_ended(&self) {
        self.merge_ended.notified().await;
    }

    /// Tells that one merge of all runs is requested.
    pub fn wants_full(&self) -> bool {
        *self.full.borrow() == FullMerge::Wanted
    }

    /// Notes how the requested merge of all runs ended.
    pub fn end_full(&self, end: FullMerge) {
        self.full.send_replace(end);
    }

    /// Requests one merge of all runs and waits for its end.
    pub async fn request_full(&self) -> FullMerge {
        let mut full = self.full.subscribe();
        self.full.send_replace(FullMerge::Wanted);
        self.run_added.notify_one();
        let ended = full.wait_for(|full| *full != FullMerge::Wanted).await;
        ended.map_or(FullMerge::Done, |ended| ended.clone())
    }
}
