//! What two versions of an artifact move, and how long a pull takes beside copying:
//! `nice cargo run --release -p share --example versions -- artifacts/<first> artifacts/<second> [oci://127.0.0.1:5000/it]`.
//!
//! Prints a table. The remote is a directory beside the first artifact's store unless another one is named; it must be
//! empty. Clocks start before the call and stop after the last file is flushed.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use share::{Pull, Push, Remote};
use store::{Artifact, Store};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [first, second, rest @ ..] = &*arguments else { return Err("two artifacts are needed".into()) };
    let [first, second] = [Artifact::open(first)?, Artifact::open(second)?];
    let beside = first.dir().canonicalize()?.parent().ok_or("no store")?.with_file_name("versions");
    std::fs::create_dir(&beside)?;
    let place = beside.join("remote").display().to_string();
    let remote = Remote::parse(rest.first().unwrap_or(&place))?;

    println!("| what | seconds | MiB moved |\n|---|---|---|");
    for (what, artifact) in [("push of the first", &first), ("push of the next version", &second)] {
        let begun = Instant::now();
        let push = Push { artifact, provenance: "", key: None, name: Some("it") };
        let pushed = push.to(&remote, &mut |_, _| {})?;
        row(what, begun.elapsed(), pushed.sent);
    }
    for (what, artifact, store) in [
        ("pull of the first into an empty store", &first, "store"),
        ("pull of the next version into that store", &second, "store"),
        ("pull of the next version into an empty store", &second, "other"),
    ] {
        let store = Store::open(beside.join(store))?;
        let begun = Instant::now();
        let pulled = Pull::begin(&remote, &artifact.hash().to_string())?.fetch(&store, &mut |_, _| {})?;
        row(what, begun.elapsed(), pulled.fetched);
    }
    let mut size = 0;
    let copies = beside.join("copies");
    std::fs::create_dir(&copies)?;
    let begun = Instant::now();
    for artifact in bundle::with_needs(&first)? {
        copy(artifact.dir(), &copies)?;
        size += artifact.manifest().files.iter().map(|file| file.size).sum::<u64>();
    }
    if !Command::new("sync").arg("--file-system").arg(&copies).status()?.success() {
        return Err("sync failed".into());
    }
    row("copy of the first with `cp --sparse=always`, and sync", begun.elapsed(), size);
    std::fs::remove_dir_all(&beside)?;
    Ok(())
}

fn row(what: &str, time: Duration, bytes: u64) {
    println!("| {what} | {:.1} | {:.1} |", time.as_secs_f64(), bytes as f64 / f64::from(1 << 20));
}

fn copy(from: &Path, to: &Path) -> Result<(), Box<dyn Error>> {
    let copied =
        Command::new("cp").args(["-a", "--sparse=always", "--reflink=never"]).arg(from).arg(to).status()?;
    if copied.success() { Ok(()) } else { Err("cp failed".into()) }
}
