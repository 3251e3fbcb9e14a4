//! Guests that execute noise: whatever they do, the engine neither panics nor takes the process down, and every
//! run ends.
//!
//! `SAMOVAR_RANDOM_INSTRUCTIONS` sets how many instructions each kind of guest gets.

mod common;

use std::collections::BTreeMap;
use std::env;

use common::guest::{CODE, DEVICE, ERET, Guest, RAM_SIZE, USER_CODE, USER_DATA, at_el0, at_el1};
use common::operands;
use common::random::Random;
use engine_soft::decode::decode;
use engine_soft::op::Kind;
use machine::cpu_state::CpuState;
use machine::engine::{Exit, Resume, Vcpu};
use machine::layout::RAM_BASE;

const DEFAULT_INSTRUCTIONS: u64 = 1_000_000;

/// Budget of one start.
const BUDGET: u64 = 500;

/// A handler that goes on after the instruction that faulted: MRS X18, ELR_EL1; ADD X18, X18, #4;
/// MSR ELR_EL1, X18; ERET.
const SKIP: [u32; 4] = [0xd538_4032, 0x9100_1252, 0xd518_4032, ERET];

/// Mostly words that are instructions, half of them of the system's group, which touches the most.
fn noise(random: &mut Random) -> u32 {
    loop {
        let mut word = random.u32();
        match random.below(8) {
            0 => word = 0xd500_0000 | word & 0x3f_ffff,
            1 => word = 0x0800_0000 | word & 0xf7ff_ffff,
            2 => word = 0x1400_0000 | word & 0xe000_03ff,
            _ => {}
        }
        if decode(word).kind != Kind::Undefined || random.one_in(50) {
            return word;
        }
    }
}

/// An address of something, or nearly.
fn pointer(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => DEVICE + random.u64() % 0x1000,
        1 => USER_DATA + 0x1000 * (random.u64() % 8),
        2 => RAM_BASE + RAM_SIZE - random.u64() % 32,
        3 => operands::general(random),
        _ => RAM_BASE + random.u64() % RAM_SIZE,
    }
}

fn start(random: &mut Random, el0: bool, mmu: bool) -> CpuState {
    let mut state = if el0 { at_el0(USER_CODE) } else { at_el1(CODE) };
    state.pc += random.u64() % 0x400 * 4;
    if !mmu {
        state.sys.sctlr_el1 &= !1;
    }
    if random.one_in(3) {
        state.sys.sctlr_el1 |= random.u64() & 0x0418_d21c;
    }
    state.pstate |= random.u64() & 0xf040_03c0;
    state.sys.vbar_el1 = if random.one_in(4) { pointer(random) & !0x7ff } else { state.sys.vbar_el1 };
    if random.one_in(8) {
        // Tables of noise, in any shape.
        state.sys.ttbr0_el1 = pointer(random);
        state.sys.tcr_el1 = random.u64();
    }
    state.sys.elr_el1 = pointer(random);
    let any = random.u64() & 0xf070_03ff;
    state.sys.spsr_el1 = random.pick(&[0, 4, 5, any]);
    state.sys.cntkctl_el1 = random.u64() & 0x3ff;
    state.x.fill_with(|| pointer(random));
    (state.sp_el0, state.sp_el1) = (pointer(random) & !15, pointer(random) & !15);
    state.v.fill_with(|| [random.u64(), random.u64()]);
    state
}

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
            for page in [CODE, USER_CODE, USER_DATA, RAM_BASE + RAM_SIZE - 0x1000] {
                let words: Vec<u32> = (0..1024).map(|_| noise(&mut random)).collect();
                guest.put(page, &words);
            }
            let noisy = random.one_in(4);
            for vector in (0..0x800).step_by(0x80) {
                let handler = if noisy { std::array::from_fn(|_| noise(&mut random)) } else { SKIP };
                guest.put(RAM_BASE + vector, &handler);
            }
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
