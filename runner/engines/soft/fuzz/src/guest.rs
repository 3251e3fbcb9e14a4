//! A machine with one vCPU or two executes the words it is given, from the registers it is given, with every device
//! there and its queues live: it neither panics nor hangs, and what comes of it can be saved and loaded.

use engine_soft::SoftEngine;
use machine::memory::GuestMemory;
use machine::vm::{Outcome, Vm};

use crate::common::guest::{self, CODE, USER_CODE};
use crate::common::noise;
use crate::common::noisy_machine::{disturb, machine, scatter, set_up};
use crate::common::random::Random;

/// Bytes of `data` that are choices; the rest are instructions.
const CHOICES: usize = 1024;
/// Instructions at most: a page.
const WORDS: usize = 1024;

/// Runs `data`.
pub fn run(data: &[u8]) {
    let (choices, words) = data.split_at(data.len().min(CHOICES));
    let mut random = Random::from_bytes(choices);
    let cpus = 1 + random.below(2);
    let memory = guest::memory();
    noise::set_handlers(&memory, || noise::SKIP);
    put_code(&memory, words);
    let mut vm = machine(memory, cpus);
    set_up(&mut random, &mut vm.machine);
    let mut state = vm.save();
    scatter(&mut random, &mut state);
    vm.load(&state).expect("the machine can be in this state");
    for _ in 0..3 {
        disturb(&mut random, &mut vm.machine);
        if !go_on(&mut vm, random.u64() % 10_000) {
            break;
        }
    }
}

fn put_code(memory: &GuestMemory, bytes: &[u8]) {
    let words: Vec<u32> = bytes
        .chunks_exact(4)
        .map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
        .take(WORDS)
        .collect();
    if words.is_empty() {
        return;
    }
    // Programs start anywhere in their page.
    let page: Vec<u32> = words.iter().copied().cycle().take(WORDS).collect();
    for at in [CODE, USER_CODE] {
        guest::put(memory, at, &page);
    }
}

/// Runs on for `nanos`; false if there is no going on.
fn go_on(vm: &mut Vm<SoftEngine>, nanos: u64) -> bool {
    let before = vm.now();
    let outcome = vm.run(before + nanos);
    // A round is begun before the time has come, and a quantum is 10 us.
    assert!(vm.now() <= before + nanos + 10_000, "{before} to {} for {nanos}", vm.now());
    let mut state = vm.save();
    match outcome {
        Outcome::Running | Outcome::Idle { .. } => {}
        Outcome::Stopped(report) => {
            let stopped = &mut state.cpus[report.vcpu].state;
            stopped.pc = stopped.pc.wrapping_add(4);
        }
        _ => return false,
    }
    vm.load(&state).expect("what a machine saves it can load");
    assert!(vm.save() == state, "loading what was saved changed it");
    true
}
