//! Makes a warm base: boots a guest in virtual time until it is ready and at
//! rest, and writes down what it has become.
//!
//! Nothing in the outcome depends on the host: time is counted in instructions,
//! entropy is a fixed stream, the wall clock starts at a fixed moment, and the
//! guest is looked at only at fixed points of its own time. Two captures of one
//! specification give the same bytes.

mod watch;

use std::{fs, io, path::PathBuf};

use machine::{engine::StopReport, virtio::VirtioFault, vm::Outcome};

use crate::{
    boot::{self, BootError, BootSpec},
    console::Console,
    entropy::FixedEntropy,
    live::SoftVm,
    memory_image,
    picture::{self, Frame},
    snapshot::{self, CONSOLE_FILE, MEMORY_FILE, SCREEN_FILE, STATE_FILE, Snapshot},
    spec::MachineSpec,
};
use watch::{Verdict, Watch};

/// The wall clock at the start of every capture: 2026-01-01T00:00:00Z. A
/// restore sets it right.
const WALL_SECONDS: u64 = 1_767_225_600;

/// Names the stream of entropy of every capture.
const ENTROPY: &str = "samovar capture 1";

/// Guest time between two looks at the guest.
const SLICE_NANOS: u64 = 10_000_000;

/// What is captured, and when.
#[derive(Clone, Debug)]
pub struct CaptureSpec {
    /// The kernel, an arm64 Image.
    pub kernel: PathBuf,
    /// The initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// The disk's image.
    pub disk: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// The machine.
    pub machine: MachineSpec,
    /// What the guest does when it is ready. It is captured when after that the
    /// screen has held still and every vCPU waits for an interrupt.
    pub ready: Ready,
    /// How long all that may take, in seconds of the guest's time.
    pub limit_seconds: u64,
    /// Where the files go; the directory exists and has none of them.
    pub out_dir: PathBuf,
}

/// How a guest says that it is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It writes this text to its serial console.
    Console(String),
}

/// How far a capture is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureProgress {
    /// Instructions retired so far.
    pub instructions: u64,
    /// The guest's time.
    pub virtual_nanos: u64,
    /// A line that the guest has just written to its console.
    pub console_line: Option<String>,
}

/// What a capture made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Instructions retired.
    pub instructions: u64,
    /// The guest's time at the capture.
    pub virtual_nanos: u64,
    /// The guest's time when it said that it was ready.
    pub ready_nanos: u64,
    /// Bytes of memory that are not in holes.
    pub stored_bytes: u64,
    /// Names of the files, in [`CaptureSpec::out_dir`].
    pub files: Vec<&'static str>,
}

/// Why there is no capture.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The guest can't be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// There is no text to wait for.
    #[error("the text by which the guest says that it is ready is empty")]
    NoMarker,
    /// The guest took too long.
    #[error("after {seconds} s of the guest's time {what}{evidence}")]
    TimedOut {
        /// The limit.
        seconds: u64,
        /// What had not happened.
        what: &'static str,
        /// Where the last screen and console are.
        evidence: Evidence,
    },
    /// The guest's kernel panicked.
    #[error("the guest's kernel panicked{evidence}")]
    Panicked {
        /// The console's last lines.
        lines: Vec<String>,
        /// Where the last screen and console are.
        evidence: Evidence,
    },
    /// The guest powered off or restarted before it was ready.
    #[error("the guest {how} before it was ready{evidence}")]
    Ended {
        /// What it did.
        how: &'static str,
        /// Where the last screen and console are.
        evidence: Evidence,
    },
    /// The engine met what it doesn't implement.
    #[error("the engine met something it does not implement: {report}{evidence}")]
    Stopped {
        /// What it was.
        report: StopReport,
        /// Where the last screen and console are.
        evidence: Evidence,
    },
    /// The guest drove a device wrong.
    #[error("the guest drove a device wrong: {fault}{evidence}")]
    Faulted {
        /// What it did.
        fault: VirtioFault,
        /// Where the last screen and console are.
        evidence: Evidence,
    },
    /// A file can't be written.
    #[error("can't write {}: {error}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl CaptureError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            CaptureError::Boot(error) => error.hint(),
            CaptureError::TimedOut { .. } => {
                "look at the picture and console that were kept, or allow more time"
            }
            CaptureError::Panicked { .. } | CaptureError::Ended { .. } => {
                "look at the picture and console that were kept; what the guest starts is at fault"
            }
            CaptureError::Stopped { .. } => {
                "please report this line; it is a gap in the engine, not in your guest"
            }
            CaptureError::Faulted { .. } => "this is a fault of the guest's driver, or an attack",
            CaptureError::NoMarker => "name a text in the recipe's warm-base.ready",
            CaptureError::Write { .. } => "check the permissions there, and the disk",
        }
    }
}

/// Where the last screen and console of a failed capture were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence(pub Option<PathBuf>);

impl std::fmt::Display for Evidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Some(dir) => write!(f, "; its last screen and console are in {}", dir.display()),
            None => Ok(()),
        }
    }
}

/// Boots a guest, waits until it is ready and at rest, and writes `memory.img`,
/// `state.json` and `screen.png`. `progress` is called about every 10 ms of the
/// guest's time and with every line of its console.
///
/// # Errors
/// Says why there is none; none of the files is left then.
pub fn capture(
    spec: &CaptureSpec,
    progress: &mut dyn FnMut(CaptureProgress),
) -> Result<CaptureSummary, CaptureError> {
    let Ready::Console(text) = &spec.ready;
    if text.is_empty() {
        return Err(CaptureError::NoMarker);
    }
    let boot = BootSpec {
        kernel: spec.kernel.clone(),
        initrd: spec.initrd.clone(),
        disk: spec.disk.clone(),
        command_line: spec.command_line.clone(),
        machine: spec.machine,
    };
    let vm = boot::build(&boot, Box::new(FixedEntropy::new(ENTROPY)), WALL_SECONDS)?;
    let mut capture = Capture { vm, console: Console::default(), spec };
    let ready_nanos = capture.run(progress)?;
    capture.write(ready_nanos).inspect_err(|_| snapshot::remove(&spec.out_dir))
}

struct Capture<'a> {
    vm: SoftVm,
    console: Console,
    spec: &'a CaptureSpec,
}

impl Capture<'_> {
    /// Runs until the guest is ready and at rest; returns when it was ready.
    fn run(&mut self, progress: &mut dyn FnMut(CaptureProgress)) -> Result<u64, CaptureError> {
        let mut watch = Watch::new(&self.spec.ready, self.spec.limit_seconds);
        loop {
            let now = self.vm.now();
            let outcome = self.slice(now - now % SLICE_NANOS + SLICE_NANOS);
            let bytes = self.vm.machine.take_serial_output();
            let (instructions, now) = (self.vm.retired(), self.vm.now());
            for line in self.console.push(&bytes) {
                progress(CaptureProgress { instructions, virtual_nanos: now, console_line: Some(line) });
            }
            progress(CaptureProgress { instructions, virtual_nanos: now, console_line: None });
            let idle = match outcome {
                Outcome::Running | Outcome::Breakpoint { .. } | Outcome::Stepped { .. } => false,
                Outcome::Idle { .. } => true,
                Outcome::PoweredOff | Outcome::Reset if self.console.panicked() => {
                    return Err(self.panicked());
                }
                Outcome::PoweredOff => return Err(self.ended("powered off")),
                Outcome::Reset => return Err(self.ended("restarted")),
                Outcome::Stopped(report) => {
                    return Err(CaptureError::Stopped { report, evidence: self.keep_evidence() });
                }
                Outcome::Faulted(fault) => {
                    return Err(CaptureError::Faulted { fault, evidence: self.keep_evidence() });
                }
            };
            let screen = self.vm.machine.screen().generation;
            match watch.look(now, &mut self.console, screen, idle) {
                Verdict::Wait => {}
                Verdict::AtRest { ready_nanos } => return Ok(ready_nanos),
                Verdict::TooLate(what) => {
                    let seconds = self.spec.limit_seconds;
                    return Err(CaptureError::TimedOut { seconds, what, evidence: self.keep_evidence() });
                }
                Verdict::Panicked => return Err(self.panicked()),
            }
        }
    }

    /// Runs until guest time `until`: time in which every vCPU waits is skipped.
    /// Idle means that they wait at the end.
    fn slice(&mut self, until: u64) -> Outcome {
        loop {
            match self.vm.run(until) {
                Outcome::Idle { until: Some(event) } if event < until => self.vm.advance_to(event),
                Outcome::Idle { until: event } => {
                    self.vm.advance_to(until);
                    return Outcome::Idle { until: event };
                }
                outcome => return outcome,
            }
        }
    }

    fn write(&mut self, ready_nanos: u64) -> Result<CaptureSummary, CaptureError> {
        let at = |file: &str| self.spec.out_dir.join(file);
        let failed = |path: PathBuf| move |error| CaptureError::Write { path, error };
        let snapshot = Snapshot::new(self.spec.machine, self.spec.disk.is_some(), self.vm.save());
        let path = at(STATE_FILE);
        snapshot.write(&path).map_err(failed(path))?;
        let path = at(MEMORY_FILE);
        let stored_bytes = memory_image::write(self.vm.machine.memory(), &path).map_err(failed(path))?;
        let path = at(CONSOLE_FILE);
        fs::write(&path, self.console.recent()).map_err(failed(path))?;
        let mut files = vec![MEMORY_FILE, STATE_FILE, CONSOLE_FILE];
        if let Some(frame) = Frame::of(self.vm.machine.screen()) {
            let path = at(SCREEN_FILE);
            picture::save(&frame, &path).map_err(failed(path))?;
            files.push(SCREEN_FILE);
        }
        Ok(CaptureSummary {
            instructions: self.vm.retired(),
            virtual_nanos: self.vm.now(),
            ready_nanos,
            stored_bytes,
            files,
        })
    }

    fn panicked(&self) -> CaptureError {
        CaptureError::Panicked { lines: self.console.last_lines(), evidence: self.keep_evidence() }
    }

    fn ended(&self, how: &'static str) -> CaptureError {
        CaptureError::Ended { how, evidence: self.keep_evidence() }
    }

    /// Keeps the last screen and console in a directory that stays. Its failure
    /// must not hide the error that it illustrates.
    fn keep_evidence(&self) -> Evidence {
        let keep = || -> io::Result<PathBuf> {
            let dir = tempfile::Builder::new().prefix("samovar-capture-").tempdir()?;
            fs::write(dir.path().join(CONSOLE_FILE), self.console.recent())?;
            if let Some(frame) = Frame::of(self.vm.machine.screen()) {
                picture::save(&frame, &dir.path().join(SCREEN_FILE))?;
            }
            Ok(dir.keep())
        };
        Evidence(keep().ok())
    }
}
