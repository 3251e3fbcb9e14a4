//! `samovar verify`

use std::path::PathBuf;

use super::{existing_store, find};
use crate::error::Result;

/// Check every byte of an artifact and of all that it needs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The artifact's directory, as `build` prints it; or a name, a hash or its beginning
    artifact: String,
    /// The directory of artifacts [default: `artifacts` beside the workspace's Cargo.toml]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = find(&self.artifact, || existing_store(self.store.as_deref()))?;
        artifact.verify()?;
        println!("{} {}", artifact.kind(), artifact.hash());
        Ok(())
    }
}
