//! The intake of records: a record is refused, delayed, or appended and answered.

use std::sync::Arc;
use std::time::Duration;

use ingest::env::timeout;
use ingest::log::AppendError;
use ingest::place::Place;
use ingest::record::{Record, RecordBody};
use ingest::time::WallTime;

use super::context::PartitionContext;
use super::cut_queue::CutQueue;
use super::error::SubmitError;
use super::health::Health;
use super::mutants;
use super::options::FROZEN_MAX;
use super::readiness::{ReadinessFacts, UnreadyReason, readiness};
use super::space::SpaceWatch;
use super::writer::Writer;
use crate::apply::needs;
use crate::catalog::store::CatalogStore;
use crate::lookup::resolve;
use crate::outcome::RecordOutcome;

/// Returns the place for the inline payload of a record. Payload in bulk files was admitted to its place before.
fn place_of(record: &Record) -> Place {
    match &record.body {
        RecordBody::PutObject(put) => put.attributes.storage_class().place(),
        _ => Place::Hot,
    }
}

/// Accepts the records of one partition.
pub(crate) struct Intake {
    pub context: Arc<PartitionContext>,
    pub store: Arc<CatalogStore>,
    pub health: Arc<Health>,
    pub space: Arc<SpaceWatch>,
    pub writer: Arc<Writer>,
    pub cuts: Arc<CutQueue>,
}

impl Intake {
    /// Appends a record and waits for its outcome, at most [`super::PartitionOptions::write_wait`]. A
    /// refused record is not in the log. Dropping the future does not undo the write.
    ///
    /// The checks are made in this order: quarantine, a held or late fold, the record's size, room in the
    /// memtable, space, and the prior state. Errors: see [`SubmitError`].
    pub async fn submit(
        &self,
        principal: &str,
        request: &str,
        body: RecordBody,
    ) -> Result<RecordOutcome, SubmitError> {
        if let Some(reason) = self.health.quarantined() {
            return Err(SubmitError::Quarantined(reason));
        }
        if let Some(reason) = self.refusal() {
            return Err(SubmitError::NotNow(reason));
        }
        let mut record = Record {
            id: self.writer.unnumbered(),
            principal: principal.to_owned(),
            request: request.to_owned(),
            time: WallTime::default(),
            body,
        };
        // A record that cannot be decoded again would stop the fold for good.
        record.check()?;
        if !matches!(record.body, RecordBody::Cut { .. }) {
            self.wait_for_room().await?;
        }
        if record.grows() {
            let short = || "the device is nearly full; deletes are still taken".to_owned();
            let is_short = self.space.is_short();
            let detail = is_short.then(short).or_else(|| self.store.crowded());
            let cold = || self.space.cold_refusal().filter(|_| place_of(&record) == Place::Cold);
            if let Some(detail) = detail.or_else(cold) {
                return Err(AppendError::Full { partition: self.context.id, detail }.into());
            }
        }
        // The fold must be able to read the prior state. A failure here, before the append, costs one
        // request; a failure in the fold would delay the whole partition.
        let wanted = needs(&self.store.buckets(), &record);
        let prior = resolve(&self.store.snapshot(), &wanted).await;
        let prior = prior.map_err(SubmitError::Unreadable)?;
        let cut = self.cuts.folded();
        let early = mutants::answer_early(&self.store, &self.writer, cut, &record, &prior);
        if let Some(outcome) = early {
            return Ok(outcome);
        }
        mutants::judge_early(&self.context, &mut record, &prior);
        self.writer.append(record).await
    }

    /// Appends a CUT record for the cut after the last one, and waits until it is applied. If another
    /// node's record for the same cut comes first, this record has no effect. Fails as [`Intake::submit`].
    pub async fn request_cut(&self) -> Result<(), SubmitError> {
        let number = self.cuts.folded().next();
        self.submit("", "", RecordBody::Cut { number }).await.map(|_| ())
    }

    /// Returns the reason why a write is refused before it is appended; `None` otherwise. Called for every
    /// write, so few facts are read.
    fn refusal(&self) -> Option<UnreadyReason> {
        let (waited, wait_max) = self.waiting();
        let held = self.health.held();
        let facts = ReadinessFacts { held, waited, wait_max, ..ReadinessFacts::default() };
        readiness(&facts).err().filter(UnreadyReason::is_before_append)
    }

    /// Returns the time that the oldest record has waited for its outcome, and the limit for that time.
    /// Later records wait as long, and would fail with an unknown outcome after
    /// [`super::PartitionOptions::write_wait`].
    fn waiting(&self) -> (Duration, Duration) {
        let oldest = self.writer.oldest();
        let now = self.context.env.clock.now();
        let waited = oldest.map_or(Duration::ZERO, |since| now.since(since));
        (waited, self.context.options.write_wait / 2)
    }

    /// Returns the facts from which [`readiness`] decides, as of now. The facts are read one after the
    /// other and may belong to slightly different moments.
    pub fn facts(&self) -> ReadinessFacts {
        let (waited, wait_max) = self.waiting();
        let status = self.context.log.status(self.context.id);
        ReadinessFacts {
            quarantined: self.health.quarantined(),
            stopped: self.health.stopped(),
            held: self.health.held(),
            refusing: status.refusing.map(|error| error.to_string()),
            is_short: self.space.is_short(),
            crowded: self.store.crowded(),
            cuts_failed: self.health.flushes.failed(),
            is_full: self.is_full(),
            waited,
            wait_max,
        }
    }

    /// Returns true if the largest allowed number of frozen memtables waits and the current memtable is
    /// full.
    fn is_full(&self) -> bool {
        let view = self.store.view();
        let policy = &self.context.options.cut;
        view.frozen.len() >= FROZEN_MAX
            && (view.memtable.bytes() >= policy.bytes || view.memtable.len() >= policy.entries)
    }

    /// Waits until a flush has made room, at most [`super::PartitionOptions::overload_wait`]; then fails
    /// with [`SubmitError::Overloaded`].
    async fn wait_for_room(&self) -> Result<(), SubmitError> {
        if !self.is_full() {
            return Ok(());
        }
        let mut flushed = self.store.follow_cut();
        let room = async {
            while self.is_full() {
                if flushed.changed().await.is_err() {
                    return;
                }
            }
        };
        let (clock, limit) = (self.context.env.clock.as_ref(), self.context.options.overload_wait);
        timeout(clock, limit, room).await.ok_or(SubmitError::Overloaded)
    }
}
