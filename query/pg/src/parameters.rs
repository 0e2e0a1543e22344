//! Types and values of the parameters `$1`, `$2` and so on.

use arrow_pg::datatypes::into_pg_type;
use pgwire::api::Type;
use pgwire::api::portal::Portal;
use pgwire::error::PgWireResult;
use sql::ScalarValue;
use sql::arrow::datatypes::DataType;

use crate::failure::failure;

/// Returns the type that a driver must use for a parameter: the driver's own choice, otherwise the type that
/// the query determines, otherwise text. Never fails.
pub fn wire_type(wished: Option<&Type>, found: Option<&DataType>) -> Type {
    let wished = wished.filter(|kind| **kind != Type::UNKNOWN).cloned();
    let made = || found.and_then(|kind| into_pg_type(kind).ok());
    wished.or_else(made).unwrap_or(Type::TEXT)
}

/// Microseconds from 1970 to 2000, where PostgreSQL's times begin; below, the days.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;

/// Returns the values of a portal's parameters, in order. A text that is not a number or a boolean stays a
/// text: the query determines its type, as it does for a literal.
///
/// Errors, by SQLSTATE: 08P01 if the number of values is wrong, 0A000 for a binary value of a type that is not
/// supported, 22021 for a text that is not UTF-8, 22P03 for a binary value of a wrong length, and pgwire's own
/// for a number or a boolean that cannot be decoded.
pub fn values<S: Clone>(portal: &Portal<S>, types: &[Type]) -> PgWireResult<Vec<ScalarValue>> {
    if portal.parameters.len() != types.len() {
        let (given, wanted) = (portal.parameters.len(), types.len());
        return Err(failure("08P01", format!("{given} parameters are given, {wanted} are needed")));
    }
    types.iter().enumerate().map(|(at, kind)| value(portal, at, kind)).collect()
}

/// Decodes one value.
fn value<S: Clone>(portal: &Portal<S>, at: usize, kind: &Type) -> PgWireResult<ScalarValue> {
    let is_binary = portal.parameter_format.is_binary(at);
    Ok(match *kind {
        Type::BOOL => ScalarValue::Boolean(portal.parameter(at, kind)?),
        Type::INT2 => ScalarValue::Int64(portal.parameter::<i16>(at, kind)?.map(i64::from)),
        Type::INT4 => ScalarValue::Int64(portal.parameter::<i32>(at, kind)?.map(i64::from)),
        Type::INT8 => ScalarValue::Int64(portal.parameter(at, kind)?),
        Type::FLOAT4 => ScalarValue::Float64(portal.parameter::<f32>(at, kind)?.map(f64::from)),
        Type::FLOAT8 => ScalarValue::Float64(portal.parameter(at, kind)?),
        Type::TIMESTAMPTZ | Type::TIMESTAMP if is_binary => {
            let micros = bytes(portal, at).map(|bytes| number::<8>(bytes).map(i64::from_be_bytes));
            // A client may send any number: the sum must not overflow.
            let micros = micros.transpose()?.map(|micros| micros.saturating_add(EPOCH_MICROS));
            let zone = (*kind == Type::TIMESTAMPTZ).then(|| "UTC".into());
            ScalarValue::TimestampMicrosecond(micros, zone)
        }
        Type::DATE if is_binary => {
            let days = bytes(portal, at).map(|bytes| number::<4>(bytes).map(i32::from_be_bytes));
            let days = days.transpose()?.map(|days| days.saturating_add(EPOCH_DAYS));
            ScalarValue::Date32(days)
        }
        _ if is_binary && !is_text(kind) => {
            let message = format!("a binary {} is not understood: send it as text", kind.name());
            return Err(failure("0A000", message));
        }
        _ => {
            let text = bytes(portal, at).map(|bytes| String::from_utf8(bytes.to_vec()));
            let text = text.transpose().map_err(|_| failure("22021", "a text is not UTF-8"))?;
            ScalarValue::Utf8(text)
        }
    })
}

/// Returns true for types whose binary form is the text itself.
fn is_text(kind: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME, Type::UNKNOWN].contains(kind)
}

/// Returns the bytes of a value; `None` for NULL.
fn bytes<S: Clone>(portal: &Portal<S>, at: usize) -> Option<&[u8]> {
    portal.parameters.get(at).and_then(|given| given.as_deref())
}

/// Takes bytes as a number of `N` bytes. Fails with SQLSTATE 22P03 if there are more or less.
fn number<const N: usize>(bytes: &[u8]) -> PgWireResult<[u8; N]> {
    bytes.try_into().map_err(|_| failure("22P03", format!("{} bytes instead of {N}", bytes.len())))
}
