//! The settings file: TOML, read into text with lines, so that one parser serves every source of a value.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::{anyhow, bail};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::accounts::User;
use super::destinations::DestinationTable;

/// The key of the tables that define users.
const USERS: &str = "users";
/// The key of the tables that define destinations of events.
const DESTINATIONS: &str = "event_destinations";
/// The least likeness, between 0 and 1, of a known key that an error proposes for an unknown one.
const LIKENESS_MIN: f64 = 0.7;

/// A value of the file.
#[derive(Clone, PartialEq, Eq)]
pub struct FileValue {
    /// The value as a flag would have it.
    pub text: String,
    /// The line, counted from 1.
    pub line: usize,
}

/// The content of a settings file. Has no `Debug`: values may be secrets.
#[derive(Default)]
pub struct SettingsFile {
    /// The values by key. The key of a value in a table has the table's name before it, as in `kafka.cluster`.
    pub values: BTreeMap<String, FileValue>,
    /// The users, in the order of the file.
    pub users: Vec<User>,
    /// The destinations of events, in the order of the file.
    pub destinations: Vec<DestinationTable>,
}

/// The form of the lists of tables in the file; other keys are left to [`SettingsFile::parse`].
#[derive(Deserialize, Default)]
struct ListedTables {
    #[serde(default)]
    users: Vec<User>,
    #[serde(default)]
    event_destinations: Vec<DestinationTable>,
}

impl SettingsFile {
    /// Parses a settings file. Fails with the line when the text is no TOML, when a key is not among `known`, or
    /// when a value has a type that no setting has. No error contains a value.
    pub fn parse(text: &str, known: &[String]) -> anyhow::Result<Self> {
        // An error of the parser displays the whole line, which may be a secret: only its message is used.
        let fail = |error: toml::de::Error| {
            let line = line_of(text, &error.span().unwrap_or_default());
            anyhow!("line {line}: {}", error.message())
        };
        let table = DeTable::parse(text).map_err(fail)?;
        let mut values = BTreeMap::new();
        collect(text, "", table.get_ref(), known, &mut values)?;
        let has_lists = [USERS, DESTINATIONS].iter().any(|key| table.get_ref().contains_key(*key));
        let ListedTables { users, event_destinations: destinations } = match has_lists {
            true => toml::from_str(text).map_err(fail)?,
            false => ListedTables::default(),
        };
        Ok(Self { values, users, destinations })
    }
}

/// Collects the values of a table and of the tables in it.
fn collect(
    text: &str,
    prefix: &str,
    table: &DeTable<'_>,
    known: &[String],
    values: &mut BTreeMap<String, FileValue>,
) -> anyhow::Result<()> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let line = line_of(text, &name.span());
        if key == USERS || key == DESTINATIONS {
            continue;
        }
        if !known.contains(&key) {
            let of_table = format!("{key}.");
            if let DeValue::Table(inner) = value.get_ref()
                && known.iter().any(|key| key.starts_with(&of_table))
            {
                collect(text, &of_table, inner, known, values)?;
                continue;
            }
            bail!("line {line}: {}", unknown(&key, value, known));
        }
        let Some(text) = as_text(value.get_ref()) else {
            bail!("line {line}: {key} must be text in quotes, a whole number, true or false");
        };
        values.insert(key, FileValue { text, line });
    }
    Ok(())
}

/// Returns a value as a flag would have it; None for types that no setting has.
fn as_text(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => {
            let number = i128::from_str_radix(number.as_str(), number.radix()).ok()?;
            Some(number.to_string())
        }
        DeValue::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// The message for an unknown key, with the known key that is most like it.
fn unknown(key: &str, value: &Spanned<DeValue<'_>>, known: &[String]) -> String {
    // `[sql] seconds` is meant as `sql_seconds`.
    let first = match value.get_ref() {
        DeValue::Table(table) => table.keys().next().map(|inner| inner.get_ref().as_ref()),
        _ => None,
    };
    let key = first.map_or_else(|| key.to_owned(), |inner| format!("{key}.{inner}"));
    let plain = |key: &str| key.replace(['.', '-'], "_").to_lowercase();
    let likeness = |known: &&String| {
        let (key, whole) = (plain(&key), plain(known));
        let last = known.rsplit('.').next().map_or(whole.clone(), plain);
        strsim::jaro_winkler(&key, &whole).max(strsim::jaro_winkler(&key, &last))
    };
    let nearest = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest.filter(|nearest| likeness(nearest) >= LIKENESS_MIN) {
        Some(nearest) => format!("unknown key {key}; the nearest known key is {nearest}"),
        None => format!("unknown key {key}"),
    }
}

/// The line of a place in a text, counted from 1.
fn line_of(text: &str, place: &Range<usize>) -> usize {
    1 + text.bytes().take(place.start).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "sixteen-letters!";

    fn parse(text: &str) -> anyhow::Result<SettingsFile> {
        let known = ["cut_seconds", "sql_seconds", "secret_key", "kafka.cluster", "kafka.password"];
        SettingsFile::parse(text, &known.map(String::from))
    }

    fn error(text: &str) -> String {
        parse(text).err().map(|error| format!("{error:#}")).unwrap_or_default()
    }

    #[test]
    fn values_are_text_with_their_line() {
        let file =
            parse("cut_seconds = 0x10\nsecret_key = \"s\"\n\n[kafka]\ncluster = \"c\"\n").unwrap();
        let found = |key: &str| file.values.get(key).map(|value| (value.text.as_str(), value.line));
        assert_eq!(found("cut_seconds"), Some(("16", 1)));
        assert_eq!(found("secret_key"), Some(("s", 2)));
        assert_eq!(found("kafka.cluster"), Some(("c", 5)));
        assert!(file.users.is_empty());
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        for (text, line, key, nearest) in [
            ("\ncut_second = 5", 2, "cut_second", "cut_seconds"),
            ("cut-seconds = 5", 1, "cut-seconds", "cut_seconds"),
            ("[sql]\nseconds = 5", 1, "sql.seconds", "sql_seconds"),
            ("cluster = \"c\"", 1, "cluster", "kafka.cluster"),
            ("[kafka]\nclusters = \"c\"", 2, "kafka.clusters", "kafka.cluster"),
        ] {
            let wanted =
                format!("line {line}: unknown key {key}; the nearest known key is {nearest}");
            assert_eq!(error(text), wanted);
        }
        assert_eq!(error("xyz = 1"), "line 1: unknown key xyz");
    }

    #[test]
    fn no_error_contains_a_secret() {
        let user =
            "[[users]]\nname = \"a\"\nid = \"b\"\ndisplay_name = \"A\"\naccess_key = \"k\"\n";
        for (text, line) in [
            (format!("secret_key = \"{SECRET}"), 1),
            (format!("\nsecret_key = [\"{SECRET}\"]"), 2),
            (format!("[kafka]\npassword = {{ is = \"{SECRET}\" }}"), 2),
            (format!("secret_key = \"{SECRET}\"\nsecret_key = \"{SECRET}\""), 2),
            (format!("{user}secret_key = [\"{SECRET}\"]"), 6),
            (format!("{user}secret_key = 12345678901234"), 6),
            (format!("{user}secret_keys = \"{SECRET}\""), 6),
        ] {
            let error = error(&text);
            assert!(error.starts_with(&format!("line {line}: ")), "{error}");
            assert!(!error.contains(SECRET) && !error.contains("12345678901234"), "{error}");
        }
    }
}
