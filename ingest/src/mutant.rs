//! Seeded bugs: each names one way to lose data or to show it wrongly, for the test suite to find.
//!
//! The switch exists only with the cargo feature `mutants`. Without it [`Mutant::is_on`] is the
//! constant `false`, and the wrong paths compile to nothing. A bug is chosen for each
//! [`crate::env::Env`], so that two nodes of one simulation may differ. A real process shows the one
//! that `SILTSTONE_MUTANT` names.

macro_rules! mutants {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A seeded bug.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Mutant {
            $($(#[$doc])* $name,)*
        }

        impl Mutant {
            /// Every seeded bug.
            pub const ALL: &[Mutant] = &[$(Mutant::$name,)*];
        }
    };
}

mutants! {
    /// The log acknowledges without syncing.
    SkipLogSync,
    /// The log acknowledges before it has synced.
    AcknowledgeBeforeSync,
    /// A log file is recycled while records in it are still needed.
    RecycleNeededFile,
    /// Recovery cuts the log below the durable mark instead of reporting corruption.
    TruncateBelowMark,
    /// The folder entry of a new log file is not synced.
    SkipLogFolderSync,
    /// A bulk file's payload is not synced before its record is appended.
    SkipBulkSync,
    /// The folder entry of a new bulk file is not synced.
    SkipBulkFolderSync,
    /// The catalog is published before the files that it names are synced.
    PublishBeforeSync,
    /// The catalog's folder is not synced after the rename.
    SkipCatalogFolderSync,
    /// A start recovers the log by a catalog whose name may not be durable.
    TrustUnsyncedCatalog,
    /// A write is answered before it has been applied.
    AnswerBeforeApply,
    /// Open uploads are left out of a cut.
    ForgetUploadsAtCut,
    /// A bulk file that the memtable refers to is collected.
    CollectTailReference,
    /// Runs are merged in the wrong order, so that an older entry wins.
    WrongRunOrder,
    /// A merge into a run that is not the oldest drops tombstones.
    DropTombstonesEarly,
    /// The log is trimmed to the cut before the cut's catalog is published.
    TrimBeforePublish,
    /// Writers' outcomes are not carried over a cut, so that a duplicate is applied again.
    ForgetWritersAtCut,
    /// Duplicates of a record are applied again.
    ApplyDuplicates,
    /// A condition is judged when the request arrives instead of where the log is applied.
    JudgeConditionEarly,
    /// A frozen memtable is dropped from the view before its run is in the view.
    DropFrozenEarly,
    /// A record is acknowledged when it is queued in the brokers' client.
    AcknowledgeAtEnqueue,
    /// A client that was replaced stays alive, and its retries land after newer records.
    KeepReplacedClient,
    /// A read does not wait for a barrier.
    ReadWithoutBarrier,
    /// A record is applied and answered when it is sent, before the log has committed it.
    ApplyBeforeCommit,
    /// A cut is published without syncing the payload that came through the log.
    SkipPayloadSync,
    /// A cut is made again by every CUT record, whatever its number.
    CutTwice,
    /// Garbage is collected while replay is still going on.
    CollectDuringReplay,
    /// A log that must exist and is missing is taken for an empty one.
    BelieveEmptyLog,
    /// Recovery reads a log file from its first batch on, even where that is folded.
    WalkFromFirstBatch,
    /// A list is written longer than it may be read.
    EncodeBeyondLimit,
    /// A bucket is deleted without a check that nothing was written since it was found empty.
    DeleteBucketBlindly,
    /// The last writes of buckets are not carried over a cut.
    ForgetLastWritesAtCut,
    /// Damage that one read finds is believed without a second read.
    BelieveFirstRead,
    /// A prior entry that cannot be read now stops the fold.
    StopOnTransientRead,
    /// Exhausted handles or memory are reported as damage.
    ExhaustionIsRot,
    /// The wall clock is trusted, however far it is ahead of the monotonic clock.
    BelieveAnyClock,
    /// The whole announced length of an upload is reserved on the device before its bytes come.
    ReserveWhole,
    /// The space of abandoned uploads and streams is not returned.
    KeepAbandoned,
    /// With an abandoned upload the space behind it is returned as well, although it belongs to another.
    DiscardNeighbour,
    /// The fold waits until there is room for payload.
    WaitForRoom,
    /// A reader does not protect its files from garbage collection.
    CollectWhileRead,
    /// Events that wait for their delivery are left out of a cut.
    ForgetEventsAtCut,
    /// The cursors of queues of events are left out of a cut.
    ForgetEventQueuesAtCut,
    /// The cursor of a queue moves before the receiver has acknowledged the events.
    PassEventsBeforeDelivery,
    /// A flush looks for the payload of a renamed object under its new key only.
    ForgetSealedKey,
    /// The PostgreSQL listener runs queries of clients whose login has failed or is not complete. Found by
    /// `test_conversations.py`.
    QueryBeforeLogin,
}

impl Mutant {
    /// Returns true only when `chosen` is this bug. Constantly `false` without the feature `mutants`.
    #[inline]
    pub fn is_on(self, chosen: Option<Mutant>) -> bool {
        cfg!(feature = "mutants") && chosen == Some(self)
    }

    /// The bug with a name, spelled as its variant. None for an unknown name, which the caller must
    /// report as an error.
    pub fn named(name: &str) -> Option<Mutant> {
        Self::ALL.iter().copied().find(|mutant| format!("{mutant:?}") == name)
    }
}
