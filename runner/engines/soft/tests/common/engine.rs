//! The same cases run by the engine, through the seam that the machine uses.

use engine_soft::{SoftEngine, SoftVcpu};
use machine::cpu_state::CpuState;
use machine::engine::{Engine, Exit, Resume, Vcpu};
use machine::layout::RAM_BASE;
use machine::memory::GuestMemory;

use super::qemu::{Case, MEMORY, MEMORY_SIZE, Outcome, SIGILL, State};

/// RAM that reaches past [`MEMORY`], so that a case's addresses are the same here and there.
const RAM_SIZE: u64 = 0x3000_0000;
/// Vectors: a hypercall at each.
const VECTORS: u64 = RAM_BASE;
/// Level 1 and level 2 translation tables.
const LEVEL_1: u64 = RAM_BASE + 0x1000;
const LEVEL_2: u64 = RAM_BASE + 0x2000;
/// Where the words of cases are.
const CODE: u64 = RAM_BASE + 0x1_0000;
const CODE_SIZE: u64 = 0x1_0000;

const HVC: u32 = 0xd400_0002;
/// A case is a few instructions and short loops.
const BUDGET: u64 = 1_000_000;

const SIGTRAP: u32 = 5;
const SIGBUS: u32 = 7;
const SIGSEGV: u32 = 11;

/// SCTLR_EL1.M, C and I (Arm ARM D24.2.175).
const SCTLR_MMU_AND_CACHES: u64 = 1 << 0 | 1 << 2 | 1 << 12;
/// TCR_EL1: 39-bit addresses in the lower half, 40-bit physical ones, no upper half (Arm ARM D24.2.194).
const TCR: u64 = 25 | 1 << 23 | 25 << 16 | 2 << 32;
/// CPACR_EL1.FPEN: no trap.
const FPEN: u64 = 3 << 20;
/// A block of Normal memory, attribute 0, accessed, inner shareable (Arm ARM D8.3).
const BLOCK: u64 = 1 | 3 << 8 | 1 << 10;
/// AP[1]: EL0 has access too, as LDTR needs.
const EL0_ACCESS: u64 = 1 << 6;

/// A vCPU with the MMU on: all of RAM at its own address.
pub struct EngineRunner {
    memory: GuestMemory,
    vcpu: SoftVcpu,
}

impl EngineRunner {
    pub fn new() -> EngineRunner {
        let memory = GuestMemory::anonymous(RAM_SIZE).expect("guest memory is mapped");
        for vector in (0..0x800).step_by(0x80) {
            memory.write(VECTORS + vector, &HVC.to_le_bytes()).expect("inside RAM");
        }
        let table = |at: u64, index: u64, descriptor: u64| {
            memory.write(at + 8 * index, &descriptor.to_le_bytes()).expect("inside RAM");
        };
        table(LEVEL_1, RAM_BASE >> 30, LEVEL_2 | 3);
        for block in 0..RAM_SIZE >> 21 {
            let address = RAM_BASE + (block << 21);
            // EL1 can't execute what EL0 can write, so this is for the data alone.
            let access = if address == MEMORY { EL0_ACCESS } else { 0 };
            table(LEVEL_2, block, address | BLOCK | access);
        }
        let engine = SoftEngine::new(memory.clone(), 1);
        let vcpu = engine.create_vcpu(0).expect("a vCPU is made");
        EngineRunner { memory, vcpu }
    }

    /// Runs a case; what QEMU's user-mode emulator makes a signal is one here.
    pub fn run(&mut self, case: &Case) -> Outcome {
        let words: Vec<u8> = case.words.iter().chain([&HVC]).flat_map(|word| word.to_le_bytes()).collect();
        assert!(words.len() as u64 <= CODE_SIZE, "the case is too long");
        self.memory.write(CODE, &words).expect("inside RAM");
        self.memory.write(MEMORY, &case.state.memory).expect("inside RAM");
        self.vcpu.load(&cpu_state(&case.state)).expect("the engine can hold the state");
        let exit = self.vcpu.run(Resume::Go, 0, BUDGET);
        let end = self.vcpu.save();
        let signal = match exit {
            Exit::Hypercall(_) if end.pc == CODE + 4 * case.words.len() as u64 => 0,
            Exit::Hypercall(_) if (VECTORS..VECTORS + 0x800).contains(&end.pc) => signal(end.sys.esr_el1),
            Exit::Stopped(_) => SIGILL,
            other => panic!("{:08x?} ended with {other:?} at {:#x}", case.words, end.pc),
        };
        let flags = if signal == 0 || signal == SIGILL && end.sys.esr_el1 == 0 {
            end.pstate
        } else {
            end.sys.spsr_el1
        };
        let mut memory = [0; MEMORY_SIZE];
        self.memory.read(MEMORY, &mut memory).expect("inside RAM");
        let state = State {
            x: end.x,
            sp: end.sp_el1,
            nzcv: (flags & 0xf000_0000) as u32,
            fpcr: end.fpcr as u32,
            fpsr: end.fpsr as u32,
            v: end.v.map(|[low, high]| u128::from(low) | u128::from(high) << 64),
            memory,
        };
        Outcome { state, signal }
    }
}

fn cpu_state(state: &State) -> CpuState {
    let mut cpu = CpuState::at_entry(CODE, 0);
    cpu.x = state.x;
    cpu.sp_el1 = state.sp;
    cpu.pstate |= u64::from(state.nzcv);
    cpu.fpcr = state.fpcr.into();
    cpu.fpsr = state.fpsr.into();
    cpu.v = state.v.map(|v| [v as u64, (v >> 64) as u64]);
    cpu.sys.sctlr_el1 |= SCTLR_MMU_AND_CACHES;
    cpu.sys.tcr_el1 = TCR;
    cpu.sys.ttbr0_el1 = LEVEL_1;
    cpu.sys.mair_el1 = 0xff;
    cpu.sys.cpacr_el1 = FPEN;
    cpu.sys.vbar_el1 = VECTORS;
    cpu
}

/// The signal that Linux makes of an exception (arch/arm64's tables, by class and status).
fn signal(esr: u64) -> u32 {
    match (esr >> 26, esr & 0x3f) {
        (0x00, _) => SIGILL,
        (0x24 | 0x25, 0x21) => SIGBUS,
        (0x20..=0x25, _) => SIGSEGV,
        (0x3c, _) => SIGTRAP,
        _ => panic!("an exception with ESR {esr:#x}"),
    }
}

/// What differs between two ends of a case, for a reader; general register `except` is not compared.
pub fn differences(case: &Case, ours: &Outcome, theirs: &Outcome, except: usize) -> Option<String> {
    let mut text = String::new();
    if ours.signal != theirs.signal {
        text += &format!("  signal: ours {}, QEMU's {}\n", ours.signal, theirs.signal);
    }
    let (a, b) = (&ours.state, &theirs.state);
    for n in (0..31).filter(|&n| n != except && a.x[n] != b.x[n]) {
        text += &format!(
            "  x{n}: ours {:016x}, QEMU's {:016x}, before {:016x}\n",
            a.x[n], b.x[n], case.state.x[n]
        );
    }
    if a.sp != b.sp {
        text += &format!("  sp: ours {:016x}, QEMU's {:016x}, before {:016x}\n", a.sp, b.sp, case.state.sp);
    }
    for n in (0..32).filter(|&n| a.v[n] != b.v[n]) {
        text += &format!(
            "  v{n}: ours {:032x}, QEMU's {:032x}, before {:032x}\n",
            a.v[n], b.v[n], case.state.v[n]
        );
    }
    for (name, ours, theirs) in [("nzcv", a.nzcv, b.nzcv), ("fpcr", a.fpcr, b.fpcr), ("fpsr", a.fpsr, b.fpsr)]
    {
        if ours != theirs {
            text += &format!("  {name}: ours {ours:08x}, QEMU's {theirs:08x}\n");
        }
    }
    for at in (0..MEMORY_SIZE).step_by(8).filter(|&at| a.memory[at..at + 8] != b.memory[at..at + 8]) {
        text += &format!(
            "  memory +{at:#x}: ours {:02x?}, QEMU's {:02x?}\n",
            &a.memory[at..at + 8],
            &b.memory[at..at + 8]
        );
    }
    (!text.is_empty()).then(|| format!("{:08x?}\n{text}", case.words))
}

impl Default for EngineRunner {
    fn default() -> Self {
        EngineRunner::new()
    }
}
