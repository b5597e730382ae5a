//! `etl completions` and `etl man`: what a shell and `man` want to know of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{
    cli::Cli,
    error::{Exit, JobError, Kind, Result},
    job::Program,
};

/// Completions for a shell.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  etl completions bash > /etc/bash_completion.d/etl\n  etl completions zsh > ~/.zfunc/_etl"
)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Man pages.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  etl man | man -l -\n  etl man --dir /usr/local/share/man/man1")]
pub struct Man {
    /// Write a page for every command into this folder instead of the main page to stdout
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Completions {
    /// Writes them to stdout.
    pub fn run(&self, program: &Program) -> Result<Exit> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "etl", &mut text);
        program.screen.write(&String::from_utf8_lossy(&text))?;
        Ok(Exit::Done)
    }
}

impl Man {
    /// Writes them.
    pub fn run(&self, program: &Program) -> Result<Exit> {
        if let Some(folder) = &self.dir {
            std::fs::create_dir_all(folder).map_err(|source| JobError::file("make folder", folder, &source))?;
            clap_mangen::generate_to(Cli::command(), folder)
                .map_err(|source| JobError::file("write man pages to", folder, &source))?;
            return Ok(Exit::Done);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(|source| JobError::new(Kind::Failed, format!("failed to write the man page: {source}")))?;
        program.screen.write(&String::from_utf8_lossy(&page))?;
        Ok(Exit::Done)
    }
}
