//! What each part of a document becomes.

use std::{collections::BTreeMap, path::Path};

use contract::{
    AbsentColumns, Check, CheckScope, ColdClass, Column, Constraint, Contract, DeleteMarker, Direction, Duration,
    EpochUnit, Hold, Literal, MergeMode, NewColumns, Nulls, OrderTerm, PartitionField, Severity, TenantConflict,
    Thresholds, TierRule, Tiering, Transform, Type, render,
};

/// A contract that has every key and every setting.
pub fn wide() -> Contract {
    read(include_str!("wide.odcs.yaml"))
}

fn read(text: &str) -> Contract {
    let mut contracts = match Contract::parse(Path::new("x.yaml"), text) {
        Ok(contracts) => contracts,
        Err(error) => panic!("{error}\n{text}"),
    };
    contracts.pop().expect("a table")
}

fn table(columns: &[&str]) -> Contract {
    let columns: String = columns.iter().map(|column| format!("      - {column}\n")).collect();
    read(&format!(
        "apiVersion: v3.1.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\nschema:\n  - name: t\n    \
         physicalName: c.t\n    properties:\n{columns}"
    ))
}

fn column(yaml: &str) -> Column {
    table(&[yaml]).columns.remove(0)
}

#[test]
fn types() {
    let cases = [
        ("logicalType: string", "string"),
        ("logicalType: integer", "long"),
        ("logicalType: integer, logicalTypeOptions: {format: i32}", "int"),
        ("logicalType: integer, logicalTypeOptions: {format: int32}", "int"),
        ("logicalType: number", "double"),
        ("logicalType: number, logicalTypeOptions: {format: f32}", "float"),
        ("logicalType: boolean", "boolean"),
        ("logicalType: date", "date"),
        ("logicalType: time", "time"),
        ("logicalType: timestamp", "timestamptz"),
        ("logicalType: timestamp, logicalTypeOptions: {timezone: false}", "timestamp"),
        ("logicalType: timestamp, physicalType: timestamp", "timestamp"),
        ("logicalType: number, physicalType: int", "int"),
        ("logicalType: number, physicalType: 'decimal(10,2)'", "decimal(10,2)"),
        ("logicalType: string, physicalType: uuid", "uuid"),
        ("physicalType: 'fixed[16]'", "fixed(16)"),
        ("physicalType: binary", "binary"),
        ("logicalType: object, physicalType: 'map<string,double>'", "map<string,double>"),
        ("logicalType: object, physicalType: 'struct<a:int,b:string>'", "struct<a:int,b:string>"),
        ("logicalType: object, physicalType: object, properties: [{name: a, logicalType: integer}]", "struct<a:long>"),
        ("logicalType: object, properties: [{name: a, logicalType: date, required: true}]", "struct<a:date not null>"),
        (
            "logicalType: object, logicalTypeOptions: {required: [a]}, properties: [{name: a, logicalType: date}]",
            "struct<a:date not null>",
        ),
        ("logicalType: array, items: {logicalType: string}", "list<string>"),
        ("physicalType: array, items: {logicalType: string, required: true}", "list<string not null>"),
        ("logicalType: array, physicalType: 'array<map<string,int>>'", "list<map<string,int>>"),
    ];
    for (yaml, expected) in cases {
        assert_eq!(column(&format!("{{name: a, {yaml}}}")).column_type.to_string(), expected, "{yaml}");
    }
}

#[test]
fn every_setting_of_the_wide_contract() {
    let contract = wide();
    assert_eq!((contract.id.as_str(), contract.version.as_str()), ("wide", "2.1.0-rc.1"));
    assert_eq!(contract.description.as_deref(), Some("Wide table."));
    assert_eq!(contract.key, ["key_id"]);
    assert_eq!(contract.event_time.as_deref(), Some("happened"));
    assert_eq!(contract.partition, [PartitionField { column: "happened".into(), transform: Transform::Day }]);
    assert!(contract.partition_fixed_per_key);
    let term = |column: &str, direction, nulls| OrderTerm { column: column.into(), direction, nulls };
    assert_eq!(
        contract.sort_order,
        [term("key_id", Direction::Ascending, Nulls::First), term("happened", Direction::Descending, Nulls::First)]
    );
    assert_eq!(
        contract.winner_order,
        [term("happened", Direction::Descending, Nulls::Last), term("amount", Direction::Ascending, Nulls::Last)]
    );
    assert_eq!(
        contract.thresholds,
        Thresholds { invalid_ratio_max: Some(0.5), invalid_rows_max: Some(1000), rows_min: Some(10) }
    );
    assert_eq!(contract.new_columns, NewColumns::Evolve);
    assert_eq!(contract.absent_columns, Some(AbsentColumns::Null));
    let text = |text: &str| Literal::String(text.into());
    assert_eq!(contract.delete_marker, Some(DeleteMarker { column: "op".into(), values: vec![text("D"), text("X")] }));
    assert_eq!(contract.lateness, Some(Duration { seconds: 129_600 }));
    assert_eq!(contract.tenant.as_deref(), Some("op"));
    assert_eq!(contract.tenant_conflict, TenantConflict::Move);
    assert_eq!(contract.merge_mode, MergeMode::MergeOnRead);
    assert_eq!(contract.target_file_bytes, 256 << 20);
    let days = |days: u64| Duration { seconds: days * 86_400 };
    let rule = |age, class| TierRule { age: days(age), class };
    let day = |month| jiff::civil::date(2025, month, 1);
    assert_eq!(
        contract.tiering,
        Tiering {
            raw: vec![rule(30, ColdClass::StandardIa), rule(90, ColdClass::Glacier)],
            curated: vec![rule(180, ColdClass::StandardIa), rule(400, ColdClass::DeepArchive)],
            archived: true,
            hot: Some(days(60)),
            holds: vec![Hold { start: day(1), end: day(4) }],
        }
    );
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        contract.table_properties,
        [property("write.metadata.compression-codec", "gzip"), property("a", "1.50"), property("b", "true")]
    );
    let key = &contract.columns[0];
    assert_eq!((key.source.as_deref(), key.required), (Some("k"), true));
    assert_eq!(key.renamed_from, ["old_key", "older_key"]);
    assert_eq!(
        key.constraints,
        [
            Constraint::MinLength(1),
            Constraint::MaxLength(9),
            Constraint::Pattern("^[a-z]+$".into()),
            Constraint::OneOf(vec![text("a"), text("b")]),
        ]
    );
    assert_eq!(
        contract.columns[2].constraints,
        [
            Constraint::Minimum(Literal::Decimal(0)),
            Constraint::Maximum(Literal::Decimal(1100)),
            Constraint::ExclusiveMinimum(Literal::Decimal(0)),
            Constraint::ExclusiveMaximum(Literal::Decimal(1050)),
            Constraint::OneOf(vec![Literal::Decimal(150)]),
        ]
    );
    assert_eq!(contract.columns[1].epoch_unit, EpochUnit::Milliseconds);
    assert_eq!(contract.columns[3].column_type.to_string(), "struct<a:long,b:map<string,double not null> not null>");
    assert_eq!(contract.columns[4].column_type.to_string(), "list<int not null>");
}

#[test]
fn defaults() {
    let contract = table(&["{name: a, logicalType: string}"]);
    assert_eq!(contract.key, [""; 0]);
    assert_eq!(contract.event_time, None);
    assert!(contract.partition_fixed_per_key, "no partition column can change");
    assert_eq!(contract.thresholds, Thresholds::default());
    assert_eq!(contract.new_columns, NewColumns::Discard);
    assert_eq!(contract.absent_columns, None);
    assert_eq!(contract.tenant_conflict, TenantConflict::Refuse);
    assert_eq!(contract.merge_mode, MergeMode::Auto);
    assert_eq!(contract.target_file_bytes, 128 << 20);
    assert_eq!((contract.lateness, contract.tenant, contract.delete_marker), (None, None, None));
}

#[test]
fn key_columns_are_required_and_in_order_of_position() {
    let contract = table(&[
        "{name: b, logicalType: string, primaryKey: true, primaryKeyPosition: 2, required: false}",
        "{name: a, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}",
        "{name: c, logicalType: integer, primaryKey: false, primaryKeyPosition: -1}",
    ]);
    assert_eq!(contract.key, ["a", "b"]);
    let required: Vec<bool> = contract.columns.iter().map(|column| column.required).collect();
    assert_eq!(required, [true, true, false]);
}

#[test]
fn a_column_may_be_partitioned_twice() {
    let contract = table(&[
        "{name: d, logicalType: string, partitioned: true, partitionKeyPosition: 2}",
        "{name: t, logicalType: timestamp, partitioned: true, partitionKeyPosition: 1, \
         customProperties: [{property: etl.partitionTransform, value: [day, 'bucket[4]']}]}",
    ]);
    let field = |column: &str, transform| PartitionField { column: column.into(), transform };
    assert_eq!(
        contract.partition,
        [field("t", Transform::Day), field("t", Transform::Bucket(4)), field("d", Transform::Identity)]
    );
    assert_eq!(contract.event_time.as_deref(), Some("t"));
}

#[test]
fn quality_rules() {
    let contract = table(&[
        "{name: a, logicalType: string, quality: [{metric: nullValues, mustBe: 0}]}",
        "{name: b, logicalType: string, quality: [{metric: invalidValues, mustBe: 0, arguments: {pattern: ^x}}]}",
        "{name: c, logicalType: string, quality: [{name: c, metric: invalidValues, mustBeLessThan: 5, unit: percent, \
         arguments: {validValues: [x, \"it's\", null], pattern: ^x}}]}",
        "{name: d, logicalType: string, quality: [{metric: missingValues, mustBeLessOrEqualTo: 5, severity: info, \
         arguments: {missingValues: [null, '', N/A]}}]}",
        "{name: e, logicalType: integer, quality: [{id: e_row, type: custom, engine: etl, implementation: ' {property} > 0 '}]}",
        "{name: f, logicalType: integer, quality: [{metric: duplicateValues, mustBe: 0}, {type: text}]}",
        "{name: g, logicalType: string, quality: [{type: sql, name: g, mustBeBetween: [0, 9], \
         query: 'SELECT max(length({property})) FROM {table}'}]}",
    ]);
    assert!(contract.columns[0].required);
    assert_eq!(contract.columns[1].constraints, [Constraint::Pattern("^x".into())]);
    let table = |query: &str, at_most, at_least, exclusive| CheckScope::Table {
        query: query.into(),
        at_least,
        at_most,
        exclusive,
        not: None,
    };
    let check = |name: &str, scope, severity| Check { name: name.into(), scope, severity };
    assert_eq!(
        contract.checks,
        [
            check(
                "c",
                table(
                    "SELECT coalesce(100.0 * count(*) FILTER (WHERE \"c\" NOT IN ('x', 'it''s') OR NOT regexp_like(\"c\", '^x')) \
                     / nullif(count(*), 0), 0) FROM {object}",
                    Some(5.0),
                    None,
                    true
                ),
                Severity::Error
            ),
            check(
                "d_missingValues_1",
                table(
                    "SELECT count(*) FROM {object} WHERE \"d\" IS NULL OR \"d\" IN ('', 'N/A')",
                    Some(5.0),
                    None,
                    false
                ),
                Severity::Warning
            ),
            check("e_row", CheckScope::Row { expression: "\"e\" > 0".into() }, Severity::Error),
            check("g", table("SELECT max(length(\"g\")) FROM {object}", Some(9.0), Some(0.0), true), Severity::Error),
        ]
    );
}

#[test]
fn operators_of_sql_rules() {
    let contract = wide();
    let bounds = |name: &str| {
        let check = contract.checks.iter().find(|check| check.name == name).expect("a check");
        match check.scope {
            CheckScope::Table { at_least, at_most, exclusive, not, .. } => (at_least, at_most, exclusive, not),
            CheckScope::Row { .. } => panic!("{name} is about a row"),
        }
    };
    assert_eq!(bounds("enough"), (Some(1.0), None, false, Some(13.0)));
    assert_eq!(bounds("one"), (Some(1.0), Some(1.0), false, None));
    assert_eq!(bounds("below"), (Some(0.0), Some(5.0), true, None));
    assert_eq!(bounds("most"), (None, Some(5.0), false, None));
    assert_eq!(bounds("sum"), (Some(0.0), Some(100.0), true, None));
}

#[test]
fn one_of_several_tables() {
    let text = "apiVersion: v3.0.0\nkind: DataContract\nid: t\nversion: 1.0.0\nstatus: active\n\
                description: {purpose: shared}\nschema:\n  \
                - {name: a, physicalName: c.a, properties: [{name: x, logicalType: string}]}\n  \
                - {name: c.b, description: own, properties: [{name: x, logicalType: number, primaryKey: true}]}\n  \
                - {name: topic, physicalType: topic}\n";
    let path = Path::new("x.yaml");
    let read = |name: &str| Contract::from_document(path, text, name);
    assert_eq!(read("a").expect("a").table.to_string(), "c.a");
    assert_eq!(read("c.a").expect("c.a").description.as_deref(), Some("shared"));
    // A fault of the other table is not looked for; asking for all of them finds it.
    assert_eq!(
        read("c.b").map_err(|error| error.to_string().lines().next().map(str::to_owned)).err().flatten().as_deref(),
        Some("x.yaml:9:91: a double column cannot be part of the key")
    );
    assert!(Contract::parse(path, text).is_err());
    assert_eq!(
        read("d").expect_err("no such table").to_string(),
        "x.yaml:8:3: no schema object is called \"d\"\n  help: known here: a, c.b, topic"
    );
}

#[test]
fn a_rendered_contract_is_for_people() {
    let contract = table(&[
        "{name: id, logicalType: string, primaryKey: true, description: 'The key: unique.', logicalTypeOptions: {pattern: '^a\\d$'}}",
        "{name: t, logicalType: timestamp, partitioned: true, customProperties: [{property: etl.partitionTransform, value: day}]}",
        "{name: tags, logicalType: array, items: {logicalType: object, properties: [{name: n, logicalType: integer, logicalTypeOptions: {minimum: 1}}]}}",
    ]);
    let notes = BTreeMap::from([
        (String::new(), vec!["guess: from 3 files".to_owned()]),
        ("t".to_owned(), vec!["guess: int64 seconds".to_owned(), "1 % NULL".to_owned()]),
    ]);
    assert_eq!(render(&contract, &notes), include_str!("rendered.odcs.yaml"));
    assert_eq!(read(&render(&contract, &notes)), contract);
    assert!(matches!(contract.columns[2].column_type, Type::List { .. }));
}
