//! Fields of a raw struct that differ by case only: the one that is spelled as in the contract is taken, and where none is,
//! nobody can say which is meant.

use arrow::datatypes::{DataType, Fields, Schema};

use super::interval::OpenFile;
use crate::{Error, Result};

/// The field of that name: exactly, else the one that differs by case alone; an error that lists several of those.
pub(super) fn find_field<'a>(names: &[&'a str], name: &str) -> std::result::Result<Option<usize>, Vec<&'a str>> {
    if let Some(exact) = names.iter().position(|candidate| *candidate == name) {
        return Ok(Some(exact));
    }
    let lower = name.to_lowercase();
    let alike: Vec<usize> = (0..names.len()).filter(|index| names[*index].to_lowercase() == lower).collect();
    match alike.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => Err(several.iter().map(|index| names[*index]).collect()),
    }
}

/// Refuses a file in which a field of the table could be one or another of a struct's. `roots` are the file's columns for
/// the table's.
pub(super) fn check(file: &OpenFile, table: &Schema, roots: &[Option<usize>]) -> Result<()> {
    let raw = file.parquet.arrow_schema();
    for (field, root) in table.fields().iter().zip(roots) {
        let Some(root) = root else { continue };
        if let Some(Ambiguous { path, name, alike }) =
            in_type(raw.field(*root).data_type(), field.data_type(), field.name())
        {
            return Err(Error::Columns {
                location: file.input.location.clone(),
                reason: format!(
                    "fields {} of {path} differ by case only, so `{name}` is ambiguous: spell one of them in the raw file as \
                     the contract does",
                    alike.join(" and ")
                ),
            });
        }
    }
    Ok(())
}

struct Ambiguous {
    path: String,
    name: String,
    alike: Vec<String>,
}

fn in_type(raw: &DataType, declared: &DataType, path: &str) -> Option<Ambiguous> {
    match (raw, declared) {
        (DataType::Struct(raw), DataType::Struct(declared)) => in_struct(raw, declared, path),
        (DataType::List(raw), DataType::List(declared)) => in_type(raw.data_type(), declared.data_type(), path),
        (DataType::Map(raw, _), DataType::Map(declared, _)) => {
            let (DataType::Struct(raw), DataType::Struct(declared)) = (raw.data_type(), declared.data_type()) else {
                return None;
            };
            // Keys and values go by their places.
            let pairs = raw.iter().zip(declared);
            pairs.into_iter().find_map(|(raw, declared)| in_type(raw.data_type(), declared.data_type(), path))
        }
        _ => None,
    }
}

fn in_struct(raw: &Fields, declared: &Fields, path: &str) -> Option<Ambiguous> {
    let names: Vec<&str> = raw.iter().map(|field| field.name().as_str()).collect();
    declared.iter().find_map(|field| match find_field(&names, field.name()) {
        Ok(found) => {
            let raw = raw[found?].data_type();
            in_type(raw, field.data_type(), &format!("{path}.{}", field.name()))
        }
        Err(alike) => Some(Ambiguous {
            path: path.to_owned(),
            name: field.name().clone(),
            alike: alike.into_iter().map(str::to_owned).collect(),
        }),
    })
}
