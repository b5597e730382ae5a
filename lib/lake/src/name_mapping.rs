//! The name mapping of a table (<https://iceberg.apache.org/spec/#name-mapping-serialization>), kept in step with its
//! schema: by it files without field ids are read, so a column that it does not know would read as NULL.

use std::collections::HashMap;

use iceberg::spec::{DEFAULT_SCHEMA_NAME_MAPPING, MappedField, NameMapping, Schema, Type};

/// The mapping for a table's next schema, as its property has it, with the name of that property; `None` in a table
/// without one. One that cannot be read stays as it is: reading says so.
pub(crate) fn next_mapping(properties: &HashMap<String, String>, schema: &Schema) -> Option<(String, String)> {
    let text = properties.get(DEFAULT_SCHEMA_NAME_MAPPING)?;
    let mapping: NameMapping = serde_json::from_str(text).ok()?;
    let mapped: Vec<&MappedField> = mapping.fields().iter().collect();
    let next = NameMapping::new(follow(&mapped, &fields(schema.as_struct().fields())));
    Some((DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), serde_json::to_string(&next).ok()?))
}

/// A field of a schema: id, name, type.
type Field<'a> = (i32, &'a str, &'a Type);

/// What is known of names, then names that are new. A name means the field that has it now, and nothing else.
fn follow(mapped: &[&MappedField], fields: &[Field<'_>]) -> Vec<MappedField> {
    let owner = |name: &str| fields.iter().find(|(_, own, _)| *own == name).map(|(id, ..)| *id);
    let known = mapped.iter().map(|known| {
        let id = known.field_id();
        let is_own = |name: &&String| owner(name).is_none_or(|owner| Some(owner) == id);
        let mut names: Vec<String> = known.names().iter().filter(is_own).cloned().collect();
        let below: Vec<&MappedField> = known.fields().iter().map(AsRef::as_ref).collect();
        let field = fields.iter().find(|(own, ..)| Some(*own) == id);
        if let Some((_, name, _)) = field
            && !names.iter().any(|known| known == name)
        {
            names.push((*name).to_owned());
        }
        MappedField::new(id, names, follow(&below, &field.map_or_else(Vec::new, |(_, _, of)| children(of))))
    });
    let is_new = |(id, ..): &&Field<'_>| !mapped.iter().any(|known| known.field_id() == Some(*id));
    let new = fields
        .iter()
        .filter(is_new)
        .map(|(id, name, of)| MappedField::new(Some(*id), vec![(*name).to_owned()], follow(&[], &children(of))));
    known.chain(new).collect()
}

fn fields(of: &[iceberg::spec::NestedFieldRef]) -> Vec<Field<'_>> {
    of.iter().map(|field| (field.id, field.name.as_str(), field.field_type.as_ref())).collect()
}

fn children(of: &Type) -> Vec<Field<'_>> {
    match of {
        Type::Primitive(_) => Vec::new(),
        Type::Struct(of) => fields(of.fields()),
        Type::List(list) => fields(std::slice::from_ref(&list.element_field)),
        Type::Map(map) => [&map.key_field, &map.value_field]
            .into_iter()
            .flat_map(|field| fields(std::slice::from_ref(field)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The mapping after the table got these fields.
    fn next(mapping: &Value, fields: &Value) -> Value {
        let schema = json!({"type": "struct", "schema-id": 1, "fields": fields});
        let schema: Schema = serde_json::from_value(schema).unwrap();
        let properties = HashMap::from([(DEFAULT_SCHEMA_NAME_MAPPING.to_owned(), mapping.to_string())]);
        serde_json::from_str(&next_mapping(&properties, &schema).unwrap().1).unwrap()
    }

    #[test]
    fn new_columns_and_new_names_are_mapped() {
        let struct_type = json!({"type": "struct", "fields": [
            {"id": 4, "name": "lat", "required": false, "type": "double"},
            {"id": 5, "name": "lon", "required": false, "type": "double"},
        ]});
        let list_type = json!({"type": "list", "element-id": 7, "element": "string", "element-required": false});
        let fields = json!([
            {"id": 1, "name": "device", "required": true, "type": "string"},
            {"id": 3, "name": "place", "required": false, "type": struct_type},
            {"id": 6, "name": "tags", "required": false, "type": list_type},
        ]);
        let before = json!([
            {"field-id": 1, "names": ["id", "device_id"]},
            {"field-id": 2, "names": ["dropped"]},
            {"field-id": 3, "names": ["place"], "fields": [{"field-id": 4, "names": ["latitude"]}]},
        ]);
        let after = json!([
            {"field-id": 1, "names": ["id", "device_id", "device"]},
            {"field-id": 2, "names": ["dropped"]},
            {"field-id": 3, "names": ["place"], "fields": [
                {"field-id": 4, "names": ["latitude", "lat"]},
                {"field-id": 5, "names": ["lon"]},
            ]},
            {"field-id": 6, "names": ["tags"], "fields": [{"field-id": 7, "names": ["element"]}]},
        ]);
        assert_eq!(next(&before, &fields), after);
        assert_eq!(next(&after, &fields), after);
    }

    #[test]
    fn a_name_that_is_used_again_means_the_new_column() {
        let fields = json!([{"id": 2, "name": "a", "required": false, "type": "long"}]);
        let before = json!([{"field-id": 1, "names": ["a", "b"]}]);
        let after = json!([{"field-id": 1, "names": ["b"]}, {"field-id": 2, "names": ["a"]}]);
        assert_eq!(next(&before, &fields), after);
    }

    #[test]
    fn a_table_without_a_mapping_gets_none() {
        let schema = Schema::builder().build().unwrap();
        assert_eq!(next_mapping(&HashMap::new(), &schema), None);
    }
}
