//! Types as text: `decimal(10,2)`, `map<string,double>`, `struct<a:int not null,b:string>`.
//!
//! The names are Iceberg's; the common SQL spellings of them are read too.

use std::fmt;

use crate::{Column, EpochUnit, PrimitiveType, Type};

/// Nesting that a type's text may have; deeper is refused.
const DEPTH_MAX: usize = 16;

/// What a `physicalType` says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Physical {
    /// A type in full.
    Full(Type),
    /// `object`, `struct`: the fields are in `properties`.
    Object,
    /// `array`, `list`: the elements are in `items`.
    Array,
}

/// Why a text is no type: what is wrong, and the help.
pub(crate) type Refusal = (String, String);

pub(crate) fn parse_physical(text: &str) -> Result<Physical, Refusal> {
    match text.trim().to_ascii_lowercase().as_str() {
        "object" | "struct" | "record" => Ok(Physical::Object),
        "array" | "list" => Ok(Physical::Array),
        _ => {
            let mut reader = Reader { rest: text };
            let parsed = reader.read_type(0)?;
            match reader.rest.trim() {
                "" => Ok(Physical::Full(parsed)),
                rest => Err((format!("unexpected {rest:?} at the end of type {text:?}"), "remove it".to_owned())),
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn read_type(&mut self, depth: usize) -> Result<Type, Refusal> {
        if depth > DEPTH_MAX {
            return Err((format!("the type is nested deeper than {DEPTH_MAX}"), "flatten it".to_owned()));
        }
        let name = self.word();
        let lower = name.to_ascii_lowercase();
        match lower.as_str() {
            "struct" => self.read_struct(depth),
            "list" | "array" => {
                self.expect('<')?;
                let element = Box::new(self.read_type(depth + 1)?);
                let element_required = self.not_null();
                self.expect('>')?;
                Ok(Type::List { element, element_required })
            }
            "map" => {
                self.expect('<')?;
                let key = Box::new(self.read_type(depth + 1)?);
                self.expect(',')?;
                let value = Box::new(self.read_type(depth + 1)?);
                let value_required = self.not_null();
                self.expect('>')?;
                Ok(Type::Map { key, value, value_required })
            }
            _ => {
                let arguments = self.arguments()?;
                primitive(name, &lower, &arguments).map(Type::Primitive)
            }
        }
    }

    fn read_struct(&mut self, depth: usize) -> Result<Type, Refusal> {
        self.expect('<')?;
        let mut fields: Vec<Column> = Vec::new();
        loop {
            let name = self.name()?;
            self.expect(':')?;
            let column_type = self.read_type(depth + 1)?;
            let required = self.not_null();
            if let Some(other) = fields.iter().find(|field| field.name.to_lowercase() == name.to_lowercase()) {
                return Err((
                    format!("the struct has the fields {:?} and {name:?}", other.name),
                    "names must differ also when case is ignored: rename one".to_owned(),
                ));
            }
            fields.push(field(name, column_type, required));
            if !self.take(',') {
                break;
            }
        }
        self.expect('>')?;
        Ok(Type::Struct(fields))
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// A field's name: a word, or anything in double quotes or backticks.
    fn name(&mut self) -> Result<String, Refusal> {
        self.skip_space();
        for quote in ['"', '`'] {
            if let Some((name, rest)) = self.rest.strip_prefix(quote).and_then(|rest| rest.split_once(quote)) {
                self.rest = rest;
                return non_empty(name);
            }
        }
        let word = self.word();
        non_empty(word)
    }

    fn take(&mut self, wanted: char) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, wanted: char) -> Result<(), Refusal> {
        if self.take(wanted) {
            return Ok(());
        }
        let found = self.rest.chars().next().map_or_else(|| "the end".to_owned(), |c| format!("`{c}`"));
        Err((
            format!("the type needs `{wanted}` where it has {found}"),
            "write struct<a:int,b:string>, list<int> or map<string,double>".to_owned(),
        ))
    }

    fn not_null(&mut self) -> bool {
        let before = self.rest;
        let found = self.word().eq_ignore_ascii_case("not") && self.word().eq_ignore_ascii_case("null");
        if !found {
            self.rest = before;
        }
        found
    }

    /// `(10,2)` or `[16]`.
    fn arguments(&mut self) -> Result<Vec<u32>, Refusal> {
        let close = if self.take('(') {
            ')'
        } else if self.take('[') {
            ']'
        } else {
            return Ok(Vec::new());
        };
        let mut numbers = Vec::new();
        loop {
            let word = self.word();
            let number = word
                .parse()
                .map_err(|_| (format!("{word:?} is not a number"), "write whole numbers in the brackets".to_owned()))?;
            numbers.push(number);
            if !self.take(',') {
                break;
            }
        }
        self.expect(close)?;
        Ok(numbers)
    }
}

fn non_empty(name: &str) -> Result<String, Refusal> {
    if name.is_empty() {
        return Err(("a field of the struct has no name".to_owned(), "write struct<a:int,b:string>".to_owned()));
    }
    Ok(name.to_owned())
}

pub(crate) fn field(name: String, column_type: Type, required: bool) -> Column {
    Column {
        name,
        source: None,
        epoch_unit: EpochUnit::default(),
        renamed_from: Vec::new(),
        column_type,
        required,
        description: None,
        constraints: Vec::new(),
    }
}

fn primitive(name: &str, lower: &str, arguments: &[u32]) -> Result<PrimitiveType, Refusal> {
    let parsed = match (lower, arguments) {
        ("boolean" | "bool", []) => PrimitiveType::Boolean,
        ("int" | "integer" | "int32" | "smallint" | "tinyint", []) => PrimitiveType::Int,
        ("long" | "bigint" | "int64", []) => PrimitiveType::Long,
        ("float" | "real" | "float32", []) => PrimitiveType::Float,
        ("double" | "float64", []) => PrimitiveType::Double,
        ("decimal" | "numeric", [precision @ 1..=38]) => decimal(*precision, 0),
        ("decimal" | "numeric", [precision @ 1..=38, scale]) if scale <= precision => decimal(*precision, *scale),
        ("decimal" | "numeric", _) => {
            return Err((
                format!("{name} needs a precision of 1 to 38 digits and a scale that is not larger"),
                "write decimal(10,2)".to_owned(),
            ));
        }
        ("date", []) => PrimitiveType::Date,
        ("time", []) => PrimitiveType::Time,
        ("timestamp" | "timestamp_ntz", []) => PrimitiveType::Timestamp,
        ("timestamptz" | "timestamp_ltz", []) => PrimitiveType::TimestampTz,
        // The length is not enforced: `maxLength` is there for that.
        ("string" | "text", []) | ("varchar" | "char", [] | [_]) => PrimitiveType::String,
        ("uuid", []) => PrimitiveType::Uuid,
        ("fixed", [length @ 1..=2_147_483_647]) => PrimitiveType::Fixed(*length),
        ("fixed", _) => return Err(("fixed needs a length in bytes".to_owned(), "write fixed(16)".to_owned())),
        ("binary" | "bytes" | "varbinary", []) => PrimitiveType::Binary,
        ("timestamp_ns" | "timestamptz_ns" | "variant" | "geometry" | "geography" | "unknown", _) => {
            return Err((
                format!("type {name:?} needs Iceberg format version 3"),
                "tables are written in version 2, which every engine reads: timestamps in microseconds, JSON as string"
                    .to_owned(),
            ));
        }
        _ => return Err((format!("unknown type {name:?}"), unknown_help(lower))),
    };
    Ok(parsed)
}

fn decimal(precision: u32, scale: u32) -> PrimitiveType {
    let small = |number: u32| u8::try_from(number).unwrap_or(u8::MAX);
    PrimitiveType::Decimal { precision: small(precision), scale: small(scale) }
}

fn unknown_help(lower: &str) -> String {
    let names = [
        "boolean",
        "int",
        "long",
        "float",
        "double",
        "decimal(p,s)",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "string",
        "uuid",
        "fixed(n)",
        "binary",
        "struct<…>",
        "list<…>",
        "map<…>",
    ];
    match lower {
        "json" | "jsonb" => "write string, or list the fields in `properties`".to_owned(),
        "datetime" => "write timestamptz for an instant, timestamp for a time without a zone".to_owned(),
        _ => crate::problem::suggest(lower, names),
    }
}

impl fmt::Display for PrimitiveType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Float => "float",
            Self::Double => "double",
            Self::Decimal { precision, scale } => return write!(f, "decimal({precision},{scale})"),
            Self::Date => "date",
            Self::Time => "time",
            Self::Timestamp => "timestamp",
            Self::TimestampTz => "timestamptz",
            Self::String => "string",
            Self::Uuid => "uuid",
            Self::Fixed(length) => return write!(f, "fixed({length})"),
            Self::Binary => "binary",
        };
        f.write_str(name)
    }
}

/// As `physicalType` spells it. What only a column can say (descriptions, constraints of fields) is left out.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not_null = |required: bool| if required { " not null" } else { "" };
        match self {
            Self::Primitive(primitive) => primitive.fmt(f),
            Self::Struct(fields) => {
                f.write_str("struct<")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{}:{}{}", field_name(&field.name), field.column_type, not_null(field.required))?;
                }
                f.write_str(">")
            }
            Self::List { element, element_required } => write!(f, "list<{element}{}>", not_null(*element_required)),
            Self::Map { key, value, value_required } => write!(f, "map<{key},{value}{}>", not_null(*value_required)),
        }
    }
}

fn field_name(name: &str) -> String {
    if name.chars().all(|c| c.is_alphanumeric() || c == '_') {
        return name.to_owned();
    }
    let quote = if name.contains('"') { '`' } else { '"' };
    format!("{quote}{name}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_written() {
        let cases = [
            ("BOOLEAN", "boolean"),
            ("bigint", "long"),
            ("smallint", "int"),
            ("numeric(20)", "decimal(20,0)"),
            ("decimal(10, 2)", "decimal(10,2)"),
            ("varchar(20)", "string"),
            ("fixed[16]", "fixed(16)"),
            ("timestamp_ltz", "timestamptz"),
            ("array<int NOT NULL>", "list<int not null>"),
            ("map<string, double>", "map<string,double>"),
            (
                "struct<a: int not null, `b c`: list<struct<d:date>>>",
                "struct<a:int not null,\"b c\":list<struct<d:date>>>",
            ),
        ];
        for (text, written) in cases {
            let Ok(Physical::Full(parsed)) = parse_physical(text) else { panic!("{text} is not read") };
            assert_eq!(parsed.to_string(), written);
            assert_eq!(parse_physical(written), Ok(Physical::Full(parsed)));
        }
    }

    #[test]
    fn refusals_say_what_to_write() {
        let cases = [
            (
                "decimal(39,2)",
                "decimal needs a precision of 1 to 38 digits and a scale that is not larger",
                "write decimal(10,2)",
            ),
            ("fixed", "fixed needs a length in bytes", "write fixed(16)"),
            ("strin", "unknown type \"strin\"", "did you mean `string`?"),
            ("json", "unknown type \"json\"", "write string, or list the fields in `properties`"),
            (
                "list<int",
                "the type needs `>` where it has the end",
                "write struct<a:int,b:string>, list<int> or map<string,double>",
            ),
            ("int int", "unexpected \"int\" at the end of type \"int int\"", "remove it"),
            (
                "struct<a:int,A:int>",
                "the struct has the fields \"a\" and \"A\"",
                "names must differ also when case is ignored: rename one",
            ),
            ("decimal(x)", "\"x\" is not a number", "write whole numbers in the brackets"),
        ];
        for (text, message, help) in cases {
            assert_eq!(parse_physical(text), Err((message.to_owned(), help.to_owned())), "{text}");
        }
        let deep = format!("{}int{}", "list<".repeat(40), ">".repeat(40));
        assert!(parse_physical(&deep).is_err());
    }
}
