//! What a job is given: the program's settings, its configuration, the lake, a clock and ids; and how its reports leave.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use contract::{Contract, TableName};
use engine::{Session, SessionOptions};
use jiff::Timestamp;
use lake::{CommitInputs, Lake, faults::Faults};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    cli::{Globals, OutputForm},
    config::{Config, TableConfig},
    confirm::Ask,
    error::{Exit, JobError, Kind, Result},
    interrupt::Interrupt,
    machine, open,
    progress::Progress,
    records,
    report::{Report, Status},
    report_text,
    screen::Screen,
};

/// What main gives to whatever runs. Cheap to clone.
#[derive(Clone)]
pub struct Program {
    /// Options of every command.
    pub globals: Globals,
    /// What of the environment is not an option of ours.
    pub environment: Environment,
    /// The command line after the program's name.
    pub args: Vec<String>,
    /// The clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// The same clock in the form that AWS credentials expire by.
    pub system_clock: fn() -> SystemTime,
    /// Random ids: time-ordered ones for runs, random ones for files.
    pub ids: Ids,
    /// Stdout.
    pub screen: Screen,
    /// Stderr.
    pub progress: Progress,
    /// Asks the person at the terminal; `None` where there is nobody.
    pub ask: Option<Ask>,
    /// Whether to stop.
    pub interrupt: Interrupt,
    /// Around storage and catalog; for tests.
    pub faults: Option<Faults>,
    /// The lake instead of the one that `etl.toml` names; for tests.
    pub lake: Option<Lake>,
    /// Reports of this process so far, as `--report` has them.
    pub reports: Arc<Mutex<Vec<String>>>,
}

/// Where ids come from.
#[derive(Clone)]
pub struct Ids {
    /// A UUID of version 7 at that time: runs.
    pub run: Arc<dyn Fn(Timestamp) -> Uuid + Send + Sync>,
    /// A UUID of version 4: files, snapshots.
    pub random: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

/// What of the environment is not an option of ours.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `AWS_REGION` or `AWS_DEFAULT_REGION` is set, so that `etl.toml` does not decide the region.
    pub has_region: bool,
    /// `AWS_PROFILE` is set.
    pub has_profile: bool,
    /// One of `AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL_GLUE` is set.
    pub has_endpoint_url: bool,
    /// Folder for temporary files.
    pub temporary: PathBuf,
}

/// What one job is given.
#[derive(Clone)]
pub struct Job {
    /// The program.
    pub program: Program,
    /// The job's name on the command line.
    pub name: &'static str,
    /// `etl.toml`.
    pub config: Config,
    lake: OnceCell<Lake>,
}

impl Program {
    /// Reads the configuration for a job.
    pub fn job(&self, name: &'static str) -> Result<Job> {
        Ok(Job { config: Config::read(&self.globals.config)?, program: self.clone(), name, lake: OnceCell::new() })
    }

    /// The time.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// A report of a run that starts now.
    pub fn report(&self, job: &str, table: Option<TableName>) -> Report {
        let now = self.now();
        Report::started((self.ids.run)(now).to_string(), job, table, &self.args, now)
    }

    /// Keeps a report for `--report` and writes all of them there.
    pub async fn write_report(&self, report: &Report) -> Result<()> {
        let Some(target) = &self.globals.report else { return Ok(()) };
        let text = {
            let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
            reports.push(json_line(report)?);
            reports.concat()
        };
        open::replace(self, target, text).await
    }

    /// Says an error on stderr.
    pub fn say_error(&self, error: &JobError) {
        let paint = self.screen.paint;
        let help = error.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
        self.progress.say(&format!("{} {}{help}", paint.red("error:"), error.message));
    }
}

impl Job {
    /// The same job with other options.
    #[must_use]
    pub fn with_program(&self, program: Program) -> Self {
        Self { program, ..self.clone() }
    }

    /// The lake, opened at the first call.
    pub async fn lake(&self) -> Result<&Lake> {
        self.lake.get_or_try_init(|| open::lake(&self.program, &self.config)).await
    }

    /// The contract of a table of the configuration.
    pub fn contract(&self, table: &TableConfig) -> Result<Contract> {
        let path = &table.contract;
        let text = std::fs::read_to_string(path).map_err(|source| {
            JobError::new(Kind::Configuration, format!("failed to read the contract {}: {source}", path.display()))
                .with_help(format!("table {} names it in {}", table.name, self.config.path.display()))
        })?;
        let contracts = Contract::parse(path, &text)?;
        contracts.into_iter().find(|contract| contract.table == table.name).ok_or_else(|| {
            JobError::new(Kind::Configuration, format!("{} has no contract of table {}", path.display(), table.name))
                .with_help(format!("its physicalName must be {}, as in {}", table.name, self.config.path.display()))
        })
    }

    /// The tables asked for, or all of the configuration.
    pub fn tables<'a>(&'a self, names: &[TableName]) -> Result<Vec<&'a TableConfig>> {
        if names.is_empty() {
            return match self.config.tables.is_empty() {
                true => Err(JobError::new(Kind::Configuration, format!("{} has no table", self.config.path.display()))
                    .with_help("add a section [table.\"namespace.name\"]")),
                false => Ok(self.config.tables.values().collect()),
            };
        }
        names.iter().map(|name| self.config.table(name)).collect()
    }

    /// Runs a job table by table, each with a report. One that fails does not stop the others; the exit code is the worst
    /// of all.
    pub async fn each_table(
        &self,
        tables: &[&TableConfig],
        run: impl AsyncFn(&TableConfig, &mut Report) -> Result<()>,
    ) -> Result<Exit> {
        let mut worst = Exit::Done;
        for table in tables {
            let mut report = self.program.report(self.name, Some(table.name.clone()));
            let before = machine::used();
            if let Err(error) = run(table, &mut report).await {
                report.fail(&error.read_from(&[&self.config.path, &table.contract]));
            }
            report.end(self.program.now(), before, machine::used());
            self.finish(&mut report).await?;
            worst = worst.max(report.exit_code);
            if report.status == Status::Interrupted {
                break;
            }
        }
        Ok(worst)
    }

    /// A query engine with this run's limits.
    pub fn session(&self) -> Result<Session> {
        Ok(Session::new(&self.session_options())?.at(self.program.now()))
    }

    /// This run's limits: option > variable > `etl.toml` > what the machine gives.
    pub fn session_options(&self) -> SessionOptions {
        let (globals, run) = (&self.program.globals, &self.config.run);
        let memory_limit_bytes =
            globals.memory_limit.or(run.memory_limit_bytes).unwrap_or_else(machine::memory_limit_bytes);
        let threads = globals.threads.map(usize::from).or(run.threads).unwrap_or_else(machine::threads);
        SessionOptions {
            memory_limit_bytes,
            threads: machine::threads_within(threads, memory_limit_bytes),
            spill_dir: run.spill_dir.clone().unwrap_or_else(|| self.program.environment.temporary.clone()),
        }
    }

    /// Clock and ids for a commit.
    pub fn commit_inputs(&self) -> CommitInputs {
        let clock = self.program.clock.clone();
        CommitInputs { now_ms: Arc::new(move || clock().as_millisecond()), new_uuid: self.program.ids.random.clone() }
    }

    /// Whether results are for programs.
    pub fn is_json(&self) -> bool {
        self.program.globals.output == OutputForm::Json
    }

    /// A run has ended: shows its report, keeps it, and says its error.
    pub async fn finish(&self, report: &mut Report) -> Result<()> {
        // A plan that was only shown is no run.
        let recorded = match self.lake().await {
            Ok(lake) if report.status != Status::Planned => records::write(lake, report).await,
            other => other.map(|_| ()),
        };
        if let Err(error) = recorded
            && report.error.is_none()
        {
            let warning = format!("the run's record was not kept: {error}");
            tracing::warn!(run.id = report.run_id, "{warning}");
            report.warnings.push(warning);
        }
        if let Some(lake) = self.lake.get()
            && let Ok(serde_json::Value::Object(counts)) = serde_json::to_value(lake.storage.requests())
        {
            let counts =
                counts.into_iter().filter_map(|(kind, count)| Some((kind, count.as_u64().filter(|n| *n > 0)?)));
            report.resources.requests = counts.collect();
        }
        self.show(report)?;
        self.program.write_report(report).await
    }

    fn show(&self, report: &Report) -> Result<()> {
        let screen = &self.program.screen;
        if self.is_json() {
            screen.write(&json_line(report)?)
        } else {
            screen.write(&report_text::render(report, screen.paint))
        }?;
        if let Some(error) = &report.error {
            let table = report.table.as_ref().map(|table| format!("{table}: ")).unwrap_or_default();
            let message = format!("{table}{}", error.message);
            self.program.say_error(&JobError { kind: error.code, message, help: error.help.clone() });
        }
        Ok(())
    }
}

/// A value as one line of JSON.
pub fn json_line(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value)
        .map(|text| text + "\n")
        .map_err(|error| JobError::new(Kind::Failed, format!("failed to write JSON: {error}")))
}
