//! Bytes being fetched: kept from one process to the next, so that a fetch that broke off goes on where it stopped.
//!
//! A partial file is not trusted: what it comes to is hashed from its first byte before it becomes part of the
//! cache.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::Store;
use crate::error::{Error, IoContext, Result};
use crate::hash::{Hash, Hasher};
use crate::staging::sync_dir;
use crate::taken::try_take;

/// A file of the cache that is not whole yet. Only one process, and one thread in it, has it at a time.
pub struct Partial {
    path: PathBuf,
    target: PathBuf,
    wanted: Hash,
    /// Locked for as long as this value lives; the system unlocks it when the process dies.
    file: File,
    hasher: Hasher,
    size: u64,
}

impl std::fmt::Debug for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Partial").field("path", &self.path).field("size", &self.size).finish_non_exhaustive()
    }
}

impl Store {
    /// Takes up the fetch of the bytes with this hash and size where it stopped, once no other process is at it.
    /// `None` if they have come into the cache meanwhile.
    pub fn partial(&self, hash: &Hash, size: u64) -> Result<Option<Partial>> {
        let path = self.dir().join("partial").join(hash.to_string());
        loop {
            if self.cached(hash, size)?.is_some() {
                return Ok(None);
            }
            // Whoever had it may have moved it to the cache, or thrown it away.
            let Some(file) = try_take(&path)? else { continue };
            let there = file.metadata().at(&path)?.len();
            let target = self.dir().join("cache").join(hash.to_string());
            let mut partial = Partial { path, target, wanted: *hash, file, hasher: Hasher::new(), size: 0 };
            // More than there can be is of no use, however it came there.
            match there > size {
                true => partial.restart()?,
                false => partial.read_in()?,
            }
            return Ok(Some(partial));
        }
    }
}

impl Partial {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes are there.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hashes what is there and goes to its end.
    fn read_in(&mut self) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.file.read(&mut buffer).at(&self.path)? {
                0 => return Ok(()),
                count => {
                    self.hasher.update(&buffer[..count]);
                    self.size += count as u64;
                }
            }
        }
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> Result<()> {
        self.file.set_len(0).at(&self.path)?;
        self.file.seek(SeekFrom::Start(0)).at(&self.path)?;
        (self.hasher, self.size) = (Hasher::new(), 0);
        Ok(())
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, bytes: &[u8]) -> Result<()> {
        // On a full disk a part of them may be written: what is beyond the hashed ones is cut off again, so that
        // the next process does not take it for fetched.
        if let Err(error) = self.file.write_all(bytes) {
            let _ = self.file.set_len(self.size);
            let _ = self.file.seek(SeekFrom::Start(self.size));
            return Err(Error::io(&self.path, error));
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Moves the whole file to the cache, if it has the hash it should have; else it is thrown away.
    pub fn finish(self) -> Result<PathBuf> {
        let found = self.hasher.finish();
        if found != self.wanted {
            fs::remove_file(&self.path).at(&self.path)?;
            return Err(Error::WrongHash { path: self.path, wanted: self.wanted, found });
        }
        self.file.sync_all().at(&self.path)?;
        fs::rename(&self.path, &self.target).at(&self.target)?;
        self.target.parent().map_or(Ok(()), sync_dir)?;
        Ok(self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        (dir, store)
    }

    #[test]
    fn a_fetch_goes_on_where_it_stopped() {
        let (_dir, store) = store();
        let hash = Hash::of(b"abcdef");
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        partial.append(b"abc").unwrap();
        drop(partial);
        assert_eq!(store.cached(&hash, 6).unwrap(), None, "half of it is not to be seen");
        let store = Store::open(store.dir()).unwrap();
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        assert_eq!(partial.size(), 3);
        partial.append(b"def").unwrap();
        let path = partial.finish().unwrap();
        assert_eq!(store.cached(&hash, 6).unwrap(), Some(path));
        assert!(store.partial(&hash, 6).unwrap().is_none());
        assert_eq!(fs::read_dir(store.dir().join("partial")).unwrap().count(), 0);
    }

    #[test]
    fn what_is_wrong_is_thrown_away() {
        let (_dir, store) = store();
        let hash = Hash::of(b"abcdef");
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        partial.append(b"abcdeg").unwrap();
        assert!(partial.finish().unwrap_err().is_damage());
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        assert_eq!(partial.size(), 0);
        partial.append(b"abcdefgh").unwrap();
        drop(partial);
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        assert_eq!(partial.size(), 0, "longer than it can be");
        partial.append(b"x").unwrap();
        partial.restart().unwrap();
        partial.append(b"abcdef").unwrap();
        partial.finish().unwrap();
    }

    #[test]
    fn one_at_a_time() {
        let (_dir, store) = store();
        let hash = Hash::of(b"abcdef");
        let mut partial = store.partial(&hash, 6).unwrap().unwrap();
        let waiting = std::thread::spawn({
            let store = store.clone();
            move || store.partial(&hash, 6).unwrap().is_none()
        });
        std::thread::sleep(std::time::Duration::from_millis(50));
        partial.append(b"abcdef").unwrap();
        partial.finish().unwrap();
        assert!(waiting.join().unwrap(), "it was there when its turn came");
    }
}
