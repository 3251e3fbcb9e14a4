//! Where the store is when nobody says so.

use std::env;
use std::path::{Path, PathBuf};

/// The `artifacts` directory beside the `Cargo.toml` nearest above the current directory, or above `near`; without one,
/// `artifacts` in the current directory.
pub fn default_dir(near: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    let beside = near.canonicalize().unwrap_or_default();
    let above = here.ancestors().chain(beside.ancestors());
    let mut stores = above.filter(|dir| dir.join("Cargo.toml").is_file()).map(|dir| dir.join("artifacts"));
    let found = stores.find(|store| store.is_dir()).unwrap_or_else(|| here.join("artifacts"));
    // Inside the current directory the short form is what people paste.
    found.strip_prefix(&here).map(Path::to_owned).unwrap_or(found)
}

/// The user's own store, for those who have no other: `samovar` in the directory for what can be had again (XDG Base
/// Directory Specification, `XDG_CACHE_HOME`). None without a home.
pub fn cache_dir() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")));
    cache.map(|cache| cache.join("samovar"))
}
