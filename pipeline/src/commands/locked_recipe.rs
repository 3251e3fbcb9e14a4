//! A recipe and the lock that it must have: what commands look at that build nothing.

use std::path::PathBuf;

use super::store_option::StoreOption;
use crate::build::Target;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::plan::{Planned, plan};
use crate::recipe::RecipeFile;

/// Which recipe it is.
#[derive(Debug, clap::Args)]
pub(super) struct LockedRecipe {
    /// The recipe, such as recipes/firefox.toml
    recipe: PathBuf,
    /// Another lock than the one beside the recipe
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
}

impl LockedRecipe {
    /// The recipe, and its lock, which must be there and fit.
    pub(super) fn read(self) -> Result<(RecipeFile, Lock)> {
        let file = RecipeFile::read(&self.recipe)?.with_lock(self.lock_file);
        let missing = || Error::Lock { path: file.lock.clone(), reason: "is not there".into() };
        let lock = Lock::read(&file.lock, &file.recipe)?.ok_or_else(missing)?;
        Ok((file, lock))
    }
}

/// What `why` and `tree` look at: a recipe, and how its build stands in a store.
#[derive(Debug, clap::Args)]
pub(super) struct PlannedBuild {
    #[command(flatten)]
    recipe: LockedRecipe,
    #[command(flatten)]
    store: StoreOption,
}

impl PlannedBuild {
    /// The store, the recipe, and its steps in order.
    pub(super) fn read(self) -> Result<(store::Store, RecipeFile, Vec<Planned>)> {
        let store = self.store.open(&self.recipe.recipe)?;
        let (file, lock) = self.recipe.read()?;
        let steps = plan(&file, &lock, &store, Target::WarmBase)?;
        Ok((store, file, steps))
    }
}
