//! The program `samovar`.

use std::process::ExitCode;

use clap::Parser;
use samovar::commands::Cli;
use samovar::interrupt;

fn main() -> ExitCode {
    let cli = Cli::parse();
    interrupt::watch();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
