//! A guest's whole life: captured twice, restored, used, reset, discarded.
//!
//! `SAMOVAR_TEST_GUEST` names a directory with an arm64 kernel `Image` and an
//! `initrd.cpio` that says `guest: ready` on the serial console, paints the
//! screen, and then offers a shell on the console.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use runner::{
    MachineSpec,
    capture::{CaptureError, CaptureSpec, CaptureSummary, Ready, capture},
    player::play,
    report::Stopwatch,
    restore::{Restored, restore},
    script,
    session::{Command, End, Handle},
};
use store::{Kind, Store};

fn guest(file: &str) -> PathBuf {
    let dir = env::var_os("SAMOVAR_TEST_GUEST").expect("SAMOVAR_TEST_GUEST names the guest's directory");
    Path::new(&dir).join(file)
}

fn spec(out_dir: &Path) -> CaptureSpec {
    CaptureSpec {
        kernel: guest("Image"),
        initrd: Some(guest("initrd.cpio")),
        disk: None,
        // The text console's cursor blinks, so a screen that shows it is never still.
        command_line: "console=ttyAMA0 nokaslr mitigations=off cryptomgr.notests=1 \
                       vt.global_cursor_default=0"
            .into(),
        machine: MachineSpec { cpus: 2, memory: 256 << 20, width: 640, height: 480 },
        ready: Ready::Console("guest: ready".into()),
        limit_seconds: 60,
        out_dir: out_dir.to_owned(),
    }
}

fn captured(out_dir: &Path) -> CaptureSummary {
    let (mut calls, mut lines) = (0, Vec::new());
    let summary = capture(&spec(out_dir), &mut |progress| {
        calls += 1;
        lines.extend(progress.console_line);
    })
    .unwrap();
    assert!(calls > 100 && lines.iter().any(|line| line.contains("Linux version")), "{calls} {lines:?}");
    summary
}

/// Types a command at the guest's shell and returns what it answers, which must
/// end with a line of its own.
fn shell(session: &Handle, command: &str) -> String {
    let from = session.look(|state| state.console.position());
    // The echo of the command does not contain the mark, its output does.
    session.type_console(format!("{command}; echo do\"\"ne\n").into_bytes());
    let deadline = Some(Instant::now() + Duration::from_secs(60));
    let found = session.wait_until(deadline, |state| state.console.find("\ndone\r\n", from));
    let lines = session.look(|state| state.console.last_lines());
    assert!(found.is_some(), "no answer to {command}: {lines:#?}; ended: {:?}", session.ended());
    let echo = lines.iter().rposition(|line| line.contains("do\"\"ne")).expect("the echo");
    lines[echo + 1..lines.iter().rposition(|line| line == "done").expect("the mark")].join("\n")
}

/// A script's keys reach the text console's shell, its pointer the event device.
fn inputs_arrive(session: &Handle) {
    shell(session, "(setsid sh </dev/tty1 >/dev/tty1 2>&1 &)");
    let script = "timeout 30s\ntype echo Typed_1 >/dev/ttyAMA0\nkey enter\nwait-console Typed_1\nwait-frame";
    play(&script::parse(script).unwrap(), session).unwrap();

    // Five events of 24 bytes: X, Y, report, button, report (Linux struct input_event; the
    // pointer is the device whose number is 0).
    session.type_console(b"od -An -v -tu2 -w24 -N120 /dev/input/event0; echo do\"\"ne\n".to_vec());
    let script = "timeout 30s\nwait 500ms\nclick 320 120\nwait-console done";
    play(&script::parse(script).unwrap(), session).unwrap();
    let lines = session.look(|state| state.console.last_lines());
    let events: Vec<Vec<u32>> = lines
        .iter()
        .map(|line| line.split_whitespace().map_while(|word| word.parse().ok()).collect::<Vec<u32>>())
        .filter(|numbers| numbers.len() == 12)
        .map(|numbers| numbers[8..11].to_vec())
        .collect();
    // Middle of 640, a quarter of 480, of 32768 each, in the middle of a pixel.
    let (x, y) = (32768 / 2 + 25, 32768 / 4 + 34);
    assert_eq!(events, [[3, 0, x], [3, 1, y], [0, 0, 0], [1, 0x110, 1], [0, 0, 0]], "{lines:#?}");
}

fn quit(restored: Restored) {
    restored.session.send(Command::Quit);
    assert_eq!(restored.session.wait_for_end(), End::Quit);
    restored.running.join();
}

#[test]
#[ignore = "needs a guest: SAMOVAR_TEST_GUEST"]
fn a_guest_is_captured_the_same_twice_and_restored_unlike() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut staging = store.stage().unwrap();
    let first = captured(staging.dir());
    let other = tempfile::tempdir().unwrap();
    let second = captured(other.path());
    assert_eq!(first, second);
    assert!(first.ready_nanos < first.virtual_nanos && first.stored_bytes < 256 << 20);
    for file in &first.files {
        let (a, b) = (staging.dir().join(file), other.path().join(file));
        assert!(fs::read(a).unwrap() == fs::read(b).unwrap(), "{file} differs");
        staging.adopt(file).unwrap();
    }
    drop(other);
    let screen = fs::read(staging.dir().join("screen.png")).unwrap();
    let artifact = staging.commit(Kind::WarmBase, BTreeMap::new(), serde_json::Value::Null).unwrap();

    let open = || restore(artifact.dir(), None, Stopwatch::start()).unwrap();
    let (one, two) = (open(), open());
    // Before the guest runs, its screen is there, and is the captured one.
    assert_eq!(runner::picture::encode(&one.session.frame().0).unwrap(), screen);
    for restored in [&one, &two] {
        restored.session.send(Command::Start);
    }
    // It is no reboot, but the same shell after the capture.
    assert_eq!(shell(&one.session, "echo $((6 * 7))"), "42");
    let uptime = shell(&one.session, "cut -d. -f1 /proc/uptime").trim().parse::<u64>().unwrap();
    assert!((first.virtual_nanos / 1_000_000_000..120).contains(&uptime), "{uptime}");
    // Siblings draw other random numbers, and know what time it is.
    one.session
        .wait_until(Some(Instant::now() + Duration::from_secs(60)), |state| {
            state.console.find("crng reseeded due to virtual machine fork", 0)
        })
        .expect("Linux has noticed the new generation id");
    let random = "head -c 16 /dev/urandom | od -An -tx1";
    assert_ne!(shell(&one.session, random), shell(&two.session, random));
    let clock: u64 = shell(&two.session, "cat /sys/class/rtc/rtc0/since_epoch").trim().parse().unwrap();
    assert!(clock.abs_diff(runner::restore::wall_seconds()) < 60, "{clock}");

    // A reset forgets everything, again and again, and siblings do not notice.
    shell(&two.session, "echo kept > /mark");
    for round in 1..=3 {
        shell(&one.session, "echo secret > /mark");
        assert_eq!(shell(&one.session, "cat /mark"), "secret");
        one.session.send(Command::Reset);
        one.session.wait_until(None, |state| (state.resets.len() == round).then_some(()));
        assert_eq!(runner::picture::encode(&one.session.frame().0).unwrap(), screen);
        assert!(shell(&one.session, "cat /mark").contains("No such file"));
    }
    assert_eq!(shell(&two.session, "cat /mark"), "kept");
    inputs_arrive(&one.session);
    println!("resets: {:?}", one.session.look(|state| state.resets.clone()));
    println!("report: {:?}", one.report);
    quit(one);
    quit(two);
}

#[test]
#[ignore = "needs a guest: SAMOVAR_TEST_GUEST"]
fn a_capture_that_fails_leaves_no_files_but_its_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let mut late = spec(dir.path());
    late.limit_seconds = 1;
    let error = capture(&late, &mut |_| {}).unwrap_err();
    let CaptureError::TimedOut { seconds: 1, evidence, .. } = &error else { panic!("{error}") };
    let kept = evidence.0.clone().expect("evidence is kept");
    assert!(error.to_string().contains(kept.to_str().unwrap()));
    assert!(fs::read_to_string(kept.join("console.txt")).unwrap().contains("Linux version"));
    fs::remove_dir_all(kept).unwrap();

    let mut rootless = spec(dir.path());
    rootless.initrd = None;
    rootless.command_line += " panic=-1";
    let error = capture(&rootless, &mut |_| {}).unwrap_err();
    let CaptureError::Panicked { lines, evidence } = error else { panic!("{error}") };
    assert!(lines.iter().any(|line| line.contains("Kernel panic")), "{lines:#?}");
    fs::remove_dir_all(evidence.0.unwrap()).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
