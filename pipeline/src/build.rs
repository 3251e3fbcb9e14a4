//! The build: which steps there are, what goes into each, and which need not be done again.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;
use store::{Artifact, Hash, Staging, Store};

use crate::capture;
use crate::debian::deb;
use crate::debian::fetch::Fetcher;
use crate::error::{Error, IoContext, Result};
use crate::inputs::Inputs;
use crate::kernel::config::Fragment;
use crate::kernel::tools::Toolchain;
use crate::lock::fetch::fetch;
use crate::lock::{Lock, LockedPackage, Step};
use crate::plan::{Record, plan};
use crate::provenance::Provenance;
use crate::recipe::{Origin, Recipe, RecipeFile};
use crate::reporter::Reporter;
use crate::tree::{Spool, Tree};
use crate::{cpio, initramfs, kernel, rootfs, sbom, warm_base};

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
    /// The artifacts that go into it, by role.
    pub fn needs(self) -> &'static [(&'static str, Target)] {
        match self {
            Target::WarmBase => {
                &[("kernel", Target::Kernel), ("initramfs", Target::Initramfs), ("rootfs", Target::Rootfs)]
            }
            _ => &[],
        }
    }

    /// The packages that go into it.
    pub fn steps(self, recipe: &Recipe) -> Vec<Step> {
        match self {
            Target::Kernel => vec![Step::Kernel],
            // Only a kernel that is packaged has modules.
            Target::Initramfs if matches!(recipe.kernel.origin(), Origin::Package(_)) => {
                vec![Step::Kernel, Step::Initramfs]
            }
            Target::Initramfs => vec![Step::Initramfs],
            Target::Rootfs => vec![Step::Rootfs],
            Target::WarmBase => Vec::new(),
        }
    }

    /// What messages call it.
    pub fn name(self) -> &'static str {
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

/// What came of a step, and what keeps it from being cleaned up.
type Made = (Artifact, store::Hold);

/// What a build has come to.
#[derive(Default)]
struct Built {
    /// The steps that were done.
    steps: Vec<Target>,
    /// Keeps what is not reached by a name yet from being cleaned up.
    held: Vec<store::Hold>,
    /// What went into the steps.
    record: Record,
}

impl<'a> Build<'a> {
    /// A build that does only the steps that are not known yet.
    pub fn new(
        file: &'a RecipeFile,
        lock: &'a Lock,
        store: &'a Store,
        fetcher: &'a Fetcher<'a>,
        reporter: Reporter,
    ) -> Build<'a> {
        Build { file, lock, store, fetcher, rebuild: false, reporter }
    }

    /// Builds up to the target, doing only the steps that are not known yet.
    pub fn run(&self, target: Target) -> Result<Outcome> {
        let name = &self.file.recipe.name;
        let mut built = Built { record: Record::load(self.store, name)?, ..Built::default() };
        let packages = self.fetch(target)?;
        let artifact = self.make(target, &packages, &mut built)?;
        if target == Target::WarmBase {
            self.store.set_name(name, artifact.hash())?;
            self.record_provenance(artifact.hash())?;
        }
        built.record.save(self.store, name)?;
        Ok(Outcome { artifact, built: built.steps })
    }

    /// Records how the artifact was made, for those that it will be sent to.
    fn record_provenance(&self, artifact: &Hash) -> Result<()> {
        let Some(provenance) = Provenance::of(self.file, self.lock)? else {
            self.reporter
                .line("the recipe names absolute paths or a ready kernel, so nobody else can build it again");
            return Ok(());
        };
        let text = provenance.to_text()?;
        if text != Provenance::recorded(self.store, artifact)? {
            self.store.set_provenance(artifact, text.as_bytes())?;
        }
        Ok(())
    }

    fn make(&self, target: Target, packages: &Packages, built: &mut Built) -> Result<Artifact> {
        let mut needs = BTreeMap::new();
        for (role, target) in target.needs() {
            needs.insert((*role).to_owned(), self.make(*target, packages, built)?);
        }
        let hashes = needs.iter().map(|(role, artifact)| (role.clone(), *artifact.hash())).collect();
        let inputs = Inputs::of(self.file, self.lock, target, &hashes)?;
        let key = inputs.key(target);
        built.record.note(target, inputs);
        let known = self.store.step(&key)?;
        if let (Some(hash), false) = (known, self.rebuild) {
            match self.store.load(&hash).and_then(|artifact| Ok((artifact.hold()?, artifact))) {
                Ok((hold, artifact)) => {
                    built.held.push(hold);
                    return Ok(artifact);
                }
                // It was removed just now.
                Err(store::Error::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.reporter.line(format!("building {}", target.name()));
        let (artifact, hold) = match target {
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
        built.held.push(hold);
        self.store.set_step(&key, artifact.hash())?;
        built.steps.push(target);
        Ok(artifact)
    }

    fn kernel(&self, packages: &Packages) -> Result<Made> {
        let stage = |image: &mut dyn Read| -> Result<Staging> {
            let mut staging = self.store.stage()?;
            let mut file = staging.create("Image")?;
            file.copy_from(image)?;
            staging.add(file)?;
            Ok(staging)
        };
        let (mut staging, meta) = match self.file.recipe.kernel.origin() {
            Origin::Package(_) => {
                let (tree, _spool) = self.unpack(packages, Step::Kernel, Tree::new(), &kernel::wants)?;
                let staging = stage(&mut kernel::image(&tree)?.reader())?;
                (staging, json!({ "packages": self.described(Step::Kernel) }))
            }
            Origin::Source { config, .. } => {
                let (tree, _spool) =
                    self.unpack(packages, Step::Kernel, Tree::new(), &kernel::wants_of_source)?;
                let (fragment, toolchain) = (Fragment::of(self.file, config)?, Toolchain::of_host()?);
                let made = kernel::make::make(&kernel::make::Request {
                    source: &kernel::source(&tree)?,
                    fragment: &fragment,
                    toolchain,
                    store: self.store,
                    reporter: self.reporter,
                })?;
                let mut staging = stage(&mut kernel::built(&made.image())?)?;
                staging.write("config.txt", made.config.as_bytes())?;
                let meta = json!({
                    "packages": self.described(Step::Kernel),
                    "release": made.release,
                    "compiler": toolchain.compiler,
                    "linker": toolchain.linker,
                });
                (staging, meta)
            }
            Origin::File { path, sha256 } => {
                let staging = stage(&mut kernel::given(&self.file.resolve(path), sha256)?)?;
                (staging, json!({ "packages": [] }))
            }
        };
        self.list_software(&mut staging, Target::Kernel)?;
        Ok(staging.commit_held(store::Kind::Kernel, BTreeMap::new(), meta)?)
    }

    fn initramfs(&self, packages: &Packages) -> Result<Made> {
        let recipe = &self.file.recipe.initramfs;
        let wants = |path: &str| initramfs::wants(path, &recipe.modules);
        let (mut tree, mut spools) = (Tree::new(), Vec::new());
        for step in Target::Initramfs.steps(&self.file.recipe) {
            let wants: &dyn Fn(&str) -> bool =
                if step == Step::Kernel { &wants } else { &initramfs::wants_of_busybox };
            let (more, spool) = self.unpack(packages, step, tree, wants)?;
            tree = more;
            spools.push(spool);
        }
        let tree = initramfs::assemble(&tree, &initramfs::init_of(self.file)?, &recipe.modules)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create("initramfs.cpio")?;
        let path = file.path().to_owned();
        cpio::write(&tree, &mut file).at(&path)?;
        staging.add(file)?;
        self.list_software(&mut staging, Target::Initramfs)?;
        let steps = Target::Initramfs.steps(&self.file.recipe);
        let packages: Vec<_> = steps.into_iter().flat_map(|step| self.described(step)).collect();
        let meta = json!({ "modules": recipe.modules, "packages": packages });
        Ok(staging.commit_held(store::Kind::Initramfs, BTreeMap::new(), meta)?)
    }

    fn rootfs(&self, packages: &Packages) -> Result<Made> {
        let recipe = &self.file.recipe.rootfs;
        let spool = self.spool()?;
        let paths = self.paths(packages, Step::Rootfs)?;
        let (tree, dropped) = rootfs::assemble(self.file, paths, &spool)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create(&recipe.image)?;
        rootfs::write_image(&tree, &recipe.label, recipe.spare_inodes, &mut file)?;
        staging.add(file)?;
        let lines: String = dropped.iter().map(|path| format!("{path}\n")).collect();
        put(&mut staging, rootfs::DROPPED, lines.as_bytes())?;
        self.list_software(&mut staging, Target::Rootfs)?;
        let meta = json!({ "label": recipe.label, "packages": self.described(Step::Rootfs) });
        Ok(staging.commit_held(store::Kind::Rootfs, BTreeMap::new(), meta)?)
    }

    fn warm_base(&self, needs: &BTreeMap<String, Artifact>) -> Result<Made> {
        let recipe = &self.file.recipe;
        let mut staging = self.store.stage()?;
        let need = |role: &str| {
            needs.get(role).ok_or_else(|| Error::build("warm base", format!("there is no {role}")))
        };
        let request = capture::Request {
            kernel: need("kernel")?.file("Image")?,
            initramfs: need("initramfs")?.file("initramfs.cpio")?,
            disk: need("rootfs")?.file(&recipe.rootfs.image)?,
            command_line: warm_base::command_line(recipe),
            machine: &recipe.machine,
            warm_base: &recipe.warm_base,
            out_dir: staging.dir().to_owned(),
        };
        for name in capture::capture(&request, self.reporter)? {
            staging.adopt(&name)?;
        }
        let needs = needs.iter().map(|(role, artifact)| (role.clone(), *artifact.hash())).collect();
        Ok(staging.commit_held(store::Kind::WarmBase, needs, warm_base::description(recipe))?)
    }

    /// Puts the list of the software that a target is made of beside it.
    fn list_software(&self, staging: &mut Staging, target: Target) -> Result<()> {
        let packages: Vec<&LockedPackage> =
            target.steps(&self.file.recipe).into_iter().flat_map(|step| self.lock.packages(step)).collect();
        put(staging, sbom::FILE, &sbom::spdx(target.name(), &packages))
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
        let spool = self.spool()?;
        for path in self.paths(packages, step)? {
            deb::unpack(path, &mut tree, &spool, wants)?;
        }
        Ok((tree, spool))
    }

    /// Where the contents of packages go.
    fn spool(&self) -> Result<Arc<Spool>> {
        let staging = self.store.dir().join(".staging");
        Spool::new(&staging).at(&staging)
    }

    /// The packages of a step, where they were fetched to.
    fn paths<'p>(&self, packages: &'p Packages, step: Step) -> Result<Vec<&'p Path>> {
        let path = |package: &LockedPackage| {
            let path = packages.get(&package.sha256).map(PathBuf::as_path);
            path.ok_or_else(|| Error::build("packages", format!("{} was not fetched", package.name)))
        };
        self.lock.packages(step).map(path).collect()
    }

    /// Fetches the packages of all steps that are to be done, at once, so that what is missing is known before
    /// anything is built.
    fn fetch(&self, target: Target) -> Result<Packages> {
        let mut wanted: BTreeMap<&str, &LockedPackage> = BTreeMap::new();
        for step in plan(self.file, self.lock, self.store, target)? {
            if self.rebuild || step.artifact.is_none() {
                let steps = step.target.steps(&self.file.recipe);
                let packages = steps.into_iter().flat_map(|step| self.lock.packages(step));
                wanted.extend(packages.map(|package| (&*package.name, package)));
            }
        }
        let wanted: Vec<&LockedPackage> = wanted.into_values().collect();
        let paths = fetch(self.fetcher, self.store, self.file, &wanted)?;
        Ok(wanted.iter().map(|package| package.sha256).zip(paths).collect())
    }
}

/// Puts a small file into an artifact.
fn put(staging: &mut Staging, name: &str, bytes: &[u8]) -> Result<()> {
    let mut file = staging.create(name)?;
    file.write_all(bytes).at(file.path())?;
    staging.add(file)?;
    Ok(())
}

/// Where fetched packages are, by their hashes.
type Packages = BTreeMap<Hash, PathBuf>;
