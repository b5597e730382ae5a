//! The rows of a group in order: DataFusion's sort, within the session's memory and on its disk beyond.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
};
use datafusion::{
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column},
    physical_plan::{
        ExecutionPlan, execute_stream,
        sorts::{sort::SortExec, sort_preserving_merge::SortPreservingMergeExec},
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use lake::DataFileEntry;

use super::{
    order::{Order, with_keys},
    pieces::BATCH_ROWS,
};
use crate::{
    Error, Result, Session,
    curated::{RowOptions, TableReader},
    sql_error,
};

/// What a failure is said to have been about.
const SUBJECT: &str = "sorting rows";

/// The rows of the files that are alive, in order.
pub(super) fn sorted(
    session: &Session,
    reader: TableReader,
    files: Vec<DataFileEntry>,
    columns: Arc<[i32]>,
    order: Order,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let table_schema = Arc::clone(reader.schema());
    let width = table_schema.fields().len();
    let mut fields: Vec<_> = table_schema.fields().iter().cloned().collect();
    fields.extend(order.fields(reader.table().metadata.current_schema())?.into_iter().map(Arc::new));
    let schema = Arc::new(Schema::new(fields));
    let sort_expr = |(index, options)| {
        let name = schema.field(width + index).name();
        PhysicalSortExpr::new(Arc::new(Column::new(name, width + index)), options)
    };
    let terms: Vec<_> = order.options().enumerate().map(sort_expr).collect();
    let ordering = LexOrdering::new(terms)
        .ok_or_else(|| Error::compute("failed to sort rows", "there is nothing to sort them by"))?;
    let threads = session.options().threads.clamp(1, files.len().max(1));
    let mut shares: Vec<Vec<DataFileEntry>> = vec![Vec::new(); threads];
    files.into_iter().enumerate().for_each(|(index, file)| shares[index % threads].push(file));
    let order = Arc::new(order);
    let share = |files: Vec<DataFileEntry>| -> Arc<dyn PartitionStream> {
        let (reader, columns, order) = (reader.clone(), Arc::clone(&columns), Arc::clone(&order));
        Arc::new(Share { reader, files, columns, order, schema: Arc::clone(&schema) })
    };
    let failed = |error: DataFusionError| sql_error(session, SUBJECT, error);
    let source = StreamingTableExec::try_new(
        Arc::clone(&schema),
        shares.into_iter().map(share).collect(),
        None,
        [],
        false,
        None,
    )
    .map_err(failed)?;
    let sort = SortExec::new(ordering.clone(), Arc::new(source)).with_preserve_partitioning(true);
    let merged: Arc<dyn ExecutionPlan> = Arc::new(SortPreservingMergeExec::new(ordering, Arc::new(sort)));
    let rows = execute_stream(merged, session.context().task_ctx()).map_err(failed)?;
    let session = session.clone();
    let rows = rows.map(move |batch| {
        let batch = batch.map_err(|error| sql_error(&session, SUBJECT, error))?;
        RecordBatch::try_new(Arc::clone(&table_schema), batch.columns()[..width].to_vec())
            .map_err(|source| Error::compute("failed to take sorted rows apart", source))
    });
    Ok(rows.boxed())
}

/// Files that one thread reads and sorts.
#[derive(Debug)]
struct Share {
    reader: TableReader,
    files: Vec<DataFileEntry>,
    columns: Arc<[i32]>,
    order: Arc<Order>,
    /// With the columns that rows are sorted by at the end.
    schema: SchemaRef,
}

impl PartitionStream for Share {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (reader, columns) = (self.reader.clone(), Arc::clone(&self.columns));
        let (order, schema) = (Arc::clone(&self.order), Arc::clone(&self.schema));
        let rows = stream::iter(self.files.clone())
            .map(move |file| {
                let options = RowOptions { batch_rows: BATCH_ROWS, ..RowOptions::default() };
                Ok::<_, Error>(reader.read(&file, &columns, options))
            })
            .try_flatten()
            .and_then(move |batch| std::future::ready(with_keys(&batch, &order, &schema)))
            .map_err(|error| DataFusionError::External(Box::new(error)));
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), rows.boxed()))
    }
}
