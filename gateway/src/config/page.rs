//! The page `docs/operations/settings.md`, made from the settings themselves. For tests only: one of them compares it.

use std::fmt::Write as _;

use clap::{Arg, Command};

use super::sources::keys;

/// The part of the page that is written by hand. `{settings}` stands for the tables.
const TEMPLATE: &str = include_str!("page.template");

/// Returns the page for a command that describes all settings: a table for each section, in the command's order.
pub fn page(schema: &Command) -> String {
    let mut sections: Vec<(&str, Vec<&Arg>)> = Vec::new();
    for arg in keys(schema) {
        let heading = arg.get_help_heading().unwrap_or("Other");
        match sections.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, args)) => args.push(arg),
            None => sections.push((heading, vec![arg])),
        }
    }
    let mut tables = String::new();
    for (heading, args) in sections {
        tables += &format!(
            "## {heading}\n\n| setting | flag | variable | default | meaning |\n|---|---|---|---|---|\n"
        );
        for arg in args {
            tables += &row(arg);
        }
        tables.push('\n');
    }
    TEMPLATE.replace("{settings}\n", &tables)
}

/// The row of a setting.
fn row(arg: &Arg) -> String {
    let flag = arg.get_long().unwrap_or_default();
    let value = arg.get_value_names().unwrap_or_default().join(" ");
    let values = arg.get_possible_values();
    let value = match value.as_str() {
        "true|false" => String::new(),
        _ => format!(" {value}"),
    };
    let variable = arg.get_env().unwrap_or_default().to_string_lossy();
    let default = arg.get_default_values().first();
    let default = default.map(|text| format!("`{}`", text.to_string_lossy())).unwrap_or_default();
    let mut meaning = arg.get_help().map(ToString::to_string).unwrap_or_default();
    meaning.push('.');
    for value in values.iter().filter_map(|value| Some((value.get_name(), value.get_help()?))) {
        let _ =
            write!(meaning, "<br>`{}`: {}.", value.0, value.1.to_string().trim_end_matches('.'));
    }
    let id = arg.get_id();
    format!("| `{id}` | `--{flag}{value}` | `{variable}` | {default} | {meaning} |\n")
}
