//! Sharing: artifacts pushed to a directory and to a registry, and pulled from there and from a web server.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use store::{Artifact, Store};

use crate::bundles::{refused, sound, text};
use crate::programs::{built, copy_tree, run, runner, samovar};
use crate::registry::Registry;
use crate::server::{Manner, Server};

fn push(artifact: &Path, remote: &str, more: &[&str]) -> Output {
    run(samovar().arg("push").arg(artifact).arg(remote).args(more))
}

fn pull(named: &str, remote: &str, store: &Path, more: &[&str]) -> Output {
    let mut command = samovar();
    command.args(["pull", named, remote, "--store"]).arg(store).args(more);
    run(command.env("NO_PROXY", "127.0.0.1").env_remove("http_proxy").env_remove("HTTP_PROXY"))
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap()
}

/// The hello base's hash.
fn hash() -> String {
    built().file_name().unwrap().to_str().unwrap().to_owned()
}

/// A store with the hello base and the next version of it: some other pages in its memory, as another page to show would
/// make, and the same machine.
fn next_version(dir: &Path) -> PathBuf {
    let base = Artifact::open(built()).unwrap();
    let made = Store::open(dir.join("made")).unwrap();
    for need in base.manifest().needs.values() {
        copy_tree(&built().parent().unwrap().join(need.to_string()), &made.path_of(need));
    }
    let mut staging = made.stage().unwrap();
    for entry in &base.manifest().files {
        let mut bytes = base.read(&entry.name).unwrap();
        if entry.name == "memory.img" {
            let pages: Vec<usize> = bytes
                .chunks(4096)
                .enumerate()
                .filter(|(_, page)| page.iter().any(|byte| *byte != 0))
                .map(|it| it.0)
                .collect();
            for page in pages.iter().step_by(20) {
                bytes[page * 4096 + 100] ^= 0x55;
            }
        }
        staging.write(&entry.name, &bytes).unwrap();
    }
    let (needs, meta) = (base.manifest().needs.clone(), base.manifest().meta.clone());
    staging.commit(base.kind(), needs, meta).unwrap().dir().into()
}

#[test]
fn a_base_goes_by_a_directory_and_a_web_server_and_is_restored() {
    let dir = tempfile::tempdir().unwrap();
    let [remote, store, other] = ["remote", "store", "other"].map(|name| dir.path().join(name));
    let pushed = json(&push(&built(), remote.to_str().unwrap(), &["--json"]));
    assert_eq!((pushed["artifact"].as_str(), pushed["name"].as_str()), (Some(&*hash()), Some("hello")));
    let path = PathBuf::from(text(&pull("hello", remote.to_str().unwrap(), &store, &[])));
    assert_eq!((path, sound(&store)), (store.join(hash()), 4));
    let picture = dir.path().join("now.png");
    let mut command = runner();
    text(&run(command.args(["restore", "hello", "--store"]).arg(&store).arg("--screenshot").arg(&picture)));
    assert!(picture.exists());

    // Two copies in two places, byte for byte.
    text(&push(&store.join(hash()), other.to_str().unwrap(), &[]));
    let tree = |dir: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let subs = ["indexes", "names", "packs"].map(|sub| fs::read_dir(dir.join(sub)).unwrap());
        let paths = subs.into_iter().flatten().map(|entry| entry.unwrap().path());
        paths.map(|path| (path.strip_prefix(dir).unwrap().into(), fs::read(&path).unwrap())).collect()
    };
    assert!(tree(&remote) == tree(&other));

    // The next version, by a web server: less than a quarter is sent, and less than a quarter fetched.
    let next = next_version(dir.path());
    let sent = json(&push(&next, remote.to_str().unwrap(), &["--json"]));
    let bytes = |json: &Value, name: &str| json[name].as_u64().unwrap();
    assert!(bytes(&sent, "bytes_sent") * 4 < bytes(&pushed, "bytes_sent"), "{sent} after {pushed}");
    let server = Server::serve(&remote);
    let pulled = json(&pull("hello", &server.url(), &store, &["--json", "--name", "next"]));
    assert!(bytes(&pulled, "bytes_fetched") * 4 < bytes(&pulled, "bytes_there"), "{pulled}");
    assert_eq!((sound(&store), pulled["new"].as_array().unwrap().len()), (5, 1));
    assert_eq!(pulled["path"].as_str(), store.join(next.file_name().unwrap()).to_str());
    refused(&push(&next, &server.url(), &[]), 2, "only serves");
}

#[test]
fn a_base_goes_by_a_registry() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Registry::start(dir.path());
    let (remote, store) = (registry.remote(), dir.path().join("store"));
    refused(&pull("hello", &remote, &store, &[]), 3, "not there");
    let bytes = |json: &Value, name: &str| json[name].as_u64().unwrap();
    let first = json(&push(&built(), &remote, &["--json"]));
    let again = json(&push(&built(), &remote, &["--json"]));
    assert!(bytes(&again, "bytes_sent") < bytes(&first, "bytes_sent") / 10, "{again} after {first}");
    assert_eq!(text(&pull("hello", &remote, &store, &[])), store.join(hash()).display().to_string());
    assert_eq!(sound(&store), 4);
    let next = next_version(dir.path());
    let sent = json(&push(&next, &remote, &["--json"]));
    assert!(bytes(&sent, "bytes_sent") * 4 < bytes(&first, "bytes_sent"), "{sent} after {first}");
    let pulled = json(&pull(next.file_name().unwrap().to_str().unwrap(), &remote, &store, &["--json"]));
    assert!(bytes(&pulled, "bytes_fetched") * 4 < bytes(&pulled, "bytes_there"), "{pulled}");
    // The first is still there by its hash, for whoever has nothing.
    let fresh = dir.path().join("fresh");
    text(&pull(&hash(), &remote, &fresh, &[]));
    assert_eq!((sound(&store), sound(&fresh)), (5, 4));

    // What the registry has lost or changed is refused by name.
    let blobs = dir.path().join("registry/docker/registry/v2/blobs/sha256");
    let mut packs: Vec<PathBuf> = fs::read_dir(blobs)
        .unwrap()
        .flat_map(|two| fs::read_dir(two.unwrap().path()).unwrap())
        .map(|blob| blob.unwrap().path().join("data"))
        .collect();
    packs.sort_by_key(|path| fs::metadata(path).unwrap().len());
    let largest = packs.last().unwrap();
    let mut changed = fs::read(largest).unwrap();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    fs::write(largest, changed).unwrap();
    let third = dir.path().join("third");
    refused(&pull(&hash(), &remote, &third, &[]), 4, "/blobs/sha256:");
    assert_eq!((sound(&third), fs::read_dir(third.join("partial")).unwrap().count()), (0, 0));
}

#[test]
fn only_what_a_trusted_key_signed_is_pulled() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let keygen = |name: &str| text(&run(samovar().args(["keygen", "-o"]).arg(at(name))));
    let (mine, other) = (keygen("mine"), keygen("other"));
    let (signed, unsigned, store) = (at("signed"), at("unsigned"), at("store"));
    let [signed, unsigned] = [signed, unsigned].map(|path| path.to_str().unwrap().to_owned());
    text(&push(&built(), &signed, &["--sign", at("mine.key").to_str().unwrap()]));
    text(&push(&built(), &unsigned, &[]));
    refused(
        &push(&built(), at("none").to_str().unwrap(), &["--sign", at("mine.pub").to_str().unwrap()]),
        2,
        "mine.pub",
    );
    assert!(!at("none").exists());
    refused(&pull("hello", &signed, &store, &["--trust", &other]), 4, "not signed by a key that is trusted");
    refused(&pull("hello", &unsigned, &store, &["--trust", &mine]), 4, "not signed");
    // The signature of another index is none of this one.
    let index = |remote: &str| Path::new(remote).join("indexes").join(hash());
    let (good, plain) = (fs::read(index(&signed)).unwrap(), fs::read(index(&unsigned)).unwrap());
    let len = good.len() - plain.len();
    let changed = [&good[..56 + len - 8], b"AAAAAAA\n", &good[56 + len..]].concat();
    fs::write(index(&signed), changed).unwrap();
    refused(&pull("hello", &signed, &store, &["--trust", &mine]), 4, "signature");
    fs::write(index(&signed), good).unwrap();
    assert!(!store.exists(), "nothing was begun");
    text(&pull("hello", &signed, &store, &["--trust", &other, "--trust", at("mine.pub").to_str().unwrap()]));
    assert_eq!(sound(&store), 4);
}

#[test]
fn what_does_not_fit_this_program_is_refused_before_it_is_fetched() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, store) = (dir.path().join("remote"), dir.path().join("store"));
    let base = Artifact::open(built()).unwrap();
    let made = Store::open(dir.path().join("made")).unwrap();
    for need in base.manifest().needs.values() {
        copy_tree(&built().parent().unwrap().join(need.to_string()), &made.path_of(need));
    }
    let mut staging = made.stage().unwrap();
    let state = String::from_utf8(base.read("state.json").unwrap()).unwrap();
    let version = format!("\"machine_version\":{}", machine::VERSION);
    staging.write("state.json", state.replace(&version, "\"machine_version\":4711").as_bytes()).unwrap();
    let needs = base.manifest().needs.clone();
    let newer = staging.commit(base.kind(), needs, base.manifest().meta.clone()).unwrap();
    text(&push(newer.dir(), remote.to_str().unwrap(), &[]));
    let server = Server::serve(&remote);
    refused(&pull("hello", &server.url(), &store, &[]), 4, "machine version 4711");
    assert!(!store.exists() && server.requests() == 3, "the name, the index, and a frame");
}

#[test]
fn a_web_server_that_misbehaves_leaves_nothing_to_be_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (remote, store) = (dir.path().join("remote"), dir.path().join("store"));
    text(&push(&built(), remote.to_str().unwrap(), &[]));
    let server = Server::serve(&remote);
    for (part, manner, code, why) in [
        ("names/", Manner::Status(404), 3, "/names/hello: not there"),
        ("indexes/", Manner::Half, 3, "tried 4 times"),
        ("packs/", Manner::Half, 3, "tried 4 times"),
        ("packs/", Manner::Redirects, 3, "redirected without end"),
        ("packs/", Manner::Status(403), 3, "HTTP 403"),
        ("packs/", Manner::Lies, 4, "is not what was pushed"),
        ("indexes/", Manner::Lies, 4, "/indexes/"),
    ] {
        server.set(part, manner);
        refused(&pull("hello", &server.url(), &store, &[]), code, why);
        assert_eq!(sound(&store), 0, "{manner:?}");
    }
    server.set("packs/", Manner::Stalls);
    let mut command = samovar();
    command.args(["pull", "hello", &server.url(), "--store"]).arg(&store).env("SAMOVAR_FETCH_TIMEOUT", "1");
    refused(&run(command.env("NO_PROXY", "127.0.0.1")), 3, "tried 4 times");
    server.set("", Manner::NoRanges);
    text(&pull("hello", &server.url(), &store, &[]));
    assert_eq!((sound(&store), fs::read_dir(store.join("partial")).unwrap().count()), (4, 0));
    refused(&pull("hello", "http://127.0.0.1:1", &dir.path().join("none"), &[]), 3, "tried 4 times");
}

/// Kills at random moments; `SAMOVAR_KILLS` says how many, 4 without it.
#[test]
fn killed_pushes_and_pulls_leave_nothing_wrong_and_the_next_ones_end_well() {
    let rounds = std::env::var("SAMOVAR_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(4);
    let dir = tempfile::tempdir().unwrap();
    let [good, remote, store] = ["good", "remote", "store"].map(|name| dir.path().join(name));
    let begun = Instant::now();
    text(&push(&built(), good.to_str().unwrap(), &[]));
    let pushing = begun.elapsed();
    let begun = Instant::now();
    text(&pull("hello", good.to_str().unwrap(), &store, &[]));
    let pulling = begun.elapsed();
    fs::remove_dir_all(&store).unwrap();
    let mut killed = 0;
    for round in 0..rounds {
        // Spread over the whole time by the golden ratio, so that every part of it is hit.
        let share = f64::from(round) * 0.618_034 % 1.0;
        let pushes = round % 2 == 0;
        let (mut command, time) = if pushes { (samovar(), pushing) } else { (samovar(), pulling) };
        match pushes {
            true => command.arg("push").arg(built()).arg(&remote),
            false => command.args(["pull", "hello"]).arg(&good).arg("--store").arg(&store),
        };
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time.mul_f64(share).max(Duration::from_millis(1)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
        match pushes {
            // There whole, or not at all.
            true => {
                let pulled = pull("hello", remote.to_str().unwrap(), &dir.path().join("from"), &[]);
                if pulled.status.success() {
                    assert_eq!(sound(&dir.path().join("from")), 4);
                } else {
                    refused(&pulled, 3, "not there");
                }
            }
            false => assert!([0, 1, 2, 3, 4].contains(&sound(&store))),
        }
    }
    assert!(killed > rounds / 4, "{killed} of {rounds} were killed in time");
    text(&push(&built(), remote.to_str().unwrap(), &[]));
    text(&pull("hello", remote.to_str().unwrap(), &store, &[]));
    assert_eq!(sound(&store), 4);
    assert_eq!(fs::read_dir(store.join("partial")).unwrap().count(), 0);
    for sub in ["indexes", "names", "packs"] {
        let names = |dir: &Path| -> Vec<_> {
            let mut names: Vec<_> =
                fs::read_dir(dir.join(sub)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&remote), names(&good));
    }
}
