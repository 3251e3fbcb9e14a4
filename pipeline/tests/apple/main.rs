//! Whole guests on the engine for Apple silicon, over the stand-in for Hypervisor.framework: `hello` from its kernel, and
//! its warm base, which the soft engine has captured. What is snapshotted there goes on on the soft engine.
//!
//! Needs the mirror, as the end-to-end tests do.

#![cfg(not(target_os = "macos"))]

#[path = "../end_to_end/picture.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod picture;
#[path = "../end_to_end/programs.rs"]
#[allow(dead_code, reason = "the other tests use the rest")]
mod programs;
#[path = "../../../runner/tests/common/tea.rs"]
mod tea;

use std::collections::BTreeSet;
use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

use engine_hvf::HvfEngine;
use hvf_stand_in::{lend, turn};
use machine::board::Machine;
use machine::memory::GuestMemory;
use machine::threads::Threads;
use runner::MachineSpec;
use runner::boot::{self, BootSpec};
use runner::drive::{Drive, Scheduler};
use runner::engine::Choice;
use runner::entropy::HostEntropy;
use runner::live::{self, Live, LiveError};
use runner::picture::{self as pictures, Frame};
use runner::report::Stopwatch;
use runner::restore::{self, wall_seconds};
use runner::session::{Command, Guest, Handle};
use runner::snapshot::{MEMORY_FILE, STATE_FILE, Snapshot};
use runner::{memory_image, player, script};
use store::Artifact;

use picture::Picture;
use programs::built;
use tea::type_tea;

/// A machine on the engine for Apple silicon.
fn on_the_stand_in(machine: Machine) -> Result<Drive, LiveError> {
    lend(machine.memory());
    let engine = HvfEngine::new(machine.memory().clone(), machine.gic.cpus())?;
    Ok(Drive::Threads(Threads::new(machine, engine)?))
}

fn play(session: &Handle, text: &str) {
    let script = script::parse(&format!("timeout 3m\n{text}")).unwrap();
    if let Err(error) = player::play(&script, session) {
        panic!("{error}\n{}", session.look(|state| state.console.last_lines()).join("\n"));
    }
}

fn read_picture(frame: &Frame) -> Picture {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("frame.png");
    pictures::save(frame, &path).unwrap();
    Picture::read(&path)
}

fn need(role: &str, file: &str) -> std::path::PathBuf {
    Artifact::open(built()).unwrap().need(role).unwrap().file(file).unwrap()
}

#[test]
fn hello_boots_from_its_kernel() {
    let _turn = turn();
    let base = Artifact::open(built()).unwrap();
    let snapshot = Snapshot::read(&base.file(STATE_FILE).unwrap()).unwrap();
    let spec = BootSpec {
        kernel: need("kernel", "Image"),
        initrd: Some(need("initramfs", "initramfs.cpio")),
        disk: Some(need("rootfs", "rootfs.ext4")),
        command_line: base.manifest().meta["command-line"].as_str().unwrap().to_owned(),
        machine: snapshot.machine,
    };
    let (session, running) = boot::start_on(spec, on_the_stand_in, Box::new(std::io::sink())).unwrap();
    session.send(Command::Start);
    play(
        &session,
        "wait-console samovar: ready\nwait-frame 500ms\ntype cpus\nkey enter\nwait-console hello: cpus = 2",
    );
    session.send(Command::Quit);
    session.wait_for_end();
    running.join();
}

/// Twice, one after the other: a virtual machine ends with its session.
#[test]
fn a_base_of_the_soft_engine_is_restored_used_and_reset() {
    let _turn = turn();
    let captured = Picture::read(&built().join("screen.png"));
    for _ in 0..2 {
        let restored = restore::restore_on(&built(), on_the_stand_in, None, Stopwatch::start()).unwrap();
        let session = &restored.session;
        assert!(read_picture(&session.frame().0) == captured, "the first frame is the captured one");
        session.send(Command::Start);
        for round in 0..3 {
            play(
                session,
                &format!("type tea {round}\nkey enter\nwait-console hello: tea {round}\nwait-frame 300ms"),
            );
            let typed = captured.rows_that_differ(&read_picture(&session.frame().0));
            // What is typed and its answer, as on the soft engine.
            assert!(!typed.is_empty() && typed.len() <= 3 * 16 && typed[0] > 200, "{typed:?}");
            session.send(Command::Reset);
            let resets = |wanted| {
                move |state: &mut runner::session::State| (state.resets.len() == wanted).then_some(())
            };
            let soon = Some(Instant::now() + Duration::from_secs(60));
            session.wait_until(soon, resets(round + 1)).expect("a reset");
            assert!(read_picture(&session.frame().0) == captured, "reset {round} brings the page back");
        }
        play(session, "type cpus\nkey enter\nwait-console hello: cpus = 2");
        session.send(Command::Quit);
        session.wait_for_end();
        restored.running.join();
    }
}

/// A guest, and the memory that it lives in.
fn living(
    spec: &MachineSpec,
    memory: GuestMemory,
    state: machine::vm::VmState,
    drive: impl FnOnce(Machine) -> Result<Drive, LiveError>,
) -> Live {
    let disk = File::open(need("rootfs", "rootfs.ext4")).unwrap();
    let entropy = HostEntropy::new().unwrap();
    let machine = live::machine(spec, memory, Some(disk), wall_seconds(), Box::new(entropy.clone())).unwrap();
    Live::restored(drive(machine).unwrap(), state, Box::new(entropy)).unwrap()
}

/// How many copies are poured at once.
const COPIES: usize = 3;

/// Tell a process that it is to show a copy of this base, and which one.
const BASE: &str = "SAMOVAR_STAND_IN_BASE";
const NUMBER: &str = "SAMOVAR_STAND_IN_NUMBER";

/// Several lives at once, each in a process of its own, as `runner restore -n` has them: macOS gives a process one virtual
/// machine.
#[test]
fn a_base_is_fanned_out() {
    let mut copies: Vec<_> = (0..COPIES)
        .map(|number| {
            let mut process = process::Command::new(env::current_exe().unwrap());
            process.args(["--exact", "one_of_several_copies", "--ignored", "--nocapture"]);
            process.env(BASE, built()).env(NUMBER, number.to_string());
            process.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let mut told: Vec<_> =
        copies.iter_mut().map(|copy| BufReader::new(copy.stdout.take().unwrap())).collect();
    let mut word = |number: usize, mark: &str| {
        let lines = told[number].by_ref().lines().map(Result::unwrap);
        let found = lines.filter_map(|line| Some(line.split_once(mark)?.1.to_owned())).next();
        found.unwrap_or_else(|| panic!("copy {number} ended before it said {mark:?}"))
    };
    // All are there before one of them goes on.
    (0..COPIES).for_each(|number| drop(word(number, "copy: restored")));
    for copy in &mut copies {
        copy.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    }
    let random: BTreeSet<String> = (0..COPIES).map(|number| word(number, "copy: random = ")).collect();
    assert_eq!(random.len(), COPIES, "each has a life of its own: {random:?}");
    for copy in &mut copies {
        assert!(copy.wait().unwrap().success());
    }
}

#[test]
#[ignore = "is one of the processes of `a_base_is_fanned_out`"]
fn one_of_several_copies() {
    let base = PathBuf::from(env::var_os(BASE).expect("a base"));
    let number = env::var(NUMBER).unwrap();
    let captured = Picture::read(&base.join("screen.png"));
    let restored = restore::restore_on(&base, on_the_stand_in, None, Stopwatch::start()).unwrap();
    let session = &restored.session;
    assert!(read_picture(&session.frame().0) == captured, "the first frame is the captured one");
    println!("copy: restored");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    session.send(Command::Start);
    play(
        session,
        &format!("type tea {number}\nkey enter\nwait-console hello: tea {number}\nwait-frame 300ms"),
    );
    assert!(!captured.rows_that_differ(&read_picture(&session.frame().0)).is_empty());
    play(session, "type random\nkey enter\nwait-console hello: random = \nwait-frame 300ms");
    let lines = session.look(|state| state.console.last_lines());
    let random = lines.iter().find_map(|line| line.split_once("hello: random = ")).expect("a line").1;
    println!("copy: random = {random}");
    session.send(Command::Quit);
    session.wait_for_end();
    restored.running.join();
}

#[test]
fn a_snapshot_of_this_engine_goes_on_on_the_soft_one() {
    let _turn = turn();
    let base = Artifact::open(built()).unwrap();
    let captured = Snapshot::read(&base.file(STATE_FILE).unwrap()).unwrap();
    let spec = captured.machine;
    let image = File::open(base.file(MEMORY_FILE).unwrap()).unwrap();
    let memory = GuestMemory::private_file(&image, spec.memory).unwrap();
    let mut here = living(&spec, memory.clone(), captured.state, on_the_stand_in);
    let page = here.screen().unwrap();
    let typed = type_tea(&mut here);
    assert!(typed != page);

    let dir = tempfile::tempdir().unwrap();
    let Drive::Threads(threads) = here.driver() else { panic!("it has threads") };
    let state = threads.save().unwrap();
    let snapshot = Snapshot::new(spec, true, state);
    snapshot.write(&dir.path().join(STATE_FILE)).unwrap();
    memory_image::write(&memory, &dir.path().join(MEMORY_FILE)).unwrap();
    drop(here);

    let moved = Snapshot::read(&dir.path().join(STATE_FILE)).unwrap();
    assert!(moved == snapshot);
    let image = File::open(dir.path().join(MEMORY_FILE)).unwrap();
    let memory = GuestMemory::private_file(&image, spec.memory).unwrap();
    let soft = |machine| Drive::new(Scheduler::Threads, Choice::Soft, machine);
    let mut there = living(&spec, memory, moved.state, soft);
    assert!(there.screen().unwrap() == typed, "the screen has moved with the guest");
    assert!(type_tea(&mut there) != typed);
    there.reset().unwrap();
    assert!(there.screen().unwrap() == typed);
}
