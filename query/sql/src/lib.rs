//! SQL over what a store knows of its objects, as it stands when a query begins.
//!
//! ```text
//!   who asks ─▶ snapshots ─┐
//!   text ─▶ DataFusion's planner ─▶ scans (query::scan) ─▶ batches ─▶ JSON, CSV, Arrow, Parquet, table
//! ```
//! Queries run on threads of their own with a memory limit and a deadline, so that they cannot starve
//! uploads and downloads. They only read: whatever would change or set something is refused. Only this
//! package knows DataFusion.

mod alive;
mod bounded;
mod bounds;
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
mod facts;
mod format;
mod functions;
mod information;
mod list;
mod places;
mod prune;
mod session;
pub mod settings;
mod source;
mod table;
mod tagged;
mod tags;
mod words;

pub use complexity::{LINKS_MAX, TEXT_BYTES_MAX};
pub use datafusion::arrow;
pub use datafusion::common::ScalarValue;
pub use dialect::Statement;
pub use encode::Encode;
pub use engine::{Counters, Engine, Options, Question, ReadAt, Rows};
pub use error::{Position, Refusal, SqlError};
pub use format::{Encoder, Format, Writer};
pub use session::Description;
pub use source::{Asker, Fresh, Seen, Source};
