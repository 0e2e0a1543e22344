//! Secrets that a setting gives as a value or as a file.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::secret::Secret;

/// Returns a secret from one of the two settings that can give it, or None if neither does. The content of a file
/// loses white space at both ends. Fails when both settings are given, or the file cannot be read.
pub fn secret_from(
    value: Option<&Secret>,
    file: Option<&PathBuf>,
    setting: &str,
) -> anyhow::Result<Option<Secret>> {
    match (value, file) {
        (Some(_), Some(_)) => bail!("{setting} and {setting}_file are both given: give one"),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(Secret::from(text.trim().to_owned())))
        }
        (value, None) => Ok(value.cloned()),
    }
}
