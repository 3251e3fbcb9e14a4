//! Parts that an artifact which is coming in is put together of: they come in any order, and are kept from one process to
//! the next.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::Store;
use crate::error::{IoContext, Result};
use crate::hash::Hash;
use crate::taken::take;

/// Such parts, each at a place of its own. Nothing is known of what is read from it. Only one process has it at a time.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    /// Locked for as long as this value lives; the system unlocks it when the process dies.
    file: File,
}

impl Store {
    /// Takes up the parts of the artifact with this hash, once no other process has them.
    pub fn spool(&self, hash: &Hash) -> Result<Spool> {
        let path = self.dir().join("partial").join(format!("{hash}.parts"));
        let file = take(&path)?;
        Ok(Spool { path, file })
    }
}

impl Spool {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How far it reaches.
    pub fn size(&self) -> Result<u64> {
        Ok(self.file.metadata().at(&self.path)?.len())
    }

    /// Bytes on the disk: holes take none.
    pub fn on_disk(&self) -> Result<u64> {
        // stat(2): blocks of 512 bytes, whatever the file system's own are.
        Ok(self.file.metadata().at(&self.path)?.blocks() * 512)
    }

    /// Reads what is at `at`; where nothing was written there are zeros, but not beyond the end.
    pub fn read(&self, buffer: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(buffer, at).at(&self.path)
    }

    /// Writes a part to its place.
    pub fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).at(&self.path)
    }

    /// Throws all parts away.
    pub fn discard(self) -> Result<()> {
        fs::remove_file(&self.path).at(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stay_until_they_are_thrown_away() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let hash = Hash::of(b"it");
        let spool = store.spool(&hash).unwrap();
        spool.write(b"part", 8192).unwrap();
        drop(spool);
        let store = Store::open(store.dir()).unwrap();
        let spool = store.spool(&hash).unwrap();
        let mut read = [1; 6];
        spool.read(&mut read, 8190).unwrap();
        assert_eq!((&read, spool.size().unwrap()), (b"\0\0part", 8196));
        assert!(spool.read(&mut read, 8191).is_err());
        let waiting = std::thread::spawn({
            let store = store.clone();
            move || store.spool(&hash).unwrap().size().unwrap()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        spool.discard().unwrap();
        assert_eq!(waiting.join().unwrap(), 0, "another one when its turn came");
    }
}
