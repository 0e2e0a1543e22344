//! State that all queries share, and the functions and tables that PostgreSQL's drivers read before any query.

use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use datafusion::arrow::array::{ArrayRef, AsArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::context::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, create_udf,
};
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::setup_pg_catalog;

use crate::information;
use crate::session::{tables, with_schemas};
use crate::settings;

/// The state that all sessions of an engine share; a clone is cheap.
#[derive(Clone)]
pub struct SharedCatalog {
    /// DataFusion's configuration, functions and runtime, without tables.
    pub state: SessionState,
    /// The schema `pg_catalog`, with the columns of our tables and none of their rows. Must be the same for all
    /// queries: clients use a table's number from one query in the next.
    pub pg_catalog: Arc<dyn SchemaProvider>,
    /// The table `df_settings` of `information_schema`: DataFusion's settings without those about this machine.
    pub settings: Arc<dyn TableProvider>,
}

impl SharedCatalog {
    /// Adds this package's functions, the limits on functions' results, and PostgreSQL's catalog to a session
    /// state.
    ///
    /// Called once for each engine. Fails only if DataFusion refuses one of them.
    pub fn new(mut state: SessionState) -> Result<Self> {
        crate::functions::register(&mut state)?;
        crate::output_limit::bound(&mut state)?;
        let settings = information::settings(state.config_options())?;
        // Tables without rows and without a principal, made once: the numbers of tables must not change between
        // queries.
        let context = with_schemas(state, &[(SCHEMA, Arc::new(tables(&[], None)?))])?;
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        context.register_udf(version());
        context.register_udf(to_regtype());
        context.register_udf(serial_sequence());
        context.register_udf(current_setting());
        context.register_udf(collation_is_visible());
        context.register_udf(ScalarUDF::from(JsonBuildObject::default()));
        let catalog = context.catalog(CATALOG);
        let pg_catalog = catalog.and_then(|catalog| catalog.schema(PG_CATALOG));
        let missing = || DataFusionError::Internal("there is no pg_catalog".into());
        let pg_catalog = pg_catalog.ok_or_else(missing)?;
        Ok(Self { state: context.state(), pg_catalog, settings })
    }
}

/// The name of our catalog, which PostgreSQL calls a database.
pub const CATALOG: &str = "siltstone";
/// The name of our tables' schema.
pub const SCHEMA: &str = "public";
/// The name of the schema with PostgreSQL's own tables.
pub const PG_CATALOG: &str = "pg_catalog";

/// Makes `version()`, by which drivers recognise PostgreSQL and its version.
fn version() -> ScalarUDF {
    let text = concat!("PostgreSQL 16.6 (Siltstone ", env!("CARGO_PKG_VERSION"), ")");
    let told = move |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::from(text)));
    create_udf("version", Vec::new(), DataType::Utf8, Volatility::Stable, Arc::new(told))
}

/// Returns PostgreSQL's number of a type, by its name, if columns here may have the type.
fn type_number(name: &str) -> Option<i32> {
    let kinds = [
        DataType::Boolean,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::UInt64,
        DataType::Float32,
        DataType::Float64,
        DataType::Utf8,
        DataType::Binary,
        DataType::Date32,
        DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
    ];
    let types = kinds.iter().filter_map(|kind| into_pg_type(kind).ok());
    types.into_iter().find(|kind| kind.name() == name).and_then(|kind| kind.oid().try_into().ok())
}

/// Makes `to_regtype(name)`, with which drivers look for the types of extensions: NULL, since there are none.
fn to_regtype() -> ScalarUDF {
    let told = |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let names = arguments[0].as_string::<i32>().iter();
        let numbers: Int32Array = names.map(|name| type_number(name?)).collect();
        Ok(ColumnarValue::Array(Arc::new(numbers) as ArrayRef))
    };
    let arguments = vec![DataType::Utf8];
    create_udf("to_regtype", arguments, DataType::Int32, Volatility::Stable, Arc::new(told))
}

/// Makes `pg_get_serial_sequence(table, column)`: always NULL, since no column has a sequence.
fn serial_sequence() -> ScalarUDF {
    let none = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::Utf8(None)));
    let arguments = vec![DataType::Utf8, DataType::Utf8];
    let name = "pg_get_serial_sequence";
    create_udf(name, arguments, DataType::Utf8, Volatility::Stable, Arc::new(none))
}

/// Makes `current_setting(name)`: NULL for a setting that does not exist, where PostgreSQL fails.
fn current_setting() -> ScalarUDF {
    let told = |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let names = arguments[0].as_string::<i32>().iter();
        let values: StringArray = names.map(|name| settings::value(name?)).collect();
        Ok(ColumnarValue::Array(Arc::new(values) as ArrayRef))
    };
    let (name, arguments) = ("current_setting", vec![DataType::Utf8]);
    create_udf(name, arguments, DataType::Utf8, Volatility::Stable, Arc::new(told))
}

/// Makes `pg_collation_is_visible(oid)`: always true, since the only collation compares bytes.
fn collation_is_visible() -> ScalarUDF {
    let yes = |_: &[ColumnarValue]| Ok(ColumnarValue::Scalar(ScalarValue::from(true)));
    let (name, arguments) = ("pg_collation_is_visible", vec![DataType::Int32]);
    create_udf(name, arguments, DataType::Boolean, Volatility::Stable, Arc::new(yes))
}

/// The function `json_build_object(key, value, …)`, with which drivers collect the facts of a column.
#[derive(Debug, PartialEq, Eq, Hash)]
struct JsonBuildObject(Signature);

impl Default for JsonBuildObject {
    fn default() -> Self {
        Self(Signature::variadic_any(Volatility::Stable))
    }
}

/// Converts a value to JSON. Integers must fit 64 bits with a sign; types without a JSON form become text.
fn json_value(array: &ArrayRef, row: usize) -> Result<serde_json::Value> {
    let value = ScalarValue::try_from_array(array, row)?;
    Ok(match value {
        value if value.is_null() => serde_json::Value::Null,
        ScalarValue::Boolean(Some(value)) => value.into(),
        ScalarValue::Float32(Some(value)) => value.into(),
        ScalarValue::Float64(Some(value)) => value.into(),
        other if other.data_type().is_integer() => match other.cast_to(&DataType::Int64)? {
            ScalarValue::Int64(Some(value)) => value.into(),
            _ => serde_json::Value::Null,
        },
        other => other.to_string().into(),
    })
}

impl ScalarUDFImpl for JsonBuildObject {
    fn name(&self) -> &'static str {
        "json_build_object"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        if !arguments.len().is_multiple_of(2) {
            return plan_err!("json_build_object takes keys and values in turn");
        }
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, called: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays: Vec<ArrayRef> = called
            .args
            .into_iter()
            .map(|value| value.into_array(called.number_rows))
            .collect::<Result<_>>()?;
        let object = |row: usize| -> Result<String> {
            let mut object = serde_json::Map::new();
            for pair in arrays.chunks_exact(2) {
                let key = ScalarValue::try_from_array(&pair[0], row)?.to_string();
                object.insert(key, json_value(&pair[1], row)?);
            }
            Ok(serde_json::Value::Object(object).to_string())
        };
        let objects: Result<Vec<String>> = (0..called.number_rows).map(object).collect();
        Ok(ColumnarValue::Array(Arc::new(StringArray::from_iter_values(objects?))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_postgresqls_numbers() {
        for (name, number) in
            [("text", Some(25)), ("int8", Some(20)), ("timestamptz", Some(1184)), ("hstore", None)]
        {
            assert_eq!(type_number(name), number, "{name}");
        }
    }
}
