//! Self-hosted debug (Arm ARM D2): software step, breakpoints and watchpoints, as a guest that debugs itself or its
//! programs meets them. What each exception leaves is worked out by hand from the manual.

#[path = "../common/mod.rs"]
mod common;

mod breakpoint;
mod registers;
mod step;
mod watchpoint;

use common::guest::*;
use machine::cpu_state::CpuState;
use machine::engine::Exit;

/// Vector offsets (Arm ARM D1.3.1.5).
const CURRENT_SPX: u64 = 0x200;
const LOWER: u64 = 0x400;
const IRQ: u64 = 0x080;

/// PSTATE bits (Arm ARM C5.2.18).
const SS: u64 = 1 << 21;
const D: u64 = 1 << 9;

/// MDSCR_EL1 bits (Arm ARM D24.3.18).
const MDSCR_SS: u64 = 1 << 0;
const KDE: u64 = 1 << 13;
const MDE: u64 = 1 << 15;

/// Fields of breakpoint and watchpoint control registers (Arm ARM D24.3.2, D24.3.11).
const E: u64 = 1 << 0;
const EL1: u64 = 1 << 1;
const EL0: u64 = 1 << 2;

const ADD_X21: u32 = 0x9100_06b5;
const SVC_1234: u32 = 0xd402_4681;
const LDR_X1_X0: u32 = 0xf940_0001;
const STR_X1_X0: u32 = 0xf900_0001;

/// Syndrome of SVC #0x1234, with which programs that met nothing end.
const SVC_SYNDROME: u64 = 0x5600_1234;

/// EL1 with debug exceptions not masked.
fn debuggable_el1(pc: u64) -> CpuState {
    let mut state = at_el1(pc);
    state.pstate &= !D;
    state
}

/// Puts `words` where `start` begins and runs them to the hypercall of the vector that they end at.
fn run(guest: &mut Guest, words: &[u32], start: &CpuState) -> CpuState {
    let place = if start.pstate & 0xf == 0 { USER_CODE } else { CODE };
    guest.put(place, words);
    let (exit, end) = guest.run(start, 1000);
    assert!(matches!(exit, Exit::Hypercall(_)), "{exit:?} at {:#x}", end.pc);
    end
}

/// Goes on by ERET from the exception that ended a run, with its state changed by `change`.
fn return_from(guest: &mut Guest, end: &CpuState, change: impl FnOnce(&mut CpuState)) -> CpuState {
    const HANDLER: u64 = CODE + 0x1000;
    guest.put(HANDLER, &[ERET]);
    let mut state = CpuState { pc: HANDLER, ..end.clone() };
    change(&mut state);
    let (exit, end) = guest.run(&state, 1000);
    assert!(matches!(exit, Exit::Hypercall(_)), "{exit:?} at {:#x}", end.pc);
    end
}
