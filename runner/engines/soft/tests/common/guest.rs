//! A small bare-metal guest: some RAM, page tables with a page of each kind, and a hypercall at every vector.

use engine_soft::{SoftEngine, SoftVcpu};
use machine::cpu_state::CpuState;
use machine::engine::{Engine, Exit, Resume, Vcpu};
use machine::layout::RAM_BASE;
use machine::memory::GuestMemory;

pub const HVC: u32 = 0xd400_0002;
pub const NOP: u32 = 0xd503_201f;
pub const ERET: u32 = 0xd69f_03e0;

pub const RAM_SIZE: u64 = 4 << 20;
pub const VECTORS: u64 = RAM_BASE;
const LEVEL_1: u64 = RAM_BASE + 0x1000;
const LEVEL_2: u64 = RAM_BASE + 0x2000;
const LEVEL_3: u64 = RAM_BASE + 0x3000;

/// Code for EL1, which EL0 can't see.
pub const CODE: u64 = RAM_BASE + 0x1_0000;
/// Code for EL0, read-only for everybody.
pub const USER_CODE: u64 = RAM_BASE + 0x2_0000;
/// Data that EL0 and EL1 read and write.
pub const USER_DATA: u64 = RAM_BASE + 0x3_0000;
/// Data that nobody writes.
pub const READ_ONLY: u64 = RAM_BASE + 0x3_1000;
/// Data of EL1 alone; the page after it is not mapped.
pub const PRIVATE: u64 = RAM_BASE + 0x3_2000;
/// No descriptor.
pub const UNMAPPED: u64 = RAM_BASE + 0x3_3000;
/// A descriptor without its access flag.
pub const UNACCESSED: u64 = RAM_BASE + 0x3_4000;
/// Nobody executes it.
pub const NO_EXECUTE: u64 = RAM_BASE + 0x3_5000;
/// A device page.
pub const DEVICE: u64 = 0x0900_0000;

/// Descriptor bits (Arm ARM D8.3).
mod descriptor {
    pub const TABLE_OR_PAGE: u64 = 3;
    pub const BLOCK: u64 = 1;
    pub const EL0: u64 = 1 << 6;
    pub const READ_ONLY: u64 = 1 << 7;
    pub const INNER_SHAREABLE: u64 = 3 << 8;
    pub const ACCESSED: u64 = 1 << 10;
    pub const EXECUTE_NEVER: u64 = 3 << 53;
    /// UXN: EL0 may execute what it may not read.
    pub const EL0_EXECUTES_NEVER: u64 = 1 << 54;
}

pub struct Guest {
    pub memory: GuestMemory,
    pub vcpu: SoftVcpu,
}

impl Guest {
    pub fn new() -> Guest {
        let memory = memory();
        let engine = SoftEngine::new(memory.clone(), 1);
        let guest = Guest { vcpu: engine.create_vcpu(0).expect("a vCPU is made"), memory };
        for vector in (0..0x800).step_by(0x80) {
            guest.put(VECTORS + vector, &[HVC]);
        }
        guest
    }

    /// Writes words to RAM.
    pub fn put(&self, at: u64, words: &[u32]) {
        put(&self.memory, at, words);
    }

    /// Starts from `state` and runs to the first exit.
    pub fn run(&mut self, state: &CpuState, budget: u64) -> (Exit, CpuState) {
        self.vcpu.load(state).expect("the engine can hold the state");
        let exit = self.vcpu.run(Resume::Go, 0, budget);
        (exit, self.vcpu.save())
    }
}

/// Writes words to RAM.
pub fn put(memory: &GuestMemory, at: u64, words: &[u32]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(at, &bytes).expect("inside RAM");
}

/// RAM with the page tables that [`at_el1`] points at.
pub fn memory() -> GuestMemory {
    use descriptor::*;
    let memory = GuestMemory::anonymous(RAM_SIZE).expect("guest memory is mapped");
    let entry = |table: u64, index: u64, descriptor: u64| {
        memory.write(table + 8 * index, &descriptor.to_le_bytes()).expect("inside RAM");
    };
    const NORMAL: u64 = INNER_SHAREABLE | ACCESSED;
    entry(LEVEL_1, 0, BLOCK | ACCESSED | EXECUTE_NEVER | 1 << 2);
    entry(LEVEL_1, RAM_BASE >> 30, LEVEL_2 | TABLE_OR_PAGE);
    entry(LEVEL_2, 0, LEVEL_3 | TABLE_OR_PAGE);
    for page in 0..512 {
        let address = RAM_BASE + (page << 12);
        let attributes = match address {
            USER_CODE => NORMAL | EL0 | READ_ONLY,
            USER_DATA => NORMAL | EL0,
            READ_ONLY_PAGE => NORMAL | EL0 | READ_ONLY,
            UNMAPPED => continue,
            UNACCESSED => INNER_SHAREABLE,
            NO_EXECUTE => NORMAL | EXECUTE_NEVER,
            _ => NORMAL | EL0_EXECUTES_NEVER,
        };
        entry(LEVEL_3, page, address | attributes | TABLE_OR_PAGE);
    }
    memory
}

const READ_ONLY_PAGE: u64 = READ_ONLY;

impl Default for Guest {
    fn default() -> Self {
        Guest::new()
    }
}

/// EL1h at `pc`, the MMU on, FP and SIMD on, interrupts masked.
pub fn at_el1(pc: u64) -> CpuState {
    let mut state = CpuState::at_entry(pc, 0);
    // M, C and I; SPAN, so that exceptions leave PAN alone (Arm ARM D24.2.175).
    state.sys.sctlr_el1 |= 1 << 0 | 1 << 2 | 1 << 12 | 1 << 23;
    // 39-bit addresses below, none above (EPD1), 40-bit physical ones (Arm ARM D24.2.194).
    state.sys.tcr_el1 = 25 | 25 << 16 | 1 << 23 | 2 << 32;
    state.sys.ttbr0_el1 = LEVEL_1;
    // Attribute 0 is Normal write-back, 1 is Device-nGnRE.
    state.sys.mair_el1 = 0x04ff;
    state.sys.vbar_el1 = VECTORS;
    state.sys.cpacr_el1 = 3 << 20;
    state
}

/// EL0 at `pc`, otherwise the same.
pub fn at_el0(pc: u64) -> CpuState {
    CpuState { pstate: 0, ..at_el1(pc) }
}
