//! Where things are written before they are seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::artifact::Artifact;
use crate::error::{Error, IoContext, Result};
use crate::hash::{Hash, Hasher, hash_file};
use crate::hold::Hold;
use crate::manifest::{FileEntry, Kind, MANIFEST, Manifest, is_file_name};

/// The unit in which zeros are left out of a file: the block size of the common file systems.
const BLOCK: usize = 4096;

/// A private directory in the store's `.staging`, removed when it is dropped, or at the next
/// [`crate::Store::open`] if this process dies first.
#[derive(Debug)]
pub struct Scratch {
    store: PathBuf,
    dir: PathBuf,
    lock_path: PathBuf,
    /// Locked for as long as the directory is in use; the system unlocks it when the process dies.
    _lock: File,
}

impl Scratch {
    pub(crate) fn new(store: &Path) -> Result<Scratch> {
        let staging = store.join(".staging");
        let _held = gate(&staging)?;
        // The random name only keeps two writers apart; it reaches no artifact.
        let dir = tempfile::Builder::new().prefix("new-").tempdir_in(&staging).at(&staging)?.keep();
        let lock_path = dir.with_extension("lock");
        let lock = lock_file(&lock_path).inspect_err(|_| {
            let _ = fs::remove_dir(&dir);
        })?;
        Ok(Scratch { store: store.into(), dir, lock_path, _lock: lock })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Begins a file in the directory.
    pub fn create(&self, name: &str) -> Result<StagedFile> {
        if !is_file_name(name) {
            return Err(Error::BadName { name: name.into() });
        }
        StagedFile::create(self.dir.join(name))
    }

    /// Moves a file of the directory to its place in the store, replacing what is there.
    pub(crate) fn publish(&self, name: &str, target: &Path) -> Result<()> {
        let from = self.dir.join(name);
        fs::rename(&from, target).at(target)?;
        target.parent().map_or(Ok(()), sync_dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Whatever cannot be removed now is removed at the next open.
        let _ = fs::remove_dir_all(&self.dir);
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn lock_file(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).at(path)?;
    file.lock().at(path)?;
    Ok(file)
}

/// Held while a staging directory and its lock come or go: without it, a directory could be taken for a dead
/// process's between its making and its locking.
fn gate(staging: &Path) -> Result<File> {
    lock_file(&staging.join("gate"))
}

/// Removes the staging directories that no living process holds.
pub(crate) fn remove_stale(store: &Path) -> Result<()> {
    let staging = store.join(".staging");
    let _held = gate(&staging)?;
    let mut scratches = BTreeSet::new();
    for entry in fs::read_dir(&staging).at(&staging)? {
        let path = entry.at(&staging)?.path();
        // A process that died while it cleaned up left one of the two.
        if path.is_dir() || path.extension().is_some_and(|extension| extension == "lock") {
            scratches.insert(path.with_extension(""));
        }
    }
    for dir in scratches {
        let lock_path = dir.with_extension("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path).at(&lock_path)?;
        if lock.try_lock().is_ok() {
            match fs::remove_dir_all(&dir) {
                // Its owner may be removing it at this very moment.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(&dir, error)),
                _ => {}
            }
            let _ = fs::remove_file(&lock_path);
        }
    }
    Ok(())
}

/// A file being written. Its hash is taken on the way, and blocks of zeros become holes.
#[derive(Debug)]
pub struct StagedFile {
    path: PathBuf,
    file: File,
    hasher: HasherBox,
    size: u64,
    /// What does not fill a block yet.
    partial: Vec<u8>,
}

/// Only so that `Debug` can be derived: a hash under way has nothing worth showing.
struct HasherBox(Hasher);

impl std::fmt::Debug for HasherBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl StagedFile {
    fn create(path: PathBuf) -> Result<StagedFile> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).at(&path)?;
        Ok(StagedFile { path, file, hasher: HasherBox(Hasher::new()), size: 0, partial: Vec::new() })
    }

    /// Goes on with a file that another process began, after the last whole `unit` of bytes that it wrote: what is
    /// there is hashed, not trusted.
    pub(crate) fn resume(path: PathBuf, unit: u64, most: u64) -> Result<StagedFile> {
        match fs::symlink_metadata(&path) {
            // It may have been made read-only just before its writer died.
            Ok(meta) if meta.is_file() => {
                fs::set_permissions(&path, Permissions::from_mode(0o644)).at(&path)?;
            }
            Ok(_) => return Err(Error::UnexpectedFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return StagedFile::create(path),
            Err(error) => return Err(Error::io(&path, error)),
        }
        let mut file = OpenOptions::new().read(true).write(true).open(&path).at(&path)?;
        let there = file.metadata().at(&path)?.len();
        let kept = if there > most { 0 } else { there - there % unit };
        file.set_len(kept).at(&path)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer).at(&path)? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        Ok(StagedFile { path, file, hasher: HasherBox(hasher), size: kept, partial: Vec::new() })
    }

    /// The file's path while it is being written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes were written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Copies all of `reader`.
    pub fn copy_from(&mut self, reader: &mut dyn Read) -> Result<u64> {
        let mut buffer = vec![0; 1 << 18];
        let mut total = 0;
        loop {
            let count = reader.read(&mut buffer).at(&self.path)?;
            if count == 0 {
                return Ok(total);
            }
            self.write_all(&buffer[..count]).at(&self.path)?;
            total += count as u64;
        }
    }

    /// Ends the file and flushes it to the disk.
    pub fn finish(mut self) -> Result<(Hash, u64)> {
        let path = self.path;
        self.file.write_all(&self.partial).at(&path)?;
        self.file.set_len(self.size).at(&path)?;
        self.file.sync_all().at(&path)?;
        Ok((self.hasher.0.finish(), self.size))
    }

    /// Writes whole blocks, those that follow one another in one go, and skips those of zeros.
    fn write_blocks(&mut self, blocks: &[[u8; BLOCK]]) -> io::Result<()> {
        let is_zero = |block: &[u8; BLOCK]| block.iter().all(|&byte| byte == 0);
        for run in blocks.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
            let bytes = run.as_flattened();
            if is_zero(&run[0]) {
                self.file.seek(SeekFrom::Current(bytes.len() as i64))?;
            } else {
                self.file.write_all(bytes)?;
            }
        }
        Ok(())
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hasher.0.update(bytes);
        self.size += bytes.len() as u64;
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let (head, tail) = rest.split_at(rest.len().min(BLOCK - self.partial.len()));
            self.partial.extend_from_slice(head);
            rest = tail;
            if self.partial.len() == BLOCK {
                let block = std::mem::take(&mut self.partial);
                self.write_blocks(block.as_chunks().0)?;
            }
        }
        let (blocks, tail) = rest.as_chunks::<BLOCK>();
        self.write_blocks(blocks)?;
        self.partial.extend_from_slice(tail);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An artifact being written. Dropped before [`Staging::commit`], it leaves nothing behind.
#[derive(Debug)]
pub struct Staging {
    scratch: Scratch,
    files: Vec<FileEntry>,
}

impl Staging {
    pub(crate) fn new(store: &Path) -> Result<Staging> {
        Ok(Staging { scratch: Scratch::new(store)?, files: Vec::new() })
    }

    /// The directory the artifact is being written in.
    pub fn dir(&self) -> &Path {
        self.scratch.dir()
    }

    /// Begins a file; hand it to [`Staging::add`] once it is written.
    pub fn create(&self, name: &str) -> Result<StagedFile> {
        self.scratch.create(name)
    }

    /// Ends a file and makes it part of the artifact.
    pub fn add(&mut self, file: StagedFile) -> Result<FileEntry> {
        let path = file.path.clone();
        let (sha256, size) = file.finish()?;
        self.record(&path, sha256, size)
    }

    /// Writes a whole file.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        let mut file = self.create(name)?;
        file.write_all(bytes).at(&file.path)?;
        self.add(file)
    }

    /// Makes a file that someone else wrote into [`Staging::dir`] part of the artifact.
    pub fn adopt(&mut self, name: &str) -> Result<FileEntry> {
        if !is_file_name(name) {
            return Err(Error::BadName { name: name.into() });
        }
        let path = self.dir().join(name);
        if !fs::symlink_metadata(&path).at(&path)?.is_file() {
            return Err(Error::MissingFile { path });
        }
        let (sha256, size) = hash_file(&path)?;
        File::open(&path).and_then(|file| file.sync_all()).at(&path)?;
        self.record(&path, sha256, size)
    }

    fn record(&mut self, path: &Path, sha256: Hash, size: u64) -> Result<FileEntry> {
        // Only the files are made read-only: with the directory writable, its owner can remove it plainly.
        fs::set_permissions(path, Permissions::from_mode(0o444)).at(path)?;
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let entry = FileEntry { name, size, sha256 };
        self.files.retain(|other| other.name != entry.name);
        self.files.push(entry.clone());
        Ok(entry)
    }

    /// Puts the artifact in its place and returns it. If the store has it already, that one stays, unless it
    /// turns out to be damaged.
    pub fn commit(self, kind: Kind, needs: BTreeMap<String, Hash>, meta: Value) -> Result<Artifact> {
        self.commit_held(kind, needs, meta).map(|(artifact, _)| artifact)
    }

    /// As [`Staging::commit`], and nobody can remove the artifact as long as the hold lives, from the moment on that it can
    /// be seen. What it needs is not held by this.
    pub fn commit_held(
        self,
        kind: Kind,
        needs: BTreeMap<String, Hash>,
        meta: Value,
    ) -> Result<(Artifact, Hold)> {
        let manifest = Manifest::new(kind, self.files, needs, meta);
        let bytes = manifest.to_bytes();
        let scratch = self.scratch;
        put_in_place(&scratch.store, scratch.dir(), &manifest, &bytes)
    }
}

/// Makes an artifact of a directory with the manifest's files: writes the manifest, and renames the directory to its
/// place, where nobody can remove it as long as the hold lives. If the store has the artifact already, that one stays,
/// unless it turns out to be damaged.
pub(crate) fn put_in_place(
    store: &Path,
    dir: &Path,
    manifest: &Manifest,
    bytes: &[u8],
) -> Result<(Artifact, Hold)> {
    let hash = Hash::of(bytes);
    check_only(dir, manifest)?;
    let path = dir.join(MANIFEST);
    let mut file = OpenOptions::new().create_new(true).write(true).open(&path).at(&path)?;
    file.write_all(bytes).at(&path)?;
    file.sync_all().at(&path)?;
    fs::set_permissions(&path, Permissions::from_mode(0o444)).at(&path)?;
    // A temporary directory is private (0700); an artifact is for everyone who may read the store.
    fs::set_permissions(dir, Permissions::from_mode(0o755)).at(dir)?;
    sync_dir(dir)?;

    let hold = Hold::of_new(file, &path)?;

    let target = store.join(hash.to_string());
    loop {
        match fs::rename(dir, &target) {
            Ok(()) => break,
            Err(error) if is_in_the_way(&error) => {
                let held = Artifact::open(&target).and_then(|existing| Ok((existing.hold()?, existing)));
                match held {
                    Ok((hold, existing)) if existing.verify_own().is_ok() => return Ok((existing, hold)),
                    // Removed meanwhile: there is nothing in the way any more.
                    Err(Error::Missing { .. }) if !target.exists() => {}
                    _ => set_aside(store, &target)?,
                }
            }
            Err(error) => return Err(Error::io(&target, error)),
        }
    }
    sync_dir(store)?;
    Ok((Artifact::open(&target)?, hold))
}

/// Refuses what was left in the directory but is not part of the artifact.
fn check_only(dir: &Path, manifest: &Manifest) -> Result<()> {
    for entry in fs::read_dir(dir).at(dir)? {
        let entry = entry.at(dir)?;
        if entry.file_name().to_str().and_then(|name| manifest.file(name)).is_none() {
            return Err(Error::UnexpectedFile { path: entry.path() });
        }
    }
    Ok(())
}

fn is_in_the_way(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(error.kind(), AlreadyExists | DirectoryNotEmpty | NotADirectory)
}

/// Moves a damaged artifact out of the way; dropping the scratch directory removes it.
fn set_aside(store: &Path, target: &Path) -> Result<()> {
    let aside = Scratch::new(store)?;
    match fs::rename(target, aside.dir().join("damaged")) {
        // Another writer was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.at(target),
    }
}

pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|file| file.sync_all()).at(dir)
}
