//! `samovar path`

use super::store_option::StoreOption;
use crate::error::Result;

/// Print the directory of an artifact
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = self.store.find(&self.artifact)?;
        println!("{}", artifact.dir().display());
        Ok(())
    }
}
