//! The table to merge into, as DataFusion's planner sees it, and the node of the plan that carries a statement out.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use arrow::{
    array::{RecordBatch, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use async_trait::async_trait;
use datafusion::{
    catalog::{Session as PlannerSession, TableProvider},
    common::{DFSchemaRef, Result as DataFusionResult, Statistics, tree_node::TreeNodeRecursion},
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext, memory_pool::MemoryConsumer},
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, dml::MergeIntoClause},
    physical_expr::{EquivalenceProperties, PhysicalExpr},
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
        coalesce_partitions::CoalescePartitionsExec,
        execution_plan::{Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{TryStreamExt, stream};

use super::{Merge, refused, rows, statement::Statement};
use crate::{Error, Result, curated::CuratedTable, dedupe::Outcome};

/// The table. Reads like [`CuratedTable`]; a MERGE is staged, and what it came to is kept for [`Self::outcome`].
#[derive(Debug)]
pub struct MergeTarget {
    merge: Arc<Merge>,
    table: Arc<CuratedTable>,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl MergeTarget {
    /// The table of a merge.
    pub fn new(merge: Merge) -> Result<Self> {
        let table = CuratedTable::of_reader(merge.table.as_ref().clone());
        Ok(Self { merge: Arc::new(merge), table, outcome: Arc::default() })
    }

    /// Bytes of a row in memory, about.
    pub fn row_bytes(&self) -> u64 {
        self.table.row_bytes()
    }

    /// What the statement came to, once.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl TableProvider for MergeTarget {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.table.supports_filters_pushdown(filters)
    }

    fn statistics(&self) -> Option<Statistics> {
        self.table.statistics()
    }

    async fn scan(
        &self,
        state: &dyn PlannerSession,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.table.scan(state, projection, filters, limit).await
    }

    async fn merge_into(
        &self,
        _: &dyn PlannerSession,
        source: Arc<dyn ExecutionPlan>,
        merge_schema: DFSchemaRef,
        on: Expr,
        clauses: Vec<MergeIntoClause>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let statement = Statement::new(&self.merge.contract, &self.schema(), merge_schema, on, clauses)
            .map_err(|reason| external(refused(reason)))?;
        let schema = Arc::new(Schema::new(vec![Field::new("count", DataType::UInt64, false)]));
        Ok(Arc::new(MergeNode {
            properties: Arc::new(PlanProperties::new(
                EquivalenceProperties::new(Arc::clone(&schema)),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Final,
                Boundedness::Bounded,
            )),
            schema,
            source,
            statement: Arc::new(statement),
            merge: Arc::clone(&self.merge),
            table: Arc::clone(&self.table),
            outcome: Arc::clone(&self.outcome),
        }))
    }
}

/// Reads the source, and stages what the statement makes of it. Gives one row: how many rows of the table changed.
#[derive(Debug)]
struct MergeNode {
    merge: Arc<Merge>,
    table: Arc<CuratedTable>,
    source: Arc<dyn ExecutionPlan>,
    statement: Arc<Statement>,
    outcome: Arc<Mutex<Option<Outcome>>>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for MergeNode {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Statement { on, clauses, .. } = self.statement.as_ref();
        let files = self.merge.table.live().data.len();
        write!(f, "Merge: table={}, on={}, ", self.merge.contract.table, on.human_display())?;
        write!(f, "clauses={}, files_live={files}", clauses.len())
    }
}

impl ExecutionPlan for MergeNode {
    fn name(&self) -> &'static str {
        "Merge"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.source]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let source = children.pop().ok_or_else(|| DataFusionError::Internal("a merge has a source".to_owned()))?;
        let Self { merge, table, statement, outcome, schema, properties, .. } = self.as_ref();
        Ok(Arc::new(Self {
            merge: Arc::clone(merge),
            table: Arc::clone(table),
            source,
            statement: Arc::clone(statement),
            outcome: Arc::clone(outcome),
            schema: Arc::clone(schema),
            properties: Arc::clone(properties),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let (merge, table, statement) = (Arc::clone(&self.merge), Arc::clone(&self.table), Arc::clone(&self.statement));
        let (source, slot, schema) = (Arc::clone(&self.source), Arc::clone(&self.outcome), Arc::clone(&self.schema));
        let counted = async move {
            let source = read(source, &merge, context).await?;
            let outcome = rows::stage(&merge, &table, &statement, source).await.map_err(external)?;
            let changed = match &outcome {
                Outcome::Staged { batch, .. } => batch.balance.inserted + batch.balance.updated,
                Outcome::GateClosed { .. } => 0,
            };
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
            Ok(RecordBatch::try_new(schema, vec![Arc::new(UInt64Array::from(vec![changed]))])?)
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::once(counted))))
    }
}

/// The rows of the source, once: a statement may give others the second time. They must fit into the memory pool.
async fn read(
    source: Arc<dyn ExecutionPlan>,
    merge: &Merge,
    context: Arc<TaskContext>,
) -> DataFusionResult<Vec<RecordBatch>> {
    let reservation = MemoryConsumer::new("source of the merge").register(context.memory_pool());
    let source = match source.output_partitioning().partition_count() {
        1 => source,
        _ => Arc::new(CoalescePartitionsExec::new(source)) as Arc<dyn ExecutionPlan>,
    };
    let mut stream = source.execute(0, context)?;
    let all = async {
        let mut batches = Vec::new();
        while let Some(batch) = stream.try_next().await.map_err(failed)? {
            reservation.try_grow(batch.get_array_memory_size()).map_err(failed)?;
            batches.push(batch);
        }
        Ok(batches)
    };
    merge.stop.unless(all).await.map_err(external)
}

fn failed(source: DataFusionError) -> Error {
    Error::Sql { subject: "merge".to_owned(), cause: Box::new(source) }
}

fn external(error: Error) -> DataFusionError {
    match error {
        Error::Sql { cause, .. } => *cause,
        error => DataFusionError::External(Box::new(error)),
    }
}
