//! How files are encoded: what the table's properties say, with our defaults.

use std::collections::HashMap;

use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};

use crate::{Error, Result};

/// How files are encoded, from the properties of a table (<https://iceberg.apache.org/docs/latest/configuration/>).
#[derive(Debug, Clone, PartialEq)]
pub struct FileSettings {
    /// Codec of all columns (`write.parquet.compression-codec`, `-level`).
    pub compression: Compression,
    /// Compressed bytes after which a row group ends (`write.parquet.row-group-size-bytes`).
    pub row_group_bytes: usize,
    /// Rows after which a row group ends: one that readers can decode piece by piece, on all their cores.
    pub row_group_rows_max: usize,
    /// Encoded bytes after which a page ends (`write.parquet.page-size-bytes`).
    pub page_bytes: usize,
    /// Rows after which a page ends (`write.parquet.page-row-limit`).
    pub page_rows: usize,
    /// Size at which a dictionary of strings is given up (`write.parquet.dict-size-bytes`). Numbers give up at an
    /// eighth: a dictionary of so many of them is no shorter than they are.
    pub dictionary_bytes: usize,
    /// Times as `DELTA_BINARY_PACKED`, and integers that outgrow their dictionary (`etl.parquet.delta-encoding`). Off
    /// unless said: the vectorized reader of Iceberg for Spark refuses it before version 1.10.
    pub is_delta_encoded: bool,
}

impl FileSettings {
    /// Reads the properties. `zstd_level` wins over theirs where the codec is zstd, which it is by default, at level 1.
    /// Fails for a codec or level that does not exist; other values that are no numbers count as absent.
    pub fn new(properties: &HashMap<String, String>, zstd_level: Option<i32>) -> Result<Self> {
        let number = |name: &str, default: usize| {
            let value = properties.get(name).and_then(|text| text.trim().parse().ok());
            value.filter(|number| *number > 0).unwrap_or(default)
        };
        Ok(Self {
            compression: compression(properties, zstd_level)?,
            row_group_bytes: number("write.parquet.row-group-size-bytes", 128 << 20),
            row_group_rows_max: 1 << 20,
            page_bytes: number("write.parquet.page-size-bytes", 1 << 20),
            page_rows: number("write.parquet.page-row-limit", 20_000),
            dictionary_bytes: number("write.parquet.dict-size-bytes", 1 << 20),
            is_delta_encoded: properties.get("etl.parquet.delta-encoding").is_some_and(|text| text.trim() == "true"),
        })
    }

    /// Memory that the encoder of a column takes before it has seen a value, in bytes: the hash table of its dictionary, and
    /// what its codec keeps between pages (measured with pages of a megabyte).
    pub(super) fn encoder_bytes(&self) -> usize {
        const DICTIONARY_BYTES: usize = 80 << 10;
        let codec_bytes = match self.compression {
            Compression::ZSTD(level) => match level.compression_level() {
                ..=1 => 1 << 20,
                2..=3 => 2 << 20,
                4..=8 => 4 << 20,
                9..=12 => 12 << 20,
                _ => 20 << 20,
            },
            Compression::GZIP(_) => 384 << 10,
            _ => 128 << 10,
        };
        DICTIONARY_BYTES + codec_bytes
    }
}

fn compression(properties: &HashMap<String, String>, zstd_level: Option<i32>) -> Result<Compression> {
    const CODEC: &str = "write.parquet.compression-codec";
    let codec = properties.get(CODEC).map_or("zstd", |text| text.trim()).to_ascii_lowercase();
    let level = properties.get("write.parquet.compression-level").map(|text| text.trim());
    let refuse = |reason: String| Error::Unsupported { subject: format!("table property {CODEC}"), reason };
    let level_of = |own: Option<i32>, default: i32| match (own, level) {
        (Some(level), _) => Ok(level),
        (None, None | Some("null")) => Ok(default),
        (None, Some(text)) => text.parse().map_err(|_| refuse(format!("{text:?} is no compression level"))),
    };
    let unsigned = |level: i32| u32::try_from(level).map_err(|_| refuse(format!("there is no level {level}")));
    match codec.as_str() {
        "zstd" => ZstdLevel::try_new(level_of(zstd_level, 1)?).map(Compression::ZSTD),
        "gzip" => GzipLevel::try_new(unsigned(level_of(None, 6)?)?).map(Compression::GZIP),
        "brotli" => BrotliLevel::try_new(unsigned(level_of(None, 1)?)?).map(Compression::BROTLI),
        "snappy" => Ok(Compression::SNAPPY),
        "lz4" => Ok(Compression::LZ4_RAW),
        "uncompressed" => Ok(Compression::UNCOMPRESSED),
        other => return Err(refuse(format!("there is no codec {other:?}"))),
    }
    .map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_read() {
        let properties = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<HashMap<_, _>>()
        };
        let settings = FileSettings::new(&HashMap::new(), None).unwrap();
        assert_eq!(settings.compression, Compression::ZSTD(ZstdLevel::try_new(1).unwrap()));
        let table = properties(&[
            ("write.parquet.compression-level", "9"),
            ("write.parquet.row-group-size-bytes", "1000000"),
            ("write.parquet.page-row-limit", "many"),
        ]);
        let settings = FileSettings::new(&table, None).unwrap();
        assert_eq!(settings.compression, Compression::ZSTD(ZstdLevel::try_new(9).unwrap()));
        assert_eq!((settings.row_group_bytes, settings.page_rows), (1_000_000, 20_000));
        let settings = FileSettings::new(&table, Some(3)).unwrap();
        assert_eq!(settings.compression, Compression::ZSTD(ZstdLevel::try_new(3).unwrap()));
        let error = FileSettings::new(&properties(&[("write.parquet.compression-codec", "rar")]), None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "table property write.parquet.compression-codec cannot be read: there is no codec \"rar\""
        );
    }
}
