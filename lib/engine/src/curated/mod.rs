//! Reading Iceberg tables: which files, which rows of them are alive, and what their columns are called today.
//!
//! Owns how a data file's rows become rows of the table. Refuses to change anything, and to know the catalog.

mod check_keys;
mod delete_plan;
mod deletes;
mod key_set;
mod mapping;
mod names;
mod partition_bounds;
pub(crate) mod prune;
mod query;
mod reader;
mod row_groups;
mod scan;
mod show;
mod slices;
mod table;
mod uuid_text;
pub(crate) mod values;

#[cfg(test)]
pub(crate) mod tests;

pub use check_keys::{DUPLICATE_KEYS_MAX, DuplicateKey, FILES_MAX, check_keys};
pub(crate) use query::context_of;
pub use query::{PlannedQuery, plan_query, query, sql_error};
pub use reader::{RowOptions, TableReader};
pub use show::shown_tables;
pub use table::{CuratedTable, FILE_COLUMN, ROW_COLUMN};
