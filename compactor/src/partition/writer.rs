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

/// The writer of this process start, for commits. The id is random, so no start is taken for another.
pub(crate) struct Writer {
    context: Arc<PartitionContext>,
    health: Arc<Health>,
    clock: Arc<RecordClock>,
    session: Mutex<Session>,
    /// Wakes the fencer: the writer does not know where it stands.
    out_of_step: Notify,
    /// Wakes appends that wait for the next epoch.
    opened: Notify,
}

/// The numbers that this writer gives, and the records whose outcome has not come.
struct Session {
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

impl Session {
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

    /// Tells that a record is this writer's.
    fn wrote(&self, id: &RecordId) -> bool {
        id.writer == self.writer
    }

    /// Since when the oldest record has waited whose outcome has not come; none when none waits.
    fn oldest(&self) -> Option<Tick> {
        self.waiting.first_key_value().map(|(_, waiting)| waiting.since)
    }

    /// The writer's name for a record that has no number yet.
    fn unnumbered(&self) -> RecordId {
        RecordId { writer: self.writer, epoch: self.epoch, sequence: self.last }
    }

    /// The fold has met a record: hands its outcome to whoever waits for it. Says whether the writer has
    /// come out of step with the log, so that it must be fenced.
    fn answer(&mut self, id: &RecordId, outcome: RecordOutcome) -> bool {
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

    /// Lets go of everyone who waits: the fold has stopped, outcomes are unknown. What their records name
    /// stays until the next start.
    fn abandon(&mut self) {
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

/// How long to wait before another epoch is tried; each pause is twice the one before,
const RETRY: Duration = Duration::from_millis(200);
/// up to this: a log that takes no records before a restart is not asked, and told of, for ever.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A record that can be settled as never applied is sent so many times in all.
const TRIES: usize = 3;

type AppendedRecord =
    (Sequence, Fut<'static, Result<(), AppendError>>, oneshot::Receiver<SettledRecord>);

impl Writer {
    /// A writer of a new random id, in epoch 1.
    pub fn new(health: Arc<Health>, clock: Arc<RecordClock>) -> Self {
        let context = health.context().clone();
        let session = Mutex::new(Session::new(&context.env));
        let (out_of_step, opened) = (Notify::new(), Notify::new());
        Self { context, health, clock, session, out_of_step, opened }
    }

    /// The partition that this writer writes to.
    pub fn context(&self) -> &Arc<PartitionContext> {
        &self.context
    }

    /// Tells that a record is this writer's.
    pub fn wrote(&self, id: &RecordId) -> bool {
        self.session.lock().wrote(id)
    }

    /// The moment at which the oldest record got its number whose outcome has not come; `None` when none
    /// waits.
    pub fn oldest(&self) -> Option<Tick> {
        self.session.lock().oldest()
    }

    /// The id for a record that has no number yet.
    pub fn unnumbered(&self) -> RecordId {
        self.session.lock().unnumbered()
    }

    /// Answers the request whose record the fold has met. A record that was met out of turn wakes the fencer.
    pub fn answer(&self, id: &RecordId, outcome: RecordOutcome) {
        let is_out_of_step = self.session.lock().answer(id, outcome);
        if is_out_of_step {
            self.lose_step();
        }
    }

    /// Answers the request without a look at the order: for the seeded bug that answers too early.
    pub fn answer_ahead(&self, id: &RecordId, outcome: RecordOutcome) {
        self.session.lock().answer(id, outcome);
    }

    /// Notes that the fold has met the opening of an epoch behind number `last`.
    pub fn opened(&self, id: &RecordId, last: Sequence) {
        self.session.lock().opened(id, last);
        self.opened.notify_waiters();
    }

    /// Ends what changes the partition: nothing is written any more before a restart, reads go on. Requests
    /// that wait for an outcome get "unknown".
    pub fn stop(&self, reason: String) {
        self.health.note_stop(reason);
        self.session.lock().abandon();
    }

    /// Opens this process's writer in the log.
    pub async fn open(&self) -> Result<(), SubmitError> {
        let record = opening(self.session.lock().unnumbered());
        let permit = match self.context.log.admit(self.context.id, record.bytes_estimate()).await {
            Ok(permit) => permit,
            // A log that takes no records still serves reads; writes will be told why.
            Err(error) => {
                tracing::warn!(%error, "the partition is read-only");
                return Ok(());
            }
        };
        match self.context.log.append(permit, record).await {
            Err(AppendError::Unknown { .. }) => {
                self.lose_step();
                Ok(())
            }
            appended => Ok(appended?),
        }
    }

    /// The writer does not know where it stands: wakes the task that finds out.
    pub fn lose_step(&self) {
        self.out_of_step.notify_one();
    }

    /// Starts the task that opens a new epoch whenever the writer is out of step with the log.
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

    /// Appends an epoch's opening and waits until it is met; says whether it was.
    async fn reopen(&self, record: Record) -> bool {
        let limit = self.context.options.write_wait;
        let appended = async {
            let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
            self.context.log.append(permit, record).await
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

    /// Numbers and appends a record, then waits for its outcome.
    pub async fn append(self: &Arc<Self>, record: Record) -> Result<RecordOutcome, SubmitError> {
        let settle = async {
            for _ in 0..TRIES {
                match self.append_once(record.clone()).await? {
                    SettledRecord::Outcome(outcome) => return Ok(outcome),
                    SettledRecord::Never => {}
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
                reason: "its outcome did not come in time".into(),
            })),
        }
    }

    async fn append_once(self: &Arc<Self>, record: Record) -> Result<SettledRecord, SubmitError> {
        if let Some(reason) = self.health.stopped() {
            return Err(SubmitError::Stopped(reason));
        }
        let permit = self.context.log.admit(self.context.id, record.bytes_estimate()).await?;
        let mut admitted = Some((permit, record));
        loop {
            match self.number(&mut admitted)? {
                Some((sequence, durable, receiver)) => {
                    let settling = PendingAppend { writer: self.clone(), durable: Some(durable) };
                    return settling.wait(receiver, sequence).await;
                }
                None => self.until_open().await,
            }
        }
    }

    /// Takes an admitted record and gives it its number and its place in the log in one step, so that numbers
    /// rise in log order; none while the writer is fenced.
    fn number(
        &self,
        admitted: &mut Option<(AppendPermit, Record)>,
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
        let (asked, receiver) = oneshot::channel();
        session.last = session.last.next();
        record.id = session.unnumbered();
        record.time = self.clock.stamp();
        let (sequence, held) =
            (record.id.sequence, self.context.bulk.prolong(&record.bulk_files()));
        let since = self.context.env.clock.now();
        session.waiting.insert(sequence, PendingRecord { asked, held, since });
        Ok(Some((sequence, self.context.log.append(permit, record), receiver)))
    }

    fn stop_reason(&self) -> String {
        self.health.stopped().unwrap_or_else(|| "the partition is closing".into())
    }
}

/// An append that is under way. When whoever waits goes away, it is seen to its end all the same: what it
/// says is needed to know where the writer stands.
struct PendingAppend {
    writer: Arc<Writer>,
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
        let writer = &self.writer;
        if let Err(error) = appended {
            if writer.context.log.status(writer.context.id).refusing.is_some() {
                // The log takes nothing more, so nothing can be settled before the next start.
                let waiting = writer.session.lock().waiting.remove(&sequence);
                if let (Some(waiting), AppendError::Unknown { .. }) = (waiting, &error) {
                    // The record may turn up then, and its payload must be there.
                    waiting.held.keep();
                }
                return Err(error.into());
            }
            writer.lose_step();
        }
        receiver.await.map_err(|_| SubmitError::Stopped(writer.stop_reason()))
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
