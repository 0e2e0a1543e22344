//! `siltstone sql` without a query: runs statements one after the other, from a terminal or from a file.
//!
//! A statement ends with `;` and may have several lines. A line that begins with `\` is a command of the shell. In a
//! terminal there are history, editing and completion, and Ctrl-C cancels the running query. In a file the first error
//! ends the run.

use std::borrow::Cow;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::bail;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::{Hinter, HistoryHinter};
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::client::SqlClient;
use super::pager::{self, PagedOutput, TerminalSize};

const HELP: &str = r"a statement ends with ; and may have several lines
\d           list the tables
\d NAME      list the columns of a table
\timing      show the time of each statement: on, off
\format NAME set the output format: table, json or csv
\pset pager  show results that are taller than the terminal with $PAGER or less: on, off
\q           quit
";

/// The words of SQL that are completed, in addition to tables and columns.
const KEYWORDS: [&str; 24] = [
    "SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "LIMIT", "OFFSET", "HAVING", "JOIN", "AND",
    "OR", "NOT", "LIKE", "BETWEEN", "IN", "IS NULL", "AS", "DISTINCT", "COUNT(", "SUM(", "MAX(",
    "MIN(", "EXPLAIN", "DESC",
];

/// The result of one line of input.
#[derive(PartialEq, Eq, Debug)]
enum ShellInput {
    /// The statement is incomplete.
    More,
    /// A complete statement, without its `;`.
    Statement(String),
    /// A command of the shell, without its `\`.
    Command(String),
}

/// The lines of a statement that is incomplete.
#[derive(Default)]
struct StatementBuffer(String);

impl StatementBuffer {
    fn add(&mut self, line: &str) -> ShellInput {
        if self.0.is_empty() {
            let line = line.trim();
            if let Some(command) = line.strip_prefix('\\') {
                return ShellInput::Command(command.to_owned());
            }
            if line.is_empty() {
                return ShellInput::More;
            }
        }
        self.0.push_str(line);
        self.0.push('\n');
        match ends_statement(&self.0) {
            None => ShellInput::More,
            Some(end) => {
                let statement = self.0[..end].trim().to_owned();
                self.0.clear();
                if statement.is_empty() {
                    ShellInput::More
                } else {
                    ShellInput::Statement(statement)
                }
            }
        }
    }
}

/// The position of the `;` that ends a text: the last character outside quotes, comments and space. `None` for an
/// incomplete statement.
fn ends_statement(text: &str) -> Option<usize> {
    let mut quote = None;
    let mut end = None;
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => continue,
            (None, '-') if letters.peek().is_some_and(|(_, next)| *next == '-') => {
                while letters.next_if(|(_, next)| *next != '\n').is_some() {}
                continue;
            }
            _ => {}
        }
        match letter {
            ';' => end = Some(at),
            letter if letter.is_whitespace() => {}
            _ => end = None,
        }
    }
    end.filter(|_| quote.is_none())
}

/// The shell's state.
struct Shell {
    sql: SqlClient,
    format: String,
    tells_time: bool,
    /// True if results that are taller than the terminal go to the pager.
    pages: bool,
    /// The size of the terminal; `None` without a terminal or a known size.
    page: Option<TerminalSize>,
}

/// The next step of the shell after a line.
#[derive(PartialEq, Eq)]
enum ShellStep {
    GoOn,
    Quit,
}

impl Shell {
    fn run(&mut self, text: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        match self.page.filter(|_| self.pages) {
            None => self.sql.run(text, &self.format)?,
            Some(page) => self.run_paged(text, page)?,
        }
        if self.tells_time {
            println!("{:.1} ms", began.elapsed().as_secs_f64() * 1000.0);
        }
        Ok(())
    }

    fn run_paged(&self, text: &str, page: TerminalSize) -> anyhow::Result<()> {
        let mut paged = PagedOutput::new(page);
        let answered =
            self.sql.stream(text, &self.format, |_| Ok(()), |bytes| Ok(paged.write(&bytes)?));
        let shown = paged.end();
        match answered {
            Err(error) if pager::was_left(&error) => Ok(()),
            answered => answered.and(Ok(shown?)),
        }
    }

    fn command(&mut self, command: &str) -> anyhow::Result<ShellStep> {
        let (name, argument) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let argument = argument.trim().trim_end_matches(';');
        match (name, argument) {
            ("q", "") => return Ok(ShellStep::Quit),
            ("?" | "h" | "help", "") => print!("{HELP}"),
            ("timing", "") => {
                self.tells_time = !self.tells_time;
                println!("timing is {}", if self.tells_time { "on" } else { "off" });
            }
            ("pset", "pager" | "pager on" | "pager off") => {
                self.pages = match argument {
                    "pager" => !self.pages,
                    told => told == "pager on",
                };
                println!("the pager is {}", if self.pages { "on" } else { "off" });
            }
            ("format", "table" | "json" | "csv") => argument.clone_into(&mut self.format),
            ("format", _) => bail!("a format is table, json or csv"),
            ("d", "") => self.run(TABLES)?,
            ("d", table) => {
                let table = table.replace('\'', "''");
                self.run(&format!(
                    "{COLUMNS} AND table_name = '{table}' ORDER BY ordinal_position"
                ))?;
            }
            _ => bail!("no such command: \\{command} (\\? lists the commands)"),
        }
        Ok(ShellStep::GoOn)
    }

    fn take(&mut self, input: ShellInput) -> anyhow::Result<ShellStep> {
        match input {
            ShellInput::More => Ok(ShellStep::GoOn),
            ShellInput::Statement(text) => self.run(&text).map(|()| ShellStep::GoOn),
            ShellInput::Command(command) => self.command(&command),
        }
    }
}

const TABLES: &str = "SELECT table_name AS \"table\" FROM information_schema.tables \
                      WHERE table_schema = 'public' ORDER BY 1";
const COLUMNS: &str = "SELECT column_name AS \"column\", data_type AS type, is_nullable AS nullable \
                       FROM information_schema.columns WHERE table_schema = 'public'";

/// Runs the statements and commands from standard input. In a terminal errors are printed and the shell continues;
/// in a file the first error ends the run and is returned. Fails also if the terminal cannot be read or the history
/// cannot be saved.
pub fn run(sql: SqlClient, format: String) -> anyhow::Result<ExitCode> {
    let mut shell = Shell { sql, format, tells_time: false, pages: true, page: None };
    if std::io::stdin().is_terminal() { from_terminal(&mut shell) } else { from_file(&mut shell) }
}

fn from_file(shell: &mut Shell) -> anyhow::Result<ExitCode> {
    let mut gathered = StatementBuffer::default();
    for line in std::io::stdin().lines() {
        if shell.take(gathered.add(&line?))? == ShellStep::Quit {
            return Ok(ExitCode::SUCCESS);
        }
    }
    // The last statement may lack its `;`.
    let rest = gathered.0.trim();
    if !rest.is_empty() {
        shell.run(rest)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn from_terminal(shell: &mut Shell) -> anyhow::Result<ExitCode> {
    let config =
        Config::builder().history_ignore_space(true).completion_type(CompletionType::List).build();
    let mut editor: Editor<WordCompleter, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(WordCompleter::ask(&shell.sql)));
    let kept = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".siltstone_history"));
    if let Some(kept) = &kept {
        // The first start has no history.
        let _ = editor.load_history(kept);
    }
    println!("\\? for help, \\q to quit");
    let mut gathered = StatementBuffer::default();
    loop {
        let prompt = if gathered.0.is_empty() { "siltstone> " } else { "      ...> " };
        match editor.readline(prompt) {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                shell.page = page(&mut editor);
                match shell.take(gathered.add(&line)) {
                    Ok(ShellStep::GoOn) => {}
                    Ok(ShellStep::Quit) => break,
                    Err(error) => eprintln!("{error:#}"),
                }
            }
            // Ctrl-C discards an incomplete statement.
            Err(ReadlineError::Interrupted) => gathered.0.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(kept) = &kept {
        editor.save_history(kept)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The size of the terminal; `None` if the terminal does not report one.
fn page(editor: &mut Editor<WordCompleter, DefaultHistory>) -> Option<TerminalSize> {
    let (columns, rows) = editor.dimensions()?;
    let page = TerminalSize { columns: columns.into(), rows: rows.into() };
    (page.columns > 0 && page.rows > 0).then_some(page)
}

/// Completes words, and hints at lines of the history.
struct WordCompleter {
    words: Vec<String>,
    history: HistoryHinter,
}

impl WordCompleter {
    /// Requests the names of tables and columns from the server. Without a response only the keywords are completed.
    fn ask(sql: &SqlClient) -> Self {
        let names = "SELECT DISTINCT table_name FROM information_schema.columns WHERE table_schema = 'public' \
                     UNION SELECT DISTINCT column_name FROM information_schema.columns WHERE table_schema = 'public'";
        let told = sql.text(names, "csv").unwrap_or_default();
        let mut words: Vec<String> = told.lines().skip(1).map(str::to_owned).collect();
        words.extend(KEYWORDS.map(str::to_owned));
        words.sort_unstable();
        Self { words, history: HistoryHinter::new() }
    }
}

/// The begin of the word that ends at a position.
fn word_start(line: &str, at: usize) -> usize {
    let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    line[..at].rfind(|letter| !is_of_word(letter)).map_or(0, |before| before + 1)
}

impl Completer for WordCompleter {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        at: usize,
        _context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start = word_start(line, at);
        let begun = line[start..at].to_lowercase();
        let fits = |word: &&String| !begun.is_empty() && word.to_lowercase().starts_with(&begun);
        let pair = |word: &String| Pair { display: word.clone(), replacement: word.clone() };
        Ok((start, self.words.iter().filter(fits).map(pair).collect()))
    }
}

impl Hinter for WordCompleter {
    type Hint = String;

    fn hint(&self, line: &str, at: usize, context: &Context<'_>) -> Option<String> {
        self.history.hint(line, at, context)
    }
}

impl Highlighter for WordCompleter {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        Cow::Owned(format!("\x1b[2m{hint}\x1b[m"))
    }
}

impl Validator for WordCompleter {}
impl Helper for WordCompleter {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_with_its_semicolon() {
        for (text, wanted) in [
            ("SELECT 1;", Some(8)),
            ("SELECT 1; \n", Some(8)),
            ("SELECT ';'", None),
            ("SELECT ';';", Some(10)),
            ("SELECT \";", None),
            ("SELECT 'it''s';", Some(14)),
            ("SELECT 1 -- one;\n", None),
            ("SELECT 1; -- one\n", Some(8)),
            ("SELECT 1 - 2;", Some(12)),
            ("", None),
        ] {
            assert_eq!(ends_statement(text), wanted, "{text}");
        }
    }

    #[test]
    fn lines_become_statements_and_commands() {
        let mut gathered = StatementBuffer::default();
        assert_eq!(gathered.add(""), ShellInput::More);
        assert_eq!(gathered.add("  \\d objects"), ShellInput::Command("d objects".into()));
        assert_eq!(gathered.add("SELECT '"), ShellInput::More);
        assert_eq!(gathered.add("\\d'"), ShellInput::More, "inside a statement it is its text");
        assert_eq!(gathered.add(";"), ShellInput::Statement("SELECT '\n\\d'".into()));
        assert_eq!(gathered.add(";"), ShellInput::More, "an empty statement is none");
    }

    #[test]
    fn a_word_begins_after_what_is_no_letter() {
        assert_eq!(word_start("SELECT siz", 10), 7);
        assert_eq!(word_start("siz", 3), 0);
        assert_eq!(word_start("max(last_m", 10), 4);
    }
}
