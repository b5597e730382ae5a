//! How the columns of raw files of one schema fill the table's: which raw field each takes, which have none, and what
//! becomes of the table's values in those. Structs are looked into, wherever they lie.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, MapArray, StructArray},
    compute::{is_null, kernels::zip::zip, nullif},
    datatypes::{DataType, Field, FieldRef, Fields, Schema},
    error::ArrowError,
    record_batch::RecordBatch,
};
use contract::{AbsentColumns, Column, Contract, Filled, NewColumns, Spelling, Type};

/// The columns of a table as files of one schema fill them.
#[derive(Debug, PartialEq)]
pub struct Filling {
    /// One for each column of the table.
    slots: Vec<Slot>,
    kept: Vec<usize>,
}

/// What fills a column, or a field of a struct.
#[derive(Debug, Clone, PartialEq)]
enum Slot {
    /// The raw field at this place.
    Raw { place: usize, inner: Inner },
    /// Nothing, which means NULL.
    Null,
    /// Nothing, which says nothing: the table's value stays.
    Keep,
}

/// What fills what is inside of a value.
#[derive(Debug, Clone, PartialEq)]
enum Inner {
    /// Everything that is declared is there, under its own name.
    Whole,
    Struct(Vec<Slot>),
    List(Box<Inner>),
    /// The values of a map.
    Map(Box<Inner>),
}

/// Several raw fields that one column may mean.
#[derive(Debug)]
pub struct AmbiguousColumn {
    /// The struct that it lies in; empty for a column.
    pub parent: String,
    /// The name that was looked for.
    pub name: String,
    /// The fields as the file spells them.
    pub fields: Vec<String>,
}

/// What the contract says of columns, the same for every file.
struct Policy {
    /// The table takes raw columns over that the contract does not name.
    grows: bool,
    absent: Slot,
}

impl Filling {
    /// Matches the columns of a raw schema to the table's.
    pub fn new(raw: &Schema, table: &Schema, contract: &Contract) -> Result<Self, AmbiguousColumn> {
        let absent = match contract.absent_columns {
            Some(AbsentColumns::Null) => Slot::Null,
            Some(AbsentColumns::Keep) | None => Slot::Keep,
        };
        let policy = Policy { grows: contract.new_columns == NewColumns::Evolve, absent };
        let slots = policy.slots(raw.fields(), table.fields(), &contract.columns, "")?;
        let kept = (0..slots.len()).filter(|column| slots[*column].keeps()).collect();
        Ok(Self { slots, kept })
    }

    /// The raw root column that fills a column of the table.
    pub fn root(&self, column: usize) -> Option<usize> {
        match self.slots[column] {
            Slot::Raw { place, .. } => Some(place),
            Slot::Null | Slot::Keep => None,
        }
    }

    /// Whether the files say nothing of a column: neither have it nor mean NULL.
    pub fn lacks(&self, column: usize) -> bool {
        self.slots[column] == Slot::Keep
    }

    /// Columns in which a row that replaces one of the table's takes over values of that one, ascending.
    pub fn kept(&self) -> &[usize] {
        &self.kept
    }

    /// A raw root column with its fields under the table's names, to be converted to `declared`.
    pub fn arranged(&self, column: usize, array: &ArrayRef, declared: &DataType) -> Result<ArrayRef, ArrowError> {
        match &self.slots[column] {
            Slot::Raw { inner, .. } => inner.arranged(array, declared),
            Slot::Null | Slot::Keep => Ok(Arc::clone(array)),
        }
    }

    /// Columns that the files say something of.
    pub fn columns(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|column| !self.lacks(*column)).collect()
    }

    /// What the files say in [`Self::columns`], of a batch that has those in the table's types: without the fields that
    /// they lack.
    pub fn said(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let said = self.columns().into_iter().zip(batch.columns()).map(|(column, array)| match &self.slots[column] {
            Slot::Raw { inner, .. } => inner.said(array),
            Slot::Null | Slot::Keep => Ok(Arc::clone(array)),
        });
        let said = said.collect::<Result<Vec<_>, _>>()?;
        let fields = batch.schema_ref().fields().iter().zip(&said);
        let fields: Vec<Field> =
            fields.map(|(field, array)| Field::new(field.name(), array.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), said)
    }

    /// New values of a column over those that the table has in the same rows, both in the table's type: what the files
    /// lack comes from the table.
    pub fn over(&self, column: usize, new: &ArrayRef, table: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        self.slots[column].over(new, table)
    }
}

impl Policy {
    /// `parent` is empty at the top, else the struct's name and a dot.
    fn slots(
        &self,
        raw: &Fields,
        table: &Fields,
        columns: &[Column],
        parent: &str,
    ) -> Result<Vec<Slot>, AmbiguousColumn> {
        let spelling = if parent.is_empty() { Spelling::AnyCase } else { Spelling::ExactFirst };
        let names: Vec<&str> = raw.iter().map(|field| field.name().as_str()).collect();
        let slot = |field: &FieldRef| {
            let Some(column) = columns.iter().find(|column| column.name == *field.name()) else {
                return self.undeclared(field, &names, parent);
            };
            Ok(match column.filled_by(columns, &names, spelling) {
                Filled::By { place, .. } => {
                    let path = format!("{parent}{}", column.name);
                    let inner = self.inner(raw[place].data_type(), field.data_type(), &column.column_type, &path)?;
                    Slot::Raw { place, inner }
                }
                Filled::Absent => self.absent.clone(),
                Filled::Ambiguous { name, places } => {
                    let fields = places.iter().map(|place| names[*place].to_owned()).collect();
                    let parent = parent.trim_end_matches('.').to_owned();
                    return Err(AmbiguousColumn { parent, name, fields });
                }
            })
        };
        table.iter().map(slot).collect()
    }

    /// A column of the table that the contract does not name gets values only where the contract lets it grow by itself.
    fn undeclared(&self, field: &FieldRef, names: &[&str], parent: &str) -> Result<Slot, AmbiguousColumn> {
        let lower = field.name().to_lowercase();
        let alike: Vec<usize> = (0..names.len()).filter(|place| names[*place].to_lowercase() == lower).collect();
        Ok(match alike.as_slice() {
            [place] if self.grows => Slot::Raw { place: *place, inner: Inner::Whole },
            [_, _, ..] if self.grows => {
                let fields = alike.iter().map(|place| names[*place].to_owned()).collect();
                let parent = parent.trim_end_matches('.').to_owned();
                return Err(AmbiguousColumn { parent, name: field.name().clone(), fields });
            }
            _ => Slot::Keep,
        })
    }

    fn inner(&self, raw: &DataType, table: &DataType, declared: &Type, path: &str) -> Result<Inner, AmbiguousColumn> {
        Ok(match (raw, table, declared) {
            (DataType::Struct(raw), DataType::Struct(table), Type::Struct(columns)) => {
                let slots = self.slots(raw, table, columns, &format!("{path}."))?;
                let mut filled = slots.iter().zip(table);
                let is_whole = filled.all(|(slot, field)| match slot {
                    Slot::Raw { place, inner: Inner::Whole } => raw[*place].name() == field.name(),
                    _ => false,
                });
                if is_whole { Inner::Whole } else { Inner::Struct(slots) }
            }
            (raw, DataType::List(table), Type::List { element, .. }) => match element_of(raw) {
                Some(raw) => Inner::List(Box::new(self.inner(
                    raw.data_type(),
                    table.data_type(),
                    element,
                    &format!("{path}.element"),
                )?))
                .simplified(),
                None => Inner::Whole,
            },
            (DataType::Map(raw, _), DataType::Map(table, _), Type::Map { value, .. }) => {
                match (raw.data_type(), table.data_type()) {
                    (DataType::Struct(raw), DataType::Struct(table)) if raw.len() == 2 && table.len() == 2 => {
                        let path = format!("{path}.value");
                        Inner::Map(Box::new(self.inner(raw[1].data_type(), table[1].data_type(), value, &path)?))
                            .simplified()
                    }
                    _ => Inner::Whole,
                }
            }
            _ => Inner::Whole,
        })
    }
}

fn element_of(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(element)
        | DataType::LargeList(element)
        | DataType::FixedSizeList(element, _)
        | DataType::ListView(element)
        | DataType::LargeListView(element) => Some(element),
        _ => None,
    }
}

impl Slot {
    fn keeps(&self) -> bool {
        match self {
            Self::Raw { inner, .. } => inner.keeps(),
            Self::Null => false,
            Self::Keep => true,
        }
    }

    fn over(&self, new: &ArrayRef, table: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Raw { inner, .. } => inner.over(new, table),
            Self::Null => Ok(Arc::clone(new)),
            Self::Keep => Ok(Arc::clone(table)),
        }
    }
}

impl Inner {
    fn simplified(self) -> Self {
        match self {
            Self::List(inner) | Self::Map(inner) if *inner == Self::Whole => Self::Whole,
            other => other,
        }
    }

    fn keeps(&self) -> bool {
        match self {
            Self::Whole => false,
            Self::Struct(slots) => slots.iter().any(Slot::keeps),
            Self::List(inner) | Self::Map(inner) => inner.keeps(),
        }
    }

    fn arranged(&self, array: &ArrayRef, declared: &DataType) -> Result<ArrayRef, ArrowError> {
        match (self, array.data_type(), declared) {
            (Self::Struct(slots), DataType::Struct(raw), DataType::Struct(declared)) => {
                let source = array.as_struct();
                let mut fields: Vec<FieldRef> = Vec::with_capacity(slots.len());
                let mut children = Vec::with_capacity(slots.len());
                for (slot, field) in slots.iter().zip(declared) {
                    let Slot::Raw { place, inner } = slot else { continue };
                    let child = inner.arranged(source.column(*place), field.data_type())?;
                    let raw = raw[*place].as_ref().clone();
                    fields.push(Arc::new(raw.with_name(field.name()).with_data_type(child.data_type().clone())));
                    children.push(child);
                }
                let nulls = source.nulls().cloned();
                Ok(Arc::new(StructArray::try_new_with_length(fields.into(), children, nulls, source.len())?))
            }
            (Self::List(inner), raw, DataType::List(declared)) => {
                let Some(element) = element_of(raw) else { return Ok(Arc::clone(array)) };
                let list = arrow::compute::cast(array, &DataType::List(Arc::clone(element)))?;
                let list: &ListArray = list.as_list();
                let values = inner.arranged(list.values(), declared.data_type())?;
                with_values(list, values)
            }
            (Self::Map(inner), DataType::Map(..), DataType::Map(declared, _)) => {
                let DataType::Struct(declared) = declared.data_type() else { return Ok(Arc::clone(array)) };
                let map = array.as_map();
                with_map_values(map, inner.arranged(map.values(), declared[1].data_type())?)
            }
            _ => Ok(Arc::clone(array)),
        }
    }

    fn said(&self, array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Whole => Ok(Arc::clone(array)),
            Self::Struct(slots) => {
                let source = array.as_struct();
                let mut fields: Vec<FieldRef> = Vec::with_capacity(slots.len());
                let mut children = Vec::with_capacity(slots.len());
                for ((slot, field), child) in slots.iter().zip(source.fields()).zip(source.columns()) {
                    let child = match slot {
                        Slot::Raw { inner, .. } => inner.said(child)?,
                        Slot::Null => Arc::clone(child),
                        Slot::Keep => continue,
                    };
                    fields.push(Arc::new(Field::new(field.name(), child.data_type().clone(), true)));
                    children.push(child);
                }
                let nulls = source.nulls().cloned();
                Ok(Arc::new(StructArray::try_new_with_length(fields.into(), children, nulls, source.len())?))
            }
            Self::List(inner) => {
                let list: &ListArray = array.as_list();
                with_values(list, inner.said(list.values())?)
            }
            Self::Map(inner) => {
                let map = array.as_map();
                with_map_values(map, inner.said(map.values())?)
            }
        }
    }

    fn over(&self, new: &ArrayRef, table: &ArrayRef) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Whole => Ok(Arc::clone(new)),
            _ if !self.keeps() => Ok(Arc::clone(new)),
            Self::Struct(slots) => {
                let (new, table) = (new.as_struct(), table.as_struct());
                // Where the table has no struct it has no fields either, whatever lies there.
                let hidden = is_null(table)?;
                let children = slots.iter().zip(new.columns().iter().zip(table.columns()));
                let children = children.map(|(slot, (new, table))| match slot.keeps() {
                    true => slot.over(new, &nullif(table, &hidden)?),
                    false => Ok(Arc::clone(new)),
                });
                let children = children.collect::<Result<Vec<_>, _>>()?;
                let fields = new.fields().clone();
                Ok(Arc::new(StructArray::try_new_with_length(fields, children, new.nulls().cloned(), new.len())?))
            }
            // Elements have no identity: a list that says the same as the table's is the table's, any other is new.
            Self::List(_) | Self::Map(_) => {
                let same = same_rows(&self.said(new)?, &self.said(table)?)?;
                zip(&same, table, new)
            }
        }
    }
}

/// Rows in which two arrays have equal values.
fn same_rows(one: &ArrayRef, other: &ArrayRef) -> Result<arrow::array::BooleanArray, ArrowError> {
    let hashes = |array: &ArrayRef| {
        let batch = RecordBatch::try_from_iter_with_nullable([("value", Arc::clone(array), true)])?;
        crate::dedupe::hash_rows(&batch, 0).map_err(|error| ArrowError::ExternalError(Box::new(error)))
    };
    let (one, other) = (hashes(one)?, hashes(other)?);
    Ok(one.iter().zip(&other).map(|(one, other)| Some(one == other)).collect())
}

fn with_values(list: &ListArray, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let DataType::List(element) = list.data_type() else {
        return Err(ArrowError::SchemaError("a list has elements".to_owned()));
    };
    let element = Arc::new(element.as_ref().clone().with_data_type(values.data_type().clone()));
    Ok(Arc::new(ListArray::try_new(element, list.offsets().clone(), values, list.nulls().cloned())?))
}

fn with_map_values(map: &MapArray, values: ArrayRef) -> Result<ArrayRef, ArrowError> {
    let DataType::Map(entry, is_sorted) = map.data_type() else {
        return Err(ArrowError::SchemaError("a map has entries".to_owned()));
    };
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError("the entries of a map are a struct".to_owned()));
    };
    let value = Arc::new(fields[1].as_ref().clone().with_data_type(values.data_type().clone()));
    let fields: Fields = vec![Arc::clone(&fields[0]), value].into();
    let entries = StructArray::try_new(fields, vec![Arc::clone(map.keys()), values], map.entries().nulls().cloned())?;
    let entry = Arc::new(entry.as_ref().clone().with_data_type(entries.data_type().clone()));
    Ok(Arc::new(MapArray::try_new(entry, map.offsets().clone(), entries, map.nulls().cloned(), *is_sorted)?))
}
