//! The programs under test, and the artifact that the tests share.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Longer than any step takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// The workspace's root.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The builder.
pub fn samovar() -> Command {
    Command::new(env!("CARGO_BIN_EXE_samovar"))
}

/// The runner, which is built beside the builder; `cargo test -p samovar` alone does not build it.
pub fn runner() -> Command {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    let path = RUNNER.get_or_init(|| {
        let directory = Path::new(env!("CARGO_BIN_EXE_samovar")).parent().unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(workspace()).args(["build", "--quiet", "--bin", "runner", "--target-dir"]);
        cargo.arg(directory.parent().unwrap());
        if directory.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success(), "the runner can't be built");
        directory.join("runner")
    });
    Command::new(path)
}

/// A program of the host that is part of Debian's package `package`.
pub fn tool(name: &str, package: &str) -> Command {
    let found = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(|dir| Path::new(dir).join(name));
    match found.into_iter().find(|path| path.exists()) {
        Some(path) => Command::new(path),
        None => panic!("{name} is missing: install Debian's package {package}"),
    }
}

/// Runs a program to its end, which must come in time.
pub fn run(command: &mut Command) -> Output {
    run_within(command, PATIENCE)
}

/// Runs a program to its end, which must come within `patience`.
pub fn run_within(command: &mut Command, patience: Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (id, started) = (child.id(), Instant::now());
    let waiter = std::thread::spawn(move || child.wait_with_output().unwrap());
    while !waiter.is_finished() {
        if started.elapsed() > patience {
            let _ = Command::new("kill").args(["-KILL", &id.to_string()]).status();
            panic!("{command:?} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    waiter.join().unwrap()
}

/// Checks that a program ended well.
pub fn succeeded(output: &Output) {
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The hello artifact, built once from nothing but packages that were fetched before.
pub fn built() -> PathBuf {
    hello().0.clone()
}

/// The lock that [`built`] was built with.
pub fn lock() -> &'static Path {
    &hello().1
}

fn hello() -> &'static (PathBuf, PathBuf) {
    static BUILT: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    BUILT.get_or_init(|| {
        let here = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (store, packages) = (here.join("store"), here.join("packages"));
        // A store of an earlier run may be of another build of the engine.
        if store.exists() {
            fs::remove_dir_all(&store).unwrap();
        }
        if packages.exists() {
            link_tree(&packages, &store.join("cache"));
        }
        let lock = usable_lock("recipes/hello.toml", &store, PATIENCE);
        let mut command = samovar();
        command.current_dir(workspace()).args(["build", "recipes/hello.toml", "--locked", "--lock-file"]);
        let build = run(command.arg(&lock).arg("--store").arg(&store));
        succeeded(&build);
        link_tree(&store.join("cache"), &packages);
        let stdout = String::from_utf8(build.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 1, "{stdout:?}");
        (PathBuf::from(stdout.trim()), lock)
    })
}

/// The lock of one of the project's recipes, once all its packages are in the store. On the day that Debian publishes an
/// update, when a locked version is gone, it is a new lock in a temporary file instead.
pub fn usable_lock(recipe: &str, store: &Path, patience: Duration) -> PathBuf {
    let own = workspace().join(recipe).with_extension("lock");
    for step in ["kernel", "initramfs", "rootfs"] {
        let mut command = samovar();
        command.current_dir(workspace()).args(["build", recipe, "--until", step, "--locked", "--lock-file"]);
        let output = run_within(command.arg(&own).arg("--store").arg(store), patience);
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(3) && stderr.contains("the mirror no longer has") {
            let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(own.file_name().unwrap());
            eprintln!("{stderr}the tests go on with a lock of their own: {}", path.display());
            let mut command = samovar();
            command.current_dir(workspace()).args(["lock", recipe, "--update", "--lock-file"]);
            succeeded(&run_within(command.arg(&path).arg("--store").arg(store), patience));
            return path;
        }
        succeeded(&output);
    }
    own
}

/// Copies files and directories, and nothing else.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&source, &target);
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

/// As [`copy_tree`], but with hard links where that can be: for what is only read, or replaced and not written to, as
/// everything in a store is. Manifests are copied, since whoever uses an artifact locks its manifest wherever it is linked
/// to. What is there already stays.
pub fn link_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            link_tree(&source, &target);
        } else if !target.exists()
            && (entry.file_name() == "manifest.json" || fs::hard_link(&source, &target).is_err())
        {
            fs::copy(&source, &target).unwrap();
        }
    }
}
