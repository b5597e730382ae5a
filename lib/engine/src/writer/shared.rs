//! What the writer and its shards have in common: layout, limits, and what has come of it so far.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use lake::spec::{DataContentType, DataFile, DataFileBuilder, DataFileFormat, Struct};
use tokio::sync::Semaphore;

use super::{
    FileName, FileSettings, TableWriterOptions,
    file::{FileWriter, Finished},
    layout::{Layout, LayoutOptions},
    sorted::Sort,
    upload::{Outlet, PART_BYTES},
};
use crate::{Error, MetricsModes, Result};

/// Parquet's own statistics are cut here: as long as the bounds of a key may be.
const STATISTICS_BYTES_MAX: usize = 64;
/// Input memory is handed out in units of so many bytes.
pub(super) const PERMIT_BYTES: usize = 1 << 10;

/// What the writer and its shards have in common.
pub(super) struct Shared {
    pub(super) layout: Arc<Layout>,
    pub(super) sort: Option<Arc<Sort>>,
    pub(super) spec_id: i32,
    pub(super) outlet: Outlet,
    pub(super) file_name: FileName,
    pub(super) target_file_bytes: usize,
    pub(super) shards: usize,
    pub(super) shard_files_max: usize,
    pub(super) next_file: AtomicU64,
    pub(super) written: Mutex<Vec<String>>,
    pub(super) finished: Mutex<Vec<DataFile>>,
    /// The first failure of a shard, until somebody has been told.
    pub(super) failure: Mutex<Option<Error>>,
    pub(super) has_failed: AtomicBool,
    pub(super) is_given_up: AtomicBool,
    /// For batches that are not encoded yet.
    pub(super) input_memory: Arc<Semaphore>,
    pub(super) input_permits: usize,
    /// Callers that wait for input memory: while there are, shards gather nothing.
    pub(super) waiting: AtomicUsize,
    pub(super) encoded_bytes: AtomicUsize,
    pub(super) encoded_bytes_peak: AtomicUsize,
    pub(super) encoded_bytes_max: usize,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(options: &TableWriterOptions) -> Result<Self> {
        Self::with_page_index(options, true)
    }

    /// With or without what row groups of other files may lack.
    pub(super) fn with_page_index(options: &TableWriterOptions, has_page_index: bool) -> Result<Self> {
        let schema = &options.schema;
        let settings = FileSettings::new(&options.properties, options.zstd_level)?;
        let sort = match &options.sort_order {
            Some(order) => Sort::new(schema, order)?.map(Arc::new),
            None => None,
        };
        let sorted_ids = options.sort_order.iter().flat_map(|order| order.fields.iter().map(|field| field.source_id));
        let searched_ids: Vec<i32> = options.key_field_ids.iter().copied().chain(sorted_ids).collect();
        let layout_options = |sorting| LayoutOptions {
            settings: settings.clone(),
            modes: MetricsModes::new(schema, &options.properties, &options.key_field_ids),
            searched_ids: &searched_ids,
            sorting,
            has_page_index,
            statistics_bytes_max: Some(STATISTICS_BYTES_MAX),
        };
        let mut layout = Layout::new(Arc::clone(schema), layout_options(Vec::new()))?;
        if let Some(sort) = &sort {
            layout = Layout::new(Arc::clone(schema), layout_options(sort.sorting_columns(&layout.leaves)))?;
        }
        layout.waiting_bytes_max = layout.leaves.iter().sum::<usize>() * layout.settings.encoder_bytes();
        let memory_bytes = usize::try_from(options.memory_bytes).unwrap_or(usize::MAX);
        let shards = options.threads.max(1);
        let input_permits = (memory_bytes / 4 / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        let parts = (memory_bytes / 6 / PART_BYTES).clamp(2, 32);
        Ok(Self {
            layout: Arc::new(layout),
            sort,
            spec_id: options.spec.spec_id(),
            outlet: Outlet { storage: options.storage.clone(), parts: Arc::new(Semaphore::new(parts)) },
            file_name: Arc::clone(&options.file_name),
            target_file_bytes: usize::try_from(options.target_file_bytes).unwrap_or(usize::MAX).max(1),
            shards,
            shard_files_max: (options.open_files_max / shards).max(1),
            next_file: AtomicU64::new(0),
            written: Mutex::default(),
            finished: Mutex::default(),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            input_memory: Arc::new(Semaphore::new(input_permits)),
            input_permits,
            waiting: AtomicUsize::new(0),
            encoded_bytes: AtomicUsize::new(0),
            encoded_bytes_peak: AtomicUsize::new(0),
            // A shard without work may hold its part of this while the others grow to theirs: hence not all the rest.
            encoded_bytes_max: memory_bytes / 5 * 2,
        })
    }

    pub(super) fn new_file(&self, key: &Struct) -> Result<FileWriter> {
        let n = self.next_file.fetch_add(1, Ordering::SeqCst);
        FileWriter::new(Arc::clone(&self.layout), self.outlet.clone(), (self.file_name)(key, n)?)
    }

    /// Ends a file, stores it, and describes it as the manifest does.
    pub(super) async fn finish_file(&self, key: &Struct, file: FileWriter) -> Result<DataFile> {
        // From here on there may be an object of that name; before, there was at most an upload.
        self.written().push(file.location().to_owned());
        let finished = file.finish().await?;
        let mut builder = finished.into_builder(DataContentType::Data, key.clone(), self.spec_id);
        if let Some(sort) = &self.sort {
            builder.sort_order_id(sort.order_id);
        }
        builder.build().map_err(|error| Error::compute("failed to describe a file", error))
    }

    pub(super) fn written(&self) -> MutexGuard<'_, Vec<String>> {
        lock(&self.written)
    }

    /// Keeps the first failure, and lets nobody wait any more.
    pub(super) fn fail(&self, error: Error) {
        if let Error::Lake(lake::Error::Occupied { location }) = &error {
            // It is not ours to delete.
            self.written().retain(|written| written != location);
        }
        if !self.has_failed.swap(true, Ordering::SeqCst) {
            *lock(&self.failure) = Some(error);
        }
        self.input_memory.close();
    }

    /// Nothing more can be written; `failure` has the cause.
    pub(super) fn failed_before() -> Error {
        Error::compute("failed to write a batch", "the writer has failed before")
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts one who waits, for as long as it lives.
pub(super) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    pub(super) fn begin(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Finished {
    /// Everything that is known of the file.
    pub(super) fn into_builder(self, content: DataContentType, partition: Struct, spec_id: i32) -> DataFileBuilder {
        let Self { location, file_bytes, metrics } = self;
        let mut builder = DataFileBuilder::default();
        builder
            .content(content)
            .file_path(location)
            .file_format(DataFileFormat::Parquet)
            .partition(partition)
            .partition_spec_id(spec_id)
            .record_count(metrics.record_count)
            .file_size_in_bytes(file_bytes)
            .column_sizes(metrics.column_sizes)
            .value_counts(metrics.value_counts)
            .null_value_counts(metrics.null_value_counts)
            .nan_value_counts(metrics.nan_value_counts)
            .lower_bounds(metrics.lower_bounds)
            .upper_bounds(metrics.upper_bounds)
            .split_offsets(Some(metrics.split_offsets));
        builder
    }
}
