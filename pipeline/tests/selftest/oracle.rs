//! What the same programs print on another machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::guest::{Guest, Size, own_lines};
use crate::patience;
use crate::programs::{run, run_within, succeeded, tool, workspace};

/// The guest's files, out of its root file system.
fn root(guest: &Guest) -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("selftest-root");
        if root.exists() {
            fs::remove_dir_all(&root).unwrap();
        }
        fs::create_dir(&root).unwrap();
        let mut debugfs = tool("debugfs", "e2fsprogs");
        debugfs.arg("-R").arg(format!("rdump / {}", root.display())).arg(&guest.rootfs);
        succeeded(&run_within(&mut debugfs, patience()));
        assert!(root.join("selftest/gcc").exists(), "debugfs copied nothing");
        root
    })
}

/// A program of the guest under QEMU's user-mode emulator.
fn emulated(guest: &Guest, program: &str) -> Command {
    let root = root(guest);
    let mut command = tool("qemu-aarch64-static", "qemu-user-static");
    command.arg("-L").arg(root).arg(root.join(program));
    command
}

fn output(command: &mut Command) -> String {
    let output = run_within(command, patience());
    succeeded(&output);
    String::from_utf8(output.stdout).unwrap()
}

/// What `test`, at its quick size, should print.
pub fn expected(test: &str, guest: &Guest) -> Vec<String> {
    let scripts = workspace().join("guest-rootfs/selftest/selftest");
    let dir = tempfile::tempdir().unwrap();
    let prefixed = |text: String| text.lines().map(|line| format!("{test}: {line}")).collect();
    match test {
        // The host's own compiler and processor.
        "gcc" => {
            let program = dir.path().join("program");
            let mut gcc = tool("gcc", "gcc");
            gcc.args(["-O1", "-pthread", "-o"]).arg(&program).arg(scripts.join("program.c")).arg("-lm");
            succeeded(&run(&mut gcc));
            let lines: Vec<String> = prefixed(output(&mut Command::new(program)));
            // Once for each level of optimisation.
            [lines.clone(), lines].concat()
        }
        "openssl" => {
            assert!(tool("openssl", "openssl").arg("version").status().unwrap().success());
            let mut bash = tool("bash", "bash");
            own_lines(&output(bash.arg(scripts.join("openssl-lines")).arg("quick")), test)
        }
        "sqlite" => {
            let script = fs::read_to_string(scripts.join("sqlite.sql")).unwrap().replace("@ROWS@", "3000");
            let path = dir.path().join("script.sql");
            fs::write(&path, script).unwrap();
            let mut sqlite = emulated(guest, "usr/bin/sqlite3");
            let read = format!(".read {}", path.display());
            prefixed(output(sqlite.current_dir(dir.path()).args(["test.db", &read])))
        }
        "node" => prefixed(output(emulated(guest, "usr/bin/node").arg(scripts.join("jit.js")).arg("quick"))),
        _ => panic!("{test} has no oracle"),
    }
}

/// What the script of `test`, at its full size, prints under QEMU, with all that it starts.
pub fn in_chroot(test: &str, guest: &Guest) -> Vec<String> {
    let root = root(guest);
    register_emulator();
    for directory in ["tmp/work", "dev"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    // A namespace of its own, so that the mounts go with it.
    let script = format!(
        "mount --rbind /dev '{root}/dev' && mount -t proc proc '{root}/proc' && \
         exec chroot '{root}' /usr/bin/env -i PATH=/usr/bin:/usr/sbin HOME=/root TERM=linux LC_ALL=C.UTF-8 TZ=UTC \
         size={size} bash -c 'cd /tmp/work && exec bash /selftest/{test}'",
        root = root.display(),
        size = Size::Full,
    );
    let mut command = tool("unshare", "util-linux");
    command.args(["--mount", "--pid", "--fork", "bash", "-c", &script]);
    let output = run_within(&mut command, patience());
    own_lines(&String::from_utf8_lossy(&output.stdout), test)
}

/// Has the host's kernel start programs of arm64 with QEMU (Linux Documentation/admin-guide/binfmt-misc.rst).
fn register_emulator() {
    let place = Path::new("/proc/sys/fs/binfmt_misc");
    if place.join("qemu-aarch64").exists() {
        return;
    }
    // An ELF file of 64 bits, little-endian, executable or shared, for machine 183.
    let magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
    let mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";
    let line = format!(":qemu-aarch64:M::{magic}:{mask}:/usr/bin/qemu-aarch64-static:F");
    fs::write(place.join("register"), line)
        .unwrap_or_else(|error| panic!("{}: {error}: run this as root", place.join("register").display()));
}
