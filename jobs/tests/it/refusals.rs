//! Tables that are not written: the refusal comes before anything is staged, names the table and the way out, and reading
//! goes on.

use serde_json::{Value, json};

use crate::{
    Run,
    lake::Lake,
    merges::{Outcome, Shape, UPDATED, put_day},
    pyiceberg::{DAY, files, lake, later, opened, rewrite, row_of, write},
};

/// What is tried on tables that PyIceberg wrote.
pub const TRIALS: [(&str, Run); 3] = [("unfilled", unfilled), ("unwritable", unwritable), ("version-3", version_3)];

/// A dry run and a run end so, with these words, and leave the objects that there are.
pub fn refuses(
    lake: &Lake,
    shape: &Shape,
    row: &Value,
    exit: i32,
    words: &[&str],
    objects: impl Fn() -> Vec<String>,
) -> Result<(), String> {
    let raw: [(Outcome, Value); 1] = [(UPDATED, row.clone())];
    put_day(lake, shape, "2025-06-01", &raw)?;
    let before = objects();
    for more in [&["--dry-run"][..], &[]] {
        let ran = lake.run(&[&["dedupe", shape.table, "--date", "2025-06-01"][..], more].concat());
        let error = ran.reports.first().map(|report| &report["error"]).unwrap_or(&Value::Null);
        let said = format!("{}\n{}", error["message"].as_str().unwrap_or(""), error["help"].as_str().unwrap_or(""));
        // stderr breaks long lines.
        let stderr = ran.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        let missing = words.iter().find(|word| !said.contains(*word) || !stderr.contains(*word));
        if ran.exit != exit || missing.is_some() {
            return Err(format!("{more:?} ended {}, without {missing:?}: {said}\n{}", ran.exit, ran.stderr));
        }
    }
    let after = objects();
    if after == before { Ok(()) } else { Err(format!("objects were staged: {before:?} became {after:?}")) }
}

/// A column that the table requires and the contract does not have.
fn unfilled() -> Result<(), String> {
    const COLUMNS: &[(&str, &str)] = &[("device_id", "string"), ("event_id", "string"), ("event_time", "timestamptz")];
    let shape = Shape { columns: COLUMNS, required: &["event_time"], order: "event_time", ..DAY };
    let lake = lake("pyiceberg-unfilled", shape);
    write(&lake, "day", &json!({}))?;
    let target = opened(&lake, shape)?;
    let row = row_of(&target, "\"dev-1\"/\"d1-e1\"");
    let words = [
        "curated.telemetry",
        "column tenant_id is required in the table and not in the contract",
        "add it to the contract",
    ];
    refuses(&lake, &shape, &row, 2, &words, || files(&lake.folder().join("warehouse/curated")))
}

/// Format version 1, and properties that we do not follow.
fn unwritable() -> Result<(), String> {
    let cases = [
        ("format-version", "1", "it has format version 1", "SET TBLPROPERTIES ('format-version' = '2')"),
        ("write.format.default", "orc", "write.format.default is \"orc\"", "('write.format.default' = 'parquet')"),
        ("write.parquet.compression-codec", "lzo", "there is no codec \"lzo\"", "change the table"),
        ("write.location-provider.impl", "com.acme.Places", "com.acme.Places", "UNSET TBLPROPERTIES"),
    ];
    for (property, value, what, help) in cases {
        let lake = lake(&format!("pyiceberg-{property}"), DAY);
        if property == "format-version" {
            write(&lake, "day", &json!({property: value}))?;
        } else {
            // PyIceberg could not write with these either.
            write(&lake, "day", &json!({}))?;
            rewrite(&lake, |metadata| metadata["properties"][property] = json!(value))?;
        }
        let target = opened(&lake, DAY)?;
        let row = later(&row_of(&target, "\"dev-1\"/\"d1-e1\""));
        let objects = || files(&lake.folder().join("warehouse/curated"));
        refuses(&lake, &DAY, &row, 1, &["curated.telemetry", what, help], objects)
            .map_err(|e| format!("{property}: {e}"))?;
        target.check().map_err(|error| format!("{property}: {error}"))?;
    }
    Ok(())
}

/// A table that was raised to version 3, which PyIceberg cannot do: read, and not written.
fn version_3() -> Result<(), String> {
    let lake = lake("pyiceberg-version-3", DAY);
    write(&lake, "day", &json!({}))?;
    rewrite(&lake, |metadata| {
        metadata["format-version"] = json!(3);
        metadata["next-row-id"] = json!(0);
    })?;
    let target = opened(&lake, DAY)?;
    let row = later(&row_of(&target, "\"dev-1\"/\"d1-e1\""));
    let words = ["curated.telemetry", "it has format version 3", "CREATE TABLE curated.telemetry_v2 USING iceberg"];
    refuses(&lake, &DAY, &row, 1, &words, || files(&lake.folder().join("warehouse/curated")))?;
    target.check()
}
