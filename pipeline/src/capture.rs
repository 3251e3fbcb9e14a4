//! Brings the machine to its warm state: what this crate asks of crate `runner`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use machine::VERSION as MACHINE_VERSION;
use runner::MachineSpec;
use runner::capture::{CaptureSpec, Ready};

use crate::recipe::{Machine, WarmBase};
use crate::reporter::Reporter;

/// Why there is no capture.
pub type CaptureError = runner::capture::CaptureError;

/// How often a capture is reported on where there is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(20);

/// What is to be captured.
#[derive(Debug)]
pub struct Request<'a> {
    /// The kernel's image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initramfs: PathBuf,
    /// The root file system's image.
    pub disk: PathBuf,
    /// The whole command line.
    pub command_line: String,
    /// The machine.
    pub machine: &'a Machine,
    /// When it is warm.
    pub warm_base: &'a WarmBase,
    /// An empty directory for what comes of it.
    pub out_dir: PathBuf,
}

/// The engine that captures.
pub const ENGINE: &str = "soft";

/// The version of the machine that captures are made on; a base of another one cannot be restored.
pub fn machine_version() -> u32 {
    MACHINE_VERSION
}

/// Captures, and returns the names of the files that came of it.
pub fn capture(request: &Request, reporter: Reporter) -> Result<Vec<String>, CaptureError> {
    let Request { machine, warm_base, .. } = request;
    let spec = CaptureSpec {
        kernel: request.kernel.clone(),
        initrd: Some(request.initramfs.clone()),
        disk: Some(request.disk.clone()),
        command_line: request.command_line.clone(),
        machine: MachineSpec {
            cpus: machine.cpus,
            memory: machine.memory.bytes(),
            width: machine.display.width,
            height: machine.display.height,
        },
        ready: Ready::Console(warm_base.ready.console.clone()),
        limit_seconds: warm_base.limit_seconds,
        out_dir: request.out_dir.clone(),
    };
    let spinner = reporter.spinner("starting the machine");
    let mut last = Instant::now();
    let summary = runner::capture::capture(&spec, &mut |progress| {
        let seconds = progress.virtual_nanos as f64 / 1e9;
        let so_far = format!(
            "{seconds:.1} s of the guest's time, {} M instructions",
            progress.instructions / 1_000_000
        );
        if !reporter.has_bars() && last.elapsed() >= QUIET_INTERVAL {
            last = Instant::now();
            reporter.line(format!("capturing: {so_far}"));
        }
        match progress.console_line {
            Some(line) => spinner.say(format!("{so_far}: {}", printable(&line))),
            None => spinner.say(so_far),
        }
    })?;
    drop(spinner);
    reporter.line(format!(
        "captured after {:.2} s of the guest's time and {} M instructions, {} MiB of memory in use",
        summary.virtual_nanos as f64 / 1e9,
        summary.instructions / 1_000_000,
        summary.stored_bytes >> 20
    ));
    Ok(summary.files.into_iter().map(str::to_owned).collect())
}

/// The guest's words without what would move the terminal's cursor.
fn printable(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(100).collect()
}
