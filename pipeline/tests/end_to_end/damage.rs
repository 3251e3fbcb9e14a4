//! Artifacts that are not what they were.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::programs::{built, run, runner};

/// A copy of the hello artifact's small files beside what it needs, whose memory image is a link.
struct Copy {
    _dir: tempfile::TempDir,
    artifact: PathBuf,
}

fn copy() -> Copy {
    let (original, dir) = (built(), tempfile::tempdir().unwrap());
    for entry in fs::read_dir(original.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        // Artifacts are the directories that are named by a hash.
        if entry.file_name().len() == 64 && entry.path() != original {
            std::os::unix::fs::symlink(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    let artifact = dir.path().join(original.file_name().unwrap());
    fs::create_dir(&artifact).unwrap();
    for name in ["manifest.json", "state.json", "console.txt", "screen.png"] {
        fs::copy(original.join(name), artifact.join(name)).unwrap();
        fs::set_permissions(artifact.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    fs::hard_link(original.join("memory.img"), artifact.join("memory.img")).unwrap();
    Copy { _dir: dir, artifact }
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// The runner refuses with status 3, one line that says why, and a hint.
fn refused(artifact: &Path, why: &str) {
    let output = run(runner().arg("restore").arg(artifact).args(["--screenshot", "/dev/null"]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let lines: Vec<&str> = stderr.lines().collect();
    let [error, hint] = lines[..] else { panic!("{stderr}") };
    assert!(error.starts_with("error: ") && error.contains(why), "{stderr}");
    assert!(hint.starts_with("hint: "), "{stderr}");
}

#[test]
fn damaged_artifacts_are_refused() {
    let whole = copy();
    let output = run(runner()
        .arg("restore")
        .arg(&whole.artifact)
        .arg("--screenshot")
        .arg(whole.artifact.with_extension("png")));
    assert!(output.status.success(), "the copy itself is good: {}", String::from_utf8_lossy(&output.stderr));

    for name in ["manifest.json", "state.json"] {
        let copy = copy();
        flip(&copy.artifact.join(name));
        refused(&copy.artifact, name);
    }
    for (name, why) in
        [("state.json", "state.json"), ("memory.img", "memory.img"), ("manifest.json", "no artifact here")]
    {
        let copy = copy();
        fs::remove_file(copy.artifact.join(name)).unwrap();
        refused(&copy.artifact, why);
    }
    let short = copy();
    fs::remove_file(short.artifact.join("memory.img")).unwrap();
    fs::write(short.artifact.join("memory.img"), [0; 4096]).unwrap();
    refused(&short.artifact, "memory.img");

    let alone = copy();
    let rootfs = store::Artifact::open(&alone.artifact).unwrap().need("rootfs").unwrap().hash().to_string();
    fs::remove_file(alone.artifact.parent().unwrap().join(&rootfs)).unwrap();
    refused(&alone.artifact, &rootfs);

    refused(&alone.artifact.join("nowhere"), "nowhere");
}
