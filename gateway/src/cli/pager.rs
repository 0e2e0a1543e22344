//! Output that is taller than the terminal, through a pager.
//!
//! Output is held back until it is taller than the terminal or has ended. Output that is taller goes to the pager, with
//! all further output; output that fits goes to the terminal. After the user has left the pager, further output fails
//! with [`ErrorKind::BrokenPipe`].

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::process::{Child, Command, Stdio};

/// The size of the terminal in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TerminalSize {
    /// The width in columns.
    pub columns: usize,
    /// The height in rows.
    pub rows: usize,
}

/// The output of one query, to the terminal or to the pager.
pub struct PagedOutput {
    page: TerminalSize,
    /// The number of complete rows of the output that is held back.
    height: usize,
    /// The width of the last, incomplete row.
    width: usize,
    out: OutputTarget,
}

enum OutputTarget {
    Held(Vec<u8>),
    Terminal,
    Pager(Child),
}

/// Starts the command in the variable `PAGER`, or `less`. `None` if the variable is empty or the pager cannot be
/// started.
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
    /// Makes an output that goes to the pager once it is taller than `page`. No pager is started before.
    pub fn new(page: TerminalSize) -> Self {
        Self { page, height: 0, width: 0, out: OutputTarget::Held(Vec::new()) }
    }

    /// Adds bytes to the measured size and returns true if the output is taller than the terminal. One row is
    /// needed for the prompt.
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

    /// Adds output, which is shown in the order of the calls. Fails with [`ErrorKind::BrokenPipe`] after the user
    /// has left the pager, and if the terminal cannot be written.
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

    /// Sends the output that has been held back to the pager, or to the terminal without one.
    fn let_go(&mut self, pager: Option<Child>) -> io::Result<()> {
        let out = pager.map_or(OutputTarget::Terminal, OutputTarget::Pager);
        match std::mem::replace(&mut self.out, out) {
            OutputTarget::Held(held) => self.write(&held),
            _ => Ok(()),
        }
    }

    /// Ends the output, and waits until the user has left the pager. Must be called also after a failed write,
    /// otherwise the pager and the shell read from the terminal at once. Fails if the terminal cannot be written.
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

/// Returns true if an error means only that the user has left the pager, which is never shown as an error.
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
