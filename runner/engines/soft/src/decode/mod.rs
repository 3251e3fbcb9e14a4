//! Instruction words to typed operations (Arm ARM C4.1).
//!
//! Decoding looks at the word alone: not at the exception level, not at the
//! address. What is unallocated in the engine's feature set becomes
//! [`Kind::Undefined`].

mod branch_system;
mod data_immediate;
mod data_register;
mod load_store;
mod stack;

pub(crate) use load_store::{OFFSET, POST, PRE};
pub(crate) use stack::{SP_ALIGNMENT, accesses_through_sp};

use crate::{
    op::{Kind, Op},
    regs::{SINK, SP, ZERO},
    simd,
};

/// Decodes one instruction word.
pub fn decode(word: u32) -> Op {
    // Arm ARM C4.1: the top-level groups, by bits 28 to 25.
    let op = match (word >> 25) & 0xf {
        0b1000 | 0b1001 => data_immediate::decode(word),
        0b1010 | 0b1011 => branch_system::decode(word),
        0b0101 | 0b1101 => data_register::decode(word),
        0b0111 | 0b1111 => simd::decode(word).map(|handler| Op::vector(handler, word)),
        0b0100 | 0b0110 | 0b1100 | 0b1110 => load_store::decode(word),
        _ => None,
    };
    op.unwrap_or(Op { imm: u64::from(word), ..Op::new(Kind::Undefined) })
}

/// Whether `op` ends a block: control leaves it, or what follows may have to be
/// looked up anew, or SP may have lost its alignment.
pub fn ends_block(op: &Op) -> bool {
    use Kind::*;
    let leaves = matches!(
        op.kind,
        B | Bl
            | Bcond
            | Cbz64
            | Cbz32
            | Cbnz64
            | Cbnz32
            | Tbz
            | Tbnz
            | Br
            | Blr
            | Ret
            | Svc
            | Hvc
            | Smc
            | Brk
            | Eret
            | Wfi
            | Wfe
            | Isb
            | MsrImm
            | Msr
            | Sys
            | Undefined
    );
    leaves || stack::may_realign_sp(op)
}

/// Bits `hi` to `lo` of `word`.
#[inline]
fn bits(word: u32, hi: u32, lo: u32) -> u32 {
    (word >> lo) & (u32::MAX >> (31 - (hi - lo)))
}

/// Bit `at` of `word`.
#[inline]
fn bit(word: u32, at: u32) -> bool {
    (word >> at) & 1 != 0
}

/// Sign-extends the low `width` bits of `value`.
#[inline]
fn sign_extend(value: u32, width: u32) -> i64 {
    i64::from(value) << (64 - width) >> (64 - width)
}

/// Field `lo` as a source, 31 being the zero register.
#[inline]
fn source(word: u32, lo: u32) -> u8 {
    bits(word, lo + 4, lo) as u8
}

/// Field `lo` as a destination, 31 being the sink.
#[inline]
fn dest(word: u32, lo: u32) -> u8 {
    let n = bits(word, lo + 4, lo) as u8;
    if n as usize == ZERO { SINK as u8 } else { n }
}

/// Field `lo` as a source or destination, 31 being the stack pointer.
#[inline]
fn or_sp(word: u32, lo: u32) -> u8 {
    let n = bits(word, lo + 4, lo) as u8;
    if n == 31 { SP as u8 } else { n }
}

/// The immediate of logical instructions, and of bit fields (Arm ARM,
/// DecodeBitMasks): for a logical one the pattern, or None if it is reserved.
pub(crate) fn logical_immediate(n: u32, imms: u32, immr: u32, wide: bool) -> Option<u64> {
    let combined = (n << 6) | (!imms & 0x3f);
    if combined == 0 {
        return None;
    }
    let len = 31 - combined.leading_zeros();
    if len == 0 || (n == 1 && !wide) {
        return None;
    }
    let esize = 1u32 << len;
    let levels = esize - 1;
    let s = imms & levels;
    let r = immr & levels;
    if s == levels {
        return None;
    }
    let ones = (1u64 << (s + 1)) - 1;
    let element = if r == 0 {
        ones
    } else {
        let mask = u64::MAX >> (64 - esize);
        ((ones >> r) | (ones << (esize - r))) & mask
    };
    let mut pattern = element;
    let mut width = esize;
    while width < 64 {
        pattern |= pattern << width;
        width *= 2;
    }
    Some(if wide { pattern } else { pattern & 0xffff_ffff })
}
