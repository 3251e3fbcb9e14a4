//! Recipes that cannot be built, guests that cannot be brought to rest, builds that are killed, and a kernel without its
//! end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::programs::{built, copy_tree, link_tree, lock, run, runner, samovar, succeeded, workspace};

/// A directory with the recipe, its files, and a store that has all but the warm base.
fn almost_built() -> tempfile::TempDir {
    let (warm, dir) = (built(), tempfile::tempdir().unwrap());
    for part in ["recipes", "guest-rootfs"] {
        copy_tree(&workspace().join(part), &dir.path().join(part));
    }
    fs::copy(lock(), dir.path().join("recipes/hello.lock")).unwrap();
    for entry in fs::read_dir(warm.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() && entry.path() != warm && entry.file_name() != ".staging" {
            link_tree(&entry.path(), &dir.path().join("store").join(entry.file_name()));
        }
    }
    fs::remove_dir_all(dir.path().join("store/names")).unwrap();
    fs::create_dir(dir.path().join("kept")).unwrap();
    dir
}

/// Builds what cannot be captured: status 5, one line that says why, a hint, the guest's last words kept, and nothing
/// in the store.
fn not_captured(dir: &Path, why: &str) {
    let mut command = samovar();
    command.current_dir(dir).args(["build", "recipes/hello.toml", "--store", "store"]);
    let output = run(command.env("TMPDIR", dir.join("kept")));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{stderr}");
    assert_eq!(output.stdout, b"", "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let [.., error, hint] = lines[..] else { panic!("{stderr}") };
    assert!(error.starts_with("error: capture: ") && error.contains(why), "{stderr}");
    assert!(hint.starts_with("hint: "), "{stderr}");

    let kept: Vec<_> = fs::read_dir(dir.join("kept")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [evidence] = &kept[..] else { panic!("{kept:?}") };
    assert!(error.ends_with(evidence.to_str().unwrap()), "{stderr}");
    assert!(evidence.join("console.txt").is_file());
    let screen = crate::picture::Picture::read(&evidence.join("screen.png"));
    assert_eq!((screen.width, screen.height), (1280, 800));
    fs::remove_dir_all(evidence).unwrap();

    assert!(fs::read_dir(dir.join("store/names")).unwrap().next().is_none(), "nothing has the recipe's name");
    let staged: Vec<_> =
        fs::read_dir(dir.join("store/.staging")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(staged, ["gate"]);
}

/// In a store that has all the packages, so that nothing but the recipe is wrong.
#[test]
fn recipes_that_cannot_be_built_are_told_why() {
    let dir = almost_built();
    let recipe = dir.path().join("recipes/hello.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let line = |part: &str| text.lines().position(|line| line.contains(part)).unwrap() + 1;
    let at = |part: &str, column: usize| format!("hello.toml:{}:{column}: ", line(part));
    for (from, to, status, why) in [
        ("cpus = 2", "cpus = \"two\"", 2, at("cpus = 2", 8)),
        ("cpus = 2", "cpus = 99", 2, at("cpus = 2", 8)),
        ("\"256M\"", "\"256Q\"", 2, at("\"256M\"", 10)),
        ("[machine]", "[machine", 2, at("[machine]", 9)),
        ("[machine]", "[maschine]", 2, at("[machine]", 2)),
        ("\"evdev\"", "\"evdef\"", 5, "evdef".into()),
        ("initramfs/init", "initramfs/absent", 1, "initramfs/absent: No such file".into()),
        ("guest-rootfs/hello", "guest-rootfs/absent", 1, "guest-rootfs/absent: No such file".into()),
    ] {
        assert!(text.contains(from), "{from}");
        fs::write(&recipe, text.replace(from, to)).unwrap();
        let mut command = samovar();
        command.current_dir(dir.path()).args(["build", "recipes/hello.toml", "--store", "store"]);
        let output = run(&mut command);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert_eq!(output.stdout, b"", "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        let error = lines.iter().position(|line| line.starts_with("error: ")).unwrap();
        assert!(lines[error].contains(&why), "{why}: {stderr}");
        // A recipe's own faults are shown in its text.
        let expected = if status == 2 { 4 } else { 0 };
        assert_eq!(lines[error + 1..].len(), expected + 1, "{stderr}");
        assert!(lines[error + 1 + expected].starts_with("hint: "), "{stderr}");
    }
}

/// SIGKILL while the guest is being captured, which is most of a build's time.
#[test]
fn a_capture_that_was_killed_is_done_again() {
    let dir = almost_built();
    let build = || {
        let mut command = samovar();
        command.current_dir(dir.path()).args(["build", "recipes/hello.toml", "--store", "store"]);
        command
    };
    let mut killed = build().stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(killed.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "building warm base\n");
    std::thread::sleep(Duration::from_millis(500));
    assert!(killed.try_wait().unwrap().is_none(), "it ended before it could be killed");
    killed.kill().unwrap();
    killed.wait().unwrap();
    let staged = || fs::read_dir(dir.path().join("store/.staging")).unwrap().count();
    assert!(staged() > 1, "it left something half-written");

    let output = run(&mut build());
    succeeded(&output);
    let path = String::from_utf8(output.stdout).unwrap();
    assert_eq!(Path::new(path.trim()).file_name(), built().file_name());
    assert_eq!(staged(), 1, "only the gate is left");
}

#[test]
fn guests_that_never_come_to_rest_are_no_warm_base() {
    let dir = almost_built();
    let recipe = dir.path().join("recipes/hello.toml");
    let text = fs::read_to_string(&recipe).unwrap();
    let change = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&recipe, text.replace(from, to)).unwrap();
    };
    change("limit-seconds = 120", "limit-seconds = 1");
    not_captured(dir.path(), "after 1 s of the guest's time");
    change("console = \"samovar: ready\"", "console = \"never said\"");
    fs::write(&recipe, fs::read_to_string(&recipe).unwrap().replace("= 120", "= 4")).unwrap();
    not_captured(dir.path(), "after 4 s of the guest's time");

    fs::write(&recipe, &text).unwrap();
    let init = dir.path().join("guest-rootfs/hello/init");
    for (program, why) in [("exit 1", "panicked"), ("poweroff -f", "powered off"), ("reboot -f", "restarted")]
    {
        fs::write(&init, format!("#!/bin/sh\nPATH=/usr/bin\n{program}\n")).unwrap();
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).unwrap();
        not_captured(dir.path(), why);
    }
}

#[test]
fn a_kernel_that_was_cut_off_is_refused() {
    let base = store::Artifact::open(built()).unwrap();
    let whole = fs::read(base.need("kernel").unwrap().file("Image").unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("Image");
    // Debian's ends in a signature of less than 4096 bytes, which no section holds.
    for len in [whole.len() / 2, whole.len() - 4096] {
        fs::write(&kernel, &whole[..len]).unwrap();
        let output = run(runner().args(["boot", "--headless", "--kernel"]).arg(&kernel));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        let lines: Vec<&str> = stderr.lines().collect();
        let [error, hint] = lines[..] else { panic!("{stderr}") };
        assert!(error.starts_with("error: ") && error.contains(&format!("cut off: {len} bytes")), "{stderr}");
        assert!(hint.starts_with("hint: "), "{stderr}");
    }
}
