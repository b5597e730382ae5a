//! The command line: its words, its help, and which job each command is.
//!
//! Owns the names that people type. Refuses to know what the jobs do.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, builder::FalseyValueParser};

use crate::{
    check::Check,
    compact::Compact,
    contracts::ContractCommand,
    dedupe::Dedupe,
    demo::Demo,
    error::{Exit, Result},
    expire::Expire,
    init::Init,
    inspect::Inspect,
    job::Program,
    machine::parse_memory_limit,
    maintain::Maintain,
    merge::Merge,
    orphans::Orphans,
    query::Query,
    rollback::RollBack,
    runs::Runs,
    shell::{Completions, Man},
    snapshots::Snapshots,
    tier::Tier,
};

const EXAMPLES: &str = "\
Examples:
  etl demo                                            a lake to try: no account, no server
  etl init --from s3://acme-raw/telemetry/            a configuration and a contract to edit
  etl dedupe --date 2025-06-04                        raw files of a day into every table
  etl dedupe curated.telemetry --pending --dry-run    what has arrived, and what would be done
  etl query \"SELECT count(*) FROM curated.telemetry\"  look at the result";

const AFTER_HELP: &str = "\
Every global option has a variable ETL_… of its name; option > variable > etl.toml. AWS settings are AWS's own.
Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 quality gate, 75 run it again, 130 and 143 interrupted.";

/// Curates an IoT lakehouse: raw Parquet in, Apache Iceberg tables out.
#[derive(Debug, Parser)]
#[command(name = "etl", version, before_help = EXAMPLES, after_help = AFTER_HELP, max_term_width = 110)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// Configuration file
    #[arg(
        short,
        long,
        global = true,
        env = "ETL_CONFIG",
        value_name = "PATH",
        default_value = "etl.toml",
        hide_env = true
    )]
    pub config: PathBuf,
    /// AWS profile
    #[arg(long, global = true, env = "ETL_PROFILE", value_name = "NAME", hide_env = true)]
    pub profile: Option<String>,
    /// AWS region
    #[arg(long, global = true, env = "ETL_REGION", value_name = "REGION", hide_env = true)]
    pub region: Option<String>,
    /// Ask AWS services here: an emulator, a private endpoint
    #[arg(long, global = true, env = "ETL_ENDPOINT_URL", value_name = "URL", hide_env = true)]
    pub endpoint_url: Option<String>,
    /// Form of the result
    #[arg(long, global = true, env = "ETL_OUTPUT", value_name = "FORM", default_value = "text", hide_env = true)]
    pub output: OutputForm,
    /// Also write the run report there, one JSON document a line: a path or s3://…
    #[arg(long, global = true, env = "ETL_REPORT", value_name = "PATH", hide_env = true)]
    pub report: Option<String>,
    /// Form of the log on stderr
    #[arg(long, global = true, env = "ETL_LOG_FORMAT", value_name = "FORM", default_value = "text", hide_env = true)]
    pub log_format: LogForm,
    /// Memory for the run, like 4GiB, at least 128MiB; three quarters of what the machine or its cgroup gives unless said
    #[arg(long, global = true, env = "ETL_MEMORY_LIMIT", value_name = "SIZE", value_parser = parse_memory_limit, hide_env = true)]
    pub memory_limit: Option<u64>,
    /// Worker threads; every core unless said
    #[arg(long, global = true, env = "ETL_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), hide_env = true)]
    pub threads: Option<u16>,
    /// Show the plan and do nothing
    #[arg(long, global = true, env = "ETL_DRY_RUN", value_parser = FalseyValueParser::new(), hide_env = true)]
    pub dry_run: bool,
    /// Answer every question with yes
    #[arg(short, long, global = true, env = "ETL_YES", value_parser = FalseyValueParser::new(), hide_env = true)]
    pub yes: bool,
    /// Say more on stderr; twice for still more
    #[arg(short, long, global = true, env = "ETL_VERBOSE", action = clap::ArgAction::Count, hide_env = true)]
    pub verbose: u8,
    /// Say only errors on stderr
    #[arg(short, long, global = true, env = "ETL_QUIET", value_parser = FalseyValueParser::new(), conflicts_with = "verbose", hide_env = true)]
    pub quiet: bool,
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputForm {
    /// For people.
    Text,
    /// For programs: one JSON document a line.
    Json,
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a lake to try: three days of dirty telemetry become a clean table
    Demo(Demo),
    /// Make etl.toml and a contract to edit
    Init(Init),
    /// Merge a raw interval into curated tables: validate, dedupe, MERGE
    Dedupe(Dedupe),
    /// Change a curated table with a MERGE INTO of your own
    Merge(Merge),
    /// Write many small files, deleted rows or rows in no order as fewer, clean, sorted files
    Compact(Compact),
    /// Let old snapshots go, and delete the files that only they need
    Expire(Expire),
    /// Delete files that no version of a table refers to
    Orphans(Orphans),
    /// Do what tables need: compact, expire, orphans, tier; within a budget
    Maintain(Maintain),
    /// Go back to an earlier snapshot of a table
    Rollback(RollBack),
    /// List the kept snapshots of tables
    Snapshots(Snapshots),
    /// Move old objects to colder storage classes, or bring archived ones back
    Tier(Tier),
    /// Read curated tables with SQL
    Query(Query),
    /// Show the health of tables: sizes, small files, deletes, skew, cost, what maintenance would change
    Inspect(Inspect),
    /// Look for damage in curated tables
    Check(Check),
    /// List past runs, or show one
    Runs(Runs),
    /// Contracts: their JSON Schema, and whether they are right
    Contract(ContractCommand),
    /// Completions for a shell
    Completions(Completions),
    /// Man pages
    Man(Man),
}

impl Cli {
    /// Reads a command line. A program called `etl-dedupe` is `etl dedupe`.
    pub fn read(argv: impl IntoIterator<Item = OsString>) -> std::result::Result<Self, clap::Error> {
        let mut argv: Vec<_> = argv.into_iter().collect();
        let job = argv.first().and_then(|name| std::path::Path::new(name).file_stem()?.to_str()?.strip_prefix("etl-"));
        if let Some(job) = job.map(OsString::from)
            && Self::command().find_subcommand(&job).is_some()
        {
            argv.insert(1, job);
        }
        let mut matches = Self::command().try_get_matches_from(argv)?;
        Self::from_arg_matches_mut(&mut matches)
    }
}

impl Command {
    /// The job's name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "demo",
            Self::Init(_) => "init",
            Self::Dedupe(_) => "dedupe",
            Self::Merge(_) => "merge",
            Self::Compact(_) => "compact",
            Self::Expire(_) => "expire",
            Self::Orphans(_) => "orphans",
            Self::Maintain(_) => "maintain",
            Self::Rollback(_) => "rollback",
            Self::Snapshots(_) => "snapshots",
            Self::Tier(_) => "tier",
            Self::Query(_) => "query",
            Self::Inspect(_) => "inspect",
            Self::Check(_) => "check",
            Self::Runs(_) => "runs",
            Self::Contract(_) => "contract",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }

    /// Does it.
    pub async fn run(&self, program: &Program) -> Result<Exit> {
        match self {
            Self::Demo(demo) => demo.run(program).await,
            Self::Init(init) => init.run(program).await,
            Self::Dedupe(dedupe) => dedupe.run(&program.job("dedupe")?).await,
            Self::Merge(merge) => merge.run(&program.job("merge")?).await,
            Self::Compact(compact) => compact.run(&program.job("compact")?).await,
            Self::Expire(expire) => expire.run(&program.job("expire")?).await,
            Self::Orphans(orphans) => orphans.run(&program.job("orphans")?).await,
            Self::Maintain(maintain) => maintain.run(&program.job("maintain")?).await,
            Self::Rollback(rollback) => rollback.run(&program.job("rollback")?).await,
            Self::Snapshots(snapshots) => snapshots.run(&program.job("snapshots")?).await,
            Self::Tier(tier) => tier.run(&program.job("tier")?).await,
            Self::Query(query) => query.run(&program.job("query")?).await,
            Self::Inspect(inspect) => inspect.run(&program.job("inspect")?).await,
            Self::Check(check) => check.run(&program.job("check")?).await,
            Self::Runs(runs) => runs.run(&program.job("runs")?).await,
            Self::Contract(command) => command.run(program).await,
            Self::Completions(completions) => completions.run(program),
            Self::Man(man) => man.run(program),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> std::result::Result<Cli, clap::Error> {
        Cli::read(words.iter().map(OsString::from))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn other_names_are_commands() {
        let cli = read(&["/usr/bin/etl-dedupe", "--date", "2025-06-04"]).unwrap();
        assert_eq!(cli.command.name(), "dedupe");
        let cli = read(&["etl-static", "runs"]).unwrap();
        assert_eq!(cli.command.name(), "runs");
    }

    #[test]
    fn jobs_without_options_are_their_defaults() {
        let Command::Compact(typed) = read(&["etl", "compact"]).unwrap().command else { panic!("another command") };
        assert_eq!(format!("{typed:?}"), format!("{:?}", Compact::default()));
        let Command::Expire(typed) = read(&["etl", "expire"]).unwrap().command else { panic!("another command") };
        assert_eq!(format!("{typed:?}"), format!("{:?}", Expire::default()));
        let Command::Orphans(typed) = read(&["etl", "orphans"]).unwrap().command else { panic!("another command") };
        assert_eq!(format!("{typed:?}"), format!("{:?}", Orphans::default()));
    }

    #[test]
    fn an_interval_is_asked_for_in_one_way() {
        for bad in [
            &["etl", "dedupe"][..],
            &["etl", "dedupe", "--date", "2025-13-01"],
            &["etl", "dedupe", "--date", "2025-06-04", "--pending"],
            &["etl", "dedupe", "--start", "2025-06-04"],
            &["etl", "dedupe", "telemetry", "--pending"],
        ] {
            assert_eq!(read(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        for good in [
            &["etl", "dedupe", "--date", "2025-06-04"][..],
            &["etl", "dedupe", "curated.a", "curated.b", "--pending", "--dry-run"],
            &["etl", "dedupe", "--start", "2025-06-04", "--end", "2025-06-04T06:00"],
            &["etl", "dedupe", "curated.a", "--replay", "fixed/"],
        ] {
            assert!(read(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn global_options_may_follow_the_command() {
        let cli = read(&["etl", "runs", "--output", "json", "--memory-limit", "1GiB", "-vv"]).unwrap();
        assert_eq!(cli.globals.output, OutputForm::Json);
        assert_eq!(cli.globals.memory_limit, Some(1 << 30));
        assert_eq!(cli.globals.verbose, 2);
    }
}
