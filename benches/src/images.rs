//! The builder beside mmdebstrap, dpkg-deb and mke2fs: from a recipe's packages, on a mirror on this host, to the image of
//! a root file system.

mod mirror;

use std::{
    collections::BTreeMap,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use runner::error::{Failure, Status};
use samovar::{
    lock::{Lock, LockedPackage, Step},
    recipe::RecipeFile,
};
use store::Store;

use crate::{
    host, host_failure,
    programs::{allocated, emptied, finish, samovar, timed, version},
    stats::Samples,
    table::{Pair, columns, conditions, row},
};
use mirror::Mirror;

/// What is wrong when apt and a lock do not agree, most of the time.
const NO_EXCLUDE: &str = "apt takes no package out: a recipe that has an `exclude` cannot be measured, benches/whole-firefox.toml can";

/// No-op builds in one run: one is over too soon to say much.
const IDLE_BUILDS: u32 = 10;

/// What was measured, all in seconds.
#[derive(Debug, Default)]
struct Results {
    /// From nothing to a lock, or to apt's choice.
    lock: Pair,
    /// From a lock to an image, with an empty store.
    all: Pair,
    /// From packages that are here to an image.
    image: Pair,
    /// A build of what is built.
    idle: Samples,
}

/// What the recipe comes to on both sides.
#[derive(Debug)]
struct Subject {
    recipe: String,
    packages: usize,
    /// Bytes of the packages.
    size: u64,
    /// Allocated bytes of our image and of the peers'.
    images: [u64; 2],
}

/// The programs and files of one measurement.
struct Bench<'a> {
    samovar: PathBuf,
    recipe: &'a Path,
    lock: PathBuf,
    mirror: Mirror,
    /// The packages of the root file system.
    packages: Vec<LockedPackage>,
    release: String,
    components: String,
    /// A store that has the packages and everything else.
    seed: PathBuf,
    work: &'a Path,
}

/// Measures the building of `recipe`'s root file system, each thing `runs` times, and returns the page.
///
/// # Errors
/// If a tool is missing, a program fails, or the two sides choose other packages.
pub fn measure(recipe: &Path, runs: u32, work: &Path, say: fn(&str)) -> Result<String, Failure> {
    let peers = [
        version("mmdebstrap", "--version", "mmdebstrap")?,
        version("mke2fs", "-V", "e2fsprogs")?,
        version("dpkg-deb", "--version", "dpkg")?,
        version("nginx", "-v", "nginx-light")?,
    ];
    let before = host::load_average();
    let bench = Bench::prepare(recipe, work, say)?;
    bench.same_choice()?;
    let mut results = Results::default();
    // The first round fills the page cache and is not counted.
    for run in 0..=runs {
        say(&format!("run {run} of {runs}"));
        let mut round = Results::default();
        bench.round(&mut round)?;
        if run > 0 {
            results.add(&round);
        }
    }
    let subject = Subject {
        recipe: recipe.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        packages: bench.packages.len(),
        size: bench.packages.iter().map(|package| package.size).sum(),
        images: [allocated(&bench.our_image()?)?, allocated(&bench.their_image())?],
    };
    let mut page = String::new();
    // Writing to a string has no way to fail.
    let _ = results.write(&subject, &peers, runs, [before, host::load_average()], &mut page);
    Ok(page)
}

impl<'a> Bench<'a> {
    /// Locks and builds the recipe once from the real mirror, and makes a mirror on this host of what that took.
    fn prepare(recipe: &'a Path, work: &'a Path, say: fn(&str)) -> Result<Self, Failure> {
        let samovar = samovar()?;
        let file = RecipeFile::read(recipe).map_err(|error| refused(&error))?;
        let (seed, lock) = (work.join("seed"), work.join("recipe.lock"));
        say("fetch the packages");
        let mut command = Command::new(&samovar);
        command.arg("lock").arg(recipe).arg("--lock-file").arg(&lock).arg("--store").arg(&seed);
        finish(command, "samovar lock")?;
        let mut command = Command::new(&samovar);
        command.arg("build").arg(recipe).args(["--until", "rootfs"]);
        finish(on_lock(command, &lock, &seed), "samovar build")?;
        let locked = Lock::load(&lock)
            .map_err(|error| refused(&error))?
            .ok_or_else(|| Failure::new(Status::Other, "samovar lock wrote no lock"))?;
        let store = Store::existing(&seed).map_err(|error| refused(&error))?;
        let mirror = Mirror::of(&store, &locked, &file.recipe.debian, &work.join("mirror"))?;
        Ok(Bench {
            samovar,
            recipe,
            lock,
            mirror,
            packages: locked.packages(Step::Rootfs).cloned().collect(),
            release: file.recipe.debian.release.clone(),
            components: file.recipe.debian.components.join(" "),
            seed,
            work,
        })
    }

    /// Refuses to compare what is not the same: apt must choose the packages that the lock has.
    fn same_choice(&self) -> Result<(), Failure> {
        emptied(&self.tree())?;
        let mut command = self.mmdebstrap(false);
        // The packages stay where apt has put them.
        command.arg("--skip=cleanup/apt");
        finish(command, "mmdebstrap").map_err(|failure| failure.hint(NO_EXCLUDE))?;
        let archives = self.tree().join("var/cache/apt/archives");
        let names: Vec<String> = fs::read_dir(&archives)
            .map_err(|error| host_failure("can't see what apt has fetched", &error))?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .map(|name| name.replace("%3a", ":"))
            .collect();
        let theirs: BTreeMap<&str, &str> = names.iter().filter_map(|name| archived(name)).collect();
        let ours: BTreeMap<&str, &str> =
            self.packages.iter().map(|package| (&*package.name, &*package.version)).collect();
        if ours == theirs {
            return Ok(());
        }
        let of_one = |a: &BTreeMap<&str, &str>, b: &BTreeMap<&str, &str>| {
            let only: Vec<String> = a
                .iter()
                .filter(|(name, version)| b.get(*name) != Some(*version))
                .map(|(name, version)| format!("{name} {version}"))
                .collect();
            only.join(", ")
        };
        let what = format!(
            "apt chooses other packages than the lock; only the lock: {}; only apt: {}",
            of_one(&ours, &theirs),
            of_one(&theirs, &ours)
        );
        Err(Failure::new(Status::Other, what).hint(NO_EXCLUDE))
    }

    /// Each thing once, ours and theirs in turn.
    fn round(&self, results: &mut Results) -> Result<(), Failure> {
        let fresh = self.work.join("fresh");
        emptied(&fresh)?;
        let mut command = self.mirrored();
        command.arg("lock").arg(self.recipe).arg("--lock-file").arg(fresh.join("lock"));
        command.arg("--store").arg(fresh.join("store"));
        results.lock.ours.push(timed(command, "samovar lock")?);
        emptied(&self.work.join("simulated"))?;
        results.lock.peer.push(timed(self.mmdebstrap(true), "mmdebstrap")?);

        emptied(&fresh)?;
        results.all.ours.push(timed(self.build(&fresh), "samovar build")?);
        emptied(&self.tree())?;
        let seconds = timed(self.mmdebstrap(false), "mmdebstrap")?;
        results.all.peer.push(seconds + self.mke2fs()?);

        emptied(&fresh)?;
        hard_links(&self.seed.join("cache"), &fresh.join("cache"))?;
        results.image.ours.push(timed(self.build(&fresh), "samovar build")?);
        emptied(&self.tree())?;
        let started = Instant::now();
        for package in &self.packages {
            let mut command = Command::new("dpkg-deb");
            command.arg("-x").arg(self.mirror.path_of(package)).arg(self.tree());
            finish(command, "dpkg-deb")?;
        }
        let seconds = started.elapsed().as_secs_f64();
        results.image.peer.push(seconds + self.mke2fs()?);

        for _ in 0..IDLE_BUILDS {
            results.idle.push(timed(self.build(&fresh), "samovar build")?);
        }
        emptied(&fresh)
    }

    /// `samovar` with the mirror on this host.
    fn mirrored(&self) -> Command {
        let mut command = Command::new(&self.samovar);
        command.envs(self.mirror.variables());
        command
    }

    fn build(&self, store: &Path) -> Command {
        let mut command = self.mirrored();
        command.arg("build").arg(self.recipe).args(["--until", "rootfs"]);
        on_lock(command, &self.lock, store)
    }

    /// mmdebstrap with the same packages from the same mirror: to say what it would take, or to unpack it.
    fn mmdebstrap(&self, simulate: bool) -> Command {
        let names: Vec<&str> = self.packages.iter().map(|package| &*package.name).collect();
        let mut command = Command::new("mmdebstrap");
        command.args(["--quiet", "--variant=extract", "--architectures=arm64", "--skip=check/qemu"]);
        command.arg("--include").arg(names.join(","));
        if simulate {
            command.args(["--simulate", &self.release]).arg(self.work.join("simulated"));
        } else {
            command.args(["--format=directory", &self.release]).arg(self.tree());
        }
        command.args(self.mirror.apt_lines(&self.release, &self.components));
        command
    }

    /// Seconds that it takes to make an image of the tree.
    fn mke2fs(&self) -> Result<f64, Failure> {
        let image = self.their_image();
        // Room enough for every file of the packages, most of it a hole.
        let size: u64 = self.packages.iter().map(|package| package.size).sum::<u64>() * 6 + (64 << 20);
        match fs::remove_file(&image) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(host_failure("can't remove an image", &error));
            }
            _ => {}
        }
        let mut command = Command::new("mke2fs");
        command
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d"])
            .arg(self.tree())
            .arg(&image);
        command.arg(format!("{}k", size >> 10));
        timed(command, "mke2fs")
    }

    fn tree(&self) -> PathBuf {
        self.work.join("tree")
    }

    fn their_image(&self) -> PathBuf {
        self.work.join("theirs.ext4")
    }

    fn our_image(&self) -> Result<PathBuf, Failure> {
        let output = finish(self.build(&self.seed), "samovar build")?;
        let dir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        let entries = fs::read_dir(&dir).map_err(|error| host_failure("can't read the artifact", &error))?;
        entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "ext4"))
            .ok_or_else(|| Failure::new(Status::Other, "the root file system has no image"))
    }
}

impl Results {
    fn add(&mut self, other: &Results) {
        for (into, from) in
            [(&mut self.lock, &other.lock), (&mut self.all, &other.all), (&mut self.image, &other.image)]
        {
            into.ours.extend(&from.ours);
            into.peer.extend(&from.peer);
        }
        self.idle.extend(&other.idle);
    }

    fn write(
        &self,
        subject: &Subject,
        peers: &[String],
        runs: u32,
        load: [Option<f64>; 2],
        page: &mut String,
    ) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let packages = format!(
            "the root file system of {}: {}, {:.0} MiB",
            subject.recipe,
            subject.packages,
            mib(subject.size)
        );
        let rows = [("host", &*host::describe()), ("packages", &packages), ("beside", &peers.join("; "))];
        conditions(page, &rows, load, runs)?;
        columns(page, "the peer")?;
        let mut pair = |what: &str, pair: &Pair| row(page, what, &pair.ours, Some(&pair.peer), 2);
        pair("choose the packages, lists fetched, s (`mmdebstrap --simulate`)", &self.lock)?;
        pair("fetch, unpack, image, s (`mmdebstrap --variant=extract`, `mke2fs -d`)", &self.all)?;
        pair("unpack, image, s (`dpkg-deb -x`, `mke2fs -d`)", &self.image)?;
        let idle: Samples = self.idle.values().map(|seconds| seconds * 1e3).collect();
        row(page, "a build with nothing to do, ms", &idle, None, 1)?;
        let [ours, theirs] = subject.images.map(mib);
        writeln!(page, "| blocks of the image, MiB | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs)
    }
}

/// `command` with a lock that must do, and a store.
fn on_lock(mut command: Command, lock: &Path, store: &Path) -> Command {
    command.args(["--locked", "--lock-file"]).arg(lock).arg("--store").arg(store);
    command
}

/// The name and version in the name of a package's file: `NAME_VERSION_ARCHITECTURE.deb`.
fn archived(file: &str) -> Option<(&str, &str)> {
    let mut parts = file.strip_suffix(".deb")?.split('_');
    let (name, version, _architecture) = (parts.next()?, parts.next()?, parts.next()?);
    parts.next().is_none().then_some((name, version))
}

/// Makes `to`, with the files of `from`.
fn hard_links(from: &Path, to: &Path) -> Result<(), Failure> {
    let links = || {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            fs::hard_link(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    };
    links().map_err(|error: io::Error| host_failure(&format!("can't fill {}", to.display()), &error))
}

fn refused(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Status::Refused, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_packages_files() {
        assert_eq!(archived("libc6_2.41-12_arm64.deb"), Some(("libc6", "2.41-12")));
        assert_eq!(
            archived("busybox-static_1:1.37.0-6+b9_arm64.deb"),
            Some(("busybox-static", "1:1.37.0-6+b9"))
        );
        for other in ["partial", "lock", "a_b.deb", "a_b_c_d.deb", "a_b_c"] {
            assert_eq!(archived(other), None, "{other}");
        }
    }

    #[test]
    fn every_row_of_a_table_has_its_columns() {
        let mut results = Results::default();
        results.lock.ours.push(1.0);
        results.lock.peer.push(2.0);
        results.idle.push(0.03);
        let mut all = Results::default();
        all.add(&results);
        let subject =
            Subject { recipe: "tea.toml".into(), packages: 3, size: 5 << 20, images: [1 << 20, 4 << 20] };
        let mut page = String::new();
        all.write(&subject, &["a peer".into()], 1, [Some(0.5), None], &mut page).unwrap();
        assert!(page.contains("| 1.00 / **1.00** / 1.00 | 2.00 / **2.00** / 2.00 | 0.50 |"), "{page}");
        assert!(page.contains("| 30.0 / **30.0** / 30.0 |"), "{page}");
        assert!(page.contains("| 1 | 4 | 0.25 |"), "{page}");
        for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.iter().all(|&count| count == columns[0]), "{table}");
        }
    }
}
