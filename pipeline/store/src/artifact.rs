//! Artifacts that exist.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, IoContext, Result};
use crate::hash::{Hash, hash_file};
use crate::manifest::{FileEntry, Kind, MANIFEST, Manifest};

/// Files up to this size are checked in full when an artifact is loaded; it costs about a millisecond.
const SMALL: u64 = 1 << 20;

/// A loaded artifact: its manifest is what its name says, its files are there.
#[derive(Debug, Clone)]
pub struct Artifact {
    dir: PathBuf,
    hash: Hash,
    manifest: Manifest,
}

impl Artifact {
    /// Opens the artifact in a directory, in a store or not. What it needs is looked for beside it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Artifact> {
        let dir = dir.into();
        let (manifest, hash) = Manifest::read(&dir.join(MANIFEST))?;
        // A directory under another name, or a link to it, goes by what its manifest is.
        if let Some(wanted) =
            dir.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
            && wanted != hash
        {
            return Err(Error::WrongHash { path: dir.join(MANIFEST), wanted, found: hash });
        }
        let artifact = Artifact { dir, hash, manifest };
        for entry in &artifact.manifest.files {
            artifact.check(entry, entry.size <= SMALL)?;
        }
        Ok(artifact)
    }

    /// The hash of the manifest, which is the artifact's name.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// The directory, as it was given.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What sort of artifact it is.
    pub fn kind(&self) -> Kind {
        self.manifest.kind
    }

    /// The files that a machine takes: all but the texts about them, which end in `.json` or `.txt`.
    pub fn images(&self) -> Vec<&FileEntry> {
        let is_text = |file: &&FileEntry| file.name.ends_with(".json") || file.name.ends_with(".txt");
        self.manifest.files.iter().filter(|file| !is_text(file)).collect()
    }

    /// The path of one of its files.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        self.entry(name).map(|entry| self.dir.join(&entry.name))
    }

    /// The content of one of its files, checked against the manifest.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.entry(name)?;
        let path = self.dir.join(&entry.name);
        self.check(entry, false)?;
        let bytes = fs::read(&path).at(&path)?;
        let found = Hash::of(&bytes);
        if found != entry.sha256 {
            return Err(Error::WrongHash { path, wanted: entry.sha256, found });
        }
        Ok(bytes)
    }

    fn entry(&self, name: &str) -> Result<&FileEntry> {
        self.manifest
            .file(name)
            .ok_or_else(|| Error::NoSuchFile { path: self.dir.clone(), name: name.to_owned() })
    }

    /// Opens the artifact that this one needs as `role`.
    pub fn need(&self, role: &str) -> Result<Artifact> {
        let no_such = || Error::NoSuchNeed { path: self.dir.clone(), role: role.to_owned() };
        let hash = *self.manifest.needs.get(role).ok_or_else(no_such)?;
        // Links are followed first: what is needed lies beside the real directory.
        let real = self.dir.canonicalize().at(&self.dir)?;
        let beside = real.parent().unwrap_or(&real).join(hash.to_string());
        match Artifact::open(&beside) {
            Err(Error::Missing { .. }) => {
                Err(Error::MissingNeed { path: self.dir.clone(), role: role.to_owned(), hash })
            }
            other => other,
        }
    }

    /// Checks every byte of this artifact and of all that it needs.
    pub fn verify(&self) -> Result<()> {
        self.verify_own()?;
        // No cycle is possible: an artifact's hash depends on the hashes of its needs.
        self.manifest.needs.keys().try_for_each(|role| self.need(role)?.verify())
    }

    /// Checks every byte of this artifact alone.
    pub fn verify_own(&self) -> Result<()> {
        for entry in &self.manifest.files {
            self.check(entry, true)?;
        }
        for found in fs::read_dir(&self.dir).at(&self.dir)? {
            let found = found.at(&self.dir)?;
            let known = |name: &str| name == MANIFEST || self.manifest.file(name).is_some();
            if !found.file_name().to_str().is_some_and(known) {
                return Err(Error::UnexpectedFile { path: found.path() });
            }
        }
        Ok(())
    }

    fn check(&self, entry: &FileEntry, content: bool) -> Result<()> {
        let path = self.dir.join(&entry.name);
        // Not through a link: it would lead out of what the name pins.
        let meta = match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Err(Error::MissingFile { path }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::MissingFile { path });
            }
            Err(error) => return Err(Error::io(&path, error)),
        };
        if meta.len() != entry.size {
            return Err(Error::WrongSize { path, wanted: entry.size, found: meta.len() });
        }
        if content {
            let (found, _) = hash_file(&path)?;
            if found != entry.sha256 {
                return Err(Error::WrongHash { path, wanted: entry.sha256, found });
            }
        }
        Ok(())
    }
}
