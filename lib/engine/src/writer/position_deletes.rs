//! Position delete files: <https://iceberg.apache.org/spec/#position-delete-files>.

use std::{collections::HashMap, sync::Arc};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewBuilder};
use lake::{
    Storage,
    spec::{DataContentType, DataFile, NestedField, PrimitiveType, Schema, Struct, Type},
};
use tokio::sync::Semaphore;

use super::{
    FileSettings,
    chunk::{Chunk, Input},
    file::FileWriter,
    layout::{Layout, LayoutOptions},
    upload::Outlet,
};
use crate::{Error, MetricsModes, Result};

/// Field id of `file_path`.
const FILE_PATH_ID: i32 = 2_147_483_546;
/// Field id of `pos`.
const POS_ID: i32 = 2_147_483_545;
/// Rows that are encoded at a time.
const CHUNK_ROWS: usize = 65_536;

/// The rows that one delete file deletes.
#[derive(Debug, Clone)]
pub struct PositionDeletes {
    /// The partition of the data files, all of them the same.
    pub partition: Struct,
    /// The partition spec of the data files, and hence of the delete file.
    pub spec_id: i32,
    /// Data files, with the row numbers to delete in each, counted from 0. Any order; twice is once.
    pub files: Vec<(String, Vec<u64>)>,
}

/// Names delete files: the location of the `n`th of them, in a partition of the spec with this id. Never the same twice.
pub type DeleteFileName = Arc<dyn Fn(i32, &Struct, u64) -> Result<String> + Send + Sync>;

/// Where delete files go and how they are encoded.
#[derive(Clone)]
pub struct PositionDeleteOptions {
    /// Where files go.
    pub storage: Storage,
    /// Names the files.
    pub file_name: DeleteFileName,
    /// zstd level, instead of the one in the properties.
    pub zstd_level: Option<i32>,
    /// The table's properties, see [`FileSettings`].
    pub properties: HashMap<String, String>,
}

impl std::fmt::Debug for PositionDeleteOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PositionDeleteOptions").field("zstd_level", &self.zstd_level).finish_non_exhaustive()
    }
}

/// Writes a delete file per item of `deletes`, sorted by data file and row number; those without rows are left out.
///
/// Their bounds hold the first and the last data file in full, so that readers leave out delete files of others; one
/// for a single data file names it. After a failure none of them is left behind, as far as they can be deleted.
pub async fn write_position_deletes(
    options: &PositionDeleteOptions,
    deletes: Vec<PositionDeletes>,
) -> Result<Vec<DataFile>> {
    let layout = Arc::new(layout(options)?);
    let outlet = Outlet { storage: options.storage.clone(), parts: Arc::new(Semaphore::new(2)) };
    let mut written = Vec::with_capacity(deletes.len());
    for deletes in deletes {
        let location = (options.file_name)(deletes.spec_id, &deletes.partition, written.len() as u64)?;
        match write_one(&layout, outlet.clone(), location, deletes).await {
            Ok(file) => written.extend(file),
            Err(failure) => {
                let files = written.iter().map(|file: &DataFile| file.file_path().to_owned()).collect();
                if let Err(error) = options.storage.delete_all(files).await {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, "delete files of a failed merge were not deleted");
                }
                return Err(failure);
            }
        }
    }
    Ok(written)
}

async fn write_one(
    layout: &Arc<Layout>,
    outlet: Outlet,
    location: String,
    deletes: PositionDeletes,
) -> Result<Option<DataFile>> {
    let PositionDeletes { partition, spec_id, files } = deletes;
    let files = sorted(files);
    let Some((first, _)) = files.first() else { return Ok(None) };
    let referenced = (files.len() == 1).then(|| first.clone());
    let mut writer = FileWriter::new(Arc::clone(layout), outlet, location)?;
    for (path, positions) in &files {
        for positions in positions.chunks(CHUNK_ROWS) {
            writer.write(chunk(layout, path, positions)?).await?;
        }
    }
    let finished = writer.finish().await?;
    let mut builder = finished.into_builder(DataContentType::PositionDeletes, partition, spec_id);
    let file = builder.referenced_data_file(referenced).build();
    file.map(Some).map_err(|error| Error::compute("failed to describe a delete file", error))
}

fn layout(options: &PositionDeleteOptions) -> Result<Layout> {
    let schema = Schema::builder()
        .with_fields([
            NestedField::required(FILE_PATH_ID, "file_path", Type::Primitive(PrimitiveType::String)).into(),
            NestedField::required(POS_ID, "pos", Type::Primitive(PrimitiveType::Long)).into(),
        ])
        .build()
        .map_err(|error| Error::compute("failed to make the schema of delete files", error))?;
    let schema = Arc::new(schema);
    let layout_options = LayoutOptions {
        settings: FileSettings::new(&options.properties, options.zstd_level)?,
        modes: MetricsModes::full(&schema),
        searched_ids: &[FILE_PATH_ID, POS_ID],
        sorting: Vec::new(),
        has_page_index: true,
        statistics_bytes_max: None,
    };
    Layout::new(schema, layout_options)
}

fn sorted(mut files: Vec<(String, Vec<u64>)>) -> Vec<(String, Vec<u64>)> {
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files.dedup_by(|later, earlier| {
        let is_same = later.0 == earlier.0;
        if is_same {
            earlier.1.append(&mut later.1);
        }
        is_same
    });
    for (_, positions) in &mut files {
        positions.sort_unstable();
        positions.dedup();
    }
    files.retain(|(_, positions)| !positions.is_empty());
    files
}

fn chunk(layout: &Layout, path: &str, positions: &[u64]) -> Result<Chunk> {
    // One copy of the path; every row is a view of it.
    let mut paths = StringViewBuilder::with_capacity(positions.len()).with_deduplicate_strings();
    positions.iter().for_each(|_| paths.append_value(path));
    let paths: ArrayRef = Arc::new(paths.finish());
    let positions: ArrayRef = Arc::new(Int64Array::from_iter_values(positions.iter().map(|&position| position as i64)));
    let batch = RecordBatch::try_new(Arc::clone(&layout.arrow), vec![paths, positions])
        .map_err(|error| Error::compute("failed to make a batch of deletes", error))?;
    Ok(Chunk::whole(vec![Arc::new(Input::new(batch))]))
}
