//! Artifacts that come in from elsewhere: their manifests are known before their bytes are.
//!
//! What a process that died had written stays in `partial/`, so that the next one goes on after it. It is not trusted:
//! each file is hashed from its first byte before the artifact is put in its place.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Store;
use crate::artifact::Artifact;
use crate::contents::on_disk;
use crate::error::{Error, IoContext, Result};
use crate::hash::Hash;
use crate::hold::Hold;
use crate::manifest::{MANIFEST, Manifest};
use crate::staging::{StagedFile, put_in_place};
use crate::taken::take;

/// An artifact that is coming in. Only one process, and one thread in it, has it at a time. Dropped, it is left for the
/// next one to go on with.
#[derive(Debug)]
pub struct Arrival {
    store: PathBuf,
    dir: PathBuf,
    manifest: Manifest,
    bytes: Vec<u8>,
    lock_path: PathBuf,
    /// Locked for as long as this value lives; the system unlocks it when the process dies.
    _lock: File,
}

/// Whether an artifact that comes in from elsewhere is wanted.
#[derive(Debug)]
pub enum Incoming {
    /// The store has it not.
    Wanted(Arrival),
    /// The store has it, and nobody cleans it away.
    There(Hold),
}

impl Store {
    /// Takes up the artifact with this manifest where it stopped to come in, or else holds it.
    ///
    /// # Errors
    /// If the manifest is none, or the store cannot be read or written.
    pub fn incoming(&self, bytes: &[u8]) -> Result<Incoming> {
        loop {
            if let Some(arrival) = self.arrival(bytes)? {
                return Ok(Incoming::Wanted(arrival));
            }
            match self.load(&Hash::of(bytes)).and_then(|artifact| artifact.hold()) {
                Ok(hold) => return Ok(Incoming::There(hold)),
                // It was removed between the two.
                Err(Error::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes up the artifact with this manifest where it stopped to come in, once no other process is at it. `None` if
    /// it is there, and every byte of its own is right; a damaged one is replaced.
    pub fn arrival(&self, bytes: &[u8]) -> Result<Option<Arrival>> {
        let hash = Hash::of(bytes);
        let target = self.path_of(&hash);
        let manifest = Manifest::from_bytes(&target.join(MANIFEST), bytes)?;
        let dir = self.dir().join("partial").join(hash.to_string());
        let lock_path = dir.with_extension("lock");
        let lock = take(&lock_path)?;
        let arrival =
            Arrival { store: self.dir().into(), dir, manifest, bytes: bytes.into(), lock_path, _lock: lock };
        if Artifact::open(&target).is_ok_and(|artifact| artifact.verify_own().is_ok()) {
            arrival.discard()?;
            return Ok(None);
        }
        arrival.make_dir()?;
        Ok(Some(arrival))
    }
}

impl Store {
    /// How many bytes of an artifact that is coming in are on the disk.
    pub fn arrived(&self, hash: &Hash) -> u64 {
        on_disk(&self.dir().join("partial").join(hash.to_string()))
    }
}

impl Arrival {
    /// What is coming in.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where a file is while it comes in.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The directory, with nothing in it that is no file of the artifact.
    fn make_dir(&self) -> Result<()> {
        if fs::symlink_metadata(&self.dir).is_ok_and(|meta| !meta.is_dir()) {
            return Err(Error::UnexpectedFile { path: self.dir.clone() });
        }
        fs::create_dir_all(&self.dir).at(&self.dir)?;
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).at(&self.dir)?;
        for found in fs::read_dir(&self.dir).at(&self.dir)? {
            let path = found.at(&self.dir)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.and_then(|name| self.manifest.file(name)).is_none() {
                // Such as the manifest, when its writer died before the directory was in its place.
                fs::remove_file(&path).at(&path)?;
            }
        }
        Ok(())
    }

    /// Goes on with a file, after the last whole `unit` of bytes that was written before; [`StagedFile::size`] says how
    /// many bytes that are. Each file goes to [`Arrival::finish`] before the next is begun.
    pub fn file(&self, name: &str, unit: u64) -> Result<StagedFile> {
        let entry = self.entry(name)?;
        StagedFile::resume(self.dir.join(&entry.name), unit, entry.size)
    }

    /// Forgets what was written of a file.
    pub fn restart(&self, name: &str) -> Result<()> {
        let path = self.dir.join(&self.entry(name)?.name);
        fs::remove_file(&path).at(&path)
    }

    /// Ends a file, which must be what the manifest says.
    pub fn finish(&self, name: &str, file: StagedFile) -> Result<()> {
        let (entry, path) = (self.entry(name)?, file.path().to_owned());
        let (found, size) = file.finish()?;
        if size != entry.size {
            return Err(Error::WrongSize { path, wanted: entry.size, found: size });
        }
        if found != entry.sha256 {
            return Err(Error::WrongHash { path, wanted: entry.sha256, found });
        }
        Ok(())
    }

    fn entry(&self, name: &str) -> Result<&crate::FileEntry> {
        let no_such = || Error::NoSuchFile { path: self.dir.clone(), name: name.into() };
        self.manifest.file(name).ok_or_else(no_such)
    }

    /// Puts the artifact in its place, where nobody can remove it as long as the hold lives. All its files must have been
    /// finished. What it needs is not held by this.
    pub fn commit(self) -> Result<(Artifact, Hold)> {
        for entry in &self.manifest.files {
            let path = self.dir.join(&entry.name);
            fs::set_permissions(&path, Permissions::from_mode(0o444)).at(&path)?;
        }
        let placed = put_in_place(&self.store, &self.dir, &self.manifest, &self.bytes)?;
        self.discard()?;
        Ok(placed)
    }

    /// Throws away what has come in.
    pub fn discard(self) -> Result<()> {
        gone(fs::remove_dir_all(&self.dir), &self.dir)?;
        gone(fs::remove_file(&self.lock_path), &self.lock_path)
    }
}

fn gone(result: io::Result<()>, path: &Path) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::{FileEntry, Kind};

    const CONTENT: &[u8] = b"abcdefgh";

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        (dir, store)
    }

    fn manifest() -> Vec<u8> {
        let file = FileEntry { name: "a".into(), size: 8, sha256: Hash::of(CONTENT) };
        Manifest::new(Kind::Rootfs, vec![file], BTreeMap::new(), json!({})).to_bytes()
    }

    fn left(store: &Store) -> usize {
        fs::read_dir(store.dir().join("partial")).unwrap().count()
    }

    #[test]
    fn it_goes_on_where_it_stopped() {
        let (_dir, store) = store();
        let arrival = store.arrival(&manifest()).unwrap().unwrap();
        // Into the fourth unit of two bytes, and no further.
        fs::write(arrival.path("a"), b"abcdefg").unwrap();
        fs::set_permissions(arrival.path("a"), Permissions::from_mode(0o444)).unwrap();
        drop(arrival);
        assert!(!store.contains(&Hash::of(&manifest())));
        let store = Store::open(store.dir()).unwrap();
        let arrival = store.arrival(&manifest()).unwrap().unwrap();
        let mut file = arrival.file("a", 2).unwrap();
        assert_eq!(file.size(), 6);
        file.write_all(b"gh").unwrap();
        arrival.finish("a", file).unwrap();
        let (artifact, _hold) = arrival.commit().unwrap();
        assert_eq!(artifact.read("a").unwrap(), CONTENT);
        assert_eq!(left(&store), 0);
        assert!(store.arrival(&manifest()).unwrap().is_none());
        assert_eq!(left(&store), 0);
    }

    #[test]
    fn what_is_wrong_is_not_put_in_its_place() {
        let (_dir, store) = store();
        let arrival = store.arrival(&manifest()).unwrap().unwrap();
        for (there, more, unit) in
            [(&b"abcdXf"[..], &b"gh"[..], 2), (b"", b"abc", 4), (b"abcdefghijk", b"", 1)]
        {
            fs::write(arrival.path("a"), there).unwrap();
            let mut file = arrival.file("a", unit).unwrap();
            file.write_all(more).unwrap();
            assert!(arrival.finish("a", file).unwrap_err().is_damage());
        }
        arrival.discard().unwrap();
        assert_eq!(left(&store), 0);
    }

    #[test]
    fn a_damaged_artifact_is_replaced() {
        let (_dir, store) = store();
        let put = || {
            let arrival = store.arrival(&manifest()).unwrap().unwrap();
            let mut file = arrival.file("a", 4).unwrap();
            file.write_all(CONTENT).unwrap();
            arrival.finish("a", file).unwrap();
            arrival.commit().unwrap().0
        };
        let path = put().file("a").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        fs::write(&path, b"abcdefgX").unwrap();
        put().verify().unwrap();
    }

    #[test]
    fn strangers_in_the_directory_are_removed_and_links_refused() {
        let (dir, store) = store();
        let arrival = store.arrival(&manifest()).unwrap().unwrap();
        fs::write(arrival.path("stranger"), b"x").unwrap();
        let outside = dir.path().join("outside");
        fs::write(&outside, b"precious").unwrap();
        std::os::unix::fs::symlink(&outside, arrival.path("a")).unwrap();
        drop(arrival);
        let arrival = store.arrival(&manifest()).unwrap().unwrap();
        assert!(!arrival.path("stranger").exists());
        assert!(matches!(arrival.file("a", 4), Err(Error::UnexpectedFile { .. })));
        assert_eq!(fs::read(outside).unwrap(), b"precious");
    }
}
