//! `samovar rm`

use serde_json::json;
use store::Store;

use super::store_option::StoreOption;
use crate::error::Result;

/// Remove artifacts that nothing needs and nobody uses, and the names that lead to them
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Names, or hashes or their beginnings
    #[arg(required = true, value_name = "ARTIFACT")]
    artifacts: Vec<String>,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let store = self.store.existing()?;
        // All are found before any is gone.
        let hashes = self.artifacts.iter().map(|text| store.find(text)).collect::<Result<Vec<_>, _>>()?;
        let store = Store::open(store.dir())?;
        for hash in &hashes {
            store.remove(hash)?;
            if !self.json {
                println!("{hash}");
            }
        }
        if self.json {
            println!("{:#}", json!({ "removed": hashes }));
        }
        Ok(())
    }
}
