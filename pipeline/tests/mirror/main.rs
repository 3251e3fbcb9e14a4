//! The whole way from a mirror to a root file system, with mirrors that are honest, broken and hostile.
//!
//! The mirror is a small server in this process; its archive is signed with a key made for the test.

mod archive;
mod kernel;
mod locks;
mod network;
mod recipes;
mod trust;

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
