//! This process's way into the log: numbers records, and hands outcomes to those who wait.

use std::collections::BTreeMap;

use ingest::bulk::WriteGuard;
use ingest::env::Env;
use ingest::log::AppendError;
use ingest::mutant::Mutant;
use ingest::record::{Body, Condition, Record, RecordId};
use ingest::words::{Epoch, Sequence, WriterId};
use tokio::sync::oneshot;

use super::{Shared, SubmitError};
use crate::apply::Prior;
use crate::outcome::Outcome;

/// One writer of this process start, for commits. Its id is random, so no start is taken for another.
pub(crate) struct Lane {
    writer: WriterId,
    epoch: Epoch,
    last: Sequence,
    waiting: BTreeMap<Sequence, Waiting>,
    /// Set when the fold has stopped: nobody answers any more.
    is_abandoned: bool,
}

/// A record whose outcome has not come. Whoever asked may have gone; the record is in the log all the same,
/// so what it names is held here and not by them.
struct Waiting {
    asked: oneshot::Sender<Outcome>,
    held: WriteGuard,
}

impl Lane {
    pub fn new(env: &Env) -> Self {
        Self {
            writer: WriterId(env.random_id()),
            epoch: Epoch::new(1),
            last: Sequence::ZERO,
            waiting: BTreeMap::new(),
            is_abandoned: false,
        }
    }

    /// The lane's name for a record that has no number yet.
    pub fn unnumbered(&self) -> RecordId {
        RecordId { writer: self.writer, epoch: self.epoch, sequence: self.last }
    }

    /// Hands an outcome to whoever waits for the record; content if nobody does.
    pub fn answer(&mut self, id: &RecordId, outcome: Outcome) {
        if id.writer == self.writer
            && id.epoch == self.epoch
            && let Some(waiting) = self.waiting.remove(&id.sequence)
        {
            // Whoever waited may have gone; the write stands all the same.
            let _ = waiting.asked.send(outcome);
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
}

/// Opens this process's writer in the log.
pub(super) async fn open_writer(shared: &Shared) -> Result<(), SubmitError> {
    let record = Record {
        id: shared.lane.lock().unnumbered(),
        principal: String::new(),
        request: String::new(),
        body: Body::OpenWriter,
    };
    let permit = shared.log.admit(shared.id, record.bytes_estimate()).await;
    match permit {
        Ok(permit) => Ok(shared.log.append(permit, record).await?),
        // A log that takes no records still serves reads; writes will be told why.
        Err(error) => {
            tracing::warn!(%error, "the partition is read-only");
            Ok(())
        }
    }
}

/// Numbers and appends a record, then waits for its outcome.
pub(super) async fn append(shared: &Shared, mut record: Record) -> Result<Outcome, SubmitError> {
    if let Some(reason) = shared.stopped.borrow().clone() {
        return Err(SubmitError::Stopped(reason));
    }
    let permit = shared.log.admit(shared.id, record.bytes_estimate()).await?;
    let (asked, receiver) = oneshot::channel();
    let held = shared.bulk.prolong(&record.bulk_files());
    let appended = {
        // Number and place in the log are taken in one step, so that numbers rise in log order.
        let mut lane = shared.lane.lock();
        if lane.is_abandoned {
            drop(lane);
            return Err(SubmitError::Stopped(stop_reason(shared)));
        }
        lane.last = lane.last.next();
        record.id = lane.unnumbered();
        lane.waiting.insert(record.id.sequence, Waiting { asked, held });
        let sequence = record.id.sequence;
        (shared.log.append(permit, record), sequence)
    };
    let (durable, sequence) = appended;
    if let Err(error) = durable.await {
        let waiting = shared.lane.lock().waiting.remove(&sequence);
        if let (Some(waiting), AppendError::Unknown { .. }) = (waiting, &error) {
            // The record may turn up at the next start, and its payload must be there then.
            waiting.held.keep();
        }
        return Err(error.into());
    }
    receiver.await.map_err(|_| SubmitError::Stopped(stop_reason(shared)))
}

fn stop_reason(shared: &Shared) -> String {
    shared.stopped.borrow().clone().unwrap_or_else(|| "the partition is closing".into())
}

/// The seeded bug that judges a condition by what the request saw, instead of where the log is applied.
pub(super) fn judge_early(shared: &Shared, record: &mut Record, prior: &Prior) {
    if !shared.env.mutated(Mutant::JudgeConditionEarly) {
        return;
    }
    if let Body::PutObject(put) = &mut record.body
        && put.condition == Condition::IfAbsent
        && prior.current.is_none()
    {
        put.condition = Condition::Always;
    }
}
