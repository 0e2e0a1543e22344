//! One query's session: its tables, its functions, and the checks that it only reads.

use std::sync::Arc;

use compactor::view::Snapshot;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ParamValues;
use datafusion::common::format::ExplainFormat;
use datafusion::config::Dialect;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Parsed;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use query::scan::VersionScope;

use crate::cancel::{self, CancelToken};
use crate::catalog::{CATALOG, PG_CATALOG, SCHEMA, SharedCatalog};
use crate::changes::ChangesTable;
use crate::complexity;
use crate::error::SqlError;
use crate::information::{INFORMATION_SCHEMA, InformationSchema};
use crate::list::ListObjects;
use crate::source::{PartitionView, Principal};
use crate::system_tables;
use crate::table::EntriesTable;
use crate::tags::TagsTable;
use crate::unsupported;

/// The parameters and the result's columns of a statement.
#[derive(Clone, Debug)]
pub struct StatementDescription {
    /// The types of `$1`, `$2` and so on, in order; `None` where the statement does not determine one.
    pub parameters: Vec<Option<DataType>>,
    /// The result's columns.
    pub schema: SchemaRef,
}

/// Makes the tables over these views. `segments` describes files that users share, so it has rows only for an
/// operator; without a principal `changes` and `segments` are empty.
///
/// Fails only if DataFusion refuses a table.
pub fn tables(
    seen: &[PartitionView],
    asker: Option<&Principal>,
) -> datafusion::error::Result<MemorySchemaProvider> {
    let snapshots: &[Snapshot] = &seen.iter().map(|seen| seen.snapshot.clone()).collect::<Vec<_>>();
    let tables = MemorySchemaProvider::new();
    for (name, shown) in [("objects", VersionScope::Objects), ("versions", VersionScope::Versions)]
    {
        tables.register_table(name.into(), Arc::new(EntriesTable::new(snapshots, shown)))?;
    }
    tables.register_table("tags".into(), Arc::new(TagsTable::new(snapshots)))?;
    tables.register_table("buckets".into(), Arc::new(system_tables::buckets(snapshots)?))?;
    tables.register_table("uploads".into(), Arc::new(system_tables::uploads(snapshots)?))?;
    tables.register_table("changes".into(), Arc::new(ChangesTable::new(seen, asker)))?;
    tables.register_table("partitions".into(), Arc::new(system_tables::partitions(seen)?))?;
    let is_operator = asker.is_some_and(|asker| asker.is_operator);
    let files = if is_operator { snapshots } else { &[] };
    tables.register_table("segments".into(), Arc::new(system_tables::segments(files)?))?;
    Ok(tables)
}

/// Makes a list of catalogs with one catalog that contains these schemas.
fn catalogs(
    schemas: &[(&str, Arc<dyn SchemaProvider>)],
) -> datafusion::error::Result<Arc<MemoryCatalogProviderList>> {
    let catalog = MemoryCatalogProvider::new();
    for (name, schema) in schemas {
        catalog.register_schema(name, schema.clone())?;
    }
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.into(), Arc::new(catalog));
    Ok(Arc::new(catalogs))
}

/// Makes a session context with exactly these schemas. Fails only if DataFusion refuses a schema.
pub fn with_schemas(
    state: SessionState,
    schemas: &[(&str, Arc<dyn SchemaProvider>)],
) -> datafusion::error::Result<SessionContext> {
    let state = SessionStateBuilder::new_from_existing(state).with_catalog_list(catalogs(schemas)?);
    Ok(SessionContext::new_with_state(state.build()))
}

/// A session whose tables show fixed snapshots. Keeps them until it and its streams are dropped.
pub struct QuerySession {
    context: SessionContext,
    is_operator: bool,
}

impl QuerySession {
    /// Makes a session for a principal, over the views that the principal may see. Fails only if DataFusion
    /// refuses a table.
    pub fn new(
        base: SharedCatalog,
        seen: &[PartitionView],
        asker: &Principal,
    ) -> Result<Self, SqlError> {
        Self::make(base, seen, asker).map_err(|error| SqlError::planning(&error))
    }

    /// Makes the session, with DataFusion's errors.
    fn make(
        base: SharedCatalog,
        seen: &[PartitionView],
        asker: &Principal,
    ) -> datafusion::error::Result<Self> {
        let tables: Arc<dyn SchemaProvider> = Arc::new(tables(seen, Some(asker))?);
        let told = [(SCHEMA, tables), (PG_CATALOG, base.pg_catalog)];
        // A list of catalogs of its own, without `information_schema`: see [`InformationSchema`].
        let information = Arc::new(InformationSchema::new(catalogs(&told)?, base.settings));
        let [tables, pg_catalog] = told;
        let mut state = base.state;
        if !asker.is_operator {
            // The physical plan shows how files that users share are read.
            let options = state.config_mut().options_mut();
            options.explain.logical_plan_only = true;
        }
        let schemas = [tables, pg_catalog, (INFORMATION_SCHEMA, information)];
        let context = with_schemas(state, &schemas)?;
        let listing =
            ListObjects { snapshots: seen.iter().map(|seen| seen.snapshot.clone()).collect() };
        context.register_udtf("list_objects", Arc::new(listing));
        Ok(Self { context, is_operator: asker.is_operator })
    }

    /// Plans a statement that only reads.
    ///
    /// Errors: [`SqlError::Complex`] if a limit is exceeded, [`SqlError::Refused`] if the text is wrong, is not
    /// supported or would change something.
    async fn plan(&self, text: &str) -> Result<LogicalPlan, SqlError> {
        let planning = |error| SqlError::planning(&error).in_text(text);
        let state = self.context.state();
        complexity::check(text, &GenericDialect {})?;
        let statement = state.sql_to_statement(text, &Dialect::Generic).map_err(planning)?;
        self.check(&statement)?;
        let plan = state.statement_to_plan(statement).await.map_err(planning)?;
        let only_reading = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        only_reading.verify_plan(&plan).map_err(planning)?;
        // `SELECT *` and functions can make more columns, and deeper values, than the text shows.
        let fields = plan.schema().inner().fields();
        if fields.len() > complexity::COLUMNS_MAX {
            let text = format!("an answer may have {} columns", complexity::COLUMNS_MAX);
            return Err(SqlError::Complex(text));
        }
        if fields.iter().any(|field| nesting(field.data_type()) > NESTING_MAX) {
            let text = "the answer's values are nested too deeply";
            return Err(SqlError::Complex(text.into()));
        }
        Ok(plan)
    }

    /// Refuses statements that are not supported, also below EXPLAIN.
    fn check(&self, statement: &Statement) -> Result<(), SqlError> {
        match statement {
            Statement::Statement(statement) => {
                // `DESCRIBE` of a query is parsed as this.
                if let Parsed::Explain { analyze, verbose, format, options, .. } = &**statement {
                    let is_plain = !analyze && !verbose && format.is_none() && options.is_none();
                    self.check_explain(is_plain)?;
                }
                complexity::check_tree(statement)?;
                unsupported::check(statement).map_err(SqlError::refused)
            }
            Statement::Explain(explain) => {
                let options = &explain.options;
                let is_indented = matches!(options.format, None | Some(ExplainFormat::Indent));
                self.check_explain(!options.analyze && !options.verbose && is_indented)?;
                self.check(&explain.statement)
            }
            Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => {
                Err(SqlError::refused(
                    "queries only read: COPY, CREATE EXTERNAL TABLE and RESET are refused",
                ))
            }
        }
    }

    /// Refuses detailed plans, except for operators. A file of the store contains objects of many users: how a
    /// query reads it, and how much of it, reveals facts about all of them. The logical plan depends on the
    /// query alone.
    fn check_explain(&self, is_plain: bool) -> Result<(), SqlError> {
        if self.is_operator || is_plain {
            return Ok(());
        }
        Err(SqlError::refused(
            "EXPLAIN with ANALYZE, VERBOSE or a format is for the root user: it counts what lies in files that users share",
        ))
    }

    /// Plans a statement and returns its parameters, in order, and columns, without running it.
    ///
    /// Errors: those of planning, and [`SqlError::Refused`] if a parameter is not `$1` to `$1000`.
    pub async fn describe(&self, text: &str) -> Result<StatementDescription, SqlError> {
        let plan = self.plan(text).await?;
        let named = plan.get_parameter_types().map_err(|error| SqlError::planning(&error))?;
        let mut parameters = Vec::new();
        for (name, kind) in named {
            let number = name.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            let Some(number) = number.filter(|number| (1..=PARAMETERS_MAX).contains(number)) else {
                let text = format!("a parameter is $1 to ${PARAMETERS_MAX}, not {name}");
                return Err(SqlError::refused(text));
            };
            if parameters.len() < number {
                parameters.resize(number, None);
            }
            parameters[number - 1] = kind;
        }
        Ok(StatementDescription { parameters, schema: plan.schema().inner().clone() })
    }

    /// Plans a statement with its parameters and returns the stream of its rows, which reads only when polled.
    ///
    /// Rows come in the order that the statement demands, otherwise in any order. The plan checks `alive` where
    /// it would run long without yielding. Errors: those of planning; errors while running are items of the
    /// stream.
    pub async fn run(
        &self,
        text: &str,
        values: ParamValues,
        alive: &Arc<CancelToken>,
    ) -> Result<SendableRecordBatchStream, SqlError> {
        let planning = |error| SqlError::planning(&error);
        let plan = self.plan(text).await?.with_param_values(values).map_err(planning)?;
        let frame = self.context.execute_logical_plan(plan).await.map_err(planning)?;
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(planning)?;
        let plan = cancel::asking(plan, alive).map_err(planning)?;
        execute_stream(plan, context).map_err(planning)
    }
}

/// Returns the depth of a type's nested values.
fn nesting(kind: &DataType) -> usize {
    let of = |field: &Field| nesting(field.data_type());
    match kind {
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => 1 + of(field),
        DataType::Struct(fields) => 1 + fields.iter().map(|field| of(field)).max().unwrap_or(0),
        DataType::Union(fields, _) => 1 + fields.iter().map(|(_, f)| of(f)).max().unwrap_or(0),
        DataType::Dictionary(_, value) => 1 + nesting(value),
        DataType::RunEndEncoded(_, values) => 1 + of(values),
        _ => 0,
    }
}

/// The deepest nesting of a result's values: clients and encoders are recursive in them, on stacks of other
/// sizes.
const NESTING_MAX: usize = 32;

/// The most parameters of a statement.
const PARAMETERS_MAX: usize = 1000;
