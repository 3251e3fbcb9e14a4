//! Measures a warm base's guest on this project's runner and on QEMU, side by
//! side in one run: cold boot, restore, reset; and the building of images beside
//! Debian's tools. The README beside this package says where each clock starts
//! and stops.

mod guest;
mod host;
mod images;
mod ours;
mod process;
mod programs;
mod qemu;
mod qmp;
mod sharing;
mod stats;
mod table;
mod work;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use runner::{
    error::{Failure, Status},
    units::parse_size,
};

use guest::Guest;
use ours::Runner;
use qemu::Qemu;
use stats::Samples;
use table::{Head, Pair, Restores, Results};

/// Measure a warm base's guest on the runner and on QEMU, the building of an image, or the sharing of an artifact
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
struct Cli {
    /// The warm base: its directory in a store, such as artifacts/<sha256>
    #[arg(value_name = "ARTIFACT", required_unless_present = "images", conflicts_with = "images")]
    artifact: Option<PathBuf>,

    /// Measure what programs in the guest do instead: for the warm base of recipes/selftest.toml
    #[arg(long)]
    work: bool,

    /// Measure what it takes to build this recipe's root file system, beside mmdebstrap, dpkg-deb and mke2fs
    #[arg(long, value_name = "RECIPE", conflicts_with = "work")]
    images: Option<PathBuf>,

    /// Measure packing, unpacking, checking and pulling the artifact instead, beside tar, zstd, sha256sum and cp
    #[arg(long, conflicts_with_all = ["work", "images"])]
    sharing: bool,

    /// How often each thing is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,

    /// Resets that are measured in place
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    resets: u32,

    /// The second size of RAM, to see whether a restore's time depends on it
    #[arg(long, value_name = "SIZE", default_value = "2G", value_parser = parse_size)]
    large: u64,

    /// The runner [default: beside this program]
    #[arg(long, value_name = "FILE")]
    runner: Option<PathBuf>,

    /// QEMU's system emulator for arm64
    #[arg(long, value_name = "FILE", default_value = qemu::PROGRAM)]
    qemu: PathBuf,

    /// Write the table to benches/results/NAME.md as well
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    write: Option<String>,
}

/// A capture that took this many seconds is not repeated.
const LONG_CAPTURE: f64 = 60.0;

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::from(failure.status as u8)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Failure> {
    if cfg!(debug_assertions) {
        return Err(Failure::new(Status::Usage, "this is a debug build: its figures would mean nothing")
            .hint("cargo run --release -p benches -- ARTIFACT"));
    }
    let work = tempfile::tempdir().map_err(|error| host_failure("can't make a directory", &error))?;
    let text = match (&cli.images, &cli.artifact) {
        (Some(recipe), _) => images::measure(recipe, cli.runs, work.path(), say)?,
        (None, Some(artifact)) if cli.sharing => sharing::measure(artifact, cli.runs, work.path(), say)?,
        (None, Some(artifact)) => measure_guest(cli, artifact, work.path())?,
        (None, None) => return Err(Failure::new(Status::Usage, "neither an artifact nor a recipe is named")),
    };
    print!("{text}");
    if let Some(name) = &cli.write {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let path = dir.join(format!("{name}.md"));
        fs::create_dir_all(&dir)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| host_failure(&format!("can't write {}", path.display()), &error))?;
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// Measures a warm base's guest, or the work in it, and returns the page.
fn measure_guest(cli: &Cli, artifact: &Path, work: &Path) -> Result<String, Failure> {
    // Everything that can be missing is looked for before minutes are spent.
    let runner = Runner::find(cli.runner.as_deref())?;
    let qemu = Qemu::find(&cli.qemu)?;
    let guest = Guest::open(artifact)?;
    let mut head = Head {
        host: host::describe(),
        kernel: guest.kernel_version.clone(),
        qemu: qemu.version.clone(),
        command_line: guest.command_line.clone(),
        cpus: guest.machine.cpus,
        runs: cli.runs,
        load: [host::load_average(), None],
    };
    let mut text = String::new();
    // Writing to a string has no way to fail.
    let _ = if cli.work {
        let results = work::measure(&guest, &runner, &qemu, cli.runs, work, say)?;
        head.load[1] = host::load_average();
        results.write(&head, &mut text)
    } else {
        let results = measure(cli, artifact, &runner, &qemu, &guest, work)?;
        head.load[1] = host::load_average();
        results.write(&head, &mut text)
    };
    Ok(text)
}

fn measure(
    cli: &Cli,
    artifact: &Path,
    runner: &Runner,
    qemu: &Qemu,
    guest: &Guest,
    work: &Path,
) -> Result<Results, Failure> {
    let mut results = Results {
        boot: Vec::new(),
        engine: ours::Engine::default(),
        start: Samples::default(),
        restores: Vec::new(),
        resets: Samples::default(),
    };

    for run in 1..=cli.runs {
        say(&format!("boot {run} of {}", cli.runs));
        push_milestones(&mut results.boot, runner.boot(guest)?, |pair| &mut pair.ours);
        push_milestones(&mut results.boot, qemu.boot(guest, work)?, |pair| &mut pair.peer);
        // One of minutes does not vary by much, and repeated would be most of a run.
        if results.engine.seconds.max().is_none_or(|seconds| seconds < LONG_CAPTURE) {
            results.engine.push(ours::capture(guest, &work.join("engine"))?);
        }
    }

    let mut subjects = vec![(guest.clone(), artifact.to_owned())];
    if cli.large != guest.machine.memory {
        say(&format!("make a warm base with {} MiB", cli.large >> 20));
        subjects.push(guest.with_memory(cli.large, &work.join("store"))?);
    }
    let mut saved = Vec::new();
    for (guest, _) in &subjects {
        say(&format!("save QEMU's guest with {} MiB", guest.machine.memory >> 20));
        saved.push(qemu.save(guest, work)?);
        results.restores.push(Restores::new(guest.machine.memory));
    }
    // The first round fills the page cache and is not counted.
    for run in 0..=cli.runs {
        say(&format!("restore {run} of {}", cli.runs));
        let start = runner.start()?;
        if run > 0 {
            results.start.push(start);
        }
        for (((guest, artifact), saved), into) in subjects.iter().zip(&saved).zip(&mut results.restores) {
            let ours = runner.restore(artifact, work)?;
            let theirs = qemu.restore(guest, saved, work)?;
            if run > 0 {
                into.push(&ours, theirs);
            }
        }
    }
    say(&format!("{} resets", cli.resets));
    results.resets = runner.resets(artifact, cli.resets, work)?;
    Ok(results)
}

/// Adds one boot to those of before. A guest says the same things on its way each time.
fn push_milestones(
    boots: &mut Vec<(String, Pair)>,
    reached: Vec<(String, f64)>,
    side: fn(&mut Pair) -> &mut Samples,
) {
    for (milestone, seconds) in reached {
        let at = boots.iter().position(|(known, _)| *known == milestone).unwrap_or_else(|| {
            boots.push((milestone, Pair::default()));
            boots.len() - 1
        });
        side(&mut boots[at].1).push(seconds);
    }
}

fn say(what: &str) {
    eprintln!("bench: {what}");
}

fn host_failure(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Status::Host, format!("{what}: {error}"))
}

fn parse_name(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if plain && text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is no plain file name"))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn results_stay_in_their_directory() {
        assert!(parse_name("epyc-2.cores").is_ok());
        for bad in ["", ".hidden", "../x", "a/b", "a b"] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
