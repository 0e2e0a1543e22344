//! The schema `information_schema`: DataFusion's, with settings that tell nothing of this machine.
//!
//! DataFusion's own `df_settings`, which `SHOW` reads, names the folder that sorts spill to.

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
const SETTINGS: &str = "df_settings";
/// Settings of what runs queries: memory, folders, caches.
const HIDDEN: &str = "datafusion.runtime.";

/// The table `df_settings`.
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

/// The schema, over catalogs that do not contain it: they would never be freed.
pub struct InformationSchema {
    inner: InformationSchemaProvider,
    settings: Arc<dyn TableProvider>,
}

impl InformationSchema {
    /// The schema that tells of these catalogs and settings.
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
        if name.eq_ignore_ascii_case(SETTINGS) {
            return Ok(Some(self.settings.clone()));
        }
        self.inner.table(name).await
    }

    fn table_exist(&self, name: &str) -> bool {
        self.inner.table_exist(name)
    }
}
