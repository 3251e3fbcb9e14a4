use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("artifacts")).unwrap();
    (dir, store)
}

fn put(store: &Store, files: &[(&str, &[u8])], needs: &[(&str, Hash)]) -> Artifact {
    let mut staging = store.stage().unwrap();
    for (name, bytes) in files {
        staging.write(name, bytes).unwrap();
    }
    let needs = needs.iter().map(|(role, hash)| ((*role).to_owned(), *hash)).collect();
    staging.commit(Kind::Kernel, needs, json!({"a": 1})).unwrap()
}

fn staged(store: &Store) -> Vec<PathBuf> {
    let entries = fs::read_dir(store.dir().join(".staging")).unwrap();
    entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("gate")).collect()
}

/// Changes one byte of a read-only file, as a failing disk would.
fn flip(path: &Path, at: u64) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ 1]).unwrap();
}

#[test]
fn an_artifact_comes_back() {
    let (_dir, store) = store();
    let made = put(&store, &[("Image", b"kernel"), ("config", b"y")], &[]);
    let loaded = store.verify(made.hash()).unwrap();
    assert_eq!(loaded.read("Image").unwrap(), b"kernel");
    assert_eq!(loaded.manifest(), made.manifest());
    assert!(matches!(loaded.file("other"), Err(Error::NoSuchFile { .. })));
    // The name is what anyone computes from the manifest.
    let sum = Command::new("sha256sum").arg(loaded.dir().join(MANIFEST)).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&made.hash().to_string()));
    for name in ["Image", "config", MANIFEST] {
        assert_eq!(fs::metadata(loaded.dir().join(name)).unwrap().mode() & 0o777, 0o444);
    }
    assert!(staged(&store).is_empty());
}

#[test]
fn the_same_content_is_kept_once() {
    let (_dir, store) = store();
    let first = put(&store, &[("a", b"1"), ("b", b"2")], &[]);
    let inode = fs::metadata(first.file("a").unwrap()).unwrap().ino();
    let second = put(&store, &[("b", b"2"), ("a", b"1")], &[]);
    assert_eq!(first.hash(), second.hash());
    assert_eq!(fs::metadata(second.file("a").unwrap()).unwrap().ino(), inode);
    assert!(staged(&store).is_empty());
}

#[test]
fn two_writers_of_one_artifact_agree() {
    let (_dir, store) = store();
    let content: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let hashes: Vec<Hash> = std::thread::scope(|scope| {
        let write = || {
            let store = Store::open(store.dir()).unwrap();
            *put(&store, &[("a", &content)], &[]).hash()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(write)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]));
    store.verify(&hashes[0]).unwrap();
    assert!(staged(&store).is_empty());
}

#[test]
fn a_dropped_build_leaves_nothing() {
    let (_dir, store) = store();
    let mut staging = store.stage().unwrap();
    staging.write("a", b"1").unwrap();
    assert_eq!(staged(&store).len(), 2);
    drop(staging);
    assert!(staged(&store).is_empty());
}

#[test]
fn a_dead_builds_leavings_go_and_a_living_ones_stay() {
    let (_dir, store) = store();
    let living = store.stage().unwrap();
    // What a killed process leaves: a directory, a lock file that nobody holds, or one of them if it was cleaning up.
    for (directory, lock) in [(true, true), (true, false), (false, true)] {
        let dead = store.dir().join(".staging/new-dead");
        if directory {
            fs::create_dir(&dead).unwrap();
            fs::write(dead.join("half"), b"half").unwrap();
        }
        if lock {
            fs::write(dead.with_extension("lock"), b"").unwrap();
        }
        Store::open(store.dir()).unwrap();
        assert!(!dead.exists() && !dead.with_extension("lock").exists());
    }
    assert!(living.dir().exists());
}

#[test]
fn damage_is_named() {
    let (_dir, store) = store();
    let big = vec![7; 3 << 20];
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 6] = [
        ("manifest", |dir| flip(&dir.join(MANIFEST), 30)),
        ("small file", |dir| flip(&dir.join("state"), 2)),
        ("missing file", |dir| fs::remove_file(dir.join("state")).unwrap()),
        ("short file", |dir| {
            fs::remove_file(dir.join("state")).unwrap();
            fs::write(dir.join("state"), b"sta").unwrap();
        }),
        ("link", |dir| {
            fs::rename(dir.join("state"), dir.join("../elsewhere")).unwrap();
            std::os::unix::fs::symlink("../elsewhere", dir.join("state")).unwrap();
        }),
        ("no manifest", |dir| fs::remove_file(dir.join(MANIFEST)).unwrap()),
    ];
    for (what, damage) in cases {
        let artifact = put(&store, &[("state", b"state"), ("memory.img", &big)], &[]);
        damage(artifact.dir());
        let error = store.load(artifact.hash()).expect_err(what);
        assert!(error.is_damage() || matches!(error, Error::Missing { .. }), "{what}: {error}");
        // Building it again mends it.
        put(&store, &[("state", b"state"), ("memory.img", &big)], &[]);
        store.verify(artifact.hash()).expect(what);
    }
}

#[test]
fn large_files_are_checked_by_verify() {
    let (_dir, store) = store();
    let artifact = put(&store, &[("memory.img", &vec![7; 3 << 20])], &[]);
    flip(&artifact.file("memory.img").unwrap(), 2 << 20);
    store.load(artifact.hash()).unwrap();
    assert!(matches!(store.verify(artifact.hash()), Err(Error::WrongHash { .. })));
    assert!(matches!(artifact.read("memory.img"), Err(Error::WrongHash { .. })));
}

#[test]
fn a_stranger_in_the_directory_is_seen() {
    let (_dir, store) = store();
    let artifact = put(&store, &[("a", b"1")], &[]);
    fs::write(artifact.dir().join("b"), b"2").unwrap();
    assert!(matches!(store.verify(artifact.hash()), Err(Error::UnexpectedFile { .. })));
    let staging = store.stage().unwrap();
    fs::write(staging.dir().join("forgotten"), b"2").unwrap();
    let result = staging.commit(Kind::Kernel, BTreeMap::new(), json!({}));
    assert!(matches!(result, Err(Error::UnexpectedFile { .. })));
    assert!(staged(&store).is_empty());
}

#[test]
fn needs_lie_beside() {
    let (_dir, store) = store();
    let kernel = put(&store, &[("Image", b"k")], &[]);
    let base = put(&store, &[("state", b"s")], &[("kernel", *kernel.hash())]);
    let opened = Artifact::open(base.dir()).unwrap();
    assert_eq!(opened.need("kernel").unwrap().hash(), kernel.hash());
    assert!(matches!(opened.need("rootfs"), Err(Error::NoSuchNeed { .. })));
    let link = store.dir().join("names/link");
    std::os::unix::fs::symlink(base.dir(), &link).unwrap();
    assert_eq!(Artifact::open(&link).unwrap().need("kernel").unwrap().hash(), kernel.hash());
    store.verify(base.hash()).unwrap();
    fs::remove_dir_all(kernel.dir()).unwrap();
    assert!(matches!(opened.need("kernel"), Err(Error::MissingNeed { .. })));
    assert!(store.verify(base.hash()).is_err());
}

#[test]
fn zeros_take_no_room() {
    let (_dir, store) = store();
    let mut staging = store.stage().unwrap();
    let mut file = staging.create("memory.img").unwrap();
    let mut whole = vec![0; 4 << 20];
    whole[1 << 20] = 1;
    whole[(3 << 20) + 17] = 2;
    // In pieces that do not line up with blocks.
    for piece in whole.chunks(10_007) {
        file.write_all(piece).unwrap();
    }
    let entry = staging.add(file).unwrap();
    assert_eq!((entry.sha256, entry.size), (Hash::of(&whole), whole.len() as u64));
    let artifact = staging.commit(Kind::WarmBase, BTreeMap::new(), json!({})).unwrap();
    let path = artifact.file("memory.img").unwrap();
    assert!(fs::read(&path).unwrap() == whole);
    assert!(fs::metadata(&path).unwrap().blocks() * 512 <= 64 << 10);
}

#[test]
fn steps_and_names() {
    let (_dir, store) = store();
    let (key, artifact) = (Hash::of(b"key"), put(&store, &[("a", b"1")], &[]));
    assert_eq!(store.step(&key).unwrap(), None);
    store.set_step(&key, artifact.hash()).unwrap();
    assert_eq!(store.step(&key).unwrap(), Some(*artifact.hash()));
    store.set_name("hello", artifact.hash()).unwrap();
    assert_eq!(store.name("hello").unwrap(), Some(*artifact.hash()));
    assert!(matches!(store.name("../keys"), Err(Error::BadName { .. })));
    // A step whose artifact is gone or damaged has to be done again.
    fs::remove_file(artifact.file("a").unwrap()).unwrap();
    assert_eq!(store.step(&key).unwrap(), None);
    // So has one whose pointer is.
    fs::write(store.dir().join("keys").join(key.to_string()), [0xff, 0xfe]).unwrap();
    assert_eq!(store.step(&key).unwrap(), None);
}

#[test]
fn the_cache_checks_what_it_gives() {
    let (_dir, store) = store();
    let hash = Hash::of(b"deb");
    assert_eq!(store.cached(&hash, 3).unwrap(), None);
    let scratch = store.scratch().unwrap();
    let mut file = scratch.create("download").unwrap();
    file.write_all(b"deb").unwrap();
    assert_eq!(file.finish().unwrap(), (hash, 3));
    let path = store.keep(&scratch, "download", &hash).unwrap();
    assert_eq!(store.cached(&hash, 3).unwrap(), Some(path.clone()));
    flip(&path, 1);
    assert_eq!(store.cached(&hash, 3).unwrap(), None);
    assert!(!path.exists());
}

#[test]
fn the_last_fetched_is_remembered() {
    let (_dir, store) = store();
    assert_eq!(store.remembered("a/b InRelease", 10).unwrap(), None);
    store.remember("a/b InRelease", b"old").unwrap();
    store.remember("a/b InRelease", b"new").unwrap();
    assert_eq!(store.remembered("a/b InRelease", 10).unwrap().as_deref(), Some(&b"new"[..]));
    assert_eq!(store.remembered("a/b InRelease", 2).unwrap(), None, "longer than it may be");
    assert_eq!(store.remembered("other", 10).unwrap(), None);
    let path = store.cached(&Hash::of(b"new"), 3).unwrap().unwrap();
    fs::write(&path, "nev").unwrap();
    assert_eq!(store.remembered("a/b InRelease", 10).unwrap(), None, "not what it was");
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let error = Error::io(Path::new("x"), std::io::ErrorKind::StorageFull.into());
    assert!(matches!(error, Error::NoSpace { .. }));
    // The real thing, where the system has a device that is always full.
    if let Ok(mut full) = OpenOptions::new().write(true).open("/dev/full") {
        let error = full.write_all(b"x").expect_err("a full device takes nothing");
        assert!(matches!(Error::io(Path::new("/dev/full"), error), Error::NoSpace { .. }));
    }
}
