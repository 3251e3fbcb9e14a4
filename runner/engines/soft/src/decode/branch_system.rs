//! Branches, exceptions and system instructions (Arm ARM C4.1.94).

use super::{bit, bits, dest, sign_extend, source};
use crate::op::{Kind, Op};

pub(super) fn decode(word: u32) -> Option<Op> {
    match bits(word, 31, 29) {
        0b000 | 0b100 => Some(branch_immediate(word)),
        0b001 | 0b101 => Some(if bit(word, 25) { test_branch(word) } else { compare_branch(word) }),
        0b010 if !bit(word, 25) => conditional_branch(word),
        0b110 if bit(word, 25) => branch_register(word),
        0b110 if !bit(word, 24) => exception(word),
        0b110 if bits(word, 23, 22) == 0 => system(word),
        _ => None,
    }
}

fn branch_immediate(word: u32) -> Op {
    let kind = if bit(word, 31) { Kind::Bl } else { Kind::B };
    Op { imm: (sign_extend(bits(word, 25, 0), 26) << 2) as u64, ..Op::new(kind) }
}

fn offset19(word: u32) -> u64 {
    (sign_extend(bits(word, 23, 5), 19) << 2) as u64
}

fn compare_branch(word: u32) -> Op {
    let kind = match (bit(word, 31), bit(word, 24)) {
        (true, false) => Kind::Cbz64,
        (true, true) => Kind::Cbnz64,
        (false, false) => Kind::Cbz32,
        (false, true) => Kind::Cbnz32,
    };
    Op { n: source(word, 0), imm: offset19(word), ..Op::new(kind) }
}

fn test_branch(word: u32) -> Op {
    Op {
        n: source(word, 0),
        s: ((bits(word, 31, 31) << 5) | bits(word, 23, 19)) as u8,
        imm: (sign_extend(bits(word, 18, 5), 14) << 2) as u64,
        ..Op::new(if bit(word, 24) { Kind::Tbnz } else { Kind::Tbz })
    }
}

fn conditional_branch(word: u32) -> Option<Op> {
    if bit(word, 24) || bit(word, 4) {
        // BC.cond is FEAT_HBC.
        return None;
    }
    Some(Op { s: bits(word, 3, 0) as u8, imm: offset19(word), ..Op::new(Kind::Bcond) })
}

fn branch_register(word: u32) -> Option<Op> {
    if bits(word, 20, 16) != 0b11111 || bits(word, 15, 10) != 0 || bits(word, 4, 0) != 0 {
        return None;
    }
    let kind = match bits(word, 24, 21) {
        0b0000 => Kind::Br,
        0b0001 => Kind::Blr,
        0b0010 => Kind::Ret,
        0b0100 if bits(word, 9, 5) == 31 => Kind::Eret,
        _ => return None,
    };
    Some(Op { n: source(word, 5), ..Op::new(kind) })
}

fn exception(word: u32) -> Option<Op> {
    let kind = match (bits(word, 23, 21), bits(word, 4, 0)) {
        (0b000, 0b00001) => Kind::Svc,
        (0b000, 0b00010) => Kind::Hvc,
        (0b000, 0b00011) => Kind::Smc,
        (0b001, 0b00000) => Kind::Brk,
        // HLT and DCPS need halting debug, which is not there.
        _ => return None,
    };
    Some(Op { imm: u64::from(bits(word, 20, 5)), ..Op::new(kind) })
}

fn system(word: u32) -> Option<Op> {
    let (read, op0, op1) = (bit(word, 21), bits(word, 20, 19), bits(word, 18, 16));
    let (crn, crm, op2) = (bits(word, 15, 12), bits(word, 11, 8), bits(word, 7, 5));
    let encoding = u64::from(bits(word, 20, 5));
    match op0 {
        0 if read => None,
        0 if bits(word, 4, 0) != 31 => None,
        0 => match (op1, crn) {
            (3, 2) => Some(Op::new(match (crm, op2) {
                (0, 2) => Kind::Wfe,
                (0, 3) => Kind::Wfi,
                (0, 4 | 5) => Kind::Sev,
                // Every other hint that is not of the feature set is a NOP (Arm ARM C4.1.94).
                _ => Kind::Nop,
            })),
            (3, 3) => match op2 {
                2 => Some(Op::new(Kind::Clrex)),
                4 => Some(Op::new(Kind::Dsb)),
                5 => Some(Op::new(Kind::Dmb)),
                6 => Some(Op::new(Kind::Isb)),
                _ => None,
            },
            (_, 4) => match (op1, op2) {
                // PAN, SPSel, DAIFSet, DAIFClr (Arm ARM C6.2.254).
                (0, 4 | 5) | (3, 6 | 7) => {
                    Some(Op { s: crm as u8, t: op2 as u8, imm: encoding, ..Op::new(Kind::MsrImm) })
                }
                _ => None,
            },
            _ => None,
        },
        // SYSL has no allocated encoding in the feature set.
        1 if read => None,
        1 => Some(Op { d: source(word, 0), imm: encoding, ..Op::new(Kind::Sys) }),
        _ if read => Some(Op { d: dest(word, 0), imm: encoding, ..Op::new(Kind::Mrs) }),
        _ => Some(Op { d: source(word, 0), imm: encoding, ..Op::new(Kind::Msr) }),
    }
}
