//! `etl contract`: the JSON Schema of contracts, and whether files are right.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use contract::{Contract, Place};
use engine::{Session, SessionOptions};

use crate::{
    cli::OutputForm,
    config::Config,
    error::{Exit, JobError, Kind, Result},
    job::{Program, json_line},
};

/// Memory for compiling rules; no rows are read.
const RULES_MEMORY_BYTES: u64 = 64 << 20;

/// Contracts: their JSON Schema, and whether they are right.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  etl contract schema > schemas/odcs.schema.json\n  etl contract check schemas/*.odcs.yaml"
)]
pub struct ContractCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the JSON Schema of contracts, so that an editor completes and checks them
    Schema,
    /// Read contracts and say what is wrong with them
    Check {
        /// Contracts; those that etl.toml names unless said
        files: Vec<PathBuf>,
    },
}

impl ContractCommand {
    /// Does it.
    pub async fn run(&self, program: &Program) -> Result<Exit> {
        match &self.command {
            Command::Schema => {
                let schema = serde_json::to_string_pretty(&contract::json_schema())
                    .map_err(|error| JobError::new(Kind::Failed, format!("failed to write the schema: {error}")))?;
                program.screen.line(&schema)?;
                Ok(Exit::Done)
            }
            Command::Check { files } => check(program, files).await,
        }
    }
}

async fn check(program: &Program, files: &[PathBuf]) -> Result<Exit> {
    let (mut files, mut named_in) = (files.to_vec(), None);
    if files.is_empty() {
        let config = Config::read(&program.globals.config)?;
        named_in = Some(config.path);
        files = config.tables.into_values().map(|table| table.contract).collect();
        files.sort();
        files.dedup();
    }
    let spill_dir = program.environment.temporary.clone();
    let options = SessionOptions { memory_limit_bytes: RULES_MEMORY_BYTES, threads: 1, spill_dir };
    let session = Session::new(&options)?.at(program.now());
    let mut exit = Exit::Done;
    for file in &files {
        match read(file, named_in.as_deref(), &session).await {
            Ok((contracts, faults)) if faults.is_empty() => show(program, file, &contracts)?,
            Ok((_, faults)) => {
                for error in faults {
                    program.say_error(&error);
                    exit = exit.max(error.exit());
                }
            }
            Err(error) => {
                program.say_error(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    Ok(exit)
}

/// The contracts of a file, and what is wrong with their rules in SQL. `named_in` is the configuration that names the file.
async fn read(file: &Path, named_in: Option<&Path>, session: &Session) -> Result<(Vec<Contract>, Vec<JobError>)> {
    let text = std::fs::read_to_string(file).map_err(|source| {
        let error = JobError::new(Kind::Configuration, format!("failed to read {}: {source}", file.display()));
        match named_in {
            Some(config) => error.with_help(format!("{} names it", config.display())),
            None => error,
        }
    })?;
    let (mut contracts, mut faults) = (Vec::new(), Vec::new());
    for (contract, places) in Contract::parse_with_places(file, &text)? {
        for (index, reason) in engine::rule_faults(&contract, session).await? {
            let (check, Place { line, column }) = (&contract.checks[index], places[index]);
            let message =
                format!("{}:{line}:{column}: the rule {:?} cannot be asked: {reason}", file.display(), check.name);
            let help = "write a condition over one row's columns for `engine: etl`, a query that gives one number for `type: sql`";
            faults.push(JobError::new(Kind::Configuration, message).with_help(help));
        }
        contracts.push(contract);
    }
    Ok((contracts, faults))
}

fn show(program: &Program, file: &Path, contracts: &[Contract]) -> Result<()> {
    for contract in contracts {
        if program.globals.output == OutputForm::Json {
            program.screen.write(&json_line(contract)?)?;
            continue;
        }
        let rules =
            contract.checks.len() + contract.columns.iter().map(|column| column.constraints.len()).sum::<usize>();
        program.screen.line(&format!(
            "{}: {} {} of {}: {} columns, key ({}), {rules} rules",
            file.display(),
            contract.id,
            contract.version,
            contract.table,
            contract.columns.len(),
            contract.key.join(", "),
        ))?;
    }
    Ok(())
}
