//! Table contracts: Open Data Contract Standard documents, parsed once into types.
//!
//! Owns what a table is promised to look like and how its rows are judged. Refuses to know files, catalogs,
//! engines and clocks: a contract is text in, types out.

mod column;
mod constraints;
mod digest;
mod document;
mod duration;
mod error;
mod keys;
mod literal;
mod model;
mod name;
mod order;
mod partition;
mod paths;
mod problem;
mod quality;
mod raw_names;
mod render;
mod schema;
mod settings;
mod shape;
mod tier;
mod types;
mod writer;
mod yaml;

pub use duration::{DurationError, parse_bytes};
pub use error::{Error, Result};
pub use model::{
    AbsentColumns, Check, CheckScope, Column, Constraint, Contract, DeleteMarker, Direction, Duration, EpochUnit,
    Literal, MergeMode, NewColumns, Nulls, OrderTerm, PartitionField, PrimitiveType, Severity, TenantConflict,
    Thresholds, Transform, Type,
};
pub use name::TableName;
pub use order::parse_order;
pub use partition::TransformError;
pub use problem::Place;
pub use raw_names::{Filled, Spelling};
pub use render::render;
pub use schema::json_schema;
pub use tier::{ColdClass, ColdClassError, Hold, TierRule, Tiering};
