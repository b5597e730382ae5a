//! `UPDATE SET *` and `INSERT *`, as Spark and Delta write them: every column of the table from the source's column of
//! that name.

use std::iter;

use datafusion::{
    common::DFSchema,
    sql::sqlparser::{
        ast::{
            Assignment, AssignmentTarget, Expr, Ident, Merge, MergeAction, MergeInsertKind, ObjectName, ObjectNamePart,
        },
        keywords::Keyword,
        tokenizer::{Token, TokenWithSpan, Word},
    },
};

use super::refused;
use crate::Result;

/// What stands for the star until the columns are known. No column is called so.
const EVERY_COLUMN: &str = "* (every column)";

/// Puts a column that stands for all in the place of each star, so that the statement can be read.
pub fn marked(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let is_star = token.token == Token::Mul;
        let is_insert = is_star && ends_with(&out, &[Keyword::INSERT]);
        let is_update = is_star && ends_with(&out, &[Keyword::UPDATE, Keyword::SET]);
        let every = || {
            Token::Word(Word { value: EVERY_COLUMN.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword })
        };
        let values = Token::make_keyword("VALUES");
        let stand_in = match (is_update, is_insert) {
            (true, _) => vec![every(), Token::Eq, every()],
            (_, true) => vec![Token::LParen, every(), Token::RParen, values, Token::LParen, every(), Token::RParen],
            _ => {
                out.push(token);
                continue;
            }
        };
        out.extend(stand_in.into_iter().map(|stand_in| TokenWithSpan { token: stand_in, span: token.span }));
    }
    out
}

fn ends_with(tokens: &[TokenWithSpan], keywords: &[Keyword]) -> bool {
    let mut before =
        tokens.iter().rev().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    let is_next = |keyword: &Keyword| matches!(before.next(), Some(Token::Word(word)) if word.keyword == *keyword);
    keywords.iter().rev().all(is_next)
}

/// Whether a statement has a star to expand.
pub fn has_star(merge: &Merge) -> bool {
    merge.clauses.iter().any(|clause| match &clause.action {
        MergeAction::Update(update) => update.assignments.iter().any(|assignment| is_every_target(&assignment.target)),
        MergeAction::Insert(insert) => insert.columns.iter().any(is_every),
        MergeAction::Delete { .. } => false,
    })
}

fn is_every(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [ObjectNamePart::Identifier(name)] if name.value == EVERY_COLUMN)
}

fn is_every_target(target: &AssignmentTarget) -> bool {
    matches!(target, AssignmentTarget::ColumnName(name) if is_every(name))
}

/// Writes the stars out.
pub fn expand(merge: &mut Merge, columns: &[String], source: &DFSchema) -> Result<()> {
    let of_source = |what: &str| -> Result<Vec<Expr>> {
        columns.iter().map(|column| source_column(source, column, what)).collect()
    };
    let object = |column: &String| ObjectName(vec![ObjectNamePart::Identifier(Ident::with_quote('"', column))]);
    for clause in &mut merge.clauses {
        match &mut clause.action {
            MergeAction::Update(update) if update.assignments.iter().any(|of| is_every_target(&of.target)) => {
                let values = of_source("UPDATE SET *")?;
                let assignment =
                    |(column, value)| Assignment { target: AssignmentTarget::ColumnName(object(column)), value };
                update.assignments = columns.iter().zip(values).map(assignment).collect();
            }
            MergeAction::Insert(insert) if insert.columns.iter().any(is_every) => {
                insert.columns = columns.iter().map(object).collect();
                if let MergeInsertKind::Values(values) = &mut insert.kind {
                    for row in &mut values.rows {
                        row.content = of_source("INSERT *")?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The source's column of that name; of several that differ by case, the one that is spelled so.
fn source_column(source: &DFSchema, column: &str, what: &str) -> Result<Expr> {
    let alike: Vec<_> =
        source.iter().filter(|(_, field)| field.name().to_lowercase() == column.to_lowercase()).collect();
    let exact: Vec<_> = alike.iter().copied().filter(|(_, field)| field.name() == column).collect();
    let (relation, field) = match (exact.as_slice(), alike.as_slice()) {
        ([only], _) | ([], [only]) => *only,
        ([], []) => {
            let names: Vec<_> = source.fields().iter().map(|field| field.name().as_str()).collect();
            return Err(refused(format!(
                "{what} needs column {column} in the source, which has {}: give it one, or name the columns",
                names.join(", ")
            )));
        }
        _ => {
            return Err(refused(format!(
                "{what} finds column {column} more than once in the source: name the columns"
            )));
        }
    };
    let quoted = |name: &str| Ident::with_quote('"', name);
    let mut parts: Vec<Ident> =
        relation.map(|relation| relation.to_vec().iter().map(|part| quoted(part)).collect()).unwrap_or_default();
    if parts.is_empty() {
        return Ok(Expr::Identifier(quoted(field.name())));
    }
    parts.extend(iter::once(quoted(field.name())));
    Ok(Expr::CompoundIdentifier(parts))
}
