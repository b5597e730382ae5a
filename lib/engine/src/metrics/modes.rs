//! How much of a column's metrics a table wants: <https://iceberg.apache.org/docs/latest/configuration/#write-properties>.

use std::collections::HashMap;

use lake::spec::{Schema, StructType, Type};

/// How much is kept of one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsMode {
    /// Its size.
    None,
    /// Counts of values, NULL and NaN too.
    Counts,
    /// Bounds too, of strings (in code points) and binaries (in bytes) cut to this length.
    Truncate(usize),
    /// Bounds too, of any length that the file has. Ours cut theirs to 64 bytes.
    Full,
}

impl MetricsMode {
    /// Length that bounds of strings and binaries are cut to; `None` when no bounds are kept.
    pub(super) fn bound_length_max(self) -> Option<usize> {
        match self {
            Self::None | Self::Counts => None,
            Self::Truncate(length) => Some(length),
            Self::Full => Some(usize::MAX),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        match text.as_str() {
            "none" => Some(Self::None),
            "counts" => Some(Self::Counts),
            "full" => Some(Self::Full),
            other => {
                let length = other.strip_prefix("truncate(")?.strip_suffix(')')?.trim().parse().ok()?;
                (length > 0).then_some(Self::Truncate(length))
            }
        }
    }

    fn at_least(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, _) | (_, Self::Full) => Self::Full,
            (Self::Truncate(a), Self::Truncate(b)) => Self::Truncate(a.max(b)),
            (Self::Truncate(length), _) | (_, Self::Truncate(length)) => Self::Truncate(length),
            (Self::Counts, _) | (_, Self::Counts) => Self::Counts,
            (Self::None, Self::None) => Self::None,
        }
    }
}

const DEFAULT: &str = "write.metadata.metrics.default";
const COLUMN_PREFIX: &str = "write.metadata.metrics.column.";
const COLUMNS_MAX: &str = "write.metadata.metrics.max-inferred-column-defaults";
/// Device ids differ behind their sixteenth character: shorter bounds of a key prune little.
const KEY: MetricsMode = MetricsMode::Truncate(64);

/// The mode of every column of a table.
#[derive(Debug, Clone, Default)]
pub struct MetricsModes {
    by_id: HashMap<i32, MetricsMode>,
}

impl MetricsModes {
    /// Modes by the table's properties, and at least `truncate(64)` for the fields `key_ids`.
    ///
    /// The default is `truncate(16)`; unless a property says so, only the first 100 columns have it, counted through
    /// structs. A property that cannot be read counts as absent.
    pub fn new(schema: &Schema, properties: &HashMap<String, String>, key_ids: &[i32]) -> Self {
        let mut leaves = Vec::new();
        collect_leaves(schema.as_struct(), &mut leaves);
        let declared = properties.get(DEFAULT).and_then(|text| MetricsMode::parse(text));
        let columns_max = properties.get(COLUMNS_MAX).and_then(|text| text.parse().ok()).unwrap_or(100);
        let modes = leaves.into_iter().enumerate().map(|(index, id)| {
            let of_column = schema
                .name_by_field_id(id)
                .and_then(|name| properties.get(&format!("{COLUMN_PREFIX}{name}")))
                .and_then(|text| MetricsMode::parse(text));
            let inferred = if index < columns_max { MetricsMode::Truncate(16) } else { MetricsMode::None };
            let mode = of_column.or(declared).unwrap_or(inferred);
            (id, if key_ids.contains(&id) { mode.at_least(KEY) } else { mode })
        });
        Self { by_id: modes.collect() }
    }

    /// Every field in full.
    pub fn full(schema: &Schema) -> Self {
        let mut leaves = Vec::new();
        collect_leaves(schema.as_struct(), &mut leaves);
        Self { by_id: leaves.into_iter().map(|id| (id, MetricsMode::Full)).collect() }
    }

    /// The mode of a field; none for one that is no column.
    pub fn of(&self, field_id: i32) -> MetricsMode {
        self.by_id.get(&field_id).copied().unwrap_or(MetricsMode::None)
    }
}

fn collect_leaves(fields: &StructType, leaves: &mut Vec<i32>) {
    for field in fields.fields() {
        match field.field_type.as_ref() {
            Type::Primitive(_) => leaves.push(field.id),
            Type::Struct(below) => collect_leaves(below, leaves),
            Type::List(_) | Type::Map(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lake::spec::{NestedField, PrimitiveType};

    #[test]
    fn properties_decide_and_keys_get_more() {
        let fields = (1..=102)
            .map(|id| NestedField::optional(id, format!("c{id}"), Type::Primitive(PrimitiveType::String)).into());
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let modes = MetricsModes::new(&schema, &HashMap::new(), &[2, 102]);
        assert_eq!(modes.of(1), MetricsMode::Truncate(16));
        assert_eq!((modes.of(2), modes.of(102)), (KEY, KEY));
        assert_eq!((modes.of(100), modes.of(101)), (MetricsMode::Truncate(16), MetricsMode::None));
        assert_eq!(modes.of(999), MetricsMode::None);

        let properties = HashMap::from([
            (DEFAULT.to_owned(), "counts".to_owned()),
            (format!("{COLUMN_PREFIX}c3"), "Full".to_owned()),
            (format!("{COLUMN_PREFIX}c4"), "truncate(8)".to_owned()),
            (format!("{COLUMN_PREFIX}c5"), "truncate(x)".to_owned()),
        ]);
        let modes = MetricsModes::new(&schema, &properties, &[4]);
        assert_eq!((modes.of(3), modes.of(4), modes.of(5)), (MetricsMode::Full, KEY, MetricsMode::Counts));
        assert_eq!(modes.of(101), MetricsMode::Counts);
    }
}
