//! `--store`: which store a command works on.

use std::path::{Path, PathBuf};

use store::{Artifact, Store, default_dir};

use crate::error::Result;

/// Which store it is.
#[derive(Debug, clap::Args)]
pub(super) struct StoreOption {
    /// The directory of artifacts [default: `artifacts` beside the workspace's Cargo.toml]
    #[arg(long = "store", value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl StoreOption {
    /// Opens the store that was named, or else the one of the workspace that the current directory or `recipe` is in;
    /// it is made if it is not there.
    pub(super) fn open(&self, recipe: &Path) -> Result<Store> {
        Ok(Store::open(self.dir(recipe))?)
    }

    /// Where that store is, or would be.
    pub(super) fn dir(&self, recipe: &Path) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| default_dir(recipe))
    }

    /// The store that was named, or else the workspace's, which must be there.
    pub(super) fn existing(&self) -> Result<Store> {
        Ok(Store::existing(self.dir(Path::new(".")))?)
    }

    /// The artifact that a person means: in a directory, or in the store by name or hash.
    pub(super) fn find(&self, text: &str) -> Result<Artifact> {
        if Path::new(text).is_dir() {
            return Ok(Artifact::open(text)?);
        }
        // What looks like a path is one.
        if text.contains('/') {
            return Err(store::Error::Missing { path: text.into() }.into());
        }
        let store = self.existing()?;
        Ok(store.load(&store.find(text)?)?)
    }
}
