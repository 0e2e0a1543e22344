//! Manifests: a run's entries as a sorted Parquet file, which any Parquet reader can read in place.
//!
//! ```text
//!   0000000005.parquet   rows by (bucket, key, version descending, later descending)
//!   0000000005.sums      a CRC32C for each 16 KiB of it, bound to run and place
//! ```
//!
//! Parquet readers do not verify checksums of pages, and a damaged footer would lead to wrong rows. Every
//! byte that is read from a manifest is therefore verified against the sums first.
//! `docs/formats/manifest.md` specifies columns and sums.

mod reader;
mod row;
mod rows;
mod sums;
mod writer;

pub use reader::{Manifest, ManifestReader, ReadCounts};
pub use row::ManifestRow;
pub use rows::{ManifestCursor, read_error};
pub use writer::{ManifestWriter, record_batch, schema};

#[cfg(test)]
mod tests;
