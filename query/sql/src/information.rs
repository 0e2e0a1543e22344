//! The schema `information_schema`: DataFusion's, with a table of settings that reveals nothing about this
//! machine.
//!
//! DataFusion's own `df_settings`, which `SHOW` reads, contains the folder to which sorts spill.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::information_schema::InformationSchemaProvider;
use datafusion::catalog::{CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::config::ConfigOptions;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

/// The schema's name.
pub const INFORMATION_SCHEMA: &str = "information_schema";
/// The name of the table that is replaced.
const SETTINGS: &str = "df_settings";
/// The prefix of the settings that describe the machine: memory, folders, caches.
const HIDDEN: &str = "datafusion.runtime.";

/// Makes the table `df_settings`, ordered by name, without the settings about this machine. Fails only if
/// DataFusion refuses the rows.
pub fn settings(options: &ConfigOptions) -> Result<Arc<dyn TableProvider>> {
    let mut entries = options.entries();
    entries.retain(|entry| !entry.key.starts_with(HIDDEN));
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    let schema = Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8, false),
        Field::new("value", DataType::Utf8, true),
        Field::new("description", DataType::Utf8, true),
    ]));
    let names = StringArray::from_iter_values(entries.iter().map(|entry| &entry.key));
    let values: StringArray = entries.iter().map(|entry| entry.value.as_deref()).collect();
    let texts: StringArray = entries.iter().map(|entry| Some(entry.description)).collect();
    let columns = vec![Arc::new(names) as _, Arc::new(values) as _, Arc::new(texts) as _];
    let rows = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}

/// The schema, over catalogs that must not contain it: a cycle of references would never be freed.
pub struct InformationSchema {
    inner: InformationSchemaProvider,
    settings: Arc<dyn TableProvider>,
}

impl InformationSchema {
    /// Makes the schema that describes the tables of these catalogs; `catalogs` must not contain the schema
    /// itself.
    pub fn new(catalogs: Arc<dyn CatalogProviderList>, settings: Arc<dyn TableProvider>) -> Self {
        Self { inner: InformationSchemaProvider::new(catalogs), settings }
    }
}

impl fmt::Debug for InformationSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(INFORMATION_SCHEMA)
    }
}

#[async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        self.inner.table_names()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        // DataFusion finds the table under a name in any case, so its replacement must be found, too.
        if name.eq_ignore_ascii_case(SETTINGS) {
            return Ok(Some(self.settings.clone()));
        }
        self.inner.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
