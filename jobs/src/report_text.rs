//! The run report in a few lines for people, with what to try next.

use std::fmt::Write;

use jiff::tz::TimeZone;
use plan::{
    Interval, expire,
    maintain::{Action, Step},
};

use crate::{
    plan_text,
    report::{Compacted, Report, Restored, Rows, Status, StepReport},
    screen::{Paint, count, elapsed, size, thousands},
};

/// Rules that broke are named up to this many; the report has them all.
const REJECTS_SHOWN_MAX: usize = 5;

/// The report as text, ending with a line break.
pub fn render(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    headline(&mut text, report, paint);
    body(&mut text, report, paint);
    for (index, line) in next(report).iter().enumerate() {
        _ = writeln!(text, "  {} {}", if index == 0 { "next:" } else { "     " }, paint.bold(line));
    }
    text
}

/// What a job of several does or did, with its own plan or report.
pub fn step(text: &mut String, of: &StepReport, paint: Paint) {
    let StepReport { step: Step { job, action, what, why, .. }, report } = of;
    let done = report.as_ref().filter(|report| report.status != Status::Planned);
    let because = if what.is_empty() { why.clone() } else { format!("{what}, because {why}") };
    let what = match (action, done) {
        (Action::Run, Some(done)) => format!("{}: {because}", status(done, paint)),
        (Action::Run, None) => format!("{} {because}", paint.yellow("would")),
        (Action::Skip, _) => format!("{}: {because}", paint.green("nothing to do")),
        (Action::Later, _) => format!("{}: {because}", paint.yellow("left for later")),
        (Action::Refused, _) => format!("{}: {because}", paint.red("refused")),
    };
    _ = writeln!(text, "  {:<8} {what}", job.word());
    if let (Action::Run, Some(report)) = (action, report) {
        let mut inner = String::new();
        body(&mut inner, report, paint);
        if let Some(error) = &report.error {
            _ = writeln!(inner, "  {} {}", paint.red("error:"), error.message);
        }
        inner.lines().for_each(|line| _ = writeln!(text, "         {line}"));
    }
}

/// Everything between the headline and what to try next.
fn body(text: &mut String, report: &Report, paint: Paint) {
    if let Some(plan) = &report.plan {
        text.push_str(&plan_text::render(plan));
    }
    for of in &report.steps {
        step(text, of, paint);
    }
    if report.inputs.files > 0 && report.plan.is_none() && report.compaction.is_none() {
        let inputs = report.inputs;
        _ = writeln!(text, "  {}, {}", count(inputs.files, "raw file"), size(inputs.bytes));
    }
    if report.rows.read > 0 {
        balance(text, &report.rows, paint);
        rejects(text, report);
    }
    for quality in &report.quality {
        if !quality.passed {
            let mark = if quality.severity == "error" { paint.red("failed") } else { paint.yellow("warning") };
            let observed = quality.observed.map_or_else(|| "NULL".to_owned(), |number| number.to_string());
            _ = writeln!(text, "  {mark} {}: {observed} where {} is wanted", quality.rule, quality.expected);
        }
    }
    for change in &report.schema_changes {
        _ = writeln!(text, "  schema: {change}");
    }
    written(text, report);
    tidied(text, report, paint);
    for warning in &report.warnings {
        _ = writeln!(text, "  {} {warning}", paint.yellow("warning:"));
    }
}

fn headline(text: &mut String, report: &Report, paint: Paint) {
    let subject = report.table.as_ref().map_or_else(|| report.job.clone(), ToString::to_string);
    _ = write!(text, "{}", paint.bold(&subject));
    if let Some(interval) = &report.interval {
        _ = write!(text, "  {}", interval_text(interval));
    }
    _ = write!(text, "  {}", status(report, paint));
    if let Some(reason) = &report.reason {
        _ = write!(text, ": {reason}");
    }
    _ = writeln!(text, "  {}", paint.dim(&format!("({})", elapsed(report.duration_ms))));
}

fn status(report: &Report, paint: Paint) -> String {
    match report.status {
        Status::Committed => paint.green("committed"),
        Status::Deleted | Status::Moved => paint.green("done"),
        Status::Restoring => paint.yellow("restore under way"),
        Status::Restored => paint.green("restored"),
        Status::Unchanged => paint.green("nothing to do"),
        Status::Planned => "planned, nothing done".to_owned(),
        Status::GateFailed => paint.red("quality gate failed, nothing committed"),
        Status::OutcomeUnknown => paint.red("outcome unknown"),
        Status::Failed if stands(report) => paint.red("failed, what was committed before stands"),
        Status::Failed => paint.red("failed, nothing committed"),
        Status::Interrupted if stands(report) => paint.yellow("interrupted, what was committed before stands"),
        Status::Interrupted => paint.yellow("interrupted, nothing committed"),
    }
}

/// Whether a run that commits as it goes has committed something before it ended.
fn stands(report: &Report) -> bool {
    report.compaction.as_ref().is_some_and(|compaction| compaction.commits > 0)
        || report.steps.iter().any(StepReport::has_changed)
}

/// A date where it is one whole day in UTC, else start and end.
pub fn interval_text(interval: &Interval) -> String {
    let start = interval.start().to_zoned(TimeZone::UTC);
    match Interval::day(start.date(), &TimeZone::UTC) {
        Ok(day) if day == *interval => start.date().to_string(),
        _ => format!("{} to {}", interval.start(), interval.end()),
    }
}

fn balance(text: &mut String, rows: &Rows, paint: Paint) {
    let lines = [
        ("inserted", rows.inserted),
        ("updated", rows.updated),
        ("unchanged", rows.unchanged),
        ("stale", rows.stale),
        ("duplicate", rows.duplicate),
        ("invalid", rows.invalid),
    ];
    let width = thousands(rows.read).len().max(2);
    _ = writeln!(text, "  {:<11}{:>width$}", "read", thousands(rows.read));
    for (name, rows_of) in lines {
        let share =
            if rows_of == 0 { String::new() } else { format!("{:>7.2} %", rows_of as f64 * 100.0 / rows.read as f64) };
        // The first line takes the equals sign, the others add to it.
        let sign = if name == "inserted" { '=' } else { '+' };
        let line = format!("  {sign} {name:<9}{:>width$}{share}", thousands(rows_of));
        _ = writeln!(text, "{}", if rows_of == 0 { paint.dim(&line) } else { line });
    }
    if !rows.balances() {
        _ = writeln!(text, "  {}", paint.red("the rows do not add up"));
    }
}

fn rejects(text: &mut String, report: &Report) {
    if report.rejects.is_empty() {
        return;
    }
    let shown: Vec<_> = report
        .rejects
        .iter()
        .take(REJECTS_SHOWN_MAX)
        .map(|reject| format!("{} {}", reject.rule, thousands(reject.count)))
        .collect();
    let more = match report.rejects.len().saturating_sub(REJECTS_SHOWN_MAX) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    _ = writeln!(text, "  broken rules: {}{more}", shown.join(", "));
}

fn written(text: &mut String, report: &Report) {
    let is_plan_alone = report.snapshots.is_some() || report.plan.is_some() || !report.steps.is_empty();
    if report.status != Status::Committed || is_plan_alone {
        return;
    }
    let output = &report.output;
    _ = write!(text, "  {} added, {} removed", count(output.files_added, "file"), thousands(output.files_removed));
    if output.delete_files_added > 0 {
        _ = write!(text, ", {} added", count(output.delete_files_added, "delete file"));
    }
    _ = write!(text, ", {} written", size(output.bytes_written));
    match output.snapshot_after {
        Some(snapshot) => _ = writeln!(text, ", snapshot {snapshot}"),
        None => text.push('\n'),
    }
}

/// What maintenance kept, let go and deleted.
fn tidied(text: &mut String, report: &Report, paint: Paint) {
    if let Some(compaction) = &report.compaction {
        compacted(text, compaction);
    }
    if let Some(snapshots) = &report.snapshots {
        let gone = paint.bold(&count(snapshots.expired, "snapshot"));
        _ = writeln!(text, "  {gone} expired, {} kept", thousands(snapshots.kept));
        for of in &snapshots.reasons {
            let verb = if of.action == expire::Action::Expire { "expired" } else { "kept" };
            _ = writeln!(text, "    {} {verb}: {}", thousands(of.snapshots), of.reason);
        }
        for name in &snapshots.refs_expired {
            _ = writeln!(text, "  {name} dropped");
        }
    }
    for kept in &report.kept {
        _ = writeln!(text, "  kept {}, {}: {}", count(kept.files, "file"), size(kept.bytes), kept.reason);
    }
    if let Some(moves) = &report.moves {
        for total in &moves.moved {
            _ = writeln!(text, "  moved {}", plan_text::transition_total(total));
        }
        if moves.left > 0 {
            _ = writeln!(text, "  {} stay where they are", count(moves.left, "object"));
        }
        if moves.untagged > 0 {
            _ = writeln!(text, "  {} lost the tag that a lifecycle rule follows", count(moves.untagged, "object"));
        }
        if moves.rules > 0 {
            _ = writeln!(text, "  lifecycle rules of {} written", count(moves.rules, "zone"));
        }
    }
    if let Some(restored) = &report.restored {
        let Restored { asked, restoring, readable } = restored;
        _ = writeln!(
            text,
            "  {} asked for, {} on their way, {} readable",
            count(*asked, "object"),
            thousands(*restoring),
            thousands(*readable)
        );
    }
    if let Some(deleted) = &report.deleted {
        _ = writeln!(text, "  deleted {}, {}", count(deleted.files, "file"), size(deleted.bytes));
        for total in &deleted.by_kind {
            _ = writeln!(text, "    {}", plan_text::kind_total(total));
        }
    }
    plan_text::money(text, report.money.as_ref());
}

fn compacted(text: &mut String, of: &Compacted) {
    if of.commits == 0 {
        return;
    }
    let (groups, commits) = (count(of.groups, "group"), count(of.commits, "commit"));
    let copied =
        if of.rows_copied > 0 { format!(", {} of them copied", thousands(of.rows_copied)) } else { String::new() };
    if of.groups > 0 {
        _ = writeln!(
            text,
            "  {groups} of {} in {commits}: {} rows{copied}",
            size(of.bytes_removed),
            thousands(of.rows)
        );
    }
    if of.rows_deleted > 0 {
        _ = writeln!(text, "  {} deleted rows left out", thousands(of.rows_deleted));
    }
    if of.delete_files_removed > 0 {
        _ = writeln!(text, "  {} dropped", count(of.delete_files_removed, "delete file"));
    }
    if of.manifests_rewritten > 0 {
        let (old, new) = (count(of.manifests_rewritten, "manifest"), thousands(of.manifests_written));
        _ = writeln!(text, "  {old} rewritten as {new}");
    }
}

/// What to try next.
fn next(report: &Report) -> Vec<String> {
    let Some(table) = &report.table else { return Vec::new() };
    match report.status {
        Status::Committed if report.snapshots.is_some() || !report.steps.is_empty() => {
            vec![format!("etl runs {}", report.run_id)]
        }
        Status::Committed => {
            vec![format!("etl query \"SELECT count(*) FROM {table}\""), format!("etl runs {}", report.run_id)]
        }
        Status::Planned if report.reason.is_some() => Vec::new(),
        Status::Planned => vec!["the same command without --dry-run".to_owned()],
        Status::Deleted => vec![format!("etl check {table}")],
        Status::Restoring => vec![format!("{} --wait", report.args_text())],
        Status::Unchanged => vec!["etl runs".to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lake::Reclaimed;
    use plan::{
        maintain::Upkeep,
        objects::{KindTotal, ObjectKind},
    };

    use super::*;
    use crate::{
        error::{JobError, Kind},
        report::{Inputs, Output, Quality, Reject, SnapshotReason, Snapshots},
    };

    fn report() -> Report {
        let mut report = Report::started(
            "0197-run".to_owned(),
            "dedupe",
            Some("curated.telemetry".parse().unwrap()),
            &["dedupe".to_owned()],
            Timestamp::UNIX_EPOCH,
        );
        report.interval = Some(Interval::day("2025-06-04".parse().unwrap(), &TimeZone::UTC).unwrap());
        report.duration_ms = 1_240;
        report.inputs = Inputs { files: 24, bytes: 1_500_000, rows: 20_512 };
        report.rows = Rows {
            read: 20_512,
            invalid: 400,
            duplicate: 1_000,
            stale: 12,
            unchanged: 0,
            inserted: 19_000,
            updated: 100,
        };
        report.rejects = vec![
            Reject { rule: "temperature.maximum".to_owned(), count: 210, sample: None },
            Reject { rule: "tenant_id.required".to_owned(), count: 190, sample: None },
        ];
        report
    }

    #[test]
    fn a_commit() {
        let mut report = report();
        report.status = Status::Committed;
        report.output = Output {
            snapshot_after: Some(77),
            files_added: 3,
            files_removed: 1,
            bytes_written: 1_200_000,
            ..Output::default()
        };
        report.schema_changes = vec!["added column note string".to_owned()];
        report.warnings = vec!["2 objects left out".to_owned()];
        assert!(report.rows.balances());
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @r#"
        curated.telemetry  2025-06-04  committed  (1.2 s)
          24 raw files, 1.4 MiB
          read       20,512
          = inserted 19,000  92.63 %
          + updated     100   0.49 %
          + unchanged     0
          + stale        12   0.06 %
          + duplicate 1,000   4.88 %
          + invalid     400   1.95 %
          broken rules: temperature.maximum 210, tenant_id.required 190
          schema: added column note string
          3 files added, 1 removed, 1.1 MiB written, snapshot 77
          warning: 2 objects left out
          next: etl query "SELECT count(*) FROM curated.telemetry"
                etl runs 0197-run
        "#);
    }

    #[test]
    fn a_rerun() {
        let mut report = report();
        report.inputs = Inputs::default();
        report.rows = Rows::default();
        report.rejects.clear();
        report.reason = Some("already applied by run 0196-run".to_owned());
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @"
        curated.telemetry  2025-06-04  nothing to do: already applied by run 0196-run  (1.2 s)
          next: etl runs
        ");
    }

    #[test]
    fn a_failed_gate() {
        let mut report = report();
        report.quality = vec![Quality {
            rule: "etl.maxInvalidRatio".to_owned(),
            severity: "error".to_owned(),
            passed: false,
            observed: Some(0.0195),
            expected: "<= 0.01".to_owned(),
        }];
        report.fail(&JobError::new(Kind::Gate, "quality gate failed"));
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @"
        curated.telemetry  2025-06-04  quality gate failed, nothing committed  (1.2 s)
          24 raw files, 1.4 MiB
          read       20,512
          = inserted 19,000  92.63 %
          + updated     100   0.49 %
          + unchanged     0
          + stale        12   0.06 %
          + duplicate 1,000   4.88 %
          + invalid     400   1.95 %
          broken rules: temperature.maximum 210, tenant_id.required 190
          failed etl.maxInvalidRatio: 0.0195 where <= 0.01 is wanted
        ");
    }

    #[test]
    fn an_expiry() {
        let mut report = report();
        (report.interval, report.inputs, report.rows) = (None, Inputs::default(), Rows::default());
        report.rejects.clear();
        report.status = Status::Committed;
        let reason = |action, reason: &str, snapshots| SnapshotReason { action, reason: reason.to_owned(), snapshots };
        report.snapshots = Some(Snapshots {
            kept: 1,
            expired: 2,
            reasons: vec![
                reason(expire::Action::Keep, "current snapshot", 1),
                reason(expire::Action::Expire, "older than 5d, in no branch or tag", 2),
            ],
            refs_expired: vec!["tag v1".to_owned()],
        });
        report.reclaimed(Reclaimed {
            deleted: vec![KindTotal { kind: ObjectKind::DataFile, files: 3, bytes: 4096 }],
            left: 2,
            problem: None,
        });
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @"
        curated.telemetry  committed  (1.2 s)
          2 snapshots expired, 1 kept
            1 kept: current snapshot
            2 expired: older than 5d, in no branch or tag
          tag v1 dropped
          deleted 3 files, 4.0 KiB
            3 data files, 4.0 KiB
          warning: 2 files that nothing refers to were not deleted (the run was interrupted): etl orphans finds what stays
          next: etl runs 0197-run
        ");
        let json = serde_json::to_value(&report).unwrap();
        insta::assert_snapshot!(format!("{}\n{}", json["snapshots"], json["deleted"]), @r#"
        {"kept":1,"expired":2,"reasons":[{"action":"keep","reason":"current snapshot","snapshots":1},{"action":"expire","reason":"older than 5d, in no branch or tag","snapshots":2}],"refs_expired":["tag v1"]}
        {"files":3,"bytes":4096,"by_kind":[{"kind":"data_file","files":3,"bytes":4096}],"left":2}
        "#);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn several_jobs() {
        let mut report = report();
        (report.interval, report.inputs, report.rows) = (None, Inputs::default(), Rows::default());
        report.rejects.clear();
        let step = |job, action, what: &str, why: &str| Step {
            job,
            action,
            what: what.to_owned(),
            why: why.to_owned(),
            bytes: 0,
            bytes_max: None,
            dollars_max: None,
            money: None,
        };
        let mut expired = report.clone();
        expired.status = Status::Committed;
        expired.snapshots = Some(Snapshots { kept: 1, expired: 2, ..Snapshots::default() });
        let mut failed = report.clone();
        failed.fail(&JobError::new(Kind::Transient, "S3 is slow"));
        let what = "let 2 of 3 snapshots go";
        report.steps = vec![
            StepReport {
                step: step(Upkeep::Compact, Action::Skip, "", "every file is of the right size"),
                report: None,
            },
            StepReport { step: step(Upkeep::Expire, Action::Run, what, "2 are old"), report: Some(Box::new(expired)) },
            StepReport {
                step: step(Upkeep::Orphans, Action::Run, "delete 3 files", "forgotten"),
                report: Some(Box::new(failed)),
            },
        ];
        report.fail(&JobError::new(Kind::Transient, "orphans: S3 is slow"));
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @"
        curated.telemetry  failed, what was committed before stands  (1.2 s)
          compact  nothing to do: every file is of the right size
          expire   committed: let 2 of 3 snapshots go, because 2 are old
                   2 snapshots expired, 1 kept
          orphans  failed, nothing committed: delete 3 files, because forgotten
                   error: S3 is slow
        ");
        report.error = None;
        report.status = Status::Planned;
        report.steps.iter_mut().for_each(|step| step.report = None);
        report
            .steps
            .push(StepReport { step: step(Upkeep::Orphans, Action::Later, "delete", "no money"), report: None });
        report.steps.push(StepReport { step: step(Upkeep::Orphans, Action::Refused, "", "too many"), report: None });
        insta::assert_snapshot!(render(&report, Paint::PLAIN), @"
        curated.telemetry  planned, nothing done  (1.2 s)
          compact  nothing to do: every file is of the right size
          expire   would let 2 of 3 snapshots go, because 2 are old
          orphans  would delete 3 files, because forgotten
          orphans  left for later: delete, because no money
          orphans  refused: too many
          next: the same command without --dry-run
        ");
        let json = serde_json::to_value(&report).unwrap();
        insta::assert_snapshot!(json["steps"][1], @r#"{"job":"expire","action":"run","what":"let 2 of 3 snapshots go","why":"2 are old","bytes":0}"#);
        assert_eq!(serde_json::from_value::<Report>(json).unwrap(), report);
    }

    #[test]
    fn the_json_shape() {
        let mut report = report();
        report.fail(&JobError::new(Kind::Transient, "the catalog is locked").with_help("run again"));
        insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap(), @r#"
        {
          "schema_version": 1,
          "run_id": "0197-run",
          "job": "dedupe",
          "table": "curated.telemetry",
          "status": "failed",
          "exit_code": 75,
          "version": "0.1.0",
          "args": [
            "dedupe"
          ],
          "interval": {
            "start": "2025-06-04T00:00:00Z",
            "end": "2025-06-05T00:00:00Z"
          },
          "started_at": "1970-01-01T00:00:00Z",
          "duration_ms": 1240,
          "inputs": {
            "files": 24,
            "bytes": 1500000,
            "rows": 20512
          },
          "rows": {
            "read": 20512,
            "invalid": 400,
            "duplicate": 1000,
            "stale": 12,
            "unchanged": 0,
            "inserted": 19000,
            "updated": 100
          },
          "rejects": [
            {
              "rule": "temperature.maximum",
              "count": 210,
              "sample": null
            },
            {
              "rule": "tenant_id.required",
              "count": 190,
              "sample": null
            }
          ],
          "quality": [],
          "output": {
            "snapshot_before": null,
            "snapshot_after": null,
            "metadata_location": null,
            "files_added": 0,
            "files_removed": 0,
            "delete_files_added": 0,
            "bytes_written": 0
          },
          "schema_changes": [],
          "resources": {
            "peak_rss_bytes": null,
            "cpu_ms": null,
            "spill_bytes": 0,
            "requests": {}
          },
          "commit_retries": 0,
          "warnings": [],
          "error": {
            "code": "transient",
            "message": "the catalog is locked",
            "help": "run again",
            "retryable": true
          }
        }
        "#);
    }
}
