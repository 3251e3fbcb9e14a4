//! How a recipe's packages are chosen: anew, or so that as much as can be stays as it is locked.
//!
//! What is locked is kept, also when the archive has newer versions or no longer has the locked one. A locked package is
//! given up when its update is asked for, when nothing needs it any more, or when something that was asked for cannot be
//! had beside it, as a new version that needs a newer library. A superseded package's dependencies are read from the
//! package itself, which the build needs anyway.

use std::collections::{BTreeMap, BTreeSet};

use store::Store;

use super::fetch::fetch;
use super::{Asked, Lock, LockedPackage, LockedSuite, Request, Step};
use crate::debian::archive::{BEHIND, Suite};
use crate::debian::fetch::Fetcher;
use crate::debian::packages::{Index, Package};
use crate::debian::{date, deb, resolve};
use crate::error::{Error, Result};
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// What may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Only what must.
    Needed,
    /// These packages, and what must with them.
    Named(BTreeSet<String>),
    /// Everything.
    All,
}

/// A choice to be made.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The recipe.
    pub file: &'a RecipeFile,
    /// What was locked before.
    pub earlier: Option<&'a Lock>,
    /// What may change of it.
    pub update: &'a Update,
    /// Where fetched packages are.
    pub store: &'a Store,
    /// What brings packages.
    pub fetcher: &'a Fetcher<'a>,
    /// Who is told.
    pub reporter: Reporter,
}

impl Choice<'_> {
    /// Makes it, out of what the archive has now.
    pub fn make(&self, mut index: Index, suites: &[Suite]) -> Result<Lock> {
        self.check_names(&index)?;
        self.check_dates(suites)?;
        let locked: BTreeMap<&str, &LockedPackage> = match (self.kept(), self.update) {
            (None, _) | (_, Update::All) => BTreeMap::new(),
            (Some(lock), _) => lock.all().iter().map(|package| (&*package.name, package)).collect(),
        };
        let kernel = self.kernel(&index)?;
        let mut free: BTreeSet<String> = match self.update {
            Update::Named(names) => names.clone(),
            _ => BTreeSet::new(),
        };
        let mut seen = BTreeSet::new();
        let steps: Vec<(Step, Vec<Package>)> = loop {
            let steps = match self.steps(&index) {
                Ok(steps) => steps,
                Err(error @ Error::Unresolved(_)) => {
                    // What is held may need something locked of which the archive has no version any more.
                    let absent = index.absent_for_held()?;
                    let absent: Vec<&LockedPackage> = absent
                        .iter()
                        .filter(|name| !free.contains(*name))
                        .filter_map(|name| locked.get(name.as_str()).copied())
                        .collect();
                    if !absent.is_empty() {
                        self.hold(&mut index, &absent)?;
                        continue;
                    }
                    let hindrances = index.hindrances(&seen)?;
                    if hindrances.is_empty() {
                        return Err(error);
                    }
                    for name in hindrances {
                        index.release(&name);
                        free.insert(name);
                    }
                    index.finish()?;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let chosen = || steps.iter().flat_map(|(_, packages)| packages);
            seen.extend(chosen().map(|package| package.name.clone()));
            // What is chosen in another version than is locked, and could be kept.
            let superseded = |package: &&Package| {
                let locked = locked.get(&*package.name).filter(|_| !free.contains(&package.name))?;
                (package.sha256 != locked.sha256).then_some(*locked)
            };
            // A package may be chosen for several steps.
            let keep: BTreeMap<&str, &LockedPackage> =
                chosen().filter_map(superseded).map(|package| (&*package.name, package)).collect();
            if keep.is_empty() {
                break steps
                    .into_iter()
                    .map(|(step, packages)| (step, packages.into_iter().cloned().collect()))
                    .collect();
            }
            self.hold(&mut index, &keep.into_values().collect::<Vec<_>>())?;
        };
        Ok(self.lock(kernel, steps, suites))
    }

    /// What was locked before, if it was chosen from the parts of the archive that the recipe asks for now.
    fn kept(&self) -> Option<&Lock> {
        let debian = &self.file.recipe.debian;
        self.earlier.filter(|lock| {
            let same = match &lock.asked {
                Asked::For(request) => request.components == debian.components,
                Asked::ForHash(_) => true,
            };
            same && lock.suites.iter().any(|suite| suite.name == debian.release)
        })
    }

    /// Holds locked packages back.
    fn hold(&self, index: &mut Index, locked: &[&LockedPackage]) -> Result<()> {
        for package in self.of_archives(locked)? {
            index.hold(package);
        }
        index.finish()
    }

    /// The packages of the steps but the kernel.
    fn steps<'i>(&self, index: &'i Index) -> Result<[(Step, Vec<&'i Package>); 2]> {
        let recipe = &self.file.recipe;
        // Only the one program of the initramfs's package is used, and it is static: nothing comes along.
        let named = std::slice::from_ref(&recipe.initramfs.busybox);
        let mut own = resolve::closure(index, named, &[])?;
        own.retain(|package| package.name == recipe.initramfs.busybox);
        let rootfs = resolve::closure(index, &recipe.rootfs.packages, &recipe.rootfs.exclude)?;
        Ok([(Step::Initramfs, own), (Step::Rootfs, rootfs)])
    }

    /// The kernel's package, if it comes from one: the locked one, while the recipe asks for what it asked for then.
    fn kernel(&self, index: &Index) -> Result<Option<LockedPackage>> {
        let kernel = &self.file.recipe.kernel;
        let Some(asked) = kernel.locked() else { return Ok(None) };
        let same = |lock: &&Lock| match &lock.asked {
            Asked::For(request) => request.kernel.as_deref() == Some(asked),
            Asked::ForHash(_) => lock.misfit(&self.file.recipe).is_none(),
        };
        let locked = self.kept().filter(same).and_then(|lock| lock.packages(Step::Kernel).next());
        let kept = match self.update {
            Update::Needed => locked,
            Update::Named(names) => {
                locked.filter(|package| !names.contains(asked) && !names.contains(&package.name))
            }
            Update::All => None,
        };
        Ok(Some(match kept {
            Some(package) => LockedPackage { steps: vec![Step::Kernel], ..package.clone() },
            None => {
                let names = if kernel.source.is_some() { "linux-source-" } else { "linux-image-" };
                locked_package(resolve::kernel(index, asked, names)?, Step::Kernel)
            }
        }))
    }

    fn lock(
        &self,
        kernel: Option<LockedPackage>,
        steps: Vec<(Step, Vec<Package>)>,
        suites: &[Suite],
    ) -> Lock {
        let mut packages = Vec::from_iter(kernel);
        for (step, chosen) in steps {
            for package in &chosen {
                match packages.iter_mut().find(|locked| locked.name == package.name) {
                    Some(locked) => locked.steps.push(step),
                    None => packages.push(locked_package(package, step)),
                }
            }
        }
        packages.sort_by(|a, b| a.name.cmp(&b.name));
        let suites = suites.iter().map(|suite| match self.newer_locked(suite) {
            Some(newer) => newer.clone(),
            None => LockedSuite {
                archive: suite.archive,
                name: suite.name.clone(),
                date: suite.date.clone(),
                in_release: suite.in_release,
            },
        });
        let asked = Asked::For(Request::of(&self.file.recipe));
        Lock { asked, suites: suites.collect(), packages }
    }

    /// Whoever asks for the update of a package has misspelt it if it is nowhere.
    fn check_names(&self, index: &Index) -> Result<()> {
        let Update::Named(names) = self.update else { return Ok(()) };
        let locked = self.earlier.map_or(&[][..], Lock::all);
        let is_known = |name: &&String| {
            locked.iter().any(|package| package.name == **name)
                || self.file.recipe.kernel.locked() == Some(name.as_str())
        };
        match names.iter().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => {
                let likeness = |package: &&LockedPackage| strsim::jaro_winkler(&package.name, name);
                let near = locked.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
                let near = near.filter(|package| likeness(package) > 0.85);
                let told = match (index.get(name), near) {
                    (None, Some(near)) => format!("; it has {}", near.name),
                    _ => String::new(),
                };
                let reason = format!("has no package {name} that could be updated{told}");
                Err(Error::Lock { path: self.file.lock.clone(), reason })
            }
        }
    }

    /// A signed list that is older than the one the lock was made from is a true one, and yesterday's. Who asks for the
    /// newest packages does not get them there. What is locked is not touched by it, so that a mirror that lags a little
    /// will do for the rest; a store that has seen the newer list refuses it anyway.
    fn check_dates(&self, suites: &[Suite]) -> Result<()> {
        for suite in suites {
            let Some(newer) = self.newer_locked(suite) else { continue };
            let what = format!("{} {} InRelease", suite.archive.name(), suite.name);
            let reason = format!("is of {}, and the lock was made from one of {}", suite.date, newer.date);
            if *self.update != Update::Needed {
                return Err(Error::Verification { what, reason, hint: BEHIND });
            }
            self.reporter.line(format!("{what}: {reason}: the mirror is behind"));
        }
        Ok(())
    }

    /// The same suite as it was when the lock was made, if that was later.
    fn newer_locked(&self, suite: &Suite) -> Option<&LockedSuite> {
        let mut locked = self.earlier.iter().flat_map(|lock| &lock.suites);
        let locked = locked.find(|locked| locked.archive == suite.archive && locked.name == suite.name)?;
        (date::parse(&suite.date) < date::parse(&locked.date)).then_some(locked)
    }

    /// Packages that the lists no longer have, as they say of themselves.
    fn of_archives(&self, locked: &[&LockedPackage]) -> Result<Vec<Package>> {
        let paths = fetch(self.fetcher, self.store, self.file, locked)?;
        locked.iter().zip(paths).map(|(locked, path)| package(locked, &deb::control(&path)?)).collect()
    }
}

/// A locked package with what it says of itself.
fn package(locked: &LockedPackage, control: &str) -> Result<Package> {
    let LockedPackage { name, path, size, sha256, .. } = locked;
    let listed = format!("{}\nFilename: {path}\nSize: {size}\nSHA256: {sha256}\n", control.trim_end());
    let package = Package::of_text(name, &listed, locked.archive, &locked.suite)?;
    if package.name != *name || package.version.as_str() != locked.version {
        let reason = format!("is {} {} by its own words", package.name, package.version);
        return Err(Error::malformed(format!("package {name} {}", locked.version), reason));
    }
    Ok(package)
}

fn locked_package(package: &Package, step: Step) -> LockedPackage {
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
