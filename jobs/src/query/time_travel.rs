//! `FOR VERSION AS OF 123` and `FOR TIMESTAMP AS OF '2025-06-04'` behind a table's name, as Athena, Trino and Spark
//! write them, turned into names of their own: DataFusion's SQL has no such words. And names that begin with a digit, which it
//! takes for numbers, in quotes.
//!
//! Owns only that. Everything else of the statement is left as it is, and left to DataFusion.

use contract::TableName;

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// The current snapshot.
    Current,
    /// A snapshot by its id.
    Snapshot(i64),
    /// The snapshot that was current at a time, as the user wrote it.
    Time(String),
}

/// A table that a statement may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableUse {
    /// The table.
    pub table: TableName,
    /// Its version.
    pub version: Version,
    /// The name it has in the statement.
    pub registered_as: TableName,
}

/// A statement without time travel, and the tables that it may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The statement.
    pub sql: String,
    /// Its tables. One that only looks like a table (a column of that name) may be among them.
    pub tables: Vec<TableUse>,
}

/// Finds the known tables in a statement. `Err` says which clause is wrong.
pub fn resolve(sql: &str, known: &[TableName]) -> Result<Resolved, String> {
    let tokens = tokens(sql);
    let mut out = String::with_capacity(sql.len());
    let mut tables: Vec<TableUse> = Vec::new();
    let mut copied = 0;
    let mut index = 0;
    while index < tokens.len() {
        let Some((table, after_name)) = table_at(&tokens, index, known) else {
            index += 1;
            continue;
        };
        let (version, after) = version_at(&tokens, after_name)?;
        let registered_as = registered_name(&table, &version);
        if version == Version::Current && tokens[index..after_name].iter().any(is_number) {
            out.push_str(&sql[copied..tokens[index].start]);
            out.push_str(&format!("{}.{}", quoted(table.namespace()), quoted(table.name())));
            copied = tokens[after_name - 1].end;
        } else if version != Version::Current {
            out.push_str(&sql[copied..tokens[index].start]);
            out.push_str(&format!("{}.{}", quoted(registered_as.namespace()), quoted(registered_as.name())));
            if !has_alias(&tokens, after) {
                // Columns may be written `telemetry.device_id`.
                out.push_str(&format!(" AS {}", quoted(table.name())));
            }
            copied = tokens[after - 1].end;
        }
        let used = TableUse { table, version, registered_as };
        if !tables.contains(&used) {
            tables.push(used);
        }
        index = after;
    }
    out.push_str(&sql[copied..]);
    Ok(Resolved { sql: out, tables })
}

fn registered_name(table: &TableName, version: &Version) -> TableName {
    let suffix = match version {
        Version::Current => return table.clone(),
        Version::Snapshot(id) => id.to_string(),
        Version::Time(time) => time.replace(['.', '/', '\\', '"'], "_"),
    };
    format!("{}.{}@{suffix}", table.namespace(), table.name()).parse().unwrap_or_else(|_| table.clone())
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `namespace . name` of a known table at this token, and the token after it.
fn table_at(tokens: &[Token<'_>], index: usize, known: &[TableName]) -> Option<(TableName, usize)> {
    let [namespace, dot, name] = tokens.get(index..index + 3)? else { return None };
    // Digits on both sides of a dot are a number.
    let is_digits = |token: &Token<'_>| matches!(token.kind, Kind::Number(text) if text.parse::<u64>().is_ok());
    if is_digits(namespace) && is_digits(name) {
        return None;
    }
    let (Some(namespace), Kind::Other("."), Some(name)) = (word(namespace), &dot.kind, word(name)) else {
        return None;
    };
    // A longer path (`curated.telemetry.temperature`) is a column.
    let is = |table: &&TableName| table.namespace() == namespace && table.name() == name;
    let (lower, mut alike) = (format!("{namespace}.{name}").to_lowercase(), Vec::new());
    alike.extend(known.iter().filter(|table| table.to_string().to_lowercase() == lower));
    let table = known.iter().find(is).or_else(|| alike.first().copied().filter(|_| alike.len() == 1))?;
    Some((table.clone(), index + 3))
}

/// What may be a part of a table's name: `2ndfloor` and `04`, too.
fn word<'a>(token: &'a Token<'_>) -> Option<&'a str> {
    match &token.kind {
        Kind::Word(word) => Some(word),
        Kind::Number(digits) => Some(digits),
        Kind::Text(_) | Kind::Other(_) => None,
    }
}

fn is_number(token: &Token<'_>) -> bool {
    matches!(token.kind, Kind::Number(_))
}

/// The version behind a table's name, and the token after it.
fn version_at(tokens: &[Token<'_>], index: usize) -> Result<(Version, usize), String> {
    let word = |offset: usize| match tokens.get(index + offset).map(|token| &token.kind) {
        Some(Kind::Word(word)) => word.to_ascii_uppercase(),
        _ => String::new(),
    };
    let by = word(1);
    if word(0) != "FOR" || !["VERSION", "SYSTEM_VERSION", "TIMESTAMP", "SYSTEM_TIME"].contains(&by.as_str()) {
        return Ok((Version::Current, index));
    }
    if word(2) != "AS" || word(3) != "OF" {
        return Err(format!("FOR {by} must be followed by AS OF"));
    }
    let mut value = index + 4;
    // `TIMESTAMP '…'` is how Athena and Trino write the time.
    if word(4) == "TIMESTAMP" {
        value += 1;
    }
    let kind = tokens.get(value).map(|token| &token.kind);
    let version = match (by.ends_with("VERSION"), kind) {
        (true, Some(Kind::Number(id))) => {
            Version::Snapshot(id.parse().map_err(|_| format!("{id} is not a snapshot id"))?)
        }
        (true, _) => return Err(format!("FOR {by} AS OF needs a snapshot id")),
        (false, Some(Kind::Text(time))) => Version::Time((*time).to_owned()),
        (false, _) => return Err(format!("FOR {by} AS OF needs a time in single quotes")),
    };
    Ok((version, value + 1))
}

/// Words that may follow a table and are no alias of it.
const NO_ALIAS: [&str; 22] = [
    "ON",
    "USING",
    "WHERE",
    "GROUP",
    "HAVING",
    "ORDER",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "NATURAL",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WINDOW",
    "QUALIFY",
    "FETCH",
    "TABLESAMPLE",
];

fn has_alias(tokens: &[Token<'_>], index: usize) -> bool {
    match tokens.get(index).map(|token| &token.kind) {
        Some(Kind::Word(word)) => !NO_ALIAS.contains(&word.to_ascii_uppercase().as_str()),
        _ => false,
    }
}

struct Token<'a> {
    kind: Kind<'a>,
    start: usize,
    end: usize,
}

enum Kind<'a> {
    /// An identifier, without its double quotes, or a keyword.
    Word(String),
    /// A literal in single quotes, without them.
    Text(&'a str),
    Number(&'a str),
    Other(&'a str),
}

/// The statement in pieces, without white space and comments.
fn tokens(sql: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = sql[start..].chars().next() {
        let rest = &sql[start..];
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
        let length = match first {
            '\'' | '"' => quoted_length(rest, first),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (text, end) = (&rest[..length], start + length);
        let inner = || text.get(1..length - 1).unwrap_or_default();
        let kind = match first {
            '\'' => Some(Kind::Text(inner())),
            '"' => Some(Kind::Word(inner().replace("\"\"", "\""))),
            '0'..='9' => Some(Kind::Number(text)),
            c if is_word(c) => Some(Kind::Word(text.to_owned())),
            c if c.is_whitespace() || text.starts_with("--") || text.starts_with("/*") => None,
            _ => Some(Kind::Other(text)),
        };
        tokens.extend(kind.map(|kind| Token { kind, start, end }));
        start = end;
    }
    tokens
}

/// Length of a quoted piece; a doubled quote does not end it, and an unclosed one goes to the end.
fn quoted_length(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].find(quote) {
        at += found + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(sql: &str) -> String {
        let known = ["curated.telemetry", "odd space.t-1", "curated.2ndfloor", "lab.04", "1.5", "q\"q.t\"t"];
        let known = known.map(|name| name.parse().unwrap());
        match resolve(sql, &known) {
            Ok(resolved) => {
                let tables: Vec<_> = resolved.tables.iter().map(|t| format!("{} {:?}", t.table, t.version)).collect();
                format!("{}\n{}", resolved.sql, tables.join("; "))
            }
            Err(message) => message,
        }
    }

    #[test]
    fn a_statement_without_time_travel_stays_as_it_is() {
        insta::assert_snapshot!(resolved("SELECT 'curated.telemetry', x -- curated.telemetry\nFROM elsewhere.t"), @"
        SELECT 'curated.telemetry', x -- curated.telemetry
        FROM elsewhere.t
        ");
        insta::assert_snapshot!(resolved("SELECT count(*) FROM curated.telemetry t WHERE t.x = 1"), @"
        SELECT count(*) FROM curated.telemetry t WHERE t.x = 1
        curated.telemetry Current
        ");
        insta::assert_snapshot!(resolved("SELECT * FROM \"odd space\".\"t-1\""), @r#"
        SELECT * FROM "odd space"."t-1"
        odd space.t-1 Current
        "#);
    }

    #[test]
    fn names_that_begin_with_a_digit_need_no_quotes() {
        insta::assert_snapshot!(resolved("SELECT 1.5, x FROM curated.2ndfloor AS f JOIN lab.04 ON 2ndfloor.a = 1"), @r#"
        SELECT 1.5, x FROM "curated"."2ndfloor" AS f JOIN "lab"."04" ON 2ndfloor.a = 1
        curated.2ndfloor Current; lab.04 Current
        "#);
        insta::assert_snapshot!(resolved("SELECT * FROM curated.2ndfloor FOR VERSION AS OF 7"), @r#"
        SELECT * FROM "curated"."2ndfloor@7" AS "2ndfloor"
        curated.2ndfloor Snapshot(7)
        "#);
    }

    #[test]
    fn quotes_in_a_name_stay_in_it() {
        insta::assert_snapshot!(resolved(r#"FROM "q""q"."t""t" FOR VERSION AS OF 7 AS old"#), @r#"
        FROM "q""q"."t""t@7" AS old
        q"q.t"t Snapshot(7)
        "#);
    }

    #[test]
    fn versions_become_names() {
        insta::assert_snapshot!(resolved("SELECT telemetry.x FROM curated.telemetry FOR VERSION AS OF 42 WHERE x > 1"), @r#"
        SELECT telemetry.x FROM "curated"."telemetry@42" AS "telemetry" WHERE x > 1
        curated.telemetry Snapshot(42)
        "#);
        insta::assert_snapshot!(resolved("FROM curated.telemetry FOR SYSTEM_TIME AS OF '2025-06-04T06:00:00Z' AS old"), @r#"
        FROM "curated"."telemetry@2025-06-04T06:00:00Z" AS old
        curated.telemetry Time("2025-06-04T06:00:00Z")
        "#);
        insta::assert_snapshot!(resolved("FROM Curated.TELEMETRY"), @r#"
        FROM Curated.TELEMETRY
        curated.telemetry Current
        "#);
        insta::assert_snapshot!(resolved("FROM curated.telemetry for timestamp as of timestamp '2025-06-04' o JOIN curated.telemetry n USING (k)"), @r#"
        FROM "curated"."telemetry@2025-06-04" o JOIN curated.telemetry n USING (k)
        curated.telemetry Time("2025-06-04"); curated.telemetry Current
        "#);
    }

    #[test]
    fn half_a_clause_is_an_error() {
        insta::assert_snapshot!(resolved("FROM curated.telemetry FOR VERSION AS OF 'x'"), @"FOR VERSION AS OF needs a snapshot id");
        insta::assert_snapshot!(resolved("FROM curated.telemetry FOR TIMESTAMP 'x'"), @"FOR TIMESTAMP must be followed by AS OF");
    }
}
