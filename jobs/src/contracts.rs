//! `etl contract`: the JSON Schema of contracts, and whether files are right.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use contract::Contract;

use crate::{
    cli::OutputForm,
    config::Config,
    error::{Exit, JobError, Kind, Result},
    job::{Program, json_line},
};

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
    pub fn run(&self, program: &Program) -> Result<Exit> {
        match &self.command {
            Command::Schema => {
                let schema = serde_json::to_string_pretty(&contract::json_schema())
                    .map_err(|error| JobError::new(Kind::Failed, format!("failed to write the schema: {error}")))?;
                program.screen.line(&schema)?;
                Ok(Exit::Done)
            }
            Command::Check { files } => check(program, files),
        }
    }
}

fn check(program: &Program, files: &[PathBuf]) -> Result<Exit> {
    let mut files = files.to_vec();
    if files.is_empty() {
        let config = Config::read(&program.globals.config)?;
        files = config.tables.into_values().map(|table| table.contract).collect();
        files.sort();
        files.dedup();
    }
    let mut exit = Exit::Done;
    for file in &files {
        match read(file) {
            Ok(contracts) => show(program, file, &contracts)?,
            Err(error) => {
                program.say_error(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    Ok(exit)
}

fn read(file: &PathBuf) -> Result<Vec<Contract>> {
    let text = std::fs::read_to_string(file)
        .map_err(|source| JobError::new(Kind::Configuration, format!("failed to read {}: {source}", file.display())))?;
    Ok(Contract::parse(file, &text)?)
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
