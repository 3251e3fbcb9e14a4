//! Data processing with registers (Arm ARM C4.1.95).

use super::{bit, bits, dest, or_sp, source};
use crate::{
    op::{Kind, Op, compare},
    regs::ZERO,
};

pub(super) fn decode(word: u32) -> Option<Op> {
    match (bit(word, 28), bits(word, 24, 21)) {
        (false, 0b0000..=0b0111) => logical_shifted(word),
        (false, 0b1000 | 0b1010 | 0b1100 | 0b1110) => add_sub_shifted(word),
        (false, _) => add_sub_extended(word),
        (true, 0b0000) => add_sub_carry(word),
        (true, 0b0010) => conditional_compare(word),
        (true, 0b0100) => conditional_select(word),
        (true, 0b0110) if bit(word, 30) => one_source(word),
        (true, 0b0110) => two_sources(word),
        (true, 0b1000..=0b1111) => three_sources(word),
        _ => None,
    }
}

fn by_width(wide: bool, kind64: Kind, kind32: Kind) -> Kind {
    if wide { kind64 } else { kind32 }
}

fn logical_shifted(word: u32) -> Option<Op> {
    use Kind::*;
    let wide = bit(word, 31);
    let amount = bits(word, 15, 10);
    if !wide && amount >= 32 {
        return None;
    }
    let (opc, invert, shift) = (bits(word, 30, 29), bit(word, 21), bits(word, 23, 22));
    let mut op = Op {
        d: dest(word, 0),
        n: source(word, 5),
        m: source(word, 16),
        s: amount as u8,
        t: shift as u8,
        imm: u64::from((opc << 1) | u32::from(invert)),
        ..Op::new(by_width(wide, LogicalShift64, LogicalShift32))
    };
    if amount == 0 && !invert {
        op.kind = match opc {
            0 => by_width(wide, And64, And32),
            1 if op.n as usize == ZERO => by_width(wide, MovReg64, MovReg32),
            1 => by_width(wide, Orr64, Orr32),
            2 => by_width(wide, Eor64, Eor32),
            _ => by_width(wide, Ands64, Ands32),
        };
    }
    Some(op)
}

fn add_sub_shifted(word: u32) -> Option<Op> {
    use Kind::*;
    let wide = bit(word, 31);
    let (shift, amount) = (bits(word, 23, 22), bits(word, 15, 10));
    if shift == 3 || (!wide && amount >= 32) {
        return None;
    }
    let (subtract, flags) = (bit(word, 30), bit(word, 29));
    let mut op = Op {
        d: dest(word, 0),
        n: source(word, 5),
        m: source(word, 16),
        s: amount as u8,
        t: shift as u8,
        imm: u64::from(flags) | (u64::from(subtract) << 1),
        ..Op::new(by_width(wide, AddSubShift64, AddSubShift32))
    };
    if amount == 0 {
        op.kind = match (subtract, flags) {
            (false, false) => by_width(wide, Add64, Add32),
            (false, true) => by_width(wide, Adds64, Adds32),
            (true, false) => by_width(wide, Sub64, Sub32),
            (true, true) => by_width(wide, Subs64, Subs32),
        };
    } else if shift == 0 && wide && !flags {
        op.kind = if subtract { SubLsl64 } else { AddLsl64 };
    }
    Some(op)
}

fn add_sub_extended(word: u32) -> Option<Op> {
    let amount = bits(word, 12, 10);
    if bits(word, 23, 22) != 0 || amount > 4 {
        return None;
    }
    let flags = bit(word, 29);
    Some(Op {
        d: if flags { dest(word, 0) } else { or_sp(word, 0) },
        n: or_sp(word, 5),
        m: source(word, 16),
        s: amount as u8,
        t: bits(word, 15, 13) as u8,
        imm: u64::from(flags) | (u64::from(bit(word, 30)) << 1),
        ..Op::new(by_width(bit(word, 31), Kind::AddSubExt64, Kind::AddSubExt32))
    })
}

fn add_sub_carry(word: u32) -> Option<Op> {
    if bits(word, 15, 10) != 0 {
        // RMIF and SETF are FEAT_FlagM.
        return None;
    }
    Some(Op {
        d: dest(word, 0),
        n: source(word, 5),
        m: source(word, 16),
        imm: u64::from(bit(word, 29)) | (u64::from(bit(word, 30)) << 1),
        ..Op::new(by_width(bit(word, 31), Kind::AdcSbc64, Kind::AdcSbc32))
    })
}

fn conditional_compare(word: u32) -> Option<Op> {
    if !bit(word, 29) || bit(word, 10) || bit(word, 4) {
        return None;
    }
    let mut t = 0;
    if bit(word, 31) {
        t |= compare::WIDE;
    }
    if bit(word, 11) {
        t |= compare::IMMEDIATE;
    }
    if bit(word, 30) {
        t |= compare::SUBTRACT;
    }
    Some(Op {
        n: source(word, 5),
        m: source(word, 16),
        a: bits(word, 3, 0) as u8,
        s: bits(word, 15, 12) as u8,
        t,
        imm: u64::from(bits(word, 20, 16)),
        ..Op::new(Kind::CondCompare)
    })
}

fn conditional_select(word: u32) -> Option<Op> {
    use Kind::*;
    if bit(word, 29) || bit(word, 11) {
        return None;
    }
    let wide = bit(word, 31);
    let kind = match (bit(word, 30), bit(word, 10)) {
        (false, false) => by_width(wide, Csel64, Csel32),
        (false, true) => by_width(wide, Csinc64, Csinc32),
        (true, false) => by_width(wide, Csinv64, Csinv32),
        (true, true) => by_width(wide, Csneg64, Csneg32),
    };
    Some(Op {
        d: dest(word, 0),
        n: source(word, 5),
        m: source(word, 16),
        s: bits(word, 15, 12) as u8,
        ..Op::new(kind)
    })
}

fn one_source(word: u32) -> Option<Op> {
    use Kind::*;
    if bit(word, 29) || bits(word, 20, 16) != 0 {
        // opcode2 1 is FEAT_PAuth.
        return None;
    }
    let wide = bit(word, 31);
    let kind = match bits(word, 15, 10) {
        0b000 => by_width(wide, Rbit64, Rbit32),
        0b001 => by_width(wide, Rev16x64, Rev16x32),
        0b010 => by_width(wide, Rev32x64, Rev32),
        0b011 if wide => Rev64,
        0b100 => by_width(wide, Clz64, Clz32),
        0b101 => by_width(wide, Cls64, Cls32),
        _ => return None,
    };
    Some(Op { d: dest(word, 0), n: source(word, 5), ..Op::new(kind) })
}

fn two_sources(word: u32) -> Option<Op> {
    use Kind::*;
    if bit(word, 29) {
        return None;
    }
    let wide = bit(word, 31);
    let opcode = bits(word, 15, 10);
    let mut op = Op { d: dest(word, 0), n: source(word, 5), m: source(word, 16), ..Op::new(Crc32) };
    op.kind = match opcode {
        0b000010 => by_width(wide, Udiv64, Udiv32),
        0b000011 => by_width(wide, Sdiv64, Sdiv32),
        0b001000 => by_width(wide, Lslv64, Lslv32),
        0b001001 => by_width(wide, Lsrv64, Lsrv32),
        0b001010 => by_width(wide, Asrv64, Asrv32),
        0b001011 => by_width(wide, Rorv64, Rorv32),
        0b010000..=0b010111 if (opcode & 3 == 3) == wide => {
            op.s = (opcode & 3) as u8;
            op.t = ((opcode >> 2) & 1) as u8;
            Crc32
        }
        _ => return None,
    };
    Some(op)
}

fn three_sources(word: u32) -> Option<Op> {
    use Kind::*;
    if bits(word, 30, 29) != 0 {
        return None;
    }
    let wide = bit(word, 31);
    let negate = bit(word, 15);
    let kind = match (bits(word, 23, 21), negate) {
        (0b000, false) => by_width(wide, Madd64, Madd32),
        (0b000, true) => by_width(wide, Msub64, Msub32),
        (0b001, false) if wide => Smaddl,
        (0b001, true) if wide => Smsubl,
        (0b010, false) if wide => Smulh,
        (0b101, false) if wide => Umaddl,
        (0b101, true) if wide => Umsubl,
        (0b110, false) if wide => Umulh,
        _ => return None,
    };
    Some(Op {
        d: dest(word, 0),
        n: source(word, 5),
        m: source(word, 16),
        a: source(word, 10),
        ..Op::new(kind)
    })
}
