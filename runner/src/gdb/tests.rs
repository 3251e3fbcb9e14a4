//! A small guest of two vCPUs that disturb each other, under a debugger: its course, and what hostile peers do to it.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use engine_soft::SoftEngine;
use machine::{
    cpu_state::CpuState,
    layout::RAM_BASE,
    memory::GuestMemory,
    psci::Power,
    vm::{Course, Outcome, Vm, VmState},
};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{Address, Debugged, Listener};
use crate::{
    drive::Lockstep,
    entropy::FixedEntropy,
    live::{self, Live},
    session::{self, Guest, Handle, Progress, Seat},
    spec::MachineSpec,
};

const SPEC: MachineSpec = MachineSpec { cpus: 2, memory: 16 << 20, width: 64, height: 64 };

/// What both vCPUs count in.
const SHARED: u64 = RAM_BASE + 0x10_0000;
const FIRST: u64 = RAM_BASE;
const SECOND: u64 = RAM_BASE + 0x1000;

/// LDR X1, [X2]; ADD X1, X1, #1; STR X1, [X2]; ADD X0, X0, #1; B to the first.
const FIRST_PROGRAM: [u32; 5] = [0xf940_0041, 0x9100_0421, 0xf900_0041, 0x9100_0400, 0x17ff_fffc];
/// LDR X1, [X2]; ADD X0, X0, X1; STR X0, [X2]; WFE; B to the first.
const SECOND_PROGRAM: [u32; 5] = [0xf940_0041, 0x8b01_0000, 0xf900_0040, 0xd503_205f, 0x17ff_fffc];

fn memory() -> GuestMemory {
    let memory = GuestMemory::anonymous(SPEC.memory).unwrap();
    for (at, program) in [(FIRST, FIRST_PROGRAM), (SECOND, SECOND_PROGRAM)] {
        let bytes: Vec<u8> = program.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(at, &bytes).unwrap();
    }
    memory
}

/// Both vCPUs on, each at its program.
fn started(vm: &mut Vm<SoftEngine>) {
    let mut state = vm.save();
    for (cpu, pc) in state.cpus.iter_mut().zip([FIRST, SECOND]) {
        cpu.power = Power::On;
        cpu.state = CpuState::at_entry(pc, 0);
        cpu.state.x[2] = SHARED;
    }
    vm.load(&state).unwrap();
}

fn lockstep() -> Lockstep {
    let machine = live::machine(&SPEC, memory(), None, 0, Box::new(FixedEntropy::new("test"))).unwrap();
    let engine = live::soft_engine(&machine);
    let mut lockstep = Lockstep::new(machine, engine).unwrap();
    started(lockstep.vm());
    lockstep
}

const UNTIL: u64 = 1_000_000;

/// The guest's state at [`UNTIL`], after `debug` did what it does.
fn course(debug: impl FnOnce(&mut Vm<SoftEngine>)) -> (VmState, u64) {
    let mut lockstep = lockstep();
    let vm = lockstep.vm();
    debug(vm);
    vm.set_breakpoints(&[]).unwrap();
    assert_eq!(vm.run(UNTIL), Outcome::Running);
    assert_eq!(vm.now(), UNTIL);
    (vm.save(), vm.machine.memory().read_u64(SHARED).unwrap())
}

#[test]
fn a_debugged_guest_goes_the_way_that_it_would_have_gone() {
    let alone = course(|_| {});
    assert!(alone.0.cpus[0].state.x[0] > 10_000 && alone.0.cpus[1].state.x[0] > 10_000, "{alone:?}");

    let stopped = course(|vm| {
        vm.set_breakpoints(&[FIRST + 12, SECOND + 8, SECOND + 12]).unwrap();
        let mut stops = [0; 2];
        while stops.iter().any(|stops| *stops < 20) {
            let Outcome::Breakpoint { cpu } = vm.run(UNTIL) else { panic!("no breakpoint") };
            stops[cpu] += 1;
        }
    });
    assert_eq!(stopped, alone, "breakpoints");

    let stepped = course(|vm| {
        for step in (0..400).map(|n| usize::from(n % 5 == 0)) {
            let outcome = vm.run_course(UNTIL, Course { step: Some(step), only: None });
            assert_eq!(outcome, Outcome::Stepped { cpu: step });
        }
    });
    assert_eq!(stepped, alone, "steps");
}

#[test]
fn a_step_is_one_instruction_of_one_vcpu_while_the_others_are_held() {
    let mut lockstep = lockstep();
    let vm = lockstep.vm();
    let pcs = |vm: &Vm<SoftEngine>| [0, 1].map(|cpu| vm.cpu(cpu).unwrap().state.pc);
    for (cpu, expected) in [
        (0, [FIRST + 4, SECOND]),
        (1, [FIRST + 4, SECOND + 4]),
        (1, [FIRST + 4, SECOND + 8]),
        (0, [FIRST + 8, SECOND + 8]),
        (1, [FIRST + 8, SECOND + 12]),
        (1, [FIRST + 8, SECOND + 16]),
        (1, [FIRST + 8, SECOND]),
    ] {
        let before = vm.retired();
        let outcome = vm.run_course(UNTIL, Course { step: Some(cpu), only: Some(cpu) });
        assert_eq!(outcome, Outcome::Stepped { cpu });
        assert_eq!((pcs(vm), vm.retired()), (expected, before + 1));
    }
}

#[test]
fn a_vcpu_that_is_off_has_made_its_step() {
    let mut lockstep = lockstep();
    let vm = lockstep.vm();
    let mut state = vm.save();
    state.cpus[1].power = Power::Off;
    vm.load(&state).unwrap();
    assert_eq!(vm.run_course(UNTIL, Course { step: Some(1), only: None }), Outcome::Stepped { cpu: 1 });
}

/// A guest under a debugger, and the place where one connects.
struct Table {
    guest: Debugged,
    path: PathBuf,
    seat: Seat,
    _handle: Handle,
    _dir: TempDir,
}

impl Table {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gdb");
        let listener = Listener::bind(&Address::Unix(path.clone())).unwrap();
        let (handle, seat) = session::pair();
        let guest = Debugged::new(Live::booted(lockstep()), listener, handle.clone()).unwrap();
        Table { guest, path, seat, _handle: handle, _dir: dir }
    }

    /// Gives the guest its turns until `found` finds something.
    fn until<T>(&mut self, mut found: impl FnMut(&mut Self, &Progress) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            let progress = self.guest.run(Duration::from_millis(1)).unwrap();
            self.seat.drain();
            if let Some(found) = found(self, &progress) {
                return found;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "it never came");
            if matches!(progress, Progress::Held(_)) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Connects as soon as the seat is free.
    fn connect(&mut self) -> UnixStream {
        let path = self.path.clone();
        let mut stream = connect(&path);
        self.until(|_, _| match stream.read(&mut [0]) {
            // Turned away: the one before is not gone yet.
            Ok(0) => {
                stream = connect(&path);
                None
            }
            Ok(_) => panic!("it spoke first"),
            Err(_) => Some(()),
        });
        stream
    }

    /// What the stub answers, without its frame.
    fn ask(&mut self, stream: &mut UnixStream, body: &str) -> String {
        stream.write_all(&packet(body.as_bytes())).unwrap();
        self.answer(stream)
    }

    fn answer(&mut self, stream: &mut UnixStream) -> String {
        let mut said = Vec::new();
        self.until(|_, _| {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(0) => panic!("the connection was closed"),
                Ok(count) => said.extend_from_slice(&chunk[..count]),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            let start = said.iter().position(|byte| *byte == b'$')? + 1;
            let end = start + said[start..].iter().position(|byte| *byte == b'#')?;
            (said.len() >= end + 3).then(|| expanded(&said[start..end]))
        })
    }

    fn retired(&mut self) -> u64 {
        self.guest.debuggee.vm().retired()
    }
}

fn connect(path: &PathBuf) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    stream
}

/// `$body#checksum` ("Overview" of the remote protocol in gdb's manual).
fn packet(body: &[u8]) -> Vec<u8> {
    let sum = body.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", body, format!("#{sum:02x}").as_bytes()].concat()
}

#[test]
fn a_guest_waits_for_its_debugger_and_stands_still_while_that_looks() {
    let mut table = Table::new();
    for _ in 0..5 {
        assert!(matches!(table.guest.run(Duration::from_millis(1)), Ok(Progress::Held(_))));
    }
    assert_eq!(table.retired(), 0);
    let mut peer = table.connect();
    assert!(table.ask(&mut peer, "?").starts_with("T05"));
    // X0 of thread 2 ("p" takes the number in hex), PC, a register that is not there.
    assert_eq!(table.ask(&mut peer, "Hgp1.2"), "OK");
    assert_eq!(table.ask(&mut peer, "p2"), hex(&SHARED.to_le_bytes()));
    assert_eq!(table.ask(&mut peer, "p20"), hex(&SECOND.to_le_bytes()));
    assert!(table.ask(&mut peer, "P46=0000000000000000").starts_with('E'), "ELR_EL1 is to look at");
    assert_eq!(table.ask(&mut peer, "P0=0700000000000000"), "OK");
    assert_eq!(table.ask(&mut peer, "p0"), "0700000000000000");
    assert!(table.ask(&mut peer, "P21=ffffffff").starts_with('E'), "no such PSTATE");
    assert_eq!(table.ask(&mut peer, "m40000000,4"), hex(&FIRST_PROGRAM[0].to_le_bytes()));
    assert!(table.ask(&mut peer, "m9000000,4").starts_with('E'), "a device");
    assert_eq!(table.ask(&mut peer, &format!("M{SHARED:x},2:aabb")), "OK");
    assert_eq!(table.ask(&mut peer, &format!("m{SHARED:x},2")), "aabb");
    assert_eq!(table.retired(), 0);
    let time = table.guest.debuggee.vm().now();
    std::thread::sleep(Duration::from_millis(500));

    assert_eq!(table.ask(&mut peer, &format!("Z0,{:x},4", FIRST + 8)), "OK");
    assert!(table.ask(&mut peer, "vCont;c").starts_with("T05thread:01;swbreak"));
    assert_eq!(table.retired(), 2);
    let passed = table.guest.debuggee.vm().now() - time;
    assert!(passed < 250_000_000, "{passed} ns of guest time passed while it stood still");
    assert!(table.ask(&mut peer, "vCont;s:1;c").starts_with("T05thread:01"));
    assert_eq!(table.retired(), 3);
    assert_eq!(table.ask(&mut peer, &format!("z0,{:x},4", FIRST + 8)), "OK");

    peer.write_all(&packet(b"vCont;c")).unwrap();
    table.until(|table, _| (table.retired() > 100_000).then_some(()));
    peer.write_all(&[3]).unwrap();
    assert!(table.answer(&mut peer).starts_with("T02"), "Ctrl-C");
    assert_eq!(table.ask(&mut peer, "D"), "OK");
    let before = table.retired();
    table.until(|table, progress| {
        assert!(!matches!(progress, Progress::Held(_)));
        (table.retired() > before + 100_000).then_some(())
    });
}

/// Without run-length encoding: `0*&` is a zero and 9 more, 29 being added to what repeats it (same chapter).
fn expanded(body: &[u8]) -> String {
    let mut text = String::new();
    let mut bytes = body.iter();
    while let Some(byte) = bytes.next() {
        match (byte, text.chars().last()) {
            (b'*', Some(last)) => {
                let count = bytes.next().expect("a count follows") - 29;
                text.extend(std::iter::repeat_n(last, count.into()));
            }
            _ => text.push((*byte).into()),
        }
    }
    text
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn changed_code_is_what_runs() {
    let mut table = Table::new();
    let mut peer = table.connect();
    assert!(table.ask(&mut peer, "vCont;s:1").starts_with("T05"));
    for _ in 0..6 {
        assert!(table.ask(&mut peer, "vCont;s:1").starts_with("T05"));
    }
    // ADD X0, X0, #16 where it said 1.
    let other = hex(&0x9100_4000_u32.to_le_bytes());
    assert_eq!(table.ask(&mut peer, &format!("M{:x},4:{other}", FIRST + 12)), "OK");
    assert!(table.ask(&mut peer, "vCont;s:1").starts_with("T05"));
    assert!(table.ask(&mut peer, "vCont;s:1").starts_with("T05"));
    assert_eq!(table.ask(&mut peer, "p0"), "1100000000000000");
}

#[test]
fn a_debugger_that_is_gone_leaves_a_guest_that_runs() {
    let mut table = Table::new();
    let mut peer = table.connect();
    assert_eq!(table.ask(&mut peer, &format!("Z0,{FIRST:x},4")), "OK");
    drop(peer);
    table.until(|table, _| (table.retired() > 100_000).then_some(()));
    // And another one may come, kill and all.
    let mut peer = table.connect();
    assert!(table.ask(&mut peer, "?").starts_with("T05"));
    peer.write_all(&packet(b"k")).unwrap();
    table.until(|_, progress| (*progress == Progress::Quit).then_some(()));
}

#[test]
fn quit_by_monitor_command() {
    let mut table = Table::new();
    let mut peer = table.connect();
    peer.write_all(&packet(format!("qRcmd,{}", hex(b"quit")).as_bytes())).unwrap();
    table.until(|_, progress| (*progress == Progress::Quit).then_some(()));
}

/// Sends `bytes`, then has another debugger find the guest alive.
fn survives(table: &mut Table, bytes: &[u8]) {
    let mut peer = table.connect();
    // The stub may close the connection in the middle.
    let _ = peer.write_all(bytes);
    for _ in 0..5 {
        if table.guest.run(Duration::from_millis(1)).unwrap() == Progress::Quit {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(peer);
    let mut peer = table.connect();
    assert!(table.ask(&mut peer, "?").starts_with("T05"), "after {bytes:?}");
    assert_eq!(table.ask(&mut peer, "D"), "OK");
}

#[test]
fn hostile_packets_end_their_connection_at_most() {
    let mut table = Table::new();
    for body in [
        "mffffffffffffff00,100000",
        "m40000000,ffffffffffffffff",
        "mffffffffffffffff,1",
        "M40000000,4:00",
        "vCont;s",
        "vCont;s:p1.ff;c:p1.-1",
        "vCont;r0,10:1",
        "vCont",
        "Hg0",
        "Hgp1.7f",
        "pffffffffffffffff",
        "p",
        "G00",
        "Z0,40000001,4",
        "Z2,40000000,8",
        "qXfer:features:read:target.xml:ffffffff,ffffffff",
        "qRcmd,zz",
        "vRun;",
        "!",
    ] {
        survives(&mut table, &packet(body.as_bytes()));
    }
    survives(&mut table, &[b'$'; 100_000]);
    survives(&mut table, b"$?#00$?#00+-+-\x03\x03");
    survives(&mut table, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_peer_sends_the_next_one_finds_the_guest(
        words in prop::collection::vec(
            ("[?gGmMpPHTczZqQvXsDR!]", "[0-9a-fp.,:;=-]{0,24}", prop::collection::vec(any::<u8>(), 0..12)),
            1..12,
        ),
    ) {
        let mut table = Table::new();
        let mut bytes = Vec::new();
        for (command, arguments, noise) in words {
            bytes.extend(packet(format!("{command}{arguments}").as_bytes()));
            bytes.extend(noise);
        }
        survives(&mut table, &bytes);
    }
}
