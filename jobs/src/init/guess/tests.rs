//! What is guessed, and that it reads back.

use std::path::Path;

use super::*;

fn seen(name: &str, kind: PrimitiveType, nulls: u64, range: Option<(&str, &str)>) -> ObservedColumn {
    ObservedColumn {
        name: name.to_owned(),
        raw_types: Vec::new(),
        table_type: Some(Type::Primitive(kind)),
        files: 2,
        nulls: Some(nulls),
        range: range.map(|(min, max)| (min.to_owned(), max.to_owned())),
        distinct_sampled: 0,
    }
}

fn observed(columns: Vec<ObservedColumn>, keys: &[(&[&str], u64)]) -> Observed {
    Observed {
        files: 2,
        rows: 1_000,
        sampled_rows: 100,
        columns,
        keys: keys
            .iter()
            .map(|(columns, distinct_sampled)| ObservedKey {
                columns: columns.iter().map(|name| (*name).to_owned()).collect(),
                distinct_sampled: *distinct_sampled,
            })
            .collect(),
        unreadable: Vec::new(),
    }
}

fn telemetry() -> Observed {
    use PrimitiveType as P;
    let columns = vec![
        seen("ingest_time", P::TimestampTz, 3, None),
        seen("event_time", P::TimestampTz, 0, Some(("2025-06-01T00:00:00Z", "2025-06-02T00:00:00Z"))),
        seen("tenant_id", P::String, 0, None),
        seen("device_id", P::String, 0, Some(("d1", "d9"))),
        seen("event_id", P::String, 0, None),
        seen("temperature", P::Double, 5, Some(("-10.5", "200"))),
        seen("sent_at", P::Long, 0, Some(("1748736000000", "1748822400000"))),
    ];
    let keys: [(&[&str], u64); 4] = [
        (&["device_id", "event_id"], 95),
        (&["event_id", "event_time"], 95),
        (&["event_id"], 50),
        (&["event_time"], 99),
    ];
    observed(columns, &keys)
}

#[test]
fn a_contract_that_reads_back_and_marks_every_guess() {
    let guessed = contract(&"curated.telemetry".parse().unwrap(), &telemetry());
    let text = contract::render(&guessed.contract, &guessed.notes);
    insta::assert_snapshot!(text, @"
    # Contract of curated.telemetry, in the Open Data Contract Standard 3.1.
    # Names that start with `etl.` are etl's own settings; `etl contract schema` describes them all.
    # guess: from 2 files with 1000 rows, of which 100 were looked at
    # guess: the key is (device_id, event_id), 95 different ones in 100 rows
    # guess: the event time is event_time; the table is partitioned by its day
    # guess: among duplicates the largest ingest_time wins
    # guess: the tenant is tenant_id
    apiVersion: v3.1.0
    kind: DataContract
    id: curated.telemetry
    version: 0.1.0
    status: active

    schema:
      - name: telemetry
        physicalName: curated.telemetry

        # The columns, in the table's order. NULL satisfies every rule but `required`.
        properties:
          # seen: 3 NULLs in 2 of 2 files
          - name: ingest_time
            logicalType: timestamp
            physicalType: timestamptz
          # guess: required, since none of 1000 rows is NULL
          # seen: 2025-06-01T00:00:00Z to 2025-06-02T00:00:00Z
          - name: event_time
            logicalType: timestamp
            physicalType: timestamptz
            required: true
            partitioned: true
            partitionKeyPosition: 1
            customProperties:
              - {property: etl.partitionTransform, value: day}
          # guess: required, since none of 1000 rows is NULL
          - name: tenant_id
            logicalType: string
            physicalType: string
            required: true
          # guess: required, since none of 1000 rows is NULL
          # seen: d1 to d9
          - name: device_id
            logicalType: string
            physicalType: string
            required: true
            primaryKey: true
            primaryKeyPosition: 1
          # guess: required, since none of 1000 rows is NULL
          - name: event_id
            logicalType: string
            physicalType: string
            required: true
            primaryKey: true
            primaryKeyPosition: 2
          # seen: 5 NULLs in 2 of 2 files
          # seen: -10.5 to 200
          - name: temperature
            logicalType: number
            physicalType: double
          # guess: the numbers are instants, by name and size
          # guess: required, since none of 1000 rows is NULL
          # seen: 1748736000000 to 1748822400000
          - name: sent_at
            logicalType: timestamp
            physicalType: timestamptz
            required: true
            customProperties:
              - {property: etl.epochUnit, value: ms}

        # Settings. Those in comments are not set.
        customProperties:
          - {property: etl.dedupe.orderBy, value: ingest_time DESC}
          - {property: etl.eventTime, value: event_time}
          - {property: etl.tenant, value: tenant_id}
          - {property: etl.newColumns, value: discard}
          - {property: etl.targetFileBytes, value: 128MiB}
          # - {property: etl.lateness, value: 48h} # how late an event may arrive
    ");
    let read = Contract::parse(Path::new("telemetry.odcs.yaml"), &text).unwrap();
    assert_eq!(read, [guessed.contract]);
}

#[test]
fn without_ids_there_is_no_key() {
    let columns =
        vec![seen("value", PrimitiveType::Long, 0, Some(("1", "9"))), seen("note", PrimitiveType::String, 0, None)];
    let guessed = contract(&"curated.t".parse().unwrap(), &observed(columns, &[(&["value"], 100), (&["note"], 100)]));
    insta::assert_snapshot!(guessed.summary.join("\n"), @"
    from 2 files with 1000 rows, of which 100 were looked at
    no key found: rows are only appended until you declare one (primaryKey: true)
    no event time found: the table is not partitioned
    ");
}

#[test]
fn nothing_is_claimed_of_nulls_that_nobody_counted() {
    let columns = || vec![ObservedColumn { nulls: None, ..seen("a", PrimitiveType::Long, 0, None) }];
    let table: TableName = "curated.telemetry".parse().unwrap();
    assert!(!contract(&table, &observed(columns(), &[])).contract.columns[0].required);
    // Of no rows none is NULL, and that says nothing.
    let empty = Observed { rows: 0, ..observed(vec![seen("a", PrimitiveType::Long, 0, None)], &[]) };
    assert!(!contract(&table, &empty).contract.columns[0].required);
}

#[test]
fn a_contract_passes_its_own_check() {
    use PrimitiveType as P;
    let table: TableName = "curated.telemetry".parse().unwrap();
    let names = [
        "device",
        "Device",
        "DEVICE",
        "",
        "größe",
        "GRÖSSE",
        "GRÖßE",
        "two words",
        "a.b",
        "select",
        "1st",
        "x\ty",
        "'",
        "#",
    ];
    let columns = names.map(|name| seen(name, P::Long, 0, None)).to_vec();
    let guessed = contract(&table, &observed(columns, &[]));
    let text = contract::render(&guessed.contract, &guessed.notes);
    let parsed = Contract::parse(Path::new("a.odcs.yaml"), &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(parsed[0].columns, guessed.contract.columns);
    let kept: Vec<&str> = guessed.contract.columns.iter().map(|column| column.name.as_str()).collect();
    assert!(kept.starts_with(&["device"]) && !kept.contains(&"Device") && !kept.contains(&"GRÖßE"), "{kept:?}");
    assert!(text.contains("column Device is left out: it differs from device by case only"), "{text}");
}
