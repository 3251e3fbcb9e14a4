//! `samovar verify`

use super::store_option::StoreOption;
use crate::error::Result;

/// Check every byte of an artifact and of all that it needs
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The artifact's directory, as `build` prints it; or a name, a hash or its beginning
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = self.store.find(&self.artifact)?;
        artifact.verify()?;
        println!("{} {}", artifact.kind(), artifact.hash());
        Ok(())
    }
}
