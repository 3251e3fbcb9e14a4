//! The very packages that a lock names.

use std::path::PathBuf;

use store::Store;

use super::LockedPackage;
use crate::debian::fetch::{Fetcher, Pinned};
use crate::error::{Error, Result};
use crate::recipe::RecipeFile;

/// Fetches packages of a recipe's lock into the store's cache, or finds them there; their paths, in order.
///
/// # Errors
/// Mirrors drop a version once there is a newer one: then all that are gone are named at once.
pub fn fetch(
    fetcher: &Fetcher,
    store: &Store,
    file: &RecipeFile,
    packages: &[&LockedPackage],
) -> Result<Vec<PathBuf>> {
    let names: Vec<String> =
        packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
    let pinned: Vec<Pinned> = packages
        .iter()
        .zip(&names)
        .map(|(package, name)| Pinned {
            name,
            archive: package.archive,
            path: &package.path,
            size: package.size,
            sha256: package.sha256,
        })
        .collect();
    let paths = fetcher.all(store, "packages", &pinned)?;
    let gone: Vec<&LockedPackage> =
        packages.iter().zip(&paths).filter(|(_, path)| path.is_none()).map(|(package, _)| *package).collect();
    match gone.is_empty() {
        true => Ok(paths.into_iter().flatten().collect()),
        false => Err(Error::gone(file, &gone)),
    }
}
