//! QEMU's side: the same guest under its software engine, TCG.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use runner::error::{Failure, Status};
use serde_json::json;

use crate::{
    guest::Guest,
    host_failure,
    process::{LIMIT, Process},
    qmp::{Door, Qmp},
};

/// The program's name.
pub const PROGRAM: &str = "qemu-system-aarch64";

/// What QEMU writes to standard error.
const ERRORS: &str = "qemu.stderr";

/// Time that a guest is given to come to rest once it is ready, before it is saved.
const SETTLE: Duration = Duration::from_secs(3);

/// QEMU's system emulator, a program.
#[derive(Debug)]
pub struct Qemu {
    program: PathBuf,
    /// What it says its version is.
    pub version: String,
}

/// A guest in a file.
#[derive(Debug)]
pub struct Saved(PathBuf);

impl Qemu {
    /// QEMU at `program`, or by that name in the search path.
    ///
    /// # Errors
    /// If it can't be run.
    pub fn find(program: &Path) -> Result<Self, Failure> {
        let output =
            Command::new(program).arg("--version").stdin(Stdio::null()).output().map_err(|error| {
                let failure = host_failure(&format!("can't run {}", program.display()), &error);
                if error.kind() == io::ErrorKind::NotFound {
                    failure.hint("install Debian's package qemu-system-arm, or name another with --qemu")
                } else {
                    failure
                }
            })?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().next() {
            Some(line) if output.status.success() && line.starts_with("QEMU emulator version ") => {
                Ok(Qemu { program: program.to_owned(), version: line.to_owned() })
            }
            _ => Err(Failure::new(Status::Usage, format!("{} is not QEMU", program.display()))),
        }
    }

    /// The machine nearest to ours, with the same devices; `-M virt` has the same layout too.
    fn command(&self, guest: &Guest, serial: &str, errors: &Path) -> Result<Command, Failure> {
        let stderr = File::create(errors).map_err(|error| host_failure("can't write a file", &error))?;
        let mut command = Command::new(&self.program);
        command.args(["-nodefaults", "-no-user-config", "-M", "virt,gic-version=3", "-cpu", "cortex-a57"]);
        command.args(["-accel", "tcg,thread=multi", "-smp", &guest.machine.cpus.to_string()]);
        command.args(["-m", &format!("{}M", guest.machine.memory >> 20)]);
        command.args(["-nic", "none", "-display", "none", "-monitor", "none", "-serial", serial]);
        command.args(["-global", "virtio-mmio.force-legacy=false"]);
        let (width, height) = (guest.machine.width, guest.machine.height);
        command.args(["-device", &format!("virtio-gpu-device,xres={width},yres={height}")]);
        for device in ["virtio-keyboard-device", "virtio-tablet-device", "virtio-rng-device"] {
            command.args(["-device", device]);
        }
        // The private line, to which nobody listens.
        command.args(["-device", "virtio-serial-device", "-chardev", "null,id=line"]);
        command.args(["-device", "virtconsole,chardev=line"]);
        let disk = format!("file={},format=raw,if=none,id=disk,readonly=on", option_value(&guest.disk)?);
        command.args(["-drive", &disk, "-device", "virtio-blk-device,drive=disk"]);
        command.arg("-kernel").arg(&guest.kernel).arg("-initrd").arg(&guest.initrd);
        command.arg("-append").arg(&guest.command_line);
        command.stdout(Stdio::null()).stderr(stderr);
        Ok(command)
    }

    /// Seconds from the start of QEMU to each of the guest's words on its console, the last being that it is ready.
    ///
    /// # Errors
    /// If it does not come.
    pub fn boot(&self, guest: &Guest, work: &Path) -> Result<Vec<(String, f64)>, Failure> {
        self.start_boot(guest, work)?
            .milestones(&guest.marker)
            .map_err(|failure| Self::explain(failure, work))
    }

    /// Adds what the QEMU that was started in `work` wrote to standard error.
    pub fn explain(failure: Failure, work: &Path) -> Failure {
        explain(failure, &work.join(ERRORS))
    }

    /// Starts QEMU, its console read.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn start_boot(&self, guest: &Guest, work: &Path) -> Result<Process, Failure> {
        let command = self.command(guest, "stdio", &work.join(ERRORS))?;
        guest.warm_page_cache()?;
        Process::start_read(command, "QEMU")
    }

    /// Boots `guest`, lets it come to rest and saves it by a migration to a file.
    ///
    /// # Errors
    /// If QEMU does not do it.
    pub fn save(&self, guest: &Guest, work: &Path) -> Result<Saved, Failure> {
        let errors = work.join(ERRORS);
        let path = work.join(format!("qemu-{}.migration", guest.machine.memory));
        self.save_to(guest, &path, work, &errors).map_err(|failure| explain(failure, &errors))?;
        Ok(Saved(path))
    }

    fn save_to(&self, guest: &Guest, path: &Path, work: &Path, errors: &Path) -> Result<(), Failure> {
        let socket = work.join("qmp");
        let door = Door::open(&socket)?;
        let mut command = self.command(guest, "stdio", errors)?;
        command.args(["-qmp", &format!("unix:{}", option_value(&socket)?)]);
        let mut process = Process::start_read(command, "QEMU")?;
        let mut qmp = door.enter(&mut process)?;
        process.seconds_until(&guest.marker)?;
        thread::sleep(SETTLE);
        // As fast as the host can: the file is not the subject.
        qmp.call("migrate-set-parameters", json!({ "max-bandwidth": 4_u64 << 30 }))?;
        // Not stopped before: a guest that was saved running goes on by itself once it is loaded.
        qmp.call("migrate", json!({ "uri": format!("exec:cat > {}", shell_word(path)?) }))?;
        wait_migrated(&mut qmp, &process)?;
        qmp.call("quit", json!({}))?;
        process.wait().map(drop)
    }

    /// Seconds from the start of QEMU until it says that the loaded guest runs.
    ///
    /// # Errors
    /// If it does not.
    pub fn restore(&self, guest: &Guest, saved: &Saved, work: &Path) -> Result<f64, Failure> {
        let errors = work.join(ERRORS);
        self.restore_timed(guest, saved, work, &errors).map_err(|failure| explain(failure, &errors))
    }

    fn restore_timed(
        &self,
        guest: &Guest,
        saved: &Saved,
        work: &Path,
        errors: &Path,
    ) -> Result<f64, Failure> {
        let socket = work.join("qmp");
        let door = Door::open(&socket)?;
        let mut command = self.command(guest, "null", errors)?;
        command.args(["-qmp", &format!("unix:{}", option_value(&socket)?)]);
        command.args(["-incoming", &format!("exec:cat {}", shell_word(&saved.0)?)]);
        let mut process = Process::start(command, "QEMU")?;
        let mut qmp = door.enter(&mut process)?;
        qmp.wait_running()?;
        Ok(process.seconds())
    }
}

fn wait_migrated(qmp: &mut Qmp, process: &Process) -> Result<(), Failure> {
    loop {
        let status = qmp.call("query-migrate", json!({}))?;
        match status["status"].as_str() {
            Some("completed") => return Ok(()),
            Some(end @ ("failed" | "cancelled")) => {
                return Err(Failure::new(Status::Other, format!("QEMU's migration {end}")));
            }
            _ if process.seconds() > LIMIT.as_secs_f64() => {
                return Err(Failure::new(Status::Other, "QEMU's migration does not end"));
            }
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Adds what QEMU wrote to standard error.
fn explain(mut failure: Failure, errors: &Path) -> Failure {
    let mut text = Vec::new();
    // Without it the failure says what it said.
    if File::open(errors).and_then(|file| file.take(4096).read_to_end(&mut text)).is_ok() && !text.is_empty()
    {
        failure.message = format!("{}\n{}", failure.message, String::from_utf8_lossy(&text).trim_end());
    }
    failure
}

/// A path inside a QEMU option, where a comma begins the next field unless it is doubled.
fn option_value(path: &Path) -> Result<String, Failure> {
    Ok(text(path)?.replace(',', ",,"))
}

/// A path inside a shell's command line.
fn shell_word(path: &Path) -> Result<String, Failure> {
    Ok(format!("'{}'", text(path)?.replace('\'', r"'\''")))
}

fn text(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| {
        Failure::new(Status::Usage, format!("{} can't be passed to QEMU: it is not UTF-8", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_qemu_names_its_package() {
        let failure = Qemu::find(Path::new("/nonexistent/qemu")).unwrap_err();
        assert!(failure.hint.is_some_and(|hint| hint.contains("qemu-system-arm")));
    }

    #[test]
    fn another_program_is_not_taken_for_qemu() {
        assert!(Qemu::find(Path::new("true")).is_err());
    }

    #[test]
    fn odd_paths_stay_one_word() {
        assert_eq!(option_value(Path::new("/a,b")).unwrap(), "/a,,b");
        let word = shell_word(Path::new("/it's $x")).unwrap();
        let output = Command::new("sh").args(["-c", &format!("printf %s {word}")]).output().unwrap();
        assert_eq!(output.stdout, b"/it's $x");
    }
}
