//! What is done with artifacts that are there: listed, found, checked, removed; and what is used stays.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::display::{Running, wait_for};
use crate::programs::{built, link_tree, run, runner, samovar, succeeded};

/// Runs `samovar` with `words` on the store in `store`.
fn on(store: &Path, words: &[&str]) -> Output {
    run(samovar().args(words).arg("--store").arg(store))
}

/// What it prints if it succeeds.
fn said(store: &Path, words: &[&str]) -> String {
    let output = on(store, words);
    succeeded(&output);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn artifacts_are_listed_found_and_removed_unless_they_are_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let hash = built().file_name().unwrap().to_str().unwrap().to_owned();
    for part in fs::read_dir(built().parent().unwrap()).unwrap().map(|entry| entry.unwrap()) {
        let name = part.file_name();
        if part.path().is_dir() && !["cache", ".staging"].map(Some).contains(&name.to_str()) {
            link_tree(&part.path(), &store.join(name));
        }
    }

    let list = said(&store, &["list"]);
    assert_eq!(list.lines().count(), 4, "{list}");
    let base = list.lines().find(|line| line.starts_with(&hash)).unwrap();
    assert!(base.contains("warm base") && base.ends_with(" hello"), "{base}");
    let json: serde_json::Value = serde_json::from_str(&said(&store, &["list", "--json"])).unwrap();
    assert_eq!(json.as_array().unwrap().iter().filter(|listed| listed["names"][0] == "hello").count(), 1);
    let path = store.join(&hash);
    assert_eq!(said(&store, &["path", "hello"]).trim(), path.to_str().unwrap());
    assert_eq!(said(&store, &["path", &hash[..10]]).trim(), path.to_str().unwrap());
    let info = said(&store, &["info", "hello"]);
    assert!(info.contains("memory.img") && info.contains("recipe: hello"), "{info}");
    assert_eq!(said(&store, &["verify", "hello"]).trim(), format!("warm base {hash}"));
    assert_eq!(said(&store, &["cleanup"]), "", "everything is reached");

    // A session keeps its base, whatever is asked for.
    fs::write(dir.path().join("script"), "wait 1ms\nscreenshot begun.png\nwait 3m\n").unwrap();
    let mut command = runner();
    command.current_dir(dir.path()).arg("restore").arg(&path).args(["--headless", "--script", "script"]);
    let mut session = Running(command.stdin(Stdio::null()).spawn().unwrap());
    wait_for("the session", || dir.path().join("begun.png").is_file().then_some(()));
    fs::remove_file(store.join("names/hello")).unwrap();
    assert_eq!(said(&store, &["cleanup"]), "", "everything is used");
    let output = on(&store, &["rm", &hash]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("in use\nhint: "), "{stderr}");
    session.0.kill().unwrap();
    session.0.wait().unwrap();

    // An age keeps what is younger, a size what fits.
    assert_eq!(said(&store, &["cleanup", "--older-than", "30d"]), "");
    assert_eq!(said(&store, &["cleanup", "--max-size", "1000G"]), "");
    assert_eq!(said(&store, &["cleanup", "--dry-run"]).lines().count(), 4);
    assert_eq!(said(&store, &["rm", &hash]).trim(), hash);
    assert_eq!(said(&store, &["list"]).lines().count(), 3);
    assert_eq!(said(&store, &["cleanup"]).lines().count(), 3);
    assert_eq!(said(&store, &["list"]), "");
    assert_eq!(fs::read_dir(store.join("keys")).unwrap().count(), 0);

    let output = on(&dir.path().join("nowhere"), &["list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!dir.path().join("nowhere").exists(), "looking makes no store");
}
