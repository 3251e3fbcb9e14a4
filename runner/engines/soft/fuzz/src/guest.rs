//! A machine with one vCPU or two executes the words it is given, from the registers it is given, with every device
//! there and its queues live: it neither panics nor hangs, and what comes of it can be saved and loaded.

use machine::memory::GuestMemory;

use crate::common::guest::{self, CODE, USER_CODE};
use crate::common::noise;
use crate::common::noisy_machine::{disturb, go_on, machine, scatter, set_up};
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
        if !go_on(&mut vm, random.u64() % 10_000).1 {
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
