//! What several processors may rely on of each other, on both schedulers: the program `bare_metal/smp.s` tests itself.
//! It is a program for QEMU's `virt` machine as well, which agrees but for `store_buffers_release`: on x86-64, QEMU 7.2
//! lets a load-acquire pass an earlier store-release, which Arm ARM B2.3.7 forbids.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use common::assembler::assemble;
use engine_soft::SoftEngine;
use machine::board::{Machine, MachineConfig};
use machine::clock::Entropy;
use machine::cpu_state::CpuState;
use machine::layout::RAM_BASE;
use machine::memory::GuestMemory;
use machine::threads::Threads;
use machine::vm::{Outcome, Vm};

const RAM_SIZE: u64 = 16 << 20;
/// Where a loader puts a program that is no Linux kernel, as QEMU does.
const ENTRY: u64 = RAM_BASE + 0x8_0000;
/// Where the program keeps the number of processors.
const CPUS: u64 = ENTRY + 4;

/// Longer than any run takes, the slowest host included.
const PATIENCE: Duration = Duration::from_secs(300);

const TESTS: [&str; 17] = [
    "lock_exclusive",
    "lock_swap",
    "lock_compare",
    "count_exclusive",
    "count_atomic",
    "pair_exclusive",
    "pair_compare",
    "bytes_of_a_word",
    "message_by_barriers",
    "message_by_release",
    "store_buffers",
    "store_buffers_release",
    "remapped_page",
    "changed_code",
    "interrupts_round",
    "timers",
    "off_and_on",
];

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, buf: &mut [u8]) {
        buf.fill(0);
    }
}

/// A machine with the program in its memory.
fn machine(cpus: usize) -> (Machine, SoftEngine) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bare_metal/smp.s");
    let memory = GuestMemory::anonymous(RAM_SIZE).unwrap();
    memory.write(ENTRY, &assemble(&source, &["lse"])).unwrap();
    memory.write(CPUS, &(cpus as u32).to_le_bytes()).unwrap();
    let engine = SoftEngine::new(memory.clone(), cpus);
    let machine = Machine::new(MachineConfig {
        cpus,
        memory,
        display: (640, 480),
        disk: None,
        wall_seconds: 0,
        entropy: Box::new(NoEntropy),
    });
    (machine, engine)
}

/// Runs the program in `step`s to its end; what it printed.
fn console(mut step: impl FnMut(&mut Vec<u8>) -> Outcome) -> String {
    let started = Instant::now();
    let mut text = Vec::new();
    let outcome = loop {
        match step(&mut text) {
            Outcome::Running | Outcome::Idle { .. } if started.elapsed() < PATIENCE => {}
            end => break end,
        }
    };
    let text = String::from_utf8(text).unwrap();
    assert_eq!(outcome, Outcome::PoweredOff, "{text}");
    text
}

fn check(console: &str) {
    let expected: String = TESTS.iter().map(|test| format!("{test}: ok\n")).collect();
    assert_eq!(console, expected + "done\n");
}

fn on_threads(cpus: usize) -> String {
    let (machine, engine) = machine(cpus);
    let mut vm = Threads::new(machine, engine).unwrap();
    vm.start(&CpuState::at_entry(ENTRY, 0)).unwrap();
    console(|text| {
        let outcome = vm.run(Duration::from_millis(20));
        text.extend(vm.with_machine(Machine::take_serial_output));
        outcome
    })
}

fn in_lockstep(cpus: usize) -> (String, u64) {
    let (machine, engine) = machine(cpus);
    let mut vm = Vm::new(machine, &engine).unwrap();
    vm.start(&CpuState::at_entry(ENTRY, 0)).unwrap();
    let text = console(|text| {
        let outcome = vm.run(vm.now() + 1_000_000);
        if let Outcome::Idle { until: Some(until) } = outcome {
            vm.advance_to(until);
        }
        text.extend(vm.machine.take_serial_output());
        outcome
    });
    (text, vm.retired())
}

#[test]
fn two_processors_on_threads() {
    check(&on_threads(2));
}

#[test]
fn more_processors_than_a_small_host_has() {
    check(&on_threads(4));
}

#[test]
fn one_processor_after_the_other() {
    let first = in_lockstep(2);
    check(&first.0);
    assert_eq!(first, in_lockstep(2), "lockstep is the same in every run, to the instruction");
    check(&in_lockstep(3).0);
}
