//! Modified immediates: MOVI, MVNI, ORR, BIC and FMOV of a constant to a vector.

use crate::regs::Regs;

use super::Op;
use super::fields::{bits, q, rd, u};
use super::lanes::Lane;
use super::operand::write;

/// The eight bits of the immediate, abcdefgh.
#[inline]
fn imm8(word: u32) -> u64 {
    u64::from(bits(word, 16, 3) << 5 | bits(word, 5, 5))
}

/// Copies the low `width` bits of `value` all over 64 bits.
#[inline]
fn replicate(value: u64, width: u32) -> u64 {
    let value = value & (u64::MAX >> (64 - width));
    (0..64 / width).fold(0, |all, i| all | value << (i * width))
}

/// VFPExpandImm to single precision (Arm ARM J1.3).
pub(super) fn expand_single(imm8: u64) -> u64 {
    let sign = imm8 >> 7 & 1;
    let exp = if imm8 & 0x40 != 0 { 0b0111_1100 } else { 0b1000_0000 } | (imm8 >> 4 & 3);
    sign << 31 | exp << 23 | (imm8 & 15) << 19
}

/// VFPExpandImm to double precision.
pub(super) fn expand_double(imm8: u64) -> u64 {
    let sign = imm8 >> 7 & 1;
    let exp = if imm8 & 0x40 != 0 { 0b011_1111_1100 } else { 0b100_0000_0000 } | (imm8 >> 4 & 3);
    sign << 63 | exp << 52 | (imm8 & 15) << 48
}

/// AdvSIMDExpandImm: the immediate as 64 bits, by `cmode` and `op` (here `u`).
#[inline]
fn expand(word: u32) -> u64 {
    let (cmode, imm8) = (bits(word, 12, 4), imm8(word));
    match cmode {
        0b0000..=0b0111 => replicate(imm8 << (8 * (cmode >> 1)), 32),
        0b1000..=0b1011 => replicate(imm8 << (8 * (cmode >> 1 & 1)), 16),
        0b1100 => replicate(imm8 << 8 | 0xff, 32),
        0b1101 => replicate(imm8 << 16 | 0xffff, 32),
        0b1110 if !u(word) => replicate(imm8, 8),
        0b1110 => (0..8).fold(0, |all, i| all | ((imm8 >> i & 1) * 0xff) << (8 * i)),
        _ if !u(word) => replicate(expand_single(imm8), 32),
        _ => expand_double(imm8),
    }
}

#[inline]
fn update(regs: &mut Regs, word: u32, f: impl Fn(u64, u64) -> u64) {
    let imm = expand(word);
    let d = u64::load(&regs.v[rd(word)]);
    write::<u64>(regs, word, u64::map(d, |d| f(d, imm)));
}

/// Advanced SIMD modified immediate.
pub(super) fn lookup(word: u32) -> Option<Op> {
    // o2 belongs to FEAT_FP16.
    if bits(word, 11, 1) != 0 {
        return None;
    }
    Some(match (bits(word, 12, 4), u(word)) {
        (0b1111, true) if !q(word) => return None,
        (0b1111, _) => ("FMOV", |regs, word| update(regs, word, |_, imm| imm)),
        (0b1110, _) => ("MOVI", |regs, word| update(regs, word, |_, imm| imm)),
        (cmode, op) if cmode & 1 != 0 && cmode < 0b1100 => match op {
            false => ("ORR", |regs, word| update(regs, word, |d, imm| d | imm)),
            true => ("BIC", |regs, word| update(regs, word, |d, imm| d & !imm)),
        },
        (_, false) => ("MOVI", |regs, word| update(regs, word, |_, imm| imm)),
        (_, true) => ("MVNI", |regs, word| update(regs, word, |_, imm| !imm)),
    })
}
