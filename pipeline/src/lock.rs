//! Locks: which packages, to the byte, a recipe is built from.

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};
use store::Hash;

use crate::debian::archive::Suite;
use crate::debian::packages::{Index, Package};
use crate::debian::resolve;
use crate::debian::sources::Archive;
use crate::error::{Error, IoContext, Result};
use crate::recipe::Recipe;

/// The format written. Every format ever written stays readable.
const VERSION: u32 = 1;

/// A lock of many thousand packages stays below this.
const MAX_BYTES: u64 = 16 << 20;

/// A lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Lock {
    version: u32,
    /// The hash of what the recipe asks for; a lock made for something else is refused.
    inputs: Hash,
    /// Where it was looked.
    #[serde(default, rename = "suite")]
    suites: Vec<LockedSuite>,
    /// The packages, sorted by name.
    #[serde(default, rename = "package")]
    packages: Vec<LockedPackage>,
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

/// What of a recipe decides which packages there are.
#[derive(Serialize)]
struct Inputs<'a> {
    release: &'a str,
    components: &'a [String],
    kernel: &'a str,
    busybox: &'a str,
    packages: &'a [String],
    exclude: &'a [String],
}

fn inputs(recipe: &Recipe) -> Hash {
    let inputs = Inputs {
        release: &recipe.debian.release,
        components: &recipe.debian.components,
        kernel: &recipe.kernel.package,
        busybox: &recipe.initramfs.busybox,
        packages: &recipe.rootfs.packages,
        exclude: &recipe.rootfs.exclude,
    };
    // Plain strings in plain structs: there is nothing that could fail to be written.
    Hash::of(&serde_json::to_vec(&inputs).unwrap_or_default())
}

impl Lock {
    /// Chooses the packages for a recipe.
    pub fn resolve(recipe: &Recipe, index: &Index, suites: &[Suite]) -> Result<Lock> {
        let kernel = resolve::kernel(index, &recipe.kernel.package)?;
        // Only the one program of the initramfs's package is used, and it is static: nothing comes along.
        let named = std::slice::from_ref(&recipe.initramfs.busybox);
        let mut own = resolve::closure(index, named, &[])?;
        own.retain(|package| package.name == recipe.initramfs.busybox);
        let rootfs = resolve::closure(index, &recipe.rootfs.packages, &recipe.rootfs.exclude)?;
        let mut packages: Vec<LockedPackage> = Vec::new();
        for (step, chosen) in [(Step::Kernel, vec![kernel]), (Step::Initramfs, own), (Step::Rootfs, rootfs)] {
            for package in chosen {
                match packages.iter_mut().find(|locked| locked.name == package.name) {
                    Some(locked) => locked.steps.push(step),
                    None => packages.push(locked(package, step)),
                }
            }
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        let suites = suites.iter().map(|suite| LockedSuite {
            archive: suite.archive,
            name: suite.name.clone(),
            date: suite.date.clone(),
            in_release: suite.in_release,
        });
        Ok(Lock { version: VERSION, inputs: inputs(recipe), suites: suites.collect(), packages })
    }

    /// Reads the lock at `path`, if there is one, and checks that it is the recipe's.
    pub fn read(path: &Path, recipe: &Recipe) -> Result<Option<Lock>> {
        let bad = |reason: String| Error::Lock { path: path.into(), reason };
        match fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, error)),
            Ok(meta) if meta.len() > MAX_BYTES => return Err(bad(format!("longer than {MAX_BYTES} bytes"))),
            Ok(_) => {}
        }
        let text = fs::read_to_string(path).at(path)?;
        let lock = Lock::parse(&text).map_err(&bad)?;
        if lock.inputs != inputs(recipe) {
            return Err(bad("was made for other packages than the recipe asks for now".into()));
        }
        Ok(Some(lock))
    }

    fn parse(text: &str) -> Result<Lock, String> {
        #[derive(Deserialize)]
        struct Format {
            version: u32,
        }
        let parse_error = |error: toml::de::Error| error.to_string().trim_end().to_owned();
        let Format { version } = toml::from_str(text).map_err(parse_error)?;
        if version != VERSION {
            return Err(format!("is of format {version}; this program reads format {VERSION}"));
        }
        let lock: Lock = toml::from_str(text).map_err(parse_error)?;
        if !lock.packages.is_sorted_by(|a, b| a.name < b.name) {
            return Err("its packages are not sorted, or one is there twice".into());
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._+~-:%=@".contains(c);
        let path = |path: &str| path.chars().all(plain) && !path.split('/').any(|part| part == "..");
        match lock.packages.iter().find(|package| !path(&package.path) || package.size > 4 << 30) {
            Some(package) => Err(format!("package {} has an impossible path or size", package.name)),
            None => Ok(lock),
        }
    }

    /// Writes the lock, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new().prefix(".lock-").tempfile_in(directory).at(directory)?;
        file.write_all(self.to_text()?.as_bytes()).at(path)?;
        // A temporary file is private; a lock is to be read and committed like the recipe.
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(fs::Permissions::from_mode(0o644)).at(path)?;
        file.as_file().sync_all().at(path)?;
        file.persist(path).map_err(|error| Error::io(path, error.error))?;
        Ok(())
    }

    fn to_text(&self) -> Result<String> {
        let body = toml::to_string(self).map_err(|error| Error::build("lock", error))?;
        Ok(format!("# The packages of the recipe beside this file, made by `samovar lock`.\n\n{body}"))
    }

    /// The packages that a step takes, in order of their names.
    pub fn packages(&self, step: Step) -> impl Iterator<Item = &LockedPackage> {
        self.packages.iter().filter(move |package| package.steps.contains(&step))
    }

    /// All packages.
    pub fn all(&self) -> &[LockedPackage] {
        &self.packages
    }

    /// Says what differs from an earlier lock, package by package.
    pub fn changes_since(&self, earlier: &Lock) -> Vec<String> {
        let version = |lock: &Lock, name: &str| {
            lock.packages.iter().find(|package| package.name == name).map(|package| package.version.clone())
        };
        let mut names: Vec<&String> =
            self.packages.iter().chain(&earlier.packages).map(|package| &package.name).collect();
        names.sort();
        names.dedup();
        let change = |name: &String| match (version(earlier, name), version(self, name)) {
            (Some(old), Some(new)) if old != new => Some(format!("{name} {old} -> {new}")),
            (Some(old), None) => Some(format!("{name} {old} removed")),
            (None, Some(new)) => Some(format!("{name} {new} added")),
            _ => None,
        };
        names.into_iter().filter_map(change).collect()
    }
}

fn locked(package: &Package, step: Step) -> LockedPackage {
    LockedPackage {
        name: package.name.clone(),
        version: package.version.as_str().to_owned(),
        architecture: package.architecture.clone(),
        archive: package.archive,
        suite: package.suite.clone(),
        path: package.path.clone(),
        size: package.size,
        sha256: package.sha256,
        steps: vec![step],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 1 was first written; it stays readable for ever.
    const V1: &str = r#"# The packages of the recipe beside this file, made by `samovar lock`.

version = 1
inputs = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[[suite]]
archive = "debian"
name = "trixie"
date = "Sat, 21 Nov 2026 09:15:44 UTC"
in-release = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[[package]]
name = "busybox-static"
version = "1:1.37.0-6+b9"
architecture = "arm64"
archive = "debian"
suite = "trixie"
path = "pool/main/b/busybox/busybox-static_1.37.0-6+b9_arm64.deb"
size = 847552
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
steps = ["initramfs", "rootfs"]
"#;

    #[test]
    fn the_first_format_is_read_and_written() {
        let lock = Lock::parse(V1).unwrap();
        assert_eq!(lock.packages(Step::Rootfs).count(), 1);
        assert_eq!(lock.packages(Step::Kernel).count(), 0);
        assert_eq!(lock.to_text().unwrap(), V1);
    }

    #[test]
    fn what_is_refused() {
        for (from, to) in [
            ("version = 1\n", "version = 2\n"),
            ("pool/main", "../main"),
            ("size = 847552", "size = -1"),
            ("size = 847552", "size = 99999999999999"),
            ("\"rootfs\"", "\"root\""),
            ("suite = \"trixie\"", "suit = \"trixie\""),
            ("sha256 = \"ba", "sha256 = \"BA"),
        ] {
            assert!(V1.contains(from), "{from}");
            assert!(Lock::parse(&V1.replacen(from, to, 1)).is_err(), "{to}");
        }
        let package = V1.split_once("[[package]]").unwrap().1;
        assert!(Lock::parse(&format!("{V1}\n[[package]]{package}")).unwrap_err().contains("twice"));
    }

    #[test]
    fn changes_are_told() {
        let old = Lock::parse(V1).unwrap();
        let new = Lock::parse(&V1.replace("-6+b9\"", "-7\"")).unwrap();
        assert_eq!(new.changes_since(&old), ["busybox-static 1:1.37.0-6+b9 -> 1:1.37.0-7"]);
        assert!(old.changes_since(&old).is_empty());
    }
}
