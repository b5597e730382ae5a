//! Z-order: rows that are near each other in several columns lie near each other in the file.
//!
//! Each column becomes a number of 32 bits that keeps its order, and the bits of all columns take turns in the key, the
//! most significant first. A number is counted from the least to the largest value of the group's files: of times within
//! a day, or of device ids that begin alike, the first bits would otherwise be the same in every row, and one column alone
//! would decide.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch},
    compute::cast,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, Time64MicrosecondType,
        TimestampMicrosecondType,
    },
};
use lake::{
    DataFileEntry,
    spec::{Datum, PrimitiveLiteral, Schema},
};

use super::order::primitive;
use crate::{Error, Result, arrow_type, curated::values::scalar, partition::column_at};

/// Bits that each column brings.
const BITS: u32 = 32;

/// A curve through some columns.
#[derive(Debug, Clone)]
pub(super) struct ZOrder(Vec<Axis>);

/// One column of the curve.
#[derive(Debug, Clone)]
struct Axis {
    path: Vec<usize>,
    /// Text that every value begins with.
    prefix: Vec<u8>,
    least: u64,
    most: u64,
}

impl ZOrder {
    /// The curve for some files, by the bounds that their manifests have.
    pub(super) fn new(schema: &Schema, columns: &[String], files: &[DataFileEntry]) -> Result<Self> {
        let subject = || format!("the Z-order by {}", columns.join(", "));
        let unsupported = |reason: String| Error::Unsupported { subject: subject(), reason };
        if columns.len() < 2 {
            return Err(unsupported("it needs two columns or more: sort by a single one".to_owned()));
        }
        let axis = |column: &String| {
            let path = primitive(schema, column).map_err(unsupported)?;
            let id = schema.field_id_by_name(column).ok_or_else(|| unsupported(format!("there is no {column}")))?;
            let mut axis = Axis { path, prefix: Vec::new(), least: 0, most: u64::MAX };
            axis.narrow(schema, id, files)?;
            Ok(axis)
        };
        columns.iter().map(axis).collect::<Result<_>>().map(Self)
    }

    /// The columns that it goes through, by their places.
    pub(super) fn roots(&mut self) -> impl Iterator<Item = &mut usize> {
        self.0.iter_mut().filter_map(|axis| axis.path.first_mut())
    }

    /// Each row's place on the curve.
    pub(super) fn column(&self, batch: &RecordBatch) -> Result<ArrayRef> {
        let axes = self.0.iter().map(|axis| axis.places(&column_at(batch, &axis.path)?));
        let axes: Vec<Vec<u32>> = axes.collect::<Result<_>>()?;
        let width = axes.len() * BITS as usize / 8;
        let keys = (0..batch.num_rows()).map(|row| {
            let mut key = vec![0_u8; width];
            interleave(axes.iter().map(|places| places[row]), axes.len(), &mut key);
            key
        });
        Ok(Arc::new(BinaryArray::from_iter_values(keys)))
    }
}

/// Bits of the numbers in turn, the most significant first.
fn interleave(places: impl Iterator<Item = u32>, count: usize, key: &mut [u8]) {
    for (axis, place) in places.enumerate() {
        for bit in 0..BITS as usize {
            if place >> (BITS as usize - 1 - bit) & 1 == 1 {
                let at = bit * count + axis;
                key[at / 8] |= 0x80 >> (at % 8);
            }
        }
    }
}

impl Axis {
    /// Takes the least and the largest value of the files, where all of them say theirs.
    fn narrow(&mut self, schema: &Schema, id: i32, files: &[DataFileEntry]) -> Result<()> {
        fn end<'a>(
            bounds: impl Iterator<Item = Option<&'a Datum>>,
            pick: fn(&'a PrimitiveLiteral, &'a PrimitiveLiteral) -> bool,
        ) -> Option<&'a PrimitiveLiteral> {
            let bounds: Option<Vec<_>> = bounds.map(|bound| bound.map(Datum::literal)).collect();
            bounds?.into_iter().reduce(|a, b| if pick(a, b) { a } else { b })
        }
        let files = || files.iter().map(|file| &file.data_file);
        let least = end(files().map(|file| file.lower_bounds().get(&id)), |a, b| a <= b);
        let most = end(files().map(|file| file.upper_bounds().get(&id)), |a, b| a >= b);
        let (Some(least), Some(most), Some(field)) = (least, most, schema.field_by_id(id)) else { return Ok(()) };
        if let (PrimitiveLiteral::String(least), PrimitiveLiteral::String(most)) = (least, most) {
            let same = least.bytes().zip(most.bytes()).take_while(|(a, b)| a == b);
            self.prefix = same.map(|(byte, _)| byte).collect();
        }
        let data_type = arrow_type(&field.field_type)?;
        let number = |value: &PrimitiveLiteral| -> Result<Option<u64>> {
            let Some(value) = scalar(value, &data_type) else { return Ok(None) };
            let value = value.to_array_of_size(1).map_err(|error| Error::compute("failed to read a bound", error))?;
            Ok(self.numbers(&value)?.first().copied())
        };
        if let (Some(least), Some(most)) = (number(least)?, number(most)?)
            && least < most
        {
            (self.least, self.most) = (least, most);
        }
        Ok(())
    }

    /// Each value's place from the least to the largest one. NULL is the least; values outside are at the ends.
    fn places(&self, column: &ArrayRef) -> Result<Vec<u32>> {
        let shift = (self.most - self.least).leading_zeros();
        let place = |number: u64| (number.clamp(self.least, self.most) - self.least) << shift >> (u64::BITS - BITS);
        let mut places: Vec<u32> = self.numbers(column)?.into_iter().map(|number| place(number) as u32).collect();
        if let Some(nulls) = column.logical_nulls() {
            places.iter_mut().zip(nulls.iter()).filter(|(_, is_valid)| !is_valid).for_each(|(place, _)| *place = 0);
        }
        Ok(places)
    }

    /// Numbers in the order of the values.
    fn numbers(&self, column: &ArrayRef) -> Result<Vec<u64>> {
        fn signed(value: i64) -> u64 {
            value.cast_unsigned() ^ (1 << 63)
        }
        fn double(value: f64) -> u64 {
            let bits = (value + 0.0).to_bits();
            if bits >> 63 == 1 { !bits } else { bits ^ (1 << 63) }
        }
        let text = |bytes: &[u8]| match bytes.strip_prefix(self.prefix.as_slice()) {
            Some(rest) => (0..8).fold(0, |number, at| number << 8 | u64::from(rest.get(at).copied().unwrap_or(0))),
            None if bytes < self.prefix.as_slice() => 0,
            None => u64::MAX,
        };
        Ok(match column.data_type() {
            DataType::Boolean => {
                let values = column.as_boolean();
                (0..values.len()).map(|row| u64::from(values.value(row))).collect()
            }
            DataType::Int32 => {
                column.as_primitive::<Int32Type>().values().iter().map(|v| signed((*v).into())).collect()
            }
            DataType::Date32 => {
                column.as_primitive::<Date32Type>().values().iter().map(|v| signed((*v).into())).collect()
            }
            DataType::Int64 => column.as_primitive::<Int64Type>().values().iter().map(|v| signed(*v)).collect(),
            DataType::Time64(_) => {
                column.as_primitive::<Time64MicrosecondType>().values().iter().map(|v| signed(*v)).collect()
            }
            DataType::Timestamp(_, _) => {
                column.as_primitive::<TimestampMicrosecondType>().values().iter().map(|v| signed(*v)).collect()
            }
            DataType::Float32 => {
                column.as_primitive::<Float32Type>().values().iter().map(|v| double((*v).into())).collect()
            }
            DataType::Float64 => column.as_primitive::<Float64Type>().values().iter().map(|v| double(*v)).collect(),
            DataType::Decimal128(_, _) => {
                // The order of the first digits is enough for a place.
                let values = column.as_primitive::<Decimal128Type>().values();
                values.iter().map(|v| signed((*v).clamp(i64::MIN.into(), i64::MAX.into()) as i64)).collect()
            }
            DataType::FixedSizeBinary(_) => {
                let values = column.as_fixed_size_binary();
                (0..values.len()).map(|row| text(values.value(row))).collect()
            }
            DataType::Utf8View => {
                let values = column.as_string_view();
                (0..values.len()).map(|row| text(values.value(row).as_bytes())).collect()
            }
            DataType::BinaryView => {
                let values = column.as_binary_view();
                (0..values.len()).map(|row| text(values.value(row))).collect()
            }
            other => {
                let as_text = cast(column, &DataType::Utf8View)
                    .map_err(|_| Error::compute("failed to order rows", format!("{other} has no place on a curve")))?;
                return self.numbers(&as_text);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringViewArray};

    use super::*;

    fn axis(prefix: &str, least: u64, most: u64) -> Axis {
        Axis { path: vec![0], prefix: prefix.as_bytes().to_vec(), least, most }
    }

    #[test]
    fn bits_take_turns() {
        let mut key = [0; 8];
        interleave([0xFFFF_0000, 0x0000_0001].into_iter(), 2, &mut key);
        assert_eq!(key, [0xAA, 0xAA, 0xAA, 0xAA, 0, 0, 0, 0x01]);
    }

    #[test]
    fn places_keep_the_order() {
        let values: ArrayRef = Arc::new(Float64Array::from(vec![
            None,
            Some(f64::NEG_INFINITY),
            Some(-1.5),
            Some(-0.0),
            Some(0.0),
            Some(2.5),
            Some(f64::NAN),
        ]));
        let places = axis("", 0, u64::MAX).places(&values).unwrap();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(places[3], places[4], "−0 is 0");
        let values: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "device-1", "device-2", "device-21", "e"]));
        let prefixed = axis("device-", 0, u64::MAX);
        let places = prefixed.places(&values).unwrap();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!((places[0], places[4]), (0, u32::MAX));
        assert!(places[1] < places[2] && places[2] < places[3], "{places:?}");
    }

    #[test]
    fn places_are_counted_from_the_least_to_the_largest_value() {
        let values: ArrayRef = Arc::new(arrow::array::Int64Array::from(vec![1000, 1001, 1002, 1003]));
        let at = |value: i64| value.cast_unsigned() ^ (1 << 63);
        let places = axis("", at(1000), at(1003)).places(&values).unwrap();
        assert_eq!(places, [0, 1 << 30, 2 << 30, 3 << 30]);
    }
}
