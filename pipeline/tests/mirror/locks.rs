//! How a lock follows its recipe and the archive.

use super::*;

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
pub fn locked(bench: &Bench) -> Vec<String> {
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
fn what_a_lock_came_to_is_told_as_json() {
    let bench = overtaken();
    let answer = |args: &[&str]| -> serde_json::Value {
        let output = bench.samovar(&[&["lock", "r.toml", "--store", "store", "--json"][..], args].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let same = answer(&[]);
    assert_eq!((&same["lock"], &same["written"]), (&"r.lock".into(), &false.into()));
    assert_eq!(same["changes"], serde_json::json!([]));
    let updated = answer(&["--update", "libtest", "linux-image-arm64"]);
    assert_eq!(updated["written"], true);
    assert_eq!(
        updated["changes"],
        serde_json::json!([
            { "name": "libtest", "before": "1", "after": "2" },
            { "name": "linux-image-10-arm64", "before": null, "after": "2" },
            { "name": "linux-image-9-arm64", "before": "1", "after": null },
        ])
    );
    let field = |package: &serde_json::Value, name: &str| package[name].as_str().unwrap().to_owned();
    let packages = updated["packages"].as_array().unwrap().iter();
    let packages: Vec<String> =
        packages.map(|package| field(package, "name") + " " + &field(package, "version")).collect();
    assert_eq!(packages, locked(&bench));
}

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
