//! One condition of a policy.

use serde_json::Value;

use crate::error::{ErrorCode, S3Error};
use crate::form::FormFields;
use crate::names::number;

/// A condition on a form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PolicyCondition {
    /// A comparison of a field's value.
    Field {
        /// The comparison.
        matching: Matching,
        /// The name of the field as the policy has it, with `$` in front.
        name: String,
        /// The value to compare with.
        value: String,
    },
    /// The sizes that the file may have.
    Sizes {
        /// The least number of bytes.
        min: u64,
        /// The greatest number of bytes.
        max: u64,
    },
    /// A range of sizes that cannot be read, as the policy has it. Never holds.
    UnreadableSizes(String, String),
}

/// The comparison of a field with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matching {
    /// Both are equal.
    Equal,
    /// The field begins with the value.
    StartsWith,
}

impl Matching {
    fn name(self) -> &'static str {
        match self {
            Matching::Equal => "eq",
            Matching::StartsWith => "starts-with",
        }
    }
}

const SIZES: &str = "content-length-range";

/// The error for a policy that cannot be read, with a message for its author.
pub fn invalid(message: &str) -> S3Error {
    ErrorCode::InvalidPolicyDocument.because(format!("Invalid Policy: {message}"))
}

impl PolicyCondition {
    /// Reads a condition: an object with one member, or a list of a comparison, a field and a value. Fails with
    /// `InvalidPolicyDocument` for anything else.
    pub fn read(value: &Value) -> Result<Self, S3Error> {
        match value {
            Value::Object(members) => {
                let mut members = members.iter();
                let (Some((name, value)), None) = (members.next(), members.next()) else {
                    return Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
                    ));
                };
                match value {
                    Value::String(value) => Ok(Self::Field {
                        matching: Matching::Equal,
                        name: format!("${name}"),
                        value: value.clone(),
                    }),
                    Value::Null => Err(invalid("Invalid JSON.")),
                    _ => Err(invalid("Invalid Simple-Condition: value must be a string.")),
                }
            }
            Value::Array(items) => Self::read_list(items),
            _ => Err(invalid("Invalid condition test: must be a List or Object.")),
        }
    }

    fn read_list(items: &[Value]) -> Result<Self, S3Error> {
        let Some(Value::String(operation)) = items.first() else {
            return Err(invalid("Invalid Condition: missing operation identifier."));
        };
        let matching = match operation.to_ascii_lowercase().as_str() {
            "eq" => Some(Matching::Equal),
            "starts-with" => Some(Matching::StartsWith),
            SIZES => None,
            _ => {
                let message = format!("Invalid Condition: unknown operation '{operation}'.");
                return Err(invalid(&message));
            }
        };
        let [_, first, second] = items else {
            return Err(invalid(&format!("Invalid {operation}: wrong number of arguments.")));
        };
        let Some(matching) = matching else { return Self::read_sizes(first, second) };
        match (first, second) {
            (Value::String(name), Value::String(value)) => {
                Ok(Self::Field { matching, name: name.clone(), value: value.clone() })
            }
            _ => Err(invalid("Invalid JSON.")),
        }
    }

    /// Reads a range of sizes. Each bound is a number, or the text of one.
    fn read_sizes(min: &Value, max: &Value) -> Result<Self, S3Error> {
        let bound = |value: &Value| match value {
            Value::String(text) => Ok(number::<u64>(text)),
            Value::Number(number) => {
                let wrong =
                    || invalid(&format!("Invalid {SIZES}: {number} is no number of bytes."));
                number.as_u64().map(Some).ok_or_else(wrong)
            }
            _ => Err(invalid("Invalid JSON.")),
        };
        match (bound(min)?, bound(max)?) {
            (Some(min), Some(max)) => Ok(Self::Sizes { min, max }),
            _ => Ok(Self::UnreadableSizes(min.to_string(), max.to_string())),
        }
    }

    /// True only if the form has a value that the condition allows. A field that is absent has an empty value. The variable
    /// `${filename}` stands for the file name in the condition as well, so that a policy may name a key with it.
    pub fn holds(&self, bucket: &str, fields: &FormFields) -> bool {
        let (matching, name, wanted) = match self {
            Self::Field { matching, name, value } => (matching, name, fields.expand(value)),
            Self::Sizes { .. } => return true,
            Self::UnreadableSizes(..) => return false,
        };
        // A name without `$` is the name of no field.
        let Some(name) = name.strip_prefix('$') else { return false };
        let value = match name.eq_ignore_ascii_case("bucket") {
            true => bucket.to_owned(),
            false => fields.get(name).unwrap_or_default(),
        };
        match matching {
            Matching::Equal => value == wanted,
            // Several types in one value must all begin so.
            Matching::StartsWith if name.eq_ignore_ascii_case("content-type") => {
                value.split(',').all(|one| one.trim_start().starts_with(&wanted))
            }
            Matching::StartsWith => value.starts_with(&wanted),
        }
    }

    /// The name of the field that the condition is about, in the spelling of the policy; `None` for sizes, and for a name
    /// without `$`, which is the name of no field.
    pub fn field_name(&self) -> Option<&str> {
        let Self::Field { name, .. } = self else { return None };
        name.strip_prefix('$')
    }

    /// The least and the greatest size that the condition allows; `None` unless the condition is about sizes.
    pub fn sizes(&self) -> Option<(u64, u64)> {
        match self {
            Self::Sizes { min, max } => Some((*min, *max)),
            _ => None,
        }
    }

    /// The condition as errors show it: always a list, with the spelling of the policy.
    pub fn shown(&self) -> String {
        match self {
            Self::Field { matching, name, value } => {
                let quoted = |text: &str| Value::from(text).to_string();
                format!("[\"{}\", {}, {}]", matching.name(), quoted(name), quoted(value))
            }
            Self::Sizes { min, max } => format!("[\"{SIZES}\", {min}, {max}]"),
            Self::UnreadableSizes(min, max) => format!("[\"{SIZES}\", {min}, {max}]"),
        }
    }
}
