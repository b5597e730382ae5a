//! The name of a table: namespace and name, as a catalog knows it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Error;

/// A table's name in a catalog, `namespace.name`. Both parts are non-empty and hold no dot, slash or control character.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    namespace: String,
    name: String,
}

impl TableName {
    /// The part before the dot: a Glue database, a namespace in the `SQLite` catalog.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The part after the dot.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for TableName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = |reason: &str| Error::TableName { name: text.to_owned(), reason: reason.to_owned() };
        let (namespace, name) =
            text.split_once('.').ok_or_else(|| bad("it has no namespace: write it as namespace.table"))?;
        for part in [namespace, name] {
            if part.is_empty() {
                return Err(bad("namespace and table must not be empty"));
            }
            if part.chars().any(|c| c == '.' || c == '/' || c == '\\' || c.is_control()) {
                return Err(bad("a part must not hold dots, slashes or control characters"));
            }
            if part == ".." {
                return Err(bad("a part must not be `..`"));
            }
        }
        Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }
}

impl TryFrom<String> for TableName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.namespace, self.name)
    }
}
