//! The fold: takes committed records in order, applies each once, answers, and freezes at cuts.

use std::sync::Arc;

use ingest::entry::Entry;
use ingest::env::{Fut, Task};
use ingest::log::{Committed, ReadError, Reader};
use ingest::mutant::Mutant;
use ingest::record::Body;
use ingest::words::{CutNumber, Offset, WallTime, WriterId};

use super::{OpenError, Shared};
use crate::apply::{Effects, apply, needs};
use crate::outcome::Outcome;
use crate::resolve::{resolve, states};
use crate::state::{Admission, BucketState, Buckets, StateKey, WriterState, Writers};
use crate::tail::{StateChange, Tail, bulk_files, state_bulk_files};
use crate::view::View;

/// What the fold knew when a tail was frozen: what the cut writes beside the tail itself.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub tail: Arc<Tail>,
    pub cut: CutNumber,
    /// Everything below is folded.
    pub next: Offset,
    pub time: WallTime,
    pub writers: Writers,
    /// Writers that a state run may still hold and that are forgotten now.
    pub expired: Vec<WriterId>,
}

struct Fold {
    shared: Arc<Shared>,
    writers: Writers,
    expired: Vec<WriterId>,
    cut: CutNumber,
    time: WallTime,
}

/// Restores the state from the catalog, replays the log to its end, and starts the task that goes on.
pub(super) async fn start(shared: &Arc<Shared>) -> Result<Task, OpenError> {
    let (cut, time, next) = {
        let view = shared.view.read();
        let catalog = &view.sealed.catalog;
        (catalog.cut, catalog.time, catalog.next)
    };
    let mut fold = Fold {
        shared: shared.clone(),
        writers: Writers::default(),
        expired: Vec::new(),
        cut,
        time,
    };
    fold.restore().await?;
    let end = shared.log.status(shared.id).end;
    let mut reader = shared.log.read(shared.id, next).await?;
    while shared.applied() < end {
        fold.take(reader.next().await?).await?;
    }
    shared.replayed.send_replace(true);
    let shared = shared.clone();
    let env = shared.env.clone();
    let task: Fut<'static, ()> = Box::pin(async move {
        let error = fold.run(reader).await;
        tracing::error!(%error, partition = %shared.id, "the fold has stopped");
        shared.stopped.send_replace(Some(error.to_string()));
        shared.lane.lock().abandon();
    });
    Ok(env.rt.spawn("fold", task))
}

impl Shared {
    fn applied(&self) -> Offset {
        self.view.read().tail.applied()
    }
}

impl Fold {
    /// Reads buckets and writers from the state runs. Uploads stay where they are.
    async fn restore(&mut self) -> Result<(), OpenError> {
        let snapshot = self.shared.snapshot();
        let mut buckets = Buckets::default();
        let undecodable = |what: &str, error: ingest::codec::DecodeError| {
            OpenError::Fold(format!("{what} in a state run: {error}"))
        };
        for (_, value) in states(&snapshot, StateKey::BUCKETS, b"c", usize::MAX).await? {
            let bucket = BucketState::decode(value).map_err(|e| undecodable("a bucket", e))?;
            buckets.insert(bucket);
        }
        for (key, value) in states(&snapshot, StateKey::WRITERS, b"x", usize::MAX).await? {
            let state = WriterState::decode(value).map_err(|e| undecodable("a writer", e))?;
            let Some(id) = key.0[1..].first_chunk() else {
                return Err(OpenError::Fold("a writer's id in a state run is too short".into()));
            };
            self.writers.restore(WriterId(*id), state);
        }
        *self.shared.buckets.write() = Arc::new(buckets);
        Ok(())
    }

    /// Folds until the log or a prior fact cannot be read.
    async fn run(&mut self, mut reader: Box<dyn Reader>) -> ReadError {
        loop {
            let taken = match reader.next().await {
                Ok(batch) => self.take(batch).await,
                Err(error) => Err(error),
            };
            if let Err(error) = taken {
                return error;
            }
        }
    }

    async fn take(&mut self, batch: Vec<Committed>) -> Result<(), ReadError> {
        for committed in batch {
            self.fold(committed).await?;
        }
        self.shared.grown.notify_one();
        Ok(())
    }

    async fn fold(&mut self, committed: Committed) -> Result<(), ReadError> {
        let offset = committed.offset;
        let id = committed.record.id;
        self.time = self.time.max(committed.time);
        let admission = match &committed.record.body {
            Body::OpenWriter => Admission::Repeated(self.writers.open(&id, offset)),
            _ => self.writers.admit(&id),
        };
        let applies_again = self.shared.env.mutated(Mutant::ApplyDuplicates)
            && !matches!(committed.record.body, Body::OpenWriter);
        let outcome = match admission {
            Admission::Repeated(_) | Admission::Rejected(_) if applies_again => {
                self.apply(&committed).await?
            }
            Admission::Repeated(outcome) => {
                self.shared.view.read().tail.advance(offset.next());
                outcome
            }
            Admission::Rejected(rejection) => {
                self.shared.view.read().tail.advance(offset.next());
                Outcome::Rejected(rejection)
            }
            Admission::Next => self.apply(&committed).await?,
        };
        self.shared.lane.lock().answer(&id, outcome);
        Ok(())
    }

    async fn apply(&mut self, committed: &Committed) -> Result<Outcome, ReadError> {
        let shared = self.shared.clone();
        let offset = committed.offset;
        let buckets = shared.buckets.read().clone();
        let wanted = needs(&buckets, &committed.record);
        let prior = resolve(&shared.snapshot(), &wanted).await?;
        let Effects { outcome, entries, state, bucket, freezes } =
            apply(&shared.options.rules, &buckets, self.cut, self.time, prior, committed);
        if shared.env.mutated(Mutant::AnswerBeforeApply) {
            shared.lane.lock().answer(&committed.record.id, outcome);
            ingest::env::yield_once().await;
        }
        if let Some((id, changed)) = bucket {
            let mut buckets = Buckets::clone(&buckets);
            match changed {
                Some(bucket) => buckets.insert(bucket),
                None => buckets.remove(id),
            }
            *shared.buckets.write() = Arc::new(buckets);
        }
        self.writers.record(&committed.record.id, offset, outcome);
        let tail = shared.view.read().tail.clone();
        if !*shared.replayed.borrow() {
            self.keep_bulk_numbers(&entries, &state);
        }
        tail.insert(offset, entries, state);
        tail.advance(offset.next());
        if freezes {
            self.freeze(offset.next());
        }
        Ok(outcome)
    }

    /// During replay: a bulk file that a record names may be lost, and its number must not come to mean
    /// another file.
    fn keep_bulk_numbers(&self, entries: &[Entry], state: &[StateChange]) {
        let named = entries.iter().flat_map(|entry| bulk_files(&entry.statement));
        let parts = state.iter().flat_map(|(key, value)| {
            state_bulk_files(key, value.as_ref()).expect("the fold encoded this value itself")
        });
        for id in named.chain(parts) {
            self.shared.bulk.skip_to(id.next());
        }
    }

    /// Sets the tail aside for the sealer and goes on in a new one.
    fn freeze(&mut self, next: Offset) {
        let shared = &self.shared;
        self.cut = self.cut.next();
        self.expired.extend(self.writers.expire(next));
        let mut view = shared.view.write();
        let frozen = Frozen {
            tail: view.tail.clone(),
            cut: self.cut,
            next,
            time: self.time,
            writers: if shared.env.mutated(Mutant::ForgetWritersAtCut) {
                Writers::default()
            } else {
                self.writers.clone()
            },
            expired: std::mem::take(&mut self.expired),
        };
        shared.publisher.replaced(&view);
        let mut tails = vec![view.tail.clone()];
        tails.extend(view.frozen.iter().cloned());
        *view = Arc::new(View {
            partition: view.partition,
            tail: Arc::new(Tail::new(next)),
            frozen: tails,
            sealed: view.sealed.clone(),
        });
        drop(view);
        shared.freezes.lock().push_back(frozen);
        shared.folded_cut.send_replace(self.cut);
        shared.frozen.notify_one();
    }
}
