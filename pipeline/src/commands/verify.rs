//! `samovar verify`

use std::path::PathBuf;

use store::Artifact;

use crate::error::Result;

/// Check every byte of an artifact and of all that it needs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The artifact's directory, as `build` prints it
    artifact: PathBuf,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = Artifact::open(&self.artifact)?;
        artifact.verify()?;
        println!("{} {}", artifact.kind(), artifact.hash());
        Ok(())
    }
}
