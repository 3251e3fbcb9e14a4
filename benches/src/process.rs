//! Programs that are timed from outside.

use std::{
    io::Read,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use runner::error::{Failure, Status};

use crate::host_failure;

/// Nothing that is measured takes as long.
pub const LIMIT: Duration = Duration::from_secs(300);

/// Bytes of output that an error shows.
const SHOWN: usize = 2000;

/// A program that ends no later than the value that holds it.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    started: Instant,
    output: Option<Receiver<(Instant, Vec<u8>)>>,
}

impl Process {
    /// Starts `command` without input.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn start(mut command: Command, name: &str) -> Result<Self, Failure> {
        command.stdin(Stdio::null());
        let started = Instant::now();
        let child = command.spawn().map_err(|error| host_failure(&format!("can't start {name}"), &error))?;
        Ok(Process { child, name: name.to_owned(), started, output: None })
    }

    /// Starts `command` without input and reads what it writes to standard output.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn start_read(mut command: Command, name: &str) -> Result<Self, Failure> {
        command.stdout(Stdio::piped());
        let mut process = Self::start(command, name)?;
        let Some(mut stdout) = process.child.stdout.take() else {
            return Err(Failure::new(Status::Host, format!("{name} has no standard output")));
        };
        let (send, receive) = mpsc::channel();
        // It ends with the pipe, so with the program.
        thread::spawn(move || {
            let mut buf = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut buf) {
                if send.send((Instant::now(), buf[..n].to_vec())).is_err() {
                    break;
                }
            }
        });
        process.output = Some(receive);
        Ok(process)
    }

    /// Seconds from before its start to now.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Waits until its output has held `text`; the seconds from its start to
    /// the arrival of the last byte of it.
    ///
    /// # Errors
    /// If it ends before, or takes longer than [`LIMIT`].
    pub fn seconds_until(&mut self, text: &str) -> Result<f64, Failure> {
        let mut seen = Vec::new();
        let wanted = format!("write {text:?}");
        loop {
            let (at, bytes) = self.output(&wanted, || String::from_utf8_lossy(&seen).into_owned())?;
            seen.extend(bytes);
            if seen.windows(text.len()).any(|window| window == text.as_bytes()) {
                return Ok(at.saturating_duration_since(self.started).as_secs_f64());
            }
            // The text may be cut by the end of a read.
            let excess = seen.len().saturating_sub(SHOWN.max(text.len()));
            seen.drain(..excess);
        }
    }

    /// Waits for the line of its output that holds `marker`, such as `guest: ready`; what it said on the way and the
    /// seconds from its start, the marker last. On the way is each line of one word with the same beginning, such as
    /// `guest: starting`.
    ///
    /// # Errors
    /// If it ends before, or takes longer than [`LIMIT`].
    pub fn milestones(&mut self, marker: &str) -> Result<Vec<(String, f64)>, Failure> {
        let beginning = marker.find(": ").map(|end| &marker[..end + 2]);
        let mut reached = Vec::new();
        self.follow(|_, since_start, line| {
            let line = line.trim();
            let there = line.contains(marker);
            let word = beginning.and_then(|beginning| line.strip_prefix(beginning));
            if there {
                reached.push((marker.to_owned(), since_start));
            } else if word
                .is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase()) && !word.is_empty())
            {
                reached.push((line.to_owned(), since_start));
            }
            there
        })?;
        Ok(reached)
    }

    /// Calls `line` with each line of its output, when it came and how many seconds after the start, until that is true.
    ///
    /// # Errors
    /// If it ends before, or takes longer than [`LIMIT`].
    pub fn follow(&mut self, mut line: impl FnMut(Instant, f64, &str) -> bool) -> Result<(), Failure> {
        let mut last = String::new();
        let mut part = Vec::new();
        loop {
            let (at, bytes) = self.output("come to its end", || last.clone())?;
            let since_start = at.saturating_duration_since(self.started).as_secs_f64();
            for byte in bytes {
                if byte != b'\n' {
                    part.push(byte);
                    continue;
                }
                last = String::from_utf8_lossy(&part).into_owned();
                part.clear();
                if line(at, since_start, &last) {
                    return Ok(());
                }
            }
        }
    }

    /// What it writes next, and when. If it writes no more it did not `do_this`, and `tail` is what it wrote last.
    fn output(&self, do_this: &str, tail: impl Fn() -> String) -> Result<(Instant, Vec<u8>), Failure> {
        let Some(output) = &self.output else {
            return Err(Failure::new(Status::Other, format!("the output of {} is not read", self.name)));
        };
        output.recv_timeout(LIMIT.saturating_sub(self.started.elapsed())).map_err(|error| {
            let how = match error {
                RecvTimeoutError::Timeout => format!("within {} s", LIMIT.as_secs()),
                RecvTimeoutError::Disconnected => "before it ended".to_owned(),
            };
            let what = format!("{} did not {do_this} {how}; its last words:\n{}", self.name, tail());
            Failure::new(Status::Other, what)
        })
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it takes longer than [`LIMIT`].
    pub fn wait(&mut self) -> Result<ExitStatus, Failure> {
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) if self.started.elapsed() < LIMIT => thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    let what = format!("{} did not end within {} s", self.name, LIMIT.as_secs());
                    return Err(Failure::new(Status::Other, what));
                }
                Err(error) => return Err(host_failure(&format!("can't wait for {}", self.name), &error)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start_read(command, "sh").unwrap()
    }

    #[test]
    fn text_is_found_across_reads() {
        let mut process = shell("printf 'samovar: re'; sleep 0.2; echo ady; sleep 60");
        let seconds = process.seconds_until("samovar: ready").unwrap();
        assert!((0.2..30.0).contains(&seconds), "{seconds}");
    }

    #[test]
    fn milestones_are_the_lines_of_one_word_up_to_the_marker() {
        let mut process = shell(
            "echo 'x: early words'; echo 'x: one'; echo 'y: two'; echo 'x: '; printf 'x: ready\\r\\n'; echo 'x: late'; sleep 60",
        );
        let reached = process.milestones("x: ready").unwrap();
        assert_eq!(reached.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x: one", "x: ready"]);
        assert!(reached[0].1 <= reached[1].1);
        let mut process = shell("echo tea; echo ready; sleep 60");
        assert_eq!(process.milestones("ready").unwrap().len(), 1);
    }

    #[test]
    fn an_early_end_shows_the_last_words() {
        let error = shell("echo no such disk").seconds_until("ready").unwrap_err();
        assert!(error.message.contains("no such disk") && error.message.contains("ended"), "{error}");
    }

    #[test]
    fn a_program_does_not_outlive_its_value() {
        let mut process = shell("echo $$; exec sleep 1000");
        process.seconds_until("\n").unwrap();
        let proc_dir = format!("/proc/{}", process.child.id());
        assert!(std::path::Path::new(&proc_dir).exists());
        drop(process);
        assert!(!std::path::Path::new(&proc_dir).exists());
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(Process::start(Command::new("/nonexistent"), "it").is_err());
    }
}
