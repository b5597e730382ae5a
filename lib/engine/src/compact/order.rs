//! By what rows are sorted: the table's sort order, terms, or a Z-order curve.

use arrow::{
    array::{ArrayRef, RecordBatch},
    compute::SortOptions,
    datatypes::{DataType, Field},
};
use contract::{Direction, Nulls};
use lake::{
    DataFileEntry, Table,
    spec::{NullOrder, Schema, SortDirection, Transform},
};
use plan::compact::Arrange;

use super::z_order::ZOrder;
use crate::{
    Error, Result, arrow_schema,
    partition::{column_at, field_path},
    transform::transform_array,
};

/// By what rows are sorted.
#[derive(Debug, Clone)]
pub(super) struct Order(Vec<Key>);

#[derive(Debug, Clone)]
enum Key {
    Term(Term),
    Curve(ZOrder),
}

#[derive(Debug, Clone)]
struct Term {
    path: Vec<usize>,
    transform: Transform,
    options: SortOptions,
}

impl Key {
    /// The table's columns that it is made of, by their places.
    fn roots(&mut self) -> Vec<&mut usize> {
        match self {
            Self::Term(term) => term.path.first_mut().into_iter().collect(),
            Self::Curve(curve) => curve.roots().collect(),
        }
    }
}

impl Order {
    /// The order of a group's rows; `None` where they stay as they come. Fails for columns that cannot be sorted by.
    pub(super) fn of(arrange: &Arrange, table: &Table, files: &[DataFileEntry]) -> Result<Option<Self>> {
        let schema = table.metadata.current_schema();
        let keys = match arrange {
            Arrange::Pack => return Ok(None),
            Arrange::TableOrder { .. } => table_order(table)?,
            Arrange::Sort { terms } => terms_order(schema, terms)?,
            Arrange::ZOrder { columns } => vec![Key::Curve(ZOrder::new(schema, columns, files)?)],
        };
        Ok(Some(Self(keys)))
    }

    /// Columns that rows are sorted by, the first first.
    pub(super) fn columns(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let column = |key: &Key| match key {
            Key::Term(term) => transform_array(term.transform, &column_at(batch, &term.path)?),
            Key::Curve(curve) => curve.column(batch),
        };
        self.0.iter().map(column).collect()
    }

    /// The same order for rows that have no columns but those that it looks at, and which these are.
    pub(super) fn alone(&self) -> (Self, Vec<usize>) {
        let mut alone = self.clone();
        let mut roots: Vec<usize> = alone.0.iter_mut().flat_map(Key::roots).map(|root| *root).collect();
        roots.sort_unstable();
        roots.dedup();
        let place = |root: usize| roots.iter().position(|of| *of == root).unwrap_or(root);
        alone.0.iter_mut().flat_map(Key::roots).for_each(|root| *root = place(*root));
        (alone, roots)
    }

    /// How each of these columns is sorted.
    pub(super) fn options(&self) -> impl Iterator<Item = SortOptions> {
        self.0.iter().map(|key| match key {
            Key::Term(term) => term.options,
            Key::Curve(_) => SortOptions::default(),
        })
    }

    /// The types of these columns, for a table of this schema.
    pub(super) fn fields(&self, schema: &Schema) -> Result<Vec<Field>> {
        let columns = self.columns(&RecordBatch::new_empty(arrow_schema(schema)?))?;
        let field = |(index, column): (usize, &ArrayRef)| {
            let data_type: DataType = column.data_type().clone();
            Field::new(format!("_etl_sort_{index}"), data_type, true)
        };
        Ok(columns.iter().enumerate().map(field).collect())
    }
}

/// Fails for an order that rows of the table cannot be sorted by. Looks at nothing but metadata.
pub fn check_order(arrange: &Arrange, table: &Table) -> Result<()> {
    let order = Order::of(arrange, table, &[])?;
    order.map_or(Ok(()), |order| order.fields(table.metadata.current_schema()).map(drop))
}

fn table_order(table: &Table) -> Result<Vec<Key>> {
    let schema = table.metadata.current_schema();
    let order = table.metadata.default_sort_order();
    let key = |field: &lake::spec::SortField| {
        let subject = || format!("sort order {}", order.order_id);
        let (path, _) = field_path(schema.as_struct(), field.source_id).ok_or_else(|| Error::Unsupported {
            subject: subject(),
            reason: format!("field {} is no column", field.source_id),
        })?;
        let options = SortOptions {
            descending: field.direction == SortDirection::Descending,
            nulls_first: field.null_order == NullOrder::First,
        };
        Ok(Key::Term(Term { path, transform: field.transform, options }))
    };
    order.fields.iter().map(key).collect()
}

fn terms_order(schema: &Schema, text: &str) -> Result<Vec<Key>> {
    let unsupported = |reason: String| Error::Unsupported { subject: format!("the order {text:?}"), reason };
    let terms = contract::parse_order(text).map_err(unsupported)?;
    let key = |term: contract::OrderTerm| {
        let path = primitive(schema, &term.column).map_err(unsupported)?;
        let options = SortOptions {
            descending: term.direction == Direction::Descending,
            nulls_first: term.nulls == Nulls::First,
        };
        Ok(Key::Term(Term { path, transform: Transform::Identity, options }))
    };
    terms.into_iter().map(key).collect()
}

/// The path of a column with one value per row; `Err` says what is wrong with it.
pub(super) fn primitive(schema: &Schema, column: &str) -> std::result::Result<Vec<usize>, String> {
    let missing = || format!("the table has no column {column}");
    let id = schema.field_id_by_name(column).ok_or_else(missing)?;
    match field_path(schema.as_struct(), id) {
        Some((path, found)) if found.is_primitive() => Ok(path),
        _ => Err(format!("column {column} has no single value per row")),
    }
}
