//! The types that a contract is parsed into. They are plain data: every rule about them is checked by the parser, so
//! that the rest of the workspace never looks at a string twice.

use serde::{Deserialize, Serialize};

use crate::{TableName, Tiering};

/// One table's contract.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contract {
    /// The document's `id`.
    pub id: String,
    /// The document's `version`, semantic.
    pub version: String,
    /// The table that the contract describes (`physicalName`).
    pub table: TableName,
    /// One sentence or more for people; becomes the table's comment.
    pub description: Option<String>,
    /// In the order of the document. Never empty; names differ also when case is ignored.
    pub columns: Vec<Column>,
    /// Names of the key columns, top level, in `primaryKeyPosition` order. Empty for an append-only table.
    pub key: Vec<String>,
    /// The column that holds when an event happened: timestamp, timestamptz or date. The first time-partitioned
    /// column unless `etl.eventTime` names another.
    pub event_time: Option<String>,
    /// In `partitionKeyPosition` order.
    pub partition: Vec<PartitionField>,
    /// The partition columns never change for a key (`etl.partition.fixedPerKey: true`), so that a match is looked
    /// for in the row's own partition only. Always true when every partition source column is part of the key.
    pub partition_fixed_per_key: bool,
    /// How rows are sorted inside a file (`etl.sortOrder`).
    pub sort_order: Vec<OrderTerm>,
    /// Which of several rows with one key wins: the first in this order (`etl.dedupe.orderBy`), then source file and
    /// row number.
    pub winner_order: Vec<OrderTerm>,
    /// Quality checks in SQL, over a row or over the batch.
    pub checks: Vec<Check>,
    /// When a run fails its gate.
    pub thresholds: Thresholds,
    /// What to do with a column that raw files have and the contract does not (`etl.newColumns`).
    pub new_columns: NewColumns,
    /// What becomes of the table's values in a column that a raw file lacks (`etl.absentColumns`). `None` where the
    /// contract does not say: they stay, and an `etl.source` that no file ever had is refused.
    pub absent_columns: Option<AbsentColumns>,
    /// Rows that mean "this key is gone" (`etl.delete`).
    pub delete_marker: Option<DeleteMarker>,
    /// How late an event may arrive (`etl.lateness`): the window in which deletions are remembered and `--pending`
    /// looks again.
    pub lateness: Option<Duration>,
    /// The column that names the tenant (`etl.tenant`).
    pub tenant: Option<String>,
    /// What becomes of a key that rows of two tenants have (`etl.tenantConflict`).
    pub tenant_conflict: TenantConflict,
    /// How a merge changes files (`etl.mergeMode`).
    pub merge_mode: MergeMode,
    /// Size that data files aim for (`etl.targetFileBytes`), in bytes. 128 MiB unless said.
    pub target_file_bytes: u64,
    /// Table properties to set at creation (`etl.tableProperties`), as Iceberg names them.
    pub table_properties: Vec<(String, String)>,
    /// Storage classes that its objects may go to (`etl.tier.…`).
    pub tiering: Tiering,
}

impl Contract {
    /// The column of that name, compared exactly.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }
}

/// A column, or a field of a struct.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name in the table (`physicalName` where given, else `name`).
    pub name: String,
    /// Name of the raw column that fills it when it differs (`etl.source`).
    pub source: Option<String>,
    /// What an integer or floating-point raw value counts since 1970-01-01T00:00:00Z when the column is a timestamp
    /// (`etl.epochUnit`).
    pub epoch_unit: EpochUnit,
    /// Earlier names (`etl.renamedFrom`): a table column of one of these names is renamed, its field id kept.
    pub renamed_from: Vec<String>,
    /// Its type.
    pub column_type: Type,
    /// NULL makes the row invalid.
    pub required: bool,
    /// For people; becomes the Iceberg field's doc.
    pub description: Option<String>,
    /// What a value must satisfy beside its type. NULL satisfies all of them.
    pub constraints: Vec<Constraint>,
}

/// What a number that stands for an instant counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EpochUnit {
    /// `s`, what unless said is meant.
    #[default]
    Seconds,
    /// `ms`.
    Milliseconds,
    /// `us`.
    Microseconds,
    /// `ns`.
    Nanoseconds,
}

impl EpochUnit {
    /// How many microseconds one unit has; a nanosecond counts as one and is divided by the reader.
    pub fn micros(self) -> i64 {
        match self {
            Self::Seconds => 1_000_000,
            Self::Milliseconds => 1_000,
            Self::Microseconds | Self::Nanoseconds => 1,
        }
    }
}

/// A column's type: Iceberg format version 2's types.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Type {
    /// A single value.
    Primitive(PrimitiveType),
    /// Named fields.
    Struct(Vec<Column>),
    /// A list of elements of one type.
    List {
        /// The type of an element.
        element: Box<Type>,
        /// No element may be NULL.
        element_required: bool,
    },
    /// Keys to values.
    Map {
        /// The type of a key; keys are never NULL.
        key: Box<Type>,
        /// The type of a value.
        value: Box<Type>,
        /// No value may be NULL.
        value_required: bool,
    },
}

/// Iceberg's primitive types (<https://iceberg.apache.org/spec/#primitive-types>), format version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PrimitiveType {
    /// True or false.
    Boolean,
    /// 32-bit signed.
    Int,
    /// 64-bit signed.
    Long,
    /// 32-bit IEEE 754.
    Float,
    /// 64-bit IEEE 754.
    Double,
    /// Fixed-point decimal.
    Decimal {
        /// Total digits, 1 to 38.
        precision: u8,
        /// Digits after the point, at most `precision`.
        scale: u8,
    },
    /// Calendar date.
    Date,
    /// Time of day in microseconds.
    Time,
    /// Microseconds without a zone.
    Timestamp,
    /// Microseconds, an instant.
    TimestampTz,
    /// UTF-8.
    String,
    /// 16 bytes.
    Uuid,
    /// Bytes of one length.
    Fixed(u32),
    /// Bytes.
    Binary,
}

/// A literal in a contract, parsed by the type of its column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Literal {
    /// Of boolean columns.
    Boolean(bool),
    /// Of int and long columns; days since 1970-01-01 of dates; microseconds of times and timestamps.
    Integer(i64),
    /// Of float and double columns.
    Float(f64),
    /// Unscaled value of decimals; the scale is the column's.
    Decimal(i128),
    /// Of string and uuid columns.
    String(String),
}

/// What a value must satisfy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Constraint {
    /// At least this. NaN does not satisfy it.
    Minimum(Literal),
    /// At most this. NaN does not satisfy it.
    Maximum(Literal),
    /// More than this.
    ExclusiveMinimum(Literal),
    /// Less than this.
    ExclusiveMaximum(Literal),
    /// A regular expression (Rust `regex` syntax) found somewhere in the value, as in JSON Schema: anchor it with `^…$`.
    Pattern(String),
    /// Shortest length in characters.
    MinLength(u64),
    /// Longest length in characters.
    MaxLength(u64),
    /// One of these.
    OneOf(Vec<Literal>),
}

impl Constraint {
    /// The rule's word in reports and quarantine records, as the contract spells it: `minimum`, `pattern`, …
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Minimum(_) => "minimum",
            Self::Maximum(_) => "maximum",
            Self::ExclusiveMinimum(_) => "exclusiveMinimum",
            Self::ExclusiveMaximum(_) => "exclusiveMaximum",
            Self::Pattern(_) => "pattern",
            Self::MinLength(_) => "minLength",
            Self::MaxLength(_) => "maxLength",
            Self::OneOf(_) => "enum",
        }
    }
}

/// A quality check written in SQL.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Unique in the contract.
    pub name: String,
    /// What the SQL says.
    pub scope: CheckScope,
    /// What a failure means.
    pub severity: Severity,
}

/// What a check looks at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum CheckScope {
    /// A Boolean SQL expression over one row's columns. A row for which it is not true (NULL is) is invalid when the
    /// severity is error, and counted when it is a warning.
    Row {
        /// The expression.
        expression: String,
    },
    /// A query over the valid rows of the batch (`{object}` stands for them) that gives one number.
    Table {
        /// The query.
        query: String,
        /// The number must be at least this.
        at_least: Option<f64>,
        /// The number must be at most this.
        at_most: Option<f64>,
        /// The bounds themselves are excluded (`mustBeGreaterThan`, `mustBeLessThan`).
        exclusive: bool,
        /// `mustNotBe`: the number must not be this.
        not: Option<f64>,
    },
}

/// What a failed check means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Severity {
    /// Said in the report.
    Warning,
    /// Of a row check: the row is invalid. Of a table check: the run fails with exit 3 and commits nothing.
    Error,
}

/// When a run fails its gate (exit 3).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Thresholds {
    /// Largest share of invalid rows among those read, 0 to 1 (`etl.maxInvalidRatio`).
    pub invalid_ratio_max: Option<f64>,
    /// Largest number of invalid rows (`etl.maxInvalidRows`).
    pub invalid_rows_max: Option<u64>,
    /// Fewest rows an interval must bring (`etl.minRows`).
    pub rows_min: Option<u64>,
}

/// What to do with a raw column that the contract does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NewColumns {
    /// Add it to the table as an optional column.
    Evolve,
    /// Fail the run and name it.
    Freeze,
    /// Leave it out, and say so.
    #[default]
    Discard,
}

/// What becomes of rows of two tenants with one key, where the tenant is no part of the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TenantConflict {
    /// They are invalid.
    #[default]
    Refuse,
    /// The key goes to the tenant of the row that wins.
    Move,
}

/// What becomes of the table's value in a row that a raw row replaces, in a column that the raw row's file lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AbsentColumns {
    /// It stays: absence says nothing.
    Keep,
    /// It becomes NULL.
    Null,
}

/// Rows that mean "this key is gone".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeleteMarker {
    /// The column that says so.
    pub column: String,
    /// The values that mean deletion.
    pub values: Vec<Literal>,
}

/// How a merge changes files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MergeMode {
    /// Decided by the share of each file that is touched.
    #[default]
    Auto,
    /// Touched files are written again.
    CopyOnWrite,
    /// Touched rows are marked by position deletes.
    MergeOnRead,
}

/// A span of time in seconds, written `15m`, `48h`, `7d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Duration {
    /// Whole seconds.
    pub seconds: u64,
}

/// One partition field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionField {
    /// The column it is made from, top level.
    pub column: String,
    /// How.
    pub transform: Transform,
}

/// Iceberg's partition transforms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transform {
    /// The value itself.
    Identity,
    /// Years since 1970.
    Year,
    /// Months since 1970-01.
    Month,
    /// Days since 1970-01-01.
    Day,
    /// Hours since 1970-01-01T00.
    Hour,
    /// Murmur3 hash modulo this many.
    Bucket(u32),
    /// The first characters, or the value rounded down to a multiple.
    Truncate(u32),
}

/// One term of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderTerm {
    /// Top-level column.
    pub column: String,
    /// Which way.
    pub direction: Direction,
    /// Where NULL goes.
    pub nulls: Nulls,
}

/// Which way an order runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// Where NULL goes in an order. A winner order always has them last: a row without the order's value never wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Nulls {
    /// Before all values.
    First,
    /// After all values.
    Last,
}
