//! Keys and attributes of numbered objects, the same in every run.

use ingest::entry::{Attributes, ETag};

/// File name extensions with their content types, as in real stores.
const KINDS: [(&str, &str); 8] = [
    ("jpg", "image/jpeg"),
    ("parquet", "application/vnd.apache.parquet"),
    ("json", "application/json"),
    ("txt", "text/plain"),
    ("png", "image/png"),
    ("log", "text/plain"),
    ("csv", "text/csv"),
    ("bin", "application/octet-stream"),
];

/// Mixes the bits of a number (SplitMix64's finaliser). The function is one to one: different numbers never
/// have the same result.
pub fn scramble(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// The buckets of scenario `curve`, in the order of the indices that [`place`] returns.
pub const BUCKETS: [&str; 3] = ["short", "long", "deep"];

/// Returns the index of the n-th object's bucket in [`BUCKETS`], and its key, which must equal that of every
/// earlier run.
pub fn place(n: u64) -> (usize, String) {
    let chance = scramble(n);
    let (extension, _) = KINDS[(chance % 8) as usize];
    match n % 3 {
        0 => (0, format!("{:010x}.{extension}", chance >> 24)),
        1 => {
            let customer = chance % 20_000;
            let year = 2020 + (chance >> 20) % 7;
            let id = scramble(chance);
            (
                1,
                format!(
                    "datasets/production/eu-central-1/customer={customer:06}/year={year}/part-{id:016x}-{chance:016x}.c000.snappy.{extension}"
                ),
            )
        }
        _ => {
            let level = |shift: u32| (chance >> shift) % 100;
            (
                2,
                format!(
                    "area-{:02}/site-{:02}/box-{:02}/{n:010}.{extension}",
                    level(8),
                    level(20),
                    level(32)
                ),
            )
        }
    }
}

/// Returns the attributes of the n-th object, with tags only for every fifth one. The object has no payload:
/// size and MD5 are invented, and must never be verified.
pub fn attributes(n: u64, owner: &str) -> Attributes {
    let chance = scramble(n);
    let (_, content_type) = KINDS[(chance % 8) as usize];
    let mut md5 = [0; 16];
    md5[..8].copy_from_slice(&chance.to_le_bytes());
    md5[8..].copy_from_slice(&scramble(chance).to_le_bytes());
    let pair = |name: &str, value: String| (name.to_owned(), value);
    let mut tags = Vec::new();
    if n.is_multiple_of(5) {
        tags.push(pair("team", format!("team-{:02}", (chance >> 40) % 20)));
        tags.push(pair("case", format!("case-{:06}", n / 500)));
    }
    Attributes {
        // Sizes over six orders of magnitude, small ones most often.
        size: (chance >> 16) % (1 << (8 + chance % 24)),
        etag: ETag { md5, parts: 0 },
        owner: owner.to_owned(),
        headers: vec![pair("content-type", content_type.to_owned())],
        tags,
        ..Attributes::default()
    }
}
