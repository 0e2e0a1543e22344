//! One query's world: its tables, its functions, and that it only reads.

use std::sync::Arc;

use compactor::view::Snapshot;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider,
};
use datafusion::common::ParamValues;
use datafusion::execution::context::{SQLOptions, SessionState};
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use query::scan::Shown;

use crate::alive::{self, Alive};
use crate::catalog::{Base, CATALOG, PG_CATALOG, SCHEMA};
use crate::changes::Changes;
use crate::error::SqlError;
use crate::facts;
use crate::list::ListObjects;
use crate::source::{Asker, Seen};
use crate::table::Entries;
use crate::tags::Tags;
use crate::words;

/// What a statement asks for and answers with.
#[derive(Clone, Debug)]
pub struct Description {
    /// The types of `$1`, `$2` and so on; none where the statement leaves it open.
    pub parameters: Vec<Option<DataType>>,
    /// The answer's columns.
    pub schema: SchemaRef,
}

/// The tables of what is seen. What the store is made of has rows for operators only.
pub fn tables(
    seen: &[Seen],
    asker: Option<&Asker>,
) -> datafusion::error::Result<MemorySchemaProvider> {
    let snapshots: &[Snapshot] = &seen.iter().map(|seen| seen.snapshot.clone()).collect::<Vec<_>>();
    let tables = MemorySchemaProvider::new();
    for (name, shown) in [("objects", Shown::Objects), ("versions", Shown::Versions)] {
        tables.register_table(name.into(), Arc::new(Entries::new(snapshots, shown)))?;
    }
    tables.register_table("tags".into(), Arc::new(Tags::new(snapshots)))?;
    tables.register_table("buckets".into(), Arc::new(facts::buckets(snapshots)?))?;
    tables.register_table("uploads".into(), Arc::new(facts::uploads(snapshots)?))?;
    tables.register_table("changes".into(), Arc::new(Changes::new(seen, asker)))?;
    tables.register_table("partitions".into(), Arc::new(facts::partitions(seen)?))?;
    let is_operator = asker.is_some_and(|asker| asker.is_operator);
    let files = if is_operator { snapshots } else { &[] };
    tables.register_table("segments".into(), Arc::new(facts::segments(files)?))?;
    Ok(tables)
}

/// A session with a catalog of its own.
pub fn with_tables(
    state: SessionState,
    tables: Arc<dyn SchemaProvider>,
    pg_catalog: Option<Arc<dyn SchemaProvider>>,
) -> datafusion::error::Result<SessionContext> {
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, tables)?;
    if let Some(pg_catalog) = pg_catalog {
        catalog.register_schema(PG_CATALOG, pg_catalog)?;
    }
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.into(), Arc::new(catalog));
    let state = SessionStateBuilder::new_from_existing(state).with_catalog_list(Arc::new(catalogs));
    Ok(SessionContext::new_with_state(state.build()))
}

/// Tables as snapshots show them.
pub struct Session(SessionContext);

impl Session {
    /// A session whose tables show what is seen.
    pub fn new(base: Base, seen: &[Seen], asker: &Asker) -> Result<Self, SqlError> {
        Self::make(base, seen, asker).map_err(|error| SqlError::planning(&error))
    }

    fn make(base: Base, seen: &[Seen], asker: &Asker) -> datafusion::error::Result<Self> {
        let tables = Arc::new(tables(seen, Some(asker))?);
        let context = with_tables(base.state, tables, Some(base.pg_catalog))?;
        let listing =
            ListObjects { snapshots: seen.iter().map(|seen| seen.snapshot.clone()).collect() };
        context.register_udtf("list_objects", Arc::new(listing));
        Ok(Self(context))
    }

    /// Plans a statement that only reads.
    async fn plan(&self, text: &str) -> Result<LogicalPlan, SqlError> {
        let planning = |error| SqlError::planning(&error).in_text(text);
        let state = self.0.state();
        let dialect = state.config_options().sql_parser.dialect;
        let statement = state.sql_to_statement(text, &dialect).map_err(planning)?;
        check(&statement)?;
        let plan = state.statement_to_plan(statement).await.map_err(planning)?;
        let only_reading = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        only_reading.verify_plan(&plan).map_err(planning)?;
        Ok(plan)
    }

    /// See [`Description`].
    pub async fn describe(&self, text: &str) -> Result<Description, SqlError> {
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
        Ok(Description { parameters, schema: plan.schema().inner().clone() })
    }

    /// Begins a statement with the values of its parameters.
    pub async fn run(
        &self,
        text: &str,
        values: ParamValues,
        alive: &Arc<Alive>,
    ) -> Result<SendableRecordBatchStream, SqlError> {
        let planning = |error| SqlError::planning(&error);
        let plan = self.plan(text).await?.with_param_values(values).map_err(planning)?;
        let frame = self.0.execute_logical_plan(plan).await.map_err(planning)?;
        let context = Arc::new(frame.task_ctx());
        let plan = frame.create_physical_plan().await.map_err(planning)?;
        let plan = alive::asking(plan, alive).map_err(planning)?;
        execute_stream(plan, context).map_err(planning)
    }
}

/// Says what cannot be asked, also where it is only to be explained.
fn check(statement: &Statement) -> Result<(), SqlError> {
    match statement {
        Statement::Statement(statement) => words::check(statement).map_err(SqlError::refused),
        Statement::Explain(explain) => check(&explain.statement),
        _ => Ok(()),
    }
}

/// More is nobody's query by hand.
const PARAMETERS_MAX: usize = 1000;
