//! Reads a history file back: operations with their beginnings and ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};

use crate::history::line::{
    Complete, FORMAT, HistoryLine, HistorySetup, Invoke, OperationEnding, OperationOutcome,
};

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct RecordedOperation {
    /// The beginning of the operation.
    pub invoke: Invoke,
    /// The end of the operation; `None` if the file has no such line.
    pub complete: Option<Complete>,
}

impl RecordedOperation {
    /// Returns the time at which the operation began, before anything was sent, in nanoseconds of the
    /// history's clock.
    pub fn begin(&self) -> u64 {
        self.invoke.ns
    }

    /// Returns the time after the answer was read or lost, in nanoseconds of the history's clock; `None` if
    /// the file has no end of the operation.
    pub fn end(&self) -> Option<u64> {
        self.complete.as_ref().map(|complete| complete.ns)
    }

    /// Returns the recorded result; `None` if the file has no end of the operation, since the recording
    /// process was killed before.
    pub fn ending(&self) -> Option<&OperationEnding> {
        self.complete.as_ref().map(|complete| &complete.result)
    }

    /// Returns the recorded outcome; [`OperationOutcome::Unknown`] if the file has no end of the operation.
    pub fn outcome(&self) -> OperationOutcome {
        self.ending().map_or(OperationOutcome::Unknown, |ending| ending.outcome)
    }
}

/// A history that was read from its file.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The setup line of the file.
    pub setup: HistorySetup,
    /// The operations, in the order in which they began.
    pub operations: Vec<RecordedOperation>,
}

impl Recording {
    /// Reads and validates a history file, and keeps all of it in memory.
    ///
    /// A last line without line feed is ignored: the process that wrote the file may have been killed. Fails
    /// if the file cannot be read, a line cannot be parsed, the format is not [`FORMAT`], there is not
    /// exactly one setup, or an operation begins twice, ends without a beginning, or ends before it begins.
    /// The error names the file and the line, except if there is no setup.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {path:?}"))?;
        let mut file = BufReader::new(file);
        let mut reading = RecordingReader::default();
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if file.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            // A line without line feed is cut short, even if its text can be parsed.
            let Some(text) = line.strip_suffix(b"\n") else { break };
            let at = || format!("{path:?}, line {number}");
            reading.take(serde_json::from_slice(text).with_context(at)?).with_context(at)?;
        }
        reading.finish()
    }
}

/// A history of which some lines have been read.
#[derive(Default)]
struct RecordingReader {
    setup: Option<HistorySetup>,
    operations: Vec<RecordedOperation>,
    /// The index of each operation that has not ended, by its number.
    open: HashMap<u64, usize>,
}

impl RecordingReader {
    fn take(&mut self, line: HistoryLine) -> anyhow::Result<()> {
        match line {
            HistoryLine::Setup(setup) => {
                ensure!(self.setup.is_none(), "a second setup");
                ensure!(setup.format == FORMAT, "format {} is not known", setup.format);
                self.setup = Some(setup);
            }
            HistoryLine::Invoke(invoke) => {
                let op = invoke.op;
                let before = self.open.insert(op, self.operations.len());
                ensure!(before.is_none(), "operation {op} begins a second time");
                self.operations.push(RecordedOperation { invoke, complete: None });
            }
            HistoryLine::Complete(complete) => {
                let op = complete.op;
                let Some(index) = self.open.remove(&op) else {
                    bail!("operation {op} ends and has not begun");
                };
                let operation = &mut self.operations[index];
                ensure!(operation.begin() <= complete.ns, "operation {op} ends before it begins");
                operation.complete = Some(complete);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> anyhow::Result<Recording> {
        let setup = self.setup.context("the file has no setup line")?;
        // Lines of two clients may reach the file in another order than that of the clock.
        self.operations.sort_by_key(RecordedOperation::begin);
        Ok(Recording { setup, operations: self.operations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETUP: &str = r#"{"line":"setup","format":1,"tag":"t","seed":1,"clients":1,"endpoints":["e"],"buckets":["b"],"unix_ms":1}"#;
    const INVOKE: &str = r#"{"line":"invoke","op":7,"client":0,"endpoint":0,"bucket":"b","kind":"get","key":"k","ns":5,"unix_ms":6}"#;
    const COMPLETE: &str = r#"{"line":"complete","op":7,"outcome":"ok","status":404,"seen":"absent","ns":8,"unix_ms":9}"#;

    fn read(lines: &[&str]) -> anyhow::Result<Recording> {
        let mut reading = RecordingReader::default();
        for line in lines {
            reading.take(serde_json::from_str(line)?)?;
        }
        reading.finish()
    }

    #[test]
    fn beginnings_meet_their_ends() {
        let recording = read(&[SETUP, INVOKE, COMPLETE]).unwrap();
        let operation = &recording.operations[0];
        assert_eq!((operation.begin(), operation.end()), (5, Some(8)));
        assert_eq!(operation.outcome(), OperationOutcome::Ok);
    }

    #[test]
    fn an_operation_without_an_end_is_unknown() {
        assert_eq!(
            read(&[SETUP, INVOKE]).unwrap().operations[0].outcome(),
            OperationOutcome::Unknown
        );
    }

    #[test]
    fn what_is_no_history_is_refused() {
        for lines in [
            &[INVOKE][..],
            &[SETUP, SETUP],
            &[SETUP, COMPLETE],
            &[SETUP, INVOKE, INVOKE],
            &[SETUP, INVOKE, COMPLETE, COMPLETE],
        ] {
            assert!(read(lines).is_err(), "{lines:?}");
        }
        let other_format = SETUP.replace("\"format\":1", "\"format\":2");
        assert!(read(&[&other_format]).is_err());
        assert!(read(&[SETUP, INVOKE, &COMPLETE.replace("\"ns\":8", "\"ns\":4")]).is_err());
    }
}
