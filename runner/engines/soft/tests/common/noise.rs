//! Noise for a guest to execute, and states to start it in.

use engine_soft::decode::decode;
use engine_soft::op::Kind;
use machine::cpu_state::CpuState;
use machine::layout::RAM_BASE;
use machine::memory::GuestMemory;

use super::guest::{CODE, DEVICE, ERET, RAM_SIZE, USER_CODE, USER_DATA, VECTORS, at_el0, at_el1, put};
use super::operands;
use super::random::Random;

/// A handler that goes on after the instruction that faulted: MRS X18, ELR_EL1; ADD X18, X18, #4;
/// MSR ELR_EL1, X18; ERET.
pub const SKIP: [u32; 4] = [0xd538_4032, 0x9100_1252, 0xd518_4032, ERET];

/// Mostly words that are instructions, half of them of the system's group, which touches the most.
pub fn word(random: &mut Random) -> u32 {
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

/// Noise in the pages that hold code, around them and in what page tables may be pointed at.
pub fn fill(random: &mut Random, memory: &GuestMemory) {
    for page in [CODE, USER_CODE, USER_DATA, RAM_BASE + RAM_SIZE - 0x1000] {
        let words: Vec<u32> = (0..1024).map(|_| word(random)).collect();
        put(memory, page, &words);
    }
    let noisy = random.one_in(4);
    set_handlers(memory, || if noisy { std::array::from_fn(|_| word(random)) } else { SKIP });
}

/// Puts a handler at every vector.
pub fn set_handlers(memory: &GuestMemory, mut handler: impl FnMut() -> [u32; 4]) {
    for vector in (0..0x800).step_by(0x80) {
        put(memory, VECTORS + vector, &handler());
    }
}

/// An address of something, or nearly.
pub fn pointer(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => DEVICE + random.u64() % 0x1000,
        1 => USER_DATA + 0x1000 * (random.u64() % 8),
        2 => RAM_BASE + RAM_SIZE - random.u64() % 32,
        3 => operands::general(random),
        _ => RAM_BASE + random.u64() % RAM_SIZE,
    }
}

/// A state at EL0 or EL1 with anything in its registers.
pub fn start(random: &mut Random, el0: bool, mmu: bool) -> CpuState {
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
