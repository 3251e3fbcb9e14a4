//! A kernel from Debian's source, with the project's own configuration.

use std::fs;
use std::time::Duration;

use super::picture::Picture;
use super::programs::{built, copy_tree, run_within, samovar, succeeded, workspace};

/// Longer than two compilations take on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3 * 3600);

/// `hello` on such a kernel, in two directories: the same bytes, and it starts.
///
/// `cargo test -p samovar --test end_to_end -- --ignored kernel`; `samovar doctor` says what it takes.
#[test]
#[ignore = "compiles Linux twice, which takes many minutes"]
fn the_same_kernel_from_two_directories_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut artifacts = Vec::new();
    for (place, until) in [("one", "warm-base"), ("another", "kernel")] {
        let root = dir.path().join(place);
        for part in ["recipes", "guest-rootfs", "kernel-config"] {
            copy_tree(&workspace().join(part), &root.join(part));
        }
        copy_tree(&built().parent().unwrap().join("cache"), &root.join("store/cache"));
        let kernel = "source = \"linux-source-6.12\"\nconfig = \"../kernel-config/microvm.config\"\n";
        let recipe = format!("extends = \"hello.toml\"\nname = \"own\"\n\n[kernel]\n{kernel}");
        fs::write(root.join("recipes/own.toml"), recipe).unwrap();
        let mut command = samovar();
        command.current_dir(&root).args(["build", "recipes/own.toml", "--store", "store", "--until", until]);
        let output = run_within(command.args(["--lock-file"]).arg(dir.path().join("own.lock")), PATIENCE);
        succeeded(&output);
        let path = root.join(String::from_utf8(output.stdout).unwrap().trim());
        artifacts.push(store::Artifact::open(path).unwrap());
    }
    let [warm, second] = &artifacts[..] else { unreachable!() };
    let first = warm.need("kernel").unwrap();
    assert_eq!(first.hash(), second.hash());
    assert!(fs::read_to_string(warm.file("console.txt").unwrap()).unwrap().contains("samovar: ready"));
    assert!(Picture::read(&warm.file("screen.png").unwrap()).colours() > 1, "there is a page on the screen");
}
