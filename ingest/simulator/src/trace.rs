//! The history of a run, as a hash and, on request, as text.

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

/// A run's history.
pub struct Trace {
    state: Mutex<State>,
}

struct State {
    hash: Xxh3,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// Starts an empty history. Keeps the text of its events only with `keeps_lines`, since a long run
    /// has millions of them.
    pub fn new(keeps_lines: bool) -> Self {
        let lines = keeps_lines.then(Vec::new);
        Self { state: Mutex::new(State { hash: Xxh3::new(), lines }) }
    }

    /// Adds an event. The hash depends on the texts of all events and on their order.
    pub fn event(&self, line: std::fmt::Arguments<'_>) {
        let line = line.to_string();
        let mut state = self.state.lock();
        state.hash.update(line.as_bytes());
        state.hash.update(b"\n");
        if let Some(lines) = &mut state.lines {
            lines.push(line);
        }
    }

    /// The hash of all events so far. Equal only for runs with the same events in the same order, apart
    /// from collisions.
    pub fn digest(&self) -> u64 {
        self.state.lock().hash.digest()
    }

    /// The texts of all events so far, in order. Empty unless the history was made to keep them.
    pub fn lines(&self) -> Vec<String> {
        self.state.lock().lines.clone().unwrap_or_default()
    }
}

/// Runs a seed twice and panics unless both runs have the same history. `run` gets the seed, and if it
/// must keep the text. On a difference both are run once more with text, and the message has the last
/// common events and the first that differ.
pub fn assert_repeatable(seed: u64, run: impl Fn(u64, bool) -> std::sync::Arc<Trace>) {
    let (first, second) = (run(seed, false).digest(), run(seed, false).digest());
    if first == second {
        return;
    }
    let (a, b) = (run(seed, true).lines(), run(seed, true).lines());
    let common = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let from = common.saturating_sub(20);
    panic!(
        "seed {seed} is not repeatable; common until line {common}:\n{}\nfirst:  {:?}\nsecond: {:?}",
        a[from..common].join("\n"),
        a.get(common),
        b.get(common),
    );
}
