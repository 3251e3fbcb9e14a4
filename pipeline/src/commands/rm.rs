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
    ///
    /// An object with the hashes that were `removed`, also when the next one could not be.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let store = self.store.existing()?;
        // All are found before any is gone.
        let hashes = self.artifacts.iter().map(|text| store.find(text)).collect::<Result<Vec<_>, _>>()?;
        let store = Store::open(store.dir())?;
        let mut removed = Vec::new();
        let result = hashes.iter().try_for_each(|hash| {
            store.remove(hash)?;
            removed.push(hash);
            if !self.json {
                println!("{hash}");
            }
            Ok(())
        });
        if self.json {
            println!("{:#}", json!({ "removed": removed }));
        }
        result
    }
}
