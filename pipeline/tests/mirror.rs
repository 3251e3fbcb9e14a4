//! The whole way from a mirror to a root file system, with mirrors that are honest, broken and hostile.
//!
//! The mirror is a small server in this process; its archive is signed with a key made for the test.

mod archive;
mod kernel;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use archive::{Answer, Archive, Mirror};

/// A directory with a recipe, its files, a keyring, and a mirror to build from.
struct Bench {
    dir: tempfile::TempDir,
    mirror: Mirror,
    /// How many seconds a silent mirror is waited for, if not as long as usual. A short time is no measure of anything: on
    /// a host with much to do, an honest mirror may not answer in time either.
    patience: Option<u32>,
}

impl Bench {
    fn new(archive: &Archive) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("r.toml"), archive::RECIPE).unwrap();
        fs::write(dir.path().join("init"), "#!/bin/sh\n").unwrap();
        fs::write(dir.path().join("keys"), archive.keyring()).unwrap();
        Bench { dir, mirror: Mirror::serve(archive.files()), patience: None }
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
            .env(
                "SAMOVAR_FETCH_TIMEOUT",
                self.patience.map(|seconds| seconds.to_string()).unwrap_or_default(),
            )
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

/// What `why`, `tree` and `diff` say of a file and a list that were changed by hand, and of nothing else.
#[test]
fn what_has_changed_is_told() {
    let bench = Bench::new(&Archive::new());
    let said = |arguments: &[&str]| {
        let output = bench.samovar(&[arguments, &["--store", "store"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let recipe = archive::RECIPE.replace("[rootfs]", "[rootfs]\noverlay = [\"files\"]");
    fs::write(bench.path("r.toml"), &recipe).unwrap();
    fs::create_dir(bench.path("files")).unwrap();
    fs::write(bench.path("files/motd"), "one").unwrap();
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let fresh = said(&["why", "r.toml"]);
    assert!(fresh.starts_with("kernel: to be built\n  was not built before\n"), "{fresh}");
    let first = text(&bench.build("rootfs").stdout).to_owned();
    let why = said(&["why", "r.toml"]);
    assert!(
        why.contains("rootfs: up to date\nwarm base: to be built\n  the kernel is to be built first"),
        "{why}"
    );
    let tree = said(&["tree", "r.toml"]);
    assert!(tree.starts_with("test\n") && tree.lines().count() == 5, "{tree}");
    let artifact = first.rsplit_once('/').unwrap().1;
    assert!(tree.lines().last().unwrap().contains(&format!("up to date  {}", &artifact[..12])), "{tree}");

    fs::write(bench.path("files/motd"), "two").unwrap();
    fs::write(bench.path("r.toml"), recipe.replace("packages", "directories = [\"/srv/x\"]\npackages"))
        .unwrap();
    let why = said(&["why", "r.toml"]);
    let why: Vec<&str> = why.lines().skip_while(|line| !line.starts_with("rootfs")).collect();
    assert!(why[1].starts_with("  file /motd: 644 0 0 file 3 "), "{why:?}");
    assert_eq!((why[2], why[3]), ("  recipe rootfs.directories: + /srv/x", "warm base: to be built"));
    let second = text(&bench.build("rootfs").stdout).to_owned();
    assert_eq!(
        said(&["diff", &first, &second]),
        "rootfs.ext4 > /motd: other bytes\nrootfs.ext4 > /srv: only in the second\n\
         rootfs.ext4 > /srv/x: only in the second"
    );
    assert_eq!(said(&["diff", &first, &first]), "");
    let json: serde_json::Value = serde_json::from_str(&said(&["why", "r.toml", "--json"])).unwrap();
    assert_eq!((&json[2]["step"], &json[2]["state"]), (&"rootfs".into(), &"up to date".into()));
    let listed: serde_json::Value =
        serde_json::from_slice(&fs::read(bench.path(&second).join("software.spdx.json")).unwrap()).unwrap();
    let names: Vec<&str> =
        listed["packages"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["rootfs", "busybox-static", "libtest", "tool"]);
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
    let told = "r.lock: the mirror no longer has busybox-static 1, libtest 1\n\
        hint: run `samovar lock r.toml --update busybox-static libtest`";
    bench.fails("rootfs", 3, told);
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
    let archive = Archive::new();
    for answer in [Answer::Silent, Answer::Stalling, Answer::Trickling] {
        let mut bench = Bench::new(&archive);
        // All else is there, so that nothing else can be waited for.
        bench.mirror.set("tool_", Answer::Status(404));
        bench.fails("rootfs", 3, "no longer has tool 1\n");
        bench.mirror.set("tool_", answer);
        bench.patience = Some(1);
        bench.fails("rootfs", 3, "tried 4 times");
        bench.patience = None;
        bench.mirror.repent();
        assert!(bench.build("rootfs").status.success());
    }
    let mut bench = Bench::new(&archive);
    bench.mirror.set("InRelease", Answer::Stalling);
    bench.patience = Some(1);
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
        // A header is read alike whatever comes after it, and without end it takes a while.
        let files = if answer == Answer::EndlessHeader { &["tool_"][..] } else { &["tool_", "Packages.xz"] };
        for file in files {
            let mut bench = Bench::new(&Archive::new());
            bench.mirror.set(file, answer);
            bench.fails("rootfs", code, reason);
            if *file == "tool_" {
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
    let bench = Bench::new(&archive.of_day("05 Jan 2025"));
    fs::write(bench.path("keys"), archive.keyring()).unwrap();
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store", "--update"]).status.success());
    let lock = fs::read(bench.path("r.lock")).unwrap();
    bench.mirror.serve_now(archive.of_day("04 Jan 2025").files());
    let output = bench.samovar(&["lock", "r.toml", "--store", "store", "--update"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("older than the one of Wed, 05 Jan 2025"), "{stderr}");
    assert!(stderr.contains("\nhint: the mirror is behind"), "{stderr}");
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock, "the lock stays");
    for day in ["05 Jan 2025", "06 Jan 2025"] {
        bench.mirror.serve_now(archive.of_day(day).files());
        assert!(bench.samovar(&["lock", "r.toml", "--store", "store", "--update"]).status.success());
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
    // At its first request, its second and so on, and at different places of the answer.
    for attempt in 0..100 {
        let before = bench.mirror.requests();
        let mut child = bench
            .command(env!("CARGO_BIN_EXE_samovar"))
            .args(["build", "r.toml", "--store", "store", "--until", "rootfs", "--rebuild"])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pause = |milliseconds| std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        while bench.mirror.requests() <= before + attempt % 7 && child.try_wait().unwrap().is_none() {
            pause(1);
        }
        pause(attempt as u64 * 37 % 400);
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(killed.is_ok());
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        match output.status.code() {
            Some(130) => {
                interrupted += 1;
                assert!(stderr.contains("error: interrupted\nhint: "), "{stderr}");
                assert!(output.stdout.is_empty());
            }
            // All was fetched by then.
            Some(0) => break,
            code => panic!("{code:?} {stderr}"),
        }
        if let Ok(lock) = fs::read(bench.path("r.lock")) {
            assert_eq!(lock, fs::read(undisturbed.path("r.lock")).unwrap(), "a lock is whole or not there");
        }
        let beside = fs::read_dir(bench.dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(!beside.into_iter().any(|name| name.to_string_lossy().starts_with(".lock-")));
    }
    assert!(interrupted >= 3, "{interrupted}");
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
        (
            "Codename: trixie\n",
            "Codename: trixie-updates\n",
            "is signed for trixie-updates (stable), not for trixie",
        ),
        ("Date: ", "Valid-Until: Thu, 01 Jan 2015 00:00:00 UTC\nDate: ", "was valid until"),
    ] {
        let bench = Bench::new(&Archive::with_release(|text| text.replace(from, to)));
        bench.fails("rootfs", 4, reason);
    }
}

#[test]
fn signed_but_without_what_is_asked_for() {
    for (from, to, reason) in [
        ("Components: main", "Components: contrib", "has no component main; there are contrib"),
        ("Architectures: arm64", "Architectures: amd64", "has no packages for arm64"),
    ] {
        let bench = Bench::new(&Archive::with_release(|text| text.replace(from, to)));
        bench.fails("rootfs", 2, reason);
    }
}

#[test]
fn a_lock_follows_its_recipe() {
    let bench = Bench::new(&Archive::new());
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let recipe = archive::RECIPE.replace("packages = [\"tool\"]", "packages = [\"extra\"]");
    fs::write(bench.path("r.toml"), recipe).unwrap();
    let lock = fs::read(bench.path("r.lock")).unwrap();
    let locked = bench.samovar(&["build", "r.toml", "--store", "store", "--until", "rootfs", "--locked"]);
    assert_eq!(locked.status.code(), Some(2));
    let stderr = text(&locked.stderr);
    let reason = "r.lock: was made for other packages: the recipe asks for extra, tool no longer";
    assert!(stderr.contains(reason) && stderr.contains("\nhint: "), "{stderr}");
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock, "nothing was changed");

    let built = bench.build("rootfs");
    let stderr = text(&built.stderr);
    assert!(built.status.success(), "{stderr}");
    assert!(stderr.contains("extra 1 added") && stderr.contains("tool 1 removed"), "{stderr}");
    let again = bench.samovar(&["build", "r.toml", "--store", "store", "--until", "rootfs", "--locked"]);
    assert_eq!((text(&again.stdout), text(&again.stderr)), (text(&built.stdout), "up to date"));

    fs::write(bench.path("r.lock"), "version = 99\n").unwrap();
    bench.fails("rootfs", 2, "format 99");
    assert_eq!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.code(), Some(2));
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store", "--update"]).status.success());
    assert!(bench.build("rootfs").status.success());
}

#[test]
fn a_locked_build_makes_no_lock() {
    let bench = Bench::new(&Archive::new());
    let output = bench.samovar(&["build", "r.toml", "--store", "store", "--until", "kernel", "--locked"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("error: r.lock: is not there\nhint: run `samovar lock`"), "{stderr}");
    assert!(!bench.path("r.lock").exists());
    assert_eq!(bench.mirror.requests(), 0);
    // Another file does, too, and is the only one that is written.
    let lock = ["lock", "r.toml", "--store", "store", "--lock-file", "other.lock"];
    assert!(bench.samovar(&lock).status.success());
    let build =
        ["build", "r.toml", "--store", "store", "--until", "kernel", "--locked", "--lock-file", "other.lock"];
    assert!(bench.samovar(&build).status.success());
    assert!(!bench.path("r.lock").exists());
}

/// What the lock has, as `name version`.
fn locked(bench: &Bench) -> Vec<String> {
    let lock: toml::Table = fs::read_to_string(bench.path("r.lock")).unwrap().parse().unwrap();
    let field = |package: &toml::Value, name: &str| package[name].as_str().unwrap().to_owned();
    let packages = lock["package"].as_array().unwrap();
    packages.iter().map(|package| field(package, "name") + " " + &field(package, "version")).collect()
}

/// Locked, built, and then the archive has moved on and dropped the old versions.
fn overtaken() -> Bench {
    let archive = Archive::new();
    let bench = Bench::new(&archive);
    for step in ["kernel", "rootfs"] {
        assert!(bench.build(step).status.success());
    }
    bench.mirror.serve_now(archive.later().files());
    bench
}

const OLD: [&str; 4] = ["busybox-static 1", "libtest 1", "linux-image-9-arm64 1", "tool 1"];

#[test]
fn what_is_locked_stays() {
    let bench = overtaken();
    let lock = |args: &[&str]| {
        let output = bench.samovar(&[&["lock", "r.toml", "--store", "store"][..], args].concat());
        (output.status.code(), text(&output.stderr).to_owned())
    };
    assert_eq!(locked(&bench), OLD);
    let requests = bench.mirror.requests();
    assert_eq!(lock(&[]), (Some(0), "r.lock: has all that the recipe asks for".into()));
    assert_eq!(bench.mirror.requests(), requests, "nothing is asked for");

    // Something is added, and it alone.
    let recipe = archive::RECIPE.replace("[\"tool\"]", "[\"tool\", \"extra\"]");
    fs::write(bench.path("r.toml"), &recipe).unwrap();
    let (code, stderr) = lock(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.ends_with("\nextra 2 added"), "{stderr}");
    assert_eq!(
        locked(&bench),
        ["busybox-static 1", "extra 2", "libtest 1", "linux-image-9-arm64 1", "tool 1"]
    );
    // And removed.
    fs::write(bench.path("r.toml"), archive::RECIPE).unwrap();
    let (_, stderr) = lock(&[]);
    assert!(stderr.ends_with("\nextra 2 removed"), "{stderr}");
    assert_eq!(locked(&bench), OLD);

    let (code, stderr) = lock(&["--update", "libtst"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("has no package libtst that could be updated; it has libtest\nhint: "),
        "{stderr}"
    );
    assert_eq!(locked(&bench), OLD);
    lock(&["--update", "libtest"]);
    assert_eq!(locked(&bench), ["busybox-static 1", "libtest 2", "linux-image-9-arm64 1", "tool 1"]);
    lock(&["--update", "linux-image-arm64"]);
    assert_eq!(locked(&bench), ["busybox-static 1", "libtest 2", "linux-image-10-arm64 2", "tool 1"]);
    assert!(bench.build("rootfs").status.success());
    lock(&["--update"]);
    assert_eq!(locked(&bench), ["busybox-static 2", "libtest 2", "linux-image-10-arm64 2", "tool 2"]);
}

#[test]
fn what_cannot_stay_is_updated_too() {
    let bench = overtaken();
    let output = bench.samovar(&["lock", "r.toml", "--store", "store", "--update", "tool"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    // The new tool needs the new library.
    assert!(stderr.ends_with("\nlibtest 1 -> 2\ntool 1 -> 2"), "{stderr}");
    assert_eq!(locked(&bench), ["busybox-static 1", "libtest 2", "linux-image-9-arm64 1", "tool 2"]);
}

/// A library that is no longer in the archive in any version, because its new one has another name.
#[test]
fn what_is_locked_stays_with_what_it_needs() {
    let archive = Archive::new();
    let bench = Bench::new(&archive);
    let recipe = |packages: &str| {
        fs::write(bench.path("r.toml"), archive::RECIPE.replace("[\"tool\"]", packages)).unwrap();
    };
    recipe("[\"legacy\"]");
    for step in ["initramfs", "rootfs"] {
        assert!(bench.build(step).status.success());
    }
    bench.mirror.serve_now(archive.later().files());
    recipe("[\"legacy\", \"extra\"]");
    let output = bench.samovar(&["lock", "r.toml", "--store", "store"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let kept = ["legacy 1", "libtest 2", "linux-image-9-arm64 1", "oldlib 1"];
    assert_eq!(locked(&bench), [&["busybox-static 1", "extra 2"][..], &kept].concat());
    let output = bench.samovar(&["lock", "r.toml", "--store", "store", "--update", "legacy"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let new = ["legacy 2", "libtest 2", "linux-image-9-arm64 1", "newlib 2"];
    assert_eq!(locked(&bench), [&["busybox-static 1", "extra 2"][..], &new].concat());
}

#[test]
fn of_another_release_nothing_is_kept() {
    let bench = overtaken();
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    fs::write(bench.path("r.lock"), lock.replace("\"trixie", "\"bookworm")).unwrap();
    let output = bench.samovar(&["lock", "r.toml", "--store", "store"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(locked(&bench), ["busybox-static 2", "libtest 2", "linux-image-10-arm64 2", "tool 2"]);
}

#[test]
fn what_is_gone_is_named_and_what_was_fetched_stays() {
    let bench = overtaken();
    // In another store, which has nothing: all that is gone is told at once.
    let build = |store: &str| bench.samovar(&["build", "r.toml", "--store", store, "--until", "rootfs"]);
    let output = bench.samovar(&["build", "r.toml", "--store", "other"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let told = "error: r.lock: the mirror no longer has busybox-static 1, libtest 1, linux-image-9-arm64 1, tool 1\n\
        hint: run `samovar lock r.toml --update busybox-static libtest linux-image-9-arm64 tool` to take";
    assert!(stderr.contains(told), "{stderr}");
    // What is to stay must be somewhere, too.
    let recipe = archive::RECIPE.replace("[\"tool\"]", "[\"tool\", \"extra\"]");
    fs::write(bench.path("r.toml"), &recipe).unwrap();
    let output = bench.samovar(&["lock", "r.toml", "--store", "other"]);
    assert_eq!(output.status.code(), Some(3));
    let stderr = text(&output.stderr);
    assert!(stderr.contains("the mirror no longer has busybox-static 1, libtest 1, tool 1\n"), "{stderr}");
    assert_eq!(locked(&bench), OLD);
    fs::write(bench.path("r.toml"), archive::RECIPE).unwrap();

    // What was fetched before is enough, in whatever store it lies.
    fs::create_dir_all(bench.path("third/cache")).unwrap();
    for entry in fs::read_dir(bench.path("store/cache")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), bench.path("third/cache").join(entry.file_name())).unwrap();
    }
    let (first, third) = (build("store"), build("third"));
    assert!(third.status.success(), "{}", text(&third.stderr));
    assert_eq!(text(&third.stdout).replace("third", "store"), text(&first.stdout));

    // The hint helps.
    let update = ["lock", "r.toml", "--store", "other", "--update"];
    let names = ["busybox-static", "libtest", "linux-image-9-arm64", "tool"];
    assert!(bench.samovar(&[&update[..], &names].concat()).status.success());
    assert!(build("other").status.success());
}

/// A mirror that lags behind the one that the lock was made from, and a store that knows neither.
#[test]
fn a_mirror_that_lags() {
    let archive = Archive::new();
    let bench = Bench::new(&archive.later());
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let lock = fs::read(bench.path("r.lock")).unwrap();
    let mut files = archive.later().files();
    files.extend(archive.files());
    bench.mirror.serve_now(files);
    // It has no newest packages to give.
    let output = bench.samovar(&["lock", "r.toml", "--store", "other", "--update"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    let told = "debian trixie InRelease: is of Wed, 01 Jan 2025 00:00:00 UTC, and the lock was made from one of Sat, 01 Feb";
    assert!(stderr.contains(told) && stderr.contains("\nhint: the mirror is behind"), "{stderr}");
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock);
    // It will do to build what is locked, and for something more.
    fs::write(bench.path("r.toml"), archive::RECIPE.replace("[\"tool\"]", "[\"tool\", \"extra\"]")).unwrap();
    let output = bench.samovar(&["build", "r.toml", "--store", "third", "--until", "rootfs"]);
    let stderr = text(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(stderr.contains("debian trixie InRelease: is of Wed, 01 Jan"), "{stderr}");
    assert_eq!(
        locked(&bench),
        ["busybox-static 2", "extra 1", "libtest 2", "linux-image-10-arm64 2", "tool 2"]
    );
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    assert!(
        lock.contains("01 Feb 2025") && !lock.contains("01 Jan 2025"),
        "the newest that was seen is kept"
    );
    // A store that saw the newer one is not led back.
    fs::remove_file(bench.path("r.lock")).unwrap();
    bench.fails("rootfs", 4, "is of Wed, 01 Jan 2025 00:00:00 UTC, older than the one of Sat, 01 Feb");
}

/// Ten lines over a recipe that somebody else wrote, with its files elsewhere.
#[test]
fn a_recipe_of_ones_own_over_another() {
    let bench = Bench::new(&Archive::new());
    fs::create_dir_all(bench.path("base/files/etc")).unwrap();
    fs::write(bench.path("base/files/etc/issue"), "base\n").unwrap();
    let base = archive::RECIPE
        .replace("init = \"init\"\n", "")
        .replace("packages =", "overlay = [\"files\"]\npackages =");
    fs::write(bench.path("base/r.toml"), base).unwrap();
    let own = "extends = \"base/r.toml\"\nname = \"own\"\n\n[rootfs]\npackages = [\"config\"]\n\
        files = { \"/etc/motd\" = \"hello\\n\" }\n\n\
        [rootfs.json.\"/etc/app/policies.json\".policies]\nB.D = \"x\"\nE = [true]\n";
    fs::write(bench.path("own.toml"), own).unwrap();
    let output = bench.samovar(&["build", "own.toml", "--store", "store", "--until", "rootfs"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(bench.path("own.lock").exists() && !bench.path("base/r.lock").exists());
    let image = bench.path(text(&output.stdout)).join("rootfs.ext4");
    let image = ext4_view::Ext4::load_from_path(&image).unwrap();
    assert_eq!(image.read("/etc/issue").unwrap(), b"base\n");
    assert_eq!(image.read("/etc/motd").unwrap(), b"hello\n");
    assert!(image.exists("/usr/bin/tool").unwrap());
    let policies: serde_json::Value =
        serde_json::from_slice(&image.read("/etc/app/policies.json").unwrap()).unwrap();
    let expected = serde_json::json!({ "policies": { "A": 1, "B": { "C": 2, "D": "x" }, "E": [true] } });
    assert_eq!(policies, expected);

    // An error in the base is told in the base, with its text.
    let base = fs::read_to_string(bench.path("base/r.toml")).unwrap();
    fs::write(bench.path("base/r.toml"), base.replace("cpus = 1", "cpus = 100")).unwrap();
    let output = bench.samovar(&["check", "own.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: base/r.toml:18:8: `cpus` must be 1 to 8\n   |\n18 | cpus = 100\n   |        ^^^\n   |\nhint: "), "{stderr}");
}

#[test]
fn recipes_are_checked_without_a_mirror() {
    let bench = Bench::new(&Archive::new());
    let recipes = bench.path("recipes");
    fs::create_dir(&recipes).unwrap();
    let good = archive::RECIPE.replace("\"init\"", "\"../init\"");
    fs::write(recipes.join("a.toml"), good.replace("label", "lable")).unwrap();
    fs::write(recipes.join("b.toml"), &good).unwrap();
    fs::write(recipes.join("c.toml"), good.replace("../init", "absent")).unwrap();
    let output = bench.samovar(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "recipes/b.toml: ok");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("error: recipes/a.toml:13:1: unknown field `lable`\n"), "{stderr}");
    assert!(
        stderr.contains("13 | lable = \"test\"\n   | ^^^^^\n   |\nhint: did you mean `label`?\n"),
        "{stderr}"
    );
    assert!(stderr.contains("recipes/b.toml: has no lock yet"), "{stderr}");
    assert!(stderr.contains("error: recipes/absent: No such file"), "{stderr}");
    assert_eq!(bench.mirror.requests(), 0);
    assert!(!bench.path("artifacts").exists());

    let output = bench.samovar(&["new", "recipes/mine"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "recipes/mine.toml"));
    let output = bench.samovar(&["new", "yours", "--extends", "recipes/mine.toml"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "yours.toml"));
    let output = bench.samovar(&["check", "yours.toml", "recipes/mine.toml"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "yours.toml: ok\nrecipes/mine.toml: ok")
    );
    let again = bench.samovar(&["new", "yours"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        text(&again.stderr),
        "error: yours.toml: is there already\nhint: give another name, or remove the file"
    );
    assert_eq!(bench.samovar(&["new", "a b"]).status.code(), Some(2));
}

#[test]
fn the_projects_own_recipes_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_samovar")).arg("check").current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let count = fs::read_dir(root.join("recipes")).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "toml")
    });
    assert_eq!(text(&output.stdout).lines().count(), count.count());
    assert_eq!(text(&output.stderr), "", "each has its lock");
}

#[test]
fn the_schema_is_the_one_in_the_repository() {
    let output = Command::new(env!("CARGO_BIN_EXE_samovar")).arg("schema").output().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/recipe.schema.json");
    let kept = fs::read_to_string(path).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), kept, "samovar schema >recipes/recipe.schema.json");
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
