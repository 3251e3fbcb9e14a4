//! A client of QEMU's control protocol, QMP: JSON objects, one a line.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use runner::error::{Failure, Status};
use serde_json::{Value, json};

use crate::{
    host_failure,
    process::{LIMIT, Process},
};

/// The longest message that is read.
const MAX_MESSAGE: u64 = 1 << 20;

/// A place where one QEMU connects to.
#[derive(Debug)]
pub struct Door(UnixListener);

/// A connection with QEMU.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// The guest began to run: event RESUME came.
    resumed: bool,
}

impl Door {
    /// A door at `path`, in place of one that was there.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listener.map(Door).map_err(failed)
    }

    /// Waits for `qemu` and greets it.
    ///
    /// # Errors
    /// If it ends before, or does not speak QMP.
    pub fn enter(&self, qemu: &mut Process) -> Result<Qmp, Failure> {
        let start = Instant::now();
        let stream = loop {
            match self.0.accept() {
                Ok((stream, _)) => break stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(failed(error)),
            }
            if qemu.has_ended() || start.elapsed() > LIMIT {
                return Err(Failure::new(Status::Other, "QEMU did not open its control connection"));
            }
            thread::sleep(Duration::from_micros(100));
        };
        Qmp::greet(stream)
    }
}

impl Qmp {
    fn greet(stream: UnixStream) -> Result<Self, Failure> {
        stream.set_nonblocking(false).map_err(failed)?;
        stream.set_read_timeout(Some(LIMIT)).map_err(failed)?;
        let writer = stream.try_clone().map_err(failed)?;
        let mut qmp = Qmp { reader: BufReader::new(stream), writer, resumed: false };
        if qmp.read()?.get("QMP").is_none() {
            return Err(Failure::new(Status::Other, "QEMU did not greet"));
        }
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Executes `command` and returns what it returns.
    ///
    /// # Errors
    /// If QEMU refuses it or is gone.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value, Failure> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.writer.write_all(line.as_bytes()).map_err(failed)?;
        loop {
            let mut message = self.read()?;
            if let Some(value) = message.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = message.get("error") {
                let what =
                    format!("QEMU refuses {command}: {}", error["desc"].as_str().unwrap_or("no reason"));
                return Err(Failure::new(Status::Other, what));
            }
        }
    }

    /// Waits until the guest runs.
    ///
    /// # Errors
    /// If QEMU is gone.
    pub fn wait_running(&mut self) -> Result<(), Failure> {
        // It may have begun before there was a connection to say so.
        let status = self.call("query-status", json!({}))?;
        if status["status"] == "running" {
            return Ok(());
        }
        while !self.resumed {
            self.read()?;
        }
        Ok(())
    }

    fn read(&mut self) -> Result<Value, Failure> {
        let mut line = Vec::new();
        (&mut self.reader).take(MAX_MESSAGE).read_until(b'\n', &mut line).map_err(failed)?;
        if line.is_empty() {
            return Err(Failure::new(Status::Other, "QEMU closed its control connection"));
        }
        let message: Value = serde_json::from_slice(&line)
            .map_err(|error| Failure::new(Status::Other, format!("QEMU's message is no JSON: {error}")))?;
        self.resumed |= message["event"] == "RESUME";
        Ok(message)
    }
}

fn failed(error: std::io::Error) -> Failure {
    host_failure("the control connection to QEMU failed", &error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and a QEMU that greets, agrees, and then says `lines`.
    fn talk(lines: &[&str]) -> Qmp {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let greeting = [r#"{"QMP": {"version": {}}}"#, r#"{"return": {}}"#];
        let lines: Vec<String> = greeting.iter().chain(lines).map(|&line| line.to_owned()).collect();
        thread::spawn(move || {
            for line in lines {
                writeln!(theirs, "{line}").unwrap();
            }
            // What the client sends must not fail for want of a reader.
            let _ = theirs.shutdown(std::net::Shutdown::Write);
            let _ = std::io::copy(&mut theirs, &mut std::io::sink());
        });
        Qmp::greet(ours).unwrap()
    }

    #[test]
    fn events_may_come_before_the_answer() {
        let mut qmp = talk(&[r#"{"event": "STOP"}"#, r#"{"return": {"status": "paused"}}"#]);
        assert_eq!(qmp.call("query-status", json!({})).unwrap()["status"], "paused");
    }

    #[test]
    fn a_guest_runs_by_status_or_event() {
        talk(&[r#"{"return": {"status": "running"}}"#]).wait_running().unwrap();
        let inmigrate = r#"{"return": {"status": "inmigrate"}}"#;
        talk(&[inmigrate, r#"{"event": "RESUME"}"#]).wait_running().unwrap();
        talk(&[r#"{"event": "RESUME"}"#, inmigrate]).wait_running().unwrap();
        assert!(talk(&[inmigrate, r#"{"event": "STOP"}"#]).wait_running().is_err());
    }

    #[test]
    fn refusals_and_nonsense_are_errors() {
        let error = talk(&[r#"{"error": {"desc": "no such thing"}}"#]).call("x", json!({})).unwrap_err();
        assert!(error.message.contains("no such thing"), "{error}");
        assert!(talk(&["hello"]).call("x", json!({})).is_err());
        assert!(talk(&[]).call("x", json!({})).is_err());
    }
}
