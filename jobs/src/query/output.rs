//! A query's rows as text, JSON lines or CSV.

use arrow::{
    array::{Array, RecordBatch},
    buffer::NullBuffer,
    datatypes::SchemaRef,
    util::display::{ArrayFormatter, FormatOptions},
};

use super::showable;
use crate::{
    error::{JobError, Kind, Result},
    screen::Screen,
    table_text::align,
};

/// Form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RowForm {
    /// Aligned columns.
    Text,
    /// One JSON object a line; a map whose keys are no text is a list of [key, value].
    Json,
    /// Comma-separated values with a header (RFC 4180); NULL is nothing, the empty text "".
    Csv,
}

/// Takes batches and writes rows.
pub struct RowWriter<'a> {
    screen: &'a Screen,
    form: RowForm,
    schema: SchemaRef,
    /// Rows of text, which must be complete before the first is written: widths.
    text: Vec<Vec<String>>,
    rows: usize,
}

impl<'a> RowWriter<'a> {
    /// Writes rows of this schema there.
    pub fn new(screen: &'a Screen, form: RowForm, schema: SchemaRef) -> Result<Self> {
        if form == RowForm::Csv {
            let names: Vec<_> = schema.fields().iter().map(|field| csv_cell(field.name())).collect();
            screen.line(&names.join(","))?;
        }
        Ok(Self { screen, form, schema, text: Vec::new(), rows: 0 })
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes a batch.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        if self.form == RowForm::Json {
            // Arrow's JSON would have words of its own in the place of such a value.
            showable::check(batch)?;
        }
        match self.form {
            RowForm::Json => {
                let lines = super::json::lines(batch).map_err(unwritable)?;
                self.screen.write(&String::from_utf8_lossy(&lines))
            }
            RowForm::Csv => {
                let lines: Vec<_> = cells(batch)?
                    .iter()
                    .map(|row| row.iter().map(|cell| csv_value(cell.as_deref())).collect::<Vec<_>>().join(",") + "\r\n")
                    .collect();
                self.screen.write(&lines.concat())
            }
            RowForm::Text => {
                let cells = cells(batch)?.into_iter();
                self.text.extend(cells.map(|row| row.into_iter().map(Option::unwrap_or_default).collect()));
                Ok(())
            }
        }
    }

    /// There are no more rows; `is_cut` when a limit left some out.
    pub fn finish(self, is_cut: bool) -> Result<()> {
        if self.form != RowForm::Text {
            return Ok(());
        }
        let names: Vec<_> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        self.screen.write(&align(&names, &self.text))?;
        let rows = if self.rows == 1 { "1 row".to_owned() } else { format!("{} rows", self.rows) };
        let more = if is_cut { ", and more: --limit 0 shows all" } else { "" };
        self.screen.line(&self.screen.paint.dim(&format!("({rows}{more})")))
    }
}

/// Rows as text; `None` where there is NULL.
fn cells(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>> {
    let options = FormatOptions::default().with_null("").with_display_error(false);
    let columns = batch.columns().iter().map(|column| {
        let formatter = ArrayFormatter::try_new(column.as_ref(), &options)?;
        Ok((formatter, column.logical_nulls()))
    });
    let columns: Vec<_> = columns.collect::<std::result::Result<_, _>>().map_err(unwritable)?;
    let cell = |row: usize, (column, nulls): &(ArrayFormatter<'_>, Option<NullBuffer>)| {
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        if is_null { Ok(None) } else { column.value(row).try_to_string().map(Some) }
    };
    let row = |row| columns.iter().map(|column| cell(row, column)).collect::<std::result::Result<_, _>>();
    (0..batch.num_rows()).map(row).collect::<std::result::Result<_, _>>().map_err(unwritable)
}

/// NULL is nothing at all, and the empty text a pair of quotes.
fn csv_value(text: Option<&str>) -> String {
    match text {
        None => String::new(),
        Some("") => "\"\"".to_owned(),
        Some(text) => csv_cell(text),
    }
}

/// Quoted where it holds what would end it.
fn csv_cell(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

fn unwritable(error: arrow::error::ArrowError) -> JobError {
    JobError::new(Kind::Failed, format!("failed to write rows: {error}"))
}

#[cfg(test)]
mod tests {
    use super::{csv_cell, csv_value};

    #[test]
    fn csv_cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_value(None), "");
        assert_eq!(csv_value(Some("")), "\"\"");
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
