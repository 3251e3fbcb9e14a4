//! The `runner` program.

use std::process::ExitCode;

use clap::Parser;
use runner::{commands::Cli, report::Stopwatch, terminal};

fn main() -> ExitCode {
    // First of all, so that a restore's report starts as early as a process can.
    let clock = Stopwatch::start();
    let result = runner::commands::run(Cli::parse(), clock);
    terminal::restore();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.status as u8)
        }
    }
}
