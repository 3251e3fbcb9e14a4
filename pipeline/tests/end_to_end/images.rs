//! The images of root file systems: the same bytes whoever builds them and wherever, and in them, by the word of Linux
//! and of `ext4-view`, what went in.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ext4_view::{Ext4, FileType};
use samovar::lock::{Lock, Step};
use samovar::recipe::RecipeFile;
use samovar::rootfs;
use samovar::tree::{Content, Kind, Spool, Tree};
use store::Artifact;

use crate::mounted::{agree, listed, wanted};
use crate::places::Elsewhere;
use crate::programs::{
    built, copy_tree, lock, run, run_within, samovar, succeeded, tool, usable_lock, workspace,
};

/// Longer than fetching and building a large root file system takes.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The tree of a recipe's root file system, made of packages that were fetched.
fn tree_of(recipe: &Path, lock: &Path, cache: &Path, spool: &Path) -> Tree {
    let file = RecipeFile::read(recipe).unwrap();
    let lock = Lock::load(lock).unwrap().unwrap();
    let packages: Vec<_> =
        lock.packages(Step::Rootfs).map(|package| cache.join(package.sha256.to_string())).collect();
    let spool = Spool::new(spool).unwrap();
    rootfs::assemble(&file, packages.iter().map(|path| &**path), &spool).unwrap().0
}

/// `ext4-view` finds every file of the tree with its content, and no others.
fn view(image: &Path, tree: &Tree) {
    let view = Ext4::load_from_path(image).unwrap();
    let mut count = 0_u32;
    tree.walk_all(&mut |path, _, node| {
        let path = if path.is_empty() { "/" } else { path };
        let meta = view.symlink_metadata(path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let attributes = node.attributes;
        assert_eq!(meta.mode(), attributes.mode, "{path}");
        assert_eq!((meta.uid(), meta.gid()), (attributes.uid, attributes.gid), "{path}");
        match &node.kind {
            Kind::File(content) => same_content(&view, path, content),
            Kind::Symlink(target) => {
                assert_eq!(view.read_link(path).unwrap().to_str().unwrap(), target, "{path}");
            }
            _ => assert_eq!(meta.is_dir(), matches!(node.kind, Kind::Directory(_)), "{path}"),
        }
        count += 1;
        Ok::<(), std::convert::Infallible>(())
    })
    .unwrap();
    let (mut found, mut left) = (1_u32, vec![String::from("/")]);
    while let Some(directory) = left.pop() {
        for entry in view.read_dir(&*directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().as_str().unwrap().to_owned();
            if name != "." && name != ".." && name != "lost+found" {
                found += 1;
                if entry.file_type().unwrap() == FileType::Directory {
                    left.push(format!("{}/{name}", directory.trim_end_matches('/')));
                }
            }
        }
    }
    assert_eq!(found, count, "there are files from nowhere");
}

fn same_content(view: &Ext4, path: &str, content: &Content) {
    let read = if content.is_empty() { Vec::new() } else { view.read(path).unwrap() };
    assert!(read == content.bytes().unwrap(), "{path}");
}

/// Looks at one image in every way.
fn check(image: &Path, tree: &Tree) {
    succeeded(&run_within(tool("e2fsck", "e2fsprogs").args(["-fn"]).arg(image), PATIENCE));
    view(image, tree);
    agree(&listed(&Artifact::open(built()).unwrap(), image), &wanted(tree));
}

#[test]
fn a_guest_finds_in_the_image_what_went_in() {
    let image = Artifact::open(built()).unwrap().need("rootfs").unwrap().file("rootfs.ext4").unwrap();
    let spool = tempfile::tempdir().unwrap();
    let recipe = workspace().join("recipes/hello.toml");
    check(&image, &tree_of(&recipe, lock(), &built().parent().unwrap().join("cache"), spool.path()));
}

/// The key, by the lock beside a recipe, of the step that makes its root file system: steps of one key make one artifact.
fn key_of(recipe: &str) -> String {
    let output = run(samovar().current_dir(workspace()).args(["tree", recipe, "--json"]));
    succeeded(&output);
    let steps: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let step = steps.iter().find(|step| step["step"] == "rootfs").unwrap();
    step["key"].as_str().unwrap().to_owned()
}

/// Every other recipe's: here, and elsewhere ([`Elsewhere`]).
///
/// `cargo test -p samovar --test end_to_end -- --ignored every_image` takes some ten minutes, and fetches hundreds of
/// megabytes.
#[test]
#[ignore = "builds the image of every recipe, and reads it in a guest"]
fn every_image_is_the_same_elsewhere_and_holds_what_went_in() {
    let here = Path::new(env!("CARGO_TARGET_TMPDIR")).join("images");
    let mut recipes: Vec<_> = fs::read_dir(workspace().join("recipes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    // A kernel from source takes long to build, and its root file system may be that of a recipe with a ready one.
    recipes
        .sort_by_key(|path| (RecipeFile::read(path).unwrap().recipe.kernel.source.is_some(), path.clone()));
    assert!(recipes.len() > 4, "{recipes:?}");
    let mut checked = HashSet::new();
    let mut cache = built().parent().unwrap().join("cache");
    for recipe in recipes {
        let name = format!("recipes/{}", recipe.file_name().unwrap().display());
        eprintln!("{name}");
        if !checked.insert(key_of(&name)) {
            eprintln!("it is made by the step that made another's");
            continue;
        }
        let store = here.join("store");
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        copy_tree(&cache, &store.join("cache"));
        let lock = usable_lock(&name, &store, PATIENCE);
        let build = ["build", &name, "--until", "rootfs", "--json", "--locked", "--lock-file"];
        let artifact = |command: &mut std::process::Command, lock: &Path, store: &Path| {
            let output = run_within(command.args(build).arg(lock).arg("--store").arg(store), PATIENCE);
            succeeded(&output);
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            Artifact::open(answer["path"].as_str().unwrap()).unwrap()
        };
        let first = artifact(samovar().current_dir(workspace()), &lock, &store);
        let elsewhere = Elsewhere::new(&store.join("cache"));
        let copied = elsewhere.root().join("locked");
        fs::copy(&lock, &copied).unwrap();
        let second = artifact(&mut elsewhere.samovar(), &copied, &elsewhere.store());
        assert_eq!(first.hash(), second.hash(), "{name}");
        let image = first.images()[0].name.as_str();
        let image = [&first, &second].map(|artifact| artifact.file(image).unwrap());
        succeeded(&run(tool("cmp", "diffutils").args(&image)));
        let spool = tempfile::tempdir().unwrap();
        check(&image[0], &tree_of(&recipe, &lock, &store.join("cache"), spool.path()));
        // What one recipe's packages are, another's may be.
        let kept = here.join("cache");
        copy_tree(&store.join("cache"), &kept);
        cache = kept;
    }
}
