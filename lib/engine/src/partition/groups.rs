//! Splits the rows of a batch into groups of equal values, one column after the other.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
        TimestampMicrosecondType,
    },
};
use hashbrown::HashMap;

use crate::{Error, Result};

/// Every row's group, numbered in the order of the groups' first rows.
pub(super) struct Groups {
    of_row: Vec<u32>,
    first_rows: Vec<u32>,
}

/// A group before the split, and the value that splits it. NULL has a group of its own.
type Cell<V> = (u32, Option<V>);

/// Up to so many (group, value) pairs are looked up by position instead of by hash: 256 KiB.
const TABLE_CELLS_MAX: u64 = 1 << 16;
const NO_GROUP: u32 = u32::MAX;

impl Groups {
    /// All rows in one group; none without rows. A batch has fewer than 2³² rows.
    pub(super) fn new(rows: usize) -> Self {
        Self { of_row: vec![0; rows], first_rows: if rows == 0 { Vec::new() } else { vec![0] } }
    }

    /// The first row of each group.
    pub(super) fn first_rows(&self) -> &[u32] {
        &self.first_rows
    }

    /// Row numbers by group, ascending within each, and where each group begins, with the end as the last.
    pub(super) fn into_rows(self) -> (Vec<u32>, Vec<usize>) {
        let mut offsets = vec![0; self.first_rows.len() + 1];
        for &group in &self.of_row {
            offsets[group as usize + 1] += 1;
        }
        for index in 1..offsets.len() {
            offsets[index] += offsets[index - 1];
        }
        let mut next = offsets.clone();
        let mut rows = vec![0; self.of_row.len()];
        for (row, &group) in self.of_row.iter().enumerate() {
            rows[next[group as usize]] = row as u32;
            next[group as usize] += 1;
        }
        (rows, offsets)
    }

    /// Splits the groups by the values of a column, which has one per row.
    pub(super) fn split(&mut self, column: &ArrayRef) -> Result<()> {
        match column.data_type() {
            DataType::Int32 => self.by_long(column, column.as_primitive::<Int32Type>().values(), |v| v.into()),
            DataType::Date32 => self.by_long(column, column.as_primitive::<Date32Type>().values(), |v| v.into()),
            DataType::Int64 => self.by_long(column, column.as_primitive::<Int64Type>().values(), |v| v),
            DataType::Time64(_) => {
                self.by_long(column, column.as_primitive::<Time64MicrosecondType>().values(), |v| v);
            }
            DataType::Timestamp(_, _) => {
                self.by_long(column, column.as_primitive::<TimestampMicrosecondType>().values(), |v| v);
            }
            DataType::Float32 => {
                let bits = |v: f32| if v.is_nan() { i64::MAX } else { (v + 0.0).to_bits().into() };
                self.by_long(column, column.as_primitive::<Float32Type>().values(), bits);
            }
            DataType::Float64 => {
                let bits = |v: f64| if v.is_nan() { i64::MAX } else { (v + 0.0).to_bits() as i64 };
                self.by_long(column, column.as_primitive::<Float64Type>().values(), bits);
            }
            DataType::Boolean => {
                let values = column.as_boolean();
                self.by_value(column, |row| values.value(row));
            }
            DataType::Decimal128(_, _) => {
                let values = column.as_primitive::<Decimal128Type>();
                self.by_value(column, |row| values.value(row));
            }
            DataType::FixedSizeBinary(_) => {
                let values = column.as_fixed_size_binary();
                self.by_value(column, |row| values.value(row));
            }
            DataType::Utf8View => {
                let values = column.as_string_view();
                self.by_value(column, |row| values.value(row));
            }
            DataType::BinaryView => {
                let values = column.as_binary_view();
                self.by_value(column, |row| values.value(row));
            }
            other => {
                return Err(Error::Unsupported {
                    subject: "a partition".to_owned(),
                    reason: format!("{other} is no partition value"),
                });
            }
        }
        Ok(())
    }

    /// Splits by numbers: days, hours and buckets lie close together, so a small table finds the group without a hash.
    fn by_long<N: Copy>(&mut self, column: &ArrayRef, values: &[N], of: impl Fn(N) -> i64) {
        // Slots of NULL count too: what is in them only makes the table larger.
        let range = values.iter().fold(None, |range: Option<(i64, i64)>, &value| {
            let value = of(value);
            Some(range.map_or((value, value), |(least, most)| (least.min(value), most.max(value))))
        });
        let Some((least, most)) = range else { return };
        let width = most.abs_diff(least).saturating_add(2);
        let cells = width.saturating_mul(self.first_rows.len() as u64);
        if cells > TABLE_CELLS_MAX {
            return self.by_value(column, |row| of(values[row]));
        }
        let mut table = vec![NO_GROUP; cells as usize];
        let mut first_rows = Vec::new();
        let nulls = column.nulls();
        for (row, (group, &value)) in self.of_row.iter_mut().zip(values).enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            let place = if is_null { 0 } else { of(value).abs_diff(least) + 1 };
            let cell = &mut table[(u64::from(*group) * width + place) as usize];
            if *cell == NO_GROUP {
                *cell = first_rows.len() as u32;
                first_rows.push(row as u32);
            }
            *group = *cell;
        }
        self.first_rows = first_rows;
    }

    fn by_value<V: Copy + Eq + std::hash::Hash>(&mut self, column: &ArrayRef, of: impl Fn(usize) -> V) {
        let mut found: HashMap<Cell<V>, u32> = HashMap::new();
        let mut first_rows = Vec::new();
        let mut last: Option<(Cell<V>, u32)> = None;
        let nulls = column.nulls();
        for (row, group) in self.of_row.iter_mut().enumerate() {
            let is_null = nulls.is_some_and(|nulls| nulls.is_null(row));
            let cell = (*group, if is_null { None } else { Some(of(row)) });
            let known = match last {
                // Rows of one partition often follow each other.
                Some((last_cell, known)) if last_cell == cell => known,
                _ => *found.entry(cell).or_insert_with(|| {
                    first_rows.push(row as u32);
                    first_rows.len() as u32 - 1
                }),
            };
            last = Some((cell, known));
            *group = known;
        }
        self.first_rows = first_rows;
    }
}
