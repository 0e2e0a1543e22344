//! The fields of a form before its file.

use std::collections::HashMap;

use crate::error::{ErrorCode, S3Error};

/// The text in a field that stands for the name of the file.
const FILENAME: &str = "${filename}";
/// The longest name of a file in bytes. No key is longer.
const FILENAME_BYTES_MAX: usize = 1024;
/// The most bytes that the name of the file adds to all fields together: 20 KiB, as many as they have themselves.
const EXPANSION_BYTES_MAX: usize = 20 << 10;
/// The prefix of the names of fields without a meaning.
const IGNORED: &str = "x-ignore-";

/// The fields of a form, in the order of the form. Names are compared without regard to the case of letters.
#[derive(Clone, Default, Debug)]
pub struct FormFields {
    fields: Vec<(String, String)>,
    /// The place of each field in `fields`, by its name in lower case: anybody may send a form with very many fields.
    places: HashMap<String, usize>,
    filename: Option<String>,
}

/// Returns true for a field of the signature, whose value must be taken as it was signed.
pub fn is_of_signature(name: &str) -> bool {
    ["policy", "x-amz-signature", "signature", "awsaccesskeyid", "x-amz-credential"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

impl FormFields {
    /// Adds a field. Fields whose name begins with `x-ignore-` are left out. Fails with `InvalidArgument` for a name that is
    /// there already, since no rule says which of the two values counts.
    pub fn push(&mut self, name: String, value: String) -> Result<(), S3Error> {
        let is_ignored =
            name.get(..IGNORED.len()).is_some_and(|start| start.eq_ignore_ascii_case(IGNORED));
        if is_ignored {
            return Ok(());
        }
        if self.places.insert(name.to_ascii_lowercase(), self.fields.len()).is_some() {
            return Err(ErrorCode::InvalidArgument
                .because(format!("The field {name} is given twice."))
                .with("ArgumentName", name));
        }
        self.fields.push((name, value));
        Ok(())
    }

    /// Sets the file name that the form gives. Only the text behind the last slash or backslash counts. Without a file name
    /// the variable `${filename}` stays as it is, as with AWS. Fails with `MaxPostPreDataLengthExceeded` when the fields would
    /// become too long: a short form must not make the server write a long text.
    pub fn set_filename(&mut self, filename: Option<String>) -> Result<(), S3Error> {
        let Some(path) = filename else { return Ok(()) };
        let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
        let uses: usize =
            self.fields.iter().map(|(_, value)| value.matches(FILENAME).count()).sum();
        if name.len() > FILENAME_BYTES_MAX || uses * name.len() > EXPANSION_BYTES_MAX {
            return Err(ErrorCode::MaxPostPreDataLengthExceeded.into());
        }
        self.filename = Some(name.to_owned());
        Ok(())
    }

    fn raw(&self, name: &str) -> Option<&str> {
        let place = self.places.get(&name.to_ascii_lowercase())?;
        self.fields.get(*place).map(|(_, value)| value.as_str())
    }

    /// A text with the name of the file in place of `${filename}`; the same text before the file name is known.
    pub fn expand(&self, text: &str) -> String {
        match &self.filename {
            Some(filename) => text.replace(FILENAME, filename),
            None => text.to_owned(),
        }
    }

    /// The value of a field with the file name filled in, unless it belongs to the signature; `None` without the field.
    pub fn get(&self, name: &str) -> Option<String> {
        let value = self.raw(name)?;
        Some(if is_of_signature(name) { value.to_owned() } else { self.expand(value) })
    }

    /// Names, as they were sent, and values of all fields, as [`Self::get`] returns them, in the order of the form.
    pub fn all(&self) -> impl Iterator<Item = (&str, String)> {
        self.fields.iter().map(|(name, _)| (name.as_str(), self.get(name).unwrap_or_default()))
    }

    /// The value of a field that a form must have. Fails with `InvalidArgument`, and names the field, without it.
    pub fn required(&self, name: &str) -> Result<String, S3Error> {
        self.get(name).filter(|value| !value.is_empty()).ok_or_else(|| {
            let message = format!(
                "Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
            );
            ErrorCode::InvalidArgument
                .because(message)
                .with("ArgumentName", name)
                .with("ArgumentValue", "")
        })
    }
}
