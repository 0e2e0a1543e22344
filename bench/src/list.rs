//! Measures one full, ordered listing: ListObjectsV2, page after page, over one connection.
//!
//! A client with an XML parser spends more time on a page than the store does. The client here scans the
//! bytes for the two elements that it needs, and still verifies the promise of a listing: every key, once, in
//! order.

use std::borrow::Cow;
use std::time::Instant;

use anyhow::{Context, ensure};
use http::Method;
use s3::names::{encode, encode_path};

use crate::client::{ClientConnection, LoadTarget, SignedCall};
use crate::latency::Latencies;
use crate::payload::Payload;
use crate::report::FigureReport;
use crate::stopwatch::{Cost, Stopwatch};
use crate::xml::{self, find};

/// The figures of a listing.
pub struct ListMeasurement {
    keys: u64,
    /// The latency of each page, from before signing to the last byte of the answer.
    pages: Latencies,
    cost: Cost,
}

impl ListMeasurement {
    /// Returns the keys per second of wall-clock time, over the whole listing after its connection was
    /// opened.
    pub fn rate(&self) -> f64 {
        self.cost.per_second(self.keys)
    }

    /// Returns the figures as the report of `command`, in the order in which they are printed: rate and
    /// counts before latencies and cost.
    pub fn report(&self, command: &'static str) -> FigureReport {
        FigureReport::new(command)
            .number("keys_per_second", self.rate())
            .count("keys", self.keys)
            .count("pages", self.pages.count())
            .latencies(&self.pages)
            .number("seconds", self.cost.elapsed.as_secs_f64())
            .number("client_cpu_seconds", self.cost.cpu.as_secs_f64())
            .note("one raw client, pages of 1000, one after the other; latencies are of pages")
    }
}

/// Lists all keys under a prefix in pages of 1,000, and verifies that they are in ascending order without
/// repetition.
///
/// Fails if a page is not answered with a success, a key is not after the one before it, or, with `keys`, the
/// number of keys is another. The error of an order names both keys.
pub async fn run(
    target: &LoadTarget,
    bucket: &str,
    prefix: &str,
    keys: Option<u64>,
) -> anyhow::Result<ListMeasurement> {
    let mut connection = ClientConnection::open(target).await?;
    let path = encode_path(&format!("/{bucket}"));
    let rest = format!("list-type=2&max-keys=1000&prefix={}", encode(prefix));
    let mut query = rest.clone();
    let mut order = KeyOrder::default();
    let mut pages = Latencies::new();
    let mut answer = Vec::new();
    let stopwatch = Stopwatch::start();
    loop {
        let began = Instant::now();
        let payload = Payload::empty();
        let call = SignedCall { method: Method::GET, path: &path, query: &query, payload };
        connection.demand(call, &mut answer).await?;
        pages.record(began.elapsed());
        order.take(&answer)?;
        let Some(token) = xml::text_of(&answer, "NextContinuationToken")? else { break };
        query = format!("continuation-token={}&{rest}", encode(&token));
    }
    let cost = stopwatch.stop();
    if let Some(keys) = keys {
        ensure!(order.count == keys, "{} keys were listed, not {keys}", order.count);
    }
    Ok(ListMeasurement { keys: order.count, pages, cost })
}

/// The number of keys so far, and the last of them.
#[derive(Default)]
struct KeyOrder {
    count: u64,
    last: String,
}

impl KeyOrder {
    fn take(&mut self, page: &[u8]) -> anyhow::Result<()> {
        let mut last = Cow::Borrowed(self.last.as_str());
        for key in PageKeys(page) {
            let key = xml::decode(key).context("a key")?;
            let is_after = self.count == 0 || last < key;
            ensure!(is_after, "{key} was listed after {last}");
            last = key;
            self.count += 1;
        }
        self.last = last.into_owned();
        Ok(())
    }
}

/// The keys of a page in their order, as raw bytes of the XML.
struct PageKeys<'a>(&'a [u8]);

impl<'a> Iterator for PageKeys<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let begin = find(self.0, b"<Key>")? + b"<Key>".len();
        let len = find(&self.0[begin..], b"</Key>")?;
        let key = &self.0[begin..begin + len];
        self.0 = &self.0[begin + len..];
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &[u8] =
        b"<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><Prefix>K</Prefix>\
        <NextContinuationToken>AWsx=</NextContinuationToken>\
        <Contents><Key>a/1</Key><Size>4</Size></Contents>\
        <Contents><Key></Key><Size>4</Size></Contents><Contents><Key>a/2</Key></Contents>";

    #[test]
    fn a_page_is_scanned() {
        let keys: Vec<&[u8]> = PageKeys(PAGE).collect();
        assert_eq!(keys, [&b"a/1"[..], b"", b"a/2"]);
        let token = xml::text_of(PAGE, "NextContinuationToken").unwrap();
        assert_eq!(token.as_deref(), Some("AWsx="));
    }

    #[test]
    fn a_tag_is_found_where_a_slow_search_finds_it() {
        for tag in [&b"<Key>"[..], b"</Key>", b"<NextContinuationToken>", b"</b>"] {
            for begin in 0..PAGE.len() {
                let text = &PAGE[begin..];
                let slow = text.windows(tag.len()).position(|window| window == tag);
                assert_eq!(find(text, tag), slow, "{begin}");
            }
        }
    }

    #[test]
    fn order_is_verified_within_and_across_pages() {
        let page = |keys: &[&str]| {
            let keys: Vec<_> = keys.iter().map(|key| format!("<Key>{key}</Key>")).collect();
            keys.concat().into_bytes()
        };
        let mut order = KeyOrder::default();
        order.take(&page(&["a", "b"])).unwrap();
        order.take(&page(&[])).unwrap();
        order.take(&page(&["ba", "c"])).unwrap();
        assert_eq!(order.count, 4);
        assert!(order.take(&page(&["c"])).is_err());
        // `&` sorts before `a` and after `!`, in every notation.
        let mut order = KeyOrder::default();
        order.take(&page(&["k!", "k&amp;", "k&#x27;", "ka"])).unwrap();
        assert!(order.take(&page(&["k&amp;"])).is_err());
        assert!(KeyOrder::default().take(&page(&["b", "a"])).is_err());
        assert!(KeyOrder::default().take(&page(&["a", "a"])).is_err());
    }
}
