//! This process's way into the log: numbers records, hands outcomes to those who wait, and settles what
//! became of records whose append did not say.
//!
//! ```text
//!             an append is unknown, or a record is met out of turn
//!      Open ─────────────────────────────────────────────────────► Fenced
//!        ▲                                                           │ OpenWriter, epoch + 1
//!        └────────── its record met: what stands before it ──────────┘
//!                    is settled, the rest will never be applied
//! ```
//!
//! A record that was not acknowledged may be in the log, or come to be there later. Guessing would lose a
//! write or do it twice. So the writer opens its next epoch: once that record is *met* in the log, every
//! record of the old epoch either stands before it and has been answered, or will be rejected wherever it
//! turns up. Only then may it be sent again, under a new number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ingest::bulk::UploadGuard;
use ingest::env::{Env, Fut, Task, timeout};
use ingest::ids::{Epoch, Sequence, WriterId};
use ingest::log::{AppendError, AppendPermit, CommittedRecord, LogLocation};
use ingest::mutant::Mutant;
use ingest::record::{Record, RecordBody, RecordId, WriteCondition};
use ingest::time::Tick;
use tokio::sync::oneshot;

use super::{PartitionShared, SubmitError};
use crate::apply::{PriorState, apply};
use crate::outcome::{RecordOutcome, Rejection};

/// One writer of this process start, for commits. Its id is random, so no start is taken for another.
pub(crate) struct Writer {
    writer: WriterId,
    epoch: Epoch,
    /// The last number given.
    last: Sequence,
    waiting: BTreeMap<Sequence, PendingRecord>,
    /// Whether records may be numbered: not while a new epoch is being opened.
    is_open: bool,
    /// Set when the fold has stopped: nobody answers any more.
    is_abandoned: bool,
}

/// A record whose outcome has not come. Whoever asked may have gone; the record is in the log all the same,
/// so what it names is held here and not by them.
struct PendingRecord {
    asked: oneshot::Sender<SettledRecord>,
    held: UploadGuard,
    /// When it got its number.
    since: Tick,
}

/// What became of a record.
enum SettledRecord {
    /// It was met and decided.
    Outcome(RecordOutcome),
    /// It is not in the log where it could count, and never will be.
    Never,
}

impl Writer {
    pub fn new(env: &Env) -> Self {
        Self {
            writer: WriterId(env.random_id()),
            epoch: Epoch::new(1),
            last: Sequence::ZERO,
            waiting: BTreeMap::new(),
            is_open: true,
            is_abandoned: false,
        }
    }

    /// Tells that a record is this writer's.
    pub fn wrote(&self, id: &RecordId) -> bool {
        id.writer == self.writer
    }

    /// Since when the oldest record has waited whose outcome has not come; none when none waits.
    pub fn oldest(&self) -> Option<Tick> {
        self.waiting.first_key_value().map(|(_, waiting)| waiting.since)
    }

    /// The writer's name for a record that has no number yet.
    pub fn unnumbered(&self) -> RecordId {
        RecordId { writer: self.writer, epoch: self.epoch, sequence: self.last }
    }

    /// The fold has met a record: hands its outcome to whoever waits for it. Says whether the writer has
    /// come out of step with the log, so that it must be fenced.
    pub fn answer(&mut self, id: &RecordId, outcome: RecordOutcome) -> bool {
        if id.writer != self.writer {
            return false;
        }
        if let RecordOutcome::Rejected(
            Rejection::WrongEpoch | Rejection::SequenceGap | Rejection::Expired,
        ) = outcome
        {
            // That says where the record stood, not what became of it: another copy may count.
            return self.is_open
                && id.epoch == self.epoch
                && self.waiting.contains_key(&id.sequence);
        }
        if let Some(waiting) = self.waiting.remove(&id.sequence) {
            // Whoever waited may have gone; the write stands all the same.
            let _ = waiting.asked.send(SettledRecord::Outcome(outcome));
        }
        false
    }

    /// The fold has met this writer's new epoch, opened behind `last`: everything is settled.
    pub fn opened(&mut self, id: &RecordId, last: Sequence) {
        if id.writer != self.writer || id.epoch != self.epoch || self.is_open {
            return;
        }
        self.last = last;
        self.is_open = true;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let _ = waiting.asked.send(SettledRecord::Never);
        }
    }

    /// Lets go of everyone who waits: the fold has stopped, outcomes are unknown. What their records name
    /// stays until the next start.
    pub fn abandon(&mut self) {
        self.is_abandoned = true;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.held.keep();
        }
    }

    /// Begins the next epoch: nothing is numbered until its record is met.
    fn fence(&mut self) -> RecordId {
        self.is_open = false;
        self.epoch = self.epoch.next();
        self.unnumbered()
    }
}

fn opening(id: RecordId) -> Record {
    Record::of_the_store(id, RecordBody::OpenWriter)
}

/// Opens this process's writer in the log.
pub(super) async fn open_writer(shared: &Arc<PartitionShared>) -> Result<(), SubmitError> {
    let record = opening(shared.writer.lock().unnumbered());
    let permit = match shared.log.admit(shared.id, record.bytes_estimate()).await {
        Ok(permit) => permit,
        // A log that takes no records still serves reads; writes will be told why.
        Err(error) => {
            tracing::warn!(%error, "the partition is read-only");
            return Ok(());
        }
    };
    match shared.log.append(permit, record).await {
        Err(AppendError::Unknown { .. }) => {
            lose_step(shared);
            Ok(())
        }
        appended => Ok(appended?),
    }
}

/// The writer does not know where it stands: wakes the task that finds out.
pub(super) fn lose_step(shared: &PartitionShared) {
    shared.out_of_step.notify_one();
}

/// How long to wait before another epoch is tried; each pause is twice the one before,
const RETRY: Duration = Duration::from_millis(200);
/// up to this: a log that takes no records before a restart is not asked, and told of, for ever.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Starts the task that opens a new epoch whenever the writer is out of step with the log.
pub(super) fn start_fencer(shared: &Arc<PartitionShared>) -> Task {
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        loop {
            shared.out_of_step.notified().await;
            shared.counters.epochs.fetch_add(1, Ordering::Relaxed);
            let mut record = opening(shared.writer.lock().fence());
            let mut pause = RETRY;
            while !reopen(&shared, record).await {
                shared.env.clock.sleep(pause).await;
                let refuses = shared.log.status(shared.id).refusing.is_some();
                pause = if refuses { (pause * 2).min(RETRY_MAX) } else { RETRY };
                if shared.stopped.borrow().is_some() {
                    return;
                }
                record = opening(shared.writer.lock().fence());
            }
        }
    });
    env.rt.spawn("fencer", task)
}

/// Appends an epoch's opening and waits until it is met; says whether it was.
async fn reopen(shared: &Arc<PartitionShared>, record: Record) -> bool {
    let limit = shared.options.write_wait;
    let appended = async {
        let permit = shared.log.admit(shared.id, record.bytes_estimate()).await?;
        shared.log.append(permit, record).await
    };
    match timeout(shared.env.clock.as_ref(), limit, appended).await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            tracing::warn!(%error, partition = %shared.id, "a new epoch could not be opened");
            return false;
        }
        None => return false,
    }
    timeout(shared.env.clock.as_ref(), limit, until_open(shared)).await.is_some()
}

async fn until_open(shared: &PartitionShared) {
    loop {
        // Registered before the look, so that no change in between is missed.
        let opened = shared.opened.notified();
        if shared.writer.lock().is_open {
            return;
        }
        opened.await;
    }
}

/// A record that can be settled as never applied is sent so many times in all.
const TRIES: usize = 3;

/// Numbers and appends a record, then waits for its outcome.
pub(super) async fn append(
    shared: &Arc<PartitionShared>,
    record: Record,
) -> Result<RecordOutcome, SubmitError> {
    let settle = async {
        for _ in 0..TRIES {
            match append_once(shared, record.clone()).await? {
                SettledRecord::Outcome(outcome) => return Ok(outcome),
                SettledRecord::Never => {}
            }
        }
        Err(SubmitError::NotDone)
    };
    match timeout(shared.env.clock.as_ref(), shared.options.write_wait, settle).await {
        Some(settled) => settled,
        None => Err(SubmitError::Append(AppendError::Unknown {
            partition: shared.id,
            reason: "its outcome did not come in time".into(),
        })),
    }
}

async fn append_once(
    shared: &Arc<PartitionShared>,
    record: Record,
) -> Result<SettledRecord, SubmitError> {
    if let Some(reason) = shared.stopped.borrow().clone() {
        return Err(SubmitError::Stopped(reason));
    }
    let permit = shared.log.admit(shared.id, record.bytes_estimate()).await?;
    let mut admitted = Some((permit, record));
    loop {
        match number(shared, &mut admitted)? {
            Some((sequence, durable, receiver)) => {
                let settling = PendingAppend { shared: shared.clone(), durable: Some(durable) };
                return settling.wait(receiver, sequence).await;
            }
            None => until_open(shared).await,
        }
    }
}

type AppendedRecord =
    (Sequence, Fut<'static, Result<(), AppendError>>, oneshot::Receiver<SettledRecord>);

/// Takes an admitted record and gives it its number and its place in the log in one step, so that numbers
/// rise in log order; none while the writer is fenced.
fn number(
    shared: &PartitionShared,
    admitted: &mut Option<(AppendPermit, Record)>,
) -> Result<Option<AppendedRecord>, SubmitError> {
    let mut writer = shared.writer.lock();
    if writer.is_abandoned {
        drop(writer);
        return Err(SubmitError::Stopped(stop_reason(shared)));
    }
    if !writer.is_open {
        return Ok(None);
    }
    let (permit, mut record) = admitted.take().expect("a record is appended once");
    let (asked, receiver) = oneshot::channel();
    writer.last = writer.last.next();
    record.id = writer.unnumbered();
    record.time = shared.time_for_a_record();
    let (sequence, held) = (record.id.sequence, shared.bulk.prolong(&record.bulk_files()));
    let since = shared.env.clock.now();
    writer.waiting.insert(sequence, PendingRecord { asked, held, since });
    Ok(Some((sequence, shared.log.append(permit, record), receiver)))
}

/// An append that is under way. When whoever waits goes away, it is seen to its end all the same: what it
/// says is needed to know where the writer stands.
struct PendingAppend {
    shared: Arc<PartitionShared>,
    durable: Option<Fut<'static, Result<(), AppendError>>>,
}

impl PendingAppend {
    async fn wait(
        mut self,
        receiver: oneshot::Receiver<SettledRecord>,
        sequence: Sequence,
    ) -> Result<SettledRecord, SubmitError> {
        let durable = self.durable.as_mut().expect("taken when it is dropped");
        let appended = durable.await;
        self.durable = None;
        let shared = &self.shared;
        if let Err(error) = appended {
            if shared.log.status(shared.id).refusing.is_some() {
                // The log takes nothing more, so nothing can be settled before the next start.
                let waiting = shared.writer.lock().waiting.remove(&sequence);
                if let (Some(waiting), AppendError::Unknown { .. }) = (waiting, &error) {
                    // The record may turn up then, and its payload must be there.
                    waiting.held.keep();
                }
                return Err(error.into());
            }
            lose_step(shared);
        }
        receiver.await.map_err(|_| SubmitError::Stopped(stop_reason(shared)))
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        let Some(durable) = self.durable.take() else { return };
        let shared = self.shared.clone();
        let late: Fut<'static, ()> = Box::pin(async move {
            if durable.await.is_err() {
                lose_step(&shared);
            }
        });
        self.shared.env.rt.spawn("late append", late).detach();
    }
}

fn stop_reason(shared: &PartitionShared) -> String {
    shared.stopped.borrow().clone().unwrap_or_else(|| "the partition is closing".into())
}

/// The seeded bug that judges a condition by what the request saw, instead of where the log is applied.
pub(super) fn judge_early(shared: &PartitionShared, record: &mut Record, prior: &PriorState) {
    if !shared.env.mutated(Mutant::JudgeConditionEarly) {
        return;
    }
    if let RecordBody::PutObject(put) = &mut record.body
        && put.condition == WriteCondition::IfAbsent
        && prior.current.is_none()
    {
        put.condition = WriteCondition::Always;
    }
}

/// The seeded bug that applies a write to what this node knows when it is sent, and answers with that.
pub(super) fn answer_early(
    shared: &Arc<PartitionShared>,
    record: &Record,
    prior: &PriorState,
) -> Option<RecordOutcome> {
    let is_write = matches!(record.body, RecordBody::PutObject(_) | RecordBody::DeleteObject(_));
    if !shared.env.mutated(Mutant::ApplyBeforeCommit) || !is_write || record.stream().is_some() {
        return None;
    }
    let committed = CommittedRecord {
        offset: shared.snapshot().at,
        time: shared.env.clock.wall(),
        location: LogLocation { file: 0, position: 0, len: 0 },
        record: record.clone(),
    };
    let (buckets, cut) = (shared.buckets.read().clone(), *shared.folded_cut.borrow());
    let rules = &shared.options.rules;
    let effects = apply(rules, shared.id, &buckets, cut, committed.time, prior.clone(), &committed);
    let (sender, record) = (shared.clone(), record.clone());
    let later: Fut<'static, ()> = Box::pin(async move {
        let _ = append(&sender, record).await;
    });
    shared.env.rt.spawn("answered already", later).detach();
    Some(effects.outcome)
}
