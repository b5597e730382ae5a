//! SQL as this program understands it, in queries, statements and rules alike.
//!
//! Owns how text is read ([`dialect`], [`names`]), arithmetic that fails where it would wrap ([`arithmetic`], [`sum`]), the
//! time that functions give ([`mod@clock`]), and what failures are called ([`mod@words`]). Refuses to know tables.

mod arithmetic;
mod clock;
mod dialect;
mod names;
mod sum;
mod words;

use std::{collections::VecDeque, sync::Arc};

use arrow::datatypes::SchemaRef;
use contract::TableName;
use datafusion::{
    common::DFSchema,
    error::DataFusionError,
    execution::FunctionRegistry,
    logical_expr::Expr,
    prelude::SessionContext,
    sql::{
        parser::{DFParserBuilder, Statement},
        sqlparser::{
            ast::{SetExpr, Statement as SqlStatement, TableFactor},
            parser::ParserError,
            tokenizer::{TokenWithSpan, Tokenizer},
        },
    },
};

pub(crate) use clock::clock;
pub(crate) use names::spell;
pub(crate) use words::{of_any, words};

type Result<T> = std::result::Result<T, DataFusionError>;

/// Cuts text into words and signs.
pub(crate) fn tokens(sql: &str) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&dialect::Sql, sql).tokenize_with_location();
    tokens.map_err(|problem| DataFusionError::SQL(Box::new(ParserError::from(problem)), None))
}

/// Reads statements.
pub(crate) fn statements(sql: &str) -> Result<VecDeque<Statement>> {
    statements_of(tokens(sql)?)
}

/// Reads statements that were cut already.
pub(crate) fn statements_of(tokens: Vec<TokenWithSpan>) -> Result<VecDeque<Statement>> {
    DFParserBuilder::new(tokens).with_dialect(&dialect::Sql).build()?.parse_statements()
}

/// `SELECT *` from what a FROM names.
pub(crate) fn all_of(source: TableFactor) -> Result<Statement> {
    let mut all = statements("SELECT * FROM source")?.pop_front();
    if let Some(Statement::Statement(inner)) = &mut all
        && let SqlStatement::Query(query) = inner.as_mut()
        && let SetExpr::Select(select) = query.body.as_mut()
        && let [from] = select.from.as_mut_slice()
    {
        from.relation = source;
    }
    all.ok_or_else(|| DataFusionError::Internal("a statement was written".to_owned()))
}

/// Reads one statement over these tables.
pub(crate) fn statement(sql: &str, tables: &[(TableName, SchemaRef)]) -> Result<Statement> {
    let mut all = statements(sql)?;
    let (Some(mut statement), true) = (all.pop_front(), all.is_empty()) else {
        return Err(DataFusionError::Plan("give one statement".to_owned()));
    };
    spell(&mut statement, tables).map_err(DataFusionError::Plan)?;
    Ok(statement)
}

/// Reads an expression over the columns of one table.
pub(crate) fn expression(context: &SessionContext, sql: &str, columns: &SchemaRef) -> Result<Expr> {
    let mut parsed = DFParserBuilder::new(sql).with_dialect(&dialect::Sql).build()?.parse_into_expr()?;
    names::spell_expression(&mut parsed.expr, columns).map_err(DataFusionError::Plan)?;
    let columns = DFSchema::try_from(columns.as_ref().clone())?;
    context.state().create_logical_expr_from_sql_expr(parsed, &columns)
}

/// Gives a session its functions.
pub(crate) fn set_up(context: &SessionContext) -> Result<()> {
    context.register_udaf(sum::checked_sum());
    context.state_ref().write().register_function_rewrite(Arc::new(arithmetic::CheckArithmetic))
}
