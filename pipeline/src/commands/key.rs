//! `samovar key`

use serde_json::json;

use super::locked_recipe::LockedRecipe;
use crate::error::Result;
use crate::plan::whole_key;

/// Print the key under which CI keeps what a recipe builds
///
/// It changes with the recipe, its lock, the files that the recipe names and this program, and with nothing else: as long
/// as it is the same, a build makes the same bytes. Nothing is built or fetched; the recipe must have a lock that fits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    recipe: LockedRecipe,
    /// As JSON
    ///
    /// An object with the `key` and the recipe's `name`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (file, lock) = self.recipe.read()?;
        let key = whole_key(&file, &lock)?;
        match self.json {
            true => println!("{:#}", json!({ "key": key, "name": file.recipe.name })),
            false => println!("{key}"),
        }
        Ok(())
    }
}
