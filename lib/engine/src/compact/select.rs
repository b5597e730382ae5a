//! Which files a filter in SQL may find rows in: by partition values and file bounds, before any is opened.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;

use crate::{
    Error, Result, Session,
    curated::{
        TableReader,
        prune::{may_match, pruning_predicate},
    },
    sql, sql_error,
};

/// For each data file of the reader's snapshot, whether the filter may find rows in it. Fails for a filter that cannot
/// leave any file out.
pub fn matching_files(session: &Session, reader: &TableReader, filter: &str) -> Result<Vec<bool>> {
    let schema = reader.schema();
    let failed = |error| sql_error(session, "--where", error);
    let columns = DFSchema::try_from(Arc::clone(schema)).map_err(failed)?;
    let expression = sql::expression(session.context(), filter, schema).map_err(failed)?;
    let expression = session.context().create_physical_expr(expression, &columns).map_err(failed)?;
    let unsupported =
        |reason: &str| Error::Unsupported { subject: format!("the filter {filter:?}"), reason: reason.to_owned() };
    if expression.data_type(schema).map_err(failed)? != DataType::Boolean {
        return Err(unsupported("it is neither true nor false"));
    }
    let predicate = pruning_predicate(&expression, schema)
        .filter(|predicate| !predicate.always_true())
        .ok_or_else(|| unsupported("neither partitions nor bounds of columns answer it"))?;
    may_match(&predicate, &reader.live().data, schema, &reader.table().metadata)
}
