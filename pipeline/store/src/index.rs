//! What leads to artifacts: names, build steps' keys, and the cache of fetched bytes.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::Store;
use crate::error::{Error, IoContext, Result};
use crate::hash::{Hash, hash_file};
use crate::manifest::is_plain_name;
use crate::staging::Scratch;

impl Store {
    /// What came out of the build step with this key, if it is still here and loads.
    pub fn step(&self, key: &Hash) -> Result<Option<Hash>> {
        let found = self.pointer(&self.dir().join("keys").join(key.to_string()))?;
        Ok(found.filter(|hash| self.contains(hash)))
    }

    /// Remembers what came out of a build step.
    pub fn set_step(&self, key: &Hash, artifact: &Hash) -> Result<()> {
        self.point(&self.dir().join("keys").join(key.to_string()), artifact)
    }

    /// The latest artifact of a name.
    pub fn name(&self, name: &str) -> Result<Option<Hash>> {
        self.pointer(&self.name_path(name)?)
    }

    /// Makes a name point to an artifact.
    pub fn set_name(&self, name: &str, artifact: &Hash) -> Result<()> {
        self.point(&self.name_path(name)?, artifact)
    }

    fn name_path(&self, name: &str) -> Result<PathBuf> {
        if !is_plain_name(name) {
            return Err(Error::BadName { name: name.into() });
        }
        Ok(self.dir().join("names").join(name))
    }

    /// The cached bytes with this hash and size, checked anew: a cache entry that is not what its name says is
    /// removed.
    pub fn cached(&self, hash: &Hash, size: u64) -> Result<Option<PathBuf>> {
        let path = self.dir().join("cache").join(hash.to_string());
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => {
                if meta.len() == size && hash_file(&path)? == (*hash, size) {
                    return Ok(Some(path));
                }
                fs::remove_file(&path).at(&path)?;
                Ok(None)
            }
            Ok(_) => Err(Error::UnexpectedFile { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(&path, error)),
        }
    }

    /// Puts a file of a scratch directory, whose hash its writer has checked, into the cache.
    pub fn keep(&self, scratch: &Scratch, name: &str, hash: &Hash) -> Result<PathBuf> {
        let target = self.dir().join("cache").join(hash.to_string());
        scratch.publish(name, &target)?;
        Ok(target)
    }

    /// Puts small bytes into the cache, as what was last fetched under a name.
    pub fn remember(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let hash = Hash::of(bytes);
        let scratch = self.scratch()?;
        let mut file = scratch.create("fetched")?;
        file.write_all(bytes).at(file.path())?;
        file.finish()?;
        self.keep(&scratch, "fetched", &hash)?;
        self.point(&self.fetched_path(name), &hash)
    }

    /// What was last fetched under a name, if it is still here and no longer than `limit`.
    pub fn remembered(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(hash) = self.pointer(&self.fetched_path(name))? else { return Ok(None) };
        let path = self.dir().join("cache").join(hash.to_string());
        match fs::metadata(&path) {
            Ok(meta) if meta.len() <= limit => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, error)),
        }
        let bytes = fs::read(&path).at(&path)?;
        Ok((Hash::of(&bytes) == hash).then_some(bytes))
    }

    /// How an artifact was made, if that was recorded and is no longer than `limit`. Its hash does not cover this.
    pub fn provenance(&self, artifact: &Hash, limit: u64) -> Result<Option<Vec<u8>>> {
        let path = self.provenance_path(artifact);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => file.take(limit + 1).read_to_end(&mut bytes).at(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, error)),
        };
        Ok((bytes.len() as u64 <= limit).then_some(bytes))
    }

    /// Records how an artifact was made.
    pub fn set_provenance(&self, artifact: &Hash, bytes: &[u8]) -> Result<()> {
        let scratch = self.scratch()?;
        let mut file = scratch.create("provenance")?;
        file.write_all(bytes).at(file.path())?;
        file.finish()?;
        scratch.publish("provenance", &self.provenance_path(artifact))
    }

    pub(crate) fn provenance_path(&self, artifact: &Hash) -> PathBuf {
        self.dir().join("provenance").join(artifact.to_string())
    }

    fn fetched_path(&self, name: &str) -> PathBuf {
        // Hashed, since a name may be anything.
        self.dir().join("fetched").join(Hash::of(name.as_bytes()).to_string())
    }

    fn pointer(&self, path: &Path) -> Result<Option<Hash>> {
        match fs::read_to_string(path) {
            // A pointer that cannot be read leads nowhere; what it led to can be built again.
            Ok(text) => Ok(text.trim_end().parse().ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Error::io(path, error)),
        }
    }

    fn point(&self, path: &Path, hash: &Hash) -> Result<()> {
        let scratch = self.scratch()?;
        let mut file = scratch.create("pointer")?;
        writeln!(file, "{hash}").at(path)?;
        file.finish()?;
        scratch.publish("pointer", path)
    }
}
