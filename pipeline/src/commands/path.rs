//! `samovar path`

use std::path::PathBuf;

use super::{existing_store, find};
use crate::error::Result;

/// Print the directory of an artifact
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning
    artifact: String,
    /// The directory of artifacts [default: `artifacts` beside the workspace's Cargo.toml]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = find(&self.artifact, || existing_store(self.store.as_deref()))?;
        println!("{}", artifact.dir().display());
        Ok(())
    }
}
