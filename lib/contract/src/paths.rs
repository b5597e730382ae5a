//! The full names of columns and of what lies inside of them, as Iceberg has them: `s.a` is the field `a` of the column `s`, and
//! of a column `s.a` as well. No table can have both.

use std::collections::HashMap;

use crate::{
    Type,
    column::Property,
    problem::{Checked, Place, Problem},
};

/// Refuses two columns or fields with one full name; engines ignore case.
pub(crate) fn check_paths(properties: &[Property]) -> Checked<()> {
    let mut known = HashMap::new();
    for property in properties {
        let mut paths = Paths { place: property.place, known: &mut known };
        paths.add(&mut vec![property.column.name.clone()], &property.column.column_type)?;
    }
    Ok(())
}

struct Paths<'a> {
    place: Place,
    /// By full name in lower case: the parts, and the column's place.
    known: &'a mut HashMap<String, (Vec<String>, Place)>,
}

impl Paths<'_> {
    fn add(&mut self, path: &mut Vec<String>, of: &Type) -> Checked<()> {
        let full = path.join(".").to_lowercase();
        if let Some((other, place)) = self.known.insert(full, (path.clone(), self.place)) {
            let (this, other) = (described(path), described(&other));
            let message =
                format!("{this} and {other} (line {}) have one name in Iceberg: {:?}", place.line, path.join("."));
            return Err(Problem::new(self.place, message, "rename one of them"));
        }
        let inside: Vec<(&str, &Type)> = match of {
            Type::Primitive(_) => Vec::new(),
            Type::Struct(fields) => fields.iter().map(|field| (field.name.as_str(), &field.column_type)).collect(),
            Type::List { element, .. } => vec![("element", element.as_ref())],
            Type::Map { key, value, .. } => vec![("key", key.as_ref()), ("value", value.as_ref())],
        };
        for (name, of) in inside {
            path.push(name.to_owned());
            self.add(path, of)?;
            path.pop();
        }
        Ok(())
    }
}

fn described(path: &[String]) -> String {
    match path {
        [column] => format!("the column {column:?}"),
        [outer @ .., field] => format!("the field {field:?} of {:?}", outer.join(".")),
        [] => String::new(),
    }
}
