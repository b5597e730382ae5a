//! What the foreign tables are: where they lie, and the contract that each is merged by.

use crate::merges::Shape;

/// A table, at one of its versions.
pub struct Fixture {
    /// In names of tests.
    pub name: &'static str,
    /// `spark.evolved`.
    pub table: &'static str,
    /// The number in the name of its metadata.json.
    pub version: &'static str,
    /// The contract, with the partitioning that the table has now.
    pub shape: Shape,
    /// The column that says what happened to a row.
    pub note: &'static str,
}

const SPARK_KEY: &[&str] = &["device_id", "event_id"];

/// Columns of most of Spark's tables.
pub const BY_VALUE: &[(&str, &str)] = &[
    ("device_id", "string"),
    ("event_id", "string"),
    ("event_time", "timestamptz"),
    ("reading", "int"),
    ("amount", "decimal(15,6)"),
    ("note", "string"),
    ("flag", "boolean"),
    ("xs", "list<long>"),
    ("st", "struct<a:long,b:string>"),
];

/// The contract knows neither `flag` nor `st`.
const SOME: &[(&str, &str)] = &[
    ("device_id", "string"),
    ("event_id", "string"),
    ("event_time", "timestamptz"),
    ("reading", "int"),
    ("amount", "decimal(15,6)"),
    ("note", "string"),
    ("xs", "list<long>"),
];

/// As the table was evolved, under its last names.
const EVOLVED: &[(&str, &str)] = &[
    ("device_id", "string"),
    ("event_id", "string"),
    ("event_time", "timestamptz"),
    ("reading", "long"),
    ("amount", "decimal(15,6)"),
    ("remark", "string"),
    ("xs", "list<long>"),
    ("st", "struct<a:long,b:string>"),
    ("quality", "double"),
];

const FLINK: &[(&str, &str)] = &[
    ("device_id", "string"),
    ("event_id", "string"),
    ("day_id", "string"),
    ("event_time", "timestamptz"),
    ("temperature", "double"),
    ("note", "string"),
];

/// Each table, some at two versions.
pub const FIXTURES: [Fixture; 7] = [
    Fixture {
        name: "position-deletes",
        table: "spark.position_deletes",
        version: "00003",
        shape: Shape {
            table: "curated.position_deletes",
            columns: SOME,
            key: SPARK_KEY,
            required: &[],
            partition: &[("event_time", "day")],
            order: "reading",
        },
        note: "note",
    },
    Fixture {
        name: "evolved",
        table: "spark.evolved",
        version: "00012",
        shape: Shape {
            table: "curated.evolved",
            columns: EVOLVED,
            key: SPARK_KEY,
            required: &[],
            partition: &[("device_id", "bucket(4)")],
            order: "reading",
        },
        note: "remark",
    },
    // The same when bucket and hour were its partitioning: nearly all its files are of that spec.
    Fixture {
        name: "evolved-by-hour",
        table: "spark.evolved",
        version: "00008",
        shape: Shape {
            table: "curated.evolved_by_hour",
            columns: EVOLVED,
            key: SPARK_KEY,
            required: &[],
            partition: &[("device_id", "bucket(4)"), ("event_time", "hour")],
            order: "reading",
        },
        note: "remark",
    },
    Fixture {
        name: "by-bucket",
        table: "spark.by_bucket",
        version: "00001",
        shape: Shape {
            table: "curated.by_bucket",
            columns: BY_VALUE,
            key: SPARK_KEY,
            required: &[],
            partition: &[("reading", "bucket(8)")],
            order: "reading",
        },
        note: "note",
    },
    Fixture {
        name: "by-month",
        table: "spark.by_month",
        version: "00001",
        shape: Shape {
            table: "curated.by_month",
            columns: SOME,
            key: SPARK_KEY,
            required: &[],
            partition: &[("event_time", "month")],
            order: "reading",
        },
        note: "note",
    },
    Fixture {
        name: "by-truncate",
        table: "spark.by_truncate",
        version: "00001",
        shape: Shape {
            table: "curated.by_truncate",
            columns: BY_VALUE,
            key: SPARK_KEY,
            required: &[],
            partition: &[("event_id", "truncate(3)")],
            order: "reading",
        },
        note: "note",
    },
    Fixture {
        name: "equality-deletes",
        table: "flink.upsert_plain",
        version: "00004",
        shape: Shape {
            table: "curated.upsert_plain",
            columns: FLINK,
            key: &["device_id", "event_id", "day_id"],
            required: &[],
            partition: &[],
            order: "event_time",
        },
        note: "note",
    },
];
