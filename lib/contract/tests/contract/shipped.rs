//! The contracts that come with the tool.

use std::path::Path;

use contract::{
    CheckScope, Constraint, Contract, Direction, Duration, Literal, NewColumns, Nulls, OrderTerm, PartitionField,
    PrimitiveType, Severity, Transform, Type,
};

/// Name and text of every contract in `schemas/`.
pub fn documents() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    let mut documents: Vec<(String, String)> = std::fs::read_dir(folder)
        .expect("the folder of contracts")
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("a readable contract"))
        })
        .collect();
    documents.sort();
    documents
}

fn read(name: &str) -> Contract {
    let documents = documents();
    let (_, text) = documents.iter().find(|(file, _)| *file == format!("{name}.odcs.yaml")).expect("the contract");
    Contract::from_document(Path::new(name), text, name).expect("a valid contract")
}

#[test]
fn telemetry() {
    let contract = read("telemetry");
    assert_eq!(contract.table.to_string(), "curated.telemetry");
    let names: Vec<&str> = contract.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "tenant_id",
            "device_id",
            "event_id",
            "event_time",
            "ingest_time",
            "event_type",
            "location",
            "temperature",
            "humidity",
            "pressure",
            "battery",
            "firmware",
        ]
    );
    assert_eq!(contract.key, ["device_id", "event_id"]);
    assert_eq!(contract.event_time.as_deref(), Some("event_time"));
    assert_eq!(
        contract.partition,
        [
            PartitionField { column: "event_time".into(), transform: Transform::Day },
            PartitionField { column: "device_id".into(), transform: Transform::Bucket(16) },
        ]
    );
    assert!(!contract.partition_fixed_per_key);
    assert_eq!(
        contract.winner_order,
        [OrderTerm { column: "ingest_time".into(), direction: Direction::Descending, nulls: Nulls::Last }]
    );
    assert_eq!(contract.lateness, Some(Duration { seconds: 172_800 }));
    assert_eq!(contract.tenant.as_deref(), Some("tenant_id"));
    assert_eq!(contract.new_columns, NewColumns::Discard);
    assert_eq!(contract.target_file_bytes, 134_217_728);
    let temperature = contract.column("temperature").expect("a column");
    assert_eq!(temperature.column_type, Type::Primitive(PrimitiveType::Double));
    assert_eq!(
        temperature.constraints,
        [Constraint::Minimum(Literal::Float(-60.0)), Constraint::Maximum(Literal::Float(150.0))]
    );
    assert_eq!(
        contract.column("event_time").expect("a column").constraints,
        [Constraint::Minimum(Literal::Integer(1_420_070_400_000_000))]
    );
    let [check] = contract.checks.as_slice() else { panic!("one check") };
    assert_eq!((check.name.as_str(), check.severity), ("no_future", Severity::Warning));
    assert_eq!(
        check.scope,
        CheckScope::Table {
            query: "SELECT count(*) FROM {object} WHERE event_time > now()".into(),
            at_least: Some(0.0),
            at_most: Some(0.0),
            exclusive: false,
            not: None,
        }
    );
}

#[test]
fn sensor_readings() {
    let contract = read("sensor_readings");
    assert_eq!(contract.table.to_string(), "curated.sensor_readings");
    assert_eq!(contract.key, ["sensor_id", "timestamp"]);
    assert_eq!(
        contract.column("timestamp").expect("a column").column_type,
        Type::Primitive(PrimitiveType::TimestampTz)
    );
    assert_eq!(contract.partition, [PartitionField { column: "timestamp".into(), transform: Transform::Day }]);
    assert!(contract.partition_fixed_per_key, "its partition column is part of the key");
    assert_eq!(contract.winner_order, []);
}
