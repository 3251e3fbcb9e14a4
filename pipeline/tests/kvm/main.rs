//! A warm base goes to KVM and comes back: `hello`, captured by the soft engine here, is restored, used, reset and saved on
//! the real `/dev/kvm` of an emulated arm64 host, and what was saved there goes on on the soft engine here.
//!
//! ```text
//! cargo test -p samovar --test kvm -- --ignored --nocapture
//! ```
//!
//! The host is QEMU's `virt` machine with virtualisation of its own, and everything of it is interpreted: a run takes a
//! quiet machine of two cores some minutes, after the first, which builds the tests of `runner` for arm64 with their
//! standard library. Needs the mirror, as the end-to-end tests do, and Debian's package qemu-system-arm;
//! `.ci/cargo-linux-arm64` installs the compilers. `run.log` beside this file is what it once said.

#![cfg(target_os = "linux")]

#[path = "../end_to_end/picture.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod picture;
#[path = "../end_to_end/programs.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod programs;
#[path = "../../../runner/tests/common/tea.rs"]
mod tea;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use machine::memory::GuestMemory;
use runner::drive::{Drive, Scheduler};
use runner::engine::Choice;
use runner::entropy::HostEntropy;
use runner::live::{self, Live};
use runner::picture as pictures;
use runner::restore::{DISK_ROLE, wall_seconds};
use runner::session::Guest;
use runner::snapshot::{MEMORY_FILE, SCREEN_FILE, STATE_FILE, Snapshot};
use samovar::cpio;
use samovar::tree::{Attributes, Content, Kind, Tree};
use store::Artifact;

use picture::Picture;
use programs::{built, run, run_within, succeeded, tool, workspace};
use tea::type_tea;

/// Longer than building or emulating takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Shared objects of the cross compiler's C library that a Rust program asks for.
const LIBRARIES: [&str; 4] = ["ld-linux-aarch64.so.1", "libc.so.6", "libgcc_s.so.1", "libm.so.6"];

fn need(role: &str, file: &str) -> PathBuf {
    Artifact::open(built()).unwrap().need(role).unwrap().file(file).unwrap()
}

/// `runner`'s test `kvm` for arm64, without what a debugger wants.
fn cross_built(dir: &Path) -> PathBuf {
    let mut cargo = Command::new(workspace().join(".ci/cargo-linux-arm64"));
    cargo.args(["test", "-p", "runner", "--test", "kvm", "--locked", "--no-run", "--message-format=json"]);
    // This test's own cargo has said more than that one may know.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO") || name == "RUSTC") {
        if name != "CARGO_HOME" {
            cargo.env_remove(name);
        }
    }
    cargo.env_remove("RUSTUP_TOOLCHAIN");
    let output = run_within(&mut cargo, PATIENCE);
    succeeded(&output);
    let messages = String::from_utf8(output.stdout).unwrap();
    let mut executables = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    let built = executables.next_back().expect("a test's executable");
    let stripped = dir.join("kvm-test");
    succeeded(&run(tool("aarch64-linux-gnu-strip", "binutils-aarch64-linux-gnu")
        .arg("-o")
        .arg(&stripped)
        .arg(built)));
    stripped
}

/// The initramfs of the host: that of the guest, and over it what the host does. The base and its disk are there as they
/// are in a store, for unpacking a bundle would have every byte hashed, interpreted.
fn initramfs(dir: &Path) -> PathBuf {
    let mut tree = Tree::new();
    let mut add = |path: &str, mode, from: &Path| {
        let bytes = fs::read(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        let file = Kind::File(Content::Memory(bytes.into()));
        tree.add(path, Attributes::root(mode), file).unwrap();
    };
    let base = Artifact::open(built()).unwrap();
    for artifact in [base.need(DISK_ROLE).unwrap(), base] {
        let path = format!("store/{}", artifact.hash());
        for entry in fs::read_dir(artifact.dir()).unwrap() {
            let entry = entry.unwrap();
            add(&format!("{path}/{}", entry.file_name().to_str().unwrap()), 0o444, &entry.path());
        }
    }
    add("init", 0o755, &workspace().join("pipeline/tests/kvm/init"));
    add("kvm-test", 0o755, &cross_built(dir));
    for library in LIBRARIES {
        add(&format!("lib/{library}"), 0o755, &Path::new("/usr/aarch64-linux-gnu/lib").join(library));
    }
    let path = dir.join("host.cpio");
    fs::copy(need("initramfs", "initramfs.cpio"), &path).unwrap();
    // An artifact's file is read-only.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = File::options().append(true).open(&path).unwrap();
    // Archives begin at multiples of four bytes (Linux, Documentation/driver-api/early-userspace/buffer-format.rst).
    let position = file.metadata().unwrap().len() as usize;
    file.write_all(&[0; 3][..position.next_multiple_of(4) - position]).unwrap();
    cpio::write(&tree, &mut file).unwrap();
    path
}

/// Runs the host to its end. What it says goes to `log`, too, with the seconds since its start.
fn emulate(initramfs: &Path, disk: &Path, log: &Path) -> String {
    let mut qemu = tool("qemu-system-aarch64", "qemu-system-arm");
    qemu.args(["-M", "virt,virtualization=on,gic-version=3", "-accel", "tcg,thread=multi", "-smp", "2"]);
    // The counter of the machine, and no pointer authentication, which is slow to interpret and not the guest's.
    qemu.args(["-cpu", "max,pauth=off,sve=off,sme=off,cntfrq=24000000", "-m", "2048"]);
    qemu.args(["-nic", "none", "-display", "none", "-serial", "stdio", "-no-reboot", "-append"]);
    let base = built();
    let base = base.file_name().and_then(|name| name.to_str()).unwrap();
    // The kernel gives its first program what it does not know itself.
    qemu.arg(format!("console=ttyAMA0 nokaslr mitigations=off cryptomgr.notests=1 quiet BASE=/store/{base}"));
    qemu.arg("-kernel").arg(need("kernel", "Image")).arg("-initrd").arg(initramfs);
    qemu.arg("-drive").arg(format!("if=none,id=out,format=raw,file={}", disk.display()));
    qemu.args(["-device", "virtio-blk-device,drive=out"]);
    let mut child =
        qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let (lines, said) = mpsc::channel();
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
            let _ = lines.send(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    });
    let (start, mut log, mut all) = (Instant::now(), File::create(log).unwrap(), String::new());
    loop {
        match said.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) {
            Ok(line) => {
                let line = format!("{:7.1} {line}", start.elapsed().as_secs_f64());
                println!("{line}");
                writeln!(log, "{line}").unwrap();
                all.push_str(&line);
                all.push('\n');
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the emulated host did not end");
            }
        }
    }
    reader.join().unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    all
}

fn read_picture(live: &mut Live, dir: &Path) -> Picture {
    let path = dir.join("frame.png");
    pictures::save(&live.screen().unwrap(), &path).unwrap();
    Picture::read(&path)
}

#[test]
#[ignore = "emulates an arm64 host for some minutes"]
fn a_base_goes_to_kvm_and_comes_back() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kvm");
    let _ = fs::remove_dir_all(&dir);
    let out = dir.join("out");
    fs::create_dir_all(&out).unwrap();
    let disk = dir.join("disk");
    File::create(&disk).unwrap().set_len(512 << 20).unwrap();
    let said = emulate(&initramfs(&dir), &disk, &dir.join("run.log"));
    assert!(said.contains("host: the tests ended with 0") && said.contains("host: written"));
    assert!(said.contains("3 passed"));

    tar::Archive::new(File::open(&disk).unwrap()).unpack(&out).unwrap();
    let snapshot = Snapshot::read(&out.join(STATE_FILE)).unwrap();
    let image = File::open(out.join(MEMORY_FILE)).unwrap();
    let memory = GuestMemory::private_file(&image, snapshot.machine.memory).unwrap();
    let root = File::open(need("rootfs", "rootfs.ext4")).unwrap();
    let entropy = HostEntropy::new().unwrap();
    let device = Box::new(entropy.clone());
    let machine = live::machine(&snapshot.machine, memory, Some(root), wall_seconds(), device).unwrap();
    let drive = Drive::new(Scheduler::Threads, Choice::Soft, machine).unwrap();
    let mut live = Live::restored(drive, snapshot.state, Box::new(entropy)).unwrap();
    let typed = Picture::read(&out.join(SCREEN_FILE));
    assert!(read_picture(&mut live, &dir) == typed, "the screen has come with the guest");
    assert!(typed != Picture::read(&built().join(SCREEN_FILE)), "and is not the captured one");
    type_tea(&mut live);
    assert!(read_picture(&mut live, &dir) != typed, "it answers here, too");
    live.reset().unwrap();
    assert!(read_picture(&mut live, &dir) == typed);
}
