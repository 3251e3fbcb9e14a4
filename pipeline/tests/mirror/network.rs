//! Mirrors that break off, lie, stall or are not there; interruptions, and disks that are full.

use super::locks::locked;
use super::*;

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
