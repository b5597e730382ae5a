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
    common::tree_node::TreeNodeRecursion,
    datasource::empty::EmptyTable,
    error::{DataFusionError, Result as DataFusionResult},
    execution::{SendableRecordBatchStream, TaskContext, context::SQLOptions},
    logical_expr::{Expr, TableType},
    physical_plan::{
        ExecutionPlan, collect,
        stream::RecordBatchStreamAdapter,
        streaming::{PartitionStream, StreamingTableExec},
    },
};
use futures::{StreamExt, stream};
use serde::Serialize;

use super::verdicts::{Verdict, Verdicts};
use crate::{
    Result, Session,
    curated::sql_error,
    raw::{BoundInterval, ScanOptions},
    rules::bad_pattern,
    sql,
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
        let threads = session.options().threads.max(1);
        let rows = BatchRows { interval: Arc::clone(interval), verdicts: Arc::clone(verdicts), threads };
        let context = session.context();
        context.deregister_table(OBJECT).map_err(failed)?;
        context.register_table(OBJECT, Arc::new(rows)).map_err(failed)?;
        let answer = run(session, query).await;
        context.deregister_table(OBJECT).map_err(failed)?;
        let observed = answer.and_then(|answer| one_number(&answer)).map_err(failed)?;
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

/// What is wrong with a table check's query over these columns.
pub async fn query_fault(session: &Session, query: &str, columns: &SchemaRef) -> Option<String> {
    let context = session.context();
    let checked = async {
        context.deregister_table(OBJECT)?;
        context.register_table(OBJECT, Arc::new(EmptyTable::new(nullable(columns))))?;
        let answer = run(session, query).await;
        context.deregister_table(OBJECT)?;
        answer
    };
    checked.await.err().map(|error| sql::words(&error))
}

/// Reads a check's query: it gives one number, and changes nothing.
async fn plan(session: &Session, query: &str) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    let (context, refused) = (session.context(), |reason: String| Err(DataFusionError::Plan(reason)));
    let columns = context.table_provider(OBJECT).await?.schema();
    let object = format!("public.{OBJECT}").parse().map_err(|error| DataFusionError::External(Box::new(error)))?;
    let statement = sql::statement(&query.replace("{object}", OBJECT), &[(object, columns)])?;
    let logical = context.state().statement_to_plan(statement).await?;
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    read_only.verify_plan(&logical)?;
    let fields = logical.schema().fields();
    match fields.as_ref() {
        [field]
            if field.data_type().is_numeric() || matches!(field.data_type(), DataType::Boolean | DataType::Null) => {}
        [field] => return refused(format!("it gives {}, where one number is needed", field.data_type())),
        fields => return refused(format!("it gives {} columns, where one number is needed", fields.len())),
    }
    let mut pattern = None;
    logical.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            pattern = pattern.take().or_else(|| bad_pattern(expression));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    match pattern {
        Some(pattern) => refused(pattern),
        None => context.execute_logical_plan(logical).await?.create_physical_plan().await,
    }
}

async fn run(session: &Session, query: &str) -> DataFusionResult<Vec<RecordBatch>> {
    let plan = plan(session, query).await?;
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

/// The number of the one row; `None` for NULL, and where there is no row.
fn one_number(batches: &[RecordBatch]) -> DataFusionResult<Option<f64>> {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    if rows > 1 {
        return Err(DataFusionError::Execution(format!("it gives {rows} rows, where one number is needed")));
    }
    let Some(batch) = batches.iter().find(|batch| batch.num_rows() > 0) else { return Ok(None) };
    let numbers = cast(batch.column(0), &DataType::Float64)?;
    let numbers = numbers.as_primitive::<Float64Type>();
    Ok(numbers.is_valid(0).then(|| numbers.value(0)))
}

/// The batch as a table: a partition for each thread, which reads one file after the other, and only the columns that a
/// query names.
#[derive(Debug)]
struct BatchRows {
    interval: Arc<BoundInterval>,
    verdicts: Arc<Verdicts>,
    threads: usize,
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
        let partitions = (0..self.threads.min(self.interval.file_count()).max(1))
            .map(|first| {
                let (interval, verdicts) = (Arc::clone(&self.interval), Arc::clone(&self.verdicts));
                let (schema, columns, step) = (Arc::clone(&schema), columns.clone(), self.threads);
                Arc::new(FileRows { interval, verdicts, first, step, columns, schema }) as Arc<dyn PartitionStream>
            })
            .collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, None, false, limit)?))
    }
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    Arc::new(arrow::datatypes::Schema::new(fields))
}

/// Every so many files, one after the other.
#[derive(Debug)]
struct FileRows {
    interval: Arc<BoundInterval>,
    verdicts: Arc<Verdicts>,
    first: usize,
    step: usize,
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl PartitionStream for FileRows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (interval, verdicts) = (Arc::clone(&self.interval), Arc::clone(&self.verdicts));
        let (schema, columns) = (Arc::clone(&self.schema), self.columns.clone());
        let files = stream::iter((self.first..interval.file_count()).step_by(self.step));
        let batches = files.flat_map(move |file| {
            let (verdicts, schema) = (Arc::clone(&verdicts), Arc::clone(&schema));
            interval.scan(file, &columns, ScanOptions::default()).map(move |raw| {
                let raw = raw.map_err(|error| DataFusionError::External(Box::new(error)))?;
                let keep: BooleanArray = (0..raw.batch.num_rows() as u64)
                    .map(|row| {
                        let verdict = verdicts.get(file, raw.first_row + row);
                        Some(!matches!(verdict, Verdict::Invalid | Verdict::Duplicate))
                    })
                    .collect();
                let batch = raw.batch.with_schema(Arc::clone(&schema))?;
                Ok(filter_record_batch(&batch, &keep)?)
            })
        });
        Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches))
    }
}
