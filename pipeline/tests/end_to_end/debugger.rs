//! `runner boot --gdb` under Debian's gdb, from the kernel's first instruction to its end.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::display::{Running, wait_for};
use crate::programs::{built, run, runner, succeeded, tool};

/// A guest that waits for its debugger, in a directory of its own.
struct Session {
    runner: Running,
    dir: tempfile::TempDir,
    image: Vec<u8>,
    ready: String,
}

impl Session {
    fn start() -> Session {
        let base = store::Artifact::open(built()).unwrap();
        let meta = &base.manifest().meta;
        let file = |role: &str, name: &str| base.need(role).unwrap().file(name).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (kernel, log) = (file("kernel", "Image"), fs::File::create(dir.path().join("log")).unwrap());
        let mut command = runner();
        command.current_dir(dir.path());
        command.args(["boot", "--headless", "--cpus", "2", "--gdb", "./gdb", "--console", "console"]);
        command.arg("--kernel").arg(&kernel).arg("--initrd").arg(file("initramfs", "initramfs.cpio"));
        command.arg("--disk").arg(file("rootfs", "rootfs.ext4"));
        command.args(["--append", meta["command-line"].as_str().unwrap()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let ready = meta["ready"]["console"].as_str().unwrap().to_owned();
        let session = Session { runner: Running(child), dir, image: fs::read(kernel).unwrap(), ready };
        wait_for("a word of where to connect", || {
            session.read("log").contains("target remote ./gdb").then_some(())
        });
        session
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read(self.path(name))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// gdb, connected, with `commands` to obey.
    fn gdb(&self, commands: &[&str]) -> Command {
        let mut gdb = tool("gdb-multiarch", "gdb-multiarch");
        gdb.current_dir(self.dir.path()).args(["-nx", "-q", "-batch"]);
        for command in ["set pagination off", "set confirm off", "target remote ./gdb"].iter().chain(commands)
        {
            gdb.args(["-ex", command]);
        }
        gdb
    }

    /// What gdb says to `commands`, its complaints included.
    fn told(&self, commands: &[&str]) -> String {
        // Its status is that of its last command.
        let output = run(self.gdb(commands).args(["-ex", "echo bye\n"]));
        succeeded(&output);
        let all = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&all).into_owned()
    }

    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.image[at..at + 4].try_into().unwrap())
    }
}

/// The numbers in lines such as `name=0x1f`.
fn numbers(told: &str) -> BTreeMap<&str, u64> {
    let number = |line: &'_ str| -> Option<(usize, u64)> {
        let (name, value) = line.split_once("=0x")?;
        Some((name.len(), u64::from_str_radix(value, 16).ok()?))
    };
    told.lines().filter_map(|line| number(line).map(|(len, value)| (&line[..len], value))).collect()
}

/// Asks for the value of `expression` under `name`.
fn show(name: &str, expression: &str) -> String {
    format!("printf \"{name}=0x%lx\\n\", (unsigned long)({expression})")
}

#[test]
fn a_kernel_is_debugged_from_its_first_instruction_to_its_end() {
    let mut session = Session::start();
    assert_eq!(session.read("console"), "", "it has not run");

    // The Image's header is two instructions, the second of them B (Documentation/arch/arm64/booting.rst; Arm ARM
    // C6.2.26), and the MMU is off.
    let branch = session.word(4);
    assert_eq!(branch >> 26, 0b00_0101);
    let told = session.told(&[
        &show("start", "$pc"),
        &show("first", "*(unsigned int *)$pc"),
        "info threads",
        "stepi",
        &show("second", "$pc"),
        "stepi",
        &show("third", "$pc"),
        // The code there calls a function that returns.
        "stepi",
        "tbreak *$lr",
        "continue",
        &show("returned", "$pc - $lr"),
        "monitor phys 0x40000000 8",
        "x/wx 0x09000000",
        "x/wx 0x123456789000",
        "set $ELR_EL1 = 1",
    ]);
    let at = numbers(&told);
    assert_eq!(at["first"], u64::from(session.word(0)), "{told}");
    assert_eq!(at["second"], at["start"] + 4, "{told}");
    let offset = i64::from((branch << 6) as i32 >> 6) * 4;
    assert_eq!(at["third"], at["second"].wrapping_add_signed(offset), "{told}");
    assert_eq!(at["returned"], 0, "{told}");
    let bytes: Vec<String> = session.image[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(told.contains(&format!("0x40000000: {}", bytes.join(" "))), "{told}");
    for said in [
        "(vCPU 0 runs at EL1)",
        "(vCPU 1 off)",
        "Cannot access memory at address 0x9000000",
        "Cannot access memory at address 0x123456789000",
        "Could not write register \"ELR_EL1\"",
    ] {
        assert!(told.contains(said), "{said}: {told}");
    }

    // Leaving detaches: the guest went on by itself. Ctrl-C, once it has both vCPUs and its user space.
    let ready = session.ready.clone();
    wait_for("the guest's readiness", || session.read("console").contains(&ready).then_some(()));
    let stopped = interrupted(&session);
    assert!(stopped.contains("received signal SIGINT"), "{stopped}");

    // An interrupt of the kernel (vector 0x280) or of a program (0x480), at whichever vCPU (Arm ARM D1.3.1.5).
    let told = session.told(&[
        &show("vbar", "$VBAR_EL1"),
        "hbreak *($VBAR_EL1 + 0x280)",
        "continue",
        "info threads",
        &show("vector", "$pc - $VBAR_EL1"),
        &show("masked", "$cpsr & 0x3c0"),
        &show("before", "$sp"),
        "stepi",
        &show("after", "$sp"),
        &show("next", "$pc - $VBAR_EL1"),
        // ADD SP, SP, X0, with another X0 than the guest's, and undone.
        "x/i $pc",
        "set $old = $x0",
        "set $x0 = 0x40",
        "stepi",
        &show("added", "$sp"),
        "set $x0 = $old",
        "set $sp = $sp - 0x40",
        "set $pc = $pc - 4",
        "set var *(long *)($sp - 64) = 0x1122334455667788",
        &show("byte", "*(unsigned char *)($sp - 57)"),
        "continue",
        &show("again", "$pc - $VBAR_EL1"),
        "delete",
        "monitor info",
        "detach",
    ]);
    let at = numbers(&told);
    assert_eq!(at.len(), 9, "{told}");
    assert_eq!(at["vbar"] & 0xffff_0000_0000_07ff, 0xffff_0000_0000_0000, "a kernel's: {told}");
    assert_eq!((at["vector"], at["next"], at["again"]), (0x280, 0x284, 0x280), "{told}");
    assert_eq!(at["masked"], 0x3c0, "D, A, I and F: {told}");
    assert!(told.contains("add\tsp, sp, x0"), "{told}");
    assert!(at["after"] < at["before"] && at["added"] == at["after"] + 0x40, "{told}");
    assert_eq!(at["byte"], 0x11, "{told}");
    assert!(told.contains("vCPU 1 ") && !told.contains("vCPU 1 off"), "{told}");

    // And it is none the worse for it, to its end.
    let told = session.told(&["kill"]);
    assert!(told.contains("killed") && !told.contains("closed"), "{told}");
    let status = wait_for("the end of the session", || session.runner.0.try_wait().unwrap());
    let log = session.read("log");
    assert!(status.success(), "{status}: {log}");
    assert!(!session.read("console").contains("Oops") && !log.contains("warning"), "{log}");
    assert!(!session.path("gdb").exists(), "the socket is gone");
}

/// What a gdb says that is interrupted while the guest runs, and leaves. A second debugger is turned away meanwhile.
fn interrupted(session: &Session) -> String {
    let mut gdb = session.gdb(&["shell touch here", "continue", "detach"]);
    let gdb = gdb.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut gdb = Running(gdb.spawn().unwrap());
    wait_for("gdb", || session.path("here").exists().then_some(()));
    assert_eq!(UnixStream::connect(session.path("gdb")).unwrap().read(&mut [0]).unwrap(), 0);
    // gdb takes a SIGINT for its own until it waits for the guest, and lives.
    std::thread::sleep(std::time::Duration::from_secs(1));
    succeeded(&run(Command::new("kill").args(["-INT", &gdb.0.id().to_string()])));
    wait_for("the end of gdb", || gdb.0.try_wait().unwrap());
    let mut said = String::new();
    gdb.0.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    said
}

#[test]
fn an_address_that_cannot_be_had_is_told() {
    let base = store::Artifact::open(built()).unwrap();
    let kernel = base.need("kernel").unwrap().file("Image").unwrap();
    let refused = |address: &str, status: i32, why: &str| {
        let output = run(runner().args(["boot", "--headless", "--gdb", address, "--kernel"]).arg(&kernel));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(why), "{stderr}");
    };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(&taken.local_addr().unwrap().to_string(), 6, "can't listen for gdb at 127.0.0.1:");
    refused(Path::new("/nowhere/gdb").to_str().unwrap(), 6, "can't listen for gdb at /nowhere/gdb");
    refused("gdb", 2, "neither HOST:PORT");
}
