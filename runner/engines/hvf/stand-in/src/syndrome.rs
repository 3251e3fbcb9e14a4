//! What the processor says of an access that reached no memory (Arm ARM D24.2.40, ISS of EC 0x24), from the instruction
//! that made it.

use engine_soft::core::Core;
use engine_soft::regs::SP;

/// ISV: the fields above DFSC are valid.
const ISV: u64 = 1 << 24;
/// Translation fault, level 3: nothing is mapped there.
const DFSC: u64 = 0b00_0111;

/// Where an instruction's accesses are, and what is said of them.
pub(crate) struct Access {
    /// Virtual addresses, one a register.
    pub(crate) addresses: Vec<u64>,
    /// ISS but for WnR.
    pub(crate) iss: u64,
}

fn field(word: u32, high: u32, low: u32) -> u32 {
    word >> low & ((1 << (high - low + 1)) - 1)
}

fn signed(value: u32, bits: u32) -> i64 {
    i64::from((value << (32 - bits)) as i32 >> (32 - bits))
}

/// The accesses of the load or store `word`, which has begun on `core`.
pub(crate) fn of(core: &Core, word: u32) -> Access {
    let base = match field(word, 9, 5) {
        31 => core.regs.x[SP],
        n => core.regs.read_x(n),
    };
    let at = |offset: i64| base.wrapping_add_signed(offset);
    let unknown = |addresses| Access { addresses, iss: DFSC };
    let general = field(word, 26, 26) == 0;
    // Load/store pair.
    if field(word, 29, 27) == 0b101 {
        let scale = match (general, field(word, 31, 30)) {
            (true, opc) => 2 + (opc >> 1),
            (false, opc) => 2 + opc,
        };
        let offset = if field(word, 24, 23) == 1 { 0 } else { signed(field(word, 21, 15), 7) << scale };
        return unknown(vec![at(offset), at(offset + (1 << scale))]);
    }
    let size = field(word, 31, 30);
    // Ordered (LDAR, STLR); the rest of this class is exclusive, and never gets here.
    if field(word, 29, 24) == 0b00_1000 {
        return valid(word, vec![base], size, false, size == 3);
    }
    // Load/store register: immediate or register offset, with and without writeback.
    let opc = field(word, 23, 22);
    let offset = match (field(word, 25, 24), field(word, 21, 21), field(word, 11, 10)) {
        (1, _, _) => i64::from(field(word, 21, 10)) << size,
        (0, 0, 1) => 0,
        (0, 0, _) => signed(field(word, 20, 12), 9),
        _ => {
            let index = core.regs.read_x(field(word, 20, 16));
            let extended = match field(word, 15, 13) {
                2 => u64::from(index as u32),
                6 => index as i32 as u64,
                _ => index,
            };
            (extended << if field(word, 12, 12) == 1 { size } else { 0 }) as i64
        }
    };
    let writeback = field(word, 25, 24) == 0 && field(word, 21, 21) == 0 && field(word, 10, 10) == 1;
    if !general || writeback {
        return unknown(vec![at(offset)]);
    }
    // Bit 1 of opc: sign-extended, to 64 bits unless bit 0 is set.
    let sign = opc & 2 != 0;
    valid(word, vec![at(offset)], size, sign, if sign { opc & 1 == 0 } else { size == 3 })
}

fn valid(word: u32, addresses: Vec<u64>, size: u32, sign: bool, wide: bool) -> Access {
    let iss = ISV
        | u64::from(size) << 22
        | u64::from(sign) << 21
        | u64::from(field(word, 4, 0)) << 16
        | u64::from(wide) << 15
        | DFSC;
    Access { addresses, iss }
}
