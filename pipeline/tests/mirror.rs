//! The whole way from a mirror to a root file system, with mirrors that are honest, broken and hostile.
//!
//! The mirror is a small server in this process; its archive is signed with a key made for the test.

mod archive;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use archive::{Answer, Archive, Mirror};

/// A directory with a recipe, its files, a keyring, and a mirror to build from.
struct Bench {
    dir: tempfile::TempDir,
    mirror: Mirror,
}

impl Bench {
    fn new(archive: &Archive) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("r.toml"), archive::RECIPE).unwrap();
        fs::write(dir.path().join("init"), "#!/bin/sh\n").unwrap();
        fs::write(dir.path().join("keys"), archive.keyring()).unwrap();
        Bench { dir, mirror: Mirror::serve(archive.files()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn samovar(&self, args: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_samovar")).args(args).output().unwrap()
    }

    /// A program in the environment of the bench.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.dir.path())
            .env("SAMOVAR_DEBIAN_MIRROR", self.mirror.url("debian"))
            .env("SAMOVAR_DEBIAN_SECURITY_MIRROR", self.mirror.url("debian-security"))
            .env("SAMOVAR_DEBIAN_KEYRING", self.path("keys"))
            .env("SAMOVAR_FETCH_TIMEOUT", "1")
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY");
        command
    }

    fn build(&self, step: &str) -> Output {
        self.samovar(&["build", "r.toml", "--store", "store", "--until", step])
    }

    /// A build that must fail so, with a hint, and leave nothing half-written.
    fn fails(&self, step: &str, code: i32, reason: &str) {
        let output = self.build(step);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains("error: ") && stderr.contains(reason), "{stderr}");
        assert!(stderr.lines().last().is_some_and(|line| line.starts_with("hint: ")), "{stderr}");
        assert!(output.stdout.is_empty());
        self.store_is_sound();
    }

    /// Nothing lies in the staging area, and everything in the cache is what its name says.
    fn store_is_sound(&self) {
        let names = |dir: &Path| -> Vec<String> {
            let entries = fs::read_dir(dir).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        };
        assert_eq!(names(&self.path("store/.staging")), ["gate"]);
        for name in names(&self.path("store")).iter().filter(|name| name.len() == 64) {
            store::Artifact::open(self.path("store").join(name)).unwrap().verify().unwrap();
        }
        for name in names(&self.path("store/cache")) {
            let (hash, _) = store::hash_file(&self.path("store/cache").join(&name)).unwrap();
            assert_eq!(hash.to_string(), name);
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap().trim_end()
}

#[test]
fn an_honest_mirror() {
    let archive = Archive::new();
    let bench = Bench::new(&archive);
    for step in ["kernel", "initramfs", "rootfs"] {
        let output = bench.build(step);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let artifact = bench.path(text(&output.stdout));
        store::Artifact::open(&artifact).unwrap().verify().unwrap();
        // What is known is not built again, and needs no mirror.
        let requests = bench.mirror.requests();
        let again = bench.build(step);
        assert_eq!((text(&again.stdout), text(&again.stderr)), (text(&output.stdout), "up to date"));
        assert_eq!(bench.mirror.requests(), requests);
        let verified = bench.samovar(&["verify", text(&output.stdout)]);
        assert!(verified.status.success());
        // Built once more from nothing but the lock, in another store, it is the same.
        let other = bench.samovar(&["build", "r.toml", "--store", "other", "--until", step]);
        assert_eq!(text(&other.stdout).replace("other", "store"), text(&output.stdout));
        let rebuilt = bench.samovar(&["build", "r.toml", "--store", "store", "--until", step, "--rebuild"]);
        assert!(text(&rebuilt.stderr).contains("the same bytes as before"), "{}", text(&rebuilt.stderr));
    }
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    assert!(
        lock.contains("name = \"linux-image-9-arm64\"") && !lock.contains("name = \"linux-image-arm64\"")
    );
    assert!(lock.contains("name = \"libtest\""), "dependencies are locked, too");
    assert!(!lock.contains("127.0.0.1"), "no mirror's name is in a lock");
}

#[test]
fn a_changed_input_is_built_anew() {
    let bench = Bench::new(&Archive::new());
    let first = text(&bench.build("initramfs").stdout).to_owned();
    fs::write(bench.path("init"), "#!/bin/sh\n# changed\n").unwrap();
    let second = text(&bench.build("initramfs").stdout).to_owned();
    assert_ne!(first, second);
    fs::write(bench.path("init"), "#!/bin/sh\n").unwrap();
    let third = bench.build("initramfs");
    assert_eq!((text(&third.stdout), text(&third.stderr)), (&*first, "up to date"));
}

#[test]
fn files_that_are_not_there() {
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("InRelease", Answer::Status(404));
    bench.fails("rootfs", 3, "not there (HTTP 404)");
    assert!(!bench.path("r.lock").exists());
    let mut bench = Bench::new(&Archive::new());
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    bench.mirror.set("busybox-static", Answer::Status(404));
    bench.mirror.set("libtest", Answer::Status(410));
    bench.fails("rootfs", 3, "run `samovar lock`");
    bench.fails("rootfs", 3, "the mirror no longer has busybox-static 1, libtest 1");
    // What was still there is kept, and what was fetched once can be built from for ever.
    bench.mirror.repent();
    let requests = bench.mirror.requests();
    assert!(bench.build("rootfs").status.success());
    assert_eq!(bench.mirror.requests() - requests, 2);
    for package in ["busybox-static", "libtest", "tool"] {
        bench.mirror.set(package, Answer::Status(404));
    }
    assert!(
        bench
            .samovar(&["build", "r.toml", "--store", "store", "--until", "rootfs", "--rebuild"])
            .status
            .success()
    );
}

#[test]
fn a_mirror_that_breaks_off() {
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("busybox-static", Answer::Half);
    bench.fails("rootfs", 3, "tried 4 times");
    // What it broke off it may give in full the next time, and only the rest is asked for.
    bench.mirror.set("busybox-static", Answer::HalfOnce);
    bench.mirror.set("libtest", Answer::HalfOnce);
    let before = bench.mirror.ranges().len();
    assert!(bench.build("rootfs").status.success());
    assert!(bench.mirror.ranges().len() >= before + 2, "{:?}", bench.mirror.ranges());
}

#[test]
fn a_large_file_over_a_line_that_breaks_often() {
    let mut bench = Bench::new(&Archive::new());
    // Each time half of what is left: the first attempts bring much, and much is not given up lightly.
    bench.mirror.set("tool_", Answer::Half);
    bench.fails("rootfs", 3, "tried 4 times");
    let ranges = bench.mirror.ranges();
    assert!(ranges.is_sorted() && ranges.len() == 3 && ranges[0] > 1 << 20, "{ranges:?}");
    // The next run goes on from there.
    bench.mirror.repent();
    assert!(bench.build("rootfs").status.success());
    assert!(bench.mirror.ranges().last() > ranges.last(), "{:?}", bench.mirror.ranges());
}

#[test]
fn a_mirror_without_ranges() {
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("tool_", Answer::HalfWithoutRanges);
    assert!(bench.build("rootfs").status.success());
    assert_eq!(bench.mirror.ranges().len(), 1);
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("tool_", Answer::WrongRange);
    bench.fails("rootfs", 3, "it answered from byte");
}

/// What another run left is the beginning of the file, or it is not; either way the build ends well.
#[test]
fn what_was_left_is_not_trusted() {
    let archive = Archive::new();
    let files = archive.files();
    let (_, tool) = files.iter().find(|(path, _)| path.contains("tool_")).unwrap();
    let beginning = tool[..tool.len() / 3].to_vec();
    let mut changed = beginning.clone();
    changed[1000] ^= 1;
    let mut longer = tool.clone();
    longer.push(0);
    let mut whole_but_wrong = tool.clone();
    whole_but_wrong[1000] ^= 1;
    for (left, ranges) in
        [(beginning, 1), (changed, 1), (longer, 0), (tool.clone(), 0), (whole_but_wrong, 0), (Vec::new(), 0)]
    {
        for answer in [None, Some(Answer::NoRange)] {
            let mut bench = Bench::new(&archive);
            fs::create_dir_all(bench.path("store/partial")).unwrap();
            fs::write(bench.path("store/partial").join(store::Hash::of(tool).to_string()), &left).unwrap();
            if let Some(answer) = answer {
                bench.mirror.set("tool_", answer);
            }
            let output = bench.build("rootfs");
            assert!(output.status.success(), "{}", text(&output.stderr));
            assert_eq!(bench.mirror.ranges().len(), ranges, "{} {answer:?}", left.len());
            bench.store_is_sound();
            assert_eq!(fs::read_dir(bench.path("store/partial")).unwrap().count(), 0);
        }
    }
}

#[test]
fn a_mirror_that_says_nothing() {
    for (answer, reason) in [
        (Answer::Silent, "tried 4 times"),
        (Answer::Stalling, "tried 4 times"),
        (Answer::Trickling, "bytes came in"),
    ] {
        let mut bench = Bench::new(&Archive::new());
        bench.mirror.set("tool_", answer);
        let begun = std::time::Instant::now();
        bench.fails("rootfs", 3, reason);
        assert!(begun.elapsed().as_secs() < 40, "{answer:?}");
        bench.mirror.repent();
        assert!(bench.build("rootfs").status.success());
    }
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("InRelease", Answer::Stalling);
    bench.fails("rootfs", 3, "tried 4 times");
}

#[test]
fn a_mirror_that_sends_elsewhere() {
    for file in ["InRelease", "tool_"] {
        let mut bench = Bench::new(&Archive::new());
        bench.mirror.set(file, Answer::RedirectForEver);
        bench.fails("rootfs", 3, "redirected without end");
        bench.mirror.set(file, Answer::RedirectNowhere);
        bench.fails("rootfs", 3, "");
        bench.mirror.repent();
        assert!(bench.build("rootfs").status.success());
    }
}

#[test]
fn a_mirror_that_lies_about_sizes() {
    for (answer, code, reason) in [
        (Answer::Shorter, 4, "are pinned"),
        (Answer::Boastful, 4, "1099511627776 bytes, but"),
        (Answer::Endless, 4, "more bytes, but"),
        (Answer::EndlessHeader, 3, "tried 4 times"),
    ] {
        for file in ["tool_", "Packages.xz"] {
            let mut bench = Bench::new(&Archive::new());
            bench.mirror.set(file, answer);
            bench.fails("rootfs", code, reason);
            if file == "tool_" {
                bench.mirror.repent();
                assert!(bench.build("rootfs").status.success());
            }
        }
    }
    for (answer, reason) in [(Answer::Boastful, "longer than"), (Answer::Endless, "longer than")] {
        let mut bench = Bench::new(&Archive::new());
        bench.mirror.set("InRelease", answer);
        bench.fails("rootfs", 3, reason);
    }
}

#[test]
fn yesterdays_index() {
    let archive = Archive::new();
    let mut bench = Bench::new(&archive.of_day("05 Jan 2025"));
    fs::write(bench.path("keys"), archive.keyring()).unwrap();
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let lock = fs::read(bench.path("r.lock")).unwrap();
    bench.mirror.put(archive.of_day("04 Jan 2025").files());
    let output = bench.samovar(&["lock", "r.toml", "--store", "store"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("older than the one of Wed, 05 Jan 2025"), "{stderr}");
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock, "the lock stays");
    for day in ["05 Jan 2025", "06 Jan 2025"] {
        bench.mirror.put(archive.of_day(day).files());
        assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    }
}

#[test]
fn without_a_network() {
    let mut bench = Bench::new(&Archive::new());
    let build = ["build", "r.toml", "--store", "store", "--until", "rootfs", "--offline"];
    let offline = |bench: &Bench, args: &[&str], missing: &str| {
        let output = bench.samovar(args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(missing) && stderr.contains("\nhint: run the same once without"), "{stderr}");
    };
    // Everything that is missing is named, first the lists, then the packages.
    offline(
        &bench,
        &build,
        "debian trixie InRelease, debian trixie-updates InRelease, debian-security trixie-security",
    );
    assert_eq!(bench.mirror.requests(), 0);
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let requests = bench.mirror.requests();
    offline(&bench, &build, "is given: busybox-static 1, libtest 1, tool 1");
    let lock = fs::read(bench.path("r.lock")).unwrap();
    fs::remove_file(bench.path("r.lock")).unwrap();
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store", "--offline"]).status.success());
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock);
    assert_eq!(bench.mirror.requests(), requests);
    bench.mirror.set("libtest", Answer::Status(404));
    bench.fails("rootfs", 3, "no longer has libtest 1");
    offline(&bench, &build, "is given: libtest 1\n");
    bench.mirror.repent();
    assert!(bench.build("rootfs").status.success());
    let requests = bench.mirror.requests();
    let mut again = build.to_vec();
    again.push("--rebuild");
    let output = bench.samovar(&again);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(bench.mirror.requests(), requests);
}

/// However far a build had come when it was interrupted, the next one ends as if nothing had been.
#[test]
fn interrupted_at_any_moment() {
    let archive = Archive::new();
    let undisturbed = Bench::new(&archive);
    let expected = undisturbed.build("rootfs");
    assert!(expected.status.success(), "{}", text(&expected.stderr));
    let mut bench = Bench::new(&archive);
    for file in ["InRelease", "Packages.xz", "pool"] {
        bench.mirror.set(file, Answer::Slow);
    }
    let mut interrupted = 0;
    for milliseconds in (0..2000).step_by(40) {
        let child = bench
            .command(env!("CARGO_BIN_EXE_samovar"))
            .args(["build", "r.toml", "--store", "store", "--until", "rootfs", "--rebuild"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(killed.is_ok());
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        // Before it listens to the signal, the signal ends it without a word.
        match output.status.code() {
            Some(130) => {
                interrupted += 1;
                assert!(stderr.contains("error: interrupted\nhint: "), "{stderr}");
                assert!(output.stdout.is_empty());
            }
            Some(0) => break,
            code => assert_eq!(code, None, "{stderr}"),
        }
        if let Ok(lock) = fs::read(bench.path("r.lock")) {
            assert_eq!(lock, fs::read(undisturbed.path("r.lock")).unwrap(), "a lock is whole or not there");
        }
    }
    assert!(interrupted > 3, "{interrupted}");
    bench.mirror.repent();
    let output = bench.build("rootfs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(output.stdout, expected.stdout);
    bench.store_is_sound();
    assert_eq!(fs::read_dir(bench.path("store/partial")).unwrap().count(), 0);
}

/// The store on a file system of its own that is too small, then large enough.
#[test]
fn a_full_disk() {
    let bench = Bench::new(&Archive::new());
    fs::create_dir(bench.path("store")).unwrap();
    // Lists and lock are fetched; then some of the packages, or all but what they are unpacked to, or all but the image fit.
    let mut full = 0;
    for kilobytes in [24, 64, 1024, 3300, 5000, 8000] {
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none store && {{ \
             $SAMOVAR build r.toml --store store --until rootfs; echo first $?; \
             ls store/.staging; for file in store/cache/*; do sha256sum \"$file\"; done; \
             mount -o remount,size=64m store && $SAMOVAR build r.toml --store store --until rootfs; echo second $?; }}"
        );
        let output = bench
            .command("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .env("SAMOVAR", env!("CARGO_BIN_EXE_samovar"))
            .output();
        let Ok(output) = output else {
            eprintln!("no unshare on this host: the full disk is not tried");
            return;
        };
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        if !stdout.contains("first") {
            eprintln!("this host gives no mount namespace: the full disk is not tried: {stderr}");
            return;
        }
        assert!(stdout.contains("second 0"), "{kilobytes}: {stdout} {stderr}");
        if stdout.contains("first 0") {
            continue;
        }
        full += 1;
        assert!(stdout.contains("first 1"), "{kilobytes}: {stdout} {stderr}");
        assert!(stderr.contains("no space left on the file system\nhint: free some space"), "{stderr}");
        let staged = stdout.lines().filter(|line| line.starts_with("new-"));
        assert_eq!(staged.count(), 0, "{stdout}");
        for line in stdout.lines().filter(|line| line.contains("  store/cache/")) {
            let (hash, path) = line.split_once("  store/cache/").unwrap();
            assert_eq!(hash, path);
        }
    }
    assert!(full >= 3, "{full}");
}

#[test]
fn a_mirror_that_is_ill_for_a_while() {
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("busybox-static", Answer::ErrorOnce);
    assert!(bench.build("rootfs").status.success());
    bench.mirror.set("libtest", Answer::Status(403));
    fs::remove_dir_all(bench.path("store")).unwrap();
    bench.fails("rootfs", 3, "refused (HTTP 403)");
}

#[test]
fn changed_bytes() {
    for file in ["busybox-static", "Packages.xz"] {
        let mut bench = Bench::new(&Archive::new());
        bench.mirror.set(file, Answer::Flipped);
        bench.fails("rootfs", 4, "is pinned");
        bench.mirror.set(file, Answer::Longer);
        bench.fails("rootfs", 4, "are pinned");
    }
}

#[test]
fn changed_signed_text() {
    for answer in [Answer::Flipped, Answer::Unsigned] {
        let mut bench = Bench::new(&Archive::new());
        bench.mirror.set("InRelease", answer);
        bench.fails("rootfs", 4, "InRelease");
        assert!(!bench.path("r.lock").exists());
    }
}

#[test]
fn a_strangers_signature() {
    let bench = Bench::new(&Archive::new());
    fs::write(bench.path("keys"), Archive::new().keyring()).unwrap();
    bench.fails("rootfs", 4, "no valid signature");
    fs::write(bench.path("keys"), "no keys at all").unwrap();
    bench.fails("rootfs", 4, "keys");
}

#[test]
fn signed_but_for_another_suite_or_time() {
    for (from, to, reason) in [
        ("Codename: trixie", "Codename: sid", "is signed for sid"),
        ("Codename: trixie\n", "Codename: trixie-updates\n", "is signed for trixie-updates, not for trixie"),
        ("Date: ", "Valid-Until: Thu, 01 Jan 2015 00:00:00 UTC\nDate: ", "was valid until"),
    ] {
        let bench = Bench::new(&Archive::with_release(|text| text.replace(from, to)));
        bench.fails("rootfs", 4, reason);
    }
}

#[test]
fn a_lock_that_is_not_the_recipes() {
    let bench = Bench::new(&Archive::new());
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let recipe = archive::RECIPE.replace("packages = [\"tool\"]", "packages = [\"libtest\"]");
    fs::write(bench.path("r.toml"), recipe).unwrap();
    bench.fails("rootfs", 2, "other packages");
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    assert!(bench.build("rootfs").status.success());
    fs::write(bench.path("r.lock"), "version = 99\n").unwrap();
    bench.fails("rootfs", 2, "format 99");
}

#[test]
fn recipes_that_ask_too_much() {
    let bench = Bench::new(&Archive::new());
    let cases = [
        ("packages = [\"tool\"]", "packages = [\"tol\"]", 2, "there is no package tol; there is tool"),
        ("packages = [\"tool\"]", "packages = [\"unhappy\"]", 2, "unhappy depends on absent"),
        ("label = ", "lable = ", 2, "r.toml:"),
    ];
    for (from, to, code, reason) in cases {
        assert!(archive::RECIPE.contains(from));
        fs::write(bench.path("r.toml"), archive::RECIPE.replace(from, to)).unwrap();
        let output = bench.build("rootfs");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(reason) && stderr.contains("\nhint: "), "{stderr}");
    }
    let modules = archive::RECIPE.replace("[\"alpha\", \"beta\"]", "[\"beta\"]");
    fs::write(bench.path("r.toml"), modules).unwrap();
    let output = bench.build("initramfs");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("module beta needs alpha"));
    bench.store_is_sound();
    assert_eq!(bench.samovar(&["build"]).status.code(), Some(2));
    assert_eq!(bench.samovar(&["build", "absent.toml"]).status.code(), Some(2));
}

#[test]
fn two_builds_at_once() {
    let bench = Bench::new(&Archive::new());
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.build("rootfs"))).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    for output in &outputs {
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(output.stdout, outputs[0].stdout);
    }
    bench.store_is_sound();
}
