//! File systems in memory, of a size that can be filled, or that cannot be written.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{run, succeeded};

/// A file system in memory, for as long as this value lives.
pub struct Small(pub PathBuf);

impl Small {
    /// None where this may not be done, which is said.
    pub fn mount(at: PathBuf, options: &str) -> Option<Small> {
        fs::create_dir(&at).unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at);
        if run(&mut command).status.success() {
            return Some(Small(at));
        }
        eprintln!("SKIPPED: no file system can be mounted here, which takes root");
        None
    }

    /// From now on nothing can be written to it.
    pub fn make_read_only(&self) {
        succeeded(&run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.0)));
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
