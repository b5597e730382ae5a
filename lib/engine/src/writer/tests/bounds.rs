//! Counts and bounds against what the rows say.

use arrow::{
    array::{BinaryViewArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, StructArray},
    datatypes::DataType,
};
use lake::spec::{Datum, StructType};
use proptest::prelude::*;

use super::*;

type Row =
    (Option<String>, Option<Vec<u8>>, Option<Option<f64>>, (Option<i64>, Option<i64>, Option<i32>, Option<u128>));

fn schema() -> SchemaRef {
    let place = StructType::new(vec![NestedField::optional(4, "x", Type::Primitive(PrimitiveType::Double)).into()]);
    let decimal = |precision| Type::Primitive(PrimitiveType::Decimal { precision, scale: 2 });
    let schema = Schema::builder().with_fields([
        NestedField::optional(1, "text", Type::Primitive(PrimitiveType::String)).into(),
        NestedField::optional(2, "bytes", Type::Primitive(PrimitiveType::Binary)).into(),
        NestedField::optional(3, "place", Type::Struct(place)).into(),
        NestedField::optional(5, "short", decimal(9)).into(),
        NestedField::optional(6, "wide", decimal(38)).into(),
        NestedField::optional(7, "day", Type::Primitive(PrimitiveType::Date)).into(),
        NestedField::optional(8, "id", Type::Primitive(PrimitiveType::Uuid)).into(),
    ]);
    Arc::new(schema.build().unwrap())
}

fn batch(rows: &[Row]) -> RecordBatch {
    let schema = arrow_schema(&schema()).unwrap();
    let DataType::Struct(place) = schema.field(2).data_type() else { panic!("no struct") };
    // What lies under a NULL struct must not count.
    let xs = Float64Array::from_iter(rows.iter().map(|row| row.2.unwrap_or(Some(f64::NAN))));
    let nulls = rows.iter().map(|row| row.2.is_some()).collect::<Vec<_>>().into();
    let ids = rows.iter().map(|row| row.3.3.map(u128::to_be_bytes));
    let decimals = |values: Vec<Option<i128>>, precision| {
        Decimal128Array::from(values).with_precision_and_scale(precision, 2).unwrap()
    };
    RecordBatch::try_new(
        Arc::clone(&schema),
        vec![
            Arc::new(rows.iter().map(|row| row.0.as_deref()).collect::<StringViewArray>()),
            Arc::new(rows.iter().map(|row| row.1.as_deref()).collect::<BinaryViewArray>()),
            Arc::new(StructArray::new(place.clone(), vec![Arc::new(xs)], Some(nulls))),
            Arc::new(decimals(rows.iter().map(|row| row.3.0.map(|n| i128::from(n % 1_000_000_000))).collect(), 9)),
            Arc::new(decimals(rows.iter().map(|row| row.3.1.map(|n| i128::from(n) * 1_000_003)).collect(), 38)),
            Arc::new(Date32Array::from_iter(rows.iter().map(|row| row.3.2))),
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16).unwrap()),
        ],
    )
    .unwrap()
}

fn row() -> impl Strategy<Value = Row> {
    let floats = prop_oneof![Just(0.0), Just(-0.0), Just(f64::NAN), Just(f64::NEG_INFINITY), any::<f64>()];
    let text = prop_oneof!["\\PC{0,30}", "\u{10ffff}{14,20}", "device-0000000000[0-9]{1,70}"];
    (
        prop::option::of(text),
        prop::option::of(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            prop::collection::vec(Just(255), 14..90)
        ]),
        prop::option::of(prop::option::of(floats)),
        (any::<Option<i64>>(), any::<Option<i64>>(), any::<Option<i32>>(), any::<Option<u128>>()),
    )
}

/// Exact bounds, as Iceberg compares; `decimal` gives a value of a column.
fn exact<V: PartialOrd + Copy>(values: impl Iterator<Item = V>, datum: impl Fn(V) -> Datum) -> Option<(Datum, Datum)> {
    let range = values.fold(None, |range: Option<(V, V)>, value| {
        let (least, most) = range.unwrap_or((value, value));
        Some((if value < least { value } else { least }, if value > most { value } else { most }))
    });
    range.map(|(least, most)| (datum(least), datum(most)))
}

fn check(rows: &[Row], batches: usize, group_rows: usize) -> std::result::Result<(), TestCaseError> {
    let folder = TempDir::new().unwrap();
    let mut options = options(&folder, schema(), spec(&schema(), &[]));
    // Tiny row groups: bounds are merged over several.
    options.properties.insert("write.parquet.row-group-size-bytes".to_owned(), group_rows.to_string());
    options.memory_bytes = 1 << 12;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let files = runtime.block_on(async {
        let writer = TableWriter::new(options).unwrap();
        for rows in rows.chunks(rows.len().div_ceil(batches)) {
            writer.write(batch(rows)).await.unwrap();
        }
        writer.close().await.unwrap()
    });
    // A small memory limit may end files early; look at them one by one.
    let mut from = 0;
    for file in &files {
        let rows = &rows[from..from + file.record_count() as usize];
        from += rows.len();
        check_file(rows, file)?;
    }
    prop_assert_eq!(from, rows.len());
    Ok(())
}

fn check_file(rows: &[Row], file: &DataFile) -> std::result::Result<(), TestCaseError> {
    let nulls = |id| file.null_value_counts()[&id] as usize;
    let count = |is_null: fn(&Row) -> bool| rows.iter().filter(|row| is_null(row)).count();
    prop_assert_eq!(nulls(1), count(|row| row.0.is_none()));
    prop_assert_eq!(nulls(4), count(|row| row.2.flatten().is_none()));
    prop_assert_eq!(nulls(8), count(|row| row.3.3.is_none()));
    prop_assert!(file.value_counts().values().all(|values| *values as usize == rows.len()));
    let nans = count(|row| row.2.flatten().is_some_and(f64::is_nan)) as u64;
    prop_assert_eq!(file.nan_value_counts(), &HashMap::from([(4, nans)]));

    let bounds = |id| file.lower_bounds().get(&id).cloned().zip(file.upper_bounds().get(&id).cloned());
    let floats = rows.iter().filter_map(|row| row.2.flatten()).filter(|x| !x.is_nan());
    let signed = |x: f64, zero: f64| if x == 0.0 { zero } else { x };
    let expected = exact(floats, Datum::double).map(|(least, most)| {
        let of = |datum: Datum, zero| match datum.literal() {
            lake::spec::PrimitiveLiteral::Double(x) => Datum::double(signed(x.0, zero)).to_bytes().unwrap(),
            _ => unreachable!(),
        };
        (of(least, -0.0), of(most, 0.0))
    });
    let found = bounds(4).map(|(lower, upper)| (lower.to_bytes().unwrap(), upper.to_bytes().unwrap()));
    prop_assert_eq!(found, expected);
    let decimal = |precision| {
        move |n: i128| Datum::try_from_bytes(&n.to_be_bytes(), PrimitiveType::Decimal { precision, scale: 2 }).unwrap()
    };
    let shorts = rows.iter().filter_map(|row| row.3.0).map(|n| i128::from(n % 1_000_000_000));
    prop_assert_eq!(bounds(5), exact(shorts, decimal(9)));
    let wides = rows.iter().filter_map(|row| row.3.1).map(|n| i128::from(n) * 1_000_003);
    prop_assert_eq!(bounds(6), exact(wides, decimal(38)));
    prop_assert_eq!(bounds(7), exact(rows.iter().filter_map(|row| row.3.2), Datum::date));
    let uuid = |n| Datum::uuid(uuid::Uuid::from_u128(n));
    prop_assert_eq!(bounds(8), exact(rows.iter().filter_map(|row| row.3.3), uuid));

    // Cut bounds: around all values, short, and missing only where nothing can be above.
    let texts: Vec<&str> = rows.iter().filter_map(|row| row.0.as_deref()).collect();
    let text = |datum: &Datum| String::from_utf8(datum.to_bytes().unwrap().into_vec()).unwrap();
    if let Some(least) = texts.iter().min() {
        let lower = text(&file.lower_bounds()[&1]);
        prop_assert!(least.starts_with(&lower) && lower.chars().count() <= 64);
        prop_assert!(lower.chars().count() >= least.chars().count().min(16));
    }
    let most = texts.iter().max();
    match (most, file.upper_bounds().get(&1).map(text)) {
        (Some(most), Some(upper)) => prop_assert!(**most <= *upper && upper.chars().count() <= 64),
        (Some(most), None) => prop_assert!(most.starts_with(char::MAX)),
        (None, upper) => prop_assert_eq!(upper, None),
    }
    let bytes: Vec<&[u8]> = rows.iter().filter_map(|row| row.1.as_deref()).collect();
    if let Some(least) = bytes.iter().min() {
        let lower = file.lower_bounds()[&2].to_bytes().unwrap();
        prop_assert_eq!(lower.as_slice(), &least[..least.len().min(16)]);
    }
    match (bytes.iter().max(), file.upper_bounds().get(&2).map(|datum| datum.to_bytes().unwrap().into_vec())) {
        (Some(most), Some(upper)) => prop_assert!(*most <= upper.as_slice() && upper.len() <= 16),
        (Some(most), None) => prop_assert!(most.len() > 16 && most[..16].iter().all(|byte| *byte == 255)),
        (None, upper) => prop_assert_eq!(upper, None),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn bounds_are_those_of_the_rows(
        rows in prop::collection::vec(row(), 1..60), batches in 1..5_usize, group_bytes in prop_oneof![Just(1), Just(1 << 20)],
    ) {
        check(&rows, batches, group_bytes)?;
    }
}
