//! Kernels from source and ready ones: what builds them here is a source of three files, whose Makefile has the targets of
//! Linux's, and programs that only say their versions.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::archive::{self, Answer, Archive};
use super::{Bench, text};

/// A recipe with this in its `[kernel]`, and no modules.
fn recipe(kernel: &str) -> String {
    let package = "package = \"linux-image-arm64\"";
    let modules = "modules = [\"alpha\", \"beta\"]\n";
    assert!(archive::RECIPE.contains(package) && archive::RECIPE.contains(modules));
    archive::RECIPE.replace(package, kernel).replace(modules, "")
}

/// What the project's own recipe does, in a directory of its own.
fn bench(archive: &Archive, config: &str) -> Bench {
    let bench = Bench::new(archive);
    fs::write(bench.path("r.toml"), recipe("source = \"linux-source\"\nconfig = \"my.config\"")).unwrap();
    fs::write(bench.path("my.config"), config).unwrap();
    fs::create_dir(bench.path("bin")).unwrap();
    for name in ["flex", "bison", "bc", "aarch64-linux-gnu-ld"] {
        program(&bench, name, "1");
    }
    program(&bench, "aarch64-linux-gnu-gcc", "12");
    bench
}

/// A program that says its version.
fn program(bench: &Bench, name: &str, version: &str) {
    let path = bench.path("bin").join(name);
    fs::write(&path, format!("#!/bin/sh\necho {name} {version}\necho more\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `samovar build` up to a step, with these programs before the host's own.
fn command(bench: &Bench, step: &str) -> Command {
    let mut path = bench.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut command = bench.command(env!("CARGO_BIN_EXE_samovar"));
    command.env("PATH", path).args(["build", "r.toml", "--store", "store", "--until", step]);
    command
}

fn build(bench: &Bench) -> Output {
    command(bench, "kernel").output().unwrap()
}

/// Builds, and returns the artifact.
fn built(bench: &Bench) -> store::Artifact {
    let output = build(bench);
    assert!(output.status.success(), "{}", text(&output.stderr));
    bench.store_is_sound();
    store::Artifact::open(bench.path(text(&output.stdout))).unwrap()
}

/// Fails with this on the way, and leaves nothing half-made.
fn refused(bench: &Bench, code: i32, reason: &str) -> String {
    let output = build(bench);
    let stderr = text(&output.stderr).to_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains(&format!("\nerror: {reason}")), "{stderr}");
    assert!(stderr.lines().last().is_some_and(|line| line.starts_with("hint: ")), "{stderr}");
    bench.store_is_sound();
    stderr
}

const CONFIG: &str = "CONFIG_A=y\n# CONFIG_B is not set\n";

#[test]
fn the_same_bytes_from_two_directories() {
    let archive = Archive::new();
    let (first, second) = (bench(&archive, CONFIG), bench(&archive, CONFIG));
    let one = built(&first);
    // Another user, as far as that is seen: another home, language, habit of making files, and things to pass to make.
    let mut command = command(&second, "kernel");
    let samovar = command.get_program().to_owned();
    let mut shell = second.command("sh");
    shell.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(samovar).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.envs([("HOME", "/nowhere"), ("LC_ALL", "C.UTF-8"), ("TZ", "Asia/Tokyo"), ("CFLAGS", "-g")]);
    shell.envs([("KBUILD_BUILD_USER", "me"), ("MAKEFLAGS", "--silent"), ("SOURCE_DATE_EPOCH", "1")]);
    shell.env("TMPDIR", second.path("bin"));
    command = shell;
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let two = store::Artifact::open(second.path(text(&output.stdout))).unwrap();
    let image = |artifact: &store::Artifact| fs::read(artifact.file("Image").unwrap()).unwrap();
    assert_eq!(String::from_utf8_lossy(&image(&one)), String::from_utf8_lossy(&image(&two)));
    assert_eq!(one.hash(), two.hash());

    let said = String::from_utf8_lossy(&image(&one)).into_owned();
    for expected in
        ["user samovar host samovar version 1 time 2025-01-01T00:00:00Z epoch 1735689600", "umask 0022"]
    {
        assert!(said.contains(expected), "{said}");
    }
    assert!(said.contains("/linux/here.c") && !said.contains(".staging"), "{said}");
    assert!(said.contains("environment ARCH BINDGEN CROSS_COMPILE GIT_CEILING_DIRECTORIES HOME "), "{said}");
    assert!(!said.contains(" CFLAGS"), "{said}");
    let config = fs::read_to_string(one.file("config.txt").unwrap()).unwrap();
    assert!(config.contains("CONFIG_A=y\n# CONFIG_B is not set\n"), "{config}");
    let meta = &one.manifest().meta;
    assert_eq!(meta["packages"], serde_json::json!(["linux-source-9 1"]));
    assert_eq!((&meta["release"], &meta["compiler"]), (&"9.1".into(), &"aarch64-linux-gnu-gcc 12".into()));
}

#[test]
fn what_makes_another_kernel() {
    let bench = bench(&Archive::new(), CONFIG);
    let first = *built(&bench).hash();
    let again = build(&bench);
    assert_eq!(text(&again.stderr), "up to date");
    // A remark and the order are nothing to build for.
    fs::write(bench.path("my.config"), "# CONFIG_B is not set\n\n# why\nCONFIG_A=y\n").unwrap();
    assert_eq!(text(&build(&bench).stderr), "up to date");
    fs::write(bench.path("my.config"), format!("{CONFIG}CONFIG_N=3\n")).unwrap();
    assert_ne!(*built(&bench).hash(), first);
    fs::write(bench.path("my.config"), CONFIG).unwrap();
    // Another compiler may make other bytes, and what it made is told apart.
    program(&bench, "aarch64-linux-gnu-gcc", "13");
    let other = built(&bench);
    assert!(*other.hash() != first && other.manifest().meta["compiler"] == "aarch64-linux-gnu-gcc 13");
    program(&bench, "aarch64-linux-gnu-gcc", "12");
    assert_eq!(text(&build(&bench).stderr), "up to date");
}

#[test]
fn an_option_that_did_not_survive() {
    let bench = bench(&Archive::new(), "CONFIG_A=y\nCONFIG_DROPPED_B=y\nCONFIG_DROPPED_C=\"x\"\n");
    let told = "./my.config: 2 options did not survive in the kernel's configuration: \
        CONFIG_DROPPED_B=y (line 2) is not there; CONFIG_DROPPED_C=\"x\" (line 3) is not there\nhint: they may depend";
    refused(&bench, 5, told.trim_start_matches("./"));
    fs::write(bench.path("my.config"), "CONFIG_A=y\nCONFIG_FORCED=n\n").unwrap();
    refused(
        &bench,
        5,
        "my.config: 1 option did not survive in the kernel's configuration: CONFIG_FORCED=n (line 2) is y\n",
    );
    fs::write(bench.path("my.config"), "CONFIG_A=m\n").unwrap();
    let output = build(&bench);
    let told = "error: my.config:1:1: an option cannot be a module here\n  |\n1 | CONFIG_A=m\n  | ^^^^^^^^^^\n  |\nhint: write =y";
    assert_eq!(
        (output.status.code(), text(&output.stderr).contains(told)),
        (Some(2), true),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_build_that_fails() {
    let bench = bench(&Archive::new(), "CONFIG_FAIL=y\n");
    let stderr = refused(&bench, 5, "kernel: `make Image` failed (exit status: 2)\n  | ");
    assert!(stderr.contains("\n  | here.c:1: error: no such thing\n"), "{stderr}");
    // The end is shown, and all of it is kept.
    assert!(!stderr.contains("| line 1\n") && stderr.contains("| line 100\n"), "{stderr}");
    let (_, log) = stderr.rsplit_once("hint: all that it said is in ").unwrap();
    let log = fs::read_to_string(bench.path(log)).unwrap();
    assert!(log.contains("\nline 1\n") && log.contains("error: no such thing"), "{log}");
    fs::write(bench.path("my.config"), CONFIG).unwrap();
    built(&bench);
}

#[test]
fn tools_that_are_missing() {
    let bench = bench(&Archive::new(), CONFIG);
    assert!(bench.samovar(&["lock", "r.toml", "--store", "store"]).status.success());
    let few = bench.path("few");
    fs::create_dir(&few).unwrap();
    for name in ["bc", "bison", "make", "gcc", "aarch64-linux-gnu-ld"] {
        fs::copy(bench.path("bin/bc"), few.join(name)).unwrap();
    }
    let with_few = |args: &[&str]| {
        bench.command(env!("CARGO_BIN_EXE_samovar")).env("PATH", &few).args(args).output().unwrap()
    };
    let output = with_few(&["build", "r.toml", "--store", "store", "--until", "kernel"]);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    let install = "run `apt-get install --no-install-recommends flex gcc-aarch64-linux-gnu`";
    assert_eq!(
        stderr,
        format!("error: kernel: this host has no flex, aarch64-linux-gnu-gcc\nhint: {install}")
    );

    // The doctor says the same before: for this recipe it is needed, for others not.
    let output = with_few(&["doctor", "r.toml", "--store", "store"]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(7), "{stdout}");
    assert!(stdout.contains(install) && stdout.contains("\n  missing  flex "), "{stdout}");
    assert_eq!(
        stderr,
        format!("error: this host lacks what is needed: flex, aarch64-linux-gnu-gcc\nhint: {install}")
    );
    let output = with_few(&["doctor", "--store", "store"]);
    let stdout = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""), "{stdout}");
    assert!(stdout.contains("\n  absent   flex ") && stdout.contains(install), "{stdout}");
    let few_lines =
        ["ok       make ", "ok       debian-security ", "http://127.0.0.1:", "free", "ok       soft "];
    assert!(few_lines.iter().all(|line| stdout.contains(line)), "{stdout}");
    let output = with_few(&["doctor", "r.toml", "--store", "/proc/store", "--json"]);
    assert_eq!(output.status.code(), Some(7));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["ok"], false);
    let finding =
        |name: &str| json["findings"].as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!((&finding("flex")["state"], &finding("bc")["state"]), (&"missing".into(), &"ok".into()));
    assert_eq!(finding("/proc/store")["state"], "missing");
    assert!(finding("flex")["remedy"].as_str().unwrap().contains("apt-get install"));
}

/// However far it is, the build and all that it started end, and nothing of it lies about.
#[test]
fn interrupted() {
    let bench = bench(&Archive::new(), "CONFIG_SLOW=y\n");
    for signal in ["-INT", "-TERM"] {
        let child = command(&bench, "kernel").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let sleeper = wait_for(|| {
            let staged = fs::read_dir(bench.path("store/.staging")).ok()?;
            let paths = staged.map(|entry| entry.unwrap().path().join("source/linux-source-9/sleeper"));
            let pid =
                paths.filter_map(|path| fs::read_to_string(path).ok()).find(|pid| pid.ends_with('\n'))?;
            Some(pid.trim().to_owned())
        });
        // It is not its own group's: the terminal would not have reached it either.
        assert!(is_running(&sleeper));
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(if signal == "-INT" { 130 } else { 143 }), "{stderr}");
        assert!(stderr.contains("error: interrupted\nhint: ") && !stderr.contains("failed"), "{stderr}");
        wait_for(|| (!is_running(&sleeper)).then_some(()));
        bench.store_is_sound();
    }
    fs::write(bench.path("my.config"), CONFIG).unwrap();
    built(&bench);
}

/// Whether there is a living process of this number: the dead have no command line.
fn is_running(pid: &str) -> bool {
    fs::read(PathBuf::from("/proc").join(pid).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// With all built in, the initramfs takes nothing of the kernel's package, which need not be there for it.
#[test]
fn an_initramfs_without_modules() {
    let mut bench = bench(&Archive::new(), CONFIG);
    bench.mirror.set("linux-source", Answer::Status(404));
    let output = command(&bench, "initramfs").output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let artifact = store::Artifact::open(bench.path(text(&output.stdout))).unwrap();
    assert_eq!(artifact.manifest().meta["packages"], serde_json::json!(["busybox-static 1"]));
    refused(&bench, 3, "r.lock: the mirror no longer has linux-source-9 1\nhint: ");
}

#[test]
fn a_kernel_that_is_there_already() {
    let bench = bench(&Archive::new(), CONFIG);
    let mut image = vec![7; 4096];
    image[56..60].copy_from_slice(b"ARM\x64");
    fs::write(bench.path("Image"), &image).unwrap();
    let hash = store::Hash::of(&image).to_string();
    let with = |hash: &str| {
        fs::write(bench.path("r.toml"), recipe(&format!("file = \"Image\"\nsha256 = \"{hash}\""))).unwrap();
    };
    with(&hash);
    let artifact = built(&bench);
    assert_eq!(fs::read(artifact.file("Image").unwrap()).unwrap(), image);
    let lock = fs::read_to_string(bench.path("r.lock")).unwrap();
    assert!(!lock.contains("linux-") && lock.contains("busybox-static"), "{lock}");
    assert_eq!(text(&build(&bench).stderr), "up to date");
    // It is the hash that counts: what is known needs the file no longer.
    fs::write(bench.path("Image"), "another").unwrap();
    assert_eq!(text(&build(&bench).stderr), "up to date");
    with(&store::Hash::of(b"").to_string());
    let other = store::Hash::of(b"another").to_string();
    let output = build(&bench);
    assert_eq!(output.status.code(), Some(4));
    let told = format!("hint: if this is the kernel that is meant, write sha256 = \"{other}\"");
    assert!(text(&output.stderr).contains(&told), "{}", text(&output.stderr));
    with(&other);
    refused(&bench, 5, "kernel: Image is no plain arm64 Image");
}
