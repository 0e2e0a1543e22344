//! What a run found: figures with names that carry their unit, and notes on how they were taken.
//! Printed for people, or as one line of JSON.

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
    /// A report of a subcommand, without figures.
    pub fn new(command: &'static str) -> Self {
        Self { command, figures: Vec::new(), notes: Vec::new() }
    }

    /// Adds something counted.
    pub fn count(mut self, name: &'static str, count: u64) -> Self {
        self.figures.push((name, FigureValue::Count(count)));
        self
    }

    /// Adds something measured.
    pub fn number(mut self, name: &'static str, number: f64) -> Self {
        self.figures.push((name, FigureValue::Number(number)));
        self
    }

    /// Adds the usual percentiles.
    pub fn latencies(self, latencies: &Latencies) -> Self {
        self.number("p50_ms", latencies.percentile_ms(50.0))
            .number("p99_ms", latencies.percentile_ms(99.0))
            .number("max_ms", latencies.max_ms())
    }

    /// Adds what a reader must know to compare the figures with others.
    pub fn note(mut self, note: &'static str) -> Self {
        self.notes.push(note);
        self
    }

    /// Prints it.
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
                // Microseconds and thousandths are as fine as anything here is measured.
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
