//! Measures the upload of one large object, as one PUT or in parts, and verifies the store's ETag.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::{HeaderMap, Method};
use md5::{Digest, Md5};
use s3::names::{encode, encode_path};
use tokio::task::JoinSet;

use crate::client::{ClientConnection, LoadTarget, SignedCall};
use crate::payload::{Pattern, Payload};
use crate::report::FigureReport;
use crate::stopwatch::{Cost, Stopwatch};
use crate::xml;

/// The division of an upload into parts.
#[derive(Clone, Copy, Debug)]
pub struct PartSizes {
    /// The size of each part, except the last, in bytes.
    pub bytes: u64,
    /// The number of parts that are sent at a time, each over a connection of its own.
    pub parallel: usize,
}

/// An upload that can be run repeatedly.
#[derive(Clone)]
pub struct UploadRun {
    path: String,
    bytes: u64,
    parts: Option<PartSizes>,
    pattern: Pattern,
    etag: String,
}

/// The figures of an upload.
pub struct UploadMeasurement {
    bytes: u64,
    /// The cost from the first request to the last answer.
    pub cost: Cost,
}

impl UploadMeasurement {
    /// Returns the rate in MiB per second of wall-clock time, from the first request until after the last
    /// answer.
    pub fn rate(&self) -> f64 {
        self.cost.mib_per_second(self.bytes)
    }

    /// Returns the figures as the report of `command`, in the order in which they are printed: the rate
    /// before size and cost.
    pub fn report(&self, command: &'static str) -> FigureReport {
        FigureReport::new(command)
            .number("mib_per_second", self.rate())
            .count("bytes", self.bytes)
            .number("seconds", self.cost.elapsed.as_secs_f64())
            .number("client_cpu_seconds", self.cost.cpu.as_secs_f64())
            .note("UNSIGNED-PAYLOAD; the ETag was verified")
    }
}

impl UploadRun {
    /// Prepares an upload of `bytes` bytes, and computes the expected ETag before the clock starts.
    ///
    /// Blocks the thread while the whole content is hashed. The size of a part must be above 0.
    pub fn new(bucket: &str, key: &str, bytes: u64, parts: Option<PartSizes>) -> Self {
        let path = encode_path(&format!("/{bucket}/{key}"));
        let pattern = Pattern::new();
        let etag = match parts {
            None => hex::encode(md5(&pattern, 0, bytes)),
            Some(PartSizes { bytes: part_bytes, .. }) => {
                let mut whole = Md5::new();
                let parts = ranges(bytes, part_bytes);
                parts.iter().for_each(|(at, len)| whole.update(md5(&pattern, *at, *len)));
                format!("{}-{}", hex::encode(whole.finalize()), parts.len())
            }
        };
        Self { path, bytes, parts, pattern, etag }
    }

    /// Uploads the object, and verifies that the store's ETag is the expected one.
    ///
    /// Fails if a connection breaks, a request is not answered with a success, or the ETag is another. After
    /// an error in parts the upload is not aborted; an object that exists under the key is overwritten. The
    /// first connection is opened before the clock starts, those of the parts after.
    pub async fn run(&self, target: &Arc<LoadTarget>) -> anyhow::Result<UploadMeasurement> {
        let mut connection = ClientConnection::open(target).await?;
        let stopwatch = Stopwatch::start();
        let mut answer = Vec::new();
        let found = match self.parts {
            None => etag(&connection.demand(self.put("", 0, self.bytes), &mut answer).await?)?,
            Some(parts) => self.in_parts(target, &mut connection, parts).await?,
        };
        let cost = stopwatch.stop();
        ensure!(found == self.etag, "{}: the ETag is {found}, not {}", self.path, self.etag);
        Ok(UploadMeasurement { bytes: self.bytes, cost })
    }

    fn put<'a>(&'a self, query: &'a str, position: u64, left: u64) -> SignedCall<'a> {
        let payload = Payload::Stream { pattern: self.pattern.clone(), position, left };
        SignedCall { method: Method::PUT, path: &self.path, query, payload }
    }

    fn post<'a>(&'a self, query: &'a str, body: Bytes) -> SignedCall<'a> {
        SignedCall { method: Method::POST, path: &self.path, query, payload: Payload::Whole(body) }
    }

    async fn in_parts(
        &self,
        target: &Arc<LoadTarget>,
        connection: &mut ClientConnection,
        PartSizes { bytes, parallel }: PartSizes,
    ) -> anyhow::Result<String> {
        let mut answer = Vec::new();
        connection.demand(self.post("uploads=", Bytes::new()), &mut answer).await?;
        let id = text(&answer, "UploadId")?;
        let query = format!("uploadId={}", encode(&id));
        let ranges = Arc::new(ranges(self.bytes, bytes));
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..parallel {
            let (upload, target) = (self.clone(), target.clone());
            let (query, ranges, next) = (query.clone(), ranges.clone(), next.clone());
            tasks.spawn(async move { upload.some_parts(&target, &query, &ranges, &next).await });
        }
        let mut etags = vec![String::new(); ranges.len()];
        while let Some(done) = tasks.join_next().await {
            for (index, etag) in done?? {
                etags[index] = etag;
            }
        }
        let mut xml = String::from("<CompleteMultipartUpload>");
        for (index, etag) in etags.iter().enumerate() {
            let number = index + 1;
            xml += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
        }
        xml += "</CompleteMultipartUpload>";
        connection.demand(self.post(&query, xml.into()), &mut answer).await?;
        // A failure can also come after a 200: the body then has no ETag.
        let etag = text(&answer, "ETag")?;
        Ok(etag.trim_matches('"').to_owned())
    }

    /// Uploads parts that no other task has taken yet, until there are none. Returns their indices and ETags.
    async fn some_parts(
        &self,
        target: &LoadTarget,
        query: &str,
        ranges: &[(u64, u64)],
        next: &AtomicU64,
    ) -> anyhow::Result<Vec<(usize, String)>> {
        let mut connection = ClientConnection::open(target).await?;
        let (mut done, mut answer) = (Vec::new(), Vec::new());
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed) as usize;
            let Some((position, len)) = ranges.get(index) else { return Ok(done) };
            let query = format!("partNumber={}&{query}", index + 1);
            let call = self.put(&query, *position, *len);
            done.push((index, etag(&connection.demand(call, &mut answer).await?)?));
        }
    }
}

/// Returns position and length of each part, in bytes.
fn ranges(bytes: u64, part_bytes: u64) -> Vec<(u64, u64)> {
    let begins = (0..bytes).step_by(part_bytes.max(1) as usize);
    begins.map(|begin| (begin, part_bytes.min(bytes - begin))).collect()
}

fn md5(pattern: &Pattern, mut position: u64, len: u64) -> [u8; 16] {
    let end = position + len;
    let mut hash = Md5::new();
    while position < end {
        let piece = pattern.piece(position, end - position);
        hash.update(&piece);
        position += piece.len() as u64;
    }
    hash.finalize().into()
}

fn etag(headers: &HeaderMap) -> anyhow::Result<String> {
    let etag = headers.get("etag").context("an answer has no ETag")?;
    Ok(etag.to_str()?.trim_matches('"').to_owned())
}

fn text(answer: &[u8], element: &str) -> anyhow::Result<String> {
    let found = xml::text_of(answer, element)?;
    found.with_context(|| String::from_utf8_lossy(answer).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_the_object() {
        assert_eq!(ranges(10, 4), [(0, 4), (4, 4), (8, 2)]);
        assert_eq!(ranges(8, 4), [(0, 4), (4, 4)]);
        assert_eq!(ranges(3, 4), [(0, 3)]);
    }

    #[test]
    fn the_etag_of_parts_is_that_of_their_digests() {
        let pattern = Pattern::new();
        let mut whole = Md5::new();
        whole.update(md5(&pattern, 0, 1 << 20));
        whole.update(md5(&pattern, 1 << 20, 5));
        let parts = PartSizes { bytes: 1 << 20, parallel: 1 };
        let upload = UploadRun::new("b", "k", (1 << 20) + 5, Some(parts));
        assert_eq!(upload.etag, format!("{}-2", hex::encode(whole.finalize())));
        assert_eq!(UploadRun::new("b", "k", 0, None).etag, "d41d8cd98f00b204e9800998ecf8427e");
    }
}
