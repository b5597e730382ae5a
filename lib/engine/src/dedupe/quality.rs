//! Table checks: the contract's SQL over the valid rows of the batch, one for each key.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch},
    compute::{cast, filter_record_batch},
    datatypes::{DataType, Float64Type, SchemaRef},
};
use async_trait::async_trait;
use contract::{Check, CheckScope, Severity};
use datafusion::{
    catalog::{Session as CatalogSession, TableProvider},
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableType},
    physical_plan::{
        ExecutionPlan, collect,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::StreamExt;
use serde::Serialize;

use super::verdicts::{Verdict, Verdicts};
use crate::{
    Result, Session,
    curated::sql_error,
    raw::{BoundInterval, ScanOptions},
};

/// How a table check came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QualityResult {
    /// The check's name.
    pub rule: String,
    /// `warning` or `error`.
    pub severity: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// The number that the query gave; `None` for NULL.
    pub observed: Option<f64>,
    /// What it must be, as text.
    pub expected: String,
}

/// The name that `{object}` stands for.
const OBJECT: &str = "batch";

/// Runs the contract's table checks over rows that are neither invalid nor duplicate.
pub async fn run_checks(
    session: &Session,
    checks: &[Check],
    interval: &Arc<BoundInterval>,
    verdicts: &Arc<Verdicts>,
) -> Result<Vec<QualityResult>> {
    let mut results = Vec::new();
    for check in checks {
        let CheckScope::Table { query, at_least, at_most, exclusive, not } = &check.scope else { continue };
        let failed = |error| sql_error(session, &format!("check {}", check.name), error);
        let rows = BatchRows { interval: Arc::clone(interval), verdicts: Arc::clone(verdicts) };
        let context = session.context();
        context.deregister_table(OBJECT).map_err(failed)?;
        context.register_table(OBJECT, Arc::new(rows)).map_err(failed)?;
        let answer = run(session, &query.replace("{object}", OBJECT)).await;
        context.deregister_table(OBJECT).map_err(failed)?;
        let observed = first_number(&answer.map_err(failed)?);
        let holds = |value: f64| {
            let above = at_least.is_none_or(|bound| if *exclusive { value > bound } else { value >= bound });
            let below = at_most.is_none_or(|bound| if *exclusive { value < bound } else { value <= bound });
            #[expect(clippy::float_cmp, reason = "the contract names one number")]
            let other = not.is_none_or(|number| value != number);
            above && below && other
        };
        results.push(QualityResult {
            rule: check.name.clone(),
            severity: if check.severity == Severity::Error { "error" } else { "warning" },
            passed: observed.is_some_and(holds),
            observed,
            expected: expected(*at_least, *at_most, *exclusive, *not),
        });
    }
    Ok(results)
}

async fn run(session: &Session, query: &str) -> DataFusionResult<Vec<RecordBatch>> {
    let plan = session.context().sql(query).await?.create_physical_plan().await?;
    let answer = collect(Arc::clone(&plan), session.context().task_ctx()).await;
    session.ended(&plan);
    answer
}

fn expected(at_least: Option<f64>, at_most: Option<f64>, exclusive: bool, not: Option<f64>) -> String {
    let (least, most) = if exclusive { (">", "<") } else { ("≥", "≤") };
    let mut parts = Vec::new();
    match (at_least, at_most) {
        #[expect(clippy::float_cmp, reason = "both come from one number in the contract")]
        (Some(low), Some(high)) if low == high && !exclusive => parts.push(format!("{low}")),
        (low, high) => {
            parts.extend(low.map(|low| format!("{least} {low}")));
            parts.extend(high.map(|high| format!("{most} {high}")));
        }
    }
    parts.extend(not.map(|number| format!("not {number}")));
    parts.join(" and ")
}

fn first_number(batches: &[RecordBatch]) -> Option<f64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0 && batch.num_columns() > 0)?;
    let numbers = cast(batch.column(0), &DataType::Float64).ok()?;
    let numbers = numbers.as_primitive::<Float64Type>();
    numbers.is_valid(0).then(|| numbers.value(0))
}

/// The batch as a table: a partition for each file, only the columns that a query names.
#[derive(Debug)]
struct BatchRows {
    interval: Arc<BoundInterval>,
    verdicts: Arc<Verdicts>,
}

#[async_trait]
impl TableProvider for BatchRows {
    fn schema(&self) -> SchemaRef {
        nullable(self.interval.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _state: &dyn CatalogSession,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let columns = projection.cloned().unwrap_or_else(|| (0..self.schema().fields().len()).collect());
        let schema = Arc::new(self.schema().project(&columns)?);
        let partitions = (0..self.interval.file_count())
            .map(|file| {
                let (interval, verdicts) = (Arc::clone(&self.interval), Arc::clone(&self.verdicts));
                let (schema, columns) = (Arc::clone(&schema), columns.clone());
                Arc::new(FileRows { interval, verdicts, file, columns, schema }) as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, None, false, limit)?))
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

#[derive(Debug)]
struct FileRows {
    interval: Arc<BoundInterval>,
    verdicts: Arc<Verdicts>,
    file: usize,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for FileRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (verdicts, file, schema) = (Arc::clone(&self.verdicts), self.file, Arc::clone(&self.schema));
        let batches = self.interval.scan(file, &self.columns, ScanOptions::default()).map(move |raw| {
            let raw = raw.map_err(|error| DataFusionError::External(Box::new(error)))?;
            let keep: BooleanArray = (0..raw.batch.num_rows() as u64)
                .map(|row| {
                    let verdict = verdicts.get(file, raw.first_row + row);
                    Some(!matches!(verdict, Verdict::Invalid | Verdict::Duplicate))
                })
                .collect();
            let batch = raw.batch.with_schema(Arc::clone(&schema))?;
            Ok(filter_record_batch(&batch, &keep)?)
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
