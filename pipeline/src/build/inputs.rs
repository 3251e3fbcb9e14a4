//! What goes into a build, and the keys that stand for it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use store::{Artifact, Hash};

use super::Target;
use crate::error::{Error, Result};
use crate::lock::{Lock, Step};
use crate::recipe::RecipeFile;
use crate::tree::{Kind, Tree};
use crate::{capture, initramfs, rootfs};

/// Goes up with every change that makes a step's output another, so that what an older program built is not taken
/// for what this one would build.
pub const REVISION: u32 = 2;

/// A recipe and its lock.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The recipe.
    pub file: &'a RecipeFile,
    /// Its lock.
    pub lock: &'a Lock,
}

impl Inputs<'_> {
    /// The key of a step: the hash of all that goes into it.
    pub fn key(&self, target: Target, needs: &BTreeMap<String, Artifact>) -> Result<Hash> {
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
                            Kind::Directory(_) => overlay.make_directory(&path, attributes),
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
                let needs = needs.iter().map(|(role, artifact)| (role.as_str(), *artifact.hash())).collect();
                self.capture(&needs)
            }
        };
        Ok(hash(target.name(), inputs))
    }

    /// One key for all steps, which is known before anything is built: as long as it is the same, so is all that a build
    /// of the recipe makes.
    pub fn whole_key(&self) -> Result<Hash> {
        let none = BTreeMap::new();
        let keys = BTreeMap::from([
            ("kernel", self.key(Target::Kernel, &none)?),
            ("initramfs", self.key(Target::Initramfs, &none)?),
            ("rootfs", self.key(Target::Rootfs, &none)?),
        ]);
        Ok(hash("all", self.capture(&keys)))
    }

    /// What goes into the capture beside, or instead of, the artifacts that it needs.
    fn capture(&self, needs: &BTreeMap<&str, Hash>) -> Value {
        json!({
            "needs": needs,
            "recipe": self.description(),
            "limit": self.file.recipe.warm_base.limit_seconds,
            "machine": capture::machine_version(),
        })
    }

    /// The initramfs's program.
    pub fn init(&self) -> Result<Vec<u8>> {
        let path = self.file.recipe.initramfs.init.as_deref();
        initramfs::init(path.map(|path| self.file.resolve(path)).as_deref())
    }

    /// What a warm base says of itself.
    pub fn description(&self) -> Value {
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
    pub fn command_line(&self) -> String {
        let recipe = &self.file.recipe;
        let own = format!("samovar.label={} samovar.overlay={}", recipe.rootfs.label, recipe.overlay.size);
        let layouts = match recipe.keyboard.layouts.as_slice() {
            [] => String::new(),
            layouts => format!(" samovar.layouts={}", layouts.join(",")),
        };
        [recipe.kernel.command_line.trim(), &own].join(" ").trim_start().to_owned() + &layouts
    }
}

/// The key of a step with these inputs.
fn hash(step: &str, inputs: Value) -> Hash {
    let tool = json!({ "version": env!("CARGO_PKG_VERSION"), "revision": REVISION });
    let whole = json!({ "step": step, "tool": tool, "inputs": inputs });
    Hash::of(canonical(&whole).as_bytes())
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
