//! Locks: which packages, to the byte, a recipe is built from.
//!
//! A lock says what the recipe asked for when its packages were chosen. As long as the recipe asks for that, the lock is
//! its own, whatever the archive has in the meantime. How a lock follows a changed recipe is in [`choose`].

mod change;
pub mod choose;
pub mod fetch;
mod format;

pub use change::Change;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use store::Hash;

use crate::debian::sources::Archive;
use crate::error::{Error, IoContext, Result};
use crate::interrupt;
use crate::recipe::Recipe;

/// A lock of many thousand packages stays below this.
const MAX_BYTES: u64 = 16 << 20;

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    asked: Asked,
    /// Where it was looked.
    suites: Vec<LockedSuite>,
    /// The packages, sorted by name.
    packages: Vec<LockedPackage>,
}

/// What the packages were chosen for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// A recipe that asked for this.
    For(Request),
    /// A recipe that asked for something of which only this hash is known, as the first format has it.
    ForHash(Hash),
}

/// What of a recipe decides which packages there are. The order of the named packages is no part of it: it can only decide
/// between packages of which either will do, and that is no reason to choose anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Request {
    release: String,
    components: Vec<String>,
    /// None where the kernel comes from no package.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel: Option<String>,
    busybox: String,
    packages: BTreeSet<String>,
    exclude: BTreeSet<String>,
}

impl Request {
    fn of(recipe: &Recipe) -> Request {
        Request {
            release: recipe.debian.release.clone(),
            components: recipe.debian.components.clone(),
            kernel: recipe.kernel.locked().map(str::to_owned),
            busybox: recipe.initramfs.busybox.clone(),
            packages: recipe.rootfs.packages.iter().cloned().collect(),
            exclude: recipe.rootfs.exclude.iter().cloned().collect(),
        }
    }

    /// What a recipe that asks for this one now has that another did not have, or has no longer.
    fn difference(&self, earlier: &Request) -> String {
        let mut all = Vec::new();
        let none = "none".to_owned();
        let (kernel, earlier_kernel) = (self.kernel.as_ref(), earlier.kernel.as_ref());
        let plain = [
            ("release", &self.release, &earlier.release),
            ("kernel", kernel.unwrap_or(&none), earlier_kernel.unwrap_or(&none)),
            ("busybox", &self.busybox, &earlier.busybox),
        ];
        for (what, now, before) in plain.into_iter().filter(|(_, now, before)| now != before) {
            all.push(format!("{what} {now} instead of {before}"));
        }
        if self.components != earlier.components {
            all.push(format!("components {}", self.components.join(" ")));
        }
        for (what, now, before) in
            [("", &self.packages, &earlier.packages), ("the exclusion of ", &self.exclude, &earlier.exclude)]
        {
            all.extend(now.difference(before).map(|name| format!("{what}{name}")));
            all.extend(before.difference(now).map(|name| format!("{what}{name} no longer")));
        }
        all.join(", ")
    }
}

/// A suite that was looked at, and how it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct LockedSuite {
    archive: Archive,
    name: String,
    date: String,
    in_release: Hash,
}

/// A step of the build that takes packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The kernel and its modules.
    Kernel,
    /// The initramfs's own programs.
    Initramfs,
    /// The root file system.
    Rootfs,
}

/// A package, to the byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct LockedPackage {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture.
    pub architecture: String,
    /// The archive it is in.
    pub archive: Archive,
    /// The suite it was found in.
    pub suite: String,
    /// Where it is in the archive.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: Hash,
    /// The steps that take it.
    pub steps: Vec<Step>,
}

impl Lock {
    /// Reads the lock at `path`, if there is one, and checks that it is the recipe's.
    pub fn read(path: &Path, recipe: &Recipe) -> Result<Option<Lock>> {
        let Some(lock) = Lock::load(path)? else { return Ok(None) };
        match lock.misfit(recipe) {
            None => Ok(Some(lock)),
            Some(reason) => Err(Error::Lock { path: path.into(), reason }),
        }
    }

    /// Reads the lock at `path`, if there is one, whatever recipe it was made for.
    pub fn load(path: &Path) -> Result<Option<Lock>> {
        let bad = |reason: String| Error::Lock { path: path.into(), reason };
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, error)),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(bad(format!("longer than {MAX_BYTES} bytes"))),
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).at(path)?;
        format::parse(&text).map(Some).map_err(bad)
    }

    /// Why the lock is not that of the recipe, if it is not.
    pub fn misfit(&self, recipe: &Recipe) -> Option<String> {
        let now = Request::of(recipe);
        match &self.asked {
            Asked::For(request) if *request == now => None,
            Asked::For(request) => {
                Some(format!("was made for other packages: the recipe asks for {}", now.difference(request)))
            }
            Asked::ForHash(hash) if *hash == format::first_inputs(recipe) => None,
            Asked::ForHash(_) => Some("was made for other packages than the recipe asks for now".into()),
        }
    }

    /// The same lock in the newest format. It must be that of the recipe.
    pub fn renewed(mut self, recipe: &Recipe) -> Lock {
        self.asked = Asked::For(Request::of(recipe));
        self
    }

    /// Its text.
    pub fn to_text(&self) -> Result<String> {
        format::to_text(self).map_err(|error| Error::build("lock", error))
    }

    /// Writes the lock, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let _until_it_is_there = interrupt::put_off();
        let mut file = tempfile::Builder::new().prefix(".lock-").tempfile_in(directory).at(directory)?;
        let text = self.to_text()?;
        file.write_all(text.as_bytes()).at(path)?;
        // A temporary file is private; a lock is to be read and committed like the recipe.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).at(path)?;
        file.as_file().sync_all().at(path)?;
        file.persist(path).map_err(|error| Error::io(path, error.error))?;
        Ok(())
    }

    /// The packages that a step takes, in order of their names.
    pub fn packages(&self, step: Step) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().filter(move |package| package.steps.contains(&step))
    }

    /// All packages.
    pub fn all(&self) -> &[LockedPackage] {
        &self.packages
    }
}

#[cfg(test)]
mod tests;
