//! Files that one process at a time writes: each holds a lock (flock(2)) on the one that it is at, and the next takes over
//! what a dead one left.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Error, IoContext, Result};

/// Opens the file at `path` to read and write, as it is, or makes it, once no other process has it. It is this process's
/// until it is closed.
///
/// # Errors
/// If something else than a file is there, such as a link, or the host refuses.
pub fn take(path: &Path) -> Result<File> {
    loop {
        if let Some(file) = try_take(path)? {
            return Ok(file);
        }
    }
}

/// The same, but None if whoever had it has moved or removed it while this process waited.
pub(crate) fn try_take(path: &Path) -> Result<Option<File>> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        return Err(Error::UnexpectedFile { path: path.into() });
    }
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path).at(path)?;
    file.lock().at(path)?;
    let mine = file.metadata().at(path)?;
    match fs::symlink_metadata(path) {
        Ok(there) => Ok(((there.dev(), there.ino()) == (mine.dev(), mine.ino())).then_some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn one_after_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        let mut first = take(&path).unwrap();
        first.write_all(b"left").unwrap();
        let waiting = std::thread::spawn({
            let path = path.clone();
            move || take(&path).unwrap().metadata().unwrap().len()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert!(!waiting.is_finished());
        fs::rename(&path, dir.path().join("done")).unwrap();
        drop(first);
        assert_eq!(waiting.join().unwrap(), 0, "another one when its turn came");
        assert_eq!(take(&dir.path().join("done")).unwrap().metadata().unwrap().len(), 4, "as it was left");
    }

    #[test]
    fn what_is_no_file_is_nobodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        std::os::unix::fs::symlink(dir.path().join("elsewhere"), &path).unwrap();
        assert!(matches!(take(&path), Err(Error::UnexpectedFile { .. })));
        assert!(!dir.path().join("elsewhere").exists());
        assert!(matches!(take(dir.path()), Err(Error::UnexpectedFile { .. })));
    }
}
