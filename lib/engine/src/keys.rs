//! Keys as fixed-width fingerprints, and the order that picks a winner as a number.
//!
//! A key's fingerprint is the 128-bit XXH3 of its columns' values, each with its length, under a seed of the run. Two
//! different keys share one with probability below 10⁻²⁴ for 15 million rows.

use std::cmp::Ordering;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryViewArray, BooleanArray, FixedSizeBinaryArray, PrimitiveArray, StringViewArray,
    },
    compute::SortOptions,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Int32Type, Int64Type, Time64MicrosecondType, TimestampMicrosecondType,
    },
    row::{RowConverter, Rows, SortField},
};
use contract::{Direction, OrderTerm};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::{Error, Result};

/// A key column's values, ready to be hashed.
enum KeyValues<'a> {
    Text(&'a StringViewArray),
    Bytes(&'a BinaryViewArray),
    Fixed(&'a FixedSizeBinaryArray),
    Boolean(&'a BooleanArray),
    Word32(&'a [i32]),
    Word64(&'a [i64]),
    Word128(&'a [i128]),
}

/// Fingerprints of a batch's keys: `columns` are the key columns in the table's types. NULLs hash like empty values;
/// callers leave such rows out.
pub fn fingerprints(columns: &[ArrayRef], seed: u64) -> Result<Vec<u128>> {
    let values = columns.iter().map(key_values).collect::<Result<Vec<_>>>()?;
    let rows = columns.first().map_or(0, Array::len);
    let mut buffer: Vec<u8> = Vec::with_capacity(128);
    Ok((0..rows)
        .map(|row| {
            buffer.clear();
            for column in &values {
                column.append(row, &mut buffer);
            }
            xxh3_128_with_seed(&buffer, seed)
        })
        .collect())
}

fn key_values(array: &ArrayRef) -> Result<KeyValues<'_>> {
    fn values<T: arrow::datatypes::ArrowPrimitiveType>(array: &ArrayRef) -> &[T::Native] {
        let array: &PrimitiveArray<T> = array.as_primitive();
        array.values()
    }
    Ok(match array.data_type() {
        DataType::Utf8View => KeyValues::Text(array.as_string_view()),
        DataType::BinaryView => KeyValues::Bytes(array.as_binary_view()),
        DataType::FixedSizeBinary(_) => KeyValues::Fixed(array.as_fixed_size_binary()),
        DataType::Boolean => KeyValues::Boolean(array.as_boolean()),
        DataType::Int32 => KeyValues::Word32(values::<Int32Type>(array)),
        DataType::Date32 => KeyValues::Word32(values::<Date32Type>(array)),
        DataType::Int64 => KeyValues::Word64(values::<Int64Type>(array)),
        DataType::Time64(_) => KeyValues::Word64(values::<Time64MicrosecondType>(array)),
        DataType::Timestamp(..) => KeyValues::Word64(values::<TimestampMicrosecondType>(array)),
        DataType::Decimal128(..) => KeyValues::Word128(values::<Decimal128Type>(array)),
        other => {
            return Err(Error::Unsupported {
                subject: "a key column".to_owned(),
                reason: format!("{other} cannot be compared exactly: take it out of the key"),
            });
        }
    })
}

impl KeyValues<'_> {
    fn append(&self, row: usize, buffer: &mut Vec<u8>) {
        let mut prefixed = |bytes: &[u8]| {
            buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes()[..4]);
            buffer.extend_from_slice(bytes);
        };
        match self {
            Self::Text(values) => prefixed(values.value(row).as_bytes()),
            Self::Bytes(values) => prefixed(values.value(row)),
            Self::Fixed(values) => prefixed(values.value(row)),
            Self::Boolean(values) => buffer.push(u8::from(values.value(row))),
            Self::Word32(values) => buffer.extend_from_slice(&values[row].to_le_bytes()),
            Self::Word64(values) => buffer.extend_from_slice(&values[row].to_le_bytes()),
            Self::Word128(values) => buffer.extend_from_slice(&values[row].to_le_bytes()),
        }
    }
}

/// The winner order, compiled. A row's rank is larger the better it is; NULL ranks below every value.
#[derive(Debug)]
pub struct Ranking {
    kind: RankingKind,
}

#[derive(Debug)]
enum RankingKind {
    /// No order: all rows rank alike.
    Equal,
    /// One term of a 64-bit type: the rank is a word.
    Word { ascending_wins: bool },
    /// Anything else: the rank is the row encoding of all terms.
    Bytes { fields: Vec<SortField> },
}

/// Ranks of a batch's rows.
pub struct Ranks {
    /// The rank, or the first eight bytes of it.
    pub words: Vec<u64>,
    /// The whole rank where a word is not enough.
    pub bytes: Option<Rows>,
}

impl Ranking {
    /// Compiles an order whose columns have these types.
    pub fn compile(order: &[OrderTerm], types: &[DataType]) -> Self {
        let kind = match (order, types) {
            ([], _) => RankingKind::Equal,
            ([term], [DataType::Int64 | DataType::Timestamp(..) | DataType::Int32 | DataType::Date32]) => {
                RankingKind::Word { ascending_wins: term.direction == Direction::Ascending }
            }
            _ => RankingKind::Bytes {
                fields: order
                    .iter()
                    .zip(types)
                    .map(|(term, data_type)| {
                        // The largest encoding wins: what comes first in the order has to be the largest.
                        let descending = term.direction == Direction::Ascending;
                        SortField::new_with_options(data_type.clone(), SortOptions { descending, nulls_first: true })
                    })
                    .collect(),
            },
        };
        Self { kind }
    }

    /// Whether ranks need more than their word.
    pub fn needs_bytes(&self) -> bool {
        matches!(self.kind, RankingKind::Bytes { .. })
    }

    /// Whether there is no order at all, so that a table row is never newer than a raw one.
    pub fn is_unordered(&self) -> bool {
        matches!(self.kind, RankingKind::Equal)
    }

    /// Ranks of rows; `columns` are the order's columns.
    pub fn ranks(&self, columns: &[ArrayRef], rows: usize) -> Result<Ranks> {
        match &self.kind {
            RankingKind::Equal => Ok(Ranks { words: vec![0; rows], bytes: None }),
            RankingKind::Word { ascending_wins } => {
                Ok(Ranks { words: words(&columns[0], *ascending_wins), bytes: None })
            }
            RankingKind::Bytes { fields } => {
                let failed = |source| Error::compute("failed to rank rows", source);
                let converter = RowConverter::new(fields.clone()).map_err(failed)?;
                let bytes = converter.convert_columns(columns).map_err(failed)?;
                let words = bytes.iter().map(|row| prefix(row.as_ref())).collect();
                Ok(Ranks { words, bytes: Some(bytes) })
            }
        }
    }
}

/// Order-preserving words: 0 is NULL, so the two smallest values share a rank and fall to file and row number.
fn words(array: &ArrayRef, ascending_wins: bool) -> Vec<u64> {
    let word = |value: i64| {
        let shifted = value.cast_unsigned() ^ (1 << 63);
        (if ascending_wins { !shifted } else { shifted }).max(1)
    };
    macro_rules! words_of {
        ($kind:ty) => {{
            let array = array.as_primitive::<$kind>();
            match array.nulls() {
                None => array.values().iter().map(|value| word(i64::from(*value))).collect(),
                Some(_) => array.iter().map(|value| value.map_or(0, |value| word(i64::from(value)))).collect(),
            }
        }};
    }
    match array.data_type() {
        DataType::Int32 => words_of!(Int32Type),
        DataType::Date32 => words_of!(Date32Type),
        DataType::Int64 => words_of!(Int64Type),
        _ => words_of!(TimestampMicrosecondType),
    }
}

fn prefix(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    let length = bytes.len().min(8);
    word[..length].copy_from_slice(&bytes[..length]);
    u64::from_be_bytes(word)
}

/// Compares two ranks: the greater wins.
pub fn compare_ranks(a: (u64, Option<&[u8]>), b: (u64, Option<&[u8]>)) -> Ordering {
    a.0.cmp(&b.0).then_with(|| a.1.cmp(&b.1))
}
