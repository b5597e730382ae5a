//! The scan of a table as a node of DataFusion's plans: one partition per group of files.

use std::{any::Any, fmt, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray},
    datatypes::SchemaRef,
};
use datafusion::{
    common::{
        Result as DataFusionResult, Statistics, runtime::SpawnedTask, stats::Precision, tree_node::TreeNodeRecursion,
    },
    config::ConfigOptions,
    error::DataFusionError,
    execution::{SendableRecordBatchStream, TaskContext},
    physical_expr::{EquivalenceProperties, PhysicalExpr, conjunction},
    physical_optimizer::pruning::PruningPredicate,
    physical_plan::{
        DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
        execution_plan::{
            Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions, apply_expression_roots,
        },
        filter_pushdown::{ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation, PushedDown},
        metrics::{BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet},
        statistics::StatisticsArgs,
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};

use super::{
    prune::{may_match, pruning_predicate},
    reader::{RowOptions, TableReader},
    row_groups,
    slices::Slice,
};
use crate::{Error, Result};

/// Footers that are read ahead of the file that is being decoded.
const FILES_AHEAD: usize = 2;

/// Reads chosen columns of chosen files.
#[derive(Debug, Clone)]
pub(super) struct CuratedScan {
    pub(super) reader: TableReader,
    /// What each output column is.
    pub(super) output: Arc<[OutputColumn]>,
    pub(super) schema: SchemaRef,
    pub(super) groups: Arc<Vec<Vec<Slice>>>,
    /// The query's filters, with the schema that they speak of.
    pub(super) predicate: Option<(Arc<PruningPredicate>, SchemaRef)>,
    /// Filters over the output's columns that other nodes fill in while they run: bounds of a join's keys, of a top k.
    pub(super) dynamic: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) limit: Option<usize>,
    /// Live files of the snapshot, before any were left out.
    pub(super) files_live: usize,
    /// Whether the query says what it wants of a partitioned table.
    pub(super) is_bounded: bool,
    pub(super) properties: Arc<PlanProperties>,
    pub(super) metrics: ExecutionPlanMetricsSet,
}

/// Where an output column comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputColumn {
    /// The table's column of this field id.
    Field(i32),
    /// The data file's location.
    File,
    /// The row's position in the file.
    Row,
}

impl CuratedScan {
    pub(super) fn properties_of(schema: &SchemaRef, partitions: usize) -> Arc<PlanProperties> {
        Arc::new(PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ))
    }

    /// Files that are read, wholly or in part.
    pub(super) fn slices(&self) -> impl Iterator<Item = &Slice> {
        self.groups.iter().flatten()
    }
}

impl DisplayAs for CuratedScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let table = &self.reader.table().name;
        let files = self.slices().count();
        write!(
            f,
            "CuratedScan: table={table}, columns=[{}], slices={files}, files_live={}",
            columns.join(", "),
            self.files_live
        )?;
        if let Some((predicate, _)) = &self.predicate {
            write!(f, ", pruning={}", predicate.orig_expr())?;
        }
        if !self.dynamic.is_empty() {
            write!(f, ", dynamic_filters={}", self.dynamic.len())?;
        }
        self.limit.map_or(Ok(()), |limit| write!(f, ", limit={limit}"))
    }
}

impl ExecutionPlan for CuratedScan {
    fn name(&self) -> &'static str {
        "CuratedScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DataFusionResult<TreeNodeRecursion>,
    ) -> DataFusionResult<TreeNodeRecursion> {
        apply_expression_roots(&self.dynamic, f)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DataFusionResult<SendableRecordBatchStream> {
        let slices = self.groups.get(partition).cloned().unwrap_or_default();
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let opening = Arc::new(Opening {
            scan: self.clone(),
            batch_rows: context.session_config().batch_size(),
            files_pruned: MetricBuilder::new(&self.metrics).counter("files_pruned", partition),
            row_groups_pruned: MetricBuilder::new(&self.metrics).counter("row_groups_pruned", partition),
        });
        let batches = stream::iter(slices)
            .map(move |slice| {
                let opening = Arc::clone(&opening);
                let task = SpawnedTask::spawn(async move { opening.open(slice).await });
                async { task.join().await.map_err(|source| Error::compute("failed to open a data file", source))? }
            })
            .buffered(FILES_AHEAD)
            .try_flatten()
            .inspect_ok(move |batch| metrics.record_output(batch.num_rows()));
        let batches = match self.limit {
            Some(limit) => first_rows(batches.boxed(), limit),
            None => batches.boxed(),
        };
        let batches = batches.map_err(|error| DataFusionError::External(Box::new(error)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> DataFusionResult<Arc<Statistics>> {
        let statistics = Statistics::new_unknown(&self.schema);
        if args.partition().is_some() {
            return Ok(Arc::new(statistics));
        }
        let whole = || self.slices().filter(|slice| slice.bytes.as_ref().is_none_or(|bytes| bytes.start == 0));
        let rows: u64 = whole().map(|slice| slice.entry.data_file.record_count()).sum();
        let bytes: u64 = whole().map(|slice| slice.entry.data_file.file_size_in_bytes()).sum();
        let rows = usize::try_from(rows).unwrap_or(usize::MAX);
        let exact = self.predicate.is_none()
            && self.dynamic.is_empty()
            && !whole().any(|slice| self.reader.has_deletes(&slice.entry));
        let rows = match self.limit {
            Some(limit) => Precision::Inexact(rows.min(limit)),
            None if exact => Precision::Exact(rows),
            None => Precision::Inexact(rows),
        };
        let bytes = Precision::Inexact(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(Arc::new(statistics.with_num_rows(rows).with_total_byte_size(bytes)))
    }

    /// Takes filters that other nodes fill in while they run, to leave files and row groups out. They stay where they
    /// are, too: no row is judged here.
    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> DataFusionResult<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let answer =
            FilterPushdownPropagation::with_parent_pushdown_result(vec![PushedDown::No; result.parent_filters.len()]);
        if phase != FilterPushdownPhase::Post || result.parent_filters.is_empty() {
            return Ok(answer);
        }
        let mut scan = self.clone();
        scan.dynamic.extend(result.parent_filters.into_iter().map(|filter| filter.filter));
        Ok(answer.with_updated_node(Arc::new(scan) as Arc<dyn ExecutionPlan>))
    }
}

/// What opening the files of one partition takes.
struct Opening {
    scan: CuratedScan,
    batch_rows: usize,
    files_pruned: Count,
    row_groups_pruned: Count,
}

type Batches = BoxStream<'static, Result<RecordBatch>>;

impl Opening {
    async fn open(&self, slice: Slice) -> Result<Batches> {
        let CuratedScan { reader, output, schema, .. } = &self.scan;
        let predicates = self.predicates();
        let metadata = &reader.table().metadata;
        for (predicate, of) in &predicates {
            if may_match(predicate, std::slice::from_ref(&slice.entry), of, metadata)? == [false] {
                self.files_pruned.add(1);
                return Ok(stream::empty().boxed());
            }
        }
        let file = reader.open(&slice.entry).await?;
        let file_schema = reader.file_schema(&file)?;
        let chosen = row_groups::choose(&file, &file_schema, &slice.entry, slice.bytes.as_ref(), &predicates)?;
        self.row_groups_pruned.add(file.metadata().num_row_groups() - chosen.len());
        if chosen.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let columns: Vec<i32> = output
            .iter()
            .filter_map(|column| match column {
                OutputColumn::Field(id) => Some(*id),
                OutputColumn::File | OutputColumn::Row => None,
            })
            .collect();
        let row_number = output.contains(&OutputColumn::Row);
        let options =
            RowOptions { batch_rows: self.batch_rows, row_groups: Some(chosen), row_number, ..RowOptions::default() };
        let batches = reader.read_open(&file, &slice.entry, &columns, options).await?;
        if !row_number && !output.contains(&OutputColumn::File) {
            return Ok(batches);
        }
        let (output, schema) = (Arc::clone(output), Arc::clone(schema));
        let location = slice.entry.data_file.file_path().to_owned();
        Ok(batches.and_then(move |batch| std::future::ready(with_place(&batch, &location, &output, &schema))).boxed())
    }

    /// The query's filters, and those that other nodes have filled in by now.
    fn predicates(&self) -> Vec<(Arc<PruningPredicate>, SchemaRef)> {
        let mut predicates: Vec<_> = self.scan.predicate.iter().cloned().collect();
        if !self.scan.dynamic.is_empty() {
            let dynamic = conjunction(self.scan.dynamic.iter().cloned());
            let schema = &self.scan.schema;
            predicates.extend(pruning_predicate(&dynamic, schema).map(|predicate| (predicate, Arc::clone(schema))));
        }
        predicates
    }
}

fn with_place(batch: &RecordBatch, location: &str, output: &[OutputColumn], schema: &SchemaRef) -> Result<RecordBatch> {
    let mut fields = batch.columns().iter();
    let column = |column: &OutputColumn| match column {
        OutputColumn::Field(_) => fields.next().cloned(),
        OutputColumn::File => {
            let mut locations = arrow::array::StringViewBuilder::new().with_deduplicate_strings();
            (0..batch.num_rows()).for_each(|_| locations.append_value(location));
            let locations: StringViewArray = locations.finish();
            Some(Arc::new(locations) as ArrayRef)
        }
        // Read as the last column, wherever it is wanted.
        OutputColumn::Row => batch.columns().last().cloned(),
    };
    let columns: Vec<ArrayRef> = output.iter().filter_map(column).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|source| Error::compute("failed to add a row's place to a batch", source))
}

fn first_rows(batches: Batches, limit: usize) -> Batches {
    stream::try_unfold((batches, limit), |(mut batches, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(batch) = batches.try_next().await? else { return Ok(None) };
        let batch = batch.slice(0, left.min(batch.num_rows()));
        let left = left - batch.num_rows();
        Ok(Some((batch, (batches, left))))
    })
    .boxed()
}

/// The scans of a plan.
pub(super) fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<&CuratedScan> {
    let node: &dyn Any = plan.as_ref();
    let own = node.downcast_ref::<CuratedScan>();
    own.into_iter().chain(plan.children().into_iter().flat_map(scans)).collect()
}
