//! `samovar lock`

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::make_lock;
use super::store_option::StoreOption;
use crate::debian::fetch::Fetcher;
use crate::debian::sources::Mirrors;
use crate::error::Result;
use crate::lock::choose::{Choice, Update};
use crate::lock::{Change, Lock};
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
    /// As JSON
    ///
    /// An object with the path of the `lock`, whether it was `written`, its `packages` (each a `name` and a `version`), and
    /// the `changes` since the lock that was there: each a `name`, and the versions `before` and `after`, null where it
    /// was not or is no longer there. Where no lock was there, every package is new, and `changes` is empty.
    #[arg(long)]
    json: bool,
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
            let written = renewed != *lock;
            if written {
                renewed.write(&file.lock)?;
            }
            reporter.line(format!("{}: has all that the recipe asks for", file.lock.display()));
            if self.json {
                answer(&file.lock, lock, written, &[]);
            }
            return Ok(());
        }
        let store = self.store.open(&self.recipe)?;
        let mirrors = Mirrors::of_host();
        let fetcher = Fetcher::new(&mirrors, self.offline, reporter);
        let earlier = earlier.as_ref();
        let choice =
            Choice { file: &file, earlier, update: &update, store: &store, fetcher: &fetcher, reporter };
        let lock = make_lock(&choice)?;
        if self.json {
            let changes = earlier.map(|earlier| lock.changes_since(earlier)).unwrap_or_default();
            answer(&file.lock, &lock, true, &changes);
        }
        Ok(())
    }
}

/// Prints what came of it, for programs.
fn answer(path: &Path, lock: &Lock, written: bool, changes: &[Change]) {
    let packages = lock.all().iter().map(|one| json!({ "name": one.name, "version": one.version }));
    let packages = Value::from_iter(packages);
    println!("{:#}", json!({ "lock": path, "written": written, "packages": packages, "changes": changes }));
}
