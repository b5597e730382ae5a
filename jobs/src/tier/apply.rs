//! Carrying a plan out, object by object. What fails for one object alone leaves it where it is and is said; anything else
//! ends the run, and the next one goes on from there.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use futures::{StreamExt, stream};
use lake::{Classes, Moved};
use plan::tier::{Tiers, Transition, Way, totals};

use crate::{
    error::{Result, chain},
    job::Job,
    report::{Moves, Report, Status},
};

/// Objects that are moved or tagged at once.
const OBJECTS_AT_ONCE: usize = 8;

/// Moves and tags what the plan says.
pub async fn apply(job: &Job, tiers: Tiers, report: &mut Report) -> Result<()> {
    let classes = job.lake().await?.storage.classes()?;
    let what = format!("moving {} objects", tiers.transitions.len());
    let _step = job.program.progress.step(&tiers.table.to_string(), &what);
    let mut moves = Moves::default();
    let done = carry_out(job, classes, &tiers, &mut moves, report).await;
    (report.kept, report.money) = (tiers.kept, tiers.money);
    if moves.changed() {
        report.status = Status::Moved;
    }
    report.moves = Some(moves);
    done
}

async fn carry_out(job: &Job, classes: &Classes, tiers: &Tiers, moves: &mut Moves, report: &mut Report) -> Result<()> {
    // Tags that must not be followed go before there is a rule that follows them.
    for untag in &tiers.untagged {
        job.program.interrupt.check()?;
        lake::tag_object(classes, &untag.location, None).await?;
        moves.untagged += 1;
    }
    let has_failed = &AtomicBool::new(false);
    let one = |transition: Transition| async move {
        let Transition { location, etag, to, .. } = &transition;
        if has_failed.load(Relaxed) || job.program.interrupt.check().is_err() {
            return (transition, None);
        }
        let moved = match tiers.way {
            Way::Copy => lake::move_object(classes, location, etag, *to).await,
            Way::Lifecycle => lake::tag_object(classes, location, Some(*to)).await,
        };
        (transition, Some(moved))
    };
    let mut moving = stream::iter(tiers.transitions.clone()).map(one).buffer_unordered(OBJECTS_AT_ONCE);
    let (mut done, mut left, mut failed) = (Vec::new(), BTreeMap::<String, u64>::new(), None);
    // Those that are under way are waited for after a failure, too: what was done is to be said.
    while let Some((transition, moved)) = moving.next().await {
        match moved {
            None => {}
            Some(Ok(Moved::Now | Moved::Already)) => done.push(transition),
            Some(Err(lake::Error::Changed { .. })) => {
                *left.entry("they were replaced since they were listed".to_owned()).or_default() += 1;
            }
            Some(Err(error @ lake::Error::NotCopyable { .. })) => {
                *left.entry(reason(&error)).or_default() += 1;
            }
            Some(Err(error)) => {
                has_failed.store(true, Relaxed);
                failed.get_or_insert(error);
            }
        }
    }
    drop(moving);
    moves.moved = totals(&done);
    moves.left = left.values().sum();
    report.warnings.extend(left.into_iter().map(|(reason, objects)| format!("{objects} objects stay: {reason}")));
    if let Some(error) = failed {
        return Err(error.into());
    }
    job.program.interrupt.check()?;
    if tiers.way == Way::Lifecycle {
        moves.rules = set_rules(job, classes, tiers).await?;
    }
    Ok(())
}

fn reason(error: &lake::Error) -> String {
    match error {
        lake::Error::NotCopyable { reason, .. } => format!("{reason} (etl tier --lifecycle moves them without a copy)"),
        error => chain(error),
    }
}

/// Puts our rules among those of others; in how many places they changed.
async fn set_rules(job: &Job, classes: &Classes, tiers: &Tiers) -> Result<u64> {
    let mut changed = 0;
    for place in &tiers.rule_places {
        job.program.interrupt.check()?;
        let ours: Vec<_> = tiers.rules.iter().filter(|rule| place.has(rule)).cloned().collect();
        if let Some(lifecycle) = classes.lifecycle(&place.bucket).await?.with(&place.id_prefix, &ours)? {
            classes.set_lifecycle(&place.bucket, &lifecycle).await?;
            changed += 1;
        }
    }
    Ok(changed)
}
