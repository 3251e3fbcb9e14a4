//! The build: which steps there are, what goes into each, and which need not be done again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use store::{Artifact, Hash, Store};

use crate::capture;
use crate::debian::deb;
use crate::debian::fetch::{FetchError, Fetcher, Pinned};
use crate::debian::sources::Mirrors;
use crate::error::{Error, IoContext, Result};
use crate::lock::{Lock, LockedPackage, Step, gone};
use crate::recipe::RecipeFile;
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
    /// Where packages come from.
    pub mirrors: &'a Mirrors,
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
        let artifact = self.make(target, &mut built)?;
        if target == Target::WarmBase {
            self.store.set_name(&self.file.recipe.name, artifact.hash())?;
        }
        Ok(Outcome { artifact, built: built.steps })
    }

    fn make(&self, target: Target, built: &mut Built) -> Result<Artifact> {
        let needs = match target {
            Target::WarmBase => {
                let mut need =
                    |role: &str, target| Ok::<_, Error>((role.to_owned(), self.make(target, built)?));
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
            Target::Kernel => self.kernel()?,
            Target::Initramfs => self.initramfs()?,
            Target::Rootfs => self.rootfs()?,
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
            Target::Kernel => json!({ "packages": packages(Step::Kernel) }),
            Target::Initramfs => {
                json!({
                    "kernel": packages(Step::Kernel),
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

    fn kernel(&self) -> Result<Artifact> {
        let (tree, _spool) = self.unpack(Step::Kernel, Tree::new(), &kernel::wants)?;
        let image = kernel::image(&tree)?;
        let mut staging = self.store.stage()?;
        let mut file = staging.create("Image")?;
        file.copy_from(&mut image.reader())?;
        staging.add(file)?;
        let meta = json!({ "packages": self.described(Step::Kernel) });
        Ok(staging.commit(store::Kind::Kernel, BTreeMap::new(), meta)?)
    }

    fn initramfs(&self) -> Result<Artifact> {
        let recipe = &self.file.recipe.initramfs;
        let wants = |path: &str| initramfs::wants(path, &recipe.modules);
        let (tree, _spool) = self.unpack(Step::Kernel, Tree::new(), &wants)?;
        let (tree, _spool) = self.unpack(Step::Initramfs, tree, &initramfs::wants_of_busybox)?;
        let tree = initramfs::assemble(&tree, &self.init()?, &recipe.modules)?;
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

    /// The initramfs's program.
    fn init(&self) -> Result<Vec<u8>> {
        let path = self.file.recipe.initramfs.init.as_deref();
        initramfs::init(path.map(|path| self.file.resolve(path)).as_deref())
    }

    fn rootfs(&self) -> Result<Artifact> {
        let recipe = &self.file.recipe.rootfs;
        let filter = rootfs::Filter::new(recipe)?;
        let (mut tree, _spool) = self.unpack(Step::Rootfs, rootfs::base()?, &|path| filter.takes(path))?;
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

    /// Fetches and unpacks the packages of a step into a tree.
    fn unpack(&self, step: Step, mut tree: Tree, wants: &dyn Fn(&str) -> bool) -> Result<(Tree, Arc<Spool>)> {
        let packages: Vec<&LockedPackage> = self.lock.packages(step).collect();
        let paths = self.fetch(&packages)?;
        let staging = self.store.dir().join(".staging");
        let spool = Spool::new(&staging).at(&staging)?;
        for path in &paths {
            deb::unpack(path, &mut tree, &spool, wants)?;
        }
        Ok((tree, spool))
    }

    fn fetch(&self, packages: &[&LockedPackage]) -> Result<Vec<PathBuf>> {
        // Said only if the mirror has it when it is looked for once more.
        const BACK: &str = "the mirror had it not, and has it now: run it again";
        let fetcher = Fetcher::new();
        let fetch_one = |package: &&LockedPackage| {
            if let Some(path) = self.store.cached(&package.sha256, package.size)? {
                return Ok(path);
            }
            self.reporter.line(format!("fetching {} {}", package.name, package.version));
            let url = self.mirrors.url(package.archive, &package.path)?;
            let pinned = Pinned { url: &url, size: package.size, sha256: package.sha256, missing_hint: BACK };
            let bar = self.reporter.bar(&package.name, package.size);
            fetcher.pinned(self.store, &pinned, &mut |done| bar.set(done))
        };
        packages.iter().map(fetch_one).collect::<Result<_>>().map_err(|error| match error {
            Error::Fetch(FetchError::NotFound { .. }) => self.gone(error),
            other => other,
        })
    }

    /// One package is gone from the mirror: then all that are gone are told at once.
    fn gone(&self, first: Error) -> Error {
        self.reporter.line("a package is gone from the mirror; looking for what else is");
        match gone::gone(self.lock, self.store, self.mirrors) {
            // It came back, or it was another file that was not there.
            Ok(gone) if gone.is_empty() => first,
            Ok(gone) => Error::gone(self.file, &gone),
            Err(error) => error,
        }
    }
}

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
