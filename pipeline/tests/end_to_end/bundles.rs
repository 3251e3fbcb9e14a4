//! Bundles: one file with all that a base needs, for another store, another person, and whoever doubts it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use store::{Artifact, Store};

use crate::picture::Picture;
use crate::programs::{
    built, copy_tree, link_tree, lock, run, run_within, runner, samovar, succeeded, workspace,
};
use crate::small::Small;

pub fn text(output: &Output) -> String {
    succeeded(output);
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

/// Checks that a program ended with `code`, and said why in one line and a hint.
pub fn refused(output: &Output, code: i32, why: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(why) && stderr.contains("\nhint: "), "{stderr}");
}

/// Packs the hello base to `path`.
fn pack(path: &Path, more: &[&str]) -> Output {
    run(samovar().arg("pack").arg(built()).arg("-o").arg(path).args(more))
}

fn unpack(bundle: &Path, store: &Path, more: &[&str]) -> Output {
    run(samovar().arg("unpack").arg(bundle).arg("--store").arg(store).args(more))
}

/// How many artifacts a store shows, all of which must be whole.
pub fn sound(store: &Path) -> usize {
    let Ok(store) = Store::existing(store) else { return 0 };
    let listed = store.list().unwrap();
    for artifact in &listed {
        store.verify(&artifact.hash).unwrap();
    }
    listed.len()
}

#[test]
fn a_bundle_is_packed_sent_unpacked_and_restored() {
    let dir = tempfile::tempdir().unwrap();
    let [bundle, again, store, third] =
        ["hello.samovar", "again", "store", "third"].map(|name| dir.path().join(name));
    let output = pack(&bundle, &["--json"]);
    let json: Value = serde_json::from_str(&text(&output)).unwrap();
    let hash = built().file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!((json["artifact"].as_str(), json["signed"].as_bool()), (Some(&*hash), Some(false)));
    assert_eq!(json["bytes"].as_u64(), Some(fs::metadata(&bundle).unwrap().len()));

    let info = text(&run(samovar().arg("info").arg(&bundle)));
    assert!(info.contains(json["root"].as_str().unwrap()) && info.contains("signed by nobody"), "{info}");
    assert!(info.contains("recipes/hello.toml") && !info.contains(workspace().to_str().unwrap()), "{info}");
    assert_eq!(
        text(&run(samovar().arg("verify").arg(&bundle).arg("--store").arg(&store))),
        format!("warm base {hash}")
    );
    assert_eq!(sound(&store), 0, "verify leaves nothing");

    let path = PathBuf::from(text(&unpack(&bundle, &store, &[])));
    assert_eq!(path, store.join(&hash));
    assert_eq!(sound(&store), 4);
    // From another store, in another directory, the very same bundle.
    text(&run(samovar().current_dir(dir.path()).args(["pack", "hello", "--store", "store", "-o", "again"])));
    assert!(fs::read(&again).unwrap() == fs::read(&bundle).unwrap());

    let shown = |what: &str, store: &Path, picture: &str| {
        let picture = dir.path().join(picture);
        let mut command = runner();
        command
            .current_dir(dir.path())
            .args(["restore", what, "--store"])
            .arg(store)
            .arg("--screenshot")
            .arg(&picture);
        let output = run(&mut command);
        succeeded(&output);
        (Picture::read(&picture), String::from_utf8(output.stderr).unwrap())
    };
    let screen = Picture::read(&built().join("screen.png"));
    for (what, store, unpacks) in [
        ("hello", &store, false),
        (&hash[..12], &store, false),
        ("hello.samovar", &third, true),
        ("hello.samovar", &third, false),
    ] {
        let (picture, stderr) = shown(what, store, "now.png");
        assert!(picture == screen, "{what}");
        assert_eq!(stderr.contains("unpacking hello.samovar into"), unpacks, "{what}: {stderr}");
    }
    assert_eq!(sound(&third), 4);
    // What was only shown has no name, and goes with the next cleanup.
    assert_eq!(Store::existing(&third).unwrap().names().unwrap(), []);
    let gone = text(&run(samovar().args(["cleanup", "--store"]).arg(&third)));
    assert_eq!((gone.lines().count(), sound(&third)), (4, 0));
    let output = run(runner().args(["restore", "nothing", "--store"]).arg(&store));
    refused(&output, 3, "nothing");
}

#[test]
fn a_name_that_is_taken_stays_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, place) = (dir.path().join("hello.samovar"), dir.path().join("store"));
    text(&pack(&bundle, &[]));
    let store = Store::open(&place).unwrap();
    let mut staging = store.stage().unwrap();
    staging.write("file", b"mine").unwrap();
    let mine = *staging.commit(store::Kind::Kernel, BTreeMap::new(), Value::Null).unwrap().hash();
    store.set_name("hello", &mine).unwrap();
    let output = unpack(&bundle, &place, &[]);
    succeeded(&output);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--name"));
    assert_eq!(store.name("hello").unwrap(), Some(mine));
    text(&unpack(&bundle, &place, &["--name", "theirs"]));
    assert_eq!(
        store.name("theirs").unwrap().unwrap().to_string(),
        built().file_name().unwrap().to_str().unwrap()
    );
}

#[test]
fn only_what_a_trusted_key_signed_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let keygen = |name: &str| text(&run(samovar().args(["keygen", "-o"]).arg(at(name))));
    let (mine, other) = (keygen("mine"), keygen("other"));
    refused(&run(samovar().args(["keygen", "-o"]).arg(at("mine"))), 1, "mine.pub");
    let (signed, unsigned, store) = (at("signed"), at("unsigned"), at("store"));
    text(&pack(&signed, &["--sign", at("mine.key").to_str().unwrap()]));
    text(&pack(&unsigned, &[]));
    refused(&pack(&at("none"), &["--sign", at("mine.pub").to_str().unwrap()]), 2, "mine.pub");
    assert!(!at("none").exists());

    refused(&unpack(&signed, &store, &["--trust", &other]), 4, "not signed by a key that is trusted");
    refused(&unpack(&unsigned, &store, &["--trust", &mine]), 4, "not signed");
    let restore = |bundle: &Path, key: &str| {
        let mut command = runner();
        command.arg("restore").arg(bundle).args(["--trust", key, "--screenshot"]).arg(at("now.png"));
        run(command.arg("--store").arg(&store))
    };
    refused(&restore(&signed, &other), 3, "not signed by a key that is trusted");
    assert!(!store.exists(), "nothing was begun");
    text(&restore(&signed, at("mine.pub").to_str().unwrap()));
    text(&unpack(&signed, &store, &["--trust", &other, "--trust", &mine]));
    assert_eq!(sound(&store), 4);
}

#[test]
fn what_does_not_fit_this_program_is_refused_before_it_is_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, store) = (dir.path().join("newer.samovar"), dir.path().join("store"));
    let base = Artifact::open(built()).unwrap();
    let made = Store::open(dir.path().join("made")).unwrap();
    for need in base.manifest().needs.values() {
        link_tree(&built().parent().unwrap().join(need.to_string()), &made.path_of(need));
    }
    let mut staging = made.stage().unwrap();
    let state = String::from_utf8(base.read("state.json").unwrap()).unwrap();
    let version = format!("\"machine_version\":{}", machine::VERSION);
    assert!(state.contains(&version));
    staging.write("state.json", state.replace(&version, "\"machine_version\":4711").as_bytes()).unwrap();
    let needs = base.manifest().needs.clone();
    let newer = staging.commit(base.kind(), needs, base.manifest().meta.clone()).unwrap();
    text(&run(samovar().arg("pack").arg(newer.dir()).arg("-o").arg(&bundle)));
    refused(&unpack(&bundle, &store, &[]), 4, "machine version 4711");
    let output = run(runner().arg("restore").arg(&bundle).arg("--store").arg(&store));
    refused(&output, 3, "machine version 4711");
    assert!(!store.exists());
}

#[test]
fn a_bundle_is_built_again_from_what_came_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (bundle, store) = (dir.path().join("hello.samovar"), dir.path().join("store"));
    text(&pack(&bundle, &[]));
    link_tree(&built().parent().unwrap().join("cache"), &store.join("cache"));
    let verify = |bundle: &Path| {
        run(samovar()
            .arg("verify")
            .arg(bundle)
            .args(["--rebuild", "--offline", "--json", "--store"])
            .arg(&store))
    };
    let output = verify(&bundle);
    let json: Value = serde_json::from_str(&text(&output)).unwrap();
    assert_eq!(json["hash"].as_str(), built().file_name().unwrap().to_str());
    assert_eq!((&json["rebuilt"], &json["difference"]), (&json["hash"], &Value::Null));
    assert_eq!(sound(&store), 0, "nothing of it stays");

    // The same base, said to be made from a file that is another.
    let place = Store::open(dir.path().join("liar")).unwrap();
    text(&unpack(&bundle, place.dir(), &[]));
    let hash = place.name("hello").unwrap().unwrap();
    let recorded = String::from_utf8(place.provenance(&hash, 1 << 20).unwrap().unwrap()).unwrap();
    let lie = recorded.replacen("#!/bin/sh", "#!/bin/sh -", 1);
    assert!(lie != recorded);
    place.set_provenance(&hash, lie.as_bytes()).unwrap();
    text(&run(samovar().args(["pack", "hello", "--store"]).arg(place.dir()).arg("-o").arg(&bundle)));
    let output = verify(&bundle);
    // The packed one has the program as it is here, and the lie has made it two characters longer.
    let size = fs::metadata(workspace().join("guest-rootfs/hello/init")).unwrap().len();
    let first = format!("what differs first is rootfs > rootfs.ext4 > /init: {size} -> {} bytes", size + 2);
    refused(&output, 4, &first);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(json["rebuilt"] != json["hash"]);
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = dir.path().join("it");
    text(&pack(&bundle, &[]));
    let size = fs::metadata(&bundle).unwrap().len();
    let Some(small) = Small::mount(dir.path().join("small"), &format!("size={}", size / 2)) else { return };
    refused(&pack(&small.0.join("it"), &[]), 1, "no space left");
    assert_eq!(fs::read_dir(&small.0).unwrap().count(), 0);
    refused(&unpack(&bundle, &small.0.join("store"), &[]), 1, "MiB are needed");
    assert_eq!(sound(&small.0.join("store")), 0);
    // Room for the bytes, but not for so many files: it is full only once some are there.
    let Some(few) = Small::mount(dir.path().join("few"), "size=1g,nr_inodes=24") else { return };
    refused(&unpack(&bundle, &few.0.join("store"), &[]), 1, "no space left");
    let store = few.0.join("store");
    assert_eq!(sound(&store), 0);
    assert_eq!(fs::read_dir(store.join("partial")).unwrap().count(), 0);
}

#[test]
fn the_key_for_a_cache_changes_with_what_is_built_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let key = |root: &Path| {
        let mut command = samovar();
        command.current_dir(root).args(["key", "recipes/hello.toml", "--lock-file"]);
        text(&run(command.arg(lock())))
    };
    let first = key(workspace());
    assert_eq!(first.len(), 64);
    let root = dir.path().join("another place");
    for part in ["recipes", "guest-rootfs"] {
        copy_tree(&workspace().join(part), &root.join(part));
    }
    assert_eq!(key(&root), first);
    let recipe = root.join("recipes/hello.toml");
    let original = fs::read_to_string(&recipe).unwrap();
    fs::write(&recipe, format!("# a remark\n{original}")).unwrap();
    assert_eq!(key(&root), first);
    fs::write(&recipe, original.replace("cpus = ", "cpus = 1 #")).unwrap();
    assert!(key(&root) != first);
    fs::write(&recipe, &original).unwrap();
    fs::write(root.join("guest-rootfs/hello/more"), "x").unwrap();
    assert!(key(&root) != first);
}

#[test]
fn completions_and_manual_pages_name_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for (shell, mark) in
        [("bash", "complete -F"), ("zsh", "#compdef samovar"), ("fish", "complete -c samovar")]
    {
        let script = text(&run(samovar().args(["completions", shell])));
        assert!(script.contains(mark) && script.contains("unpack") && script.contains("keygen"), "{shell}");
    }
    assert!(text(&run(samovar().args(["completions", "bash", "--runner"]))).contains("restore"));
    let pages = dir.path().join("man");
    text(&run_within(samovar().arg("man").arg(&pages), Duration::from_secs(60)));
    for page in ["samovar.1", "samovar-pack.1", "runner.1", "runner-restore.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains(".TH"), "{page}");
    }
}
