//! Content-addressed artifacts on disk.
//!
//! An artifact is a directory whose name is the SHA-256 of its own manifest. The manifest holds the size
//! and hash of every file in it and the hashes of the artifacts it needs, so one name pins everything.
//!
//! ```text
//! artifacts/
//!   <sha256>/            an artifact, never changed once it is here
//!     manifest.json      what the name is the hash of
//!     ...                the files the manifest lists
//!   names/<name>         the hash of the latest artifact of that name
//!   keys/<sha256>        what came out of the build step with this key
//!   cache/<sha256>       bytes fetched from elsewhere, kept because mirrors drop old versions
//!   partial/<sha256>     the beginning of such bytes, or an artifact that is coming in, to go on from after a break, and its parts
//!   records/<name>       what went into the last build of that name
//!   fetched/<sha256>     the hash of what was last fetched under the name that this is the hash of
//!   provenance/<sha256>  how the artifact of this hash was made, by the word of who made it
//!   .staging/            what is being written; a dead process's leavings are removed at the next open
//! ```
//!
//! Everything is written in `.staging/`, flushed, and renamed into place, so a reader never sees half of
//! anything and a killed writer leaves the store sound. This crate knows nothing of what it stores.

mod arrival;
mod artifact;
mod contents;
mod error;
mod hash;
mod hold;
mod index;
mod leftovers;
mod locate;
mod manifest;
mod partial;
mod record;
mod spool;
mod staging;
mod taken;

pub use arrival::{Arrival, Incoming};
pub use artifact::Artifact;
pub use contents::Listed;
pub use error::{Error, Result};
pub use hash::{Hash, HashParseError, Hasher, hash_file};
pub use hold::Hold;
pub use leftovers::Leftover;
pub use locate::{cache_dir, default_dir};
pub use manifest::{FileEntry, Kind, MANIFEST, Manifest};
pub use partial::Partial;
pub use spool::Spool;
pub use staging::{Scratch, StagedFile, Staging};
pub use taken::take;

use std::fs;
use std::path::{Path, PathBuf};

use error::IoContext;

/// A directory of artifacts.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens the store in `dir`, which is made if it is missing, and clears what dead processes left.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Store> {
        let dir = dir.into();
        for sub in ["", "names", "keys", "cache", "partial", "fetched", "records", "provenance", ".staging"] {
            let path = dir.join(sub);
            fs::create_dir_all(&path).at(&path)?;
        }
        staging::remove_stale(&dir)?;
        Ok(Store { dir })
    }

    /// The store that is in `dir`, as it is, to look at: nothing is made or cleared, so that it may be on a disk that
    /// cannot be written.
    pub fn existing(dir: impl Into<PathBuf>) -> Result<Store> {
        let dir = dir.into();
        if dir.join("names").is_dir() { Ok(Store { dir }) } else { Err(Error::NoStore { path: dir }) }
    }

    /// The directory the store is in, as it was given to [`Store::open`].
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the artifact with this hash is, or would be.
    pub fn path_of(&self, hash: &Hash) -> PathBuf {
        self.dir.join(hash.to_string())
    }

    /// Begins a new artifact.
    pub fn stage(&self) -> Result<Staging> {
        Staging::new(&self.dir)
    }

    /// A private temporary directory on the store's file system, removed when it is dropped.
    pub fn scratch(&self) -> Result<Scratch> {
        Scratch::new(&self.dir)
    }

    /// Loads an artifact: its manifest is checked against its name, its files for presence and size, and
    /// the small ones for content. [`Store::verify`] checks every byte.
    pub fn load(&self, hash: &Hash) -> Result<Artifact> {
        let artifact = Artifact::open(self.path_of(hash))?;
        if artifact.hash() != hash {
            return Err(Error::WrongHash {
                path: self.path_of(hash).join(MANIFEST),
                wanted: *hash,
                found: *artifact.hash(),
            });
        }
        Ok(artifact)
    }

    /// Checks every byte of an artifact and of all that it needs.
    pub fn verify(&self, hash: &Hash) -> Result<Artifact> {
        let artifact = self.load(hash)?;
        artifact.verify()?;
        Ok(artifact)
    }

    /// Whether an artifact of this hash can be loaded.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.load(hash).is_ok()
    }
}

#[cfg(test)]
mod tests;
