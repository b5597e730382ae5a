//! Orders (`ingest_time DESC, seq NULLS LAST`) and delete markers (`op IN ('D', 'X')`).

use crate::{DeleteMarker, Direction, Nulls, OrderTerm, PrimitiveType, literal, yaml::Scalar};

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// A bare word: a column, a keyword, a number.
    Word(String),
    /// In double quotes: a column.
    Quoted(String),
    /// In single quotes: a value.
    Text(String),
    Mark(char),
}

/// An order as text. `Err` says what is wrong.
pub fn parse_order(text: &str) -> Result<Vec<OrderTerm>, String> {
    let tokens = tokens(text)?;
    tokens.split(|token| *token == Token::Mark(',')).map(|term| parse_term(term, text)).collect()
}

fn parse_term(tokens: &[Token], text: &str) -> Result<OrderTerm, String> {
    let Some((Token::Word(column) | Token::Quoted(column), words)) = tokens.split_first() else {
        return Err(format!("a term of {text:?} has no column"));
    };
    let words: Vec<String> = words.iter().map(keyword).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (direction, rest) = match words.as_slice() {
        ["ASC", rest @ ..] => (Direction::Ascending, rest),
        ["DESC", rest @ ..] => (Direction::Descending, rest),
        rest => (Direction::Ascending, rest),
    };
    let nulls = match (rest, direction) {
        (["NULLS", "FIRST"], _) | ([], Direction::Ascending) => Nulls::First,
        (["NULLS", "LAST"], _) | ([], Direction::Descending) => Nulls::Last,
        _ => return Err(format!("{:?} does not follow a column in an order", rest.join(" "))),
    };
    Ok(OrderTerm { column: column.clone(), direction, nulls })
}

/// Whether the text of an order says where NULL goes.
pub(crate) fn says_nulls_first(text: &str) -> bool {
    let words: Vec<String> = tokens(text).unwrap_or_default().iter().map(keyword).collect();
    words.windows(2).any(|pair| pair == ["NULLS", "FIRST"])
}

fn keyword(token: &Token) -> String {
    match token {
        Token::Word(word) => word.to_uppercase(),
        Token::Quoted(text) | Token::Text(text) => text.clone(),
        Token::Mark(mark) => mark.to_string(),
    }
}

/// A delete marker's column and values, before the column's type is known.
pub(crate) struct Marker {
    pub(crate) column: String,
    values: Vec<Scalar>,
}

pub(crate) fn parse_marker(text: &str) -> Result<Marker, String> {
    let shape = || format!("{text:?} does not name a column and its values");
    let tokens = tokens(text)?;
    let (Token::Word(column) | Token::Quoted(column), rest) = tokens.split_first().ok_or_else(shape)? else {
        return Err(shape());
    };
    let values = match rest {
        [Token::Mark('='), value] => vec![scalar(value).ok_or_else(shape)?],
        [Token::Word(word), Token::Mark('('), values @ .., Token::Mark(')')] if word.eq_ignore_ascii_case("in") => {
            values
                .split(|token| *token == Token::Mark(','))
                .map(|value| if let [value] = value { scalar(value) } else { None })
                .collect::<Option<_>>()
                .ok_or_else(shape)?
        }
        _ => return Err(shape()),
    };
    Ok(Marker { column: column.clone(), values })
}

impl Marker {
    /// With the values read as the column's type. `Err` says what to write instead.
    pub(crate) fn typed(&self, kind: PrimitiveType) -> Result<DeleteMarker, String> {
        let values = self.values.iter().map(|value| literal::read(kind, value)).collect::<Result<_, _>>()?;
        Ok(DeleteMarker { column: self.column.clone(), values })
    }
}

fn scalar(token: &Token) -> Option<Scalar> {
    match token {
        Token::Text(text) => Some(Scalar::Text(text.clone())),
        Token::Word(word) => match word.to_ascii_lowercase().as_str() {
            "true" => Some(Scalar::Boolean(true)),
            "false" => Some(Scalar::Boolean(false)),
            number if number.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) => {
                Some(Scalar::Number(number.to_owned()))
            }
            _ => None,
        },
        Token::Quoted(_) | Token::Mark(_) => None,
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut characters = text.chars().peekable();
    while let Some(&first) = characters.peek() {
        match first {
            c if c.is_whitespace() => {
                characters.next();
            }
            '\'' | '"' => {
                characters.next();
                let mut inner = String::new();
                loop {
                    match characters.next() {
                        // A doubled quote stands for itself.
                        Some(c) if c == first => {
                            if characters.next_if_eq(&first).is_none() {
                                break;
                            }
                            inner.push(first);
                        }
                        Some(c) => inner.push(c),
                        None => return Err(format!("a {first} in {text:?} is not closed")),
                    }
                }
                tokens.push(if first == '"' { Token::Quoted(inner) } else { Token::Text(inner) });
            }
            ',' | '=' | '(' | ')' => {
                characters.next();
                tokens.push(Token::Mark(first));
            }
            _ => {
                let mut word = String::new();
                while let Some(c) = characters.next_if(|c| !c.is_whitespace() && !",=()'\"".contains(*c)) {
                    word.push(c);
                }
                tokens.push(Token::Word(word));
            }
        }
    }
    Ok(tokens)
}

/// A column as an order or an SQL expression of a contract names it: quoted where it would not be read as one word.
pub(crate) fn write_column(name: &str) -> String {
    let keyword = ["asc", "desc", "nulls", "in", "true", "false"].contains(&name.to_lowercase().as_str());
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && !keyword && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return name.to_owned();
    }
    quote_identifier(name)
}

/// A column's name as an SQL identifier that keeps its case.
pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub(crate) fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// One term of an order, as [`parse_order`] reads it.
pub(crate) fn write_term(term: &OrderTerm) -> String {
    let column = write_column(&term.column);
    match (term.direction, term.nulls) {
        (Direction::Ascending, Nulls::First) => column,
        (Direction::Ascending, Nulls::Last) => format!("{column} NULLS LAST"),
        (Direction::Descending, Nulls::First) => format!("{column} DESC NULLS FIRST"),
        (Direction::Descending, Nulls::Last) => format!("{column} DESC"),
    }
}

/// As [`parse_marker`] reads it.
pub(crate) fn write_marker(marker: &DeleteMarker, kind: PrimitiveType) -> String {
    let values: Vec<String> = marker.values.iter().map(|value| write_value(&literal::write(kind, value))).collect();
    let column = write_column(&marker.column);
    match values.as_slice() {
        [value] => format!("{column} = {value}"),
        values => format!("{column} IN ({})", values.join(", ")),
    }
}

pub(crate) fn write_value(scalar: &Scalar) -> String {
    match scalar {
        Scalar::Null => "NULL".to_owned(),
        Scalar::Boolean(value) => value.to_string(),
        Scalar::Number(digits) => digits.clone(),
        Scalar::Text(text) => quote_text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_written() {
        for (text, written) in [
            ("a", "a"),
            ("a asc nulls last, \"B c\" desc", "a NULLS LAST, \"B c\" DESC"),
            ("a DESC NULLS FIRST , b ASC", "a DESC NULLS FIRST, b"),
        ] {
            let terms = parse_order(text).unwrap();
            let again: Vec<String> = terms.iter().map(write_term).collect();
            assert_eq!(again.join(", "), written);
            assert_eq!(parse_order(written), Ok(terms));
        }
        for (text, message) in [
            ("", "a term of \"\" has no column"),
            ("a,,b", "a term of \"a,,b\" has no column"),
            ("a DOWN", "\"DOWN\" does not follow a column in an order"),
            ("a DESC NULLS", "\"NULLS\" does not follow a column in an order"),
            ("\"a", "a \" in \"\\\"a\" is not closed"),
        ] {
            assert_eq!(parse_order(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn delete_markers_are_read_and_written() {
        for (text, kind, written) in [
            ("op = 'D'", PrimitiveType::String, "op = 'D'"),
            ("op in ('D','it''s')", PrimitiveType::String, "op IN ('D', 'it''s')"),
            ("\"is gone\" = TRUE", PrimitiveType::Boolean, "\"is gone\" = true"),
            ("state IN (-1, 2)", PrimitiveType::Int, "state IN (-1, 2)"),
        ] {
            let marker = parse_marker(text).unwrap().typed(kind).unwrap();
            assert_eq!(write_marker(&marker, kind), written);
        }
        for text in ["op", "op =", "op = D", "op IN ()", "op <> 'D'", "op = 'D' OR x = 1", "op = 'D"] {
            assert!(parse_marker(text).is_err(), "{text}");
        }
    }
}
