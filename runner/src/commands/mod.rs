//! The command line: one module per command.

mod boot;
mod doctor;
mod restore;
mod several;
mod show;

use clap::{Parser, Subcommand};

use crate::{
    error::{EXIT_CODES, Failure},
    report::Stopwatch,
};

/// A minimal microVM: restores a warm base and shows it in a window
#[derive(Debug, Parser)]
#[command(name = "runner", version, after_help = EXIT_CODES, subcommand_required = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Restore a warm base and show its screen
    Restore(restore::Args),
    /// Boot an arm64 kernel with its serial console on the terminal
    Boot(boot::Args),
    /// See whether this host lets guests run at full speed, and say what to type if not
    Doctor(doctor::Args),
}

/// Runs the command. `clock` started with the process.
///
/// # Errors
/// What a person must know, and the exit code.
pub fn run(cli: Cli, clock: Stopwatch) -> Result<(), Failure> {
    match cli.command {
        Command::Restore(args) => restore::run(args, clock),
        Command::Boot(args) => boot::run(args, clock),
        Command::Doctor(args) => doctor::run(&args),
    }
}

#[cfg(test)]
impl Cli {
    /// The options, if the command is `restore`.
    fn into_restore(self) -> Option<restore::Args> {
        match self.command {
            Command::Restore(args) => Some(args),
            Command::Boot(_) | Command::Doctor(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_status_2() {
        let error = Cli::try_parse_from(["runner", "restore"]).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::Status::Usage as i32);
    }
}
