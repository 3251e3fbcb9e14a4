//! The build: which steps there are, what goes into each, and which need not be done again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use store::{Artifact, Hash, Store};

use crate::capture;
use crate::debian::deb;
use crate::debian::fetch::Fetcher;
use crate::error::{Error, IoContext, Result};
use crate::lock::fetch::fetch;
use crate::lock::{Lock, LockedPackage, Step};
use crate::provenance::Provenance;
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;
use crate::tree::{Spool, Tree};
use crate::{cpio, initramfs, kernel, rootfs};

mod inputs;

pub use inputs::{Inputs, REVISION};

/// What a build makes, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Target {
    /// The kernel's image.
    Kernel,
    /// What the kernel starts first.
    Initramfs,
    /// The root file system's image.
    Rootfs,
    /// The machine after its start.
    WarmBase,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Target::Kernel => "kernel",
            Target::Initramfs => "initramfs",
            Target::Rootfs => "rootfs",
            Target::WarmBase => "warm base",
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// What a build came to.
#[derive(Debug)]
pub struct Outcome {
    /// The artifact of the target.
    pub artifact: Artifact,
    /// The steps that were done; none if everything was there.
    pub built: Vec<Target>,
}

/// A build of one recipe.
#[derive(Debug)]
pub struct Build<'a> {
    /// The recipe.
    pub file: &'a RecipeFile,
    /// Its lock.
    pub lock: &'a Lock,
    /// Where artifacts go.
    pub store: &'a Store,
    /// What brings packages.
    pub fetcher: &'a Fetcher<'a>,
    /// Whether known steps are done again.
    pub rebuild: bool,
    /// Who is told.
    pub reporter: Reporter,
}

/// What a build has come to.
#[derive(Default)]
struct Built {
    /// The steps that were done.
    steps: Vec<Target>,
    /// Keeps what is not reached by a name yet from being cleaned up.
    held: Vec<store::Hold>,
}

impl Build<'_> {
    /// Builds up to the target, doing only the steps that are not known yet.
    pub fn run(&self, target: Target) -> Result<Outcome> {
        let mut built = Built::default();
        let packages = self.fetch(target)?;
        let artifact = self.make(target, &packages, &mut built)?;
        if target == Target::WarmBase {
            self.store.set_name(&self.file.recipe.name, artifact.hash())?;
            self.record(artifact.hash())?;
        }
        Ok(Outcome { artifact, built: built.steps })
    }

    /// Records how the artifact was made, for those that it will be sent to.
    fn record(&self, artifact: &Hash) -> Result<()> {
        let Some(provenance) = Provenance::of(self.file, self.lock)? else {
            self.reporter.line("the recipe names absolute paths, so nobody else can build it again");
            return Ok(());
        };
        let text = provenance.to_text()?;
        if text != Provenance::recorded(self.store, artifact)? {
            self.store.set_provenance(artifact, text.as_bytes())?;
        }
        Ok(())
    }

    /// What goes into it.
    fn inputs(&self) -> Inputs<'_> {
        Inputs { file: self.file, lock: self.lock }
    }

    fn make(&self, target: Target, packages: &Packages, built: &mut Built) -> Result<Artifact> {
        let needs = match target {
            Target::WarmBase => {
                let mut need = |role: &str, target| {
                    Ok::<_, Error>((role.to_owned(), self.make(target, packages, built)?))
                };
                BTreeMap::from([
                    need("kernel", Target::Kernel)?,
                    need("initramfs", Target::Initramfs)?,
                    need("rootfs", Target::Rootfs)?,
                ])
            }
            _ => BTreeMap::new(),
        };
        let key = self.inputs().key(target, &needs)?;
        let known = self.store.step(&key)?;
        if let (Some(hash), false) = (known, self.rebuild) {
            let artifact = self.store.load(&hash)?;
            built.held.push(artifact.hold()?);
            return Ok(artifact);
        }
        self.reporter.line(format!("building {}", target.name()));
        let artifact = match target {
            Target::Kernel => self.kernel(packages)?,
            Target::Initramfs => self.initramfs(packages)?,
            Target::Rootfs => self.rootfs(packages)?,
            Target::WarmBase => self.warm_base(&needs)?,
        };
        if let Some(known) = known {
            match known == *artifact.hash() {
                true => self.reporter.line(format!("{}: the same bytes as before", target.name())),
                false => self.reporter.line(format!(
                    "warning: {} differs from {known}, which was built from the same inputs",
                    target.name()
                )),
            }
        }
        self.store.set_step(&key, artifact.hash())?;
        built.held.push(artifact.hold()?);
        built.steps.push(target);
        Ok(artifact)
    }

    fn kernel(&self, packages: &Packages) -> Result<Artifact> {
        let (tree, _spool) = self.unpack(packages, Step::Kernel, Tree::new(), &kernel::wants)?;
        let image = kernel::image(&tree)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create("Image")?;
        file.copy_from(&mut image.reader())?;
        staging.add(file)?;
        let meta = json!({ "packages": self.described(Step::Kernel) });
        Ok(staging.commit(store::Kind::Kernel, BTreeMap::new(), meta)?)
    }

    fn initramfs(&self, packages: &Packages) -> Result<Artifact> {
        let recipe = &self.file.recipe.initramfs;
        let wants = |path: &str| initramfs::wants(path, &recipe.modules);
        let (tree, _spool) = self.unpack(packages, Step::Kernel, Tree::new(), &wants)?;
        let (tree, _spool) = self.unpack(packages, Step::Initramfs, tree, &initramfs::wants_of_busybox)?;
        let tree = initramfs::assemble(&tree, &self.inputs().init()?, &recipe.modules)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create("initramfs.cpio")?;
        let path = file.path().to_owned();
        cpio::write(&tree, &mut file).at(&path)?;
        staging.add(file)?;
        let packages: Vec<_> =
            [Step::Kernel, Step::Initramfs].into_iter().flat_map(|step| self.described(step)).collect();
        let meta = json!({ "modules": recipe.modules, "packages": packages });
        Ok(staging.commit(store::Kind::Initramfs, BTreeMap::new(), meta)?)
    }

    fn rootfs(&self, packages: &Packages) -> Result<Artifact> {
        let recipe = &self.file.recipe.rootfs;
        let filter = rootfs::Filter::new(recipe)?;
        let (mut tree, _spool) =
            self.unpack(packages, Step::Rootfs, rootfs::base()?, &|path| filter.takes(path))?;
        rootfs::finish(&mut tree, self.file)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create(&recipe.image)?;
        rootfs::write_image(&tree, &recipe.label, recipe.spare_inodes, &mut file)?;
        staging.add(file)?;
        let meta = json!({ "label": recipe.label, "packages": self.described(Step::Rootfs) });
        Ok(staging.commit(store::Kind::Rootfs, BTreeMap::new(), meta)?)
    }

    fn warm_base(&self, needs: &BTreeMap<String, Artifact>) -> Result<Artifact> {
        let recipe = &self.file.recipe;
        let mut staging = self.store.stage()?;
        let need = |role: &str| {
            needs.get(role).ok_or_else(|| Error::build("warm base", format!("there is no {role}")))
        };
        let request = capture::Request {
            kernel: need("kernel")?.file("Image")?,
            initramfs: need("initramfs")?.file("initramfs.cpio")?,
            disk: need("rootfs")?.file(&recipe.rootfs.image)?,
            command_line: self.inputs().command_line(),
            machine: &recipe.machine,
            warm_base: &recipe.warm_base,
            out_dir: staging.dir().to_owned(),
        };
        for name in capture::capture(&request, self.reporter)? {
            staging.adopt(&name)?;
        }
        let needs = needs.iter().map(|(role, artifact)| (role.clone(), *artifact.hash())).collect();
        Ok(staging.commit(store::Kind::WarmBase, needs, self.inputs().description())?)
    }

    /// The packages of a step, for the manifest.
    fn described(&self, step: Step) -> Vec<String> {
        let describe = |package: &LockedPackage| format!("{} {}", package.name, package.version);
        self.lock.packages(step).map(describe).collect()
    }

    /// Unpacks the packages of a step into a tree.
    fn unpack(
        &self,
        packages: &Packages,
        step: Step,
        mut tree: Tree,
        wants: &dyn Fn(&str) -> bool,
    ) -> Result<(Tree, Arc<Spool>)> {
        let staging = self.store.dir().join(".staging");
        let spool = Spool::new(&staging).at(&staging)?;
        for package in self.lock.packages(step) {
            let missing = || Error::build("packages", format!("{} was not fetched", package.name));
            deb::unpack(packages.get(&package.sha256).ok_or_else(missing)?, &mut tree, &spool, wants)?;
        }
        Ok((tree, spool))
    }

    /// Fetches the packages of all steps that are to be done, at once, so that what is missing is known before
    /// anything is built.
    fn fetch(&self, target: Target) -> Result<Packages> {
        let steps: &[(Target, &[Step])] = match target {
            Target::Kernel => &[(Target::Kernel, &[Step::Kernel])],
            Target::Initramfs => &[(Target::Initramfs, &[Step::Kernel, Step::Initramfs])],
            Target::Rootfs => &[(Target::Rootfs, &[Step::Rootfs])],
            Target::WarmBase => &[
                (Target::Kernel, &[Step::Kernel]),
                (Target::Initramfs, &[Step::Kernel, Step::Initramfs]),
                (Target::Rootfs, &[Step::Rootfs]),
            ],
        };
        let mut wanted: BTreeMap<&str, &LockedPackage> = BTreeMap::new();
        for (target, steps) in steps {
            if self.rebuild || self.store.step(&self.inputs().key(*target, &BTreeMap::new())?)?.is_none() {
                let packages = steps.iter().flat_map(|step| self.lock.packages(*step));
                wanted.extend(packages.map(|package| (&*package.name, package)));
            }
        }
        let wanted: Vec<&LockedPackage> = wanted.into_values().collect();
        let paths = fetch(self.fetcher, self.store, self.file, &wanted)?;
        Ok(wanted.iter().map(|package| package.sha256).zip(paths).collect())
    }
}

/// Where fetched packages are, by their hashes.
type Packages = BTreeMap<Hash, PathBuf>;
