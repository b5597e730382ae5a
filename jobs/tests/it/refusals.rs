//! Tables that are not written: the refusal comes before anything is staged, names the table and the way out, and reading
//! goes on.

use serde_json::Value;

use crate::{
    lake::Lake,
    merges::{Outcome, Shape, UPDATED, put_day},
};

/// A dry run and a run end 1 with these words, and leave the objects that there are.
pub fn refuses(
    lake: &Lake,
    shape: &Shape,
    row: &Value,
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
        if ran.exit != 1 || missing.is_some() {
            return Err(format!("{more:?} ended {}, without {missing:?}: {said}\n{}", ran.exit, ran.stderr));
        }
    }
    let after = objects();
    if after == before { Ok(()) } else { Err(format!("objects were staged: {before:?} became {after:?}")) }
}
