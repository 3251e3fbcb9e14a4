//! `samovar lock`

use std::path::PathBuf;

use super::make_lock;
use super::store_option::StoreOption;
use crate::debian::fetch::Fetcher;
use crate::debian::sources::Mirrors;
use crate::error::Result;
use crate::lock::Lock;
use crate::lock::choose::{Choice, Update};
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// Choose the packages for a recipe, and pin them in the lock beside it
///
/// What is locked already stays as it is, whatever the archive has by now: only what the recipe newly asks for is added,
/// and what it no longer needs is removed. With --update and names, those packages become the newest ones, and others
/// only if they cannot stay beside them; with --update alone everything does. What changed is said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/hello.toml
    recipe: PathBuf,
    /// Take the newest versions of these packages, or of all if none is named
    #[arg(long, value_name = "PACKAGE", num_args = 0..)]
    update: Option<Vec<String>>,
    /// Another lock than the one beside the recipe; it is read, if it is there, and written
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOption,
    /// Fetch nothing: use the lists of packages that were fetched last
    #[arg(long)]
    offline: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let file = RecipeFile::read(&self.recipe)?.with_lock(self.lock_file);
        let update = match self.update {
            None => Update::Needed,
            Some(names) if names.is_empty() => Update::All,
            Some(names) => Update::Named(names.into_iter().collect()),
        };
        let earlier = match Lock::load(&file.lock) {
            // What cannot be read is made anew only when nothing of it is to stay.
            Err(_) if update == Update::All => None,
            earlier => earlier?,
        };
        if update == Update::Needed
            && let Some(lock) = earlier.as_ref().filter(|lock| lock.misfit(&file.recipe).is_none())
        {
            let renewed = lock.clone().renewed(&file.recipe);
            if renewed != *lock {
                renewed.write(&file.lock)?;
            }
            reporter.line(format!("{}: has all that the recipe asks for", file.lock.display()));
            return Ok(());
        }
        let store = self.store.open(&self.recipe)?;
        let mirrors = Mirrors::of_host();
        let fetcher = Fetcher::new(&mirrors, self.offline, reporter);
        let earlier = earlier.as_ref();
        let choice =
            Choice { file: &file, earlier, update: &update, store: &store, fetcher: &fetcher, reporter };
        make_lock(&choice)?;
        Ok(())
    }
}
