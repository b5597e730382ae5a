//! Why a file cannot be read, in words that say what to do where the decoder's do not.

use parquet::basic::Compression;

use super::{ParquetFile, ReadOptions, schema::has_text};
use crate::Error;

/// Larger pages than this are several blocks in Hadoop's framing of LZ4.
const LZ4_BLOCK_BYTES: i64 = 256 * 1024;

impl ParquetFile {
    /// The error with what the decoder left unsaid.
    pub(super) fn explained(&self, error: Error, options: &ReadOptions) -> Error {
        let Error::Unreadable { location, reason } = error else { return error };
        let is_of_text = ["utf-8", "utf8"].iter().any(|word| reason.to_lowercase().contains(word));
        let reason = if is_of_text {
            format!("{reason}, in {}", self.text_columns(options).join(" or "))
        } else if self.has_large_lz4(options) {
            format!(
                "{reason}; its codec LZ4 is Hadoop's, of which pages of more than 256 KiB cannot be read: write it with \
                 LZ4_RAW, SNAPPY or ZSTD"
            )
        } else {
            reason
        };
        Error::Unreadable { location, reason }
    }

    fn text_columns(&self, options: &ReadOptions) -> Vec<String> {
        let schema = self.arrow_schema();
        let fields = options.roots.iter().filter_map(|root| schema.fields().get(*root));
        fields.filter(|field| has_text(field.data_type())).map(|field| format!("column {}", field.name())).collect()
    }

    fn has_large_lz4(&self, options: &ReadOptions) -> bool {
        let descriptor = self.metadata().file_metadata().schema_descr();
        let is_read = |leaf: usize| options.roots.contains(&descriptor.get_column_root_idx(leaf));
        self.metadata().row_groups().iter().flat_map(|group| group.columns().iter().enumerate()).any(|(leaf, chunk)| {
            chunk.compression() == Compression::LZ4 && chunk.uncompressed_size() > LZ4_BLOCK_BYTES && is_read(leaf)
        })
    }
}
