use std::collections::BTreeMap;
use std::io::Write;

use serde_json::json;
use store::{Kind as ArtifactKind, Store};

use super::*;
use crate::rootfs;
use crate::tree::{Attributes, Content, Kind, Tree};

/// A root file system with these files of mode 0644, and something of each other kind.
fn rootfs(store: &Store, files: &[(&str, &str)], mode: u16, meta: Value) -> Artifact {
    let mut tree = Tree::new();
    for (path, text) in files {
        let content = Content::Memory(text.as_bytes().into());
        tree.add(path, Attributes { mode, uid: 0, gid: 7 }, Kind::File(content)).unwrap();
    }
    tree.add("/dev/null", Attributes::root(0o666), Kind::Character(1, 3)).unwrap();
    let target = files.first().map_or("/none", |(path, _)| path).to_owned();
    tree.add("/first", Attributes::root(0o777), Kind::Symlink(target)).unwrap();
    let mut staging = store.stage().unwrap();
    let mut file = staging.create("rootfs.ext4").unwrap();
    rootfs::write_image(&tree, "it", 0, &mut file).unwrap();
    staging.add(file).unwrap();
    staging.commit(ArtifactKind::Rootfs, BTreeMap::new(), meta).unwrap()
}

/// A warm base over a root file system.
fn base(store: &Store, rootfs: &Artifact, memory: &[u8], state: &Value, console: &str) -> Artifact {
    let mut staging = store.stage().unwrap();
    for (name, bytes) in [
        ("memory.img", memory),
        ("state.json", state.to_string().as_bytes()),
        ("console.txt", console.as_bytes()),
    ] {
        let mut file = staging.create(name).unwrap();
        file.write_all(bytes).unwrap();
        staging.add(file).unwrap();
    }
    let needs = BTreeMap::from([("rootfs".to_owned(), *rootfs.hash())]);
    staging.commit(ArtifactKind::WarmBase, needs, json!({})).unwrap()
}

fn lines(first: &Artifact, second: &Artifact) -> Vec<String> {
    let found = artifacts(first, second).unwrap();
    found.iter().map(Difference::to_string).collect()
}

#[test]
fn every_difference_is_named_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let files = [("/etc/a", "one"), ("/etc/b", "same"), ("/etc/c", "short"), ("/etc/gone", "")];
    let others = [("/etc/a", "two"), ("/etc/b", "same"), ("/etc/c", "longer"), ("/etc/new", "")];
    let first = rootfs(&store, &files, 0o644, json!({ "packages": ["a 1", "b 1"] }));
    let second = rootfs(&store, &others, 0o644, json!({ "packages": ["a 2", "b 1"] }));
    let mut memory = vec![0; 5 * 4096];
    let first = base(&store, &first, &memory, &json!({ "cpu": [{ "x": [1, 2] }], "same": "s" }), "same");
    memory[4096] = 1;
    memory[3 * 4096 + 4095] = 1;
    let second = base(&store, &second, &memory, &json!({ "cpu": [{ "x": [1, 3] }], "same": "s" }), "same!");
    assert_eq!(
        lines(&first, &second),
        [
            "rootfs > packages: a 1: only in the first",
            "rootfs > packages: a 2: only in the second",
            "rootfs > rootfs.ext4 > /etc/a: other bytes",
            "rootfs > rootfs.ext4 > /etc/c: 5 -> 6 bytes",
            "rootfs > rootfs.ext4 > /etc/gone: only in the first",
            "rootfs > rootfs.ext4 > /etc/new: only in the second",
            "console.txt > bytes: differ from byte 4 on, 4 -> 5 bytes",
            "memory.img > pages: 2 differ, at 0x1000, 0x3000",
            "state.json > cpu.0.x.1: 2 -> 3",
        ]
    );
    assert!(lines(&first, &first).is_empty());
}

#[test]
fn modes_and_kinds_are_compared() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let first = rootfs(&store, &[("/a", "")], 0o644, json!({}));
    let second = rootfs(&store, &[("/b", ""), ("/a", "")], 0o600, json!({}));
    assert_eq!(
        lines(&first, &second),
        [
            "rootfs.ext4 > /a: mode 644 -> 600",
            "rootfs.ext4 > /b: only in the second",
            "rootfs.ext4 > /first: link to /a -> link to /b",
        ]
    );
}

#[test]
fn a_broken_image_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let sound = rootfs(&store, &[("/a", "")], 0o644, json!({}));
    let mut staging = store.stage().unwrap();
    let mut file = staging.create("rootfs.ext4").unwrap();
    file.write_all(&[0; 4096]).unwrap();
    staging.add(file).unwrap();
    let broken = staging.commit(ArtifactKind::Rootfs, BTreeMap::new(), json!({})).unwrap();
    let error = artifacts(&sound, &broken).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("rootfs.ext4"), "{error}");
}
