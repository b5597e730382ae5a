//! A table's health for people: the first line says whether anything is to be done.

use std::fmt::Write;

use plan::{
    inspect::{Deletes, Health},
    maintain::{Outlook, Would},
};

use crate::{
    screen::{Paint, count, size, thousands},
    table_text::align,
};

/// Refs that are shown; `--output json` has them all.
const REFS_MAX: usize = 5;

/// The health as text, ending with a line break.
pub fn render(health: &Health, paint: Paint) -> String {
    let mut text = String::new();
    headline(&mut text, health, paint);
    consists_of(&mut text, health);
    costs(&mut text, health);
    largest(&mut text, health);
    _ = writeln!(text, "  {}", paint.bold("maintenance"));
    health.jobs.iter().for_each(|outlook| job(&mut text, outlook, paint));
    for warning in &health.warnings {
        _ = writeln!(text, "  {} {warning}", paint.yellow("warning:"));
    }
    for (index, line) in next(health).iter().enumerate() {
        _ = writeln!(text, "  {} {}", if index == 0 { "next:" } else { "     " }, paint.bold(line));
    }
    text
}

fn headline(text: &mut String, health: &Health, paint: Paint) {
    _ = write!(text, "{}  ", paint.bold(&health.table.to_string()));
    let acts: Vec<_> = health.jobs.iter().filter(|outlook| matches!(outlook.would, Would::Act { .. })).collect();
    let refuses = health.jobs.iter().filter(|outlook| matches!(outlook.would, Would::Refuse { .. })).count();
    let names: Vec<_> = acts.iter().map(|outlook| outlook.job.word()).collect();
    let needs = match (names.is_empty(), refuses) {
        (true, 0) => paint.green("needs nothing"),
        (true, _) => paint.red("needs a look"),
        (false, _) => paint.yellow(&format!("needs {}", names.join(", "))),
    };
    _ = writeln!(text, "{needs}");
    match &health.head {
        Some(head) => _ = writeln!(text, "  snapshot    {} of {}", head.snapshot_id, head.committed_at),
        None => _ = writeln!(text, "  snapshot    none: nothing was written yet"),
    }
}

fn consists_of(text: &mut String, health: &Health) {
    let Health { data, small, deletes, manifests, history, partitions, .. } = health;
    _ = write!(
        text,
        "  data        {}, {}, {} rows",
        count(data.files, "file"),
        size(data.bytes),
        thousands(data.rows)
    );
    match data.files {
        0 => text.push('\n'),
        _ => _ = writeln!(text, "; half are below {}, the largest {}", size(data.bytes_median), size(data.bytes_max)),
    }
    _ = write!(text, "  small       {}", count(small.files, "file"));
    if small.files > 0 {
        _ = write!(text, ", {}: {} of all files, ", size(small.bytes), percent(small.files, data.files));
    } else {
        text.push_str(", ");
    }
    _ = write!(text, "below {} (the target is {})", size(small.below_bytes), size(data.target_file_bytes));
    match small.files.saturating_sub(small.files_packed) {
        0 => text.push('\n'),
        _ => _ = writeln!(text, "; packed they would be {}", count(small.files_packed, "file")),
    }
    let kinds = [("position", deletes.position, "row"), ("equality", deletes.equality, "condition")];
    let of = |(kind, of, noun): &(&str, Deletes, &str)| {
        let share =
            if *kind == "position" { format!(", {} of all rows", percent(of.rows, data.rows)) } else { String::new() };
        format!(
            "{}, {}, {}{share}",
            count(of.files, &format!("{kind} delete file")),
            size(of.bytes),
            count(of.rows, noun)
        )
    };
    let some: Vec<_> = kinds.iter().filter(|(_, deletes, _)| deletes.files > 0).map(of).collect();
    _ = writeln!(text, "  deletes     {}", if some.is_empty() { "none".to_owned() } else { some.join("; ") });
    _ = write!(text, "  manifests   {}, {}", thousands(manifests.files), size(manifests.bytes));
    match manifests.of_deletes {
        0 => text.push('\n'),
        of_deletes => _ = writeln!(text, "; {} of delete files", thousands(of_deletes)),
    }
    _ = write!(text, "  history     {}", count(history.snapshots, "snapshot"));
    if let Some(oldest) = history.oldest_at {
        _ = write!(text, ", the oldest of {oldest}");
    }
    match history.files {
        0 => text.push('\n'),
        files => _ = writeln!(text, "; only older ones need {}, {}", count(files, "file"), size(history.bytes)),
    }
    for of in history.refs.iter().take(REFS_MAX) {
        _ = writeln!(text, "              {} {} at {}", of.kind, of.name, of.snapshot_id);
    }
    if history.refs.len() > REFS_MAX {
        _ = writeln!(text, "              … {} more (--output json shows all)", history.refs.len() - REFS_MAX);
    }
    _ = write!(text, "  partitions  {}", thousands(partitions.count));
    match partitions.skew {
        Some(skew) if partitions.count > 1 => {
            let (most, median) = (size(partitions.bytes_max), size(partitions.bytes_median));
            _ = writeln!(text, "; the largest has {most}, {skew:.1} times the median of {median}");
        }
        _ => text.push('\n'),
    }
}

fn costs(text: &mut String, health: &Health) {
    let storage = &health.storage;
    _ = writeln!(text, "  storage     {}", storage.per_month.explained_per_month());
    if storage.classes.len() > 1 {
        for class in &storage.classes {
            let per_month =
                class.per_month.as_ref().map_or("no price".to_owned(), |amount| format!("{} a month", amount.dollars));
            let (files, bytes, billable) =
                (count(class.files, "object"), size(class.bytes), size(class.billable_bytes));
            let charged = if billable == bytes { String::new() } else { format!(" charged as {billable}") };
            _ = writeln!(text, "              {}: {files}, {bytes}{charged}: {per_month}", class.class);
        }
    }
    let what = match storage.listed {
        true => "every object below its location",
        false => "what its metadata names, as if all of it were in Standard (--storage looks)",
    };
    _ = writeln!(text, "              of {what}; prices of {}", storage.prices);
}

fn largest(text: &mut String, health: &Health) {
    let partitions = &health.partitions;
    if partitions.count < 2 || partitions.largest.is_empty() {
        return;
    }
    let row = |of: &plan::inspect::Partition| {
        vec![of.partition.clone(), thousands(of.files), thousands(of.small_files), size(of.bytes), thousands(of.rows)]
    };
    let rows: Vec<_> = partitions.largest.iter().map(row).collect();
    let header = format!("largest {} of {} partitions", rows.len(), thousands(partitions.count));
    for line in align(&[&header, "files", "small", "size", "rows"], &rows).lines() {
        _ = writeln!(text, "  {line}");
    }
}

fn job(text: &mut String, outlook: &Outlook, paint: Paint) {
    let name = outlook.job.word();
    match &outlook.would {
        Would::Nothing { why } => _ = writeln!(text, "  {name:<10}  {}: {why}", paint.green("nothing to do")),
        Would::Unknown { why } => _ = writeln!(text, "  {name:<10}  not looked at: {why}"),
        Would::Refuse { why } => _ = writeln!(text, "  {name:<10}  {}: {why}", paint.red("would refuse")),
        Would::Act { what, why, money, .. } => {
            _ = writeln!(text, "  {name:<10}  {} {what}", paint.yellow("would"));
            _ = writeln!(text, "              because {why}");
            if let Some(money) = money {
                _ = writeln!(text, "              saves {}", money.saving_per_month.explained_per_month());
                _ = writeln!(text, "              costs {}", money.cost.explained());
            }
        }
    }
}

fn next(health: &Health) -> Vec<String> {
    let acts = health.jobs.iter().any(|outlook| matches!(outlook.would, Would::Act { .. }));
    let unknown = health.jobs.iter().any(|outlook| matches!(outlook.would, Would::Unknown { .. }));
    let mut next = Vec::new();
    if acts {
        next.push(format!("etl maintain {} --dry-run", health.table));
    }
    if unknown {
        next.push(format!("etl inspect {} --storage", health.table));
    }
    next
}

fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    if share > 0.0 && share < 0.1 { "under 0.1 %".to_owned() } else { format!("{share:.1} %") }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use plan::{
        expire::RefWord,
        inspect::{
            Class, Data, DeleteHealth, History, Manifests, Partition, Partitions, Ref, Small, Snapshot, Storage,
        },
        maintain::Upkeep,
        objects::{KindTotal, ObjectKind},
        prices::{Amount, Dollars, Money},
    };

    use super::*;

    const GIB: u64 = 1 << 30;

    /// A table with something of everything.
    fn health() -> Health {
        let amount = |cents: i64, of: &str| Amount::one(Dollars { nanos: cents * 10_000_000 }, of.to_owned());
        let per_month = amount(2_070, "900.0 GiB × 0.023 $/GiB-month Standard");
        let class = |class: &str, billable, per_month| Class {
            class: class.to_owned(),
            files: 900,
            bytes: 450 * GIB,
            billable_bytes: billable * GIB,
            per_month,
        };
        let history = KindTotal { kind: ObjectKind::DataFile, files: 120, bytes: 80 * GIB };
        let partition = |day, gib| Partition {
            partition: format!("event_time_day=2025-06-{day:02}"),
            files: 400,
            bytes: gib * GIB,
            rows: gib * 1_000_000,
            small_files: 300,
        };
        Health {
            schema_version: 1,
            table: "curated.telemetry".parse().unwrap(),
            location: "s3://lake/curated/telemetry".to_owned(),
            format_version: 2,
            head: Some(Snapshot { snapshot_id: 4711, committed_at: "2025-06-04T00:00:00Z".parse().unwrap() }),
            data: Data {
                files: 1_200,
                bytes: 820 * GIB,
                rows: 820_000_000,
                bytes_median: 12 << 20,
                bytes_max: 2 * GIB,
                target_file_bytes: 512 << 20,
            },
            small: Small { files: 800, bytes: 8 * GIB, below_bytes: 384 << 20, files_packed: 30 },
            deletes: DeleteHealth {
                position: Deletes { files: 12, bytes: 1 << 20, rows: 40_000 },
                equality: Deletes { files: 1, bytes: 1 << 10, rows: 3 },
            },
            manifests: Manifests { files: 88, of_deletes: 8, bytes: 9 << 20 },
            history: History {
                snapshots: 288,
                oldest_at: Some("2025-05-30T00:00:00Z".parse().unwrap()),
                refs: vec![Ref { kind: RefWord::Tag, name: "v1".to_owned(), snapshot_id: 3 }],
                files: 120,
                bytes: 80 * GIB,
                by_kind: vec![history],
            },
            partitions: Partitions {
                count: 30,
                bytes_max: 40 * GIB,
                bytes_median: 20 * GIB,
                skew: Some(2.0),
                largest: vec![partition(3, 40), partition(4, 30)],
            },
            storage: Storage {
                listed: true,
                classes: vec![class("STANDARD_IA", 451, Some(per_month.clone())), class("SNOW", 450, None)],
                per_month,
                prices: "S3 in us-east-1, 2025-06-01".to_owned(),
            },
            jobs: vec![
                Outlook { job: Upkeep::Compact, would: Would::Refuse { why: "the target file size is 0".to_owned() } },
                Outlook {
                    job: Upkeep::Expire,
                    would: Would::Act {
                        what: "let 30 of 288 snapshots go, delete 120 files, 80.0 GiB".to_owned(),
                        why: "30 older than 5d, in no branch or tag".to_owned(),
                        bytes: 0,
                        money: Some(Money {
                            cost: amount(0, "1 PUT × 0.005 $/1,000 Standard"),
                            saving_per_month: amount(184, "80.0 GiB × 0.023 $/GiB-month Standard"),
                            prices: String::new(),
                        }),
                    },
                },
                Outlook { job: Upkeep::Orphans, would: Would::Unknown { why: "--storage lists them".to_owned() } },
            ],
            warnings: vec!["900 objects in class SNOW, which has no price".to_owned()],
        }
    }

    #[test]
    fn a_table_at_a_glance() {
        assert_snapshot!(render(&health(), Paint::PLAIN), @"
        curated.telemetry  needs expire
          snapshot    4711 of 2025-06-04T00:00:00Z
          data        1,200 files, 820.0 GiB, 820,000,000 rows; half are below 12.0 MiB, the largest 2.0 GiB
          small       800 files, 8.0 GiB: 66.7 % of all files, below 384.0 MiB (the target is 512.0 MiB); packed they would be 30 files
          deletes     12 position delete files, 1.0 MiB, 40,000 rows, under 0.1 % of all rows; 1 equality delete file, 1.0 KiB, 3 conditions
          manifests   88, 9.0 MiB; 8 of delete files
          history     288 snapshots, the oldest of 2025-05-30T00:00:00Z; only older ones need 120 files, 80.0 GiB
                      tag v1 at 3
          partitions  30; the largest has 40.0 GiB, 2.0 times the median of 20.0 GiB
          storage     $20.70 a month: 900.0 GiB × 0.023 $/GiB-month Standard
                      STANDARD_IA: 900 objects, 450.0 GiB charged as 451.0 GiB: $20.70 a month
                      SNOW: 900 objects, 450.0 GiB: no price
                      of every object below its location; prices of S3 in us-east-1, 2025-06-01
          largest 2 of 30 partitions  files  small  size            rows
          event_time_day=2025-06-03     400    300  40.0 GiB  40,000,000
          event_time_day=2025-06-04     400    300  30.0 GiB  30,000,000
          maintenance
          compact     would refuse: the target file size is 0
          expire      would let 30 of 288 snapshots go, delete 120 files, 80.0 GiB
                      because 30 older than 5d, in no branch or tag
                      saves $1.84 a month: 80.0 GiB × 0.023 $/GiB-month Standard
                      costs $0: 1 PUT × 0.005 $/1,000 Standard
          orphans     not looked at: --storage lists them
          warning: 900 objects in class SNOW, which has no price
          next: etl maintain curated.telemetry --dry-run
                etl inspect curated.telemetry --storage
        ");
    }

    #[test]
    fn a_table_that_needs_nothing() {
        let empty = Health {
            head: None,
            data: Data { target_file_bytes: 128 << 20, ..Data::default() },
            small: Small { below_bytes: 96 << 20, ..Small::default() },
            deletes: DeleteHealth::default(),
            manifests: Manifests::default(),
            history: History {
                snapshots: 0,
                oldest_at: None,
                refs: Vec::new(),
                files: 0,
                bytes: 0,
                by_kind: Vec::new(),
            },
            partitions: Partitions { count: 0, bytes_max: 0, bytes_median: 0, skew: None, largest: Vec::new() },
            storage: Storage {
                listed: false,
                classes: Vec::new(),
                per_month: Amount::default(),
                prices: "S3 in us-east-1, 2025-06-01".to_owned(),
            },
            jobs: vec![Outlook {
                job: Upkeep::Expire,
                would: Would::Nothing { why: "there is no snapshot".to_owned() },
            }],
            warnings: Vec::new(),
            ..health()
        };
        assert_snapshot!(render(&empty, Paint::PLAIN), @"
        curated.telemetry  needs nothing
          snapshot    none: nothing was written yet
          data        0 files, 0 B, 0 rows
          small       0 files, below 96.0 MiB (the target is 128.0 MiB)
          deletes     none
          manifests   0, 0 B
          history     0 snapshots
          partitions  0
          storage     $0 a month
                      of what its metadata names, as if all of it were in Standard (--storage looks); prices of S3 in us-east-1, 2025-06-01
          maintenance
          expire      nothing to do: there is no snapshot
        ");
    }
}
