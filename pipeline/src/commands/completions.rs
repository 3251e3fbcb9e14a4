//! `samovar completions`

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::error::{IoContext, Result};

/// Print a shell's completions, of `samovar` or of `runner`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: Shell,
    /// Those of `runner` instead
    #[arg(long)]
    runner: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (mut command, name) = match self.runner {
            true => (runner::commands::Cli::command(), "runner"),
            false => (Cli::command(), "samovar"),
        };
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut text);
        std::io::Write::write_all(&mut std::io::stdout(), &text).at("standard output".as_ref())
    }
}
