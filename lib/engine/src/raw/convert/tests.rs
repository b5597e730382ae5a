//! Conversions held against exact arithmetic: every value of every raw type, into every type of a contract, either is the
//! same value there or breaks its row.

mod exact;
mod values;

use arrow::array::StringViewArray;
use proptest::prelude::*;

use super::*;
use exact::{expected, float_text};
use values::{Raw, Seed, array, raw, text};

/// A converted value.
fn shown(array: &ArrayRef, row: usize) -> String {
    match array.data_type() {
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float32 => float_text(f64::from(array.as_primitive::<Float32Type>().value(row))),
        DataType::Float64 => float_text(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value(row).to_string(),
        DataType::Date32 => array.as_primitive::<Date32Type>().value(row).to_string(),
        DataType::Time64(_) => array.as_primitive::<Time64MicrosecondType>().value(row).to_string(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::BinaryView => format!("{:?}", array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => format!("{:?}", array.as_fixed_size_binary().value(row)),
        other => unreachable!("{other} is no type of a contract"),
    }
}

fn raw_types() -> Vec<DataType> {
    use DataType as T;
    vec![
        T::Null,
        T::Boolean,
        T::Int8,
        T::Int16,
        T::Int32,
        T::Int64,
        T::UInt8,
        T::UInt16,
        T::UInt32,
        T::UInt64,
        T::Float16,
        T::Float32,
        T::Float64,
        T::Decimal128(9, 2),
        T::Decimal128(38, 10),
        T::Decimal128(38, 38),
        T::Decimal256(76, 20),
        T::Utf8View,
        T::BinaryView,
        T::FixedSizeBinary(3),
        T::FixedSizeBinary(16),
        T::Date32,
        T::Time32(TimeUnit::Millisecond),
        T::Time64(TimeUnit::Microsecond),
        T::Time64(TimeUnit::Nanosecond),
        T::Timestamp(TimeUnit::Millisecond, None),
        T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Timestamp(TimeUnit::Nanosecond, None),
    ]
}

fn declared_types() -> Vec<DataType> {
    use DataType as T;
    vec![
        T::Boolean,
        T::Int32,
        T::Int64,
        T::Float32,
        T::Float64,
        T::Decimal128(5, 2),
        T::Decimal128(20, 0),
        T::Decimal128(38, 6),
        T::Decimal128(38, 38),
        T::Date32,
        T::Time64(TimeUnit::Microsecond),
        T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Utf8View,
        T::BinaryView,
        T::FixedSizeBinary(3),
        T::FixedSizeBinary(16),
    ]
}

/// Holds each value against exact arithmetic, and the column against the table.
fn hold(raw_type: &DataType, raws: &[Raw], declared: &DataType, epoch: EpochUnit) {
    let column = array(raw_type, raws);
    let converted = convert(&column, &Field::new("c", declared.clone(), true), epoch).unwrap();
    assert_eq!(converted.array.data_type(), declared);
    for (row, raw) in raws.iter().enumerate() {
        let failed = converted.failed.as_ref().is_some_and(|failed| failed.value(row));
        let found = converted.array.is_valid(row).then(|| shown(&converted.array, row));
        if raw == &Raw::Nothing {
            assert_eq!((found, failed), (None, false));
            continue;
        }
        // Bytes of one length are no text, whatever they are.
        let is_text = matches!(raw_type, DataType::FixedSizeBinary(_)) && declared == &DataType::Utf8View;
        let wanted = expected(raw, declared, epoch).filter(|_| !is_text);
        assert_eq!((&found, failed), (&wanted, wanted.is_none()), "{raw:?} of {raw_type} as {declared}, {epoch:?}");
        match fit(raw_type, declared) {
            Fit::Every => assert!(!failed, "every {raw_type} fits {declared}"),
            Fit::None => assert!(failed, "no {raw_type} fits {declared}"),
            Fit::Those(_) => {}
        }
    }
}

fn epochs() -> Vec<EpochUnit> {
    vec![EpochUnit::Seconds, EpochUnit::Milliseconds, EpochUnit::Microseconds, EpochUnit::Nanoseconds]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn a_value_is_the_same_in_its_declared_type_or_breaks_its_row(
        seeds in prop::collection::vec(any::<Seed>(), 1..16),
        raw_type in prop::sample::select(raw_types()),
        epoch in prop::sample::select(epochs()),
    ) {
        let raws: Vec<Raw> = seeds.iter().map(|seed| raw(&raw_type, *seed)).collect();
        for declared in declared_types() {
            hold(&raw_type, &raws, &declared, epoch);
        }
    }

    #[test]
    fn text_says_a_value_exactly_or_breaks_its_row(seeds in prop::collection::vec(any::<Seed>(), 1..64)) {
        let raws: Vec<Raw> = seeds.iter().map(|seed| text(*seed)).collect();
        for declared in declared_types() {
            hold(&DataType::Utf8View, &raws, &declared, EpochUnit::Seconds);
        }
    }
}

fn one(text: &str, declared: DataType) -> Option<String> {
    let column: ArrayRef = Arc::new(StringViewArray::from_iter_values([text]));
    let converted = convert(&column, &Field::new("c", declared, true), EpochUnit::Seconds).unwrap();
    assert_eq!(converted.failed.is_some(), converted.array.is_null(0));
    converted.array.is_valid(0).then(|| shown(&converted.array, 0))
}

#[test]
fn text_is_never_bent() {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    let time = DataType::Time64(TimeUnit::Microsecond);
    for (text, declared) in [
        ("1.005", DataType::Decimal128(10, 2)),
        ("1e39", DataType::Float32),
        ("1e400", DataType::Float64),
        ("-1e400", DataType::Float64),
        ("1e-400", DataType::Float64),
        ("9007199254740993", DataType::Float64),
        ("2025-06-04T23:59:59-05:00", DataType::Date32),
        ("2025-06-04T00:00:00.0000000001", DataType::Date32),
        ("2025-02-30", DataType::Date32),
        ("0000-12-31", DataType::Date32),
        ("23:59:60", time.clone()),
        ("10:00:60", time.clone()),
        ("24:00:00", time.clone()),
        ("86400000000", time.clone()),
        ("5", time.clone()),
        ("2025-06-30T23:59:60Z", micros.clone()),
        ("1.5", DataType::Int64),
        ("99999999999999999999", DataType::Int64),
        ("1_000", DataType::Int64),
        ("0x10", DataType::Int64),
        ("of", DataType::Boolean),
    ] {
        assert_eq!(one(text, declared.clone()), None, "{text} as {declared}");
    }
    for (text, declared, value) in [
        ("1.0050", DataType::Decimal128(10, 3), "1005"),
        ("1e3", DataType::Int64, "1000"),
        ("+7", DataType::Int32, "7"),
        (" 7 ", DataType::Int32, "7"),
        ("0.1", DataType::Float32, "0.10000000149011612"),
        ("0.10000000000000001", DataType::Float64, "0.1"),
        ("-Infinity", DataType::Float64, "-inf"),
        ("2025-06-04", DataType::Date32, "20243"),
        ("20250604", DataType::Date32, "20243"),
        ("2025-06-04T00:00:00Z", DataType::Date32, "20243"),
        ("23:59:59.9999999", time.clone(), "86399999999"),
        ("11:59 PM", time, "86340000000"),
        ("1969-12-31T23:59:59.9999999", micros, "-1"),
    ] {
        assert_eq!(one(text, declared.clone()).as_deref(), Some(value), "{text} as {declared}");
    }
}

#[test]
fn the_page_is_the_table() {
    let names: Vec<(&str, DataType)> = vec![
        ("boolean", DataType::Boolean),
        ("integer, signed, 8 or 16 bits", DataType::Int16),
        ("integer, signed, 32 bits", DataType::Int32),
        ("integer, signed, 64 bits", DataType::Int64),
        ("integer, unsigned, 8 or 16 bits", DataType::UInt16),
        ("integer, unsigned, 32 bits", DataType::UInt32),
        ("integer, unsigned, 64 bits", DataType::UInt64),
        ("float16, float", DataType::Float32),
        ("double", DataType::Float64),
        ("decimal", DataType::Decimal128(9, 2)),
        ("date", DataType::Date32),
        ("time", DataType::Time64(TimeUnit::Microsecond)),
        ("timestamp, INT96", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("string, JSON", DataType::Utf8View),
        ("bytes, ENUM, BSON", DataType::BinaryView),
        ("bytes of one length, INTERVAL", DataType::FixedSizeBinary(12)),
    ];
    let contract: Vec<(&str, DataType)> = vec![
        ("boolean", DataType::Boolean),
        ("int", DataType::Int32),
        ("long", DataType::Int64),
        ("float", DataType::Float32),
        ("double", DataType::Float64),
        ("decimal", DataType::Decimal128(9, 2)),
        ("date", DataType::Date32),
        ("time", DataType::Time64(TimeUnit::Microsecond)),
        ("timestamp, timestamptz", DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("string", DataType::Utf8View),
        ("uuid", DataType::FixedSizeBinary(16)),
        ("fixed", DataType::FixedSizeBinary(12)),
        ("binary", DataType::BinaryView),
    ];
    let mut page = String::from(include_str!("page.md"));
    for (raw_name, raw_type) in names {
        page.push_str(&format!("\n### {raw_name}\n\n| as | which values |\n|---|---|\n"));
        for (name, declared) in &contract {
            match fit(&raw_type, declared) {
                Fit::Every => page.push_str(&format!("| {name} | every |\n")),
                Fit::Those(which) => page.push_str(&format!("| {name} | {which} |\n")),
                Fit::None => {}
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/conversions.md");
    if std::fs::read_to_string(path).ok().as_ref() != Some(&page) {
        std::fs::write(path, &page).unwrap();
        panic!("docs/conversions.md is not the table, and was written anew: look at it and commit it");
    }
}
