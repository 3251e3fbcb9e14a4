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
        Command::new(env!("CARGO_BIN_EXE_samovar"))
            .args(args)
            .current_dir(self.dir.path())
            .env("SAMOVAR_DEBIAN_MIRROR", self.mirror.url("debian"))
            .env("SAMOVAR_DEBIAN_SECURITY_MIRROR", self.mirror.url("debian-security"))
            .env("SAMOVAR_DEBIAN_KEYRING", self.path("keys"))
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("ALL_PROXY")
            .env_remove("all_proxy")
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY")
            .output()
            .unwrap()
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
    bench.fails("rootfs", 3, "r.lock: the mirror no longer has busybox-static 1\nhint: run `samovar lock r.toml --update busybox-static`");
}

#[test]
fn a_mirror_that_breaks_off() {
    let mut bench = Bench::new(&Archive::new());
    bench.mirror.set("busybox-static", Answer::Half);
    bench.fails("rootfs", 3, "tried 4 times");
    // What it broke off once, it may give in full the next time.
    bench.mirror.set("busybox-static", Answer::HalfOnce);
    assert!(bench.build("rootfs").status.success());
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
    let output = build("other");
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

#[test]
fn yesterdays_lists_are_refused() {
    let archive = Archive::new();
    let bench = Bench::new(&archive.later());
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let lock = fs::read(bench.path("r.lock")).unwrap();
    bench.mirror.serve_now(archive.files());
    let output = bench.samovar(&["lock", "r.toml", "--store", "store", "--update"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    let told = "debian trixie InRelease: is of Wed, 01 Jan 2025 00:00:00 UTC, and the lock was made from one of Sat, 01 Feb";
    assert!(stderr.contains(told) && stderr.contains("\nhint: the mirror is behind"), "{stderr}");
    assert_eq!(fs::read(bench.path("r.lock")).unwrap(), lock);
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
