//! Limits on functions that make large results from small arguments.
//!
//! `repeat('x', 1000000000)` allocates memory before any memory pool is charged. The size of the result is
//! therefore computed from the arguments first, and refused beyond [`BYTES_MAX`].

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The most bytes that one call makes of one batch.
const BYTES_MAX: u64 = 64 << 20;

/// Replaces the growing functions of a session by limited ones. Fails only if a function is missing.
pub fn bound(registry: &mut dyn FunctionRegistry) -> Result<()> {
    let growing: [(&str, ResultGrowth); 5] = [
        ("repeat", ResultGrowth::Repeats),
        ("lpad", ResultGrowth::Pads),
        ("rpad", ResultGrowth::Pads),
        ("replace", ResultGrowth::Replaces),
        ("array_repeat", ResultGrowth::Repeats),
    ];
    for (name, growth) in growing {
        let inner = registry.udf(name)?;
        registry.register_udf(Arc::new(ScalarUDF::from(BoundedFunction { inner, growth })))?;
    }
    Ok(())
}

/// The way in which a result's length follows from the arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum ResultGrowth {
    /// The first argument, repeated by the number in the second.
    Repeats,
    /// A number of letters, in the second argument.
    Pads,
    /// The first argument with each occurrence of the second replaced by the third.
    Replaces,
}

/// A function whose result is limited.
#[derive(PartialEq, Eq, Hash, Debug)]
struct BoundedFunction {
    inner: Arc<ScalarUDF>,
    growth: ResultGrowth,
}

/// Returns the numbers of a column; 0 for NULL and for negative numbers.
fn numbers(column: &ArrayRef) -> Result<Vec<u64>> {
    let column = cast(column, &DataType::Int64)?;
    let numbers = column.as_primitive::<Int64Type>().iter();
    Ok(numbers.map(|number| number.unwrap_or(0).try_into().unwrap_or(0)).collect())
}

/// Returns the lengths of a column's texts in bytes; for other types the average size of a value.
fn lengths(column: &ArrayRef) -> Result<Vec<u64>> {
    if !matches!(column.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
        let each = column.get_array_memory_size() / column.len().max(1);
        return Ok(vec![each as u64; column.len()]);
    }
    let texts = cast(column, &DataType::LargeUtf8)?;
    Ok(texts.as_string::<i64>().iter().map(|text| text.map_or(0, |t| t.len() as u64)).collect())
}

impl ResultGrowth {
    /// Returns an upper bound on the bytes of the result.
    fn bytes(self, arguments: &[ArrayRef]) -> Result<u64> {
        let [first, second, rest @ ..] = arguments else { return Ok(0) };
        let sum = |each: &mut dyn Iterator<Item = u64>| each.fold(0, u64::saturating_add);
        Ok(match self {
            ResultGrowth::Repeats => {
                let (lengths, times) = (lengths(first)?, numbers(second)?);
                sum(&mut lengths.iter().zip(times).map(|(len, times)| len.saturating_mul(times)))
            }
            // A letter has at most four bytes in UTF-8.
            ResultGrowth::Pads => {
                sum(&mut numbers(second)?.into_iter().map(|n| n.saturating_mul(4)))
            }
            ResultGrowth::Replaces => {
                let Some(third) = rest.first() else { return Ok(0) };
                let (texts, from, to) = (lengths(first)?, lengths(second)?, lengths(third)?);
                let grown = |((text, from), to): ((u64, u64), u64)| {
                    // Occurrences do not overlap, so their number is at most the quotient of the lengths.
                    let places = text.checked_div(from).unwrap_or(0);
                    text.saturating_add(places.saturating_mul(to))
                };
                sum(&mut texts.into_iter().zip(from).zip(to).map(grown))
            }
        })
    }
}

impl ScalarUDFImpl for BoundedFunction {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, given: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(given)
    }

    fn invoke_with_args(&self, called: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // Constants are expanded to a value for each row, since each row's result takes memory.
        let arrays: Result<Vec<ArrayRef>> =
            called.args.iter().map(|value| value.to_array(called.number_rows)).collect();
        let bytes = self.growth.bytes(&arrays?)?;
        if bytes > BYTES_MAX {
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} would make {bytes} bytes of one batch, more than {} MiB",
                self.name(),
                BYTES_MAX >> 20
            )));
        }
        self.inner.invoke_with_args(called)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringArray};

    use super::*;

    fn texts(texts: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(texts.to_vec()))
    }

    fn counts(counts: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(counts.to_vec()))
    }

    #[test]
    fn what_a_call_would_make_is_known_before_it_is_made() {
        let repeated =
            ResultGrowth::Repeats.bytes(&[texts(&["ab", "c", ""]), counts(&[3, -1, 1 << 40])]);
        assert_eq!(repeated.expect("a sum"), 6);
        let much =
            ResultGrowth::Repeats.bytes(&[texts(&["ab", "c"]), counts(&[i64::MAX, i64::MAX])]);
        assert_eq!(much.expect("a sum"), u64::MAX);
        let padded = ResultGrowth::Pads.bytes(&[texts(&["a", "b"]), counts(&[10, 20])]);
        assert_eq!(padded.expect("a sum"), 120);
        let replaced =
            ResultGrowth::Replaces.bytes(&[texts(&["aaaa"]), texts(&["a"]), texts(&["xyz"])]);
        assert_eq!(replaced.expect("a sum"), 16);
    }
}
