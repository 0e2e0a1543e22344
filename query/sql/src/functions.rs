//! SQL functions of object keys: `prefix` and `extension`.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, StringArray, StringBuilder};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};

/// Adds the functions `prefix` and `extension` to a session. Fails only if DataFusion refuses one of them.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    registry.register_udf(Arc::new(prefix()))?;
    registry.register_udf(Arc::new(extension()))?;
    Ok(())
}

/// Returns the folder of a key, at most `depth` components deep, with the delimiter at its end. Empty for a key
/// without a delimiter, for an empty delimiter and for a depth below 1.
fn prefix_of<'a>(key: &'a str, delimiter: &str, depth: i64) -> &'a str {
    if delimiter.is_empty() {
        return "";
    }
    let ends = key.match_indices(delimiter).map(|(at, found)| at + found.len());
    let end = ends.take(usize::try_from(depth).unwrap_or(0)).last();
    &key[..end.unwrap_or(0)]
}

/// Returns the text after the last dot of a key's last component, or `None` if the text before or after the dot
/// is empty.
fn extension_of(key: &str) -> Option<&str> {
    let name = key.rsplit('/').next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && !extension.is_empty()).then_some(extension)
}

/// Makes `prefix(key, delimiter, depth)`: NULL if one of the arguments is.
fn prefix() -> ScalarUDF {
    let told = |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let (keys, delimiters) = (arguments[0].as_string::<i32>(), arguments[1].as_string::<i32>());
        let depths = arguments[2].as_primitive::<Int64Type>();
        let mut prefixes = StringBuilder::with_capacity(keys.len(), keys.len() * 16);
        for ((key, delimiter), depth) in keys.iter().zip(delimiters).zip(depths) {
            let given = key.zip(delimiter).zip(depth);
            prefixes.append_option(
                given.map(|((key, delimiter), depth)| prefix_of(key, delimiter, depth)),
            );
        }
        Ok(ColumnarValue::Array(Arc::new(prefixes.finish()) as ArrayRef))
    };
    let arguments = vec![DataType::Utf8, DataType::Utf8, DataType::Int64];
    create_udf("prefix", arguments, DataType::Utf8, Volatility::Immutable, Arc::new(told))
}

/// Makes `extension(key)`: NULL for a key without an extension.
fn extension() -> ScalarUDF {
    let told = |arguments: &[ColumnarValue]| {
        let arguments = ColumnarValue::values_to_arrays(arguments)?;
        let keys = arguments[0].as_string::<i32>().iter();
        let extensions: StringArray = keys.map(|key| key.and_then(extension_of)).collect();
        Ok(ColumnarValue::Array(Arc::new(extensions) as ArrayRef))
    };
    let arguments = vec![DataType::Utf8];
    create_udf("extension", arguments, DataType::Utf8, Volatility::Immutable, Arc::new(told))
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
