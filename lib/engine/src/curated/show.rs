//! `SHOW TABLES`: the tables of the lake, which are more than those that a statement opens.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, Scalar, StringArray},
    compute::{filter_record_batch, ilike, like},
};
use contract::TableName;
use datafusion::sql::{
    parser::Statement,
    sqlparser::ast::{ObjectNamePart, ShowStatementFilter, ShowStatementFilterPosition, Statement as SqlStatement},
};

use crate::{Error, Result, sql};

/// The answer to `SHOW TABLES [IN namespace] [LIKE 'pattern']`; `None` for any other statement.
pub fn shown_tables(text: &str, known: &[TableName]) -> Result<Option<RecordBatch>> {
    let Ok(statements) = sql::statements(text) else { return Ok(None) };
    let [Statement::Statement(statement)] = statements.iter().collect::<Vec<_>>()[..] else { return Ok(None) };
    let SqlStatement::ShowTables { show_options, .. } = statement.as_ref() else { return Ok(None) };
    let namespace = show_options.show_in.as_ref().and_then(|within| within.parent_name.as_ref());
    let namespace = namespace.and_then(|name| name.0.last()).and_then(ObjectNamePart::as_ident);
    let is_wanted = |table: &&TableName| {
        namespace.is_none_or(|namespace| table.namespace().to_lowercase() == namespace.value.to_lowercase())
    };
    let mut tables: Vec<&TableName> = known.iter().filter(is_wanted).collect();
    tables.sort_unstable_by_key(|table| table.to_string());
    let column = |part: fn(&TableName) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(tables.iter().map(|table| part(table))))
    };
    let columns = [("table_schema", column(TableName::namespace)), ("table_name", column(TableName::name))];
    let failed = |source| Error::compute("failed to list tables", source);
    let rows = RecordBatch::try_from_iter(columns).map_err(failed)?;
    let filter = match &show_options.filter_position {
        Some(ShowStatementFilterPosition::Infix(filter) | ShowStatementFilterPosition::Suffix(filter)) => filter,
        None => return Ok(Some(rows)),
    };
    let pattern = |text: &String| Scalar::new(StringArray::from(vec![text.clone()]));
    let fits: BooleanArray = match filter {
        ShowStatementFilter::Like(text) | ShowStatementFilter::NoKeyword(text) => like(rows.column(1), &pattern(text)),
        ShowStatementFilter::ILike(text) => ilike(rows.column(1), &pattern(text)),
        ShowStatementFilter::Where(_) => {
            let reason = "it filters by more than a name: write SHOW TABLES LIKE 'pattern'".to_owned();
            return Err(Error::Unsupported { subject: "SHOW TABLES".to_owned(), reason });
        }
    }
    .map_err(failed)?;
    filter_record_batch(&rows, &fits).map(Some).map_err(failed)
}
