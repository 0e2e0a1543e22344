//! Functions of keys: `prefix` and `extension`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Adds the functions to a session.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    registry.register_udf(Arc::new(ScalarUDF::from(Prefix::default())))?;
    registry.register_udf(Arc::new(ScalarUDF::from(Extension::default())))?;
    Ok(())
}

/// The folder that a key lies in, at most `depth` components deep, with the delimiter at its end. A key
/// without a delimiter lies in none: the empty text.
fn prefix_of<'a>(key: &'a str, delimiter: &str, depth: i64) -> &'a str {
    if delimiter.is_empty() {
        return "";
    }
    let ends = key.match_indices(delimiter).map(|(at, found)| at + found.len());
    let end = ends.take(usize::try_from(depth).unwrap_or(0)).last();
    &key[..end.unwrap_or(0)]
}

/// What follows the last dot of a key's last component; none where nothing precedes or follows it.
fn extension_of(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then_some(extension)
}

/// `prefix(key, delimiter, depth)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Prefix(Signature);

impl Default for Prefix {
    fn default() -> Self {
        let arguments = vec![DataType::Utf8, DataType::Utf8, DataType::Int64];
        Self(Signature::exact(arguments, Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Prefix {
    fn name(&self) -> &'static str {
        "prefix"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, called: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&called.args)?;
        let (keys, delimiters) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
        let depths = arguments[2].as_primitive::<Int64Type>();
        let mut prefixes = StringBuilder::with_capacity(keys.len(), keys.len() * 16);
        for row in 0..keys.len() {
            let is_null = keys.is_null(row) || delimiters.is_null(row) || depths.is_null(row);
            prefixes.append_option(
                (!is_null)
                    .then(|| prefix_of(keys.value(row), delimiters.value(row), depths.value(row))),
            );
        }
        Ok(ColumnarValue::Array(Arc::new(prefixes.finish())))
    }
}

/// `extension(key)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extension(Signature);

impl Default for Extension {
    fn default() -> Self {
        Self(Signature::exact(vec![DataType::Utf8], Volatility::Immutable))
    }
}

impl ScalarUDFImpl for Extension {
    fn name(&self) -> &'static str {
        "extension"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, called: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = ColumnarValue::values_to_arrays(&called.args)?;
        let mut extensions = StringBuilder::new();
        for key in arguments[0].as_string::<i32>() {
            extensions.append_option(key.and_then(extension_of));
        }
        let extensions: ArrayRef = Arc::new(extensions.finish());
        Ok(ColumnarValue::Array(extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_folder_down_to_a_depth() {
        for (key, delimiter, depth, wanted) in [
            ("a/b/c.txt", "/", 1, "a/"),
            ("a/b/c.txt", "/", 2, "a/b/"),
            ("a/b/c.txt", "/", 9, "a/b/"),
            ("a/b/c.txt", "/", 0, ""),
            ("a/b/c.txt", "/", -1, ""),
            ("c.txt", "/", 1, ""),
            ("/a", "/", 1, "/"),
            ("a//b", "/", 2, "a//"),
            ("a--b--c", "--", 1, "a--"),
            ("äöü/ß", "/", 1, "äöü/"),
            ("a/b", "", 1, ""),
        ] {
            assert_eq!(prefix_of(key, delimiter, depth), wanted, "{key} {delimiter} {depth}");
        }
    }

    #[test]
    fn an_extension_follows_the_last_dot_of_the_last_component() {
        for (key, wanted) in [
            ("a/b.tar.gz", Some("gz")),
            ("a.b/c", None),
            (".bashrc", None),
            ("a/.bashrc", None),
            ("a.", None),
            ("ä.ß", Some("ß")),
            ("", None),
        ] {
            assert_eq!(extension_of(key), wanted, "{key}");
        }
    }
}
