//! Packing, unpacking, checking and pulling an artifact, beside tar with zstd, sha256sum and cp.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use runner::error::{Failure, Status};
use store::Artifact;

use crate::{
    host, host_failure,
    programs::{allocated, emptied, finish, samovar, timed, version},
    stats::Samples,
    table::{Pair, columns, conditions, row},
};

/// Levels of zstd beside which a bundle is put: its own default, and one for what is sent more often than it is made.
const LEVELS: [u32; 2] = [3, 9];

/// What was measured, in seconds.
#[derive(Debug, Default)]
struct Results {
    /// Beside `tar | zstd -T2` at each of [`LEVELS`].
    pack: [Pair; LEVELS.len()],
    unpack: [Pair; LEVELS.len()],
    verify: Pair,
    pull: Pair,
}

/// Bytes of what is measured.
#[derive(Debug)]
struct Sizes {
    /// The files, holes counted.
    files: u64,
    /// The files' blocks on the disk.
    blocks: u64,
    bundle: u64,
    tars: [u64; LEVELS.len()],
}

/// The programs and places of one measurement.
struct Bench<'a> {
    samovar: PathBuf,
    artifact: Artifact,
    /// The directories of the artifact and of all that it needs, beside one another.
    dirs: Vec<PathBuf>,
    work: &'a Path,
}

/// Measures what is done with `artifact`, each thing `runs` times in `work`, and returns the page.
///
/// # Errors
/// If the artifact is none, a tool is missing, or a program fails.
pub fn measure(artifact: &Path, runs: u32, work: &Path, say: fn(&str)) -> Result<String, Failure> {
    let peers = [
        version("tar", "--version", "tar")?,
        version("zstd", "--version", "zstd")?,
        version("sha256sum", "--version", "coreutils")?,
    ];
    let before = host::load_average();
    let artifact = Artifact::open(artifact).map_err(|error| Failure::new(Status::Refused, error))?;
    let all = bundle::with_needs(&artifact).map_err(|error| Failure::new(Status::Refused, error))?;
    let bench = Bench {
        samovar: samovar()?,
        dirs: all.iter().map(|artifact| artifact.dir().to_owned()).collect(),
        artifact,
        work,
    };
    bench.push()?;
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
    let sizes = bench.sizes()?;
    let mut page = String::new();
    // Writing to a string has no way to fail.
    let _ = results.write(&sizes, &peers, runs, [before, host::load_average()], &mut page);
    Ok(page)
}

impl Bench<'_> {
    /// Each thing once, ours and theirs in turn.
    fn round(&self, results: &mut Results) -> Result<(), Failure> {
        let (bundle, place) = (self.bundle(), self.work.join("place"));
        for (at, level) in LEVELS.into_iter().enumerate() {
            let tar = self.tar(level);
            for old in [&bundle, &tar] {
                if old.exists() {
                    fs::remove_file(old).map_err(|error| host_failure("can't remove a file", &error))?;
                }
            }
            let mut command = self.ours("pack");
            command.arg(self.artifact.dir()).arg("-o").arg(&bundle);
            results.pack[at].ours.push(timed(command, "samovar pack")?);
            let mut command = tar_with(&format!("zstd -q -T2 -{level}"));
            command.args(["--sparse", "-cf"]).arg(&tar);
            for dir in &self.dirs {
                // As a bundle has them: by their hashes, wherever the store is.
                command.arg("-C").arg(dir.parent().unwrap_or(dir)).args(dir.file_name());
            }
            results.pack[at].peer.push(flushed(command, "tar", self.work)?);

            emptied(&place)?;
            let mut command = self.ours("unpack");
            command.arg(&bundle).arg("--store").arg(&place);
            results.unpack[at].ours.push(timed(command, "samovar unpack")?);
            emptied(&place)?;
            let mut command = tar_with("zstd -q -T2");
            command.args(["--sparse", "-xf"]).arg(&tar).arg("-C").arg(&place);
            results.unpack[at].peer.push(flushed(command, "tar", &place)?);
        }

        let mut command = self.ours("verify");
        command.arg(self.artifact.dir());
        results.verify.ours.push(timed(command, "samovar verify")?);
        let mut command = Command::new("sha256sum");
        command.args(self.files()?);
        results.verify.peer.push(timed(command, "sha256sum")?);

        emptied(&place)?;
        let mut command = self.ours("pull");
        command.arg(self.artifact.hash().to_string()).arg(self.remote()).arg("--store").arg(&place);
        results.pull.ours.push(timed(command, "samovar pull")?);
        emptied(&place)?;
        let mut command = Command::new("cp");
        command.args(["-a", "--sparse=always", "--reflink=never"]).args(&self.dirs).arg(&place);
        results.pull.peer.push(flushed(command, "cp", &place)?);
        emptied(&place)
    }

    fn ours(&self, what: &str) -> Command {
        let mut command = Command::new(&self.samovar);
        command.arg(what);
        command
    }

    /// Puts the artifact where it is pulled from.
    fn push(&self) -> Result<(), Failure> {
        let mut command = self.ours("push");
        command.arg(self.artifact.dir()).arg(self.remote());
        finish(command, "samovar push").map(drop)
    }

    fn bundle(&self) -> PathBuf {
        self.work.join("it.samovar")
    }

    fn tar(&self, level: u32) -> PathBuf {
        self.work.join(format!("{level}.tar.zst"))
    }

    fn remote(&self) -> PathBuf {
        self.work.join("remote")
    }

    /// Every file of the artifact and of what it needs.
    fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let mut files = Vec::new();
        for dir in &self.dirs {
            let entries = fs::read_dir(dir)
                .map_err(|error| host_failure(&format!("can't read {}", dir.display()), &error))?;
            files.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.path())));
        }
        Ok(files)
    }

    fn sizes(&self) -> Result<Sizes, Failure> {
        let length = |path: &Path| {
            let meta = fs::metadata(path);
            meta.map(|meta| meta.len())
                .map_err(|error| host_failure(&format!("can't read {}", path.display()), &error))
        };
        let (mut files, mut blocks) = (0, 0);
        for path in self.files()? {
            files += length(&path)?;
            blocks += allocated(&path)?;
        }
        let mut tars = [0; LEVELS.len()];
        for (size, level) in tars.iter_mut().zip(LEVELS) {
            *size = length(&self.tar(level))?;
        }
        Ok(Sizes { files, blocks, bundle: length(&self.bundle())?, tars })
    }
}

impl Results {
    fn add(&mut self, other: &Results) {
        let own = self.pack.iter_mut().chain(&mut self.unpack).chain([&mut self.verify, &mut self.pull]);
        let others = other.pack.iter().chain(&other.unpack).chain([&other.verify, &other.pull]);
        for (into, from) in own.zip(others) {
            into.ours.extend(&from.ours);
            into.peer.extend(&from.peer);
        }
    }

    fn write(
        &self,
        sizes: &Sizes,
        peers: &[String],
        runs: u32,
        load: [Option<f64>; 2],
        page: &mut String,
    ) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (files, blocks) = (mib(sizes.files), mib(sizes.blocks));
        let files = format!("{files:.0} MiB, of which {blocks:.0} MiB are no holes");
        let rows = [("host", &*host::describe()), ("files", &files), ("beside", &peers.join("; "))];
        conditions(page, &rows, load, runs)?;
        columns(page, "the peer")?;
        let mut pair = |what: &str, pair: &Pair| row(page, what, &pair.ours, Some(&pair.peer), 2);
        for (level, (pack, unpack)) in LEVELS.into_iter().zip(self.pack.iter().zip(&self.unpack)) {
            pair(&format!("pack, s (`tar --sparse`, `zstd -T2 -{level}`)"), pack)?;
            pair("unpack, s (`zstd -d`, `tar --sparse -x` of that, `sync`)", unpack)?;
        }
        pair("check every byte, s (`sha256sum`)", &self.verify)?;
        pair("pull from a directory into an empty store, s (`cp -a --sparse=always`, `sync`)", &self.pull)?;
        let all: Samples = self.unpack.iter().flat_map(|pair| pair.ours.values()).collect();
        let rate: Samples = all.values().map(|seconds| sizes.files as f64 / 1e6 / seconds).collect();
        row(page, "unpacked files, holes counted, MB/s", &rate, None, 0)?;
        for (level, tar) in LEVELS.into_iter().zip(sizes.tars) {
            let (ours, tar) = (mib(sizes.bundle), mib(tar));
            writeln!(page, "| size, MiB (`zstd -{level}`) | {ours:.1} | {tar:.1} | {:.2} |", ours / tar)?;
        }
        Ok(())
    }
}

/// `tar` that compresses, or the other way round, with `program`.
fn tar_with(program: &str) -> Command {
    let mut command = Command::new("tar");
    command.arg("-I").arg(program);
    command
}

/// Seconds until a program has ended and what it wrote below `dir` is on the disk, where ours has it when it ends.
fn flushed(command: Command, name: &str, dir: &Path) -> Result<f64, Failure> {
    let seconds = timed(command, name)?;
    let mut sync = Command::new("sync");
    sync.arg("--file-system").arg(dir);
    Ok(seconds + timed(sync, "sync")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_row_for_each_thing() {
        let pair = |ours: f64| Pair { ours: [ours].into_iter().collect(), peer: [2.0].into_iter().collect() };
        let mut results = Results::default();
        let round = Results {
            pack: [pair(3.0), pair(3.0)],
            unpack: [pair(1.0), pair(1.0)],
            verify: pair(1.0),
            pull: pair(4.0),
        };
        results.add(&round);
        let sizes =
            Sizes { files: 2_000_000_000, blocks: 1 << 30, bundle: 3 << 20, tars: [4 << 20, 3 << 20] };
        let mut page = String::new();
        results.write(&sizes, &["tar".into()], 1, [None, Some(0.5)], &mut page).unwrap();
        assert!(page.contains("holes counted, MB/s | 2000 / **2000** / 2000 |"), "{page}");
        assert!(page.contains("| size, MiB (`zstd -3`) | 3.0 | 4.0 | 0.75 |"), "{page}");
        assert!(
            page.contains("`sync`) | 4.00 / **4.00** / 4.00 | 2.00 / **2.00** / 2.00 | 2.00 |"),
            "{page}"
        );
        for table in page.split("\n\n").filter(|part| part.starts_with('|')) {
            let columns: Vec<usize> = table.lines().map(|line| line.matches('|').count()).collect();
            assert!(columns.iter().all(|&count| count == columns[0]), "{table}");
        }
    }
}
