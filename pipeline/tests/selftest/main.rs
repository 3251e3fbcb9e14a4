//! Debian's own programs on the machine: `recipes/selftest.toml`, booted on both schedulers, and what its programs
//! print compared with the same programs under `qemu-aarch64-static`, or their like on the host's own processor. And the
//! kernel's own tests, `recipes/kerneltest.toml`, which know what they expect.
//!
//! A part runs always. `SAMOVAR_SELFTEST=full` runs everything at its full size, which takes an hour or more, as root
//! and with `binfmt_misc`: the very scripts then run under QEMU too, in a chroot.
//!
//! Needs the mirror, and Debian's `e2fsprogs`, `gcc`, `openssl` and `qemu-user-static`.

mod guest;
mod oracle;
#[path = "../end_to_end/programs.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod programs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use guest::{Guest, Size};
use programs::{copy_tree, run_within, samovar, succeeded, workspace};

/// The schedulers that everything is run on at its full size. A warm base is captured in lockstep, which the quick size
/// sees that way.
const SCHEDULERS: [&str; 2] = ["threads", "lockstep"];

/// The schedulers of this run.
fn schedulers() -> &'static [&'static str] {
    if size() == Size::Full { &SCHEDULERS } else { &["threads"] }
}

/// How much is to be run.
fn size() -> Size {
    match std::env::var("SAMOVAR_SELFTEST").as_deref() {
        Ok("full") => Size::Full,
        Ok(other) => panic!("SAMOVAR_SELFTEST={other}: only `full` is known"),
        Err(_) => Size::Quick,
    }
}

#[test]
fn what_programs_compute_is_what_other_machines_compute() {
    let guest = Guest::built();
    let run = guest.run("threads", &["gcc", "sqlite", "openssl", "node"], size());
    for test in ["gcc", "sqlite", "openssl", "node"] {
        let expected = match size() {
            Size::Quick => oracle::expected(test, guest),
            Size::Full => oracle::in_chroot(test, guest),
        };
        let got = run.output(test);
        assert!(run.passed(test), "{test}: {}", got.join("\n"));
        assert!(expected.len() > 5, "the oracle said too little about {test}: {expected:?}");
        for (number, pair) in got.iter().zip(&expected).enumerate() {
            assert_eq!(pair.0, pair.1, "{test}, line {}", number + 1);
        }
        assert_eq!(got.len(), expected.len(), "{test}");
    }
}

#[test]
fn python_passes_its_own_tests() {
    let guest = Guest::built();
    let run = guest.run("threads", &["python"], size());
    let got = run.output("python");
    assert!(run.passed("python"), "{}", got.join("\n"));
    assert!(got.len() >= 3 && got.iter().all(|line| line.contains("status 0: ")), "{}", got.join("\n"));
    if size() == Size::Full {
        assert_eq!(got, oracle::in_chroot("python", guest));
    }
}

#[test]
fn stress_finds_nothing() {
    let guest = Guest::built();
    for scheduler in schedulers() {
        let run = guest.run(scheduler, &["stress"], size());
        let got = run.output("stress");
        assert!(run.passed("stress"), "{scheduler}: {}", got.join("\n"));
        assert!(got.len() >= 9 && got.iter().all(|line| line.ends_with(" passed")), "{}", got.join("\n"));
    }
}

/// What Linux has in instructions of their own: AES and PMULL, SHA-1 and SHA-256, and vectors.
const CRYPTO_DRIVERS: [&str; 12] = [
    "aes-ce",
    "gcm-aes-ce",
    "ccm-aes-ce",
    "xts-aes-ce",
    "xts-aes-neonbs",
    "polyval-ce",
    "crct10dif-arm64-ce",
    "sha1-ce",
    "sha256-ce",
    "sha512-arm64",
    "chacha20-neon",
    "poly1305-neon",
];

/// Linux compiles BPF programs to A64 and runs them, patches jump labels, and compares ciphers and hashes with published
/// vectors, on both vCPUs at once as they come.
#[test]
fn the_kernel_passes_its_own_tests() {
    let guest = Guest::of_kernel_tests();
    for scheduler in schedulers() {
        let run = guest.boot(scheduler, "samovar.label=kerneltest samovar.overlay=16M kerneltest.off");
        let got = run.output("kerneltest");
        let all = got.join("\n");
        assert!(got.contains(&"kerneltest: static keys passed".to_owned()), "{scheduler}: {all}");
        let bpf: Vec<_> = got.iter().filter_map(|line| line.strip_prefix("kerneltest: bpf ")).collect();
        assert!(!bpf.is_empty(), "{scheduler}: {all}");
        for summary in bpf {
            // "1053 PASSED, 0 FAILED, [1041/1041 JIT'ed]"
            let (passed, rest) = summary.split_once(" PASSED, ").unwrap_or_else(|| panic!("{summary}"));
            assert!(
                passed.parse::<u32>().unwrap() > 0 && rest.starts_with("0 FAILED"),
                "{scheduler}: {summary}"
            );
        }
        let crypto: Vec<_> = got.iter().filter_map(|line| line.strip_prefix("kerneltest: crypto ")).collect();
        for driver in CRYPTO_DRIVERS {
            assert!(crypto.contains(&&*format!("{driver} passed")), "{scheduler}, {driver}: {all}");
        }
        assert!(crypto.iter().all(|line| line.ends_with(" passed")), "{scheduler}: {all}");
    }
}

/// Debian's gdb in the guest: Linux steps and watches a program with the processor's own means. What it sees follows from
/// the program, `debugged.c`, and from what `debugged.gdb` asks for.
#[test]
fn a_debugger_inside_sees_every_step_and_every_access() {
    let guest = Guest::built();
    for scheduler in schedulers() {
        let run = guest.run(scheduler, &["gdb"], size());
        let got = run.output("gdb");
        assert!(run.passed("gdb"), "{scheduler}: {}", got.join("\n"));
        assert_eq!(got, DEBUGGED, "{scheduler}");
    }
}

/// Each watchpoint is named when it is set and when it is hit. Sums of squares: 14 up to 3, 55 up to 5.
const DEBUGGED: [&str; 25] = [
    "gdb: break in main, count 0",
    "gdb: stepi until count is 14, total 0",
    "gdb: next over total, which is 55",
    "gdb: hardware breakpoint 2",
    "gdb: hbreak in square of 6, squares 25 0",
    "gdb: finish gives 36",
    "gdb: hardware watchpoint 3: text[3]",
    "gdb: hardware watchpoint 3: text[3]",
    "gdb: watch sees o",
    "gdb: in the C library",
    "gdb: hardware watchpoint 4: pair.first",
    "gdb: hardware read watchpoint 5: squares[3]",
    "gdb: hardware access (read/write) watchpoint 6: pair.second",
    "gdb: hardware watchpoint 4: pair.first",
    "gdb: watch sees first 56, second 0",
    "gdb: hardware access (read/write) watchpoint 6: pair.second",
    "gdb: awatch sees second 112",
    "gdb: hardware read watchpoint 5: squares[3]",
    "gdb: rwatch sees a square of 9, total 55",
    "gdb: hardware watchpoint 7: total",
    "gdb: hardware watchpoint 7: total",
    "gdb: watch sees total 65",
    "gdb: hardware access (read/write) watchpoint 6: pair.second",
    "gdb: awatch sees second 112 again",
    "gdb: the program says 14 65 samovar 112",
];

/// The tests run before the capture, in lockstep; memory, registers and console are then the same in two places.
#[test]
fn two_captures_after_the_tests_have_the_same_bytes() {
    let packages = Guest::built().store.join("cache");
    let dir = tempfile::tempdir().unwrap();
    let capture = |place: &str| -> PathBuf {
        let root = dir.path().join(place);
        for part in ["recipes", "guest-rootfs"] {
            copy_tree(&workspace().join(part), &root.join(part));
        }
        fs::copy(&Guest::built().lock, root.join("recipes/selftest.lock")).unwrap();
        if size() == Size::Quick {
            let recipe = root.join("recipes/selftest.toml");
            let text = fs::read_to_string(&recipe).unwrap();
            let all = "samovar.tests=gcc,gdb,sqlite,openssl,node,python,stress,hold";
            assert!(text.contains(all));
            fs::write(&recipe, text.replace(all, "samovar.tests=sqlite,hold")).unwrap();
        }
        copy_tree(&packages, &root.join("store/cache"));
        let mut command = samovar();
        command.current_dir(&root).args(["build", "recipes/selftest.toml", "--store", "store"]);
        let output = run_within(&mut command, patience());
        succeeded(&output);
        root.join(String::from_utf8(output.stdout).unwrap().trim())
    };
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| capture("one"));
        (capture("the other"), one.join().unwrap())
    });
    let console = |artifact: &Path| fs::read_to_string(artifact.join("console.txt")).unwrap();
    assert!(console(&one).contains("selftest: passed sqlite"), "{}", console(&one));
    assert!(!console(&one).contains("selftest: failed"), "{}", console(&one));
    assert_eq!(console(&one), console(&other));
    let memory = |artifact: &Path| store::hash_file(&artifact.join("memory.img")).unwrap();
    assert_eq!(memory(&one), memory(&other));
    assert_eq!(one.file_name(), other.file_name());
}

/// Longer than a run takes on a slow machine.
fn patience() -> Duration {
    match size() {
        Size::Quick => Duration::from_secs(900),
        Size::Full => Duration::from_secs(4 * 3600),
    }
}
