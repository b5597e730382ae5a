//! A property of the document: type, constraints, its part in the key and in the partition.

use crate::{
    Column, Constraint, EpochUnit, PrimitiveType, Transform, Type,
    constraints::{self, describe},
    keys,
    problem::{Checked, Place, Problem},
    quality::{self, Rules, Subject},
    settings::settings,
    types::{Physical, parse_physical},
    yaml::Node,
};

/// A column and what it says about the table.
pub(crate) struct Property {
    pub(crate) column: Column,
    pub(crate) place: Place,
    /// Part of the key, at this position if it has one.
    pub(crate) key: Option<Option<i64>>,
    pub(crate) partition: Option<Partition>,
    pub(crate) rules: Rules,
}

pub(crate) struct Partition {
    pub(crate) position: Option<i64>,
    pub(crate) transforms: Vec<Transform>,
    pub(crate) place: Place,
}

/// Reads a list of columns or of a struct's fields.
pub(crate) fn read_properties(nodes: &[Node]) -> Checked<Vec<Property>> {
    let mut properties: Vec<Property> = Vec::new();
    for node in nodes {
        let property = read_property(node)?;
        let name = &property.column.name;
        let same = |other: &&Property| other.column.name.to_lowercase() == name.to_lowercase();
        if let Some(other) = properties.iter().find(same) {
            let (line, first) = (other.place.line, &other.column.name);
            let (message, help) = if first == name {
                (format!("the column {name:?} stands twice, first on line {line}"), "rename or remove one")
            } else {
                let message = format!("the column {name:?} differs from {first:?} on line {line} by case only");
                (message, "engines ignore case: rename or remove one")
            };
            return Err(Problem::new(property.place, message, help));
        }
        properties.push(property);
    }
    Ok(properties)
}

fn read_property(node: &Node) -> Checked<Property> {
    let name_node = node.get("physicalName").or_else(|| node.get("name")).unwrap_or(node);
    let name = name_node.text().unwrap_or_default();
    if name.trim().is_empty() || name.chars().any(char::is_control) {
        let message = format!("a column cannot be called {name:?}");
        return Err(Problem::new(name_node.place, message, "write a name without control characters"));
    }
    let column_type = read_type(node)?;
    let settings = settings(node, keys::COLUMN_SETTINGS)?;
    let mut constraint_list = match node.get("logicalTypeOptions") {
        Some(options) => constraints::read_options(options, &column_type)?,
        None => Vec::new(),
    };
    if let Some(list) = settings.get(keys::ENUM) {
        constraint_list.push(Constraint::OneOf(constraints::read_values(list, &column_type, keys::ENUM)?));
    }
    let mut rules = quality::read_rules(node.list("quality"), Subject { name, column_type: Some(&column_type) })?;
    for constraint in std::mem::take(&mut rules.constraints) {
        if !constraint_list.contains(&constraint) {
            constraint_list.push(constraint);
        }
    }
    constraints::sort(&mut constraint_list);
    let source = settings.get(keys::SOURCE).and_then(|node| node.text()).filter(|source| *source != name);
    let key = read_key(node, &column_type)?;
    let column = Column {
        name: name.to_owned(),
        source: source.map(str::to_owned),
        epoch_unit: read_epoch_unit(settings.get(keys::EPOCH_UNIT).copied(), &column_type)?,
        renamed_from: read_renamed(settings.get(keys::RENAMED_FROM).copied(), name)?,
        required: key.is_some() || rules.required || node.get("required").and_then(Node::boolean) == Some(true),
        description: node.get("description").and_then(Node::text).map(str::to_owned),
        constraints: constraint_list,
        column_type,
    };
    let partition = read_partition(node, settings.get(keys::PARTITION_TRANSFORM).copied(), &column.column_type)?;
    Ok(Property { column, place: name_node.place, key, partition, rules })
}

fn read_epoch_unit(node: Option<&Node>, column_type: &Type) -> Checked<EpochUnit> {
    let Some(node) = node else { return Ok(EpochUnit::default()) };
    if !matches!(column_type, Type::Primitive(PrimitiveType::Timestamp | PrimitiveType::TimestampTz)) {
        let message = format!("`{}` does not apply to a {} column", keys::EPOCH_UNIT, describe(column_type));
        return Err(Problem::new(node.place, message, "it applies to timestamps: remove it"));
    }
    Ok(match node.text() {
        Some("ms") => EpochUnit::Milliseconds,
        Some("us") => EpochUnit::Microseconds,
        Some("ns") => EpochUnit::Nanoseconds,
        _ => EpochUnit::Seconds,
    })
}

fn read_renamed(node: Option<&Node>, name: &str) -> Checked<Vec<String>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut names: Vec<String> = Vec::new();
    for item in node.one_or_many() {
        let earlier = item.text().unwrap_or_default();
        if earlier == name || names.iter().any(|other| other == earlier) {
            let message = format!("`{}` names {earlier:?} needlessly", keys::RENAMED_FROM);
            return Err(Problem::new(item.place, message, "list each earlier name once, without the column's own"));
        }
        names.push(earlier.to_owned());
    }
    Ok(names)
}

/// The type of a column, a field or a list's elements.
fn read_type(node: &Node) -> Checked<Type> {
    let logical = node.get("logicalType").and_then(|node| Some((node, node.text()?)));
    let physical_node = node.get("physicalType");
    let physical = physical_node
        .map(|node| {
            parse_physical(node.text().unwrap_or_default())
                .map_err(|(message, help)| Problem::new(node.place, message, help))
        })
        .transpose()?;
    let place = physical_node.map_or(node.place, |node| node.place);
    let column_type = match (physical, logical.map(|(_, name)| name)) {
        (Some(Physical::Object), _) | (None, Some("object")) => read_struct(node)?,
        (Some(Physical::Array), _) | (None, Some("array")) => read_list(node)?,
        (Some(Physical::Full(column_type)), _) => column_type,
        (None, Some(logical)) => Type::Primitive(default_type(node, logical)?),
        (None, None) => {
            return Err(Problem::new(
                node.place,
                "the column has no type",
                "add `logicalType: string` or a physicalType",
            ));
        }
    };
    if let Some((logical_node, logical)) = logical
        && !fits(logical, &column_type)
    {
        let message = format!("logicalType {logical} contradicts type {}", describe(&column_type));
        let help = format!("write logicalType: {}", logical_name(&column_type));
        return Err(Problem::new(logical_node.place, message, help));
    }
    check_placement(node, &column_type, place)?;
    if let Type::Map { key, .. } = &column_type
        && !matches!(**key, Type::Primitive(_))
    {
        return Err(Problem::new(place, "the keys of a map must be single values", "write map<string,…>"));
    }
    Ok(column_type)
}

fn check_placement(node: &Node, column_type: &Type, place: Place) -> Checked<()> {
    let full = node.get("physicalType").and_then(Node::text).is_some_and(|text| text.contains('<'));
    for (name, belongs) in
        [("properties", matches!(column_type, Type::Struct(_))), ("items", matches!(column_type, Type::List { .. }))]
    {
        let Some(child) = node.get(name) else { continue };
        if !belongs {
            let message = format!("`{name}` does not belong to a {} column", describe(column_type));
            return Err(Problem::new(child.place, message, "remove it, or write logicalType: object or array"));
        }
        if full {
            let message = format!("both `{name}` and `physicalType` say what is inside");
            return Err(Problem::new(place, message, "remove the physicalType"));
        }
    }
    Ok(())
}

fn read_struct(node: &Node) -> Checked<Type> {
    let properties = read_properties(node.list("properties"))?;
    if properties.is_empty() {
        return Err(Problem::new(
            node.place,
            "the object has no fields",
            "list them in `properties`, or write physicalType: map<string,double> for free keys",
        ));
    }
    let mut fields = Vec::new();
    for property in properties {
        let refuse = |what: &str, help: &str| {
            let message = format!("the field {:?} of an object cannot have {what}", property.column.name);
            Err(Problem::new(property.place, message, help))
        };
        if property.key.is_some() {
            return refuse("primaryKey", "key columns are top-level columns: remove it");
        }
        if property.partition.is_some() {
            return refuse("partitioned", "partition columns are top-level columns: remove it");
        }
        if !property.rules.checks.is_empty() {
            return refuse("this quality rule", "move it to the table's `quality`");
        }
        fields.push(property.column);
    }
    let required = node.get("logicalTypeOptions").map_or(&[][..], |options| options.list("required"));
    for item in required {
        let name = item.text().unwrap_or_default();
        match fields.iter_mut().find(|field| field.name == name) {
            Some(field) => field.required = true,
            None => {
                let help = crate::problem::suggest(name, fields.iter().map(|field| field.name.as_str()));
                return Err(Problem::new(item.place, format!("the object has no field {name:?}"), help));
            }
        }
    }
    Ok(Type::Struct(fields))
}

fn read_list(node: &Node) -> Checked<Type> {
    let Some(items) = node.get("items") else {
        return Err(Problem::new(node.place, "the array has no `items`", "add `items: {logicalType: string}`"));
    };
    let element = read_type(items)?;
    if let Some(options) = items.get("logicalTypeOptions")
        && !constraints::read_options(options, &element)?.is_empty()
    {
        return Err(Problem::new(
            options.place,
            "constraints on the elements of a list are not checked",
            "remove them, or write a row rule: quality: [{name: …, type: custom, engine: etl, implementation: …}]",
        ));
    }
    for name in ["primaryKey", "partitioned", "quality", "customProperties"] {
        if let Some(child) = items.get(name)
            && (child.boolean() == Some(true) || !child.items().is_empty())
        {
            return Err(Problem::new(child.place, format!("the elements of a list cannot have `{name}`"), "remove it"));
        }
    }
    let element_required = items.get("required").and_then(Node::boolean) == Some(true);
    Ok(Type::List { element: Box::new(element), element_required })
}

/// The type of a `logicalType` without a `physicalType`.
fn default_type(node: &Node, logical: &str) -> Checked<PrimitiveType> {
    let option = |name: &str| node.get("logicalTypeOptions").and_then(|options| options.get(name));
    let format = option("format");
    let kind = match (logical, format.and_then(Node::text)) {
        ("integer", Some("i8" | "i16" | "i32" | "u8" | "u16" | "int8" | "int16" | "int32")) => PrimitiveType::Int,
        ("integer", None | Some("i64" | "u32" | "int64")) => PrimitiveType::Long,
        ("number", Some("f32" | "float32" | "float")) => PrimitiveType::Float,
        ("number", None | Some("f64" | "float64" | "double")) => PrimitiveType::Double,
        ("integer" | "number", Some(other)) => {
            let place = format.map_or(node.place, |format| format.place);
            let help = if logical == "integer" {
                "write i32 or i64; for larger numbers physicalType: decimal(38,0)"
            } else {
                "write f32 or f64"
            };
            return Err(Problem::new(place, format!("`format` of type {logical} cannot be {other:?}"), help));
        }
        ("boolean", _) => PrimitiveType::Boolean,
        ("date", _) => PrimitiveType::Date,
        ("time", _) => PrimitiveType::Time,
        ("timestamp", _) if option("timezone").and_then(Node::boolean) == Some(false) => PrimitiveType::Timestamp,
        ("timestamp", _) => PrimitiveType::TimestampTz,
        _ => PrimitiveType::String,
    };
    Ok(kind)
}

fn fits(logical: &str, column_type: &Type) -> bool {
    use PrimitiveType::{
        Binary, Boolean, Date, Decimal, Double, Fixed, Float, Int, Long, String, Time, Timestamp, TimestampTz, Uuid,
    };
    match (logical, column_type) {
        ("object", Type::Struct(_) | Type::Map { .. }) | ("array", Type::List { .. }) => true,
        (logical, Type::Primitive(kind)) => match logical {
            // The standard has no type for bytes.
            "string" => matches!(kind, String | Uuid | Binary | Fixed(_)),
            "integer" => matches!(kind, Int | Long | Decimal { scale: 0, .. }),
            "number" => matches!(kind, Int | Long | Float | Double | Decimal { .. }),
            "boolean" => *kind == Boolean,
            "date" => *kind == Date,
            "time" => *kind == Time,
            "timestamp" => matches!(kind, Timestamp | TimestampTz),
            _ => false,
        },
        _ => false,
    }
}

/// The standard's type for one of ours.
pub(crate) fn logical_name(column_type: &Type) -> &'static str {
    let Type::Primitive(kind) = column_type else {
        return if matches!(column_type, Type::List { .. }) { "array" } else { "object" };
    };
    match kind {
        PrimitiveType::Boolean => "boolean",
        PrimitiveType::Int | PrimitiveType::Long => "integer",
        PrimitiveType::Float | PrimitiveType::Double | PrimitiveType::Decimal { .. } => "number",
        PrimitiveType::Date => "date",
        PrimitiveType::Time => "time",
        PrimitiveType::Timestamp | PrimitiveType::TimestampTz => "timestamp",
        PrimitiveType::String | PrimitiveType::Uuid | PrimitiveType::Fixed(_) | PrimitiveType::Binary => "string",
    }
}

/// A position as the standard counts: from 1, -1 is none.
fn position(node: &Node, name: &str) -> Checked<Option<i64>> {
    match node.get(name).and_then(|node| Some((node.place, node.integer()?))) {
        None | Some((_, -1)) => Ok(None),
        Some((place, 0)) => Err(Problem::new(place, format!("`{name}` cannot be 0"), "count from 1")),
        Some((_, position)) => Ok(Some(position)),
    }
}

fn read_key(node: &Node, column_type: &Type) -> Checked<Option<Option<i64>>> {
    let position = position(node, "primaryKeyPosition")?;
    let flag = node.get("primaryKey");
    if flag.and_then(Node::boolean) != Some(true) {
        return match node.get("primaryKeyPosition") {
            Some(child) if position.is_some() => Err(Problem::new(
                child.place,
                "`primaryKeyPosition` without `primaryKey: true`",
                "add `primaryKey: true`, or remove the position",
            )),
            _ => Ok(None),
        };
    }
    let place = flag.map_or(node.place, |flag| flag.place);
    match column_type {
        Type::Primitive(PrimitiveType::Float | PrimitiveType::Double) => Err(Problem::new(
            place,
            format!("a {} column cannot be part of the key", describe(column_type)),
            "floating-point values have no exact equality: use a decimal, an integer or a string",
        )),
        Type::Primitive(_) => Ok(Some(position)),
        _ => Err(Problem::new(
            place,
            format!("a {} column cannot be part of the key", describe(column_type)),
            "use columns of single values",
        )),
    }
}

fn read_partition(node: &Node, transforms: Option<&Node>, column_type: &Type) -> Checked<Option<Partition>> {
    let position = position(node, "partitionKeyPosition")?;
    let flag = node.get("partitioned");
    if flag.and_then(Node::boolean) != Some(true) {
        let stray = node.get("partitionKeyPosition").filter(|_| position.is_some()).or(transforms);
        return match stray {
            Some(stray) => Err(Problem::new(
                stray.place,
                "a place in the partition without `partitioned: true`",
                "add `partitioned: true`, or remove it",
            )),
            None => Ok(None),
        };
    }
    let place = flag.map_or(node.place, |flag| flag.place);
    let Type::Primitive(kind) = column_type else {
        let message = format!("the table cannot be partitioned by a {} column", describe(column_type));
        return Err(Problem::new(place, message, "use columns of single values"));
    };
    let Some(list) = transforms else {
        if matches!(kind, PrimitiveType::Timestamp | PrimitiveType::TimestampTz) {
            return Err(Problem::new(
                place,
                format!("a {kind} column would make a partition of every single value"),
                "add `customProperties: [{property: etl.partitionTransform, value: day}]`",
            ));
        }
        check_transform(Transform::Identity, *kind, place)?;
        return Ok(Some(Partition { position, transforms: vec![Transform::Identity], place }));
    };
    let mut read: Vec<Transform> = Vec::new();
    for item in list.one_or_many() {
        let transform: Transform =
            item.text().unwrap_or_default().parse().map_err(|error: crate::TransformError| {
                let text = error.text;
                let help = "write identity, year, month, day, hour, bucket(16) or truncate(4)";
                Problem::new(item.place, format!("{text:?} is not a partition transform"), help)
            })?;
        check_transform(transform, *kind, item.place)?;
        if read.iter().any(|other| *other == transform || (other.is_temporal() && transform.is_temporal())) {
            let help = if transform.is_temporal() {
                "year, month, day and hour contain each other: keep the finest"
            } else {
                "remove one"
            };
            let message = format!("the partition by {transform} repeats another one of the column");
            return Err(Problem::new(item.place, message, help));
        }
        read.push(transform);
    }
    if read.is_empty() {
        return Err(Problem::new(list.place, "the list of partition transforms is empty", "write day or bucket(16)"));
    }
    Ok(Some(Partition { position, transforms: read, place }))
}

fn check_transform(transform: Transform, kind: PrimitiveType, place: Place) -> Checked<()> {
    match transform.refusal(kind) {
        Some(help) => {
            Err(Problem::new(place, format!("the partition by {transform} does not take a {kind} column"), help))
        }
        None => Ok(()),
    }
}
