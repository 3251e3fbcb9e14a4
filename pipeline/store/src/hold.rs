//! Artifacts in use, which must not be removed.
//!
//! Whoever uses an artifact holds a shared lock on its manifest (flock(2)), and on the manifests of all that it needs.
//! The system lets go of it however the process ends.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::artifact::Artifact;
use crate::error::{Error, IoContext, Result};
use crate::manifest::MANIFEST;

/// Keeps an artifact, and all that it needs, from being removed for as long as it lives.
#[derive(Debug)]
pub struct Hold {
    _manifests: Vec<File>,
}

impl Artifact {
    /// Keeps this artifact from being removed, and of what it needs all that is there and sound. On a file system
    /// without locks, such as some that are read over a network, nothing does.
    pub fn hold(&self) -> Result<Hold> {
        let mut manifests = Vec::new();
        self.hold_into(&mut manifests)?;
        Ok(Hold { _manifests: manifests })
    }

    fn hold_into(&self, manifests: &mut Vec<File>) -> Result<()> {
        let path = self.dir().join(MANIFEST);
        let file = File::open(&path).at(&path)?;
        match file.lock_shared() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(Error::io(&path, error)),
            _ => {}
        }
        // It may have been removed between its opening and its locking.
        if !is_at(&file, &path) {
            return Err(Error::Missing { path: self.dir().into() });
        }
        manifests.push(file);
        for role in self.manifest().needs.keys() {
            if let Ok(need) = self.need(role) {
                need.hold_into(manifests)?;
            }
        }
        Ok(())
    }
}

impl Hold {
    /// Holds an artifact whose manifest was just written and is not in its place yet, so that nobody can remove it before
    /// its maker uses it. What it needs is its maker's to hold.
    pub(crate) fn of_new(manifest: File, path: &Path) -> Result<Hold> {
        match manifest.lock_shared() {
            Err(error) if error.kind() != io::ErrorKind::Unsupported => Err(Error::io(path, error)),
            _ => Ok(Hold { _manifests: vec![manifest] }),
        }
    }
}

/// The lock of one who removes the artifact in `dir`; None if there is no manifest to lock. Nobody can come to hold the
/// artifact while it lives.
pub(crate) fn claim(dir: &Path) -> Result<Option<File>> {
    let path = dir.join(MANIFEST);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&path, error)),
    };
    match file.try_lock() {
        Ok(()) if is_at(&file, &path) => Ok(Some(file)),
        // Somebody else has removed it between the two.
        Ok(()) => Err(Error::Missing { path: dir.into() }),
        Err(TryLockError::WouldBlock) => Err(Error::InUse { path: dir.into() }),
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(&path, error)),
    }
}

/// Whether `file` is what `path` leads to.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(here), Ok(there)) => (here.dev(), here.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}
