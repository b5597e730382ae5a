use arrow::{
    array::{
        BinaryViewArray, Date32Array, Decimal128Array, FixedSizeBinaryArray, Float64Array, Int64Array,
        Time64MicrosecondArray, TimestampMicrosecondArray,
    },
    compute::kernels::cmp::eq,
};
use iceberg::{
    spec::{Datum, PrimitiveLiteral, PrimitiveType},
    transform::create_transform_function,
};
use proptest::prelude::*;

use super::*;

/// The crate's answer for one value.
fn theirs(transform: Transform, value: &Datum) -> PrimitiveLiteral {
    let function = create_transform_function(&transform).unwrap();
    function.transform_literal(value).unwrap().unwrap().literal().clone()
}

fn our_int(transform: Transform, source: ArrayRef) -> PrimitiveLiteral {
    PrimitiveLiteral::Int(transform_array(transform, &source).unwrap().as_primitive::<Int32Type>().value(0))
}

fn timestamps(micros: i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone("UTC"))
}

fn dates(days: i32) -> ArrayRef {
    Arc::new(Date32Array::from(vec![days]))
}

proptest! {
    #[test]
    fn times_are_floored_as_the_crate_does(micros in -62_000_000_000_000_000_i64..250_000_000_000_000_000) {
        for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
            let expected = theirs(transform, &Datum::timestamptz_micros(micros));
            prop_assert_eq!(our_int(transform, timestamps(micros)), expected, "{} of {}", transform, micros);
        }
    }

    #[test]
    fn dates_are_floored_as_the_crate_does(days in -700_000..2_900_000) {
        for transform in [Transform::Year, Transform::Month, Transform::Day] {
            prop_assert_eq!(our_int(transform, dates(days)), theirs(transform, &Datum::date(days)), "{}", days);
        }
    }

    #[test]
    fn buckets_are_the_crates(
        int: i32, long: i64, text in ".{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..40), uuid: u128, n in 1..5000_u32,
    ) {
        let transform = Transform::Bucket(n);
        let check = |source: ArrayRef, value: Datum| {
            let (ours, theirs) = (our_int(transform, source), theirs(transform, &value));
            prop_assert_eq!(ours, theirs, "{}", value);
            Ok(())
        };
        check(Arc::new(Int32Array::from(vec![int])), Datum::int(int))?;
        check(Arc::new(Int64Array::from(vec![long])), Datum::long(long))?;
        check(dates(int), Datum::date(int))?;
        check(timestamps(long), Datum::timestamptz_micros(long))?;
        let time = long.rem_euclid(86_400_000_000);
        check(Arc::new(Time64MicrosecondArray::from(vec![time])), Datum::time_micros(time).unwrap())?;
        check(Arc::new(StringViewArray::from(vec![text.as_str()])), Datum::string(&text))?;
        check(Arc::new(BinaryViewArray::from(vec![bytes.as_slice()])), Datum::binary(bytes.clone()))?;
        let uuid = uuid::Uuid::from_u128(uuid);
        let fixed = FixedSizeBinaryArray::try_from_iter(std::iter::once(uuid.as_bytes())).unwrap();
        check(Arc::new(fixed), Datum::uuid(uuid))?;
    }

    #[test]
    fn decimals_hash_their_shortest_form(value: i128, shift in 0..127_u32, n in 1..5000_u32) {
        let unscaled = value >> shift;
        let decimal_type = PrimitiveType::Decimal { precision: 38, scale: 2 };
        let datum = Datum::try_from_bytes(&unscaled.to_be_bytes(), decimal_type).unwrap();
        let ours = our_int(Transform::Bucket(n), Arc::new(Decimal128Array::from(vec![unscaled])));
        prop_assert_eq!(ours, theirs(Transform::Bucket(n), &datum));
    }

    #[test]
    fn truncation_is_the_crates(int in -1_000_000..1_000_000, long in -1_000_000_000_000..1_000_000_000_000_i64,
        text in ".{0,12}", width in 1..300_u32,
    ) {
        let transform = Transform::Truncate(width);
        let ours = transform_array(transform, &(Arc::new(Int64Array::from(vec![long])) as ArrayRef)).unwrap();
        let long_expected = theirs(transform, &Datum::long(long));
        prop_assert_eq!(PrimitiveLiteral::Long(ours.as_primitive::<Int64Type>().value(0)), long_expected);
        prop_assert_eq!(our_int(transform, Arc::new(Int32Array::from(vec![int]))), theirs(transform, &Datum::int(int)));
        let transform = Transform::Truncate(width % 6 + 1);
        let ours = transform_array(transform, &(Arc::new(StringViewArray::from(vec![text.as_str()])) as ArrayRef)).unwrap();
        let expected = theirs(transform, &Datum::string(&text));
        prop_assert_eq!(PrimitiveLiteral::String(ours.as_string_view().value(0).to_owned()), expected);
    }
}

#[test]
fn hashes_are_those_of_the_specification() {
    // https://iceberg.apache.org/spec/#appendix-b-32-bit-hash-requirements
    assert_eq!(murmur3_32(&34_i64.to_le_bytes()), 2_017_239_379);
    assert_eq!(murmur3_32(b"iceberg"), 1_210_000_089);
    assert_eq!(murmur3_32(&[0, 1, 2, 3]) as i32, -188_683_207);
    let (bytes, start) = decimal_bytes(1420);
    assert_eq!(murmur3_32(&bytes[start..]) as i32, -500_754_589);
    let uuid = uuid::Uuid::parse_str("f79c3e09-677c-4bbd-a479-3f349cb785e7").unwrap();
    assert_eq!(murmur3_32(uuid.as_bytes()) as i32, 1_488_055_340);
}

#[test]
fn decimals_shrink_to_the_bytes_they_need() {
    for (value, length) in [(0, 1), (127, 1), (128, 2), (-128, 1), (-129, 2), (i128::MAX, 16), (i128::MIN, 16)] {
        assert_eq!(16 - decimal_bytes(value).1, length, "{value}");
    }
}

#[test]
fn before_1970_is_floored() {
    let last_microsecond = timestamps(-1);
    for transform in [Transform::Year, Transform::Month, Transform::Day, Transform::Hour] {
        assert_eq!(our_int(transform, last_microsecond.clone()), PrimitiveLiteral::Int(-1), "{transform}");
    }
    assert_eq!(our_int(Transform::Month, dates(-365)), PrimitiveLiteral::Int(-12));
    assert_eq!(our_int(Transform::Year, dates(-366)), PrimitiveLiteral::Int(-2));
}

#[test]
fn decimals_and_bytes_are_truncated() {
    let decimals = Decimal128Array::from(vec![Some(1065), Some(-1), None]).with_precision_and_scale(9, 2).unwrap();
    let ours = transform_array(Transform::Truncate(50), &(Arc::new(decimals) as ArrayRef)).unwrap();
    let expected = Decimal128Array::from(vec![Some(1050), Some(-50), None]).with_precision_and_scale(9, 2).unwrap();
    assert_eq!(ours.as_primitive::<Decimal128Type>(), &expected);
    let bytes: ArrayRef = Arc::new(BinaryViewArray::from(vec![b"abc".as_slice(), b"a"]));
    let ours = transform_array(Transform::Truncate(2), &bytes).unwrap();
    let expected = BinaryViewArray::from(vec![b"ab".as_slice(), b"a"]);
    assert_eq!(eq(ours.as_binary_view(), &expected).unwrap().true_count(), 2);
}

#[test]
fn null_stays_null() {
    let source: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
    for transform in [Transform::Identity, Transform::Bucket(4), Transform::Truncate(3)] {
        let ours = transform_array(transform, &source).unwrap();
        assert_eq!((ours.is_null(0), ours.is_null(1)), (false, true), "{transform}");
    }
    assert_eq!(transform_array(Transform::Void, &source).unwrap().logical_null_count(), 2);
}

#[test]
fn undefined_combinations_are_refused() {
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    let error = transform_array(Transform::Bucket(4), &floats).unwrap_err().to_string();
    assert_eq!(error, "transform bucket[4] cannot be read: it is not defined for Float64");
    assert!(transform_array(Transform::Hour, &dates(1)).is_err());
}
