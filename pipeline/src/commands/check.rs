//! `samovar check`

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::error::{Error, IoContext, Result};
use crate::kernel::config::Fragment;
use crate::lock::Lock;
use crate::recipe::{Origin, RecipeFile};
use crate::reporter::Reporter;

/// Where recipes are looked for when none is named.
const RECIPES: &str = "recipes";

/// Check recipes without building them
///
/// A recipe is read with all that it builds on, every value is checked, the files on this host that it names are looked
/// for, and its lock, if it has one, must be made for it. All faulty recipes are told of, not only the first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipes [default: recipes/*.toml]
    recipes: Vec<PathBuf>,
    /// As JSON
    ///
    /// An array with an object for each recipe: its path as `recipe`, whether it is `ok`, whether it is `locked`, and the
    /// `error` or null.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let recipes = if self.recipes.is_empty() { all()? } else { self.recipes };
        let (mut last, mut answers) = (None, Vec::new());
        for path in &recipes {
            let checked = check(path);
            if self.json {
                answers.push(json!({
                    "recipe": path,
                    "ok": checked.is_ok(),
                    "locked": checked.as_ref().is_ok_and(|locked| *locked),
                    "error": checked.as_ref().err().map(ToString::to_string),
                }));
            }
            match checked {
                Ok(locked) => {
                    if !self.json {
                        println!("{}: ok", path.display());
                    }
                    if !locked {
                        reporter
                            .line(format!("{}: has no lock yet; `samovar lock` makes it", path.display()));
                    }
                }
                Err(error) => {
                    // The last one is said as every command's error is.
                    if let Some(earlier) = last.replace(error) {
                        Error::print(&earlier);
                    }
                }
            }
        }
        if self.json {
            println!("{:#}", Value::Array(answers));
        }
        last.map_or(Ok(()), Err)
    }
}

/// The recipes of the current directory's `recipes`, in order of their names.
fn all() -> Result<Vec<PathBuf>> {
    let directory = Path::new(RECIPES);
    let mut recipes = Vec::new();
    for entry in fs::read_dir(directory).at(directory)? {
        let path = entry.at(directory)?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            recipes.push(path);
        }
    }
    recipes.sort();
    Ok(recipes)
}

/// Whether the recipe has a lock.
fn check(path: &Path) -> Result<bool> {
    let file = RecipeFile::read(path)?;
    if let Some(init) = &file.recipe.initramfs.init {
        let init = file.resolve(init);
        fs::File::open(&init).at(&init)?;
    }
    match file.recipe.kernel.origin() {
        Origin::Package(_) => {}
        Origin::Source { config, .. } => {
            Fragment::of(&file, config)?;
        }
        Origin::File { path, .. } => {
            let path = file.resolve(path);
            fs::File::open(&path).at(&path)?;
        }
    }
    for directory in &file.recipe.rootfs.overlay {
        let directory = file.resolve(directory);
        fs::read_dir(&directory).at(&directory)?;
    }
    Ok(Lock::read(&file.lock, &file.recipe)?.is_some())
}
