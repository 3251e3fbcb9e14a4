//! Data processing with an immediate (Arm ARM C4.1.92).

use super::{bit, bits, dest, logical_immediate, or_sp, sign_extend, source};
use crate::op::{Kind, Op};

pub(super) fn decode(word: u32) -> Option<Op> {
    match bits(word, 25, 23) {
        0b000 | 0b001 => Some(pc_relative(word)),
        0b010 => Some(add_sub(word)),
        0b100 => logical(word),
        0b101 => move_wide(word),
        0b110 => bit_field(word),
        0b111 => extract(word),
        // 0b011 is FEAT_MTE.
        _ => None,
    }
}

fn pc_relative(word: u32) -> Op {
    let imm = sign_extend((bits(word, 23, 5) << 2) | bits(word, 30, 29), 21);
    let (kind, imm) = if bit(word, 31) { (Kind::Adrp, imm << 12) } else { (Kind::Adr, imm) };
    Op { d: dest(word, 0), imm: imm as u64, ..Op::new(kind) }
}

fn add_sub(word: u32) -> Op {
    let flags = bit(word, 29);
    let kind = match (bit(word, 31), bit(word, 30), flags) {
        (true, false, false) => Kind::AddImm64,
        (true, false, true) => Kind::AddsImm64,
        (true, true, false) => Kind::SubImm64,
        (true, true, true) => Kind::SubsImm64,
        (false, false, false) => Kind::AddImm32,
        (false, false, true) => Kind::AddsImm32,
        (false, true, false) => Kind::SubImm32,
        (false, true, true) => Kind::SubsImm32,
    };
    let shift = if bit(word, 22) { 12 } else { 0 };
    Op {
        d: if flags { dest(word, 0) } else { or_sp(word, 0) },
        n: or_sp(word, 5),
        imm: u64::from(bits(word, 21, 10)) << shift,
        ..Op::new(kind)
    }
}

fn logical(word: u32) -> Option<Op> {
    let wide = bit(word, 31);
    let imm = logical_immediate(bits(word, 22, 22), bits(word, 15, 10), bits(word, 21, 16), wide)?;
    let opc = bits(word, 30, 29);
    let kind = match (opc, wide) {
        (0, true) => Kind::AndImm64,
        (0, false) => Kind::AndImm32,
        (1, true) => Kind::OrrImm64,
        (1, false) => Kind::OrrImm32,
        (2, true) => Kind::EorImm64,
        (2, false) => Kind::EorImm32,
        (_, true) => Kind::AndsImm64,
        (_, false) => Kind::AndsImm32,
    };
    let d = if opc == 3 { dest(word, 0) } else { or_sp(word, 0) };
    Some(Op { d, n: source(word, 5), imm, ..Op::new(kind) })
}

fn move_wide(word: u32) -> Option<Op> {
    let wide = bit(word, 31);
    let shift = bits(word, 22, 21) * 16;
    if !wide && shift > 16 {
        return None;
    }
    let value = u64::from(bits(word, 20, 5)) << shift;
    let d = dest(word, 0);
    match bits(word, 30, 29) {
        0b00 => {
            let inverted = !value;
            let imm = if wide { inverted } else { inverted & 0xffff_ffff };
            Some(Op { d, imm, ..Op::new(Kind::Const) })
        }
        0b10 => Some(Op { d, imm: value, ..Op::new(Kind::Const) }),
        0b11 => {
            let kind = if wide { Kind::Movk64 } else { Kind::Movk32 };
            Some(Op { d, n: source(word, 0), s: shift as u8, imm: value, ..Op::new(kind) })
        }
        _ => None,
    }
}

/// SBFM, BFM and UBFM, taken apart into the extraction or the insertion that
/// each really is (Arm ARM C6.2.383 and its aliases).
fn bit_field(word: u32) -> Option<Op> {
    let wide = bit(word, 31);
    if bit(word, 22) != wide {
        return None;
    }
    let (immr, imms) = (bits(word, 21, 16), bits(word, 15, 10));
    let width = if wide { 64 } else { 32 };
    if immr >= width || imms >= width {
        return None;
    }
    let mut op = Op { d: dest(word, 0), n: source(word, 5), ..Op::new(Kind::Ubfx) };
    let extracts = imms >= immr;
    // Width of the field, and where it goes when it is inserted.
    let field = if extracts { imms - immr + 1 } else { imms + 1 };
    let lsb = if extracts { immr } else { width - immr };
    let mask = u64::MAX >> (64 - field);
    match bits(word, 30, 29) {
        0b00 => {
            op.kind = if wide { Kind::Sbf64 } else { Kind::Sbf32 };
            if extracts {
                op.t = (64 - lsb - field) as u8;
                op.s = (64 - field) as u8;
            } else {
                op.t = (64 - field) as u8;
                op.s = (64 - field - lsb) as u8;
            }
        }
        0b01 => {
            op.a = source(word, 0);
            op.s = lsb as u8;
            op.imm = if extracts { mask } else { mask << lsb };
            op.kind = match (extracts, wide) {
                (true, true) => Kind::Bfxil64,
                (true, false) => Kind::Bfxil32,
                (false, true) => Kind::Bfi64,
                (false, false) => Kind::Bfi32,
            };
        }
        0b10 => {
            op.kind = if extracts { Kind::Ubfx } else { Kind::Ubfiz };
            op.s = lsb as u8;
            op.imm = mask;
        }
        _ => return None,
    }
    Some(op)
}

fn extract(word: u32) -> Option<Op> {
    let wide = bit(word, 31);
    let amount = bits(word, 15, 10);
    if bits(word, 30, 29) != 0 || bit(word, 21) || bit(word, 22) != wide || (!wide && amount >= 32) {
        return None;
    }
    let kind = if wide { Kind::Extr64 } else { Kind::Extr32 };
    Some(Op { d: dest(word, 0), n: source(word, 5), m: source(word, 16), s: amount as u8, ..Op::new(kind) })
}
