//! Outlooks and a budget in, steps with their reasons out.

use std::cmp::Reverse;

use super::{Action, Budget, Facts, Outlook, Step, TablePlan, Upkeep, Would};
use crate::{prices::Dollars, text::size};

/// Decides for all tables of a run. Those that save most come first, so that a budget goes where it does the most; within
/// one table the jobs keep their order.
pub fn decide(facts: &[Facts], budget: Budget) -> Vec<TablePlan> {
    let mut tables: Vec<&Facts> = facts.iter().collect();
    tables.sort_by_key(|facts| (Reverse(saving(facts)), facts.table.clone()));
    let mut left = budget;
    tables.into_iter().map(|facts| table_plan(facts, &mut left)).collect()
}

fn saving(facts: &Facts) -> Dollars {
    let of = |outlook: &Outlook| match &outlook.would {
        Would::Act { money: Some(money), .. } => money.saving_per_month.dollars,
        _ => Dollars::ZERO,
    };
    facts.outlooks.iter().map(of).sum()
}

fn table_plan(facts: &Facts, left: &mut Budget) -> TablePlan {
    let mut outlooks: Vec<&Outlook> = facts.outlooks.iter().collect();
    outlooks.sort_by_key(|outlook| outlook.job);
    TablePlan { table: facts.table.clone(), steps: outlooks.into_iter().map(|outlook| step(outlook, left)).collect() }
}

fn step(outlook: &Outlook, left: &mut Budget) -> Step {
    let without = |action, why: &str| Step {
        job: outlook.job,
        action,
        what: String::new(),
        why: why.to_owned(),
        bytes: 0,
        bytes_max: None,
        dollars_max: None,
        money: None,
    };
    match &outlook.would {
        Would::Nothing { why } => without(Action::Skip, why),
        Would::Unknown { why } => without(Action::Skip, why),
        Would::Refuse { why } => without(Action::Refused, why),
        Would::Act { what, why, bytes, money } => {
            let mut cost = money.as_ref().map_or(Dollars::ZERO, |money| money.cost.dollars);
            let mut step =
                Step { what: what.clone(), bytes: *bytes, money: money.clone(), ..without(Action::Run, why) };
            // A compaction is made of parts: as many as fit.
            if let Some(fits) = left.bytes.filter(|left| outlook.job == Upkeep::Compact && (1..*bytes).contains(left)) {
                (step.bytes, step.bytes_max) = (fits, Some(fits));
                step.why = format!("{why}; as far as the {} reach that are left of --budget-bytes", size(fits));
            }
            // So are moves; and what the jobs before them leave may cost more to move than what was found.
            if let Some(dollars) = left.dollars.filter(|left| outlook.job == Upkeep::Tier && *left > Dollars::ZERO) {
                if dollars < cost {
                    cost = dollars;
                    step.why = format!("{why}; as far as the {dollars} reach that are left of --budget-dollars");
                }
                step.dollars_max = Some(cost);
            }
            match left.does_not_fit(step.bytes, cost) {
                Some(reason) => (step.action, step.why) = (Action::Later, reason),
                None => left.spend(step.bytes, cost),
            }
            step
        }
    }
}

#[cfg(test)]
mod tests;
