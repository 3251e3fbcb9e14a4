//! What is not signed for, or signed for something else.

use super::*;

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
