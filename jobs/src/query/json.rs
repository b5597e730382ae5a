//! Rows as JSON lines in which nothing is lost: every column is there, also where it is NULL, and NaN and the infinities
//! are the strings "NaN", "Infinity" and "-Infinity". Decimals are strings too: readers take numbers for doubles.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrowPrimitiveType, AsArray, PrimitiveArray, RecordBatch},
    datatypes::{DataType, Decimal128Type, FieldRef, Float32Type, Float64Type},
    error::ArrowError,
    json::{
        Encoder, EncoderFactory, EncoderOptions, WriterBuilder,
        writer::{LineDelimited, NullableEncoder},
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
        _: &'a EncoderOptions,
    ) -> Result<Option<NullableEncoder<'a>>, ArrowError> {
        let encoder: Box<dyn Encoder + 'a> = match array.data_type() {
            DataType::Float32 => Box::new(Floats(array.as_primitive::<Float32Type>())),
            DataType::Float64 => Box::new(Floats(array.as_primitive::<Float64Type>())),
            DataType::Decimal128(..) => Box::new(Decimals(array.as_primitive::<Decimal128Type>())),
            _ => return Ok(None),
        };
        Ok(Some(NullableEncoder::new(encoder, array.nulls().cloned())))
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
        array::{ArrayRef, Decimal128Array, Float32Array, Float64Array, StringArray},
        record_batch::RecordBatch,
    };

    use super::*;

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
