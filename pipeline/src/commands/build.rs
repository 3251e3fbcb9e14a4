//! `samovar build`

use std::path::PathBuf;

use serde_json::json;

use super::make_lock;
use super::store_option::StoreOption;
use crate::build::{Build, Outcome, Target};
use crate::debian::fetch::Fetcher;
use crate::debian::sources::Mirrors;
use crate::error::{Error, Result};
use crate::lock::Lock;
use crate::lock::choose::{Choice, Update};
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// Build a recipe and print the path of the artifact
///
/// Steps whose inputs have not changed are not done again. Only the very bytes that the lock beside the recipe names are
/// taken. Where there is no lock, or the recipe asks for other packages than it did when the lock was made, that is put
/// right first, as `samovar lock` does it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/hello.toml
    recipe: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    /// Stop after this step and print the path of its artifact
    #[arg(long, value_name = "STEP", default_value = "warm-base")]
    until: Target,
    /// Fail rather than make or change the lock
    #[arg(long)]
    locked: bool,
    /// Another lock than the one beside the recipe
    #[arg(long, value_name = "FILE")]
    lock_file: Option<PathBuf>,
    /// Fetch nothing: use what was fetched before, and name all that is missing
    #[arg(long)]
    offline: bool,
    /// Do every step again, and say whether the same bytes came out
    #[arg(long)]
    rebuild: bool,
    /// As JSON
    ///
    /// An object with the artifact's `path` and `hash`, and the names of the steps that were `built` now.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// What builds the warm base of `recipe`.
    pub(super) fn warm_base(recipe: PathBuf, store: StoreOption, offline: bool) -> Args {
        Args {
            recipe,
            store,
            until: Target::WarmBase,
            locked: false,
            lock_file: None,
            offline,
            rebuild: false,
            json: false,
        }
    }

    pub(super) fn run(self) -> Result<()> {
        let json = self.json;
        let (path, Outcome { artifact, built }) = self.make()?;
        match json {
            true => {
                let built: Vec<String> = built.iter().map(ToString::to_string).collect();
                println!("{:#}", json!({ "path": path, "hash": artifact.hash(), "built": built }));
            }
            false => println!("{}", path.display()),
        }
        Ok(())
    }

    /// Builds; the path of the artifact.
    pub(super) fn build(self) -> Result<PathBuf> {
        Ok(self.make()?.0)
    }

    fn make(self) -> Result<(PathBuf, Outcome)> {
        let reporter = Reporter::new();
        let file = RecipeFile::read(&self.recipe)?.with_lock(self.lock_file);
        let store = self.store.open(&self.recipe)?;
        let mirrors = Mirrors::of_host();
        let fetcher = Fetcher::new(&mirrors, self.offline, reporter);
        let earlier = Lock::load(&file.lock)?;
        let misfit = match &earlier {
            None => Some("is not there".to_owned()),
            Some(lock) => lock.misfit(&file.recipe),
        };
        let lock = match (earlier, misfit) {
            (Some(lock), None) => lock,
            (_, Some(reason)) if self.locked => return Err(Error::Lock { path: file.lock, reason }),
            (earlier, _) => {
                let (earlier, update) = (earlier.as_ref(), &Update::Needed);
                let choice =
                    Choice { file: &file, earlier, update, store: &store, fetcher: &fetcher, reporter };
                make_lock(&choice)?
            }
        };
        let mut build = Build::new(&file, &lock, &store, &fetcher, reporter);
        build.rebuild = self.rebuild;
        let outcome = build.run(self.until)?;
        if outcome.built.is_empty() {
            reporter.line("up to date");
        }
        Ok((store.path_of(outcome.artifact.hash()), outcome))
    }
}
