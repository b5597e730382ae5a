//! Plans in a few lines for people.

use std::fmt::Write;

use plan::{
    compact::{CompactPlan, Compaction},
    dedupe::DedupePlan,
    expire::{Action, ExpirePlan, Verdicts},
    objects::KindTotal,
    orphans::{Kept, Orphan, OrphansPlan},
    prices::Money,
    rollback::{Rollback, RollbackPlan},
    tier::{RestorePlan, TierPlan, Tiers, TransitionTotal, Way, totals},
};

use crate::{
    report::Plan,
    report_text::interval_text,
    screen::{count, size, thousands},
};

/// Lines of a list that are shown; `--output json` has them all.
const LINES_MAX: usize = 10;

/// The plan as text, every line with its end.
pub fn render(plan: &Plan) -> String {
    let mut text = String::new();
    match plan {
        Plan::Dedupe(plan) => dedupe(&mut text, plan),
        Plan::Expire(ExpirePlan::Refused { reasons }) => refused(&mut text, reasons),
        Plan::Expire(ExpirePlan::KeepAll(verdicts) | ExpirePlan::Expire(verdicts)) => expire(&mut text, verdicts),
        Plan::Orphans(OrphansPlan::Refused { reasons, orphans: found }) => {
            refused(&mut text, reasons);
            orphans(&mut text, found);
        }
        Plan::Compact(CompactPlan::Refused { reasons }) => refused(&mut text, reasons),
        Plan::Compact(CompactPlan::KeepAll(plan) | CompactPlan::Compact(plan)) => compact(&mut text, plan),
        Plan::Orphans(OrphansPlan::NoOrphans(found) | OrphansPlan::DeleteOrphans(found)) => {
            for Kept { reason, files, bytes } in &found.kept {
                _ = writeln!(text, "  keep {}, {}: {reason}", count(*files, "file"), size(*bytes));
            }
            deletes(&mut text, &found.totals());
            orphans(&mut text, &found.orphans);
            money(&mut text, found.money.as_ref());
        }
        Plan::Merge(plan) => plan.nodes.iter().for_each(|node| _ = writeln!(text, "  {node}")),
        Plan::Rollback(RollbackPlan::Refused { reasons }) => refused(&mut text, reasons),
        Plan::Rollback(RollbackPlan::Current { .. }) => {}
        Plan::Rollback(RollbackPlan::RollBack(plan)) => rollback(&mut text, plan),
        Plan::Tier(TierPlan::Refused { reasons }) => refused(&mut text, reasons),
        Plan::Tier(TierPlan::NoTransitions(found) | TierPlan::Transitions(found)) => tiers(&mut text, found),
        Plan::Restore(plan) => restore(&mut text, plan),
    }
    text
}

/// What it costs and saves, with what the figures are made of.
pub fn money(text: &mut String, money: Option<&Money>) {
    let Some(Money { cost, saving_per_month, prices }) = money else { return };
    if saving_per_month.parts.is_empty() && cost.parts.is_empty() {
        return;
    }
    _ = writeln!(text, "  saves {}", saving_per_month.explained_per_month());
    _ = writeln!(text, "  costs {}", cost.explained());
    _ = writeln!(text, "  prices of {prices}");
}

fn tiers(text: &mut String, tiers: &Tiers) {
    for Kept { reason, files, bytes } in &tiers.kept {
        _ = writeln!(text, "  keep {}, {}: {reason}", count(*files, "object"), size(*bytes));
    }
    let verb = if tiers.way == Way::Copy { "move" } else { "tag" };
    for total in totals(&tiers.transitions) {
        _ = writeln!(text, "  {verb} {}", transition_total(&total));
    }
    let line = |of: &plan::tier::Transition| {
        format!("{} ({}, {} → {}): {}", of.location, size(of.bytes), of.from.word(), of.to, of.reason)
    };
    list(text, verb, tiers.transitions.iter().map(line).collect());
    list(text, "untag", tiers.untagged.iter().map(|of| format!("{}: {}", of.location, of.reason)).collect());
    for rule in &tiers.rules {
        let plan::tier::BucketRule { bucket, prefix, class, days, .. } = rule;
        _ = writeln!(text, "  rule s3://{bucket}/{prefix}* with tag {}={class} after {days} days", plan::tier::TAG);
    }
    money(text, tiers.money.as_ref());
}

/// `3 raw objects, 4.0 GiB, STANDARD → GLACIER: $0.01 once, saves $0.07 a month`.
pub fn transition_total(total: &TransitionTotal) -> String {
    let TransitionTotal { zone, from, to, files, bytes, cost, saving_per_month } = total;
    let objects = count(*files, &format!("{zone} object"));
    format!("{objects}, {}, {} → {to}: {cost} once, saves {saving_per_month} a month", size(*bytes), from.word())
}

fn rollback(text: &mut String, plan: &Rollback) {
    let Rollback { from, to, .. } = plan;
    _ = writeln!(text, "  snapshot {from} → {} of {}", to.snapshot_id, to.committed_at);
    plan.lines().iter().for_each(|line| _ = writeln!(text, "  {line}"));
}

fn restore(text: &mut String, plan: &RestorePlan) {
    if let Some(reason) = &plan.refused {
        _ = writeln!(text, "  would refuse: {reason}");
    }
    let bytes: u64 = plan.restores.iter().map(|of| of.bytes).sum();
    _ = writeln!(
        text,
        "  {} on their way, {} readable, {} to ask for, {}",
        thousands(plan.restoring),
        thousands(plan.readable),
        thousands(plan.restores.len() as u64),
        size(bytes)
    );
    let line = |of: &plan::tier::Restore| format!("{} ({}) from {}", of.location, size(of.bytes), of.class.word());
    list(text, "restore", plan.restores.iter().map(line).collect());
    if !plan.restores.is_empty() {
        let days = count(u64::from(plan.days), "day");
        _ = writeln!(
            text,
            "  readable within {}, for {days}; {}",
            count(u64::from(plan.hours_max), "hour"),
            plan.cost.explained()
        );
    }
}

fn refused(text: &mut String, reasons: &[String]) {
    for reason in reasons {
        _ = writeln!(text, "  would refuse: {reason}");
    }
}

fn expire(text: &mut String, verdicts: &Verdicts) {
    for of in &verdicts.refs {
        _ = writeln!(text, "  {} {} {}: {}", of.action, of.kind, of.name, of.reason);
    }
    let (gone, kept): (Vec<_>, Vec<_>) =
        verdicts.snapshots.iter().partition(|snapshot| snapshot.action == Action::Expire);
    for (verb, of) in [("expire", gone), ("keep", kept)] {
        let line = |snapshot: &&plan::expire::SnapshotVerdict| {
            format!("snapshot {} of {}: {}", snapshot.snapshot_id, snapshot.committed_at, snapshot.reasons.join(", "))
        };
        list(text, verb, of.iter().map(line).collect());
    }
    for id in &verdicts.absent {
        _ = writeln!(text, "  snapshot {id} is not in the table, or not any more");
    }
    deletes(text, &verdicts.deletes);
    money(text, verdicts.money.as_ref());
}

fn deletes(text: &mut String, totals: &[KindTotal]) {
    for total in totals {
        _ = writeln!(text, "  delete {}", kind_total(total));
    }
}

/// `3 data files, 4.0 KiB`; without a size where the table's metadata has none, as of manifest lists.
pub fn kind_total(total: &KindTotal) -> String {
    let files = count(total.files, &total.kind.to_string());
    if total.bytes == 0 { files } else { format!("{files}, {}", size(total.bytes)) }
}

fn orphans(text: &mut String, orphans: &[Orphan]) {
    let line = |orphan: &Orphan| format!("{} ({}): {}", orphan.location, size(orphan.bytes), orphan.reason);
    list(text, "delete", orphans.iter().map(line).collect());
}

fn compact(text: &mut String, plan: &Compaction) {
    let files: usize = plan.groups.iter().map(|group| group.files.len()).sum();
    let bytes: u64 = plan.groups.iter().map(|group| group.bytes).sum();
    if files > 0 {
        let groups = count(plan.groups.len() as u64, "group");
        let target = size(plan.target_file_bytes);
        let files = count(files as u64, "file");
        _ = writeln!(text, "  would write {files}, {} in {groups} again, as files of about {target}", size(bytes));
    }
    lines(text, plan.groups.iter().map(ToString::to_string).collect());
    lines(text, plan.kept.iter().map(ToString::to_string).collect());
    if plan.dangling_delete_files > 0 {
        let files = count(plan.dangling_delete_files, "delete file");
        _ = writeln!(text, "  drop {files}: no row of the table is under them");
    }
    lines(text, plan.manifests.rewrites.iter().map(ToString::to_string).collect());
    lines(text, plan.manifests.kept.iter().map(ToString::to_string).collect());
}

fn lines(text: &mut String, lines: Vec<String>) {
    for line in lines.iter().take(LINES_MAX) {
        _ = writeln!(text, "  {line}");
    }
    if lines.len() > LINES_MAX {
        _ = writeln!(text, "  … {} more (--output json shows all)", lines.len() - LINES_MAX);
    }
}

fn dedupe(text: &mut String, plan: &DedupePlan) {
    let DedupePlan::Run(run) = plan else { return };
    let rows = run.rows.map(|rows| format!(", {} rows", thousands(rows))).unwrap_or_default();
    _ = writeln!(text, "  would read {}, {}{rows}", count(run.files.len() as u64, "raw file"), size(run.bytes));
    for reason in &run.reasons {
        _ = writeln!(text, "  because {reason}");
    }
    if run.creates_table {
        _ = writeln!(text, "  would create the table");
    }
    let partitions = run.partitions.iter().map(|partition| {
        format!("{}: {}, {}", interval_text(&partition.arrival), count(partition.files, "file"), size(partition.bytes))
    });
    list(text, "take", partitions.collect());
    list(text, "column", run.columns.iter().map(ToString::to_string).collect());
    let rewrites = run
        .may_rewrite
        .iter()
        .map(|file| format!("{} ({} rows, {}): {}", file.path, thousands(file.rows), size(file.bytes), file.reason));
    list(text, "may rewrite", rewrites.collect());
    list(text, "leave out", run.left_out.iter().map(|object| format!("{}: {}", object.key, object.reason)).collect());
}

fn list(text: &mut String, verb: &str, lines: Vec<String>) {
    for line in lines.iter().take(LINES_MAX) {
        _ = writeln!(text, "  {verb} {line}");
    }
    if lines.len() > LINES_MAX {
        _ = writeln!(text, "  {verb} … {} more (--output json shows all)", lines.len() - LINES_MAX);
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use plan::{
        compact::{
            Arrange, Group, GroupFile, How, Kept as KeptFiles, ManifestKind, ManifestsPlan, ManifestsRewrite,
            PartitionKey,
        },
        expire::{RefVerdict, RefWord, SnapshotVerdict},
        objects::ObjectKind,
        orphans::Found,
        prices::{Amount, Dollars},
    };

    use super::*;

    #[test]
    fn an_expiry() {
        let committed_at = "2025-06-04T00:00:00Z".parse().unwrap();
        let snapshot = |snapshot_id, action, reason: &str| SnapshotVerdict {
            snapshot_id,
            committed_at,
            action,
            reasons: vec![reason.to_owned()],
        };
        let verdicts = Verdicts {
            table: "curated.t".parse().unwrap(),
            snapshots: vec![
                snapshot(3, Action::Keep, "current snapshot"),
                snapshot(2, Action::Expire, "older than 5d, in no branch or tag"),
            ],
            refs: vec![RefVerdict {
                kind: RefWord::Tag,
                name: "v1".to_owned(),
                action: Action::Expire,
                reason: "its snapshot is older than 30d".to_owned(),
            }],
            absent: vec![7],
            deletes: vec![KindTotal { kind: ObjectKind::DataFile, files: 1_200, bytes: 5 << 30 }],
            money: Some(Money {
                cost: Amount::one(Dollars { nanos: 5_000 }, "1 PUT × 0.005 $/1,000 Standard".to_owned()),
                saving_per_month: Amount::one(
                    Dollars { nanos: 115_000_000 },
                    "5.0 GiB × 0.023 $/GiB-month Standard".to_owned(),
                ),
                prices: "S3 in us-east-1, 2025-06-01".to_owned(),
            }),
        };
        assert_snapshot!(render(&Plan::Expire(ExpirePlan::Expire(verdicts))), @"
          expire tag v1: its snapshot is older than 30d
          expire snapshot 2 of 2025-06-04T00:00:00Z: older than 5d, in no branch or tag
          keep snapshot 3 of 2025-06-04T00:00:00Z: current snapshot
          snapshot 7 is not in the table, or not any more
          delete 1,200 data files, 5.0 GiB
          saves $0.12 a month: 5.0 GiB × 0.023 $/GiB-month Standard
          costs under $0.01: 1 PUT × 0.005 $/1,000 Standard
          prices of S3 in us-east-1, 2025-06-01
        ");
        let reasons = vec!["the table's property gc.enabled is false".to_owned()];
        assert_snapshot!(render(&Plan::Expire(ExpirePlan::Refused { reasons })), @"  would refuse: the table's property gc.enabled is false");
    }

    #[test]
    fn a_compaction() {
        let partition = PartitionKey { spec_id: 0, path: "event_time_day=2025-06-04".to_owned() };
        let file = |how| GroupFile { path: String::new(), bytes: 5 << 20, how, why: String::new() };
        let plan = Compaction {
            table: "curated.t".parse().unwrap(),
            snapshot_id: Some(1),
            target_file_bytes: 128 << 20,
            groups: vec![Group {
                partition: partition.clone(),
                files: vec![file(How::Copy), file(How::Copy), file(How::Decode)],
                bytes: 15 << 20,
                rows: 10,
                arrange: Arrange::Pack,
                file_bytes: 15 << 20,
                reasons: vec!["smaller than 96.0 MiB".to_owned()],
            }],
            kept: vec![KeptFiles { partition, reason: "of the right size".to_owned(), files: 1, bytes: 100 << 20 }],
            dangling_delete_files: 2,
            removes_dangling_deletes: true,
            groups_per_commit: 1,
            manifests: ManifestsPlan {
                rewrites: vec![ManifestsRewrite {
                    kind: ManifestKind { spec_id: 0, of_deletes: false },
                    paths: vec![String::new(); 12],
                    bytes: 9 << 20,
                    files: 9_000,
                    target_bytes: 8 << 20,
                    reasons: vec!["12 manifests are smaller than 4.0 MiB".to_owned()],
                }],
                kept: Vec::new(),
            },
        };
        assert_snapshot!(render(&Plan::Compact(CompactPlan::Compact(plan))), @"
          would write 3 files, 15.0 MiB in 1 group again, as files of about 128.0 MiB
          pack 3 files, 15.0 MiB (2 copied) of event_time_day=2025-06-04: smaller than 96.0 MiB
          keep 1 file, 100.0 MiB of event_time_day=2025-06-04: of the right size
          drop 2 delete files: no row of the table is under them
          rewrite 12 manifests, 9.0 MiB, as about 2, of data files of partition spec 0: 12 manifests are smaller than 4.0 MiB
        ");
    }

    #[test]
    fn orphans_are_listed_up_to_a_limit() {
        let orphan = |n: u32| Orphan {
            location: format!("s3://lake/t/data/{n:02}.parquet"),
            kind: ObjectKind::DataFile,
            bytes: 2048,
            modified: "2025-06-04T00:00:00Z".parse().unwrap(),
            reason: "no version of the table refers to it".to_owned(),
        };
        let found = Found {
            table: "curated.t".parse().unwrap(),
            location: "s3://lake/t".to_owned(),
            kept: vec![Kept { reason: "not older than 7d".to_owned(), files: 1, bytes: 10 }],
            orphans: (0..11).map(orphan).collect(),
            money: None,
        };
        let text = render(&Plan::Orphans(OrphansPlan::DeleteOrphans(found)));
        let ends: Vec<_> = text.lines().take(3).chain(text.lines().skip(11)).collect();
        assert_snapshot!(ends.join("\n"), @"
          keep 1 file, 10 B: not older than 7d
          delete 11 data files, 22.0 KiB
          delete s3://lake/t/data/00.parquet (2.0 KiB): no version of the table refers to it
          delete s3://lake/t/data/09.parquet (2.0 KiB): no version of the table refers to it
          delete … 1 more (--output json shows all)
        ");
    }
}
