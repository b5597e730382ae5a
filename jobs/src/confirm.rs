//! Whether destructive work may start: after its plan was seen, and agreed to.
//!
//! `--dry-run` shows the plan and ends; `--yes` agrees; a person at a terminal is asked. With nobody to ask it does not start.

use std::sync::Arc;

use crate::{
    error::{JobError, Kind, Result},
    job::Job,
    plan_text,
    report::{Plan, Report, Status},
};

/// Asks a question that is answered with yes or no. Blocks.
pub type Ask = Arc<dyn Fn(&str) -> bool + Send + Sync>;

impl Job {
    /// Whether the plan was only to be shown: then the report has it, and the job has ended.
    pub fn only_shows(&self, plan: &Plan, report: &mut Report) -> bool {
        let dry_run = self.program.globals.dry_run;
        if dry_run {
            report.shows(plan.clone());
        }
        dry_run
    }

    /// Whether the plan may be carried out; the report has it where nobody could agree.
    pub async fn may_destroy(&self, plan: &Plan, report: &mut Report) -> Result<bool> {
        let subject = report.table.as_ref().map_or_else(|| report.job.clone(), ToString::to_string);
        let agreed = self.agrees(&format!("{subject}\n{}", plan_text::render(plan)), plan.consequence()).await;
        match agreed {
            Ok(true) => {}
            Ok(false) => {
                report.status = Status::Planned;
                report.reason = Some("the plan was not agreed to".to_owned());
            }
            Err(_) => report.plan = Some(plan.clone()),
        }
        agreed
    }

    /// Whether what is shown may be carried out; an error where nobody can say so. `consequence` completes "it would …".
    pub async fn agrees(&self, shown: &str, consequence: &str) -> Result<bool> {
        if self.program.globals.yes {
            return Ok(true);
        }
        let Some(ask) = self.program.ask.clone() else {
            let message = format!("it would {consequence}, and there is nobody to ask");
            return Err(
                JobError::usage(message).with_help("look at the plan; the same command with --yes carries it out")
            );
        };
        self.program.progress.say(shown.trim_end());
        let answer = tokio::task::spawn_blocking(move || ask("carry this out?"));
        let answer = self.program.interrupt.stops(answer).await?;
        answer.map_err(|error| JobError::new(Kind::Failed, format!("failed to ask: {error}")))
    }
}
