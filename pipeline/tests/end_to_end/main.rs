//! The real programs on real packages: `recipes/hello.toml` built from the host's Debian mirror, then restored, typed
//! into, reset, broken and shown in a window.
//!
//! Needs the mirror, and Debian's `cpio`, `docker-registry`, `e2fsprogs`, `gdb-multiarch`, `imagemagick`, `python3-yaml`,
//! `xdotool`, `xvfb` and `xz-utils`.

mod answers;
mod artifacts;
mod bundles;
mod closing;
mod codes;
mod contents;
mod damage;
mod debugger;
mod display;
mod failures;
mod images;
mod input;
mod kernel;
mod kills;
mod mounted;
mod picture;
mod places;
mod programs;
mod registry;
#[path = "../../share/tests/transfers/server.rs"]
#[allow(dead_code, reason = "the tests of the crate use all of it")]
mod server;
mod session;
mod sharing;
mod small;
mod window;
mod workflow;

use std::fs;
use std::path::{Path, PathBuf};

use ext4_view::Ext4;
use programs::{built, link_tree, lock, run, runner, samovar, succeeded, workspace};

#[test]
fn a_build_says_where_it_is_and_nothing_else_and_a_second_does_nothing() {
    let artifact = built();
    let mut command = samovar();
    command.current_dir(workspace()).args(["build", "recipes/hello.toml", "--locked", "--lock-file"]);
    let output = run(command.arg(lock()).arg("--store").arg(artifact.parent().unwrap()));
    succeeded(&output);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [artifact.to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("up to date") && !stderr.contains("building"), "{stderr}");
}

/// Two stores, two directories, two copies of the recipe, two users: the same artifact, the guest's memory included.
#[test]
fn two_builds_give_the_same_bytes() {
    let first = built();
    // Every byte of a package is checked against the lock, wherever it lay.
    let elsewhere = places::Elsewhere::new(&first.parent().unwrap().join("cache"));
    let copied = elsewhere.root().join("locked");
    fs::copy(lock(), &copied).unwrap();
    let mut command = elsewhere.samovar();
    command.args(["build", "recipes/hello.toml", "--locked", "--lock-file"]).arg(copied);
    let output = run(command.arg("--store").arg(elsewhere.store()));
    succeeded(&output);
    let second = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert_eq!(second.file_name(), first.file_name());
    let memory = |artifact: &Path| store::hash_file(&artifact.join("memory.img")).unwrap();
    assert_eq!(memory(&second), memory(&first));
    let dir = tempfile::tempdir().unwrap();
    let packed = |artifact: &Path, name: &str| {
        succeeded(&run(samovar().arg("pack").arg(artifact).arg("-o").arg(dir.path().join(name))));
        fs::read(dir.path().join(name)).unwrap()
    };
    assert!(packed(&first, "first") == packed(&second, "second"), "and so are the bundles");
}

#[test]
fn a_killed_build_and_two_at_once_leave_the_store_sound() {
    let first = built();
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    link_tree(&first.parent().unwrap().join("cache"), &store.join("cache"));
    let start = || {
        samovar()
            .current_dir(workspace())
            .args(["build", "recipes/hello.toml", "--locked", "--lock-file"])
            .arg(lock())
            .arg("--store")
            .arg(&store)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    // Dead in the middle: once the kernel is there, the rest is not.
    let mut killed = start();
    while !fs::read_dir(store.join("keys")).is_ok_and(|keys| keys.count() > 0) {
        assert!(killed.try_wait().unwrap().is_none(), "the build ended before it could be killed");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();

    let both = [start(), start()].map(|child| child.wait_with_output().unwrap());
    for output in both {
        assert!(output.status.success());
        let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        assert_eq!(path.file_name(), first.file_name());
        succeeded(&run(samovar().arg("verify").arg(&path)));
    }
    let left: Vec<_> =
        fs::read_dir(store.join(".staging")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["gate"], "something half-written is left");
}

/// What `samovar new` writes, built as it is and started from its warm base.
#[test]
fn a_new_recipe_builds() {
    let dir = tempfile::tempdir().unwrap();
    link_tree(&built().parent().unwrap().join("cache"), &dir.path().join("store/cache"));
    succeeded(&run(samovar().current_dir(dir.path()).args(["new", "mine"])));
    // It asks for the very packages that `hello` does.
    fs::copy(lock(), dir.path().join("mine.lock")).unwrap();
    let build = ["build", "mine.toml", "--locked", "--store", "store"];
    let output = run(samovar().current_dir(dir.path()).args(build));
    succeeded(&output);
    let artifact = dir.path().join(String::from_utf8(output.stdout).unwrap().trim());
    assert!(fs::read_to_string(artifact.join("console.txt")).unwrap().contains("mine: ready"));
    let screen = picture::Picture::read(&artifact.join("screen.png"));
    assert!(screen.colours() > 1, "there is a text on the screen");
    let picture = dir.path().join("restored.png");
    succeeded(&run(runner().arg("restore").arg(&artifact).args(["--headless", "--screenshot"]).arg(picture)));
}

#[test]
fn the_root_file_system_is_sound() {
    let warm = store::Artifact::open(built()).unwrap();
    let image = warm.need("rootfs").unwrap().file("rootfs.ext4").unwrap();
    let checked = run(programs::tool("e2fsck", "e2fsprogs").args(["-fn"]).arg(&image));
    succeeded(&checked);

    let tree = Ext4::load_from_path(&image).unwrap();
    let names: Vec<String> =
        tree.read_dir("/").unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
    for name in ["usr", "etc", "dev", "proc", "sys", "init"] {
        assert!(names.iter().any(|found| found == name), "{name} is missing in {names:?}");
    }
    assert_eq!(tree.read("/init").unwrap(), fs::read(workspace().join("guest-rootfs/hello/init")).unwrap());
    assert_eq!(tree.read("/usr/bin/busybox").unwrap()[..4], *b"\x7fELF");
}
