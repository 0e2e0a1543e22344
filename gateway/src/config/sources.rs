//! The sources of settings, strongest first: flags, environment variables, the settings file, defaults.
//!
//! A command of clap describes every setting once: its name (the argument's id, which is the key of the file), flag,
//! variable, default, parser and help. [`parse`] reads the texts of all sources, takes the strongest text of each
//! setting, and parses these texts as if all of them were flags. So a value means the same in every source.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::builder::{Resettable, ValueParser};
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Parser};

use super::accounts::User;
use super::destinations::DestinationTable;
use super::file::SettingsFile;
use super::units::Expected;

/// The id of the flag that names the settings file. A command with this flag takes settings.
const CONFIG: &str = "config";

/// The source of a value that is no default.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Source {
    Flag(String),
    Variable(String),
    File(PathBuf, usize),
}

impl fmt::Display for Source {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => out.write_str(flag),
            Self::Variable(variable) => out.write_str(variable),
            Self::File(path, line) => write!(out, "line {line} of {}", path.display()),
        }
    }
}

/// The sources of the settings in force, for messages, and the tables of the file.
#[derive(Clone, Default, Debug)]
pub struct Sources {
    by_setting: BTreeMap<String, Source>,
    /// Flags that show a secret on the command line.
    secret_flags: Vec<String>,
    /// The users of the settings file.
    pub users: Vec<User>,
    /// The destinations of events in the settings file.
    pub destinations: Vec<DestinationTable>,
}

impl Sources {
    /// Returns true if a source gives the setting, false if its default is in force.
    pub fn is_given(&self, setting: &str) -> bool {
        self.by_setting.contains_key(setting)
    }

    /// Returns the name of a setting with the source of its value, for a message that refuses the value.
    pub fn name(&self, setting: &str) -> String {
        match self.by_setting.get(setting) {
            Some(source) => format!("{setting} ({source})"),
            None => setting.to_owned(),
        }
    }

    /// The flags of the command line that show a secret to everybody on the machine.
    pub fn secret_flags(&self) -> &[String] {
        &self.secret_flags
    }
}

/// Parses a command line. A subcommand with the flag `--config` takes its settings from the environment and the
/// file, too; every key of the file must be a setting in `schema`. Exits with help or usage, as clap does, when the
/// command line itself is wrong. Fails when the file or the value of a setting is wrong, before anything is changed.
pub fn parse<C: Parser>(
    arguments: impl IntoIterator<Item = OsString>,
    schema: &Command,
) -> anyhow::Result<(C, Sources)> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let found = C::command().mut_subcommands(|command| {
        if takes_settings(&command) { command.mut_args(as_text) } else { command }
    });
    let found = found.try_get_matches_from(&arguments).unwrap_or_else(|error| {
        // The typed command has the full help. The texts are parsed later, so this cannot be about a value.
        C::command().try_get_matches_from(&arguments).err().unwrap_or(error).exit()
    });
    let mut command = C::command();
    let (name, given) = found.subcommand().context("no command is given")?;
    let subcommand = command.find_subcommand(name).context("an unknown command")?.clone();
    if !takes_settings(&subcommand) {
        return Ok((C::from_arg_matches(&found)?, Sources::default()));
    }
    let file = path_of_file(given);
    let content = match &file {
        Some(path) => read_file(path, schema)?,
        None => SettingsFile::default(),
    };
    let merged = merge(&subcommand, given, file.as_deref(), &content);
    let program = arguments.first().cloned().unwrap_or_default();
    let flags = merged.iter().map(SettingText::as_flag);
    let flags = [program, name.into()].into_iter().chain(flags);
    let matches = command.try_get_matches_from_mut(flags);
    let matches = matches.map_err(|error| explain(error, &merged))?;
    let secret_flags = merged.iter().filter_map(|setting| match &setting.source {
        Source::Flag(flag) if setting.is_secret => Some(flag.clone()),
        _ => None,
    });
    let secret_flags = secret_flags.collect();
    let by_setting = merged.into_iter().map(|setting| (setting.id, setting.source)).collect();
    let SettingsFile { users, destinations, .. } = content;
    let sources = Sources { by_setting, secret_flags, users, destinations };
    Ok((C::from_arg_matches(&matches)?, sources))
}

/// Returns a section with its defaults. Reads neither flags, environment nor file.
pub fn defaults<S: Args>() -> S {
    let command = S::augment_args(Command::new("defaults")).no_binary_name(true);
    let command = command.mut_args(|arg| arg.env(Resettable::Reset));
    let matches = command.try_get_matches_from(std::iter::empty::<OsString>());
    matches
        .and_then(|matches| S::from_arg_matches(&matches))
        .expect("a default is a value that its setting accepts, as the test of all defaults shows")
}

/// The text of a setting that a source gives.
struct SettingText {
    id: String,
    flag: String,
    value_name: String,
    is_secret: bool,
    text: OsString,
    source: Source,
}

impl SettingText {
    /// Writes the setting as a flag of the command line, whatever its source.
    fn as_flag(&self) -> OsString {
        let mut flag = OsString::from(&self.flag);
        flag.push("=");
        flag.push(&self.text);
        flag
    }
}

fn takes_settings(command: &Command) -> bool {
    command.get_arguments().any(|arg| arg.get_id() == CONFIG)
}

fn as_text(arg: Arg) -> Arg {
    arg.value_parser(ValueParser::os_string())
}

fn path_of_file(given: &ArgMatches) -> Option<PathBuf> {
    given.get_one::<OsString>(CONFIG).map(PathBuf::from)
}

fn read_file(path: &Path, schema: &Command) -> anyhow::Result<SettingsFile> {
    let text = std::fs::read_to_string(path);
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let known: Vec<String> = keys(schema).map(|arg| arg.get_id().to_string()).collect();
    SettingsFile::parse(&text, &known).with_context(|| format!("in {}", path.display()))
}

/// The settings of a command that a file may have.
pub fn keys(schema: &Command) -> impl Iterator<Item = &Arg> {
    schema.get_arguments().filter(|arg| arg.get_id() != CONFIG)
}

/// Takes the strongest text of each setting that any source gives, in the order of the command.
fn merge(
    command: &Command,
    given: &ArgMatches,
    path: Option<&Path>,
    file: &SettingsFile,
) -> Vec<SettingText> {
    let of = |arg: &Arg| {
        let id = arg.get_id().to_string();
        let flag = format!("--{}", arg.get_long()?);
        let variable = || arg.get_env().map(|name| name.to_string_lossy().into_owned());
        let found = || given.get_one::<OsString>(&id).cloned();
        let (text, source) = match given.value_source(&id) {
            Some(ValueSource::CommandLine) => (found()?, Source::Flag(flag.clone())),
            Some(ValueSource::EnvVariable) => (found()?, Source::Variable(variable()?)),
            _ => {
                let value = file.values.get(&id)?;
                (value.text.clone().into(), Source::File(path?.to_owned(), value.line))
            }
        };
        let value_name = arg.get_value_names().unwrap_or_default().join(" ");
        let is_secret = arg.is_hide_env_values_set();
        Some(SettingText { id, flag, value_name, is_secret, text, source })
    };
    command.get_arguments().filter_map(of).collect()
}

/// Says which value is wrong, where it comes from, and what would be right. The value of a secret is left out.
fn explain(error: clap::Error, merged: &[SettingText]) -> anyhow::Error {
    let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg) else {
        return error.into();
    };
    let flag = arg.split([' ', '[', '=']).next();
    let Some(wrong) = merged.iter().find(|setting| Some(setting.flag.as_str()) == flag) else {
        return error.into();
    };
    let expected = match (error.get(ContextKind::ValidValue), std::error::Error::source(&error)) {
        (Some(ContextValue::Strings(values)), _) if !values.is_empty() => {
            format!("expected {}", values.join(" or "))
        }
        (_, Some(cause)) if cause.is::<Expected>() => cause.to_string(),
        (_, Some(cause)) => format!("{cause}; expected {}", wrong.value_name),
        _ => format!("expected {}", wrong.value_name),
    };
    let SettingText { id, source, .. } = wrong;
    if wrong.is_secret {
        return anyhow!("{id} ({source}): {expected}");
    }
    anyhow!("{id} ({source}) is {:?}: {expected}", wrong.text.to_string_lossy())
}
