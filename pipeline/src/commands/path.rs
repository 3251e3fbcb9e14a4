//! `samovar path`

use serde_json::json;

use super::store_option::StoreOption;
use crate::error::Result;

/// Print the directory of an artifact
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    ///
    /// An object with the artifact's `path` and `hash`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = self.store.find(&self.artifact)?;
        match self.json {
            true => println!("{:#}", json!({ "path": artifact.dir(), "hash": artifact.hash() })),
            false => println!("{}", artifact.dir().display()),
        }
        Ok(())
    }
}
