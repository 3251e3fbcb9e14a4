//! `runner restore`: a warm base on the screen.

use std::{fs::File, path::PathBuf};

use super::show::{ShowArgs, show};
use crate::{
    error::{Failure, Status},
    report::Stopwatch,
    restore::{self, RestoreError},
    session::ConsoleSink,
};

/// Options of `runner restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The warm base: its directory in a store, such as artifacts/<sha256>
    #[arg(value_name = "ARTIFACT")]
    artifact: PathBuf,

    #[command(flatten)]
    show: ShowArgs,

    /// Write what each phase of the restore cost, as JSON, when the session ends
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write the guest's serial console to a file
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
}

/// Restores a warm base and shows it.
///
/// # Errors
/// If it is refused, or the session ends badly.
pub fn run(args: Args, clock: Stopwatch) -> Result<(), Failure> {
    let script = args.show.read_script()?;
    let console = args.console.as_ref().map(console_file).transpose()?;
    let restored = restore::restore(&args.artifact, args.show.scheduler, console, clock).map_err(failure)?;
    let mut report = restored.report;
    let result =
        show(&restored.name, &restored.session, restored.running, &args.show, script, &mut report, clock);
    let reported = match &args.report {
        Some(path) => report
            .save(path)
            .map_err(|error| Failure::new(Status::Host, format!("can't write {}: {error}", path.display()))),
        None => Ok(()),
    };
    result.and(reported)
}

/// Opens the file for a console's output.
///
/// # Errors
/// If the host refuses.
pub fn console_file(path: &PathBuf) -> Result<ConsoleSink, Failure> {
    let file = File::create(path)
        .map_err(|error| Failure::new(Status::Host, format!("can't write {}: {error}", path.display())))?;
    Ok(Box::new(file))
}

fn failure(error: RestoreError) -> Failure {
    let status = if error.is_refusal() { Status::Refused } else { Status::Host };
    let failure = Failure::new(status, &error);
    failure.hint(error.hint())
}
