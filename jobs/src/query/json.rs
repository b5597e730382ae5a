//! Rows as JSON lines in which nothing is lost: every column is there, also where it is NULL, and NaN and the infinities
//! are the strings "NaN", "Infinity" and "-Infinity". Decimals are strings too: readers take numbers for doubles. A map
//! whose keys are no text is a list of pairs: `[[1, "a"], [2, "b"]]`.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, MapArray, PrimitiveArray, RecordBatch},
    datatypes::{DataType, Decimal128Type, FieldRef, Float32Type, Float64Type},
    error::ArrowError,
    json::{
        Encoder, EncoderFactory, EncoderOptions, WriterBuilder,
        writer::{LineDelimited, NullableEncoder, make_encoder},
    },
};

/// The rows of a batch, one object a line.
pub fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let builder = WriterBuilder::new().with_explicit_nulls(true).with_encoder_factory(Arc::new(Numbers));
    let mut writer = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

/// Encoders for what JSON's numbers cannot say, or not without loss.
#[derive(Debug)]
struct Numbers;

impl EncoderFactory for Numbers {
    fn make_default_encoder<'a>(
        &self,
        _: &'a FieldRef,
        array: &'a dyn Array,
        options: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            DataType::Decimal128(..) => Box::new(Decimals(array.as_primitive::<Decimal128Type>())),
            DataType::Map(entry, _) if !has_text_keys(entry.data_type()) => {
                Box::new(Pairs::new(entry.data_type(), array.as_map(), options)?)
            }
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
    }
}

fn has_text_keys(entry: &DataType) -> bool {
    let key = if let DataType::Struct(fields) = entry { fields.first().map(|key| key.data_type()) } else { None };
    matches!(key, Some(DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View))
}

/// A map as a list of its keys and values.
struct Pairs<'a> {
    map: &'a MapArray,
    keys: NullableEncoder<'a>,
    values: NullableEncoder<'a>,
}

impl<'a> Pairs<'a> {
    fn new(entry: &'a DataType, map: &'a MapArray, options: &'a EncoderOptions) -> Result<Self, ArrowError> {
        let DataType::Struct(fields) = entry else {
            return Err(ArrowError::SchemaError("a map's entries are a struct".to_owned()));
        };
        let keys = make_encoder(&fields[0], map.keys(), options)?;
        let values = make_encoder(&fields[1], map.values(), options)?;
        Ok(Self { map, keys, values })
    }
}

impl Encoder for Pairs<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let offsets = self.map.value_offsets();
        let offset = |index: usize| usize::try_from(offsets[index]).expect("an offset is not negative");
        let (first, end) = (offset(index), offset(index + 1));
        out.push(b'[');
        for entry in first..end {
            out.extend_from_slice(if entry == first { b"[" } else { b",[" });
            self.keys.encode(entry, out);
            out.push(b',');
            if self.values.is_null(entry) {
                out.extend_from_slice(b"null")
            } else {
                self.values.encode(entry, out)
            }
            out.push(b']');
        }
        out.push(b']');
    }
}

struct Floats<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Encoder for Floats<'_, T>
where
    T::Native: serde::Serialize + Into<f64>,
{
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        let number = self.0.value(index);
        let text: f64 = number.into();
        let text = match text {
            _ if text.is_nan() => "\"NaN\"".to_owned(),
            f64::INFINITY => "\"Infinity\"".to_owned(),
            f64::NEG_INFINITY => "\"-Infinity\"".to_owned(),
            _ => serde_json::to_string(&number).unwrap_or_default(),
        };
        out.extend_from_slice(text.as_bytes());
    }
}

struct Decimals<'a>(&'a PrimitiveArray<Decimal128Type>);

impl Encoder for Decimals<'_> {
    fn encode(&mut self, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("\"{}\"", self.0.value_as_string(index)).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{
            ArrayRef, Decimal128Array, Float32Array, Float64Array, Float64Builder, Int32Builder, MapBuilder,
            StringArray, StringBuilder,
        },
        record_batch::RecordBatch,
    };

    use super::*;

    #[test]
    fn a_map_without_text_for_keys_is_a_list_of_pairs() {
        let mut map = MapBuilder::new(
            None,
            Int32Builder::new(),
            MapBuilder::new(None, StringBuilder::new(), Float64Builder::new()),
        );
        map.keys().append_value(1);
        map.values().keys().append_value("x");
        map.values().values().append_value(f64::NAN);
        map.values().append(true).unwrap();
        map.keys().append_value(-2);
        map.values().append(false).unwrap();
        map.append(true).unwrap();
        map.append(true).unwrap();
        map.append(false).unwrap();
        let batch = RecordBatch::try_from_iter([("m", Arc::new(map.finish()) as ArrayRef)]).unwrap();
        let text = String::from_utf8(lines(&batch).unwrap()).unwrap();
        assert_eq!(text, "{\"m\":[[1,{\"x\":\"NaN\"}],[-2,null]]}\n{\"m\":[]}\n{\"m\":null}\n");
    }

    #[test]
    fn nothing_is_lost() {
        let doubles = Float64Array::from(vec![Some(f64::NAN), Some(f64::INFINITY), None, Some(0.1)]);
        let floats = Float32Array::from(vec![Some(0.1), Some(f32::NEG_INFINITY), Some(21.0), None]);
        let texts = StringArray::from(vec![None, Some(""), Some("NaN"), Some("a\"b")]);
        let decimals = Decimal128Array::from(vec![Some(-1), Some(10_i128.pow(37)), None, Some(0)]);
        let decimals = decimals.with_precision_and_scale(38, 2).unwrap();
        let batch = RecordBatch::try_from_iter([
            ("d", Arc::new(doubles) as ArrayRef),
            ("f", Arc::new(floats)),
            ("t", Arc::new(texts)),
            ("n", Arc::new(decimals)),
        ]);
        let text = String::from_utf8(lines(&batch.unwrap()).unwrap()).unwrap();
        insta::assert_snapshot!(text, @r#"
        {"d":"NaN","f":0.1,"t":null,"n":"-0.01"}
        {"d":"Infinity","f":"-Infinity","t":"","n":"100000000000000000000000000000000000.00"}
        {"d":null,"f":21.0,"t":"NaN","n":null}
        {"d":0.1,"f":null,"t":"a\"b","n":"0.00"}
        "#);
    }
}
