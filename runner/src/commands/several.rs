//! `runner restore -n N`: several sessions of one warm base.
//!
//! Each is a process of its own over the same file, whose unchanged pages they share in the host's page cache. A guest
//! that broke out of its machine would find no other session in its process, and each window lives and dies by itself.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use super::restore::Args;
use crate::error::{Failure, Status};

/// What stands for the number of each in the name of a file.
const NUMBER: &str = "{n}";

/// Restores `args.copies` sessions, and waits for all of them.
///
/// # Errors
/// If the command line gives two of them one file, a process can't be started, or a session ended badly.
pub fn run(args: &Args) -> Result<(), Failure> {
    for (option, path) in
        [("report", &args.report), ("console", &args.console), ("screenshot", &args.show.screenshot)]
    {
        if path.as_ref().is_some_and(|path| !path.to_string_lossy().contains(NUMBER)) {
            return Err(Failure::new(
                Status::Usage,
                format!("--{option} names one file for {} sessions", args.copies),
            )
            .hint(format!("put {NUMBER} into its name: it stands for the number of each")));
        }
    }
    let host = |error| Failure::new(Status::Host, format!("can't start a session's process: {error}"));
    let program = env::current_exe().map_err(host)?;
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).map_err(host)?;
    let mut children = Vec::new();
    for number in 1..=args.copies {
        match Command::new(&program).args(arguments(args, number)).spawn() {
            Ok(child) => children.push(child),
            Err(error) => {
                end_all(&children);
                wait_for_all(children);
                return Err(host(error));
            }
        }
    }
    let pids: Vec<Pid> = children.iter().filter_map(pid).collect();
    thread::spawn(move || {
        for _ in signals.forever() {
            end(&pids);
        }
    });
    for (status, number) in wait_for_all(children).into_iter().zip(1..) {
        let session = format!("session {number} of {}", args.copies);
        let status = status
            .map_err(|error| Failure::new(Status::Host, format!("{session} can't be waited for: {error}")))?;
        if !status.success() {
            return Err(Failure::new(
                Status::from_code(status.code()),
                format!("{session} ended with {status}"),
            )
            .hint("its own message is above"));
        }
    }
    Ok(())
}

/// The command line of session `number`.
fn arguments(args: &Args, number: u16) -> Vec<OsString> {
    let mut line: Vec<OsString> = vec!["restore".into(), numbered(&args.artifact, None).into()];
    let mut file = |option: &str, path: &Option<PathBuf>| {
        line.extend(path.iter().flat_map(|path| [option.into(), numbered(path, Some(number)).into()]));
    };
    file("--report", &args.report);
    file("--console", &args.console);
    file("--screenshot", &args.show.screenshot);
    file("--script", &args.show.script);
    let mut text = |option: &str, value: Option<String>| {
        line.extend(value.into_iter().flat_map(|value| [option.into(), value.into()]));
    };
    text("--url", args.url.clone());
    text("--layout", args.layout.clone());
    text("--after", args.show.after.map(|after| format!("{}ms", after.as_millis())));
    text("--scheduler", Some(args.show.scheduler.to_string()));
    text("--engine", Some(args.show.engine.to_string()));
    line.extend(args.show.headless.then(|| "--headless".into()));
    line
}

fn numbered(path: &Path, number: Option<u16>) -> PathBuf {
    match (number, path.to_str()) {
        (Some(number), Some(text)) => text.replace(NUMBER, &number.to_string()).into(),
        // A name that is not UTF-8 has no place for a number.
        _ => path.to_owned(),
    }
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

fn end_all(children: &[Child]) {
    end(&children.iter().filter_map(pid).collect::<Vec<_>>());
}

/// Asks processes to end. One that has ended is no longer there to ask.
fn end(pids: &[Pid]) {
    for pid in pids {
        let _ = kill_process(*pid, Signal::TERM);
    }
}

/// How each ended, in their order.
fn wait_for_all(children: Vec<Child>) -> Vec<io::Result<ExitStatus>> {
    children.into_iter().map(|mut child| child.wait()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Cli;
    use clap::Parser;

    fn args(line: &[&str]) -> Args {
        let cli = Cli::try_parse_from(["runner", "restore", "artifacts/abc"].iter().chain(line)).unwrap();
        cli.into_restore().unwrap()
    }

    #[test]
    fn each_has_the_whole_command_line_with_its_number() {
        let line = [
            "-n",
            "3",
            "--headless",
            "--scheduler",
            "lockstep",
            "--screenshot",
            "s-{n}.png",
            "--after",
            "2s",
            "--report",
            "{n}/{n}.json",
            "--url",
            "about:home",
            "--layout",
            "de",
        ];
        let one = arguments(&args(&line), 2);
        let parsed = args(&one[2..].iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>());
        assert_eq!(parsed.copies, 1);
        assert_eq!(parsed.report.unwrap(), Path::new("2/2.json"));
        assert_eq!(parsed.show.screenshot.unwrap(), Path::new("s-2.png"));
        assert_eq!(parsed.show.after.unwrap().as_secs(), 2);
        assert_eq!((parsed.url.unwrap(), parsed.layout.unwrap()), ("about:home".into(), "de".into()));
        assert!(parsed.show.headless);
    }

    #[test]
    fn one_file_for_all_is_refused() {
        let failure = run(&args(&["-n", "2", "--report", "r.json"])).unwrap_err();
        assert_eq!(failure.status, Status::Usage);
        assert!(failure.hint.unwrap().contains(NUMBER));
    }
}
