//! Fields that most encodings share, and the access to registers they imply.

use crate::regs::Regs;

/// `count` bits of `word` from bit `low` up.
#[inline]
pub(super) const fn bits(word: u32, low: u32, count: u32) -> u32 {
    (word >> low) & ((1 << count) - 1)
}

#[inline]
pub(super) const fn rd(word: u32) -> usize {
    bits(word, 0, 5) as usize
}

#[inline]
pub(super) const fn rn(word: u32) -> usize {
    bits(word, 5, 5) as usize
}

#[inline]
pub(super) const fn rm(word: u32) -> usize {
    bits(word, 16, 5) as usize
}

/// The `size` field.
#[inline]
pub(super) const fn size(word: u32) -> u32 {
    bits(word, 22, 2)
}

/// True for the 128-bit form of a vector instruction. Scalar encodings have this bit set too.
#[inline]
pub(super) const fn q(word: u32) -> bool {
    word & 1 << 30 != 0
}

/// The `U` bit, which most often means unsigned.
#[inline]
pub(super) const fn u(word: u32) -> bool {
    word & 1 << 29 != 0
}

/// True for an encoding of the scalar groups of Advanced SIMD (bits 31 to 28 are 01x1).
#[inline]
pub(super) const fn is_scalar(word: u32) -> bool {
    word & 1 << 28 != 0
}

/// How many elements of `width` bits the instruction works on.
#[inline]
pub(super) fn count(word: u32, width: u32) -> usize {
    match (is_scalar(word), q(word)) {
        (true, _) => 1,
        (false, false) => (64 / width) as usize,
        (false, true) => (128 / width) as usize,
    }
}

/// Writes the result of a narrowing instruction: the lower half with the upper one zeroed, or for the
/// form named "2" the upper half with the lower one kept.
#[inline]
pub(super) fn write_half(regs: &mut Regs, word: u32, value: u64) {
    let d = &mut regs.v[rd(word)];
    *d = if q(word) && !is_scalar(word) {
        u128::from(*d as u64) | u128::from(value) << 64
    } else {
        u128::from(value)
    };
}
