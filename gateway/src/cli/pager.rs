//! Answers that are taller than the terminal, page by page.
//!
//! What comes is held back until it is taller than a page or at its end. Then it goes to the pager, and
//! what follows with it; or, if it fits, to the terminal. Whoever leaves the pager early wants no more.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};

/// A page: the terminal's size in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TerminalSize {
    /// Its width.
    pub columns: usize,
    /// Its height.
    pub rows: usize,
}

/// An answer on its way to the terminal or to the pager.
pub struct PagedOutput {
    page: TerminalSize,
    /// How many rows of the terminal what is held back takes.
    height: usize,
    /// How wide the row is that has not ended yet.
    width: usize,
    out: OutputTarget,
}

enum OutputTarget {
    Held(Vec<u8>),
    Terminal,
    Pager(Child),
}

/// Starts what `PAGER` says, or `less`; none where there is no pager.
fn start() -> Option<Child> {
    let mut command = match std::env::var_os("PAGER") {
        None => Command::new("less"),
        Some(none) if none.is_empty() => return None,
        Some(pager) => {
            let mut shell = Command::new("sh");
            shell.args([OsString::from("-c"), pager]);
            shell
        }
    };
    command.stdin(Stdio::piped()).spawn().ok()
}

impl PagedOutput {
    /// An answer that goes to the pager once it is taller than this.
    pub fn new(page: TerminalSize) -> Self {
        Self { page, height: 0, width: 0, out: OutputTarget::Held(Vec::new()) }
    }

    /// Whether the answer is taller than a page, with more of it. The prompt takes a row, too.
    fn exceeds(&mut self, bytes: &[u8]) -> bool {
        for letter in String::from_utf8_lossy(bytes).chars() {
            if letter == '\n' || self.width == self.page.columns {
                self.height += 1;
                self.width = 0;
            }
            if letter != '\n' {
                self.width += 1;
            }
        }
        self.height >= self.page.rows
    }

    /// Takes more of the answer. [`ErrorKind::BrokenPipe`] when no more is wanted.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let OutputTarget::Held(held) = &mut self.out {
            held.extend_from_slice(bytes);
            if !self.exceeds(bytes) {
                return Ok(());
            }
            return self.let_go(start());
        }
        match &mut self.out {
            OutputTarget::Pager(Child { stdin: Some(stdin), .. }) => stdin.write_all(bytes),
            _ => io::stdout().write_all(bytes),
        }
    }

    /// Hands over what has been held back.
    fn let_go(&mut self, pager: Option<Child>) -> io::Result<()> {
        let out = pager.map_or(OutputTarget::Terminal, OutputTarget::Pager);
        match std::mem::replace(&mut self.out, out) {
            OutputTarget::Held(held) => self.write(&held),
            _ => Ok(()),
        }
    }

    /// Ends the answer, and waits until it has been read.
    pub fn end(mut self) -> io::Result<()> {
        if matches!(self.out, OutputTarget::Held(_)) {
            self.let_go(None)?;
        }
        match &mut self.out {
            OutputTarget::Pager(pager) => {
                drop(pager.stdin.take());
                pager.wait().map(|_| ())
            }
            _ => io::stdout().flush(),
        }
    }
}

/// Whether an error says no more than that the pager was left.
pub fn was_left(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taller_than_a_page_exceeds_it() {
        for (text, wanted) in [
            ("a\nb\n", false),
            ("a\nb\nc\n", true),
            ("1234\n1234\n", false),
            ("12345\n1234\n", true),
            ("éééé\néééé\n", false),
            ("", false),
        ] {
            let mut paged = PagedOutput::new(TerminalSize { columns: 4, rows: 3 });
            assert_eq!(paged.exceeds(text.as_bytes()), wanted, "{text:?}");
        }
    }
}
