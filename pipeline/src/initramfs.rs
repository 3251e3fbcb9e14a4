//! The initramfs: a static busybox, the kernel's modules in order, and a program that mounts the root.
//!
//! It stays uncompressed: unpacking would cost the guest more than reading costs the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::debian::compression::{Compression, read_to_limit};
use crate::error::{Error, IoContext, Result};
use crate::module;
use crate::recipe::RecipeFile;
use crate::tree::{Attributes, Content, Kind, Tree};

const STEP: &str = "initramfs";

/// Where Debian's package has it.
const BUSYBOX: &str = "/usr/bin/busybox";

/// No kernel module comes near this once decompressed.
const MAX_MODULE: u64 = 64 << 20;

/// The program that is started where a recipe names none.
const INIT: &[u8] = include_bytes!("../../guest-rootfs/initramfs/init");

/// The program that the kernel starts: the one that the recipe names, or else our own.
pub fn init_of(file: &RecipeFile) -> Result<Vec<u8>> {
    match &file.recipe.initramfs.init {
        Some(path) => {
            let path = file.resolve(path);
            fs::read(&path).at(&path)
        }
        None => Ok(INIT.to_vec()),
    }
}

/// Whether the initramfs takes this file of the kernel's package.
pub fn wants(path: &str, modules: &[String]) -> bool {
    let stem = module_stem(path).map(module::canonical_name);
    stem.is_some_and(|stem| modules.iter().any(|name| module::canonical_name(name) == stem))
}

/// Whether it takes this file of busybox's package.
pub fn wants_of_busybox(path: &str) -> bool {
    path == BUSYBOX || BUSYBOX.starts_with(&format!("{path}/"))
}

/// A module's name, from the path of its file.
fn module_stem(path: &str) -> Option<&str> {
    let (_, below) = path.split_once("/lib/modules/")?;
    let file = below.rsplit('/').next()?;
    let (stem, ending) = file.split_once(".ko")?;
    matches!(ending, "" | ".xz" | ".zst" | ".gz").then_some(stem)
}

/// Makes the initramfs's tree out of the files taken from the packages.
pub fn assemble(packages: &Tree, init: &[u8], modules: &[String]) -> Result<Tree> {
    let build = |reason: String| Error::build(STEP, reason);
    let busybox = packages.follow(BUSYBOX).map(|id| &packages.node(id).kind);
    let Some(Kind::File(busybox)) = busybox else {
        return Err(build(format!("the package for busybox holds no {BUSYBOX}")));
    };
    let modules = ordered_modules(packages, modules)?;

    let mut tree = Tree::new();
    let place = |error: crate::tree::TreeError| build(error.to_string());
    for directory in ["/bin", "/dev", "/lib/modules", "/proc", "/root", "/sys"] {
        tree.make_directory(directory, Attributes::root(0o755)).map_err(place)?;
    }
    let file = |bytes: Vec<u8>| Kind::File(Content::Memory(bytes.into()));
    tree.add("/bin/busybox", Attributes::root(0o755), Kind::File(busybox.clone())).map_err(place)?;
    tree.add("/bin/sh", Attributes::root(0o777), Kind::Symlink("busybox".into())).map_err(place)?;
    // The kernel opens it for the first program before devtmpfs can be mounted.
    tree.add("/dev/console", Attributes::root(0o600), Kind::Character(5, 1)).map_err(place)?;
    tree.add("/init", Attributes::root(0o755), file(init.to_vec())).map_err(place)?;
    let mut order = String::new();
    for (name, bytes) in modules {
        order.push_str(&name);
        order.push('\n');
        let path = format!("/lib/modules/{name}.ko");
        tree.add(&path, Attributes::root(0o644), file(bytes)).map_err(place)?;
    }
    tree.add("/lib/modules/order", Attributes::root(0o644), file(order.into_bytes())).map_err(place)?;
    Ok(tree)
}

/// The modules as they are to be loaded, each checked to come after all that it needs.
fn ordered_modules(packages: &Tree, wanted: &[String]) -> Result<Vec<(String, Vec<u8>)>> {
    let build = |reason: String| Error::build(STEP, reason);
    let mut found: BTreeMap<String, (String, Content)> = BTreeMap::new();
    packages.walk_all(&mut |path, _, node| {
        if let (Some(stem), Kind::File(content)) = (module_stem(path), &node.kind)
            && found.insert(module::canonical_name(stem), (path.to_owned(), content.clone())).is_some()
        {
            return Err(build(format!("the kernel's package holds module {stem} twice")));
        }
        Ok(())
    })?;
    let mut loaded = BTreeSet::new();
    let mut modules = Vec::new();
    for name in wanted {
        let canonical = module::canonical_name(name);
        let (path, content) = found.get(&canonical).ok_or_else(|| {
            build(format!(
                "the kernel's package holds no module {name}; it may be built in, then leave it out"
            ))
        })?;
        let reader = Compression::from_name(path).decode(content.reader());
        let bytes = reader.and_then(|reader| read_to_limit(reader, MAX_MODULE));
        let bytes = bytes.map_err(|error| Error::malformed(path, error))?;
        let needed = module::dependencies(&bytes).map_err(|reason| Error::malformed(path, reason))?;
        if let Some(missing) = needed.iter().find(|needed| !loaded.contains(*needed)) {
            let reason = match wanted.iter().any(|name| module::canonical_name(name) == *missing) {
                true => format!("module {name} needs {missing}, which `modules` names only after it"),
                false => format!("module {name} needs {missing}, which `modules` does not name"),
            };
            return Err(build(reason));
        }
        loaded.insert(canonical);
        modules.push((name.clone(), module::without_signature(&bytes).to_vec()));
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::tests::{module, signed};

    fn packages(modules: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::new();
        let file = |bytes: &[u8]| Kind::File(Content::Memory(bytes.into()));
        tree.add(BUSYBOX, Attributes::root(0o755), file(b"busybox")).unwrap();
        for (name, bytes) in modules {
            let path = format!("/usr/lib/modules/6.12/kernel/drivers/{name}.ko");
            tree.add(&path, Attributes::root(0o644), file(bytes)).unwrap();
        }
        tree
    }

    fn assembled(tree: &Tree, modules: &[&str]) -> Result<Tree, String> {
        let modules: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
        assemble(tree, b"#!/bin/sh\n", &modules).map_err(|error| {
            assert_eq!(error.exit_code(), 5);
            error.to_string()
        })
    }

    #[test]
    fn modules_come_in_order_and_unsigned() {
        let (drm, gpu) = (module(b"depends=\0"), module(b"depends=drm\0"));
        let tree = packages(&[("drm", &signed(&drm)), ("virtio-gpu", &signed(&gpu))]);
        let tree = assembled(&tree, &["drm", "virtio-gpu"]).unwrap();
        let content = |path: &str| match &tree.node(tree.find(path).unwrap()).kind {
            Kind::File(content) => content.bytes().unwrap(),
            other => panic!("{other:?}"),
        };
        assert_eq!(content("/lib/modules/order"), b"drm\nvirtio-gpu\n");
        assert_eq!(content("/lib/modules/virtio-gpu.ko"), gpu);
        assert_eq!(content("/bin/busybox"), b"busybox");
    }

    #[test]
    fn wrong_orders_are_named() {
        let (drm, gpu) = (module(b"depends=\0"), module(b"depends=drm\0"));
        let tree = packages(&[("drm", &drm), ("virtio-gpu", &gpu)]);
        let error = |modules: &[&str]| assembled(&tree, modules).unwrap_err();
        assert!(error(&["virtio-gpu", "drm"]).ends_with("needs drm, which `modules` names only after it"));
        assert!(error(&["virtio_gpu"]).ends_with("needs drm, which `modules` does not name"));
        assert!(error(&["drm", "ext4"]).contains("holds no module ext4"));
    }

    #[test]
    fn only_what_is_asked_for_is_taken() {
        let modules = ["virtio-gpu".to_owned()];
        assert!(wants("/usr/lib/modules/6.12/kernel/drivers/virtio_gpu.ko.xz", &modules));
        assert!(!wants("/usr/lib/modules/6.12/kernel/drivers/virtio_net.ko.xz", &modules));
        assert!(!wants("/usr/share/doc/virtio-gpu.ko", &modules));
        assert!(wants_of_busybox("/usr") && wants_of_busybox(BUSYBOX) && !wants_of_busybox("/usr/share"));
    }
}
