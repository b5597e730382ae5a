//! What a failure of DataFusion means, in words of this program: no settings of its own, no advice to report bugs.

use std::{error::Error as StdError, fmt::Write};

use arrow::error::ArrowError;
use datafusion::{
    common::{Column, SchemaError},
    error::DataFusionError,
    sql::sqlparser::parser::ParserError,
};

/// The cause, in a line.
pub fn words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => plain(text),
            ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
        },
        DataFusionError::SchemaError(problem, _) => of_schema(problem),
        DataFusionError::Plan(text) => planned(&plain(text)),
        DataFusionError::Execution(text) | DataFusionError::Configuration(text) => plain(text),
        DataFusionError::NotImplemented(text) => format!("it is not supported: {}", plain(text)),
        DataFusionError::Internal(text) => format!("it cannot be carried out: {}", plain(text)),
        DataFusionError::ArrowError(problem, _) => of_arrow(problem),
        DataFusionError::External(problem) => of_any(problem.as_ref()),
        DataFusionError::Context(_, cause) | DataFusionError::Diagnostic(_, cause) => words(cause),
        DataFusionError::Shared(cause) => words(cause),
        DataFusionError::Collection(causes) => causes.first().map_or_else(|| "it failed".to_owned(), words),
        other => plain(&other.to_string()),
    }
}

/// Any cause: DataFusion's in words of ours, others as they are.
pub fn of_any(error: &(dyn StdError + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<DataFusionError>() {
        return words(error);
    }
    if let Some(error) = error.downcast_ref::<ArrowError>() {
        return of_arrow(error);
    }
    error.to_string()
}

fn of_arrow(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::ExternalError(cause) => of_any(cause.as_ref()),
        ArrowError::CastError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::ParseError(text)
        | ArrowError::InvalidArgumentError(text)
        | ArrowError::ArithmeticOverflow(text) => plain(text),
        other => plain(&other.to_string()),
    }
}

fn of_schema(problem: &SchemaError) -> String {
    let shown = |column: &Column| match &column.relation {
        Some(relation) => format!("{}.{}", relation.table(), column.name),
        None => column.name.clone(),
    };
    match problem {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let mut text = format!("there is no column {}", shown(field));
            let mut names: Vec<_> = valid_fields.iter().map(shown).collect();
            names.dedup();
            const NAMES_MAX: usize = 40;
            let more = if names.len() > NAMES_MAX { ", …" } else { "" };
            names.truncate(NAMES_MAX);
            if !names.is_empty() {
                _ = write!(text, "; there are {}{more}", names.join(", "));
            }
            text
        }
        SchemaError::AmbiguousReference { field } => {
            format!("column {} is in several tables: write its table before it", shown(field))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            format!("column {name} is there twice: give one of them another name with AS")
        }
    }
}

/// What the planner says of functions and tables.
fn planned(text: &str) -> String {
    let Some(rest) = text.strip_prefix("Invalid function '") else { return text.to_owned() };
    let (name, rest) = rest.split_once('\'').unwrap_or((rest, ""));
    match rest.split_once("Did you mean '") {
        Some((_, near)) => {
            format!("there is no function {name}; the nearest is {}", near.trim_end_matches(['\'', '?']))
        }
        None => format!("there is no function {name}"),
    }
}

/// One line, without what speaks of DataFusion's settings and tracker, and without a backtrace.
fn plain(text: &str) -> String {
    const FOREIGN: [&str; 5] =
        ["datafusion.sql_parser", "datafusion.execution", "bug in DataFusion", "github.com/apache", "--> "];
    // Where names without a namespace are looked for.
    let text = text.replace("datafusion.public.", "");
    let text = text.split("\n\nbacktrace:").next().unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let own: Vec<_> = lines.filter(|line| !FOREIGN.iter().any(|word| line.contains(word))).collect();
    let mut text = own.join(" ");
    const LABELS: [&str; 8] = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "Cast error: ",
        "Parser error: ",
        "Internal error: ",
        "External error: ",
        "sql parser error: ",
    ];
    while let Some(rest) = LABELS.iter().find_map(|label| text.strip_prefix(label)) {
        text = rest.to_owned();
    }
    text.replace("DataFusion", "the query engine")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_speaks_of_datafusion() {
        let internal = DataFusionError::Internal("invoke should not be called".to_owned());
        assert_eq!(words(&internal), "it cannot be carried out: invoke should not be called");
        let nested = DataFusionError::Context(
            "optimizer rule".to_owned(),
            Box::new(DataFusionError::Plan(internal.to_string())),
        );
        assert_eq!(words(&nested), "invoke should not be called.");
        let field = Box::new(Column::from_name("x"));
        let missing = SchemaError::FieldNotFound { field, valid_fields: vec![Column::new(Some("t"), "X")] };
        let missing = DataFusionError::SchemaError(Box::new(missing), Box::default());
        assert!(missing.to_string().contains("datafusion.sql_parser"), "{missing}");
        assert_eq!(words(&missing), "there is no column x; there are t.X");
        let table = DataFusionError::Plan("table 'datafusion.public.other' not found".to_owned());
        assert_eq!(words(&table), "table 'other' not found");
    }
}
