//! The engine: reads Parquet, judges rows, finds winners and matches, and writes the files of a change.
//!
//! Owns everything that touches a batch. Refuses to know catalogs and the commit: what it makes is staged files and a
//! description of them.

pub mod compact;
mod curated;
pub mod dedupe;
mod error;
mod keys;
pub mod merge;
mod metrics;
pub mod observe;
mod parquet_file;
mod partition;
pub mod raw;
mod rules;
mod session;
mod sql;
mod stop;
mod tasks;
mod transform;
mod types;
mod writer;

pub use curated::{
    CuratedTable, DUPLICATE_KEYS_MAX, DuplicateKey, FILE_COLUMN, FILES_MAX, PlannedQuery, ROW_COLUMN, RowOptions,
    TableReader, check_keys, plan_query, query, shown_tables, sql_error,
};
pub use error::{Error, Result};
pub use metrics::{FileMetrics, MetricsMode, MetricsModes, file_metrics};
pub use parquet_file::{ParquetFile, ROW_NUMBER, ReadOptions};
pub use partition::{Partitioned, Partitioner};
pub use rules::faults as rule_faults;
pub use session::{Session, SessionOptions};
pub use stop::Stop;
pub use tasks::bug;
pub use transform::transform_array;
pub use types::{arrow_schema, arrow_type, field_id, iceberg_type};
pub use writer::{
    DeleteFileName, FileName, FileSettings, PositionDeleteOptions, PositionDeletes, TableWriter, TableWriterOptions,
    check_settings, write_position_deletes,
};
