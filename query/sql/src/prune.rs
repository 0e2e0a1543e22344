//! Excludes pages of disjoint rows by conditions on columns other than bucket and key.
//!
//! A condition may skip rows only where one run alone decides visibility. Elsewhere a row that the condition
//! excludes may hide an older row that it would keep.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use compactor::manifest::schema;
use datafusion::arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::expr_rewriter::unnormalize_col;
use datafusion::physical_optimizer::pruning::{PruningPredicate, PruningPredicateBuilder};
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::file::metadata::ParquetMetaData;
use query::scan::{DisjointRows, page_rows};

/// Columns whose pages have extremes in the file's index, with the same name and type in tables and manifests.
const COLUMNS: [&str; 4] = ["last_modified", "size", "owner", "content_type"];

/// Returns the only column of a condition, if there is only one and it has extremes.
fn column_of(condition: &Expr) -> Option<String> {
    let columns = condition.column_refs();
    let mut names = columns.iter().map(|column| column.name.as_str());
    let name = names.next()?;
    (names.next().is_none() && COLUMNS.contains(&name)).then(|| name.to_owned())
}

/// Returns true if a condition may exclude pages: it must be about one column with extremes and have the same
/// value each time it is evaluated.
pub fn prunes(condition: &Expr) -> bool {
    column_of(condition).is_some() && !condition.is_volatile()
}

/// Removes from disjoint rows the pages in which no row can fulfil all conditions. Reads only the file's index,
/// which is in memory.
///
/// Conditions that cannot be converted to conditions on extremes exclude nothing. Never fails at present.
pub fn prune(
    disjoint: &mut DisjointRows,
    conditions: &[Expr],
    session: &dyn Session,
) -> Result<()> {
    // A damaged manifest excludes nothing here: the read of the rows reports the error.
    let Ok(manifest) = &disjoint.run.manifest else { return Ok(()) };
    let metadata = manifest.metadata().metadata().clone();
    for condition in conditions.iter().filter(|condition| prunes(condition)) {
        let Some(name) = column_of(condition) else { continue };
        // A condition that DataFusion cannot convert to one on extremes excludes nothing.
        let Some(predicate) = predicate(condition, session) else { continue };
        let mut kept = Vec::with_capacity(disjoint.rows.len());
        for selected in &disjoint.rows {
            let pages = PageExtremes::of(&metadata, selected.group, &name);
            // Extremes include rows that are not visible. An error on them must not fail the query, so nothing
            // is excluded.
            let wanted = pages.as_ref().and_then(|pages| predicate.prune(pages).ok());
            match (pages, wanted) {
                (Some(pages), Some(wanted)) => {
                    let pages = pages.rows.into_iter().zip(wanted).filter(|(_, wanted)| *wanted);
                    kept.extend(selected.only(pages.map(|(rows, _)| rows)));
                }
                _ => kept.push(selected.clone()),
            }
        }
        disjoint.rows = kept;
    }
    Ok(())
}

/// Converts a condition to one on the extremes of a page; `None` if DataFusion cannot.
fn predicate(condition: &Expr, session: &dyn Session) -> Option<Arc<PruningPredicate>> {
    let schema: SchemaRef = schema();
    let names = DFSchema::try_from(schema.clone()).ok()?;
    let condition = unnormalize_col(condition.clone());
    let physical = session.create_physical_expr(condition, &names).ok()?;
    PruningPredicateBuilder::new().with_file_schema(schema).build(physical)
}

/// The extremes of a column's pages in one row group.
struct PageExtremes {
    rows: Vec<Range<usize>>,
    min: ArrayRef,
    max: ArrayRef,
    nulls: UInt64Array,
    counts: Option<UInt64Array>,
}

impl PageExtremes {
    /// Reads the extremes from the file's index; `None` if the index lacks them.
    fn of(metadata: &Arc<ParquetMetaData>, group: usize, name: &str) -> Option<Self> {
        let (columns, offsets) = (metadata.column_index()?, metadata.offset_index()?);
        let schema = schema();
        let parquet = metadata.file_metadata().schema_descr();
        let converter = StatisticsConverter::try_new(name, &schema, parquet).ok()?;
        let groups = [group];
        let leaf = converter.parquet_column_index()?;
        let total = usize::try_from(metadata.row_group(group).num_rows()).ok()?;
        Some(Self {
            rows: page_rows(offsets.get(group)?.get(leaf)?, total),
            min: converter.data_page_mins(columns, offsets, &groups).ok()?,
            max: converter.data_page_maxes(columns, offsets, &groups).ok()?,
            nulls: converter.data_page_null_counts(columns, offsets, &groups).ok()?,
            counts: converter
                .data_page_row_counts(offsets, metadata.row_groups(), &groups)
                .ok()
                .flatten(),
        })
    }
}

impl PruningStatistics for PageExtremes {
    fn min_values(&self, _: &Column) -> Option<ArrayRef> {
        Some(self.min.clone())
    }

    fn max_values(&self, _: &Column) -> Option<ArrayRef> {
        Some(self.max.clone())
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, _: &Column) -> Option<ArrayRef> {
        Some(Arc::new(self.nulls.clone()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        self.counts.clone().map(|counts| Arc::new(counts) as ArrayRef)
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}
