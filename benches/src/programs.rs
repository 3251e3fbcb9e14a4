//! Programs that are run to their end, and files around them.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Instant,
};

use runner::error::{Failure, Status};

use crate::host_failure;

/// The builder beside this program.
///
/// # Errors
/// If there is none.
pub fn samovar() -> Result<PathBuf, Failure> {
    let samovar = env::current_exe()
        .map_err(|error| host_failure("can't find this program", &error))?
        .with_file_name("samovar");
    if samovar.is_file() {
        return Ok(samovar);
    }
    let what = format!("there is no samovar at {}", samovar.display());
    Err(Failure::new(Status::Usage, what).hint("cargo build --release -p samovar"))
}

/// The first line of what a program says of its version.
///
/// # Errors
/// If it is not there; the hint names Debian's `package`.
pub fn version(program: &str, option: &str, package: &str) -> Result<String, Failure> {
    let output = Command::new(program).arg(option).stdin(Stdio::null()).output().map_err(|error| {
        host_failure(&format!("can't run {program}"), &error)
            .hint(format!("install Debian's package {package}; root has it in the search path"))
    })?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().next().unwrap_or(program).trim().to_owned())
}

/// Runs it to its end.
///
/// # Errors
/// If it can't be started, or fails; with what it wrote to standard error.
pub fn finish(mut command: Command, name: &str) -> Result<Output, Failure> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| host_failure(&format!("can't run {name}"), &error))?;
    if output.status.success() {
        return Ok(output);
    }
    let what = format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    Err(Failure::new(Status::Other, what))
}

/// Seconds from its start to its end.
///
/// # Errors
/// As [`finish`]'s.
pub fn timed(command: Command, name: &str) -> Result<f64, Failure> {
    let started = Instant::now();
    finish(command, name)?;
    Ok(started.elapsed().as_secs_f64())
}

/// Makes `dir` empty.
///
/// # Errors
/// If the host refuses.
pub fn emptied(dir: &Path) -> Result<(), Failure> {
    let failed = |error: io::Error| host_failure(&format!("can't empty {}", dir.display()), &error);
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    fs::create_dir_all(dir).map_err(failed)
}

/// Bytes of disk that a file takes.
///
/// # Errors
/// If it can't be looked at.
pub fn allocated(path: &Path) -> Result<u64, Failure> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(path)
        .map_err(|error| host_failure(&format!("can't read {}", path.display()), &error))?;
    Ok(meta.blocks() * 512)
}
