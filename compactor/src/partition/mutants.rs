//! Seeded bugs of the write path: wrong orders of deciding, applying and answering, which tests must find.
//! A release build without the feature `mutants` contains none of them.

use std::sync::Arc;

use ingest::env::Fut;
use ingest::ids::CutNumber;
use ingest::log::{CommittedRecord, LogLocation};
use ingest::mutant::Mutant;
use ingest::record::{Record, RecordBody, WriteCondition};

use super::context::PartitionContext;
use super::writer::Writer;
use crate::apply::{PriorState, apply};
use crate::catalog::store::CatalogStore;
use crate::outcome::RecordOutcome;

/// The seeded bug that decides a condition by the state at the request, instead of the state at the
/// record's place in the log.
pub(super) fn judge_early(context: &PartitionContext, record: &mut Record, prior: &PriorState) {
    if !context.env.mutated(Mutant::JudgeConditionEarly) {
        return;
    }
    if let RecordBody::PutObject(put) = &mut record.body
        && put.condition == WriteCondition::IfAbsent
        && prior.current.is_none()
    {
        put.condition = WriteCondition::Always;
    }
}

/// The seeded bug that applies a write to this node's state before it is committed, and answers with that
/// outcome.
pub(super) fn answer_early(
    store: &CatalogStore,
    writer: &Arc<Writer>,
    cut: CutNumber,
    record: &Record,
    prior: &PriorState,
) -> Option<RecordOutcome> {
    let context = writer.context();
    let is_write = matches!(record.body, RecordBody::PutObject(_) | RecordBody::DeleteObject(_));
    if !context.env.mutated(Mutant::ApplyBeforeCommit) || !is_write || record.stream().is_some() {
        return None;
    }
    let committed = CommittedRecord {
        offset: store.applied(),
        time: context.env.clock.wall(),
        location: LogLocation { file: 0, position: 0, len: 0 },
        record: Arc::new(record.clone()),
    };
    let buckets = store.buckets();
    let rules = &context.options.rules;
    let effects =
        apply(rules, context.id, &buckets, cut, committed.time, prior.clone(), &committed);
    let (writer, record) = (writer.clone(), record.clone());
    let later: Fut<'static, ()> = Box::pin(async move {
        let _ = writer.append(record).await;
    });
    context.env.rt.spawn("answered already", later).detach();
    Some(effects.outcome)
}
