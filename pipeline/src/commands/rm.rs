//! `samovar rm`

use std::path::PathBuf;

use store::Store;

use super::existing_store;
use crate::error::Result;

/// Remove artifacts that nothing needs and nobody uses, and the names that lead to them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names, or hashes or their beginnings
    #[arg(required = true, value_name = "ARTIFACT")]
    artifacts: Vec<String>,
    /// The directory of artifacts [default: `artifacts` beside the workspace's Cargo.toml]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let store = existing_store(self.store.as_deref())?;
        // All are found before any is gone.
        let hashes = self.artifacts.iter().map(|text| store.find(text)).collect::<Result<Vec<_>, _>>()?;
        let store = Store::open(store.dir())?;
        for hash in hashes {
            store.remove(&hash)?;
            println!("{hash}");
        }
        Ok(())
    }
}
