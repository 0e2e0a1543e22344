//! The report of a run: figures with names that contain their unit, and notes on the method. Printed for
//! people, or as one line of JSON.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::latency::Latencies;

enum FigureValue {
    Count(u64),
    Number(f64),
}

/// The figures of one run, in the order in which they were added.
pub struct FigureReport {
    command: &'static str,
    figures: Vec<(&'static str, FigureValue)>,
    notes: Vec<&'static str>,
}

impl FigureReport {
    /// An empty report of a subcommand. Figures and notes are printed in the order in which they are added.
    pub fn new(command: &'static str) -> Self {
        Self { command, figures: Vec::new(), notes: Vec::new() }
    }

    /// Adds a counted figure after the others. `name` must contain the unit and must be new in the report,
    /// since JSON uses it as a key.
    pub fn count(mut self, name: &'static str, count: u64) -> Self {
        self.figures.push((name, FigureValue::Count(count)));
        self
    }

    /// Adds a measured figure after the others. `name` must contain the unit and must be new in the report,
    /// since JSON uses it as a key.
    pub fn number(mut self, name: &'static str, number: f64) -> Self {
        self.figures.push((name, FigureValue::Number(number)));
        self
    }

    /// Adds `p50_ms`, `p99_ms` and `max_ms` after the other figures. Must be called at most once, since the
    /// names are fixed.
    pub fn latencies(self, latencies: &Latencies) -> Self {
        self.number("p50_ms", latencies.percentile_ms(50.0))
            .number("p99_ms", latencies.percentile_ms(99.0))
            .number("max_ms", latencies.max_ms())
    }

    /// Adds a note on the method, without which a reader could not compare the figures. Notes are printed
    /// after all figures.
    pub fn note(mut self, note: &'static str) -> Self {
        self.notes.push(note);
        self
    }

    /// Prints the report to standard output, as one line of JSON or as text.
    ///
    /// Fails only if the report cannot be converted to JSON. JSON has figures rounded to thousandths.
    pub fn print(&self, as_json: bool) -> anyhow::Result<()> {
        if as_json {
            println!("{}", serde_json::to_string(self)?);
            return Ok(());
        }
        println!("{}", self.command);
        for (name, value) in &self.figures {
            match value {
                FigureValue::Count(count) => println!("  {name:<28} {count:>14}"),
                FigureValue::Number(number) => println!("  {name:<28} {number:>14.3}"),
            }
        }
        for note in &self.notes {
            println!("  ({note})");
        }
        Ok(())
    }
}

impl Serialize for FigureReport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("command", self.command)?;
        for (name, value) in &self.figures {
            match value {
                FigureValue::Count(count) => map.serialize_entry(name, count)?,
                // Nothing here is measured more exactly than in microseconds and thousandths.
                FigureValue::Number(number) => {
                    map.serialize_entry(name, &((number * 1000.0).round() / 1000.0))?;
                }
            }
        }
        map.serialize_entry("notes", &self.notes)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_keeps_the_order_and_the_notes() {
        let report = FigureReport::new("x").number("b", 1.23456).count("a", 7).note("n");
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(json, r#"{"command":"x","b":1.235,"a":7,"notes":["n"]}"#);
    }
}
