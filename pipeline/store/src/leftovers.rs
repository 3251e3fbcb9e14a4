//! What broke off in `partial/` and was never gone on with: the beginnings of fetched bytes, and artifacts that were
//! coming in.
//!
//! Whoever is at one holds an exclusive lock (flock(2)) on the file itself, or on the `.lock` beside the directory; see
//! [`crate::Partial`] and [`crate::Arrival`]. What is removed here is removed under that lock.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::Store;
use crate::contents::on_disk;
use crate::error::{Error, IoContext, Result};
use crate::hold::is_at;

/// Something in `partial/` that nobody is at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// The file or directory.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub disk: u64,
    /// When it was last written to, by the clock of the host that did it.
    pub changed: SystemTime,
}

impl Store {
    /// What nobody is at, in the order of the paths. Nothing is changed: the store may be on a disk that cannot be
    /// written.
    pub fn leftovers(&self) -> Result<Vec<Leftover>> {
        let dir = self.dir().join("partial");
        let mut paths = BTreeSet::new();
        for entry in fs::read_dir(&dir).at(&dir)? {
            let path = entry.at(&dir)?.path();
            // A process that died while it cleaned up left only the lock of the two.
            paths.insert(if is_lock(&path) { path.with_extension("") } else { path });
        }
        let mut leftovers = Vec::new();
        for path in paths {
            if claim(&path, false)?.is_some() {
                leftovers.extend(look(path));
            }
        }
        Ok(leftovers)
    }

    /// Removes a leftover; false if somebody goes on with it by now, or it is gone.
    pub fn remove_leftover(&self, leftover: &Leftover) -> Result<bool> {
        let path = &leftover.path;
        let Some(claim) = claim(path, true)? else { return Ok(false) };
        let removed = match fs::symlink_metadata(path) {
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        if let Some(lock) = claim.lock {
            gone(fs::remove_file(&lock), &lock)?;
        }
        gone(removed, path)
    }
}

/// Nobody can begin with a leftover while it lives.
struct Claim {
    _locked: Option<File>,
    /// The lock beside it, which goes with it.
    lock: Option<PathBuf>,
}

/// Claims what is at `path`; None if somebody is at it, or it is gone. Only to remove it is a lock made that is missing.
fn claim(path: &Path, to_remove: bool) -> Result<Option<Claim>> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    let lock = if is_file { path.to_owned() } else { path.with_extension("lock") };
    let beside = (!is_file).then(|| lock.clone());
    // flock(2) wants no right to write.
    let opened = match to_remove && !is_file {
        true => OpenOptions::new().create(true).truncate(false).write(true).open(&lock),
        false => File::open(&lock),
    };
    let file = match opened {
        Ok(file) => file,
        // A directory whose lock is missing is nobody's.
        Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_dir() => {
            return Ok(Some(Claim { _locked: None, lock: None }));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&lock, error)),
    };
    match file.try_lock() {
        // It may have been finished, and begun anew, between the two.
        Ok(()) if is_at(&file, &lock) => Ok(Some(Claim { _locked: Some(file), lock: beside })),
        Ok(()) | Err(TryLockError::WouldBlock) => Ok(None),
        // Without locks nobody knows who is at it.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io(&lock, error)),
    }
}

fn is_lock(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lock")
}

/// What is known of it; None if it is gone.
fn look(path: PathBuf) -> Option<Leftover> {
    let time = |path: &Path| fs::symlink_metadata(path).and_then(|meta| meta.modified()).ok();
    let inside = fs::read_dir(&path).into_iter().flatten().flatten().filter_map(|entry| time(&entry.path()));
    let lock = path.with_extension("lock");
    let changed = inside.chain(time(&path)).chain(time(&lock)).max()?;
    let disk = match path.is_dir() {
        true => on_disk(&path),
        false => {
            use std::os::unix::fs::MetadataExt;
            // stat(2): blocks of 512 bytes, whatever the file system's own are.
            fs::symlink_metadata(&path).map_or(0, |meta| meta.blocks() * 512)
        }
    };
    Some(Leftover { path, disk, changed })
}

/// Whether it was there to be removed.
fn gone(result: io::Result<()>, path: &Path) -> Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::{FileEntry, Hash, Kind, Manifest};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn manifest(content: &[u8]) -> Vec<u8> {
        let file = FileEntry { name: "a".into(), size: content.len() as u64, sha256: Hash::of(content) };
        Manifest::new(Kind::Rootfs, vec![file], BTreeMap::new(), json!({})).to_bytes()
    }

    fn left(store: &Store) -> Vec<String> {
        let entries = fs::read_dir(store.dir().join("partial")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_is_at_goes_and_the_rest_stays() {
        let (_dir, store) = store();
        let (dead, living) = (Hash::of(b"dead"), Hash::of(b"living"));
        store.partial(&dead, 4).unwrap().unwrap().append(b"de").unwrap();
        let mut fetched = store.partial(&living, 6).unwrap().unwrap();
        fetched.append(b"liv").unwrap();
        let arrival = store.arrival(&manifest(b"dead")).unwrap().unwrap();
        fs::write(arrival.path("a"), vec![7; 9000]).unwrap();
        drop(arrival);
        let arriving = store.arrival(&manifest(b"living")).unwrap().unwrap();
        fs::write(arriving.path("a"), b"liv").unwrap();

        let leftovers = store.leftovers().unwrap();
        let mut names: Vec<String> =
            leftovers.iter().map(|one| one.path.file_name().unwrap().to_str().unwrap().into()).collect();
        let mut wanted = vec![dead.to_string(), Hash::of(&manifest(b"dead")).to_string()];
        names.sort();
        wanted.sort();
        assert_eq!(names, wanted);
        assert!(leftovers.iter().map(|one| one.disk).sum::<u64>() >= 9000);
        assert!(leftovers.iter().all(|one| one.changed.elapsed().unwrap_or_default().as_secs() < 600));
        for leftover in &leftovers {
            assert!(store.remove_leftover(leftover).unwrap());
            assert!(!store.remove_leftover(leftover).unwrap(), "it is gone");
        }
        assert!(store.leftovers().unwrap().is_empty());
        // Those that are at something go on and end well.
        fetched.append(b"ing").unwrap();
        fetched.finish().unwrap();
        fs::remove_file(arriving.path("a")).unwrap();
        let mut file = arriving.file("a", 1).unwrap();
        io::Write::write_all(&mut file, b"living").unwrap();
        arriving.finish("a", file).unwrap();
        arriving.commit().unwrap().0.verify().unwrap();
        assert_eq!(left(&store), [""; 0]);
    }

    #[test]
    fn what_was_taken_up_meanwhile_stays() {
        let (_dir, store) = store();
        let hash = Hash::of(b"bytes");
        store.partial(&hash, 5).unwrap().unwrap().append(b"by").unwrap();
        let leftover = store.leftovers().unwrap().remove(0);
        let mut taken_up = store.partial(&hash, 5).unwrap().unwrap();
        assert!(!store.remove_leftover(&leftover).unwrap());
        taken_up.append(b"tes").unwrap();
        taken_up.finish().unwrap();
    }

    #[test]
    fn halves_of_what_was_being_removed_go_too() {
        let (_dir, store) = store();
        let partial = store.dir().join("partial");
        fs::write(partial.join("aa.lock"), "").unwrap();
        fs::create_dir(partial.join("bb")).unwrap();
        fs::write(partial.join("bb/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", partial.join("cc")).unwrap();
        fs::write(partial.join("cc.lock"), "").unwrap();
        let leftovers = store.leftovers().unwrap();
        assert_eq!(leftovers.len(), 3);
        for leftover in &leftovers {
            store.remove_leftover(leftover).unwrap();
        }
        assert_eq!(left(&store), [""; 0]);
        assert!(Path::new("/etc/passwd").exists(), "links are not followed");
    }
}
