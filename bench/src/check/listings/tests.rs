use super::super::claims;
use super::super::simulated::{Bug, Simulation};
use super::*;
use crate::history::line::{
    Complete, FORMAT, HistorySetup, Invoke, OperationEnding, OperationOutcome, WrittenValue,
};

/// A history composed by hand: operations on bucket `b`, sequential or overlapping.
struct Story(Vec<RecordedOperation>);

impl Story {
    fn add(
        mut self,
        begin: u64,
        end: Option<u64>,
        action: Action,
        seen: Option<SeenContent>,
    ) -> Self {
        let op = self.0.len() as u64;
        let bucket = "b".to_owned();
        let invoke = Invoke { op, client: 0, endpoint: 0, bucket, action, ns: begin, unix_ms: 0 };
        let result = OperationEnding {
            outcome: OperationOutcome::Ok,
            status: None,
            code: None,
            seen,
            wrong: None,
        };
        let complete = end.map(|ns| Complete { op, result, ns, unix_ms: 0 });
        self.0.push(RecordedOperation { invoke, complete });
        self
    }

    fn put(self, begin: u64, end: impl Into<Option<u64>>, key: &str, value: &str) -> Self {
        let written = WrittenValue { value: value.into(), etag: format!("e{value}"), bytes: 1 };
        self.add(begin, end.into(), Action::Put { key: key.into(), written }, None)
    }

    fn delete(self, begin: u64, end: impl Into<Option<u64>>, key: &str) -> Self {
        self.add(begin, end.into(), Action::Delete { key: key.into() }, None)
    }

    fn get(self, begin: u64, end: u64, key: &str, value: &str) -> Self {
        let seen = match value {
            "" => SeenContent::Absent,
            _ => {
                SeenContent::Object { value: Some(value.into()), etag: String::new(), bytes: None }
            }
        };
        self.add(begin, Some(end), Action::Get { key: key.into() }, Some(seen))
    }

    fn list(self, begin: u64, end: u64, entries: &[(&str, &str)]) -> Self {
        self.page(begin, end, ["", ""], entries, false)
    }

    fn page(
        self,
        begin: u64,
        end: u64,
        [prefix, after]: [&str; 2],
        entries: &[(&str, &str)],
        is_truncated: bool,
    ) -> Self {
        let entry = |(key, value): &(&str, &str)| (String::from(*key), format!("e{value}"), 1);
        let entries = entries.iter().map(entry).collect();
        let (prefix, after) = (prefix.into(), after.into());
        let action = Action::List { prefix, after, max_keys: 9 };
        self.add(begin, Some(end), action, Some(SeenContent::Page { entries, is_truncated }))
    }

    fn violations(self) -> Vec<(String, Vec<usize>)> {
        let setup = HistorySetup {
            format: FORMAT,
            tag: String::new(),
            seed: 0,
            clients: 1,
            endpoints: Vec::new(),
            buckets: Vec::new(),
            unix_ms: 0,
        };
        let recording = Recording { setup, operations: self.0 };
        let (violations, _) = check(&recording, &claims::of(&recording));
        violations.into_iter().map(|violation| (violation.what, violation.operations)).collect()
    }

    fn passes(self) {
        assert_eq!(self.violations(), []);
    }

    fn fails(self, says: &str, operations: &[usize]) {
        let violations = self.violations();
        assert!(
            matches!(&violations[..], [(what, found)] if what.contains(says) && found == operations),
            "{violations:?}"
        );
    }
}

fn story() -> Story {
    Story(Vec::new())
}

#[test]
fn a_listing_shows_what_is_there() {
    story()
        .list(0, 1, &[])
        .put(2, 3, "a", "1")
        .put(4, 5, "b", "2")
        .list(6, 7, &[("a", "1"), ("b", "2")])
        .delete(8, 9, "a")
        .put(10, 11, "b", "3")
        .list(12, 13, &[("b", "3")])
        .passes();
}

#[test]
fn a_key_that_was_there_all_the_time_is_missed() {
    story().put(0, 1, "a", "1").list(2, 3, &[]).fails("not listed", &[0, 1]);
    // The next write was sent only after the listing was answered.
    story().put(0, 1, "a", "1").list(2, 3, &[]).delete(4, 5, "a").fails("not listed", &[0, 2, 1]);
    story().put(0, 1, "a", "1").list(2, 4, &[]).delete(3, 5, "a").passes();
}

#[test]
fn a_write_that_is_under_way_may_show_or_not() {
    for entries in [&[("a", "1")][..], &[("a", "2")]] {
        story().put(0, 1, "a", "1").put(2, 9, "a", "2").list(3, 4, entries).passes();
        story().put(0, 1, "a", "1").put(2, None, "a", "2").list(30, 40, entries).passes();
    }
    for entries in [&[][..], &[("a", "1")]] {
        story().put(0, 9, "a", "1").list(3, 4, entries).passes();
        story().put(0, 1, "a", "1").delete(2, None, "a").list(3, 4, entries).passes();
    }
}

#[test]
fn what_was_deleted_or_overwritten_before_is_not_shown() {
    story()
        .put(0, 1, "a", "1")
        .delete(2, 3, "a")
        .list(4, 5, &[("a", "1")])
        .fails("something else", &[0, 1, 2]);
    let violations =
        story().put(0, 1, "a", "1").put(2, 3, "a", "2").list(4, 5, &[("a", "1")]).violations();
    assert_eq!(violations.len(), 1);
    // The delete was not acknowledged, but another operation has seen its effect.
    story()
        .put(0, 1, "a", "1")
        .delete(2, None, "a")
        .get(3, 4, "a", "")
        .list(5, 6, &[("a", "1")])
        .fails("something else", &[0, 2, 3]);
}

#[test]
fn what_is_sent_later_is_not_shown() {
    story().list(0, 1, &[("a", "1")]).put(2, 3, "a", "1").fails("before it was written", &[1, 0]);
}

#[test]
fn a_read_vouches_for_a_value_in_spite_of_unknown_writes() {
    let unsure = || story().put(0, 1, "a", "1").put(2, None, "a", "2");
    unsure().list(4, 5, &[]).passes();
    unsure().list(4, 5, &[]).get(6, 7, "a", "1").fails("not listed", &[0, 3, 2]);
    // The read was sent before the listing was answered: another write may have come after it.
    unsure().list(4, 8, &[]).get(6, 7, "a", "1").passes();
    // A value whose write was not acknowledged is there once it was read.
    unsure()
        .get(3, 4, "a", "2")
        .list(5, 6, &[("a", "1")])
        .get(7, 8, "a", "2")
        .fails("something else", &[0, 2, 3]);
}

#[test]
fn a_value_that_a_listing_has_shown_was_written() {
    story()
        .put(0, None, "a", "1")
        .list(1, 2, &[("a", "1")])
        .list(3, 4, &[])
        .fails("not listed", &[0, 1, 2]);
}

#[test]
fn a_page_is_judged_by_what_it_covers() {
    let keys = || story().put(0, 1, "a", "1").put(0, 1, "b", "2").put(0, 1, "c", "3");
    keys().page(2, 3, ["", ""], &[("a", "1"), ("b", "2")], true).passes();
    keys().page(2, 3, ["", "b"], &[("c", "3")], false).passes();
    keys().page(2, 3, ["b", ""], &[("b", "2")], false).passes();
    keys().page(2, 3, ["", ""], &[("b", "2")], true).fails("not listed", &[0, 3]);
    // The last key of a page belongs to the page.
    let rewritten = keys().delete(4, 5, "b").put(6, 7, "b", "4");
    let stale = rewritten.page(8, 9, ["", ""], &[("a", "1"), ("b", "2")], true);
    stale.fails("something else", &[1, 3, 5]);
    keys().page(2, 3, ["", "a"], &[("b", "2")], false).fails("not listed", &[2, 3]);
}

/// Counts the histories that have a wrong listing, out of a fixed number of simulated ones with this bug.
fn caught(bug: Bug, unknown_percent: u64) -> usize {
    let is_caught = |seed: &u64| {
        let simulation =
            Simulation { seed: *seed, operations: 600, clients: 3, keys: 12, unknown_percent, bug };
        let recording = simulation.run();
        !check(&recording, &claims::of(&recording)).0.is_empty()
    };
    (0..40).filter(is_caught).count()
}

#[test]
fn listings_of_a_good_store_pass() {
    assert_eq!([0, 5, 20].map(|unknown_percent| caught(Bug::None, unknown_percent)), [0; 3]);
}

#[test]
fn listings_of_a_bad_store_are_caught() {
    // About two listings of each history are wrong, each in one of twelve keys.
    let all = [Bug::ListsStale, Bug::ListsLess].map(|bug| (bug, caught(bug, 1)));
    assert!(all.iter().all(|(_, caught)| *caught >= 25), "{all:?}");
}
