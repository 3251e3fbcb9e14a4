//! Directories in which programs of the host work for us, and how both end with this program.
//!
//! The system does not end a program's children with it, and what they wrote would lie there until the next run. So every
//! workshop is known here, and a signal to stop has its programs killed and its directory removed first.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use store::Scratch;

/// All that there are, by the numbers of their [`Workshop`]s.
static OPEN: Mutex<BTreeMap<u64, Contents>> = Mutex::new(BTreeMap::new());

/// What is in a workshop.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Removes the directory when it is dropped.
    scratch: Scratch,
    /// The program at work and all that it started.
    group: Option<Pid>,
}

impl Contents {
    fn kill(&self) {
        if let Some(group) = self.group {
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

fn open() -> MutexGuard<'static, BTreeMap<u64, Contents>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what is at work everywhere and removes all of it. Until the returned value is dropped, whoever uses a workshop
/// waits.
pub(crate) fn close_all() -> MutexGuard<'static, BTreeMap<u64, Contents>> {
    let mut open = open();
    for contents in open.values() {
        contents.kill();
    }
    for (_, contents) in std::mem::take(&mut *open) {
        // The killed, and a thread of ours that was about to make a file, may be one step further.
        for _ in 0..100 {
            match fs::remove_dir_all(contents.scratch.dir()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    thread::sleep(Duration::from_millis(20));
                }
                _ => break,
            }
        }
    }
    open
}

/// A directory, and at most one program with its children at work in it.
#[derive(Debug)]
pub(crate) struct Workshop {
    number: u64,
    dir: PathBuf,
}

impl Workshop {
    /// Makes one of a scratch directory.
    pub(crate) fn new(scratch: Scratch) -> Workshop {
        let mut open = open();
        let number = open.last_key_value().map_or(0, |(last, _)| last + 1);
        let dir = scratch.dir().to_owned();
        open.insert(number, Contents { scratch, group: None });
        Workshop { number, dir }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns at once, or never if the program is being ended: to be called between any two files that are made here.
    pub(crate) fn pause_if_closed(&self) {
        drop(open());
    }

    /// Starts a program.
    pub(crate) fn start(&self, command: &mut Command) -> io::Result<Child> {
        let mut open = open();
        let child = command.process_group(0).spawn()?;
        if let Some(contents) = open.get_mut(&self.number) {
            contents.group = Pid::from_raw(child.id().cast_signed());
        }
        Ok(child)
    }

    /// Waits for its end.
    pub(crate) fn wait(&self, child: &mut Child) -> io::Result<ExitStatus> {
        // As long as the end was not taken note of, the number is no other process's and may be killed.
        if let Some(process) = Pid::from_raw(child.id().cast_signed()) {
            waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        }
        let mut open = open();
        if let Some(contents) = open.get_mut(&self.number) {
            contents.group = None;
        }
        child.wait()
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let contents = open().remove(&self.number);
        if let Some(contents) = contents {
            contents.kill();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_workshop_ends_with_what_works_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store::Store::open(dir.path()).unwrap();
        let workshop = Workshop::new(store.scratch().unwrap());
        let path = workshop.dir().to_owned();
        let mut program = Command::new("sh");
        program.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
        let mut child = workshop.start(&mut program).unwrap();
        let mut output = child.stdout.take().unwrap();
        io::Read::read_exact(&mut output, &mut [0; 8]).unwrap();
        drop(workshop);
        assert!(!path.exists());
        // The child's child had the pipe, too: it ends when both are gone.
        assert_eq!(io::Read::read_to_end(&mut output, &mut Vec::new()).unwrap(), 0);
        assert!(!child.wait().unwrap().success());
    }

    #[test]
    fn what_ended_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let store = store::Store::open(dir.path()).unwrap();
        let workshop = Workshop::new(store.scratch().unwrap());
        let mut child = workshop.start(Command::new("sh").args(["-c", "exit 7"])).unwrap();
        assert_eq!(workshop.wait(&mut child).unwrap().code(), Some(7));
    }
}
