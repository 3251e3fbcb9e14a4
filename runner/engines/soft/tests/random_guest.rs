//! Guests that execute noise: whatever they do, the engine neither panics nor takes the process down, and every
//! run ends.
//!
//! `SAMOVAR_RANDOM_INSTRUCTIONS` sets how many instructions each kind of guest gets.

mod common;

use std::collections::BTreeMap;
use std::env;

use common::guest::Guest;
use common::noise::{self, start};
use common::random::Random;
use machine::cpu_state::CpuState;
use machine::engine::{Exit, Resume, Vcpu};

const DEFAULT_INSTRUCTIONS: u64 = 1_000_000;

/// Budget of one start.
const BUDGET: u64 = 500;

#[derive(Default)]
struct Totals {
    retired: u64,
    starts: u64,
    exits: BTreeMap<&'static str, u64>,
}

fn run(seed: u64, el0: bool, mmu: bool, instructions: u64) -> Totals {
    let mut random = Random::new(seed);
    let mut totals = Totals::default();
    let mut guest = Guest::new();
    while totals.retired < instructions {
        if totals.starts % 64 == 0 {
            totals.retired += guest.vcpu.retired();
            // New noise, in the pages that hold code, around them and in what page tables may be pointed at.
            guest = Guest::new();
            noise::fill(&mut random, &guest.memory);
        }
        totals.starts += 1;
        guest.vcpu.load(&start(&mut random, el0, mmu)).expect("the engine can hold the state");
        let began = guest.vcpu.retired();
        let mut resume = Resume::Go;
        for _ in 0..BUDGET {
            let done = guest.vcpu.retired() - began;
            if done >= BUDGET {
                break;
            }
            guest.vcpu.set_irq(random.one_in(4));
            let exit = guest.vcpu.run(resume, random.u64() >> 20, BUDGET - done);
            let name = match exit {
                Exit::MmioRead { .. } => "MMIO read",
                Exit::MmioWrite { .. } => "MMIO write",
                Exit::SysRegRead(_) => "system register read",
                Exit::SysRegWrite(..) => "system register write",
                Exit::Hypercall(_) => "hypercall",
                Exit::WaitForInterrupt => "WFI",
                Exit::WaitForEvent => "WFE",
                Exit::Budget => "budget",
                Exit::Breakpoint => "breakpoint",
                Exit::Stopped(_) => "stopped",
            };
            *totals.exits.entry(name).or_default() += 1;
            resume = match exit {
                Exit::Stopped(_) => {
                    let stopped = guest.vcpu.save();
                    let after = CpuState { pc: stopped.pc.wrapping_add(4), ..stopped };
                    guest.vcpu.load(&after).expect("what an engine saves it can load");
                    Resume::Go
                }
                Exit::MmioRead { .. } | Exit::SysRegRead(_) | Exit::Hypercall(_) if !random.one_in(8) => {
                    Resume::Value(random.u64())
                }
                _ if random.one_in(8) => Resume::Fault,
                _ => Resume::Go,
            };
        }
        let end = guest.vcpu.save();
        guest.vcpu.load(&end).expect("what an engine saves it can load");
    }
    totals
}

#[test]
fn noise_hurts_nobody() {
    let instructions = match env::var("SAMOVAR_RANDOM_INSTRUCTIONS") {
        Ok(number) => number.parse().expect("SAMOVAR_RANDOM_INSTRUCTIONS is a number"),
        Err(_) => DEFAULT_INSTRUCTIONS,
    };
    for (seed, (el0, mmu)) in
        [(false, false), (false, true), (true, false), (true, true)].into_iter().enumerate()
    {
        let totals = run(seed as u64, el0, mmu, instructions);
        println!(
            "EL{} with the MMU {}: {} starts, {} instructions, exits {:?}",
            u8::from(!el0),
            if mmu { "on" } else { "off" },
            totals.starts,
            totals.retired,
            totals.exits
        );
        assert!(totals.retired >= instructions);
    }
}
