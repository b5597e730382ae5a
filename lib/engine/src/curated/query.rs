//! SQL over curated tables: reading statements only, and none that reads a whole partitioned table unasked.

use std::{
    collections::HashSet,
    io::{self, ErrorKind},
    sync::Arc,
};

use arrow::error::ArrowError;
use contract::TableName;
use datafusion::{
    catalog::CatalogProviderList,
    catalog::{CatalogProvider, MemoryCatalogProvider, MemoryCatalogProviderList, MemorySchemaProvider, TableProvider},
    error::DataFusionError,
    execution::{FunctionRegistry, SendableRecordBatchStream, SessionStateBuilder, context::SQLOptions},
    physical_plan::{ExecutionPlan, execute_stream},
    prelude::SessionContext,
};
use lake::{DataFileEntry, Table};

use super::{
    partition_bounds::partition_bounds,
    scan::{CuratedScan, scans},
    table::CuratedTable,
    uuid_text::UuidAsText,
};
use crate::{Error, Result, Session, sql, types::field_id};

const CATALOG: &str = "lake";

/// Where names without a namespace are looked for when tables lie in several.
const NO_NAMESPACE: &str = "public";

/// A query that was planned and not started.
pub struct PlannedQuery {
    context: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
}

impl PlannedQuery {
    /// The data files that it reads, each once for a scan, with its table. While it runs it may leave more of them out.
    pub fn files(&self) -> Vec<(&Table, &DataFileEntry)> {
        let mut files = Vec::new();
        for scan in scans(&self.plan) {
            let mut seen = HashSet::new();
            let entries = scan.slices().map(|slice| &slice.entry);
            let once = entries.filter(|entry| seen.insert(entry.data_file.file_path()));
            files.extend(once.map(|entry| (scan.reader.table(), entry)));
        }
        files
    }

    /// Starts it.
    pub fn start(&self, session: &Session) -> Result<SendableRecordBatchStream> {
        execute_stream(Arc::clone(&self.plan), self.context.task_ctx())
            .map_err(|error| sql_error(session, "query", error))
    }
}

/// Plans and starts a query: see [`plan_query`].
pub async fn query(
    session: &Session,
    sql: &str,
    tables: Vec<(TableName, Arc<CuratedTable>)>,
    allow_full_scan: bool,
) -> Result<SendableRecordBatchStream> {
    plan_query(session, sql, tables, allow_full_scan).await?.start(session)
}

/// Plans a query over tables, each known as `namespace.table`; when all lie in one namespace, also by their
/// bare names. SELECT, EXPLAIN, SHOW and DESCRIBE only.
///
/// A query that would read all of a partitioned table is refused unless `allow_full_scan`: it needs a filter on a
/// partition column, or a LIMIT. What metadata answers alone (`count(*)` of a table without deletes) is not refused.
pub async fn plan_query(
    session: &Session,
    sql: &str,
    tables: Vec<(TableName, Arc<CuratedTable>)>,
    allow_full_scan: bool,
) -> Result<PlannedQuery> {
    let failed = |error| explain(sql_error(session, "query", error));
    let schemas: Vec<_> = tables.iter().map(|(name, table)| (name.clone(), table.schema())).collect();
    let row_bytes = tables.iter().map(|(_, table)| table.row_bytes()).sum();
    let tables = tables.into_iter().map(|(name, table)| (name, table as Arc<dyn TableProvider>)).collect();
    let context = context_of(session, tables, row_bytes).map_err(failed)?;
    let read_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let planned = async {
        let plan = context.state().statement_to_plan(sql::statement(sql, &schemas)?).await?;
        read_only.verify_plan(&plan)?;
        context.execute_logical_plan(plan).await
    };
    let frame = planned.await.map_err(failed)?;
    let plan = frame.create_physical_plan().await.map_err(failed)?;
    if !allow_full_scan {
        scans(&plan).into_iter().try_for_each(refuse_full_scan)?;
    }
    Ok(PlannedQuery { context, plan })
}

/// What a failure of DataFusion means: our own error where one caused it, a limit of the session that was reached, and
/// otherwise what DataFusion says of `subject`.
pub fn sql_error(session: &Session, subject: &str, error: DataFusionError) -> Error {
    let options = session.options();
    match own(error) {
        Ok(own) => own,
        Err(error) => {
            if let DataFusionError::ResourcesExhausted(reason) = error.find_root() {
                // Before the last line it lists who has how much.
                let reason = reason.rsplit("Error: ").next().unwrap_or_default().trim();
                let reason = format!("{subject}: {reason}");
                return Error::Memory { limit_bytes: options.memory_limit_bytes, reason };
            }
            if let Some(full) = disk_full(&error) {
                let folder = options.spill_dir.display().to_string();
                return Error::SpillFull { subject: subject.to_owned(), folder, source: full.to_string().into() };
            }
            Error::Sql { subject: subject.to_owned(), cause: Box::new(error) }
        }
    }
}

/// Our own error beneath one of DataFusion's.
fn own(error: DataFusionError) -> std::result::Result<Error, DataFusionError> {
    match error {
        DataFusionError::External(source) => match source.downcast::<Error>() {
            Ok(own) => Ok(*own),
            Err(source) => Err(DataFusionError::External(source)),
        },
        DataFusionError::ArrowError(source, backtrace) => match *source {
            ArrowError::ExternalError(source) if source.is::<DataFusionError>() => match source.downcast() {
                Ok(error) => own(*error),
                Err(source) => Err(DataFusionError::External(source)),
            },
            other => Err(DataFusionError::ArrowError(Box::new(other), backtrace)),
        },
        DataFusionError::Context(_, error) | DataFusionError::Diagnostic(_, error) => own(*error),
        DataFusionError::Shared(error) => match Arc::try_unwrap(error) {
            Ok(error) => own(error),
            Err(error) => Err(DataFusionError::Shared(error)),
        },
        other => Err(other),
    }
}

/// Only spilling writes to a disk of this machine.
fn disk_full(error: &DataFusionError) -> Option<&io::Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        let arrow = match error.downcast_ref() {
            Some(ArrowError::IoError(_, inner)) => Some(inner),
            _ => None,
        };
        let found = arrow.or_else(|| error.downcast_ref());
        let is_full = |error: &&io::Error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
        if let Some(found) = found.filter(is_full) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Says which table was not found.
fn explain(error: Error) -> Error {
    let Error::Sql { cause, .. } = &error else { return error };
    let words = sql::words(cause);
    let missing = words.strip_prefix("table '").and_then(|rest| rest.strip_suffix("' not found"));
    let Some(missing) = missing else { return error };
    let missing = missing.strip_prefix(CATALOG).and_then(|rest| rest.strip_prefix('.')).unwrap_or(missing);
    let table = missing.strip_prefix(NO_NAMESPACE).and_then(|rest| rest.strip_prefix('.')).unwrap_or(missing);
    Error::NoTable { table: table.to_owned() }
}

/// A context with these tables and nothing else, sharing the session's memory and threads. Its batches have fewer rows where
/// one row of all tables together, `row_bytes`, is long.
pub(crate) fn context_of(
    session: &Session,
    tables: Vec<(TableName, Arc<dyn TableProvider>)>,
    row_bytes: u64,
) -> std::result::Result<SessionContext, DataFusionError> {
    let catalog = MemoryCatalogProvider::new();
    let mut namespaces: Vec<String> = Vec::new();
    for (name, table) in tables {
        let namespace = name.namespace();
        let schema = match catalog.schema(namespace) {
            Some(schema) => schema,
            None => {
                let schema = Arc::new(MemorySchemaProvider::new());
                catalog.register_schema(namespace, Arc::clone(&schema) as _)?;
                namespaces.push(namespace.to_owned());
                schema
            }
        };
        schema.register_table(name.name().to_owned(), table)?;
    }
    let default = match namespaces.as_slice() {
        [only] => only.as_str(),
        _ => NO_NAMESPACE,
    };
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    let state = session.context().state();
    let config = state
        .config()
        .clone()
        .with_batch_size(session.batch_rows(row_bytes))
        .with_information_schema(true)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, default);
    // Before the rule that makes types agree.
    let rules = std::iter::once(Arc::new(UuidAsText) as _).chain(state.analyzer().rules.iter().cloned()).collect();
    // Rules of one's own come with an analyzer of their own, which knows nothing of the session's rewrites.
    let rewrites = state.analyzer().function_rewrites().to_vec();
    let mut state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(catalogs))
        .with_analyzer_rules(rules)
        .build();
    for rewrite in rewrites {
        state.register_function_rewrite(rewrite)?;
    }
    Ok(SessionContext::new_with_state(state))
}

fn refuse_full_scan(scan: &CuratedScan) -> Result<()> {
    if scan.is_bounded {
        return Ok(());
    }
    let table = scan.reader.table();
    let partition_spec = table.metadata.default_partition_spec();
    let columns: Vec<_> = partition_spec
        .fields()
        .iter()
        .filter_map(|field| {
            let column = scan.reader.schema().fields().iter().find(|c| field_id(c) == Some(field.source_id))?;
            Some((field, column))
        })
        .collect();
    let names: Vec<&str> = columns.iter().map(|(_, column)| column.name().as_str()).collect();
    let example = columns.first().map(|(field, column)| {
        // The newest file's partition, as a filter that reads about that much.
        let newest = scan.reader.live().data.iter().max_by_key(|file| file.sequence_number);
        let value = newest.and_then(|file| {
            let spec = table.metadata.partition_spec_by_id(file.spec_id)?;
            let at = spec.fields().iter().position(|other| other.source_id == field.source_id)?;
            let value = file.data_file.partition().iter().nth(at)?;
            partition_bounds(spec.fields()[at].transform, value, column.data_type(), 0).min
        });
        match value {
            Some(value) if column.data_type().is_temporal() => {
                let value =
                    value.to_array().ok().and_then(|value| arrow::util::display::array_value_to_string(&value, 0).ok());
                format!("{} >= '{}'", column.name(), value.unwrap_or_default())
            }
            Some(value) if column.data_type().is_numeric() => format!("{} >= {value}", column.name()),
            Some(value) => format!("{} = '{value}'", column.name()),
            None => format!("{} = …", column.name()),
        }
    });
    let (files, bytes) =
        (scan.files_live, scan.reader.live().data.iter().map(|f| f.data_file.file_size_in_bytes()).sum::<u64>());
    Err(Error::Unsupported {
        subject: format!("table {}", table.name),
        reason: format!(
            "the query would read all {files} files, {} MB: filter by {}, for example `WHERE {}`, add a LIMIT, or allow \
             the full scan",
            bytes.div_ceil(1_000_000),
            names.join(" or "),
            example.unwrap_or_default()
        ),
    })
}
