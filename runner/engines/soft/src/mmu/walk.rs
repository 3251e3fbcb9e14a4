//! The translation table walk for the EL1&0 regime, stage 1, 4 KiB granule
//! (Arm ARM D8.2).

use machine::{cpu_state::SysRegs, memory::GuestMemory};

use super::{PAGE_MASK, tlb::PAGE_REACH};

/// SCTLR_EL1 bits that translation looks at (Arm ARM D24.2.175).
pub mod sctlr {
    /// Stage 1 translation is on.
    pub const M: u64 = 1 << 0;
    /// SP is checked for alignment at EL1.
    pub const SA: u64 = 1 << 3;
    /// SP is checked for alignment at EL0.
    pub const SA0: u64 = 1 << 4;
    /// Write permission implies execute-never.
    pub const WXN: u64 = 1 << 19;
}

/// TCR_EL1 bits (Arm ARM D24.2.194).
mod tcr {
    pub const EPD0: u64 = 1 << 7;
    pub const EPD1: u64 = 1 << 23;
    pub const TBI0: u64 = 1 << 37;
    pub const TBI1: u64 = 1 << 38;
}

/// What a leaf descriptor says of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Physical address of the 4 KiB page.
    pub page: u64,
    /// EL1 may write.
    pub write_el1: bool,
    /// EL0 may read.
    pub read_el0: bool,
    /// EL0 may write.
    pub write_el0: bool,
    /// EL1 may execute.
    pub exec_el1: bool,
    /// EL0 may execute.
    pub exec_el0: bool,
    /// Belongs to every ASID (nG clear).
    pub global: bool,
    /// MAIR_EL1 attribute byte.
    pub attributes: u8,
    /// Level of the descriptor, 1 to 3; for permission faults.
    pub level: u8,
}

impl Leaf {
    /// How many low bits of an address the descriptor leaves as they are.
    pub fn reach(&self) -> u8 {
        match self.level {
            1 => 30,
            2 => 21,
            _ => PAGE_REACH,
        }
    }
}

/// Why a walk found no page, as a fault status code (Arm ARM D24.2.40, DFSC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkFault {
    /// The six-bit fault status code.
    pub status: u8,
}

/// Fault status codes without their level (Arm ARM D24.2.40).
pub mod status {
    /// Address size fault.
    pub const ADDRESS_SIZE: u8 = 0b000000;
    /// Translation fault.
    pub const TRANSLATION: u8 = 0b000100;
    /// Access flag fault.
    pub const ACCESS_FLAG: u8 = 0b001000;
    /// Permission fault.
    pub const PERMISSION: u8 = 0b001100;
    /// Synchronous external abort, not on a walk.
    pub const EXTERNAL: u8 = 0b010000;
    /// Synchronous external abort on a walk.
    pub const EXTERNAL_ON_WALK: u8 = 0b010100;
    /// Alignment fault.
    pub const ALIGNMENT: u8 = 0b100001;
}

/// Bits of a physical address (ID_AA64MMFR0_EL1.PARange of 40 bits).
pub const PA_BITS: u32 = 40;

/// Where `va` lives: the table base, its first level and the number of bits
/// translated, or a level 0 translation fault.
fn start(sys: &SysRegs, va: u64) -> Result<(u64, u32, u32), WalkFault> {
    let upper = (va >> 55) & 1 != 0;
    let fault = WalkFault { status: status::TRANSLATION };
    let (ttbr, size, disabled, top_byte_ignored) = if upper {
        (sys.ttbr1_el1, (sys.tcr_el1 >> 16) & 63, sys.tcr_el1 & tcr::EPD1, sys.tcr_el1 & tcr::TBI1)
    } else {
        (sys.ttbr0_el1, sys.tcr_el1 & 63, sys.tcr_el1 & tcr::EPD0, sys.tcr_el1 & tcr::TBI0)
    };
    // Without FEAT_LVA and FEAT_TTST the size offset is 16 to 39; what is
    // outside behaves as the nearest of these (Arm ARM D8.2.2).
    let input_bits = 64 - (size as u32).clamp(16, 39);
    let checked_top = if top_byte_ignored != 0 { 55 } else { 63 };
    let above = (va << (63 - checked_top)) as i64 >> (63 - checked_top) >> input_bits;
    if disabled != 0 || above != (if upper { -1 } else { 0 }) {
        return Err(fault);
    }
    let level = 4 - (input_bits - 12).div_ceil(9);
    Ok((ttbr & 0x0000_ffff_ffff_fffe, level, input_bits))
}

/// Translates the page of `va`. Permissions are not checked here, for they
/// depend on who asks.
///
/// # Errors
/// The fault that the access takes, whoever asks.
pub fn walk(memory: &GuestMemory, sys: &SysRegs, va: u64) -> Result<Leaf, WalkFault> {
    if sys.sctlr_el1 & sctlr::M == 0 {
        return flat(sys, va);
    }
    let (mut table, first_level, input_bits) = start(sys, va)?;
    let (mut no_write, mut no_el0, mut no_exec_el0, mut no_exec_el1) = (false, false, false, false);
    for level in first_level..=3 {
        let fault = |code: u8| WalkFault { status: code | level as u8 };
        let shift = 12 + 9 * (3 - level);
        let index_bits = if level == first_level { input_bits - shift } else { 9 };
        let index = (va >> shift) & ((1 << index_bits) - 1);
        let table_base = if level == first_level {
            // A short first table is aligned to its size (Arm ARM D8.2.4).
            table & !((1u64 << (index_bits + 3)) - 1)
        } else {
            table
        };
        if table_base >> PA_BITS != 0 {
            return Err(fault(status::ADDRESS_SIZE));
        }
        let descriptor =
            memory.read_u64(table_base + index * 8).map_err(|_| fault(status::EXTERNAL_ON_WALK))?;
        let output = descriptor & 0x0000_ffff_ffff_f000;
        match (descriptor & 3, level) {
            (0b11, 0..=2) => {
                // Hierarchical permissions (Arm ARM D8.4.3).
                no_exec_el1 |= descriptor & (1 << 59) != 0;
                no_exec_el0 |= descriptor & (1 << 60) != 0;
                no_el0 |= descriptor & (1 << 61) != 0;
                no_write |= descriptor & (1 << 62) != 0;
                table = output;
            }
            (0b01, 1 | 2) | (0b11, 3) => {
                if output >> PA_BITS != 0 {
                    return Err(fault(status::ADDRESS_SIZE));
                }
                if descriptor & (1 << 10) == 0 {
                    return Err(fault(status::ACCESS_FLAG));
                }
                let block_mask = (1u64 << shift) - 1;
                let page = (output & !block_mask) | (va & block_mask & !PAGE_MASK);
                let el0 = descriptor & (1 << 6) != 0 && !no_el0;
                let writable = descriptor & (1 << 7) == 0 && !no_write;
                let write_el0 = el0 && writable;
                let wxn = sys.sctlr_el1 & sctlr::WXN != 0;
                let exec_el0 = descriptor & (1 << 54) == 0 && !no_exec_el0;
                let exec_el1 = descriptor & (1 << 53) == 0 && !no_exec_el1;
                return Ok(Leaf {
                    page,
                    write_el1: writable,
                    read_el0: el0,
                    write_el0,
                    // What EL0 can write EL1 can't execute (Arm ARM D8.4.1).
                    exec_el1: exec_el1 && !write_el0 && !(wxn && writable),
                    // EL0 may execute what it may not read.
                    exec_el0: exec_el0 && !(wxn && write_el0),
                    global: descriptor & (1 << 11) == 0,
                    attributes: (sys.mair_el1 >> (8 * ((descriptor >> 2) & 7))) as u8,
                    level: level as u8,
                });
            }
            _ => return Err(fault(status::TRANSLATION)),
        }
    }
    Err(WalkFault { status: status::TRANSLATION | 3 })
}

/// Translation off: every address is itself, and nobody is kept out. What is
/// no physical address faults at level 0 (Arm ARM J1.1, AArch64.S1DisabledOutput).
fn flat(sys: &SysRegs, va: u64) -> Result<Leaf, WalkFault> {
    let top_byte_ignored = if (va >> 55) & 1 != 0 { tcr::TBI1 } else { tcr::TBI0 };
    let pa = if sys.tcr_el1 & top_byte_ignored != 0 { va & (u64::MAX >> 8) } else { va };
    if pa >> PA_BITS != 0 {
        return Err(WalkFault { status: status::ADDRESS_SIZE });
    }
    Ok(Leaf {
        page: pa & !PAGE_MASK,
        write_el1: true,
        read_el0: true,
        write_el0: true,
        exec_el1: true,
        exec_el0: true,
        global: true,
        attributes: 0xff,
        level: 0,
    })
}

#[cfg(test)]
mod tests {
    use machine::layout::RAM_BASE;

    use super::*;

    /// A regime with both halves of 48 bits, tables at the start of RAM.
    fn regime() -> (GuestMemory, SysRegs) {
        let memory = GuestMemory::anonymous(1 << 20).unwrap();
        let sys = SysRegs {
            sctlr_el1: sctlr::M,
            tcr_el1: 16 | (16 << 16),
            ttbr0_el1: RAM_BASE,
            ttbr1_el1: RAM_BASE + 0x1000,
            mair_el1: 0xff04,
            ..Default::default()
        };
        (memory, sys)
    }

    fn put(memory: &GuestMemory, table: u64, index: u64, descriptor: u64) {
        memory.write(RAM_BASE + table * 0x1000 + index * 8, &descriptor.to_le_bytes()).unwrap();
    }

    #[test]
    fn four_levels_end_in_a_page() {
        let (memory, sys) = regime();
        put(&memory, 0, 1, (RAM_BASE + 0x2000) | 3);
        put(&memory, 2, 2, (RAM_BASE + 0x3000) | 3);
        put(&memory, 3, 3, (RAM_BASE + 0x4000) | 3);
        put(&memory, 4, 4, 0x4008_0000 | (1 << 10) | (1 << 6) | (1 << 53) | (1 << 11) | (1 << 2) | 3);
        let va = (1 << 39) | (2 << 30) | (3 << 21) | (4 << 12) | 0x123;
        let leaf = walk(&memory, &sys, va).unwrap();
        assert_eq!(leaf.page, 0x4008_0000);
        assert!(leaf.read_el0 && leaf.write_el0 && leaf.exec_el0 && !leaf.exec_el1 && !leaf.global);
        assert_eq!((leaf.attributes, leaf.level), (0xff, 3));
        assert_eq!(walk(&memory, &sys, va + 0x1000), Err(WalkFault { status: 0b000111 }));
        assert_eq!(walk(&memory, &sys, va + (1 << 21)), Err(WalkFault { status: 0b000110 }));
    }

    #[test]
    fn a_block_keeps_the_low_bits_and_needs_its_access_flag() {
        let (memory, sys) = regime();
        put(&memory, 1, 511, (RAM_BASE + 0x2000) | 3);
        put(&memory, 2, 511, 0x4000_0000 | (1 << 10) | 1);
        put(&memory, 2, 510, 0x4000_0000 | 1);
        let leaf = walk(&memory, &sys, u64::MAX - 0xfff).unwrap();
        assert_eq!((leaf.page, leaf.level), (0x7fff_f000, 1));
        assert_eq!(walk(&memory, &sys, u64::MAX - (1 << 30)), Err(WalkFault { status: 0b001001 }));
    }

    #[test]
    fn addresses_outside_both_halves_fault_at_level_0() {
        let (memory, sys) = regime();
        assert_eq!(walk(&memory, &sys, 1 << 50), Err(WalkFault { status: 0b000100 }));
        assert_eq!(walk(&memory, &sys, !(1 << 50)), Err(WalkFault { status: 0b000100 }));
        // With the top byte ignored, a tag changes nothing.
        let tagged = SysRegs { tcr_el1: sys.tcr_el1 | tcr::TBI0, ..sys.clone() };
        assert_eq!(walk(&memory, &tagged, 0x5a << 56), Err(WalkFault { status: 0b000100 }));
        put(&memory, 0, 0, (RAM_BASE + 0x2000) | 3);
        assert_eq!(walk(&memory, &tagged, 0x5a << 56), Err(WalkFault { status: 0b000101 }));
        assert_eq!(walk(&memory, &sys, 0x5a << 56), Err(WalkFault { status: 0b000100 }));
    }

    #[test]
    fn with_translation_off_an_address_is_a_physical_one() {
        let (memory, mut sys) = regime();
        sys.sctlr_el1 = 0;
        assert_eq!(walk(&memory, &sys, 0xff_ffff_f123).unwrap().page, 0xff_ffff_f000);
        for va in [1 << 40, 0x5a << 56, u64::MAX] {
            assert_eq!(walk(&memory, &sys, va), Err(WalkFault { status: 0 }), "{va:#x}");
        }
        sys.tcr_el1 |= tcr::TBI0;
        assert_eq!(walk(&memory, &sys, 0x5a00_0000_4000_0123).unwrap().page, 0x4000_0000);
    }

    /// Execute-only memory: AP[1] and UXN clear (Arm ARM D8.4.1).
    #[test]
    fn el0_executes_what_it_cannot_read() {
        let (memory, mut sys) = regime();
        sys.tcr_el1 = 25 | (25 << 16);
        put(&memory, 0, 1, 0x4000_0000 | (1 << 53) | (1 << 10) | 1);
        let leaf = walk(&memory, &sys, 0x4000_0000).unwrap();
        assert!(leaf.exec_el0 && !leaf.read_el0 && !leaf.exec_el1);
        put(&memory, 0, 1, 0x4000_0000 | (1 << 54) | (1 << 10) | 1);
        assert!(!walk(&memory, &sys, 0x4000_0000).unwrap().exec_el0);
    }

    #[test]
    fn a_table_outside_memory_is_an_external_abort_on_the_walk() {
        let (memory, mut sys) = regime();
        sys.ttbr0_el1 = 0x1000;
        assert_eq!(walk(&memory, &sys, 0), Err(WalkFault { status: 0b010100 }));
    }

    #[test]
    fn a_39_bit_half_starts_at_level_1() {
        let (memory, mut sys) = regime();
        sys.tcr_el1 = 25 | (25 << 16);
        put(&memory, 0, 1, 0x4000_0000 | (1 << 10) | 1);
        assert_eq!(walk(&memory, &sys, 0x4000_0000).unwrap().page, 0x4000_0000);
        assert_eq!(walk(&memory, &sys, 1 << 39), Err(WalkFault { status: 0b000100 }));
    }
}
