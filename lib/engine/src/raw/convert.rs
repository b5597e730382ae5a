//! Raw values to the types a table declares. What fits without loss is widened; a value that does not fit becomes NULL
//! and its row is marked, so that it lands in quarantine instead of in the table.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, FixedSizeBinaryBuilder, GenericListArray, ListArray, MapArray,
        PrimitiveArray, StructArray, new_null_array,
    },
    buffer::{BooleanBuffer, NullBuffer, OffsetBuffer},
    compute::{CastOptions, cast_with_options, kernels::cmp::distinct},
    datatypes::{
        DataType, Date32Type, Date64Type, Field, Float32Type, Float64Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    },
    error::ArrowError,
};
use contract::EpochUnit;

/// A column in its declared type.
pub struct Converted {
    /// The values; NULL where a value did not fit.
    pub array: ArrayRef,
    /// Set where a value was there and did not fit; `None` when all fitted.
    pub failed: Option<BooleanBuffer>,
}

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z: what every reader of the table can represent.
const TIMESTAMP_MICROS_MIN: i64 = -62_135_596_800_000_000;
const TIMESTAMP_MICROS_MAX: i64 = 253_402_300_799_999_999;
const DATE_DAYS_MIN: i32 = -719_162;
const DATE_DAYS_MAX: i32 = 2_932_896;

/// Converts a raw column to `field`'s type. Integers that fill a timestamp count `epoch` units since 1970.
pub fn convert(array: &ArrayRef, field: &Field, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let target = field.data_type();
    if let DataType::Dictionary(_, values) = array.data_type() {
        return convert(&cast(array, values)?, field, epoch);
    }
    match (array.data_type(), target) {
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let source = array.as_struct();
            let mut failed = None;
            let mut children = Vec::with_capacity(fields.len());
            for child_field in fields {
                let child = match find_field(source, child_field.name()) {
                    Some(index) => convert(source.column(index), child_field, epoch)?,
                    None => Converted { array: new_null_array(child_field.data_type(), source.len()), failed: None },
                };
                failed = union(failed, child.failed);
                if !child_field.is_nullable() {
                    failed = union(failed, null_where(&child.array));
                }
                children.push(child.array);
            }
            let failed = within(failed, source.nulls());
            let nulls = without(source.nulls(), failed.as_ref());
            let array = StructArray::try_new_with_length(relaxed(fields), children, nulls, source.len())?;
            Ok(Converted { array: Arc::new(array), failed })
        }
        (DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::ListView(_), DataType::List(_)) => {
            let element = match array.data_type() {
                DataType::LargeList(element) | DataType::FixedSizeList(element, _) | DataType::ListView(element) => {
                    element
                }
                _ => unreachable!("matched above"),
            };
            convert(&cast(array, &DataType::List(Arc::clone(element)))?, field, epoch)
        }
        (DataType::List(_), DataType::List(element)) => convert_list(array.as_list::<i32>(), element, epoch),
        (DataType::Map(..), DataType::Map(entry, _)) => convert_map(array.as_map(), entry, epoch),
        _ => convert_leaf(array, target, epoch),
    }
}

fn convert_list(
    source: &GenericListArray<i32>,
    element: &Arc<Field>,
    epoch: EpochUnit,
) -> Result<Converted, ArrowError> {
    let values = convert(source.values(), element, epoch)?;
    let mut element_failed = values.failed;
    if !element.is_nullable() {
        element_failed = union(element_failed, null_where(&values.array));
    }
    let failed = element_failed.map(|set| rows_of_elements(source.offsets(), &set));
    let failed = within(failed, source.nulls());
    let nulls = without(source.nulls(), failed.as_ref());
    let element = Arc::new(element.as_ref().clone().with_nullable(true));
    let array = ListArray::try_new(element, source.offsets().clone(), values.array, nulls)?;
    Ok(Converted { array: Arc::new(array), failed })
}

fn convert_map(source: &MapArray, entry: &Arc<Field>, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError("a map's entries are a struct".to_owned()));
    };
    let keys = convert(source.keys(), &fields[0], epoch)?;
    let values = convert(source.values(), &fields[1], epoch)?;
    let mut element_failed = union(keys.failed, null_where(&keys.array));
    element_failed = union(element_failed, values.failed);
    if !fields[1].is_nullable() {
        element_failed = union(element_failed, null_where(&values.array));
    }
    let failed = element_failed.map(|set| rows_of_elements(source.offsets(), &set));
    let failed = within(failed, source.nulls());
    if failed.is_some() {
        // A key that could not be read cannot stand in a map: the whole value becomes NULL, and the map is cut there.
        return rebuild_map_without(source, entry, keys.array, values.array, failed);
    }
    let value_field = fields[1].as_ref().clone();
    let fields = vec![Arc::clone(&fields[0]), Arc::new(value_field)].into();
    let entries = StructArray::try_new(fields, vec![keys.array, values.array], None)?;
    let entry = Arc::new(entry.as_ref().clone().with_data_type(entries.data_type().clone()));
    let array = MapArray::try_new(entry, source.offsets().clone(), entries, source.nulls().cloned(), false)?;
    Ok(Converted { array: Arc::new(array), failed: None })
}

fn rebuild_map_without(
    source: &MapArray,
    entry: &Arc<Field>,
    keys: ArrayRef,
    values: ArrayRef,
    failed: Option<BooleanBuffer>,
) -> Result<Converted, ArrowError> {
    let nulls = without(source.nulls(), failed.as_ref());
    let mut kept = Vec::new();
    let mut lengths = Vec::with_capacity(source.len());
    for row in 0..source.len() {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            lengths.push(0);
            continue;
        }
        let (start, end) = (source.offsets()[row], source.offsets()[row + 1]);
        kept.extend((start..end).map(i64::from));
        lengths.push(usize::try_from(end - start).unwrap_or(0));
    }
    let kept = arrow::array::Int64Array::from(kept);
    let columns = vec![arrow::compute::take(&keys, &kept, None)?, arrow::compute::take(&values, &kept, None)?];
    let DataType::Struct(fields) = entry.data_type() else {
        return Err(ArrowError::SchemaError("a map's entries are a struct".to_owned()));
    };
    let entries = StructArray::try_new(fields.clone(), columns, None)?;
    let array = MapArray::try_new(Arc::clone(entry), OffsetBuffer::from_lengths(lengths), entries, nulls, false)?;
    Ok(Converted { array: Arc::new(array), failed })
}

fn convert_leaf(array: &ArrayRef, target: &DataType, epoch: EpochUnit) -> Result<Converted, ArrowError> {
    let converted: ArrayRef = match (array.data_type(), target) {
        (from, DataType::Timestamp(TimeUnit::Microsecond, zone)) => {
            let micros = match from {
                DataType::Timestamp(unit, _) => timestamp_micros(array, *unit),
                _ if from.is_integer() => epoch_micros(&cast(array, &DataType::Int64)?, epoch),
                _ if from.is_floating() => fractional_micros(&cast(array, &DataType::Float64)?, epoch),
                _ if is_text(from) || matches!(from, DataType::Date32 | DataType::Date64) => {
                    let parsed = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                    in_range(parsed.as_primitive::<TimestampMicrosecondType>())
                }
                _ => return Ok(nothing_fits(array, target)),
            };
            Arc::new(micros.with_timezone_opt(zone.clone()))
        }
        (DataType::Date32, DataType::Date32) => dates_in_range(array.as_primitive::<Date32Type>()),
        (DataType::Date64, DataType::Date32) => {
            let days: PrimitiveArray<Date32Type> = array
                .as_primitive::<Date64Type>()
                .unary_opt(|millis| i32::try_from(millis.div_euclid(86_400_000)).ok());
            dates_in_range(&days)
        }
        (from, DataType::Date32) if is_text(from) => dates_in_range(cast(array, target)?.as_primitive::<Date32Type>()),
        (DataType::Timestamp(..), DataType::Date32) => exactly(array, target)?,
        (from, to) if from == to => Arc::clone(array),
        (from, to) if is_text(from) && (is_text(to) || is_bytes(to)) => cast(array, to)?,
        (from, to) if is_bytes(from) && (is_text(to) || is_bytes(to)) => cast(array, to)?,
        (DataType::FixedSizeBinary(_), to) if is_bytes(to) => cast(array, to)?,
        (from, DataType::FixedSizeBinary(16)) if is_text(from) => uuids(&cast(array, &DataType::Utf8View)?)?,
        (from, DataType::FixedSizeBinary(width)) if is_bytes(from) => {
            fixed(&cast(array, &DataType::BinaryView)?, *width)?
        }
        (DataType::Time32(_) | DataType::Time64(_), DataType::Time64(_)) => cast(array, target)?,
        (from, to) if is_text(from) && !to.is_nested() => cast(array, to)?,
        (from, to) if from.is_numeric() && to.is_numeric() => exactly(array, to)?,
        (DataType::Null, to) => new_null_array(to, array.len()),
        _ => return Ok(nothing_fits(array, target)),
    };
    Ok(Converted { failed: newly_null(array, &converted), array: without_negative_zero(converted) })
}

/// −0 and 0 are one value; the table has 0.
fn without_negative_zero(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float32 => {
            let floats = array.as_primitive::<Float32Type>();
            if floats.values().iter().any(|value| value.to_bits() == (-0.0_f32).to_bits()) {
                return Arc::new(floats.unary::<_, Float32Type>(|value| value + 0.0));
            }
        }
        DataType::Float64 => {
            let floats = array.as_primitive::<Float64Type>();
            if floats.values().iter().any(|value| value.to_bits() == (-0.0_f64).to_bits()) {
                return Arc::new(floats.unary::<_, Float64Type>(|value| value + 0.0));
            }
        }
        _ => {}
    }
    array
}

/// Numbers that come back as they were when cast there and back.
fn exactly(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    let there = cast(array, target)?;
    let back = cast(&there, array.data_type())?;
    let differs = distinct(&back, array)?;
    if differs.true_count() == 0 {
        return Ok(there);
    }
    let differs = if array.data_type().is_floating() {
        ignoring_zero_sign(array, &back, differs.values())?
    } else {
        differs.values().clone()
    };
    arrow::compute::nullif(&there, &arrow::array::BooleanArray::new(differs, None))
}

/// Of the rows that differ, those that differ by more than the sign of a zero.
fn ignoring_zero_sign(array: &ArrayRef, back: &ArrayRef, differs: &BooleanBuffer) -> Result<BooleanBuffer, ArrowError> {
    let (a, b) = (cast(array, &DataType::Float64)?, cast(back, &DataType::Float64)?);
    let (a, b) = (a.as_primitive::<Float64Type>(), b.as_primitive::<Float64Type>());
    Ok(BooleanBuffer::collect_bool(differs.len(), |i| {
        differs.value(i) && !(a.is_valid(i) && b.is_valid(i) && a.value(i) == 0.0 && b.value(i) == 0.0)
    }))
}

fn timestamp_micros(array: &ArrayRef, unit: TimeUnit) -> PrimitiveArray<TimestampMicrosecondType> {
    fn scaled<T: ArrowPrimitiveType<Native = i64>>(
        array: &ArrayRef,
        scale: impl Fn(i64) -> Option<i64>,
    ) -> PrimitiveArray<TimestampMicrosecondType> {
        array.as_primitive::<T>().unary_opt(|value| scale(value).filter(|micros| representable(*micros)))
    }
    match unit {
        TimeUnit::Second => scaled::<TimestampSecondType>(array, |value| value.checked_mul(1_000_000)),
        TimeUnit::Millisecond => scaled::<TimestampMillisecondType>(array, |value| value.checked_mul(1_000)),
        TimeUnit::Microsecond => in_range(array.as_primitive::<TimestampMicrosecondType>()),
        TimeUnit::Nanosecond => scaled::<TimestampNanosecondType>(array, |value| Some(value.div_euclid(1_000))),
    }
}

fn in_range(array: &PrimitiveArray<TimestampMicrosecondType>) -> PrimitiveArray<TimestampMicrosecondType> {
    if array.values().iter().all(|micros| representable(*micros)) {
        return array.clone();
    }
    array.unary_opt(|micros| Some(micros).filter(|micros| representable(*micros)))
}

fn representable(micros: i64) -> bool {
    (TIMESTAMP_MICROS_MIN..=TIMESTAMP_MICROS_MAX).contains(&micros)
}

fn dates_in_range(array: &PrimitiveArray<Date32Type>) -> ArrayRef {
    let days: PrimitiveArray<Date32Type> =
        array.unary_opt(|days| Some(days).filter(|days| (DATE_DAYS_MIN..=DATE_DAYS_MAX).contains(days)));
    Arc::new(days)
}

fn epoch_micros(array: &ArrayRef, epoch: EpochUnit) -> PrimitiveArray<TimestampMicrosecondType> {
    array.as_primitive::<Int64Type>().unary_opt(|value| {
        let micros = match epoch {
            EpochUnit::Nanoseconds => Some(value.div_euclid(1_000)),
            _ => value.checked_mul(epoch.micros()),
        };
        micros.filter(|micros| representable(*micros))
    })
}

fn fractional_micros(array: &ArrayRef, epoch: EpochUnit) -> PrimitiveArray<TimestampMicrosecondType> {
    let scale = match epoch {
        EpochUnit::Nanoseconds => 1e-3,
        EpochUnit::Microseconds => 1.0,
        EpochUnit::Milliseconds => 1e3,
        EpochUnit::Seconds => 1e6,
    };
    array.as_primitive::<Float64Type>().unary_opt(|value| {
        let micros = (value * scale).round();
        #[expect(clippy::cast_possible_truncation, reason = "checked against the representable range first")]
        (micros >= TIMESTAMP_MICROS_MIN as f64 && micros <= TIMESTAMP_MICROS_MAX as f64).then_some(micros as i64)
    })
}

fn uuids(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), 16);
    for text in array.as_string_view() {
        match text.and_then(|text| uuid::Uuid::parse_str(text).ok()) {
            Some(uuid) => builder.append_value(uuid.as_bytes())?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn fixed(array: &ArrayRef, width: i32) -> Result<ArrayRef, ArrowError> {
    let mut builder = FixedSizeBinaryBuilder::with_capacity(array.len(), width);
    for bytes in array.as_binary_view() {
        match bytes.filter(|bytes| i32::try_from(bytes.len()) == Ok(width)) {
            Some(bytes) => builder.append_value(bytes)?,
            None => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn cast(array: &dyn Array, to: &DataType) -> Result<ArrayRef, ArrowError> {
    cast_with_options(array, to, &CastOptions { safe: true, ..CastOptions::default() })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::LargeBinary | DataType::BinaryView)
}

/// The struct's field of that name: exactly, else the only one that differs by case alone.
fn find_field(array: &StructArray, name: &str) -> Option<usize> {
    let names = array.column_names();
    names.iter().position(|candidate| *candidate == name).or_else(|| {
        let lower = name.to_lowercase();
        let mut alike = names.iter().enumerate().filter(|(_, candidate)| candidate.to_lowercase() == lower);
        alike.next().filter(|_| alike.next().is_none()).map(|(index, _)| index)
    })
}

/// Fields that may hold the NULLs of rows that did not fit; those rows never reach the table.
fn relaxed(fields: &arrow::datatypes::Fields) -> arrow::datatypes::Fields {
    fields.iter().map(|field| Arc::new(field.as_ref().clone().with_nullable(true))).collect()
}

fn nothing_fits(array: &ArrayRef, target: &DataType) -> Converted {
    let converted = new_null_array(target, array.len());
    Converted { failed: newly_null(array, &converted), array: converted }
}

fn newly_null(before: &ArrayRef, after: &ArrayRef) -> Option<BooleanBuffer> {
    let before_nulls = before.logical_nulls();
    let after_nulls = after.logical_nulls()?;
    if after_nulls.null_count() == before_nulls.as_ref().map_or(0, NullBuffer::null_count) {
        return None;
    }
    let missing = !after_nulls.inner();
    Some(match before_nulls {
        Some(before) => &missing & before.inner(),
        None => missing,
    })
}

fn null_where(array: &ArrayRef) -> Option<BooleanBuffer> {
    array.logical_nulls().filter(|nulls| nulls.null_count() > 0).map(|nulls| !nulls.inner())
}

fn union(a: Option<BooleanBuffer>, b: Option<BooleanBuffer>) -> Option<BooleanBuffer> {
    match (a, b) {
        (Some(a), Some(b)) => Some(&a | &b),
        (a, b) => a.or(b),
    }
}

fn within(failed: Option<BooleanBuffer>, nulls: Option<&NullBuffer>) -> Option<BooleanBuffer> {
    let failed = match (failed, nulls) {
        (Some(failed), Some(nulls)) => Some(&failed & nulls.inner()),
        (failed, _) => failed,
    };
    failed.filter(|failed| failed.count_set_bits() > 0)
}

fn without(nulls: Option<&NullBuffer>, failed: Option<&BooleanBuffer>) -> Option<NullBuffer> {
    let Some(failed) = failed else { return nulls.cloned() };
    let kept = NullBuffer::new(!failed);
    NullBuffer::union(nulls, Some(&kept))
}

fn rows_of_elements(offsets: &OffsetBuffer<i32>, elements: &BooleanBuffer) -> BooleanBuffer {
    BooleanBuffer::collect_bool(offsets.len() - 1, |row| {
        let (start, end) = (offsets[row], offsets[row + 1]);
        (start..end).any(|index| usize::try_from(index).is_ok_and(|index| elements.value(index)))
    })
}
