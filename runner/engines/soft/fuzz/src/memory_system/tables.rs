//! Translation tables in the making.

use machine::layout::RAM_BASE;

use crate::common::random::Random;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of RAM: little, for it is filled and compared for each input.
pub const RAM_SIZE: u64 = 128 * PAGE;
/// Roots of the lower half, and the root of the upper one.
const LOWER_ROOTS: u64 = 4;
const ROOTS: u64 = LOWER_ROOTS + 1;
/// Pages for tables at the start of RAM.
const TABLES: u64 = 56;

/// Where in a table entries are: few places, so that addresses meet descriptors. With a root of few entries the
/// larger ones come down to the smaller.
const PLACES: [u64; 6] = [0, 1, 2, 3, 510, 511];

/// The tables.
pub struct Tables {
    used: u64,
    new: Vec<u64>,
}

impl Tables {
    /// The upper half's root.
    pub const UPPER: u64 = RAM_BASE + LOWER_ROOTS * PAGE;

    /// Trees under all roots, in `ram`.
    pub fn new(random: &mut Random, ram: &mut [u8]) -> Tables {
        ram[..(TABLES * PAGE) as usize].fill(0);
        let mut tables = Tables { used: ROOTS, new: Vec::new() };
        for root in 0..ROOTS {
            tables.fill(random, ram, RAM_BASE + root * PAGE, 3);
        }
        tables.new.clear();
        tables
    }

    /// The root of the lower half that belongs to an ASID.
    pub fn root_of(asid: u64) -> u64 {
        RAM_BASE + asid % 251 % LOWER_ROOTS * PAGE
    }

    /// Whether tables are kept at `pa`.
    pub fn holds(pa: u64) -> bool {
        (RAM_BASE..RAM_BASE + TABLES * PAGE).contains(&pa)
    }

    /// The tables made since this was last asked.
    pub fn take_new(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.new)
    }

    /// Puts descriptors into a table that may have `depth` more below it.
    fn fill(&mut self, random: &mut Random, ram: &mut [u8], table: u64, depth: usize) {
        for place in PLACES {
            if random.one_in(6) {
                continue;
            }
            let descriptor =
                if depth > 0 && random.one_in(2) { self.table(random, ram, depth - 1) } else { leaf(random) };
            let at = (table - RAM_BASE + 8 * place) as usize;
            ram[at..at + 8].copy_from_slice(&descriptor.to_le_bytes());
        }
    }

    /// A descriptor of a new table, if there is room for one.
    fn table(&mut self, random: &mut Random, ram: &mut [u8], depth: usize) -> u64 {
        if self.used == TABLES {
            return 0;
        }
        let table = RAM_BASE + self.used * PAGE;
        self.used += 1;
        self.new.push(table);
        self.fill(random, ram, table, depth);
        // APTable, UXNTable and PXNTable, now and then.
        let limits = if random.one_in(4) { random.u64() & 0xf << 59 } else { 0 };
        table | limits | 3
    }

    /// A descriptor to put anywhere.
    pub fn descriptor(&mut self, random: &mut Random, ram: &mut [u8]) -> u64 {
        match random.below(8) {
            0 => 0,
            1 => self.table(random, ram, 1),
            _ => leaf(random),
        }
    }
}

/// A block or a page, sometimes one with something wrong.
fn leaf(random: &mut Random) -> u64 {
    let page = TABLES + random.u64() % (RAM_SIZE / PAGE - TABLES);
    let output = match random.below(12) {
        0 => 0x0900_0000,
        1 => RAM_BASE + RAM_SIZE,
        2 => random.u64() & 0x0000_ffff_ffff_f000,
        _ => RAM_BASE + page * PAGE,
    };
    // A block's output has its low bits ignored.
    let kind = if random.one_in(2) { 3 } else { 1 };
    let accessed = if random.one_in(12) { 0 } else { 1 << 10 };
    // AttrIndx, AP, nG, PXN, UXN and the contiguous bit.
    let attributes = random.u64() & (7 << 2 | 3 << 6 | 1 << 11 | 7 << 52);
    let kind = if kind == 3 && Tables::holds(output) { 1 } else { kind };
    output | kind | accessed | attributes
}

/// A virtual address among those that the tables map, or nearly; often at the end of its page.
pub fn address(random: &mut Random) -> u64 {
    let upper = random.one_in(3);
    let mut va = if upper { 0xffff << 48 } else { 0 };
    for level in 0..4 {
        let place = random.pick(&PLACES);
        va |= place << (39 - 9 * level);
    }
    let offset = random.u64() & 0xfff;
    va |= match random.below(4) {
        0 => 0xff0 | offset & 15,
        1 => offset & 0xff8,
        _ => offset,
    };
    // Bits that the size of the half leaves out: mostly none.
    let bits = random.pick(&[25u32, 30, 31, 34, 39, 39, 40, 48]);
    let kept = (1u64 << bits) - 1;
    va = if upper { va | !kept } else { va & kept };
    match random.below(16) {
        0 => va ^ random.u64() << 56,
        1 => random.u64(),
        _ => va,
    }
}
