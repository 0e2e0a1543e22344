//! The writer of this process, for one log: numbers records, passes outcomes to waiting requests, and
//! settles records whose append had an unknown result.
//!
//! ```text
//!             an append is unknown, or a record is met out of turn
//!      Open ─────────────────────────────────────────────────────► Fenced
//!        ▲                                                           │ OpenWriter, epoch + 1
//!        └────────── its record met: what stands before it ──────────┘
//!                    is settled, the rest will never be applied
//! ```
//!
//! A record without an acknowledgement may be in the log, or may get there later. Guessing would lose a
//! write or apply it twice. The writer therefore opens its next epoch. Once that record is *met* in the
//! log, every record of the old epoch is either before it and has been answered, or will be rejected
//! wherever it appears. Only then may the record be sent again, with a new number.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};
use ingest::bulk::UploadGuard;
use ingest::env::{Env, Fut, Task, timeout};
use ingest::ids::{Epoch, Sequence, WriterId};
use ingest::log::{AppendError, AppendPermit};
use ingest::record::{Record, RecordBody, RecordId};
use ingest::time::Tick;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::context::PartitionContext;
use super::error::SubmitError;
use super::health::Health;
use super::record_clock::RecordClock;
use crate::outcome::{RecordOutcome, Rejection};

/// The writer of one process start, for one partition. The id is random, so two starts never have the same
/// writer.
pub(crate) struct Writer {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    clock: Arc<RecordClock>,
    session: Mutex<Session>,
    /// Wakes the fencer after the writer has lost step with the log.
    out_of_step: Notify,
    /// Wakes appends that wait for the next epoch.
    opened: Notify,
}

/// The numbers of this writer, and the records without an outcome.
struct Session {
    writer: WriterId,
    epoch: Epoch,
    /// The last number that was given.
    last: Sequence,
    waiting: BTreeMap<Sequence, PendingRecord>,
    /// True if records may be numbered; false while a new epoch is being opened.
    is_open: bool,
    /// True after the fold has stopped, when no record gets an outcome any more.
    is_abandoned: bool,
}

/// A record without an outcome. The request may have been dropped while the record is in the log all the
/// same, so the bulk files that it names are protected here and not by the request.
struct PendingRecord {
    asked: oneshot::Sender<SettledRecord>,
    held: UploadGuard,
    /// The time at which the record got its number.
    since: Tick,
}

/// The final state of a record.
enum SettledRecord {
    /// The record was met in the log and decided.
    Outcome(RecordOutcome),
    /// The record has no effect in the log, now and later.
    Never,
}

impl Session {
    /// Begins epoch 1 of a new random writer.
    fn new(env: &Env) -> Self {
        Self {
            writer: WriterId(env.random_id()),
            epoch: Epoch::new(1),
            last: Sequence::ZERO,
            waiting: BTreeMap::new(),
            is_open: true,
            is_abandoned: false,
        }
    }

    /// Returns true if this writer wrote a record.
    fn wrote(&self, id: &RecordId) -> bool {
        id.writer == self.writer
    }

    /// Returns the time since which the oldest record without an outcome has waited; `None` if there is
    /// none.
    fn oldest(&self) -> Option<Tick> {
        self.waiting.first_key_value().map(|(_, waiting)| waiting.since)
    }

    /// Returns the id for a record that has no number yet.
    fn unnumbered(&self) -> RecordId {
        RecordId { writer: self.writer, epoch: self.epoch, sequence: self.last }
    }

    /// Passes the outcome of a met record to the request that waits for it. Returns true if the writer has
    /// lost step with the log, and must be fenced.
    fn answer(&mut self, id: &RecordId, outcome: RecordOutcome) -> bool {
        if id.writer != self.writer {
            return false;
        }
        if let RecordOutcome::Rejected(
            Rejection::WrongEpoch | Rejection::SequenceGap | Rejection::Expired,
        ) = outcome
        {
            // Such a rejection concerns this copy's place in the log; another copy of the record may count.
            return self.is_open
                && id.epoch == self.epoch
                && self.waiting.contains_key(&id.sequence);
        }
        if let Some(waiting) = self.waiting.remove(&id.sequence) {
            // The request may have been dropped; the write is valid all the same.
            let _ = waiting.asked.send(SettledRecord::Outcome(outcome));
        }
        false
    }

    /// Opens the new epoch whose record the fold has met after number `last`: all records that still wait
    /// will never be applied.
    fn opened(&mut self, id: &RecordId, last: Sequence) {
        if id.writer != self.writer || id.epoch != self.epoch || self.is_open {
            return;
        }
        self.last = last;
        self.is_open = true;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            let _ = waiting.asked.send(SettledRecord::Never);
        }
    }

    /// Fails all waiting requests after the fold has stopped; their outcomes are unknown. The bulk files of
    /// their records stay until the next start.
    fn abandon(&mut self) {
        self.is_abandoned = true;
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            waiting.held.keep();
        }
    }

    /// Begins the next epoch: no record is numbered until the epoch's own record is met.
    fn fence(&mut self) -> RecordId {
        self.is_open = false;
        self.epoch = self.epoch.next();
        self.unnumbered()
    }
}

/// Makes the record that opens a writer's epoch.
fn opening(id: RecordId) -> Record {
    Record::of_the_store(id, RecordBody::OpenWriter)
}

/// The first pause before another epoch is tried. Pauses double while the log refuses records.
const RETRY: Duration = Duration::from_millis(200);
/// The longest pause: a log that refuses records until a restart then causes few requests and messages.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// The number of times that a record is sent in all, if each time it is known that it has no effect.
const TRIES: usize = 3;

/// A record that was numbered and given to the log.
struct AppendedRecord {
    sequence: Sequence,
    /// The record, to be sent again if it is known to have no effect.
    record: Arc<Record>,
    durable: Fut<'static, Result<(), AppendError>>,
    settled: oneshot::Receiver<SettledRecord>,
}

impl Writer {
    /// Makes a writer with a new random id in epoch 1. Nothing is appended before [`Writer::open`].
    pub fn new(health: Arc<Health>, clock: Arc<RecordClock>) -> Self {
        let context = health.context().clone();
        let session = Mutex::new(Session::new(&context.env));
        let (out_of_step, opened) = (Notify::new(), Notify::new());
        Self { context, health, clock, session, out_of_step, opened }
    }

    /// Returns the context of the partition to which this writer writes.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// Returns true if this writer wrote a record, in any epoch.
    pub fn wrote(&self, id: &RecordId) -> bool {
        self.session.lock().wrote(id)
    }

    /// Returns the time at which the oldest record without an outcome got its number; `None` if no record
    /// waits.
    pub fn oldest(&self) -> Option<Tick> {
        self.session.lock().oldest()
    }

    /// Returns the id for a record that has no number yet. The append gives the number.
    pub fn unnumbered(&self) -> RecordId {
        self.session.lock().unnumbered()
    }

    /// Passes the outcome of a met record to the request that waits for it. A record that was met out of
    /// order wakes the fencer. Called by the fold, in the order of the log, after the record is applied.
    pub fn answer(&self, id: &RecordId, outcome: RecordOutcome) {
        let is_out_of_step = self.session.lock().answer(id, outcome);
        if is_out_of_step {
            self.lose_step();
        }
    }

    /// Passes an outcome without regard to the order, for the seeded bug that answers too early.
    pub fn answer_ahead(&self, id: &RecordId, outcome: RecordOutcome) {
        self.session.lock().answer(id, outcome);
    }

    /// Notes that the fold has met the record of a new epoch, which follows number `last`: waiting records
    /// of older epochs are known to have no effect, and appends continue. Called by the fold, in the order
    /// of the log.
    pub fn opened(&self, id: &RecordId, last: Sequence) {
        self.session.lock().opened(id, last);
        self.opened.notify_waiters();
    }

    /// Stops the partition: no record is written until a restart, while reads continue. Requests that wait
    /// for an outcome fail with [`SubmitError::Stopped`].
    pub fn stop(&self, reason: String) {
        self.health.note_stop(reason);
        self.session.lock().abandon();
    }

    /// Appends the record that opens this process's writer. Called once, at the end of the open. A log that
    /// refuses records makes the partition read-only, which is no error. Fails only with other errors of
    /// the append; an unknown result wakes the fencer instead.
    pub async fn open(&self) -> Result<(), SubmitError> {
        let record = opening(self.session.lock().unnumbered());
        let permit = match self.context.log.admit(self.context.id, record.bytes_estimate()).await {
            Ok(permit) => permit,
            // A log that refuses records still serves reads; writes fail with its reason.
            Err(error) => {
                tracing::warn!(%error, "the partition is read-only");
                return Ok(());
            }
        };
        match self.context.log.append(permit, record.into()).await {
            Err(AppendError::Unknown { .. }) => {
                self.lose_step();
                Ok(())
            }
            appended => Ok(appended?),
        }
    }

    /// Wakes the fencer, which opens a new epoch, because the state of the last append is unknown. Never
    /// blocks.
    fn lose_step(&self) {
        self.out_of_step.notify_one();
    }

    /// Starts the task that opens a new epoch whenever the writer has lost step with the log. Tries again
    /// until the epoch's record is met or the fold stops; the pauses grow to 30 seconds while the log
    /// refuses records.
    pub fn start_fencer(self: &Arc<Self>) -> Task {
        let writer = self.clone();
        let task: Fut<'static, ()> = Box::pin(async move {
            loop {
                writer.out_of_step.notified().await;
                writer.context.counters.epochs.fetch_add(1, Ordering::Relaxed);
                let mut record = opening(writer.session.lock().fence());
                let mut pause = RETRY;
                while !writer.reopen(record).await {
                    writer.context.env.clock.sleep(pause).await;
                    let refuses = writer.context.log.status(writer.context.id).refusing.is_some();
                    pause = if refuses { (pause * 2).min(RETRY_MAX) } else { RETRY };
                    if writer.health.is_stopped() {
                        return;
                    }
                    record = opening(writer.session.lock().fence());
                }
            }
        });
        self.context.env.rt.spawn("fencer", task)
    }

    /// Appends an epoch's record and waits until the fold has met it; returns true if so.
    async fn reopen(&self, record: Record) -> bool {
        let limit = self.context.options.write_wait;
        let appended = async {
            let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
            self.context.log.append(permit, record.into()).await
        };
        match timeout(self.context.env.clock.as_ref(), limit, appended).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::warn!(%error, partition = %self.context.id, "a new epoch could not be opened");
                return false;
            }
            None => return false,
        }
        timeout(self.context.env.clock.as_ref(), limit, self.until_open()).await.is_some()
    }

    /// Waits until records may be numbered.
    async fn until_open(&self) {
        loop {
            // Registered before the look, so that no change in between is missed.
            let opened = self.opened.notified();
            if self.session.lock().is_open {
                return;
            }
            opened.await;
        }
    }

    /// Numbers and appends a record, then waits for its outcome, at most
    /// [`super::PartitionOptions::write_wait`]. A record that is known to have no effect is sent again,
    /// three times in all.
    ///
    /// Errors: [`SubmitError::NotDone`] after the last try, [`AppendError::Unknown`] after the wait, and
    /// those of the log. Dropping the future does not undo the append, whose result is still awaited by a
    /// task.
    pub async fn append(self: &Arc<Self>, record: Record) -> Result<RecordOutcome, SubmitError> {
        let settle = async {
            let mut record = Arc::new(record);
            for _ in 0..TRIES {
                match self.append_once(record).await? {
                    Ok(outcome) => return Ok(outcome),
                    Err(unsettled) => record = unsettled,
                }
            }
            Err(SubmitError::NotDone)
        };
        match timeout(self.context.env.clock.as_ref(), self.context.options.write_wait, settle)
            .await
        {
            Some(settled) => settled,
            None => Err(SubmitError::Append(AppendError::Unknown {
                partition: self.context.id,
                reason: "the outcome did not come in time".into(),
            })),
        }
    }

    /// Appends a record once, and waits for its final state: the outcome, or the record itself if it has no effect.
    async fn append_once(
        self: &Arc<Self>,
        record: Arc<Record>,
    ) -> Result<Result<RecordOutcome, Arc<Record>>, SubmitError> {
        if let Some(reason) = self.health.stopped() {
            return Err(SubmitError::Stopped(reason));
        }
        let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
        let mut admitted = Some((permit, record));
        loop {
            match self.number(&mut admitted)? {
                Some(AppendedRecord { sequence, record, durable, settled }) => {
                    let settling = PendingAppend { writer: self.clone(), durable: Some(durable) };
                    return Ok(match settling.wait(settled, sequence).await? {
                        SettledRecord::Outcome(outcome) => Ok(outcome),
                        SettledRecord::Never => Err(record),
                    });
                }
                None => self.until_open().await,
            }
        }
    }

    /// Gives an admitted record its number and its place in the log in one step, so that numbers rise in
    /// log order; `None` while the writer is fenced.
    fn number(
        &self,
        admitted: &mut Option<(AppendPermit, Arc<Record>)>,
    ) -> Result<Option<AppendedRecord>, SubmitError> {
        let mut session = self.session.lock();
        if session.is_abandoned {
            drop(session);
            return Err(SubmitError::Stopped(self.stop_reason()));
        }
        if !session.is_open {
            return Ok(None);
        }
        let (permit, mut record) = admitted.take().expect("a record is appended once");
        let (asked, settled) = oneshot::channel();
        session.last = session.last.next();
        // A record that is sent again is copied if the log still has it.
        let numbered = Arc::make_mut(&mut record);
        numbered.id = session.unnumbered();
        numbered.time = self.clock.stamp();
        let (sequence, held) =
            (record.id.sequence, self.context.bulk.prolong(&record.bulk_files()));
        let since = self.context.env.clock.now();
        session.waiting.insert(sequence, PendingRecord { asked, held, since });
        let durable = self.context.log.append(permit, record.clone());
        Ok(Some(AppendedRecord { sequence, record, durable, settled }))
    }

    fn stop_reason(&self) -> String {
        self.health.stopped().unwrap_or_else(|| "the partition is closing".into())
    }
}

/// A running append. If the request is dropped, a task awaits the append, because its result shows if the
/// writer is in step with the log.
struct PendingAppend {
    writer: Arc<Writer>,
    durable: Option<Fut<'static, Result<(), AppendError>>>,
}

impl PendingAppend {
    /// Waits for the record's final state. The outcome comes from the fold, which only meets committed records, and then
    /// the append's own result says nothing more.
    async fn wait(
        mut self,
        mut receiver: oneshot::Receiver<SettledRecord>,
        sequence: Sequence,
    ) -> Result<SettledRecord, SubmitError> {
        let durable = self.durable.as_mut().expect("taken when it is dropped");
        let (appended, settled) = match select(&mut receiver, durable).await {
            Either::Left((Ok(SettledRecord::Outcome(outcome)), _)) => {
                self.durable = None;
                return Ok(SettledRecord::Outcome(outcome));
            }
            Either::Left((settled, durable)) => (durable.await, Some(settled)),
            Either::Right((appended, _)) => (appended, None),
        };
        self.durable = None;
        let writer = &self.writer;
        if let Err(error) = appended {
            if writer.context.log.status(writer.context.id).refusing.is_some() {
                // The log accepts no more records, so the record's state stays unknown until the next
                // start.
                let waiting = writer.session.lock().waiting.remove(&sequence);
                if let (Some(waiting), AppendError::Unknown { .. }) = (waiting, &error) {
                    // The record may be found at the next start, and its payload must be there then.
                    waiting.held.keep();
                }
                return Err(error.into());
            }
            writer.lose_step();
        }
        let settled = match settled {
            Some(settled) => settled,
            None => receiver.await,
        };
        settled.map_err(|_| SubmitError::Stopped(writer.stop_reason()))
    }
}

impl Drop for PendingAppend {
    fn drop(&mut self) {
        let Some(durable) = self.durable.take() else { return };
        let writer = self.writer.clone();
        let late: Fut<'static, ()> = Box::pin(async move {
            if durable.await.is_err() {
                writer.lose_step();
            }
        });
        self.writer.context.env.rt.spawn("late append", late).detach();
    }
}
