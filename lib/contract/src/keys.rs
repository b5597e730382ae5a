//! The keys that a contract may hold: Open Data Contract Standard 3.1's, and our own settings in `customProperties`.
//!
//! Both the parser (`shape.rs`) and the JSON Schema (`schema.rs`) are driven by these tables, so they cannot differ.
//! Source: <https://github.com/bitol-io/open-data-contract-standard>, `schema/odcs-json-schema-v3.1.0.json`.

/// A kind of map in the document.
pub(crate) struct Definition {
    /// Its name in the JSON Schema.
    pub(crate) name: &'static str,
    /// What messages call it.
    pub(crate) called: &'static str,
    pub(crate) keys: &'static [Key],
}

/// A key of a map, or a setting of ours.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    pub(crate) about: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// Part of the standard that we do not act upon.
    Any,
    Text,
    Boolean,
    Number,
    /// An integer of at least this.
    Integer(i64),
    /// A number from 0 to 1.
    Ratio,
    /// Text or a number.
    TextOrNumber,
    /// Text, a number or a boolean.
    Scalar,
    /// A boolean or a number.
    BooleanOrNumber,
    Choice(&'static [&'static str]),
    TextOrTexts,
    Texts,
    Scalars,
    /// Exactly two numbers, the smaller first.
    Range,
    /// Free keys, each with a scalar.
    ScalarMap,
    Map(&'static Definition),
    Maps(&'static Definition),
}

const fn key(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: false, about }
}

const fn required(name: &'static str, shape: Shape, about: &'static str) -> Key {
    Key { name, shape, required: true, about }
}

/// What is said about a key that is only read.
pub(crate) const IGNORED: &str = "Read by other tools; etl does not act upon it.";

const fn ignored(name: &'static str) -> Key {
    key(name, Shape::Any, IGNORED)
}

pub(crate) static DOCUMENT: Definition = Definition {
    name: "DataContract",
    called: "the document",
    keys: &[
        required("apiVersion", Shape::Text, "Version of the standard: v3.0.x or v3.1.x."),
        required("kind", Shape::Choice(&["DataContract"]), "Always DataContract."),
        required("id", Shape::Text, "Name of the contract, unique among yours."),
        required("version", Shape::Text, "Version of the contract, semantic: 1.0.0."),
        required("status", Shape::Text, "proposed, draft, active, deprecated or retired."),
        key("name", Shape::Text, "Name of the contract for people."),
        key(
            "description",
            Shape::Map(&DESCRIPTION),
            "What the data is for. `purpose` becomes the table's comment unless the schema object has a description.",
        ),
        required("schema", Shape::Maps(&SCHEMA_OBJECT), "The tables."),
        key("customProperties", Shape::Maps(&TABLE_PROPERTY), "Settings for every table of the document."),
        ignored("tenant"),
        ignored("tags"),
        ignored("servers"),
        ignored("dataProduct"),
        ignored("domain"),
        ignored("support"),
        ignored("price"),
        ignored("team"),
        ignored("roles"),
        ignored("slaDefaultElement"),
        ignored("slaProperties"),
        ignored("authoritativeDefinitions"),
        ignored("contractCreatedTs"),
    ],
};

static DESCRIPTION: Definition = Definition {
    name: "Description",
    called: "the description",
    keys: &[
        key("purpose", Shape::Text, "What the data is for."),
        key("usage", Shape::Text, IGNORED),
        key("limitations", Shape::Text, IGNORED),
        ignored("authoritativeDefinitions"),
        ignored("customProperties"),
    ],
};

static SCHEMA_OBJECT: Definition = Definition {
    name: "SchemaObject",
    called: "the schema object",
    keys: &[
        required("name", Shape::Text, "Name of the table in this document."),
        key("physicalName", Shape::Text, "Name of the table in the catalog: namespace.table."),
        key("description", Shape::Text, "Becomes the table's comment."),
        key("logicalType", Shape::Choice(&["object"]), "Always object."),
        key("properties", Shape::Maps(&PROPERTY), "The columns; a table needs at least one."),
        key("quality", Shape::Maps(&QUALITY), "Rules about a row or about the rows of a run."),
        key("customProperties", Shape::Maps(&TABLE_PROPERTY), "Settings of this table."),
        ignored("id"),
        ignored("physicalType"),
        ignored("businessName"),
        ignored("authoritativeDefinitions"),
        ignored("tags"),
        ignored("dataGranularityDescription"),
        ignored("relationships"),
    ],
};

pub(crate) const LOGICAL_TYPES: &[&str] =
    &["string", "integer", "number", "boolean", "date", "timestamp", "time", "object", "array"];

macro_rules! property_keys {
    ($($name_key:expr)?) => {
        &[
            $($name_key,)?
            key("physicalName", Shape::Text, "Name of the column in the table, where it differs from `name`."),
            key("description", Shape::Text, "Becomes the column's comment."),
            key("logicalType", Shape::Choice(LOGICAL_TYPES), "The standard's type. Without a physicalType: string → string, integer → long (format i32 → int), number → double (format f32 → float), timestamp → timestamptz (timezone: false → timestamp)."),
            key("physicalType", Shape::Text, "Iceberg's type: boolean, int, long, float, double, decimal(p,s), date, time, timestamp, timestamptz, string, uuid, fixed(n), binary, struct<a:int,b:string>, list<t>, map<k,v>."),
            key("logicalTypeOptions", Shape::Map(&TYPE_OPTIONS), "Constraints on the values."),
            key("required", Shape::Boolean, "NULL makes the row invalid."),
            key("primaryKey", Shape::Boolean, "Part of the key that duplicates share."),
            key("primaryKeyPosition", Shape::Integer(-1), "Place in the key, from 1; -1 is none."),
            key("partitioned", Shape::Boolean, "The table is partitioned by this column."),
            key("partitionKeyPosition", Shape::Integer(-1), "Place among the partition columns, from 1; -1 is none."),
            key("properties", Shape::Maps(&PROPERTY), "Fields of an object."),
            key("items", Shape::Map(&ITEM), "Elements of an array."),
            key("quality", Shape::Maps(&QUALITY), "Rules about the column."),
            key("customProperties", Shape::Maps(&COLUMN_PROPERTY), "Settings of the column."),
            ignored("id"),
            ignored("businessName"),
            ignored("authoritativeDefinitions"),
            ignored("tags"),
            ignored("unique"),
            ignored("classification"),
            ignored("encryptedName"),
            ignored("transformSourceObjects"),
            ignored("transformLogic"),
            ignored("transformDescription"),
            ignored("examples"),
            ignored("criticalDataElement"),
            ignored("relationships"),
        ]
    };
}

static PROPERTY: Definition = Definition {
    name: "SchemaProperty",
    called: "the column",
    keys: property_keys!(required("name", Shape::Text, "Name of the column.")),
};

static ITEM: Definition = Definition {
    name: "SchemaItemProperty",
    called: "the list's items",
    keys: property_keys!(key("name", Shape::Text, IGNORED)),
};

static TYPE_OPTIONS: Definition = Definition {
    name: "LogicalTypeOptions",
    called: "logicalTypeOptions",
    keys: &[
        key("minimum", Shape::TextOrNumber, "At least this: a number, or for dates and times ISO 8601 text."),
        key("maximum", Shape::TextOrNumber, "At most this."),
        key("exclusiveMinimum", Shape::TextOrNumber, "More than this."),
        key("exclusiveMaximum", Shape::TextOrNumber, "Less than this."),
        key("minLength", Shape::Integer(0), "Shortest length of a string in characters."),
        key("maxLength", Shape::Integer(0), "Longest length of a string in characters."),
        key("pattern", Shape::Text, "Regular expression found somewhere in a string; anchor it with ^…$."),
        key(
            "format",
            Shape::Text,
            "Of integers i8 … i64, of numbers f32 or f64: chooses the type where there is no physicalType. Of other types not enforced.",
        ),
        key("timezone", Shape::Boolean, "false: a timestamp without a zone."),
        key("defaultTimezone", Shape::Text, "Only UTC."),
        key("required", Shape::Texts, "Fields of an object that must not be NULL."),
        key("multipleOf", Shape::Number, "Refused: write a row rule."),
        key("minItems", Shape::Integer(0), "Refused unless 0: write a row rule."),
        key("maxItems", Shape::Integer(0), "Refused: write a row rule."),
        key("uniqueItems", Shape::Boolean, "Refused unless false: write a row rule."),
        key("minProperties", Shape::Integer(0), "Refused unless 0: list the fields in `required`."),
        key("maxProperties", Shape::Integer(0), "Refused: list the fields in `properties`."),
    ],
};

static QUALITY: Definition = Definition {
    name: "DataQuality",
    called: "the quality rule",
    keys: &[
        key("name", Shape::Text, "Name in reports; unique in the table."),
        key(
            "type",
            Shape::Choice(&["library", "sql", "custom", "text"]),
            "sql: `query` gives one number. custom with engine etl: `implementation` is a Boolean SQL expression over one row. library: `metric`. text and other engines are left to other tools.",
        ),
        key(
            "metric",
            Shape::Choice(&["nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount"]),
            "Of library rules. duplicateValues and rowCount are about the whole table and left to other tools.",
        ),
        key("rule", Shape::Text, "Older name of metric."),
        key("arguments", Shape::Map(&ARGUMENTS), "Of library rules."),
        key("query", Shape::Text, "SQL over {object}, the valid rows of a run; {property} is the column."),
        key("engine", Shape::Text, "etl for a row rule; rules of other engines are left to them."),
        key(
            "implementation",
            Shape::Any,
            "Of engine etl: a Boolean SQL expression. A row for which it is not true is invalid (severity error) or counted (warning).",
        ),
        key("severity", Shape::Text, "error (the default), warning or info."),
        key("unit", Shape::Text, "Of library rules: rows (the default) or percent."),
        key("mustBe", Shape::BooleanOrNumber, "Equal to this; true is 1, false is 0."),
        key("mustNotBe", Shape::BooleanOrNumber, "Not equal to this."),
        key("mustBeGreaterThan", Shape::Number, "Greater than this."),
        key("mustBeGreaterOrEqualTo", Shape::Number, "Greater than or equal to this."),
        key("mustBeLessThan", Shape::Number, "Less than this."),
        key("mustBeLessOrEqualTo", Shape::Number, "Less than or equal to this."),
        key("mustBeBetween", Shape::Range, "Between these two, both excluded, as the standard defines it."),
        key("mustNotBeBetween", Shape::Range, "Refused: put the condition into the query."),
        ignored("id"),
        ignored("description"),
        ignored("authoritativeDefinitions"),
        ignored("businessImpact"),
        ignored("customProperties"),
        ignored("dimension"),
        ignored("method"),
        ignored("schedule"),
        ignored("scheduler"),
        ignored("tags"),
    ],
};

static ARGUMENTS: Definition = Definition {
    name: "DataQualityArguments",
    called: "the rule's arguments",
    keys: &[
        key("validValues", Shape::Scalars, "The only values allowed; NULL always is."),
        key("missingValues", Shape::Scalars, "Values that count as missing, beside NULL."),
        key("pattern", Shape::Text, "Regular expression that valid values match."),
        ignored("properties"),
    ],
};

/// The keys of one entry of `customProperties`; which names and values are known differs by where it stands.
const PROPERTY_ENTRY: &[Key] = &[
    required("property", Shape::Text, "Name of the setting. Names without the prefix etl. belong to other tools."),
    required("value", Shape::Any, "Its value."),
    ignored("id"),
    ignored("description"),
];

pub(crate) static TABLE_PROPERTY: Definition =
    Definition { name: "TableCustomProperty", called: "the custom property", keys: PROPERTY_ENTRY };

pub(crate) static COLUMN_PROPERTY: Definition =
    Definition { name: "ColumnCustomProperty", called: "the custom property", keys: PROPERTY_ENTRY };

/// What the names of our own settings start with.
pub(crate) const SETTING_PREFIX: &str = "etl.";

pub(crate) const EVENT_TIME: &str = "etl.eventTime";
pub(crate) const DEDUPE_ORDER_BY: &str = "etl.dedupe.orderBy";
pub(crate) const SORT_ORDER: &str = "etl.sortOrder";
pub(crate) const LATENESS: &str = "etl.lateness";
pub(crate) const NEW_COLUMNS: &str = "etl.newColumns";
pub(crate) const ABSENT_COLUMNS: &str = "etl.absentColumns";
pub(crate) const DELETE: &str = "etl.delete";
pub(crate) const TENANT: &str = "etl.tenant";
pub(crate) const TENANT_CONFLICT: &str = "etl.tenantConflict";
pub(crate) const MERGE_MODE: &str = "etl.mergeMode";
pub(crate) const TARGET_FILE_BYTES: &str = "etl.targetFileBytes";
pub(crate) const MAX_INVALID_RATIO: &str = "etl.maxInvalidRatio";
pub(crate) const MAX_INVALID_ROWS: &str = "etl.maxInvalidRows";
pub(crate) const MIN_ROWS: &str = "etl.minRows";
pub(crate) const FIXED_PER_KEY: &str = "etl.partition.fixedPerKey";
pub(crate) const TABLE_PROPERTIES: &str = "etl.tableProperties";
pub(crate) const TIER_RAW: &str = "etl.tier.raw";
pub(crate) const TIER_CURATED: &str = "etl.tier.curated";
pub(crate) const TIER_ARCHIVED: &str = "etl.tier.archived";
pub(crate) const TIER_HOT: &str = "etl.tier.hot";
pub(crate) const TIER_HOLD: &str = "etl.tier.hold";

pub(crate) const SOURCE: &str = "etl.source";
pub(crate) const EPOCH_UNIT: &str = "etl.epochUnit";
pub(crate) const RENAMED_FROM: &str = "etl.renamedFrom";
pub(crate) const PARTITION_TRANSFORM: &str = "etl.partitionTransform";
pub(crate) const ENUM: &str = "etl.enum";

/// Settings of a table, in the schema object's or the document's `customProperties`.
pub(crate) static TABLE_SETTINGS: &[Key] = &[
    key(
        DEDUPE_ORDER_BY,
        Shape::TextOrTexts,
        "Which of several rows with one key wins: the first in this order. `ingest_time DESC, seq`; rows without a value never win.",
    ),
    key(
        EVENT_TIME,
        Shape::Text,
        "The column that holds when an event happened. Unless given, the first date or timestamp that the table is partitioned by.",
    ),
    key(LATENESS, Shape::Text, "How late an event may arrive: 90s, 15m, 48h, 7d."),
    key(
        TENANT,
        Shape::Text,
        "The column that names the tenant. Unless it is part of the key, no row of one tenant replaces a row of another.",
    ),
    key(
        TENANT_CONFLICT,
        Shape::Choice(&["refuse", "move"]),
        "What becomes of rows of two tenants with one key: they break the rule tenant.conflict (the default), or the key goes to the tenant of the row that wins.",
    ),
    key(DELETE, Shape::Text, "Rows that mean that their key is gone: `op = 'D'` or `op IN ('D', 'X')`."),
    key(
        NEW_COLUMNS,
        Shape::Choice(&["evolve", "freeze", "discard"]),
        "What to do with raw columns that the contract does not know: add them, fail the run, or leave them out (the default).",
    ),
    key(
        ABSENT_COLUMNS,
        Shape::Choice(&["keep", "set-null"]),
        "What becomes of the table's value in a column that a raw file lacks when one of its rows replaces the table's: it stays (the default), or becomes NULL. Unless said, a run is refused when no file ever had a column that etl.source names.",
    ),
    key(MAX_INVALID_RATIO, Shape::Ratio, "The run fails when a larger share of its rows is invalid: 0 to 1."),
    key(MAX_INVALID_ROWS, Shape::Integer(0), "The run fails when more rows than this are invalid."),
    key(MIN_ROWS, Shape::Integer(0), "The run fails when its interval brings fewer rows than this."),
    key(
        FIXED_PER_KEY,
        Shape::Boolean,
        "true: the partition columns never change for a key, so that a match is looked for in the row's own partition only.",
    ),
    key(
        SORT_ORDER,
        Shape::TextOrTexts,
        "How rows are sorted inside a file: `device_id, event_time DESC`. NULLs come first ascending and last descending unless said.",
    ),
    key(
        MERGE_MODE,
        Shape::Choice(&["auto", "copy-on-write", "merge-on-read"]),
        "How a merge changes files; auto decides by the share of each file that is touched.",
    ),
    key(TARGET_FILE_BYTES, Shape::TextOrNumber, "Size that data files aim for: 128MiB, 512MB or a number of bytes."),
    key(TABLE_PROPERTIES, Shape::ScalarMap, "Iceberg table properties to set when the table is created."),
    key(
        TIER_RAW,
        Shape::ScalarMap,
        "Storage classes of raw files by age since they arrived: {30d: STANDARD_IA, 90d: GLACIER}. Classes: STANDARD_IA, GLACIER_IR, GLACIER, DEEP_ARCHIVE.",
    ),
    key(
        TIER_CURATED,
        Shape::ScalarMap,
        "Storage classes of curated files by age of their youngest event: {180d: STANDARD_IA}. GLACIER and DEEP_ARCHIVE need etl.tier.archived.",
    ),
    key(
        TIER_ARCHIVED,
        Shape::Boolean,
        "true: readers expect archived partitions of the table; queries of them fail until etl tier restore.",
    ),
    key(TIER_HOT, Shape::Text, "How long everything can be read without a restore, whatever the rules say: 180d."),
    key(
        TIER_HOLD,
        Shape::TextOrTexts,
        "Days that a backfill or an audit is going to read, and that are not archived: 2025-01-01/2025-04-01, the second day excluded.",
    ),
];

/// Settings of a column, in its `customProperties`.
pub(crate) static COLUMN_SETTINGS: &[Key] = &[
    key(SOURCE, Shape::Text, "Name of the raw column that fills this one, where it differs."),
    key(
        EPOCH_UNIT,
        Shape::Choice(&["s", "ms", "us", "ns"]),
        "What a raw number counts since 1970-01-01T00:00:00Z when the column is a timestamp. Seconds unless given.",
    ),
    key(
        RENAMED_FROM,
        Shape::TextOrTexts,
        "Earlier names of the column: a table column of such a name is renamed and keeps its data, and raw files may still have the column under it.",
    ),
    key(
        PARTITION_TRANSFORM,
        Shape::TextOrTexts,
        "How the table is partitioned by the column: identity, year, month, day, hour, bucket(16), truncate(4), or a list of them.",
    ),
    key(ENUM, Shape::Scalars, "The only values allowed; NULL always is."),
];
