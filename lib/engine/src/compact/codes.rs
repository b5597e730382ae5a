//! Columns of few values as numbers of two bytes: what a sort holds in memory and writes to disk of them.
//!
//! A column is coded until it turns out to have too many values. From then on its rows are kept as they come, and those that
//! were coded before can still be read. Readers share the codes, so that rows of all of them can be put together.

use std::{
    hash::BuildHasher,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arrow::{
    array::{Array, ArrayData, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt16Array, make_array},
    buffer::{Buffer, NullBuffer, ScalarBuffer},
    compute::take,
    datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type},
    error::ArrowError,
};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::{Error, Result};

/// What coded columns have instead of their own type. No type of a table is this one.
const CODE: DataType = DataType::UInt16;
/// Text up to this length is in its view; longer text lies in a buffer that the view points into.
const INLINE_BYTES_MAX: u32 = 12;
/// Memory of one value: the value twice, as it is looked up and as it is shown, and a place in a table half full.
const VALUE_BYTES: usize = 2 * size_of::<u128>() + 6;

/// The codes of all columns of a sort.
pub(super) struct Codes {
    /// The table's columns.
    schema: SchemaRef,
    /// `None` where a column's type needs no more than a code does, or has parts.
    columns: Vec<Option<Column>>,
}

struct Column {
    /// Set once and for all.
    is_given_up: AtomicBool,
    coder: Mutex<Coder>,
}

impl Codes {
    /// Of the columns of a table. All of them together take up to about so much memory.
    pub(super) fn new(schema: &SchemaRef, bytes_max: usize) -> Self {
        let codable = schema.fields().iter().filter(|field| Kind::of(field.data_type()).is_some()).count();
        let column = |field: &Arc<Field>| {
            Some(Column {
                is_given_up: AtomicBool::new(false),
                coder: Mutex::new(Coder::new(field.data_type(), bytes_max / codable.max(1))?),
            })
        };
        Self { schema: Arc::clone(schema), columns: schema.fields().iter().map(column).collect() }
    }

    /// Rows of the table with codes for what can be coded.
    pub(super) fn encode(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let encode = |(array, column): (&ArrayRef, &Option<Column>)| {
            let coded = column.as_ref().and_then(|column| column.encode(array));
            coded.map_or_else(|| Arc::clone(array), |codes| Arc::new(codes) as ArrayRef)
        };
        self.batch(batch, batch.columns().iter().zip(&self.columns).map(encode).collect())
    }

    /// The rows of the table that these were.
    pub(super) fn decode(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        self.decode_where(batch, |_| true)
    }

    /// The same rows without codes in some columns, by their places in the table.
    pub(super) fn decode_where(&self, batch: &RecordBatch, is_chosen: impl Fn(usize) -> bool) -> Result<RecordBatch> {
        let decode = |(place, array): (usize, &ArrayRef)| match is_chosen(place) {
            true => self.column(place, array),
            false => Ok(Arc::clone(array)),
        };
        self.batch(batch, batch.columns().iter().enumerate().map(decode).collect::<Result<_>>()?)
    }

    /// Some columns of the table, as they are there.
    pub(super) fn decode_columns(&self, batch: &RecordBatch, places: &[usize]) -> Result<RecordBatch> {
        let columns = places.iter().map(|place| self.column(*place, batch.column(*place))).collect::<Result<_>>()?;
        let schema = Arc::new(self.schema.project(places).map_err(failed)?);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema, columns, &options).map_err(failed)
    }

    fn column(&self, place: usize, array: &ArrayRef) -> Result<ArrayRef> {
        match &self.columns[place] {
            Some(column) if *array.data_type() == CODE => {
                take(&column.values().map_err(failed)?, array.as_primitive::<UInt16Type>(), None).map_err(failed)
            }
            _ => Ok(Arc::clone(array)),
        }
    }

    /// These columns of the table, with codes or without.
    fn batch(&self, of: &RecordBatch, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(of.num_rows()));
        RecordBatch::try_new_with_options(layout(&self.schema, &columns), columns, &options).map_err(failed)
    }
}

/// Whether rows have codes for the same columns.
pub(super) fn are_alike(these: &RecordBatch, those: &RecordBatch) -> bool {
    let is_coded = |array: &ArrayRef| *array.data_type() == CODE;
    these.columns().iter().zip(those.columns()).all(|(these, those)| is_coded(these) == is_coded(those))
}

/// The schema of columns of a table, where some may have another type than there.
pub(super) fn layout(table: &SchemaRef, columns: &[ArrayRef]) -> SchemaRef {
    let is_plain = |(field, array): (&Arc<Field>, &ArrayRef)| field.data_type() == array.data_type();
    if table.fields().iter().zip(columns).all(is_plain) {
        return Arc::clone(table);
    }
    let field = |(field, array): (&Arc<Field>, &ArrayRef)| match is_plain((field, array)) {
        true => Arc::clone(field),
        false => Arc::new(Field::new(field.name(), array.data_type().clone(), field.is_nullable())),
    };
    Arc::new(Schema::new(table.fields().iter().zip(columns).map(field).collect::<Vec<_>>()))
}

fn failed(source: ArrowError) -> Error {
    Error::compute("failed to sort rows", source)
}

impl Column {
    fn encode(&self, array: &ArrayRef) -> Option<UInt16Array> {
        if self.is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        let mut coder = self.lock();
        if self.is_given_up.load(Ordering::Relaxed) {
            return None;
        }
        let codes = coder.encode(array);
        if codes.is_none() {
            self.is_given_up.store(true, Ordering::Relaxed);
        }
        codes
    }

    /// The value of each code.
    fn values(&self) -> std::result::Result<ArrayRef, ArrowError> {
        self.lock().values()
    }

    fn lock(&self) -> MutexGuard<'_, Coder> {
        self.coder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How values of a type lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Eight bytes.
    Long,
    /// Sixteen.
    Wide,
    View,
}

impl Kind {
    /// `None` for types that are not coded.
    fn of(data_type: &DataType) -> Option<Self> {
        match data_type {
            DataType::Utf8View | DataType::BinaryView => Some(Self::View),
            _ => match data_type.primitive_width() {
                Some(8) => Some(Self::Long),
                Some(16) => Some(Self::Wide),
                _ => None,
            },
        }
    }
}

/// The codes of a column's values: their places among those that were seen.
struct Coder {
    data_type: DataType,
    kind: Kind,
    hasher: DefaultHashBuilder,
    places: HashTable<u16>,
    /// Of each code. A view of longer text points into `text`.
    values: Vec<u128>,
    text: Vec<u8>,
    bytes_max: usize,
    /// The values, as they were when they were last asked for.
    array: Option<ArrayRef>,
}

impl Coder {
    fn new(data_type: &DataType, bytes_max: usize) -> Option<Self> {
        Some(Self {
            data_type: data_type.clone(),
            kind: Kind::of(data_type)?,
            hasher: DefaultHashBuilder::default(),
            places: HashTable::new(),
            values: Vec::new(),
            text: Vec::new(),
            bytes_max,
            array: None,
        })
    }

    /// The code of each row; `None` when there are too many values, and from then on.
    fn encode(&mut self, array: &ArrayRef) -> Option<UInt16Array> {
        let is_first = self.values.is_empty();
        let (data, nulls) = (array.to_data(), array.nulls());
        let values = &data.buffers()[0];
        let rows = data.offset()..data.offset() + array.len();
        let codes = match self.kind {
            Kind::Long => {
                let values = &values.typed_data::<u64>()[rows];
                self.codes(values.iter().map(|value| (u128::from(*value), [].as_slice())), nulls)
            }
            Kind::Wide => {
                let values = &values.typed_data::<u128>()[rows];
                self.codes(values.iter().map(|value| (*value, [].as_slice())), nulls)
            }
            Kind::View => {
                let (views, buffers) = (&values.typed_data::<u128>()[rows], &data.buffers()[1..]);
                self.codes(views.iter().map(|view| (*view, text_of(*view, buffers))), nulls)
            }
        };
        // Values that hardly ever come twice are better left alone at once.
        let codes = codes.filter(|_| !is_first || self.values.len() <= array.len() / 2);
        if codes.is_none() {
            self.places = HashTable::new();
            if is_first {
                (self.values, self.text) = (Vec::new(), Vec::new());
            }
        }
        Some(UInt16Array::new(codes?.into(), nulls.cloned()))
    }

    fn codes<'a>(
        &mut self,
        values: impl ExactSizeIterator<Item = (u128, &'a [u8])>,
        nulls: Option<&NullBuffer>,
    ) -> Option<Vec<u16>> {
        let mut codes = Vec::with_capacity(values.len());
        match nulls {
            None => {
                for (value, text) in values {
                    codes.push(self.code(value, text)?);
                }
            }
            Some(nulls) => {
                for ((value, text), is_valid) in values.zip(nulls) {
                    codes.push(if is_valid { self.code(value, text)? } else { 0 });
                }
            }
        }
        Some(codes)
    }

    /// The code of a value; `text` is that of a view which does not have it in itself.
    #[inline]
    fn code(&mut self, value: u128, text: &[u8]) -> Option<u16> {
        let is_same = |code: &u16| {
            let of = self.values[usize::from(*code)];
            // Of longer text the view says where it lies, which is another place in each file.
            if text.is_empty() { of == value } else { is_long(of) && own_text(of, &self.text) == text }
        };
        match self.places.find(hash(&self.hasher, value, text), is_same) {
            Some(code) => Some(*code),
            None => self.add(value, text),
        }
    }

    #[cold]
    fn add(&mut self, value: u128, text: &[u8]) -> Option<u16> {
        let bytes = self.values.len() * VALUE_BYTES + self.text.len() + text.len();
        let code = u16::try_from(self.values.len()).ok().filter(|_| bytes < self.bytes_max)?;
        let mut own = value;
        if !text.is_empty() {
            let start = u32::try_from(self.text.len()).ok()?;
            // Its length and first bytes stay; its buffer is the only one, and the place there is another.
            own = value & u128::from(u64::MAX) | u128::from(start) << 96;
            self.text.extend_from_slice(text);
        }
        self.values.push(own);
        let Self { kind, hasher, places, values, text: texts, .. } = self;
        let rehash = |code: &u16| {
            let value = values[usize::from(*code)];
            let is_text = *kind == Kind::View && is_long(value);
            hash(hasher, value, if is_text { own_text(value, texts) } else { &[] })
        };
        places.insert_unique(hash(hasher, value, text), code, rehash);
        Some(code)
    }

    /// The value of each code.
    fn values(&mut self) -> std::result::Result<ArrayRef, ArrowError> {
        match &self.array {
            Some(array) if array.len() == self.values.len() => Ok(Arc::clone(array)),
            _ => {
                let buffers = match self.kind {
                    Kind::Long => vec![Buffer::from_iter(self.values.iter().map(|value| *value as u64))],
                    Kind::Wide => vec![ScalarBuffer::from(self.values.clone()).into_inner()],
                    Kind::View => vec![
                        ScalarBuffer::from(self.values.clone()).into_inner(),
                        Buffer::from_slice_ref(self.text.as_slice()),
                    ],
                };
                let data =
                    ArrayData::builder(self.data_type.clone()).len(self.values.len()).buffers(buffers).build()?;
                Ok(Arc::clone(self.array.insert(make_array(data))))
            }
        }
    }
}

fn hash(hasher: &DefaultHashBuilder, value: u128, text: &[u8]) -> u64 {
    if text.is_empty() { hasher.hash_one(value) } else { hasher.hash_one(text) }
}

/// Whether a view's text lies outside of it.
fn is_long(view: u128) -> bool {
    view as u32 > INLINE_BYTES_MAX
}

/// Where the text of a view lies that is long.
fn place(view: u128) -> (usize, std::ops::Range<usize>) {
    let (buffer, start) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
    (buffer, start..start + view as u32 as usize)
}

/// The text of a view that does not have it in itself; empty for others.
fn text_of(view: u128, buffers: &[Buffer]) -> &[u8] {
    if !is_long(view) {
        return &[];
    }
    let (buffer, range) = place(view);
    &buffers[buffer][range]
}

fn own_text(view: u128, text: &[u8]) -> &[u8] {
    &text[place(view).1]
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            BinaryViewArray, Decimal128Array, Float64Array, Int32Array, Int64Array, StringViewArray,
            TimestampMicrosecondArray,
        },
        datatypes::Float64Type,
    };

    use super::*;

    const LONG: &str = "a text of more than twelve bytes";

    fn codes(batch: &RecordBatch) -> Codes {
        Codes::new(&batch.schema(), 1 << 20)
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
    }

    fn coded(batch: &RecordBatch) -> Vec<bool> {
        batch.columns().iter().map(|array| *array.data_type() == CODE).collect()
    }

    /// Each third row is null. Few values, and in each column some that could be taken for one another.
    fn rows() -> RecordBatch {
        let texts =
            ["", "a", "twelve bytes", LONG, "a text of more than twelve byteS", "a text of other words, longer"];
        let numbers = [0, 1, -1, i64::MIN, i64::MAX, 1 << 40];
        let doubles = [0.0, -0.0, f64::NAN, -f64::NAN, f64::INFINITY, 1.5];
        let each = |row: usize| (!row.is_multiple_of(3)).then_some(row / 3 % 6);
        let all = || (0..600).map(each);
        batch(vec![
            ("long", Arc::new(Int64Array::from_iter(all().map(|place| Some(numbers[place?]))))),
            ("double", Arc::new(Float64Array::from_iter(all().map(|place| Some(doubles[place?]))))),
            ("time", Arc::new(TimestampMicrosecondArray::from_iter(all().map(|place| Some(numbers[place?]))))),
            (
                "decimal",
                Arc::new(Decimal128Array::from_iter(all().map(|place| Some(i128::from(numbers[place?]) << 20)))),
            ),
            ("text", Arc::new(StringViewArray::from_iter(all().map(|place| Some(texts[place?]))))),
            ("bytes", Arc::new(BinaryViewArray::from_iter(all().map(|place| Some(texts[place?].as_bytes()))))),
            ("int", Arc::new(Int32Array::from_iter(all().map(|place| Some(place? as i32))))),
        ])
    }

    #[test]
    fn rows_come_back_bit_by_bit() {
        let all = rows();
        let codes = codes(&all);
        for part in [all.clone(), all.slice(100, 50), all.slice(0, 0), all.slice(7, 593)] {
            let encoded = codes.encode(&part).unwrap();
            assert_eq!(coded(&encoded), [true, true, true, true, true, true, false]);
            let decoded = codes.decode(&encoded).unwrap();
            let bits = |batch: &RecordBatch| {
                let doubles = batch.column(1).as_primitive::<Float64Type>();
                doubles.iter().map(|value| value.map(f64::to_bits)).collect::<Vec<_>>()
            };
            assert_eq!(bits(&decoded), bits(&part));
            let others = [0, 2, 3, 4, 5, 6];
            assert_eq!(decoded.project(&others).unwrap(), part.project(&others).unwrap());
            assert_eq!(decoded.schema(), all.schema());
        }
        let some = codes.decode_columns(&codes.encode(&all).unwrap(), &[6, 4]).unwrap();
        assert_eq!(some, all.project(&[6, 4]).unwrap());
        let some = codes.decode_where(&codes.encode(&all).unwrap(), |place| place == 4).unwrap();
        assert_eq!((coded(&some), some.column(4)), (vec![true, true, true, true, false, true, false], all.column(4)));
    }

    #[test]
    fn a_value_has_one_code_whichever_batch_it_is_in() {
        let of = |texts: &[&str]| batch(vec![("text", Arc::new(StringViewArray::from_iter_values(texts)))]);
        let (first, second) = (of(&["a", LONG, "a", LONG]), of(&["other words at the front", LONG, "b", "a"]));
        let codes = codes(&first);
        let numbers = |batch| {
            let encoded = codes.encode(batch).unwrap();
            encoded.column(0).as_primitive::<UInt16Type>().values().to_vec()
        };
        assert_eq!(numbers(&first), [0, 1, 0, 1]);
        assert_eq!(numbers(&second), [2, 1, 3, 0]);
    }

    #[test]
    fn a_column_of_many_values_is_given_up_and_what_was_coded_can_be_read() {
        let of = |values: std::ops::Range<i64>, times: usize| {
            let numbers = values.clone().cycle().take((values.end - values.start) as usize * times);
            batch(vec![("long", Arc::new(Int64Array::from_iter_values(numbers)))])
        };
        for (bytes_max, values) in [(64 << 20, 70_000), (VALUE_BYTES * 1_000, 1_500)] {
            let few = of(0..100, 2);
            let codes = Codes::new(&few.schema(), bytes_max);
            let encoded = codes.encode(&few).unwrap();
            assert_eq!(coded(&encoded), [true]);
            let many = of(0..values, 2);
            assert_eq!(codes.encode(&many).unwrap(), many);
            assert_eq!(codes.encode(&few).unwrap(), few, "it stays given up");
            assert_eq!(codes.decode(&encoded).unwrap(), few);
        }
        let unique = of(0..100, 1);
        assert_eq!(codes(&unique).encode(&unique).unwrap(), unique);
    }

    #[test]
    fn a_column_may_have_no_value_at_all() {
        let longs = Arc::new(Int64Array::new_null(5));
        let nulls = batch(vec![("long", longs), ("text", Arc::new(StringViewArray::new_null(5)))]);
        let codes = codes(&nulls);
        let encoded = codes.encode(&nulls).unwrap();
        assert_eq!((coded(&encoded), codes.decode(&encoded).unwrap()), (vec![true, true], nulls));
    }

    #[test]
    fn a_table_may_have_nothing_to_code() {
        let ints = batch(vec![("int", Arc::new(Int32Array::from_iter_values([7; 100])))]);
        assert_eq!(codes(&ints).encode(&ints).unwrap(), ints);
    }

    #[test]
    fn long_text_counts() {
        let texts = (0..100).cycle().take(200).map(|n| format!("{n} {}", "long".repeat(1_000)));
        let texts = batch(vec![("text", Arc::new(StringViewArray::from_iter_values(texts)))]);
        assert_eq!(coded(&Codes::new(&texts.schema(), 1 << 20).encode(&texts).unwrap()), [true]);
        assert_eq!(coded(&Codes::new(&texts.schema(), 100 << 10).encode(&texts).unwrap()), [false]);
    }
}
