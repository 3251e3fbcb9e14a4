//! Firefox's base on its way to others: packed, sent, pulled, checked and restored there; and the next version of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use store::Store;

use crate::picture::Picture;
use crate::programs::{run_within, runner, samovar, succeeded, usable_lock, workspace};
use crate::registry::Registry;
use crate::server::Server;
use crate::{PATIENCE, built};

fn text(command: &mut Command) -> String {
    let output: Output = run_within(command, PATIENCE);
    succeeded(&output);
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn json(command: &mut Command) -> Value {
    serde_json::from_str(&text(command.arg("--json"))).unwrap()
}

fn bytes(answer: &Value, name: &str) -> u64 {
    answer[name].as_u64().unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn pull(named: &str, remote: &str, store: &Path) -> Command {
    let mut command = samovar();
    command.args(["pull", named, remote, "--store"]).arg(store);
    command.env("NO_PROXY", "127.0.0.1").env_remove("http_proxy").env_remove("HTTP_PROXY");
    command
}

/// The base with another homepage, by the lock of the first: `SAMOVAR_FIREFOX_NEXT` names one that is there already.
fn next(store: &Path) -> PathBuf {
    if let Some(base) = env::var_os("SAMOVAR_FIREFOX_NEXT") {
        return workspace().join(base);
    }
    let lock = usable_lock("recipes/firefox.toml", store, PATIENCE);
    let mut command = samovar();
    command.current_dir(workspace()).args(["build", "benches/other-homepage.toml", "--lock-file"]);
    text(command.arg(lock).arg("--store").arg(store)).into()
}

/// What a base of `store` shows, or of a bundle.
fn seen(dir: &Path, restored: &Path, store: &Path) -> Picture {
    let picture = dir.join("seen.png");
    let mut command = runner();
    command.arg("restore").arg(restored).arg("--store").arg(store);
    text(command.arg("--headless").arg("--screenshot").arg(&picture));
    Picture::read(&picture)
}

/// `cargo test -p samovar --test firefox -- --ignored sharing` takes three minutes, and five more for the second base.
#[test]
#[ignore = "builds a second base, and moves gigabytes"]
fn the_base_and_the_next_version_go_to_others() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let [unpacked, pulled, served, remote] =
        ["unpacked", "pulled", "served", "remote"].map(|name| dir.path().join(name));
    let (base, warm) = (built(), Picture::read(&built().join("screen.png")));
    let hash = base.file_name().unwrap().to_str().unwrap();
    let here = base.parent().unwrap();

    assert!(text(samovar().arg("list").arg("--store").arg(here)).contains(hash));
    assert!(text(samovar().arg("info").arg(base)).contains("firefox"));
    text(samovar().arg("verify").arg(base));

    let bundle = dir.path().join("firefox.samovar");
    let packed = json(samovar().arg("pack").arg(base).arg("-o").arg(&bundle));
    eprintln!("{packed:#}");
    assert!(fs::metadata(&bundle).unwrap().len() < 250_000_000, "{packed}");
    assert!(seen(dir.path(), &bundle, &unpacked) == warm);
    text(samovar().arg("verify").arg(&bundle));
    text(samovar().arg("verify").arg(unpacked.join(hash)));

    let registry = Registry::start(dir.path());
    let first = json(samovar().arg("push").arg(base).arg(registry.remote()));
    json(&mut pull("firefox", &registry.remote(), &pulled));
    assert!(seen(dir.path(), &pulled.join(hash), &pulled) == warm);
    text(samovar().arg("push").arg(base).arg(&remote));
    let server = Server::serve(&remote);
    json(&mut pull(hash, &server.url(), &served));

    // The next version: less than a quarter goes over, to the registry and from it, and by a web server.
    let next = next(here);
    let next_hash = next.file_name().unwrap().to_str().unwrap();
    assert_ne!(hash, next_hash);
    let version = ["--name", "firefox"];
    let sent = json(samovar().arg("push").arg(&next).arg(registry.remote()).args(version));
    assert!(bytes(&sent, "bytes_sent") * 4 < bytes(&first, "bytes_sent"), "{sent} after {first}");
    text(samovar().arg("push").arg(&next).arg(&remote).args(version));
    for (from, store) in [(registry.remote(), &pulled), (server.url(), &served)] {
        let answer = json(&mut pull(next_hash, &from, store));
        eprintln!("{answer:#}");
        assert!(bytes(&answer, "bytes_fetched") * 4 < bytes(&answer, "bytes_there"), "{answer}");
        let store = Store::existing(store).unwrap();
        let listed = store.list().unwrap();
        assert!(listed.iter().any(|artifact| artifact.hash.to_string() == next_hash), "{listed:?}");
        for artifact in listed {
            store.verify(&artifact.hash).unwrap();
        }
    }
}
