//! SQL `MERGE INTO` a curated table: people's own statements, beside the main job's merge in [`crate::dedupe`].
//!
//! 1. [`statement`] refuses what could put a key into the table twice.
//! 2. [`stars`] writes out `UPDATE SET *` and `INSERT *`; [`assign`] lets only values through that fit their columns.
//! 3. [`target`] is the table as DataFusion's planner sees it; its node in the plan reads the source and carries the rest out.
//! 4. [`join`] is the source beside the table's rows: which clause takes each, and the row that it makes.
//! 5. [`tally`] counts what becomes of each row and holds the new ones against the contract; [`rows`] stages them, and takes
//!    the replaced ones out of their files.
//!
//! Stages files and commits nothing.

mod assign;
mod join;
mod rows;
mod stars;
mod statement;
mod tally;
mod target;

use std::{fmt, sync::Arc};

use arrow::datatypes::SchemaRef;
use contract::{Contract, TableName};
use datafusion::{
    catalog::TableProvider,
    common::TableReference,
    execution::SessionState,
    logical_expr::{LogicalPlan, WriteOp},
    physical_plan::{ExecutionPlan, collect, displayable},
    prelude::SessionContext,
    sql::{
        parser::Statement,
        sqlparser::ast::{Ident, Merge as SqlMerge, ObjectNamePart, Statement as SqlStatement, TableFactor},
    },
};
use lake::{Storage, spec};

use crate::{
    DeleteFileName, Error, Result, Session, Stop, TableWriterOptions,
    curated::{CuratedTable, TableReader, context_of, sql_error},
    dedupe::Outcome,
    sql,
    writer::PositionDeleteOptions,
};
use target::MergeTarget;

/// One statement and what it works on.
#[derive(Clone)]
pub struct Merge {
    /// The DataFusion session.
    pub session: Session,
    /// Where the table lies.
    pub storage: Storage,
    /// The table's contract: its key, and the rules that new rows must keep.
    pub contract: Contract,
    /// The table at its base.
    pub table: Arc<TableReader>,
    /// The schema to write.
    pub schema: spec::SchemaRef,
    /// The partition spec to write.
    pub partition_spec: spec::PartitionSpecRef,
    /// How staged files are named and written.
    pub writer: TableWriterOptions,
    /// Names position delete files.
    pub delete_file_name: DeleteFileName,
    /// Seed of key fingerprints: any number, another one for each run.
    pub seed: u64,
    /// Whether to stop. What is read is then dropped, and what is staged taken back.
    pub stop: Stop,
}

/// The tables that a statement names: the one to merge into, then the others that it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeTables {
    /// The table to merge into.
    pub target: TableName,
    /// Tables that the statement reads, without the target, each once.
    pub sources: Vec<TableName>,
}

/// Finds the tables of a statement. Fails when it is no single `MERGE INTO`, or names a table without its namespace.
pub fn merge_tables(session: &Session, sql: &str) -> Result<MergeTables> {
    let failed = |error| sql_error(session, "merge", error);
    let statement = parsed(session, sql)?;
    let merge = merge_of(&statement)?;
    let TableFactor::Table { name, .. } = &merge.table else {
        return Err(refused("name the table to merge into: MERGE INTO curated.telemetry AS t USING …"));
    };
    let mut parts = name.0.iter().filter_map(ObjectNamePart::as_ident).map(normalized);
    let target = match (parts.next(), parts.next(), parts.next()) {
        (Some(namespace), Some(name), None) => TableReference::partial(namespace, name),
        _ => TableReference::bare(name.to_string()),
    };
    let target = table_name(&target)?;
    let names = session.context().state().resolve_table_references(&statement).map_err(failed)?;
    let mut sources = names.iter().map(table_name).collect::<Result<Vec<_>>>()?;
    sources.retain(|name| *name != target);
    Ok(MergeTables { target, sources })
}

/// Reads a statement, with its stars marked.
fn parsed(session: &Session, sql: &str) -> Result<Statement> {
    let failed = |error| sql_error(session, "merge", error);
    let mut statements = sql::statements_of(stars::marked(sql::tokens(sql).map_err(failed)?)).map_err(failed)?;
    match (statements.pop_front(), statements.is_empty()) {
        (Some(statement), true) => Ok(statement),
        _ => Err(refused("give one statement")),
    }
}

fn merge_of(statement: &Statement) -> Result<&SqlMerge> {
    match statement {
        Statement::Statement(inner) => match inner.as_ref() {
            SqlStatement::Merge(merge) => Ok(merge),
            _ => Err(no_merge()),
        },
        _ => Err(no_merge()),
    }
}

/// As the planner reads it: in lower case, unless it is quoted.
fn normalized(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_ascii_lowercase() }
}

fn no_merge() -> Error {
    refused("only MERGE INTO changes a table: etl query reads")
}

fn table_name(reference: &TableReference) -> Result<TableName> {
    let full = || reference.schema().map(|namespace| format!("{namespace}.{}", reference.table()));
    let name = full().and_then(|name| name.parse().ok());
    name.ok_or_else(|| refused(format!("write {reference} with its namespace: curated.{}", reference.table())))
}

impl fmt::Debug for Merge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Merge").field("table", &self.contract.table).finish_non_exhaustive()
    }
}

impl Merge {
    /// Runs a statement over the table and `sources`, and stages what it changes. After an error nothing that was staged
    /// is left behind, as far as it can be deleted.
    pub async fn execute(&self, sql: &str, sources: Vec<(TableName, Arc<CuratedTable>)>) -> Result<Outcome> {
        let failed = |error| sql_error(&self.session, "merge", error);
        let target = Arc::new(MergeTarget::new(self.clone())?);
        let (context, plan) = self.plan(sql, &target, sources).await?;
        collect(plan, context.task_ctx()).await.map_err(failed)?;
        target.outcome().ok_or_else(|| refused("it did not run"))
    }

    /// How a statement would be carried out, as text. Reads no rows.
    pub async fn explain(&self, sql: &str, sources: Vec<(TableName, Arc<CuratedTable>)>) -> Result<String> {
        let target = Arc::new(MergeTarget::new(self.clone())?);
        let (_, plan) = self.plan(sql, &target, sources).await?;
        Ok(displayable(plan.as_ref()).indent(false).to_string())
    }

    async fn plan(
        &self,
        sql: &str,
        target: &Arc<MergeTarget>,
        sources: Vec<(TableName, Arc<CuratedTable>)>,
    ) -> Result<(SessionContext, Arc<dyn ExecutionPlan>)> {
        let failed = |error| sql_error(&self.session, "merge", error);
        // The table's rows are there twice: as they were, and as they become.
        let row_bytes = target.row_bytes() * 2 + sources.iter().map(|(_, table)| table.row_bytes()).sum::<u64>();
        let mut tables: Vec<(TableName, Arc<dyn TableProvider>)> =
            sources.into_iter().map(|(name, table)| (name, table as Arc<dyn TableProvider>)).collect();
        tables.push((self.contract.table.clone(), Arc::clone(target) as Arc<dyn TableProvider>));
        let schemas: Vec<_> = tables.iter().map(|(name, table)| (name.clone(), table.schema())).collect();
        let mut statement = parsed(&self.session, sql)?;
        sql::spell(&mut statement, &schemas).map_err(refused)?;
        let context = context_of(&self.session, tables, row_bytes).map_err(failed)?;
        let state = context.state();
        self.expand(&state, &mut statement, &target.schema()).await?;
        let logical = state.statement_to_plan(statement).await.map_err(failed)?;
        if !matches!(&logical, LogicalPlan::Dml(dml) if matches!(dml.op, WriteOp::MergeInto(_))) {
            return Err(no_merge());
        }
        let logical = assign::checked(logical).map_err(failed)?;
        let plan = state.create_physical_plan(&logical).await.map_err(failed)?;
        Ok((context, plan))
    }

    /// Writes out what stars stand for.
    async fn expand(&self, state: &SessionState, statement: &mut Statement, table: &SchemaRef) -> Result<()> {
        let failed = |error| sql_error(&self.session, "merge", error);
        let Statement::Statement(inner) = statement else { return Err(no_merge()) };
        let SqlStatement::Merge(merge) = inner.as_mut() else { return Err(no_merge()) };
        if !stars::has_star(merge) {
            return Ok(());
        }
        let source = sql::all_of(merge.source.clone()).map_err(failed)?;
        let source = state.statement_to_plan(source).await.map_err(failed)?;
        let columns: Vec<String> = table.fields().iter().map(|field| field.name().clone()).collect();
        stars::expand(merge, &columns, source.schema())
    }

    fn delete_options(&self) -> PositionDeleteOptions {
        PositionDeleteOptions {
            storage: self.storage.clone(),
            file_name: Arc::clone(&self.delete_file_name),
            zstd_level: self.writer.zstd_level,
            properties: self.writer.properties.clone(),
        }
    }
}

fn refused(reason: impl Into<String>) -> Error {
    Error::Merge { reason: reason.into() }
}
