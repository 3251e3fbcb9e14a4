//! `.github/workflows/bases.yml`, run here step by step on the hello recipe: its scripts as they are, its actions by a
//! [`host`] of directories. No hosted machine has a part in this.
//!
//! `SAMOVAR_CI=full` has the runs build all that they would; else what they would build is there already.

mod host;

use std::fs;
use std::path::Path;
use std::process::Command;

use host::{Host, Job, seed};
use store::Store;

use crate::picture::Picture;
use crate::programs::{built, run, succeeded};

const BUILD: &str = "Build the base";
const SAVE: &str = "Save the cache";

fn whole() -> bool {
    std::env::var("SAMOVAR_CI").is_ok_and(|value| value == "full")
}

#[test]
fn each_script_is_one_and_each_action_is_pinned() {
    let job = Job::read();
    for step in &job.steps {
        assert!(step.run.is_empty() != step.uses.is_empty(), "{step:?}");
        if !step.run.is_empty() {
            succeeded(&run(Command::new("bash").args(["-n", "-c", &step.run])));
            assert!(
                !step.run.contains("${{"),
                "what comes from outside goes through the environment: {step:?}"
            );
        } else {
            let (_, version) = step.uses.split_once('@').unwrap();
            assert!(version.starts_with('v') && version[1..].parse::<u32>().is_ok(), "{step:?}");
        }
    }
}

#[test]
fn a_base_is_built_once_kept_checked_and_built_again_when_it_is_damaged_or_another() {
    let job = Job::read();
    let mut host = Host::new();
    let ready = |dir: &Path| seed(dir, !whole());
    // Nothing was ever kept.
    host.rustc = "1.80.0";
    let first = host.run(&job, None, ready);
    assert!(first.log.contains("rustup toolchain install 1.95"), "{}", first.log);
    assert!(first.log.contains("::warning title=cache missed::nothing was ever kept"), "{}", first.log);
    assert!([BUILD, SAVE].iter().all(|name| first.done.iter().any(|done| done == name)), "{:?}", first.done);
    let [key] = &host.keys()[..] else { panic!("{:?}", host.keys()) };
    let key = key.clone();
    assert!(key.starts_with("samovar:hello:") && key.len() == "samovar:hello:".len() + 64, "{key}");
    let screen = Picture::read(&built().join("screen.png"));
    assert!(Picture::read(&first.dir.join("samovar-kept/screen.png")) == screen);

    // It is there, and nothing is built: neither a store nor packages are given.
    host.rustc = "1.95.0";
    let hit = host.run(&job, None, |_| {});
    assert!(!hit.log.contains("rustup") && hit.log.contains("::notice title=cache hit::"), "{}", hit.log);
    assert!(!hit.done.iter().any(|done| done == BUILD || done == SAVE), "{:?}", hit.done);
    assert!(Picture::read(&hit.dir.join("samovar-kept/screen.png")) == screen);
    let hash = built().file_name().unwrap().to_str().unwrap().parse().unwrap();
    Store::existing(hit.dir.join("samovar-store")).unwrap().verify(&hash).unwrap();

    // It is damaged: seen, removed, built again, kept again, and whole from then on.
    let bundle = host.cache(&key).join("base.samovar");
    let good = fs::read(&bundle).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 0x10;
    fs::write(&bundle, bad).unwrap();
    let damaged = host.run(&job, None, ready);
    assert!(damaged.log.contains("::warning title=cache damaged::"), "{}", damaged.log);
    assert!(damaged.log.contains(&format!("gh cache delete {key}")), "{}", damaged.log);
    assert!([BUILD, SAVE].iter().all(|name| damaged.done.iter().any(|done| done == name)));
    assert!(fs::read(&bundle).unwrap() == good, "the same bytes again");

    // Another file: why it is missed is told, down to the file.
    let until = if whole() { None } else { Some(BUILD) };
    let changed = host.run(&job, until, |dir| {
        ready(dir);
        // What went into the last build is known from what was kept alone.
        let _ = fs::remove_dir_all(dir.join("samovar-store/records"));
        fs::write(dir.join("guest-rootfs/hello/etc/more"), "x").unwrap();
    });
    assert!(changed.log.contains(&format!("since {key} something has changed")), "{}", changed.log);
    assert!(changed.log.contains("file /etc/more: "), "{}", changed.log);
    assert_eq!(host.keys().len(), if whole() { 2 } else { 1 });
}
