//! This project's side: the runner as a program, and its engine by itself.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use runner::{
    capture::{CaptureSpec, Ready, capture as run_capture},
    error::{Failure, Status},
};
use serde::Deserialize;

use crate::{guest::Guest, host_failure, process::Process, stats::Samples};

/// How long a guest may take to be ready, in seconds of its own time.
const LIMIT_SECONDS: u64 = 300;

/// The runner, a program.
#[derive(Debug)]
pub struct Runner {
    program: PathBuf,
}

/// What `runner restore --report` writes, as far as it is used here.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// Microseconds from the start of `main` to the end of each phase.
    #[serde(flatten)]
    pub phases: Phases,
    resets_us: Vec<u64>,
}

/// The phases of a restore, in order.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs)] // the runner's own documentation of the report has them
pub struct Phases {
    pub opened_us: f64,
    pub mapped_us: f64,
    pub devices_us: f64,
    pub state_us: f64,
    pub first_frame_us: f64,
    pub first_instruction_us: f64,
}

/// One boot on the engine alone.
#[derive(Clone, Copy, Debug)]
pub struct EngineBoot {
    /// Host time.
    pub seconds: f64,
    /// Instructions that the guest retired.
    pub instructions: u64,
}

/// Boots on the engine alone.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    /// Host time.
    pub seconds: Samples,
    /// Millions of instructions.
    pub instructions: Samples,
    /// Millions of instructions a second of host time.
    pub mips: Samples,
}

impl Engine {
    /// Adds a boot.
    pub fn push(&mut self, boot: EngineBoot) {
        let millions = boot.instructions as f64 / 1e6;
        self.seconds.push(boot.seconds);
        self.instructions.push(millions);
        self.mips.push(millions / boot.seconds);
    }
}

impl Runner {
    /// The runner that was asked for, or the one beside this program.
    ///
    /// # Errors
    /// If it is not there.
    pub fn find(asked: Option<&Path>) -> Result<Self, Failure> {
        let program = match asked {
            Some(path) => path.to_owned(),
            None => env::current_exe()
                .map_err(|error| host_failure("can't find this program", &error))?
                .with_file_name("runner"),
        };
        if !program.is_file() {
            let what = format!("there is no runner at {}", program.display());
            return Err(Failure::new(Status::Usage, what).hint("cargo build --release -p runner"));
        }
        Ok(Runner { program })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.stdout(Stdio::null());
        command
    }

    /// Seconds from the start of `runner boot` to each of the guest's words on its console, the last being that it is
    /// ready.
    ///
    /// # Errors
    /// If it does not come.
    pub fn boot(&self, guest: &Guest) -> Result<Vec<(String, f64)>, Failure> {
        self.start_boot(guest)?.milestones(&guest.marker)
    }

    /// Starts `runner boot`, its output read.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn start_boot(&self, guest: &Guest) -> Result<Process, Failure> {
        let mut command = self.command();
        command.arg("boot").arg("--kernel").arg(&guest.kernel).arg("--initrd").arg(&guest.initrd);
        command.arg("--disk").arg(&guest.disk).arg("--append").arg(&guest.command_line).arg("--headless");
        let machine = &guest.machine;
        command.arg("--cpus").arg(machine.cpus.to_string()).arg("--memory").arg(machine.memory.to_string());
        command.arg("--display").arg(format!("{}x{}", machine.width, machine.height));
        guest.warm_page_cache()?;
        Process::start_read(command, "runner boot")
    }

    /// Seconds that the program takes to start, print its version and be gone.
    ///
    /// # Errors
    /// If it fails.
    pub fn start(&self) -> Result<f64, Failure> {
        let mut command = self.command();
        command.arg("--version").stdin(Stdio::null());
        let started = Instant::now();
        let status = command.status().map_err(|error| host_failure("can't start the runner", &error))?;
        let seconds = started.elapsed().as_secs_f64();
        if status.success() {
            Ok(seconds)
        } else {
            Err(Failure::new(Status::Other, format!("runner --version failed: {status}")))
        }
    }

    /// What a restore of `artifact` cost.
    ///
    /// # Errors
    /// If it fails.
    pub fn restore(&self, artifact: &Path, work: &Path) -> Result<Report, Failure> {
        self.play(artifact, "wait 50ms\n", work)
    }

    /// Milliseconds of each of `count` resets in place, the guest having run in between.
    ///
    /// # Errors
    /// If it fails.
    pub fn resets(&self, artifact: &Path, count: u32, work: &Path) -> Result<Samples, Failure> {
        let script = "wait 50ms\nreset\n".repeat(count as usize);
        let report = self.play(artifact, &script, work)?;
        if report.resets_us.len() != count as usize {
            let what = format!("{} of {count} resets were reported", report.resets_us.len());
            return Err(Failure::new(Status::Other, what));
        }
        Ok(report.resets_us.iter().map(|&micros| micros as f64 / 1e3).collect())
    }

    fn play(&self, artifact: &Path, script: &str, work: &Path) -> Result<Report, Failure> {
        let (script_file, report_file) = (work.join("script"), work.join("report.json"));
        fs::write(&script_file, script).map_err(|error| host_failure("can't write a script", &error))?;
        let mut command = self.command();
        command.arg("restore").arg(artifact).arg("--headless");
        command.arg("--script").arg(&script_file).arg("--report").arg(&report_file);
        let status = Process::start(command, "runner restore")?.wait()?;
        if !status.success() {
            return Err(Failure::new(Status::Other, format!("runner restore failed: {status}")));
        }
        let text = fs::read(&report_file).map_err(|error| host_failure("can't read the report", &error))?;
        serde_json::from_slice(&text)
            .map_err(|error| Failure::new(Status::Other, format!("the report is not as expected: {error}")))
    }
}

/// Boots `guest` on the engine alone, in this process and in virtual time.
/// What it captures is thrown away.
///
/// # Errors
/// If the guest does not get ready.
pub fn capture(guest: &Guest, dir: &Path) -> Result<EngineBoot, Failure> {
    fs::create_dir(dir).map_err(|error| host_failure("can't make a directory", &error))?;
    let (boot, _) = capture_in(guest, dir)?;
    fs::remove_dir_all(dir).map_err(|error| host_failure("can't remove a directory", &error))?;
    Ok(boot)
}

/// Captures a warm base of `guest`; the names of its files, which are in `dir`.
///
/// # Errors
/// If the guest does not get ready.
pub fn capture_files(guest: &Guest, dir: &Path) -> Result<Vec<&'static str>, Failure> {
    capture_in(guest, dir).map(|(_, files)| files)
}

fn capture_in(guest: &Guest, dir: &Path) -> Result<(EngineBoot, Vec<&'static str>), Failure> {
    let spec = CaptureSpec {
        kernel: guest.kernel.clone(),
        initrd: Some(guest.initrd.clone()),
        disk: Some(guest.disk.clone()),
        command_line: guest.command_line.clone(),
        machine: guest.machine,
        ready: Ready::Console(guest.marker.clone()),
        limit_seconds: LIMIT_SECONDS,
        out_dir: dir.to_owned(),
    };
    guest.warm_page_cache()?;
    let started = Instant::now();
    let mut boot = None;
    let summary = run_capture(&spec, &mut |progress| {
        if boot.is_none() && progress.console_line.is_some_and(|line| line.contains(&guest.marker)) {
            let seconds = started.elapsed().as_secs_f64();
            boot = Some(EngineBoot { seconds, instructions: progress.instructions });
        }
    });
    let summary = summary.map_err(|error| Failure::new(Status::Other, error))?;
    let boot = boot.ok_or_else(|| Failure::new(Status::Other, "the guest was ready without a word"))?;
    Ok((boot, summary.files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_runner_is_named() {
        let error = Runner::find(Some(Path::new("/nonexistent/runner"))).unwrap_err();
        assert!(error.message.contains("/nonexistent/runner") && error.hint.is_some());
    }

    #[test]
    fn the_runners_own_report_is_understood() {
        let mut report = runner::report::Report::default();
        let unfinished = serde_json::to_string(&report).unwrap();
        assert!(serde_json::from_str::<Report>(&unfinished).is_err(), "a phase is missing");
        let phases = [
            &mut report.opened_us,
            &mut report.mapped_us,
            &mut report.devices_us,
            &mut report.state_us,
            &mut report.first_frame_us,
            &mut report.first_instruction_us,
        ];
        phases.into_iter().zip(1..).for_each(|(phase, us)| *phase = Some(us));
        report.resets_us = vec![8, 9];
        let read: Report = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
        assert_eq!(read.resets_us, [8, 9]);
        assert_eq!((read.phases.opened_us, read.phases.first_instruction_us), (1.0, 6.0));
    }

    #[test]
    fn mips() {
        let mut engine = Engine::default();
        engine.push(EngineBoot { seconds: 2.0, instructions: 300_000_000 });
        assert_eq!(engine.mips.median(), Some(150.0));
    }
}
