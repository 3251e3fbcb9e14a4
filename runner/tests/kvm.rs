//! A warm base that the soft engine has captured, on `/dev/kvm` of arm64 Linux: restored, looked at, typed into, reset and
//! saved.
//!
//! `SAMOVAR_KVM_BASE` names the base of `recipes/hello.toml`, as a directory or a bundle; `SAMOVAR_KVM_OUT` an empty
//! directory for what is saved. Where there is no arm64 host, samovar's test `kvm` runs this one in an emulated one.

#![cfg(all(target_os = "linux", target_arch = "aarch64"))]

#[path = "common/tea.rs"]
mod tea;

use std::{
    env,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use machine::memory::GuestMemory;
use runner::{
    bundled, doctor,
    drive::{Drive, Scheduler},
    engine::Choice,
    entropy::HostEntropy,
    live::{self, Live},
    memory_image,
    picture::{self, Frame},
    player,
    report::Stopwatch,
    restore::{self, DISK_ROLE, wall_seconds},
    script,
    session::{Command, Guest, Handle},
    snapshot::{MEMORY_FILE, SCREEN_FILE, STATE_FILE, Snapshot},
};
use store::Artifact;

use tea::type_tea;

/// Longer than any step takes in an emulated host on a slow machine.
const PATIENCE: Duration = Duration::from_secs(600);

fn base() -> PathBuf {
    let named = env::var_os("SAMOVAR_KVM_BASE").expect("SAMOVAR_KVM_BASE names a base");
    let store = env::temp_dir().join("kvm-store");
    bundled::find(named.as_ref(), Some(&store), &[]).expect("a base or a bundle of one")
}

fn play(session: &Handle, text: &str) {
    let script = script::parse(&format!("timeout 10m\n{text}")).unwrap();
    if let Err(error) = player::play(&script, session) {
        panic!("{error}\n{}", session.look(|state| state.console.last_lines()).join("\n"));
    }
}

/// A screen that was saved.
fn read_picture(path: &Path) -> Frame {
    let mut reader = png::Decoder::new(BufReader::new(File::open(path).unwrap())).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
    let pixels = bytes[..info.buffer_size()].as_chunks::<3>().0.iter();
    let pixels = pixels.map(|&[r, g, b]| u32::from_be_bytes([0, r, g, b])).collect();
    Frame { width: info.width, height: info.height, pixels: Arc::new(pixels) }
}

/// Rows in which two screens differ.
fn rows_that_differ(a: &Frame, b: &Frame) -> Vec<u32> {
    assert_eq!((a.width, a.height), (b.width, b.height));
    (0..a.height).filter(|&y| (0..a.width).any(|x| a.pixel(x, y) != b.pixel(x, y))).collect()
}

#[test]
#[ignore = "wants /dev/kvm and SAMOVAR_KVM_BASE"]
fn the_doctor_finds_all_well() {
    for finding in doctor::examine() {
        eprintln!("{}", finding.what);
        assert_eq!(finding.remedy, None, "{}", finding.what);
    }
}

#[test]
#[ignore = "wants /dev/kvm and SAMOVAR_KVM_BASE"]
fn a_base_of_the_soft_engine_is_restored_used_and_reset() {
    let base = base();
    // Twice, one after the other: a virtual machine ends with its session.
    for life in 0..2 {
        let clock = Stopwatch::start();
        let restored = restore::restore(&base, Scheduler::Threads, Choice::Kvm, None, clock).unwrap();
        let session = &restored.session;
        let captured = session.frame().0;
        let screen = read_picture(&base.join(SCREEN_FILE));
        assert!(rows_that_differ(&captured, &screen).is_empty(), "the first frame is the captured one");
        eprintln!("restored, life {life}: {:?}", restored.report);
        session.send(Command::Start);
        for round in 0..3 {
            let start = Instant::now();
            play(
                session,
                &format!("type tea {round}\nkey enter\nwait-console hello: tea {round}\nwait-frame 500ms"),
            );
            let typed = rows_that_differ(&captured, &session.frame().0);
            // What is typed and its answer, as on the soft engine.
            assert!(!typed.is_empty() && typed.len() <= 3 * 16 && typed[0] > 200, "{typed:?}");
            eprintln!("typed and answered, round {round}: {:?}", start.elapsed());
            session.send(Command::Reset);
            let resets = |wanted| {
                move |state: &mut runner::session::State| (state.resets.len() == wanted).then_some(())
            };
            session.wait_until(Some(Instant::now() + PATIENCE), resets(round + 1)).expect("a reset");
            assert!(*session.frame().0 == *captured, "reset {round} brings the page back");
        }
        play(session, "type cpus\nkey enter\nwait-console hello: cpus = 2");
        session.send(Command::Quit);
        session.wait_for_end();
        restored.running.join();
    }
}

#[test]
#[ignore = "wants /dev/kvm and SAMOVAR_KVM_BASE"]
fn what_is_saved_is_left_for_the_soft_engine() {
    let base = base();
    let out = PathBuf::from(env::var_os("SAMOVAR_KVM_OUT").expect("SAMOVAR_KVM_OUT names a directory"));
    let artifact = Artifact::open(&base).unwrap();
    let captured = Snapshot::read(&artifact.file(STATE_FILE).unwrap()).unwrap();
    let image = File::open(artifact.file(MEMORY_FILE).unwrap()).unwrap();
    let memory = GuestMemory::private_file(&image, captured.machine.memory).unwrap();
    let root = artifact.need(DISK_ROLE).unwrap();
    let disk = File::open(root.file(&root.images()[0].name).unwrap()).unwrap();
    let entropy = HostEntropy::new().unwrap();
    let device = Box::new(entropy.clone());
    let machine =
        live::machine(&captured.machine, memory.clone(), Some(disk), wall_seconds(), device).unwrap();
    let drive = Drive::new(Scheduler::Threads, Choice::Kvm, machine).unwrap();
    let mut live = Live::restored(drive, captured.state, Box::new(entropy)).unwrap();

    let page = live.screen().unwrap();
    let typed = type_tea(&mut live);
    assert!(typed != page);
    let Drive::Threads(threads) = live.driver() else { panic!("it has threads") };
    let state = threads.save().unwrap();
    Snapshot::new(captured.machine, true, state).write(&out.join(STATE_FILE)).unwrap();
    memory_image::write(&memory, &out.join(MEMORY_FILE)).unwrap();
    picture::save(&typed, &out.join(SCREEN_FILE)).unwrap();
    // It goes on here, too.
    assert!(type_tea(&mut live) != typed);
}
