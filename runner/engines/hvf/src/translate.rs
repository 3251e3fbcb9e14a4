//! Where a guest's virtual address is: the walk of its translation tables, stage 1, 4 KiB granule (Arm ARM D8.2), the
//! only one that the machine's features have.
//!
//! For instructions that the processor has begun already, so that permissions were checked.

use machine::memory::GuestMemory;

const PAGE_MASK: u64 = 0xfff;

/// The registers that lead the walk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tables {
    pub(crate) sctlr_el1: u64,
    pub(crate) tcr_el1: u64,
    pub(crate) ttbr0_el1: u64,
    pub(crate) ttbr1_el1: u64,
}

/// Guest physical address of `va`; None if the tables have none, or are not in memory.
pub(crate) fn translate(memory: &GuestMemory, tables: &Tables, va: u64) -> Option<u64> {
    if tables.sctlr_el1 & 1 == 0 {
        return Some(va);
    }
    let upper = va >> 55 & 1 != 0;
    let (ttbr, size) = if upper {
        (tables.ttbr1_el1, tables.tcr_el1 >> 16 & 63)
    } else {
        (tables.ttbr0_el1, tables.tcr_el1 & 63)
    };
    let input_bits = 64 - (size as u32).clamp(16, 39);
    let first_level = 4 - (input_bits - 12).div_ceil(9);
    let mut table = ttbr & 0x0000_ffff_ffff_fffe;
    for level in first_level..=3 {
        let shift = 12 + 9 * (3 - level);
        let index_bits = if level == first_level { input_bits - shift } else { 9 };
        // A first table is aligned to its size (Arm ARM D8.2.4).
        let base = table & !((8u64 << index_bits) - 1);
        let index = va >> shift & ((1 << index_bits) - 1);
        let descriptor = memory.read_u64(base + index * 8).ok()?;
        let output = descriptor & 0x0000_ffff_ffff_f000;
        match (descriptor & 3, level) {
            (0b11, 0..=2) => table = output,
            (0b01, 1 | 2) | (0b11, 3) => {
                let within = (1u64 << shift) - 1;
                return Some(output & !within | va & within);
            }
            _ => return None,
        }
    }
    None
}

/// Whether `a` and `b` are of one page, which one translation is enough for.
pub(crate) fn same_page(a: u64, b: u64) -> bool {
    a & !PAGE_MASK == b & !PAGE_MASK
}
