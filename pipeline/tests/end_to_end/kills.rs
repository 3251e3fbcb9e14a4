//! SIGKILL at any moment, also with two processes at once, also on a disk that fills: what is to be seen is whole, and the
//! next one ends well. `SAMOVAR_KILLS` says how many moments, 5 without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use store::Store;

use crate::programs::{built, lock, run, samovar, succeeded, workspace};
use crate::small::Small;

/// With so many moments or more, builds are killed that do all steps; else such that make the root file system alone.
const MANY: u32 = 40;

fn rounds() -> u32 {
    std::env::var("SAMOVAR_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(5)
}

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Pack,
    Unpack,
    Cleanup,
    Pull,
    Build,
}

const WORKS: [Work; 5] = [Work::Unpack, Work::Cleanup, Work::Pack, Work::Pull, Work::Build];

/// A place to work in. A bundle and a directory that was pushed to lie outside of it.
struct Place<'a> {
    dir: &'a Path,
    good: &'a Path,
    pushed: &'a Path,
    whole: &'a [u8],
    /// Whether it may be full.
    fills: bool,
}

impl Place<'_> {
    fn bundle(&self) -> PathBuf {
        self.dir.join("it")
    }

    fn store(&self, work: Work) -> PathBuf {
        self.dir.join(match work {
            Work::Build => "building",
            Work::Cleanup => "cleaning",
            Work::Pull => "pulling",
            _ => "store",
        })
    }

    fn command(&self, work: Work) -> Command {
        let mut command = samovar();
        match work {
            Work::Pack => command.arg("pack").arg(built()).arg("-o").arg(self.bundle()),
            Work::Unpack => command.arg("unpack").arg(self.good),
            Work::Pull => command.args(["pull", "hello"]).arg(self.pushed),
            Work::Cleanup => command.args(["cleanup", "--older-than", "0s"]),
            Work::Build => {
                let until = if rounds() >= MANY && !self.fills { "warm-base" } else { "rootfs" };
                let words = ["build", "recipes/hello.toml", "--locked", "--offline", "--until", until];
                command.current_dir(workspace()).args(words).arg("--lock-file").arg(lock())
            }
        };
        if work != Work::Pack {
            command.arg("--store").arg(self.store(work));
        }
        command
    }

    /// What is to be seen is whole.
    fn check(&self, work: Work) {
        match work {
            Work::Pack => {
                let bundle = fs::read(self.bundle());
                assert!(bundle.is_err() || bundle.unwrap() == self.whole, "half a bundle");
            }
            _ => sound(&self.store(work)),
        }
    }

    /// It ended well, or, where that may be, because the disk is full.
    fn ended(&self, work: Work, output: &Output) {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let full = ["no space left", "MiB are needed", "are needed"].iter().any(|why| stderr.contains(why));
        if self.fills && output.status.code() == Some(1) && full {
            return;
        }
        assert!(output.status.success(), "{work:?}: {}\n{stderr}", output.status);
    }

    /// Has it all to do.
    fn begin_anew(&self, work: Work) {
        match work {
            Work::Pack => drop(fs::remove_file(self.bundle())),
            _ => drop(fs::remove_dir_all(self.store(work))),
        }
        match work {
            Work::Build => packages(&self.store(work)),
            // There is something to be cleaned up where no name leads to it.
            Work::Cleanup => {
                let store = self.store(work);
                self.ended(work, &run(samovar().arg("unpack").arg(self.good).arg("--store").arg(&store)));
                let _ = fs::remove_file(store.join("names/hello"));
            }
            Work::Pack | Work::Unpack | Work::Pull => {}
        }
    }
}

/// Every artifact that a store shows is whole, and every name leads to one.
fn sound(store: &Path) {
    let Ok(store) = Store::existing(store) else { return };
    let listed = store.list().unwrap();
    for artifact in &listed {
        store.verify(&artifact.hash).unwrap_or_else(|error| panic!("{error}"));
    }
    for (name, hash) in store.names().unwrap() {
        assert!(listed.iter().any(|artifact| artifact.hash == hash), "{name} leads nowhere");
    }
}

/// The packages that hello is made of.
fn packages(store: &Path) {
    let table: toml::Table = fs::read_to_string(lock()).unwrap().parse().unwrap();
    let cache = built().parent().unwrap().join("cache");
    fs::create_dir_all(store.join("cache")).unwrap();
    for package in table["package"].as_array().unwrap() {
        let hash = package["sha256"].as_str().unwrap();
        let target = store.join("cache").join(hash);
        if fs::hard_link(cache.join(hash), &target).is_err() {
            fs::copy(cache.join(hash), &target).unwrap();
        }
    }
}

/// Kills in `place` at so many moments.
fn kill_in(place: &Place, works: &[Work], rounds: u32) {
    let mut times = Vec::new();
    for &work in works {
        place.begin_anew(work);
        let begun = Instant::now();
        place.ended(work, &run(&mut place.command(work)));
        times.push(begun.elapsed());
        place.begin_anew(work);
    }
    let (mut killed, count) = (0, works.len() as u32);
    for round in 0..rounds {
        let (work, time) = (works[(round % count) as usize], times[(round % count) as usize]);
        let turn = round / count;
        // Spread over the whole time by the golden ratio, so that every part of it is hit.
        let moment = time.mul_f64(f64::from(turn + 1) * 0.618_034 % 1.0).max(Duration::from_millis(1));
        // Now alone, now beside one of the same, now beside a cleanup, of which now this, now the other is killed.
        let beside = match (turn % 5, work) {
            (0, _) => None,
            (1 | 2, _) | (_, Work::Pack | Work::Cleanup) => Some(place.command(work)),
            _ => {
                let mut command = samovar();
                command.args(["cleanup", "--older-than", "0s", "--store"]).arg(place.store(work));
                // There is a store to be cleaned up.
                Store::open(place.store(work)).unwrap();
                Some(command)
            }
        };
        let mut children = vec![start(place.command(work))];
        children.extend(beside.map(start));
        std::thread::sleep(moment);
        let mut victim = children.remove(if turn % 5 < 3 { 0 } else { children.len() - 1 });
        victim.kill().unwrap();
        killed += u32::from(victim.wait().unwrap().code().is_none());
        for other in children {
            place.ended(work, &other.wait_with_output().unwrap());
        }
        place.check(work);
        // Now and then to the end and from the beginning, so that some go on and some begin.
        if work == Work::Cleanup || turn % 3 == 2 {
            place.ended(work, &run(&mut place.command(work)));
            place.check(work);
            place.begin_anew(work);
        }
    }
    eprintln!("{killed} of {rounds} were killed in time, in {}", place.dir.display());
    assert!(killed > rounds / 4, "{killed} of {rounds} were killed in time");
}

fn start(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// What the next ones come to, after all.
fn end_well(place: &Place, works: &[Work]) {
    for &work in works {
        succeeded(&run(&mut place.command(work)));
        place.check(work);
        if work == Work::Pack {
            continue;
        }
        let store = Store::open(place.store(work)).unwrap();
        assert_eq!(store.leftovers().unwrap(), []);
        let staged = fs::read_dir(store.dir().join(".staging")).unwrap();
        assert_eq!(staged.count(), 1, "only the gate is left");
        match work {
            Work::Unpack | Work::Pull => {
                succeeded(&run(samovar().args(["verify", "hello", "--store"]).arg(store.dir())));
                assert_eq!(store.list().unwrap().len(), 4);
            }
            Work::Cleanup => assert!(store.list().unwrap().is_empty()),
            _ => {}
        }
    }
}

/// The bundle of hello and what is pushed of it, outside of where the killing is done.
fn good(dir: &Path) -> (PathBuf, PathBuf, Vec<u8>) {
    let (good, pushed) = (dir.join("good"), dir.join("pushed"));
    succeeded(&run(samovar().arg("push").arg(built()).arg(&pushed)));
    succeeded(&run(samovar().arg("pack").arg(built()).arg("-o").arg(&good)));
    let whole = fs::read(&good).unwrap();
    (good, pushed, whole)
}

#[test]
fn killed_at_any_moment_nothing_is_wrong_and_the_next_one_ends_well() {
    let dir = tempfile::tempdir().unwrap();
    let (good, pushed, whole) = good(dir.path());
    let work = dir.path().join("work");
    fs::create_dir(&work).unwrap();
    let place = Place { dir: &work, good: &good, pushed: &pushed, whole: &whole, fills: false };
    kill_in(&place, &WORKS, rounds());
    end_well(&place, &WORKS);
    let mut names: Vec<_> = fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["building", "cleaning", "it", "pulling", "store"], "something half-written is left");
    assert!(fs::read(place.bundle()).unwrap() == whole);
}

/// Room for what all of it takes but a bundle, so that now one, now another finds no more.
#[test]
fn killed_on_a_disk_that_fills_nothing_is_wrong_either() {
    let dir = tempfile::tempdir().unwrap();
    let (good, pushed, whole) = good(dir.path());
    let disk = |path: &Path| -> u64 {
        let output = run(Command::new("du").args(["-sB1"]).arg(path));
        String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
    };
    let seeded = dir.path().join("seeded");
    packages(&seeded);
    let base = store::Artifact::open(built()).unwrap();
    let needs: u64 = base
        .manifest()
        .needs
        .values()
        .map(|need| disk(&built().parent().unwrap().join(need.to_string())))
        .sum();
    // Three stores with the base, a fourth that builds, and a bundle: a half of it finds room.
    let size = disk(&seeded) + (disk(&built()) + needs) * 3 / 2 + whole.len() as u64;
    let Some(small) = Small::mount(dir.path().join("small"), &format!("size={size}")) else { return };
    let place = Place { dir: small.dir(), good: &good, pushed: &pushed, whole: &whole, fills: true };
    let works = if rounds() >= MANY { &WORKS[..] } else { &WORKS[..4] };
    kill_in(&place, works, rounds());
    // Room again.
    for work in WORKS {
        let _ = fs::remove_dir_all(place.store(work));
    }
    // What a killed one has written of a bundle, the next one takes over.
    end_well(&place, &[Work::Pack, Work::Unpack]);
    let mut left: Vec<_> =
        fs::read_dir(small.dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["it", "store"], "something half-written is left");
}

/// A store on another file system than the temporary directory and the bundle, and then one that cannot be written.
#[test]
fn stores_on_other_file_systems_and_such_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let (_, _, whole) = good(dir.path());
    let Some(disk) = Small::mount(dir.path().join("disk"), "size=1g") else { return };
    let store = disk.dir().join("store");
    let on = |words: &[&str]| run(samovar().current_dir(dir.path()).args(words).arg("--store").arg(&store));
    succeeded(&on(&["unpack", "good"]));
    fs::write(store.join("partial").join("0".repeat(64)), "half").unwrap();
    let picture = dir.path().join("now.png");
    let restore = || {
        let mut command = crate::programs::runner();
        command.args(["restore", "hello", "--store"]).arg(&store).arg("--screenshot").arg(&picture);
        run(&mut command)
    };
    let used = |writable: bool| {
        succeeded(&on(&["list"]));
        succeeded(&on(&["info", "hello"]));
        succeeded(&on(&["path", "hello"]));
        succeeded(&on(&["verify", "hello"]));
        succeeded(&on(&["pack", "hello", "-o", "again"]));
        assert!(fs::read(dir.path().join("again")).unwrap() == whole);
        fs::remove_file(dir.path().join("again")).unwrap();
        let dry = on(&["cleanup", "--dry-run", "--older-than", "0s"]);
        succeeded(&dry);
        assert!(
            String::from_utf8_lossy(&dry.stdout).ends_with(&format!("partial/{}\n", "0".repeat(64))),
            "{writable}"
        );
        succeeded(&restore());
        assert!(
            crate::picture::Picture::read(&picture)
                == crate::picture::Picture::read(&built().join("screen.png"))
        );
        fs::remove_file(&picture).unwrap();
    };
    used(true);
    disk.make_read_only();
    used(false);
    for words in [&["cleanup"][..], &["rm", "hello"], &["unpack", "good"], &["verify", "good"]] {
        let output = on(words);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(
            stderr.contains("error: ") && stderr.contains("Read-only file system"),
            "{words:?}: {stderr}"
        );
        assert!(stderr.contains("\nhint: "), "{words:?}: {stderr}");
    }
}
