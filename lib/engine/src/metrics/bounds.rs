//! Bounds: from Parquet's bytes to Iceberg's, and short enough for a manifest.

use lake::spec::{Datum, PrimitiveLiteral, PrimitiveType};
use parquet::file::statistics::Statistics;

use super::bound_error;
use crate::{Result, transform::first_chars};

/// The bounds of a column while its row groups are read.
#[derive(Debug)]
pub(super) enum Bounds {
    /// No value yet.
    Empty,
    /// There are values, and nothing is known of them.
    Unknown,
    /// Smallest and largest.
    Known(Datum, Datum),
}

/// Smallest and largest value of a chunk in Iceberg's bytes; `None` when it has none that can be relied on.
pub(super) fn of_statistics(statistics: &Statistics, primitive: &PrimitiveType) -> Option<(Vec<u8>, Vec<u8>)> {
    let is_bytes = matches!(statistics, Statistics::ByteArray(_) | Statistics::FixedLenByteArray(_));
    // The deprecated fields compare bytes as signed; INT96 has no order.
    if matches!(statistics, Statistics::Int96(_)) || is_bytes && statistics.is_min_max_deprecated() {
        return None;
    }
    let (mut least, mut most) = (statistics.min_bytes_opt()?.to_vec(), statistics.max_bytes_opt()?.to_vec());
    let is_integer = matches!(statistics, Statistics::Int32(_) | Statistics::Int64(_));
    if is_integer && matches!(primitive, PrimitiveType::Decimal { .. }) {
        // Parquet stores short decimals low byte first, Iceberg all of them high byte first.
        least.reverse();
        most.reverse();
    }
    Some((least, most))
}

impl Bounds {
    /// Takes in another chunk's smallest and largest value.
    pub(super) fn extend(&mut self, least: Vec<u8>, most: Vec<u8>, primitive: &PrimitiveType) -> Result<()> {
        let (Some(least), Some(most)) =
            (datum(&least, primitive, Zero::Negative)?, datum(&most, primitive, Zero::Positive)?)
        else {
            *self = Self::Unknown;
            return Ok(());
        };
        *self = match std::mem::replace(self, Self::Unknown) {
            Self::Empty => Self::Known(least, most),
            Self::Unknown => Self::Unknown,
            Self::Known(least_before, most_before) => Self::Known(
                if least.literal() < least_before.literal() { least } else { least_before },
                if most.literal() > most_before.literal() { most } else { most_before },
            ),
        };
        Ok(())
    }

    /// The bounds for the manifest, strings and binaries cut to `length_max` code points or bytes.
    pub(super) fn into_data(
        self,
        primitive: &PrimitiveType,
        length_max: usize,
    ) -> Result<(Option<Datum>, Option<Datum>)> {
        let Self::Known(lower, upper) = self else { return Ok((None, None)) };
        Ok((Some(lower_bound(lower, primitive, length_max)?), upper_bound(upper, primitive, length_max)?))
    }
}

/// Which zero a bound of zero becomes: −0 comes before 0 in the format, and Parquet's writers do not tell them apart.
#[derive(Clone, Copy)]
enum Zero {
    Negative,
    Positive,
}

/// A bound from its bytes; `None` for a NaN, which only broken writers store.
fn datum(bytes: &[u8], primitive: &PrimitiveType, zero: Zero) -> Result<Option<Datum>> {
    let value = Datum::try_from_bytes(bytes, primitive.clone()).map_err(bound_error)?;
    Ok(match value.literal() {
        literal if literal.is_nan() => None,
        PrimitiveLiteral::Float(float) if float.0 == 0.0 => Some(Datum::float(match zero {
            Zero::Negative => -0.0_f32,
            Zero::Positive => 0.0,
        })),
        PrimitiveLiteral::Double(double) if double.0 == 0.0 => Some(Datum::double(match zero {
            Zero::Negative => -0.0_f64,
            Zero::Positive => 0.0,
        })),
        _ => Some(value),
    })
}

fn lower_bound(value: Datum, primitive: &PrimitiveType, length_max: usize) -> Result<Datum> {
    match value.literal() {
        PrimitiveLiteral::String(text) => Ok(Datum::string(first_chars(text, length_max))),
        PrimitiveLiteral::Binary(bytes) if bytes.len() > length_max => {
            Datum::try_from_bytes(&bytes[..length_max], primitive.clone()).map_err(bound_error)
        }
        _ => Ok(value),
    }
}

/// Cut values are made larger at their end, as Java does it (`UnicodeUtil`, `BinaryUtil`); `None` when none is larger.
fn upper_bound(value: Datum, primitive: &PrimitiveType, length_max: usize) -> Result<Option<Datum>> {
    match value.literal() {
        PrimitiveLiteral::String(text) => {
            let cut = first_chars(text, length_max);
            Ok(if cut.len() == text.len() { Some(value) } else { next_text(cut).map(Datum::string) })
        }
        PrimitiveLiteral::Binary(bytes) if bytes.len() > length_max => next_bytes(&bytes[..length_max])
            .map(|bytes| Datum::try_from_bytes(&bytes, primitive.clone()).map_err(bound_error))
            .transpose(),
        _ => Ok(Some(value)),
    }
}

/// The smallest string larger than every string that begins with `text`, no longer than it.
pub(super) fn next_text(text: &str) -> Option<String> {
    let mut chars: Vec<char> = text.chars().collect();
    while let Some(last) = chars.pop() {
        // A range of chars steps over the surrogates.
        if let Some(next) = (last..=char::MAX).nth(1) {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

/// The smallest byte string larger than every one that begins with `bytes`, no longer than it.
pub(super) fn next_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let last = bytes.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = bytes[..=last].to_vec();
    next[last] += 1;
    Some(next)
}
