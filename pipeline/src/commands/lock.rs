//! `samovar lock`

use std::path::PathBuf;

use super::{make_lock, open_store};
use crate::debian::sources::Mirrors;
use crate::error::Result;
use crate::lock::Lock;
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// Choose the packages for a recipe anew, from what the archive has now
///
/// The lock is written beside the recipe, and what changed is said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe, such as recipes/hello.toml
    recipe: PathBuf,
    /// The directory of artifacts, whose cache is used [default: as for `build`]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Fetch nothing: use the lists of packages that were fetched last
    #[arg(long)]
    offline: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let file = RecipeFile::read(&self.recipe)?;
        let store = open_store(self.store.as_deref(), &self.recipe)?;
        // An earlier lock only serves to tell what changed; one that cannot be read is what this command mends.
        let earlier = Lock::read(&file.lock_path(), &file.recipe).ok().flatten();
        let lock = make_lock(&file, &store, &Mirrors::of_host(), self.offline, &reporter)?;
        if let Some(earlier) = earlier {
            let changes = lock.changes_since(&earlier);
            if changes.is_empty() {
                reporter.line("no package changed");
            }
            changes.iter().for_each(|change| reporter.line(change));
        }
        Ok(())
    }
}
