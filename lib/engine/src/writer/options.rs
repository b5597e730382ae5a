//! What a writer is given.

use std::{collections::HashMap, fmt, sync::Arc};

use lake::{
    Storage,
    spec::{PartitionSpecRef, SchemaRef, SortOrderRef, Struct},
};

use crate::Result;

/// Names files: the location of the `n`th file of this writer, in a partition. Never the same twice.
pub type FileName = Arc<dyn Fn(&Struct, u64) -> Result<String> + Send + Sync>;

/// What a writer writes, where, and with what.
#[derive(Clone)]
pub struct TableWriterOptions {
    /// Where files go.
    pub storage: Storage,
    /// The table's schema: batches have the layout that [`crate::arrow_schema`] makes of it.
    pub schema: SchemaRef,
    /// The partition spec.
    pub spec: PartitionSpecRef,
    /// Sorts the rows of each file. `None` writes them as they come; such files have no sort order id.
    pub sort_order: Option<SortOrderRef>,
    /// Field ids of the key: their bounds are kept at more length, their pages get statistics.
    pub key_field_ids: Vec<i32>,
    /// Names the files.
    pub file_name: FileName,
    /// Size that files aim for, in bytes.
    pub target_file_bytes: u64,
    /// Memory for rows, row groups and uploads together, in bytes. A batch counts from [`crate::TableWriter::write`] until
    /// its last row is encoded. Too little makes small row groups and files, never a failure.
    pub memory_bytes: u64,
    /// Tasks that encode, at least 1; each may use any core, one per column.
    pub threads: usize,
    /// Files that may be open at once: partitions beyond that end the file that was used least recently.
    pub open_files_max: usize,
    /// zstd level, instead of the one in the properties.
    pub zstd_level: Option<i32>,
    /// The table's properties: codec, sizes, metrics. See [`crate::FileSettings`] and [`crate::MetricsModes`].
    pub properties: HashMap<String, String>,
}

impl fmt::Debug for TableWriterOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableWriterOptions")
            .field("schema_id", &self.schema.schema_id())
            .field("spec_id", &self.spec.spec_id())
            .field("target_file_bytes", &self.target_file_bytes)
            .field("memory_bytes", &self.memory_bytes)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
