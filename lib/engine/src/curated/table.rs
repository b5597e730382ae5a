//! A curated table as DataFusion sees it: its schema, what pushes down, and the scan that a query needs.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session, TableProvider},
    common::{DFSchema, Result as DataFusionResult, Statistics, stats::Precision},
    error::DataFusionError,
    execution::memory_pool::MemoryLimit,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_optimizer::pruning::PruningPredicate,
    physical_plan::{ExecutionPlan, metrics::ExecutionPlanMetricsSet},
};
use lake::{DataFileEntry, Table};

use super::{
    prune::{bounds_partition, may_match, pruning_predicate},
    reader::TableReader,
    scan::{CuratedScan, OutputColumn},
    slices::balance,
};
use crate::{Error, Result, parquet_file::READ_BYTES_DEFAULT, types::field_id};

/// Share of the operators' memory for bytes of files that are not decoded yet.
const READ_SHARE: u64 = 5;

/// How much larger rows are in memory than in files, about.
const UNPACKED_PER_FILE_BYTE: u64 = 2;

/// Name of the column that [`CuratedTable::with_file_column`] adds: the location of the row's data file.
pub const FILE_COLUMN: &str = "_file";

/// Name of the column that [`CuratedTable::with_place_columns`] adds beside it: the row's position in that file, from 0.
pub const ROW_COLUMN: &str = "_pos";

/// A table at one snapshot, to be registered with a DataFusion session.
#[derive(Debug)]
pub struct CuratedTable {
    reader: TableReader,
    schema: SchemaRef,
}

impl CuratedTable {
    /// Opens a table at its current version, or at a snapshot, with the columns that it had then. Reads manifests, no
    /// data file. Refuses what could not be read right: deletion vectors, formats other than Parquet, types and
    /// defaults of format version 3.
    pub async fn open(table: Table, snapshot_id: Option<i64>) -> Result<Arc<Self>> {
        let reader = match snapshot_id {
            None => TableReader::new(&table, None).await?,
            Some(id) => {
                let schema = table.snapshot(id)?.schema(&table.metadata).map_err(|source| Error::Unsupported {
                    subject: format!("table {} at snapshot {id}", table.name),
                    reason: format!("its schema is missing: {source}"),
                })?;
                TableReader::with_schema(&table, Some(id), schema).await?
            }
        };
        Ok(Self::of_reader(reader))
    }

    /// The table that a reader reads.
    pub fn of_reader(reader: TableReader) -> Arc<Self> {
        Arc::new(Self { schema: Arc::clone(reader.schema()), reader })
    }

    /// The same table with one more column, [`FILE_COLUMN`].
    pub fn with_file_column(&self) -> Arc<Self> {
        let mut fields: Vec<_> = self.reader.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(FILE_COLUMN, DataType::Utf8View, false)));
        Arc::new(Self { schema: Arc::new(Schema::new(fields)), reader: self.reader.clone() })
    }

    /// The same table with two more columns, [`FILE_COLUMN`] and [`ROW_COLUMN`].
    pub fn with_place_columns(&self) -> Arc<Self> {
        let with_file = self.with_file_column();
        let mut fields: Vec<_> = with_file.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(ROW_COLUMN, DataType::Int64, false)));
        Arc::new(Self { schema: Arc::new(Schema::new(fields)), reader: self.reader.clone() })
    }

    /// Bytes of a row in memory, about: what its columns take where no text is long, or what the files say of it.
    pub fn row_bytes(&self) -> u64 {
        let files = || self.reader.live().data.iter().map(|file| &file.data_file);
        let file_bytes = files().fold(0_u64, |sum, file| sum.saturating_add(file.file_size_in_bytes()));
        let rows = files().fold(0_u64, |sum, file| sum.saturating_add(file.record_count()));
        let fields = self.schema.fields().iter();
        let width: u64 = fields.map(|field| width(field.data_type())).sum();
        width.max(file_bytes.saturating_mul(UNPACKED_PER_FILE_BYTE) / rows.max(1))
    }

    /// What reads its files.
    pub fn reader(&self) -> &TableReader {
        &self.reader
    }

    /// The columns by which files can be left out, by name, with the transform's name for people.
    pub(super) fn partition_columns(&self) -> Vec<(String, lake::spec::Transform)> {
        let partition_spec = self.reader.table().metadata.default_partition_spec();
        let column = |field: &lake::spec::PartitionField| {
            let column = self.schema.fields().iter().find(|column| field_id(column) == Some(field.source_id))?;
            (field.transform != lake::spec::Transform::Void).then(|| (column.name().clone(), field.transform))
        };
        partition_spec.fields().iter().filter_map(column).collect()
    }

    fn is_bounded(&self, predicate: Option<&PruningPredicate>, limit: Option<usize>) -> bool {
        let partitioned_by = self.partition_columns();
        let bounds = |(column, transform): &(String, _)| {
            predicate.is_some_and(|predicate| bounds_partition(predicate, column, *transform))
        };
        partitioned_by.is_empty() || limit.is_some() || partitioned_by.iter().any(bounds)
    }

    fn output_column(&self, index: usize) -> DataFusionResult<OutputColumn> {
        let field = self.schema.field(index);
        match field_id(field) {
            Some(id) => Ok(OutputColumn::Field(id)),
            None if field.name() == FILE_COLUMN => Ok(OutputColumn::File),
            None if field.name() == ROW_COLUMN => Ok(OutputColumn::Row),
            None => Err(DataFusionError::Internal(format!("column {} has no field id", field.name()))),
        }
    }
}

#[async_trait]
impl TableProvider for CuratedTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    fn statistics(&self) -> Option<Statistics> {
        let rows: u64 = self.reader.live().data.iter().map(|file| file.data_file.record_count()).sum();
        let rows = Precision::Inexact(usize::try_from(rows).ok()?);
        Some(Statistics::new_unknown(&self.schema).with_num_rows(rows))
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let external = |error: Error| DataFusionError::External(Box::new(error));
        let predicate = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let columns = DFSchema::try_from(Arc::clone(&self.schema))?;
                pruning_predicate(&state.create_physical_expr(filter, &columns)?, &self.schema)
            }
            None => None,
        };
        // Which rows a filter leaves is not known here, so that a limit holds only without one.
        let limit = limit.filter(|_| filters.is_empty());
        let is_bounded = self.is_bounded(predicate.as_deref(), limit);
        let pool = &state.runtime_env().memory_pool;
        let reader = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => {
                let read_bytes = bytes as u64 / READ_SHARE / state.config().target_partitions().max(1) as u64;
                self.reader.with_memory(pool, read_bytes)
            }
            _ => self.reader.with_memory(pool, READ_BYTES_DEFAULT),
        };
        let mut files = reader.live().data.clone();
        let files_live = files.len();
        if let Some(predicate) = &predicate {
            let metadata = &reader.table().metadata;
            let mut may_match = may_match(predicate, &files, &self.schema, metadata).map_err(external)?.into_iter();
            files.retain(|_| may_match.next().unwrap_or(true));
        }
        if let Some(limit) = limit {
            files.truncate(files_for(&reader, &files, limit));
        }
        let columns = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let schema = Arc::new(self.schema.project(&columns)?);
        let output = columns.iter().map(|column| self.output_column(*column)).collect::<DataFusionResult<_>>()?;
        let groups = balance(files, state.config().target_partitions());
        Ok(Arc::new(CuratedScan {
            properties: CuratedScan::properties_of(&schema, groups.len()),
            reader,
            output,
            schema,
            groups: Arc::new(groups),
            predicate: predicate.map(|predicate| (predicate, Arc::clone(&self.schema))),
            dynamic: Vec::new(),
            limit,
            files_live,
            is_bounded,
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }
}

/// How many of the files hold the first `limit` rows for sure.
fn files_for(reader: &TableReader, files: &[DataFileEntry], limit: usize) -> usize {
    let mut rows: u64 = 0;
    for (at, file) in files.iter().enumerate() {
        if rows >= limit as u64 {
            return at;
        }
        if !reader.has_deletes(file) {
            rows += file.data_file.record_count();
        }
    }
    files.len()
}

/// Bytes that a value takes beside its text or its elements.
fn width(data_type: &DataType) -> u64 {
    match data_type {
        DataType::Struct(fields) => fields.iter().map(|field| width(field.data_type())).sum(),
        DataType::List(element) | DataType::Map(element, _) => width(element.data_type()),
        other => other.primitive_width().map_or(16, |bytes| bytes as u64),
    }
}
