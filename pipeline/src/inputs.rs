//! What goes into each step of a build: its key is the hash of it, and `samovar why` compares it with what went into
//! the last build.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::Hash;

use crate::build::Target;
use crate::error::{Error, Result};
use crate::kernel::config::Fragment;
use crate::kernel::tools::Toolchain;
use crate::lock::{Lock, Step};
use crate::recipe::{Origin, RecipeFile};
use crate::tree::Tree;
use crate::{capture, initramfs, rootfs, warm_base};

/// Goes up with every change that makes a step's output another, so that what an older program built is not taken
/// for what this one would build.
pub const REVISION: u32 = 7;

/// Everything that decides what comes out of a step, each thing under what a person calls it, such as "package bash"
/// or "recipe rootfs.drop".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, Value>);

impl Inputs {
    /// What goes into a step; of the warm base only if the artifacts that it `needs` are there.
    pub fn of(
        file: &RecipeFile,
        lock: &Lock,
        target: Target,
        needs: &BTreeMap<String, Hash>,
    ) -> Result<Inputs> {
        let mut inputs = Inputs(BTreeMap::new());
        inputs.put("samovar", json!(format!("{} revision {REVISION}", env!("CARGO_PKG_VERSION"))));
        match target {
            Target::Kernel => inputs.kernel(file)?,
            Target::Initramfs => {
                let recipe = &file.recipe.initramfs;
                inputs.put("recipe initramfs.modules", json!(recipe.modules));
                inputs.put("the initramfs's init", json!(Hash::of(&initramfs::init_of(file)?)));
            }
            Target::Rootfs => inputs.rootfs(file)?,
            Target::WarmBase => inputs.warm_base(file, needs),
        }
        for step in target.steps(&file.recipe) {
            inputs.packages(lock, step);
        }
        Ok(inputs)
    }

    fn put(&mut self, label: impl Into<String>, value: Value) {
        self.0.insert(label.into(), value);
    }

    fn packages(&mut self, lock: &Lock, step: Step) {
        for package in lock.packages(step) {
            let value = json!({ "version": package.version, "sha256": package.sha256 });
            self.put(format!("package {}", package.name), value);
        }
    }

    fn kernel(&mut self, file: &RecipeFile) -> Result<()> {
        match file.recipe.kernel.origin() {
            Origin::Package(_) => {}
            Origin::Source { config, .. } => {
                for (option, value) in Fragment::of(file, config)?.values() {
                    self.put(format!("kernel option {option}"), json!(value));
                }
                let toolchain = Toolchain::of_host()?;
                self.put("the compiler", json!(toolchain.compiler));
                self.put("the linker", json!(toolchain.linker));
            }
            Origin::File { sha256, .. } => self.put("the kernel's file", json!(sha256)),
        }
        Ok(())
    }

    fn rootfs(&mut self, file: &RecipeFile) -> Result<()> {
        let recipe = &file.recipe.rootfs;
        for (field, value) in json!(recipe).as_object().into_iter().flatten() {
            // Where an overlay lies on this host is not part of what is built, only what is in it.
            if field != "overlay" {
                self.put(format!("recipe rootfs.{field}"), value.clone());
            }
        }
        let mut overlay = Tree::new();
        for directory in &recipe.overlay {
            rootfs::lay_over(&mut overlay, &file.resolve(directory))?;
        }
        overlay
            .describe(&mut |path, line| self.put(format!("file {path}"), json!(line)))
            .map_err(|error| Error::build("rootfs", error))
    }

    fn warm_base(&mut self, file: &RecipeFile, needs: &BTreeMap<String, Hash>) {
        for (role, hash) in needs {
            self.put(format!("the {role}"), json!(hash));
        }
        for (field, value) in warm_base::description(&file.recipe).as_object().into_iter().flatten() {
            self.put(format!("recipe {field}"), value.clone());
        }
        self.put("recipe warm-base.limit-seconds", json!(file.recipe.warm_base.limit_seconds));
        self.put("the machine's version", json!(capture::machine_version()));
    }

    /// The key of the step: the hash of all of it.
    pub fn key(&self, target: Target) -> Hash {
        let inputs = self.0.iter().map(|(label, value)| format!("{}:{}", json!(label), canonical(value)));
        let inputs = inputs.collect::<Vec<_>>().join(",");
        Hash::of(format!("{}:{{{inputs}}}", json!(target.name())).as_bytes())
    }

    /// What differs from earlier inputs of the same step, a line for each thing.
    pub fn changes_since(&self, earlier: &Inputs) -> Vec<String> {
        let labels: BTreeSet<&String> = self.0.keys().chain(earlier.0.keys()).collect();
        let change = |label: &String| match (earlier.0.get(label), self.0.get(label)) {
            (None, Some(_)) => Some(format!("{label}: new")),
            (Some(_), None) => Some(format!("{label}: gone")),
            (Some(before), Some(now)) if before != now => Some(format!("{label}: {}", change(before, now))),
            _ => None,
        };
        labels.into_iter().filter_map(change).collect()
    }
}

/// What became of a value.
fn change(before: &Value, now: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| canonical(value), str::to_owned);
    match (before, now) {
        (Value::Array(before), Value::Array(now)) => {
            let new =
                now.iter().filter(|item| !before.contains(item)).map(|item| format!("+ {}", text(item)));
            let gone =
                before.iter().filter(|item| !now.contains(item)).map(|item| format!("- {}", text(item)));
            let lines: Vec<String> = new.chain(gone).collect();
            if lines.is_empty() { "in another order".to_owned() } else { lines.join(", ") }
        }
        (Value::Object(before), Value::Object(now)) => {
            let keys: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
            let line = |key: &String| match (before.get(key), now.get(key)) {
                (None, Some(_)) => Some(format!("+ {key}")),
                (Some(_), None) => Some(format!("- {key}")),
                (Some(before), Some(now)) if before != now => Some(format!("{key} {}", change(before, now))),
                _ => None,
            };
            keys.into_iter().filter_map(line).collect::<Vec<_>>().join(", ")
        }
        _ => format!("{} -> {}", short(&text(before)), short(&text(now))),
    }
}

/// As much of a text as goes on a line.
fn short(text: &str) -> String {
    const MOST: usize = 60;
    let line = text.escape_debug().to_string();
    match line.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(value: Value) -> Inputs {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn changes_are_told_down_to_the_item() {
        let before = inputs(json!({
            "package bash": { "version": "5.2-1", "sha256": "aa" },
            "recipe rootfs.drop": ["/a", "/b"],
            "recipe rootfs.keep": ["/a", "/b"],
            "file /etc/x": "file 644 0 0 2 aa",
            "file /etc/gone": "directory",
            "same": 1,
        }));
        let now = inputs(json!({
            "package bash": { "version": "5.2-2", "sha256": "bb" },
            "package new": { "version": "1", "sha256": "cc" },
            "recipe rootfs.drop": ["/b", "/c"],
            "recipe rootfs.keep": ["/b", "/a"],
            "file /etc/x": "file 644 0 0 2 bb",
            "same": 1,
        }));
        assert_eq!(
            now.changes_since(&before),
            [
                "file /etc/gone: gone",
                "file /etc/x: file 644 0 0 2 aa -> file 644 0 0 2 bb",
                "package bash: sha256 aa -> bb, version 5.2-1 -> 5.2-2",
                "package new: new",
                "recipe rootfs.drop: + /c, - /a",
                "recipe rootfs.keep: in another order",
            ]
        );
        assert!(now.changes_since(&now).is_empty());
    }

    #[test]
    fn every_input_and_the_step_are_in_the_key() {
        let one = inputs(json!({ "a": 1, "b": { "c": [1], "d": 2 } }));
        let keys = [
            one.key(Target::Kernel),
            one.key(Target::Rootfs),
            inputs(json!({ "a": 1 })).key(Target::Kernel),
            inputs(json!({ "a": 1, "b": { "c": [2], "d": 2 } })).key(Target::Kernel),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = short(&"ж".repeat(100));
        assert_eq!((text.chars().count(), text.ends_with("...")), (63, true));
        assert_eq!(short("a\nb"), "a\\nb");
    }
}
