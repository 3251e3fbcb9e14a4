//! `samovar key`

use std::path::PathBuf;

use serde_json::json;

use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::plan::whole_key;
use crate::recipe::RecipeFile;

/// Print the key under which CI keeps what a recipe builds
///
/// It changes with the recipe, its lock, the files that the recipe names and this program, and with nothing else: as long
/// as it is the same, a build makes the same bytes. Nothing is built or fetched; the recipe must have a lock that fits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/firefox.toml
    recipe: PathBuf,
    /// Another lock than the one beside the recipe
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let file = RecipeFile::read(&self.recipe)?.with_lock(self.lock_file);
        let no_lock = || Error::Lock { path: file.lock.clone(), reason: "is not there".into() };
        let lock = Lock::read(&file.lock, &file.recipe)?.ok_or_else(no_lock)?;
        let key = whole_key(&file, &lock)?;
        match self.json {
            true => println!("{:#}", json!({ "key": key, "name": file.recipe.name })),
            false => println!("{key}"),
        }
        Ok(())
    }
}
