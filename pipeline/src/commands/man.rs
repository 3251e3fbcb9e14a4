//! `samovar man`

use std::fs;
use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use crate::error::{IoContext, Result};

/// Write the manual's pages of `samovar` and `runner` into a directory
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory, which is made if it is not there; pages that are there are written anew
    dir: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        fs::create_dir_all(&self.dir).at(&self.dir)?;
        for command in [Cli::command().name("samovar"), runner::commands::Cli::command()] {
            clap_mangen::generate_to(command, &self.dir).at(&self.dir)?;
        }
        println!("{}", self.dir.display());
        Ok(())
    }
}
