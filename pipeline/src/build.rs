//! The build: which steps there are, what goes into each, and which need not be done again.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use store::{Artifact, Hash, Staging, Store};

use crate::capture;
use crate::debian::deb;
use crate::debian::fetch::Fetcher;
use crate::error::{Error, IoContext, Result};
use crate::kernel::config::Fragment;
use crate::kernel::tools::Toolchain;
use crate::lock::fetch::fetch;
use crate::lock::{Lock, LockedPackage, Step};
use crate::recipe::{Origin, RecipeFile};
use crate::reporter::Reporter;
use crate::tree::{Spool, Tree};
use crate::{cpio, initramfs, kernel, rootfs};

/// Goes up with every change that makes a step's output another, so that what an older program built is not taken
/// for what this one would build.
const REVISION: u32 = 2;

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
    toolchain: OnceCell<Toolchain>,
}

/// What a build has come to.
#[derive(Default)]
struct Built {
    /// The steps that were done.
    steps: Vec<Target>,
    /// Keeps what is not reached by a name yet from being cleaned up.
    held: Vec<store::Hold>,
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
        Build { file, lock, store, fetcher, rebuild: false, reporter, toolchain: OnceCell::new() }
    }

    /// Builds up to the target, doing only the steps that are not known yet.
    pub fn run(&self, target: Target) -> Result<Outcome> {
        let mut built = Built::default();
        let packages = self.fetch(target)?;
        let artifact = self.make(target, &packages, &mut built)?;
        if target == Target::WarmBase {
            self.store.set_name(&self.file.recipe.name, artifact.hash())?;
        }
        Ok(Outcome { artifact, built: built.steps })
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
        let key = self.key(target, &needs)?;
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

    /// The key of a step: the hash of all that goes into it.
    fn key(&self, target: Target, needs: &BTreeMap<String, Artifact>) -> Result<Hash> {
        let recipe = &self.file.recipe;
        let packages = |step| self.lock.packages(step).map(|package| package.sha256).collect::<Vec<_>>();
        let inputs = match target {
            Target::Kernel => match recipe.kernel.origin() {
                Origin::Package(_) => json!({ "packages": packages(Step::Kernel) }),
                Origin::Source { config, .. } => json!({
                    "source": packages(Step::Kernel),
                    "config": self.fragment(config)?.values(),
                    "toolchain": self.toolchain()?,
                }),
                Origin::File { sha256, .. } => json!({ "file": sha256 }),
            },
            Target::Initramfs => {
                json!({
                    "kernel": self.module_step().into_iter().flat_map(packages).collect::<Vec<_>>(),
                    "packages": packages(Step::Initramfs),
                    "modules": recipe.initramfs.modules,
                    "init": Hash::of(&self.init()?),
                })
            }
            Target::Rootfs => {
                let mut overlay = Tree::new();
                for directory in &recipe.rootfs.overlay {
                    for (path, kind, attributes) in rootfs::overlay_files(&self.file.resolve(directory))? {
                        let put = match kind {
                            crate::tree::Kind::Directory(_) => overlay.make_directory(&path, attributes),
                            other => overlay.replace(&path, attributes, other),
                        };
                        put.map_err(|error| Error::build("rootfs", error))?;
                    }
                }
                let mut described = json!(recipe.rootfs);
                // Where the overlay lies on this host is not part of what is built, only what is in it.
                if let Some(fields) = described.as_object_mut() {
                    fields.remove("overlay");
                }
                json!({
                    "packages": packages(Step::Rootfs),
                    "recipe": described,
                    "overlay": overlay.digest().map_err(|error| Error::build("rootfs", error))?,
                })
            }
            Target::WarmBase => {
                let needs: BTreeMap<&String, &Hash> =
                    needs.iter().map(|(role, artifact)| (role, artifact.hash())).collect();
                json!({
                    "needs": needs,
                    "recipe": self.description(),
                    "limit": recipe.warm_base.limit_seconds,
                    "machine": capture::machine_version(),
                })
            }
        };
        let tool = json!({ "version": env!("CARGO_PKG_VERSION"), "revision": REVISION });
        let whole = json!({ "step": target.name(), "tool": tool, "inputs": inputs });
        Ok(Hash::of(canonical(&whole).as_bytes()))
    }

    fn kernel(&self, packages: &Packages) -> Result<Artifact> {
        let stage = |image: &mut dyn Read| -> Result<Staging> {
            let mut staging = self.store.stage()?;
            let mut file = staging.create("Image")?;
            file.copy_from(image)?;
            staging.add(file)?;
            Ok(staging)
        };
        let (staging, meta) = match self.file.recipe.kernel.origin() {
            Origin::Package(_) => {
                let (tree, _spool) = self.unpack(packages, Step::Kernel, Tree::new(), &kernel::wants)?;
                let staging = stage(&mut kernel::image(&tree)?.reader())?;
                (staging, json!({ "packages": self.described(Step::Kernel) }))
            }
            Origin::Source { config, .. } => {
                let (tree, _spool) =
                    self.unpack(packages, Step::Kernel, Tree::new(), &kernel::wants_of_source)?;
                let (fragment, toolchain) = (self.fragment(config)?, self.toolchain()?);
                let made = kernel::make::make(&kernel::make::Request {
                    source: &kernel::source(&tree)?,
                    fragment: &fragment,
                    toolchain,
                    store: self.store,
                    reporter: self.reporter,
                })?;
                let mut staging = stage(&mut kernel::built(&made.image())?)?;
                staging.write("config", made.config.as_bytes())?;
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
        Ok(staging.commit(store::Kind::Kernel, BTreeMap::new(), meta)?)
    }

    /// What a kernel from source is to have.
    fn fragment(&self, config: Option<&Path>) -> Result<Fragment> {
        Fragment::read(config.map(|path| self.file.resolve(path)).as_deref())
    }

    /// What builds a kernel from source.
    fn toolchain(&self) -> Result<&Toolchain> {
        // Asking it costs a few processes.
        match self.toolchain.get() {
            Some(known) => Ok(known),
            None => Toolchain::of_host().map(|found| self.toolchain.get_or_init(|| found)),
        }
    }

    /// The step whose packages have the modules, if there are any.
    fn module_step(&self) -> Option<Step> {
        matches!(self.file.recipe.kernel.origin(), Origin::Package(_)).then_some(Step::Kernel)
    }

    /// The steps whose packages the initramfs takes.
    fn initramfs_steps(&self) -> Vec<Step> {
        self.module_step().into_iter().chain([Step::Initramfs]).collect()
    }

    fn initramfs(&self, packages: &Packages) -> Result<Artifact> {
        let recipe = &self.file.recipe.initramfs;
        let wants = |path: &str| initramfs::wants(path, &recipe.modules);
        let (mut tree, mut spools) = (Tree::new(), Vec::new());
        for step in self.initramfs_steps() {
            let wants: &dyn Fn(&str) -> bool =
                if step == Step::Kernel { &wants } else { &initramfs::wants_of_busybox };
            let (more, spool) = self.unpack(packages, step, tree, wants)?;
            tree = more;
            spools.push(spool);
        }
        let tree = initramfs::assemble(&tree, &self.init()?, &recipe.modules)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create("initramfs.cpio")?;
        let path = file.path().to_owned();
        cpio::write(&tree, &mut file).at(&path)?;
        staging.add(file)?;
        let packages: Vec<_> =
            self.initramfs_steps().into_iter().flat_map(|step| self.described(step)).collect();
        let meta = json!({ "modules": recipe.modules, "packages": packages });
        Ok(staging.commit(store::Kind::Initramfs, BTreeMap::new(), meta)?)
    }

    /// The initramfs's program.
    fn init(&self) -> Result<Vec<u8>> {
        let path = self.file.recipe.initramfs.init.as_deref();
        initramfs::init(path.map(|path| self.file.resolve(path)).as_deref())
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
            command_line: self.command_line(),
            machine: &recipe.machine,
            warm_base: &recipe.warm_base,
            out_dir: staging.dir().to_owned(),
        };
        for name in capture::capture(&request, self.reporter)? {
            staging.adopt(&name)?;
        }
        let needs = needs.iter().map(|(role, artifact)| (role.clone(), *artifact.hash())).collect();
        Ok(staging.commit(store::Kind::WarmBase, needs, self.description())?)
    }

    /// What a warm base says of itself.
    fn description(&self) -> Value {
        let machine = &self.file.recipe.machine;
        json!({
            "recipe": self.file.recipe.name,
            "machine": {
                "cpus": machine.cpus,
                "memory": machine.memory.bytes(),
                "width": machine.display.width,
                "height": machine.display.height,
            },
            "command-line": self.command_line(),
            "layouts": self.file.recipe.keyboard.layouts,
            "ready": { "console": self.file.recipe.warm_base.ready.console },
        })
    }

    /// The recipe's command line and what the initramfs's program needs to know.
    fn command_line(&self) -> String {
        let recipe = &self.file.recipe;
        let own = format!("samovar.label={} samovar.overlay={}", recipe.rootfs.label, recipe.overlay.size);
        let layouts = match recipe.keyboard.layouts.as_slice() {
            [] => String::new(),
            layouts => format!(" samovar.layouts={}", layouts.join(",")),
        };
        [recipe.kernel.command_line.trim(), &own].join(" ").trim_start().to_owned() + &layouts
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
        let targets: &[Target] = match target {
            Target::WarmBase => &[Target::Kernel, Target::Initramfs, Target::Rootfs],
            ref one => std::slice::from_ref(one),
        };
        let mut wanted: BTreeMap<&str, &LockedPackage> = BTreeMap::new();
        for target in targets {
            let steps = match target {
                Target::Kernel => vec![Step::Kernel],
                Target::Initramfs => self.initramfs_steps(),
                Target::Rootfs | Target::WarmBase => vec![Step::Rootfs],
            };
            if self.rebuild || self.store.step(&self.key(*target, &BTreeMap::new())?)?.is_none() {
                let packages = steps.into_iter().flat_map(|step| self.lock.packages(step));
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

/// JSON with every object's keys in order, whatever features `serde_json` was built with.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let ordered: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields =
                ordered.into_iter().map(|(key, value)| format!("{}:{}", json!(key), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}
