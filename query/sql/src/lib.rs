//! SQL over the metadata of a store's objects, on fresh snapshots of all partitions.
//!
//! ```text
//!   principal ─▶ snapshots ─┐
//!   text ─▶ DataFusion's planner ─▶ scans (query::scan) ─▶ batches ─▶ JSON, CSV, Arrow, Parquet, table
//! ```
//! Queries run on threads of their own, with bounds on memory, disk space and time, so that they do not delay
//! uploads and downloads. Queries only read: a statement that would change or set anything is refused. Only
//! this package knows DataFusion.

mod cancel;
mod catalog;
mod changes;
mod checksums;
mod complexity;
mod condition;
mod dialect;
mod encode;
mod engine;
mod error;
mod exec;
mod format;
mod functions;
mod information;
mod key_range;
mod list;
mod output_limit;
mod prune;
mod session;
pub mod settings;
mod slots;
mod source;
mod system_tables;
mod table;
mod tagged;
mod tags;
mod unsupported;

pub use complexity::{LINKS_MAX, TEXT_BYTES_MAX};
pub use datafusion::arrow;
pub use datafusion::common::ScalarValue;
pub use dialect::SqlStatement;
pub use encode::RowSink;
pub use engine::{QueryCounters, QueryRequest, QueryRows, ReadOffsets, SqlEngine, SqlOptions};
pub use error::{QueryRefusal, SqlError, TextPosition};
pub use format::{OutputFormat, ResultWriter, RowEncoder};
pub use session::StatementDescription;
pub use source::{FreshPartitions, PartitionView, Principal, StoreSource};
