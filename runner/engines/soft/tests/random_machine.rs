//! Guests that execute noise on a whole machine, one vCPU or two, with every device on the bus and its queues set
//! up: nothing panics, every run ends, what comes of it can be saved and loaded, the same noise comes to the same
//! end, and the host's memory stays bounded.
//!
//! `SAMOVAR_RANDOM_INSTRUCTIONS` sets how many instructions each kind of machine gets.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs;

use common::guest::{self, RAM_SIZE};
use common::noise;
use common::noisy_machine::{disturb, go_on, machine, scatter, set_up};
use common::random::Random;
use machine::vm::{Outcome, VmState};

/// Instructions of each kind of machine.
const DEFAULT_INSTRUCTIONS: u64 = 20_000_000;

/// Starts on one machine, before the next one is made.
const STARTS: u64 = 16;

struct Totals {
    retired: u64,
    starts: u64,
    outcomes: BTreeMap<&'static str, u64>,
    /// Where the last start of each machine led.
    ends: Vec<VmState>,
}

fn run(seed: u64, cpus: usize, instructions: u64) -> Totals {
    let mut random = Random::new(seed);
    let mut totals = Totals { retired: 0, starts: 0, outcomes: BTreeMap::new(), ends: Vec::new() };
    while totals.retired < instructions {
        let memory = guest::memory();
        noise::fill(&mut random, &memory);
        let mut vm = machine(memory, cpus);
        for _ in 0..STARTS {
            totals.starts += 1;
            set_up(&mut random, &mut vm.machine);
            let mut state = vm.save();
            scatter(&mut random, &mut state);
            vm.load(&state).expect("the machine can be in this state");
            for _ in 0..4 {
                disturb(&mut random, &mut vm.machine);
                let (outcome, goes_on) = go_on(&mut vm, random.u64() % 20_000);
                let name = match outcome {
                    Outcome::Running => "running",
                    Outcome::Idle { .. } => "idle",
                    Outcome::PoweredOff => "powered off",
                    Outcome::Reset => "reset",
                    Outcome::Stopped(_) => "stopped",
                    Outcome::Faulted(_) => "faulted",
                    Outcome::Breakpoint { .. } | Outcome::Stepped { .. } => {
                        panic!("nobody debugs: {outcome:?}")
                    }
                };
                *totals.outcomes.entry(name).or_default() += 1;
                if !goes_on {
                    break;
                }
            }
        }
        totals.retired += vm.retired();
        totals.ends.push(vm.save());
        // As many as tell two runs apart, whatever was asked for.
        totals.ends.truncate(8);
    }
    totals
}

fn instructions() -> u64 {
    match env::var("SAMOVAR_RANDOM_INSTRUCTIONS") {
        Ok(number) => number.parse().expect("SAMOVAR_RANDOM_INSTRUCTIONS is a number"),
        Err(_) => DEFAULT_INSTRUCTIONS,
    }
}

/// The most memory that this process has had, in KiB (proc(5), VmHWM).
fn peak_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn noise_hurts_no_machine() {
    for cpus in [1, 2] {
        let totals = run(cpus as u64, cpus, instructions());
        println!(
            "{cpus} vCPUs: {} starts, {} instructions, ends {:?}",
            totals.starts, totals.retired, totals.outcomes
        );
        assert!(totals.outcomes.len() >= 3, "the noise gets somewhere: {:?}", totals.outcomes);
    }
    if let Some(peak) = peak_memory() {
        // Each machine has 4 MiB; decoded code and what devices keep are bounded.
        assert!(peak < 1 << 20, "{peak} KiB for machines of {RAM_SIZE} bytes");
    }
}

#[test]
fn the_same_noise_comes_to_the_same_end() {
    let [first, second] = [(), ()].map(|()| run(3, 2, instructions() / 8));
    assert_eq!((first.starts, first.retired), (second.starts, second.retired));
    assert_eq!(first.outcomes, second.outcomes);
    assert!(first.ends == second.ends, "two runs of the same noise differ");
}
