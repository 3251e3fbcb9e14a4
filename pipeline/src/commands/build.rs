//! `samovar build`

use std::path::{Path, PathBuf};

use super::{make_lock, open_store};
use crate::build::{Build, Target};
use crate::debian::sources::Mirrors;
use crate::error::Result;
use crate::lock::Lock;
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// Build a recipe and print the path of the artifact
///
/// Steps whose inputs have not changed are not done again. Without a lock beside the recipe, one is made first; with
/// one, only the very bytes it names are taken.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/hello.toml
    recipe: PathBuf,
    /// The directory of artifacts [default: `artifacts` beside the workspace's Cargo.toml]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Stop after this step and print the path of its artifact
    #[arg(long, value_name = "STEP", default_value = "warm-base")]
    until: Target,
    /// Do every step again, and say whether the same bytes came out
    #[arg(long)]
    rebuild: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let path = build(&self.recipe, self.store.as_deref(), self.until, self.rebuild)?;
        println!("{}", path.display());
        Ok(())
    }
}

/// Builds `recipe` up to `until`; the path of the artifact.
pub(super) fn build(recipe: &Path, store: Option<&Path>, until: Target, rebuild: bool) -> Result<PathBuf> {
    let reporter = Reporter::new();
    let file = RecipeFile::read(recipe)?;
    let store = open_store(store, recipe)?;
    let mirrors = Mirrors::of_host();
    let lock = match Lock::read(&file.lock_path(), &file.recipe)? {
        Some(lock) => lock,
        None => make_lock(&file, &store, &mirrors, &reporter)?,
    };
    let build = Build { file: &file, lock: &lock, store: &store, mirrors: &mirrors, rebuild, reporter };
    let outcome = build.run(until)?;
    if outcome.built.is_empty() {
        reporter.line("up to date");
    }
    Ok(store.path_of(outcome.artifact.hash()))
}
