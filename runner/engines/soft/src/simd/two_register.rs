//! One source register: the "two-register miscellaneous" groups, integer part.

use crate::fp::estimate;
use crate::regs::Regs;

use super::fields::{bits, is_scalar, q, rd, rn, size, u};
use super::lanes::{Lane, Widen};
use super::operand::{
    any_size, any_size_signed, each, instance, lane, saturate, saturated, to_word, to_word_signed, unary,
    write,
};
use super::{Handler, Op, fp_two_register};

macro_rules! of_one {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<T: Lane>(regs: &mut Regs, word: u32) {
            unary::<T>(regs, word, $f);
        })+
    };
}

of_one! {
    negate = T::neg;
    absolute = |a| if a < T::ZERO { a.neg() } else { a };
    greater_than_zero = |a| T::truth(a > T::ZERO);
    at_least_zero = |a| T::truth(a >= T::ZERO);
    equal_to_zero = |a| T::truth(a == T::ZERO);
    at_most_zero = |a| T::truth(a <= T::ZERO);
    less_than_zero = |a| T::truth(a < T::ZERO);
    count_leading_zeros = |a| T::from_raw(u64::from(a.raw().leading_zeros() + T::BITS - 64));
    // The bits that differ from their neighbour above, of which there is one less than bits.
    count_leading_signs = |a| {
        let changes = a.xor(a.shr(1)).raw();
        T::from_raw(u64::from(changes.leading_zeros() + T::BITS - 65).min(u64::from(T::BITS) - 1))
    };
}

/// REV64, REV32, REV16: lanes in reverse within containers of `CONTAINER` bits.
fn reverse<T: Lane, const CONTAINER: u32>(regs: &mut Regs, word: u32) {
    let mut lanes = T::load(&regs.v[rn(word)]);
    for container in lanes.as_mut().chunks_exact_mut((CONTAINER / T::BITS) as usize) {
        container.reverse();
    }
    write::<T>(regs, word, lanes);
}

fn reverse_in_doublewords<T: Lane>(regs: &mut Regs, word: u32) {
    reverse::<T, 64>(regs, word);
}

fn reverse_in_words<T: Lane>(regs: &mut Regs, word: u32) {
    reverse::<T, 32>(regs, word);
}

fn add_pairs<T: Widen>(regs: &mut Regs, word: u32) {
    let sums = T::sum_pairs(T::load(&regs.v[rn(word)]));
    write::<T::Wide>(regs, word, sums);
}

fn accumulate_pairs<T: Widen>(regs: &mut Regs, word: u32) {
    let sums = T::sum_pairs(T::load(&regs.v[rn(word)]));
    let acc = T::Wide::load(&regs.v[rd(word)]);
    write::<T::Wide>(regs, word, T::Wide::zip(acc, sums, Lane::add));
}

fn saturating_absolute<T: Lane>(regs: &mut Regs, word: u32) {
    each::<T>(regs, word, |regs, i| saturate(lane::<T>(regs.v[rn(word)], i).wide().abs()));
}

fn saturating_negate<T: Lane>(regs: &mut Regs, word: u32) {
    each::<T>(regs, word, |regs, i| saturate(-lane::<T>(regs.v[rn(word)], i).wide()));
}

/// SUQADD and USQADD: accumulates elements of the other signedness, `S`, onto those of `T`.
fn accumulate_other<T: Lane, S: Lane>(regs: &mut Regs, word: u32) {
    each::<T>(regs, word, |regs, i| {
        let (acc, a) = (lane::<T>(regs.v[rd(word)], i), lane::<S>(regs.v[rn(word)], i));
        saturate(acc.wide() + a.wide())
    });
}

fn accumulate(word: u32) -> Option<Handler> {
    Some(match (u(word), size(word)) {
        (_, 3) if !q(word) => return None,
        (false, 0) => accumulate_other::<i8, u8>,
        (false, 1) => accumulate_other::<i16, u16>,
        (false, 2) => accumulate_other::<i32, u32>,
        (false, _) => accumulate_other::<i64, u64>,
        (true, 0) => accumulate_other::<u8, i8>,
        (true, 1) => accumulate_other::<u16, i16>,
        (true, 2) => accumulate_other::<u32, i32>,
        (true, _) => accumulate_other::<u64, i64>,
    })
}

fn extract_narrow<T: Widen>(regs: &mut Regs, word: u32) {
    let a = T::Wide::load(&regs.v[rn(word)]);
    let d = &mut regs.v[rd(word)];
    if q(word) { T::narrow::<true>(a, d, T::low) } else { T::narrow::<false>(a, d, T::low) }
}

/// SQXTN, UQXTN, SQXTUN: to elements of `T` from those of `W`, twice as wide.
pub(super) fn saturating_narrow<W: Lane, T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(i128) -> i128) {
    let source = regs.v[rn(word)];
    let lanes = if is_scalar(word) { 1 } else { (128 / W::BITS) as usize };
    let (mut result, mut any) = (0, false);
    for i in 0..lanes {
        let (value, one) = saturate::<T>(f(lane::<W>(source, i).wide()));
        result |= value.raw() << (i as u32 * T::BITS);
        any |= one;
    }
    saturated(regs, any);
    super::fields::write_half(regs, word, result);
}

fn extract_saturating<W: Lane, T: Lane>(regs: &mut Regs, word: u32) {
    saturating_narrow::<W, T>(regs, word, |a| a);
}

fn shift_left_long<T: Widen>(regs: &mut Regs, word: u32) {
    let a = T::load(&regs.v[rn(word)]);
    let shift = |a: T::Wide, _| a.shl(T::BITS);
    let lanes = if q(word) { T::zip_long::<true>(a, a, shift) } else { T::zip_long::<false>(a, a, shift) };
    T::Wide::store(lanes, &mut regs.v[rd(word)]);
}

fn not(regs: &mut Regs, word: u32) {
    unary::<u8>(regs, word, |a| !a);
}

fn reverse_bits(regs: &mut Regs, word: u32) {
    unary::<u8>(regs, word, u8::reverse_bits);
}

fn count_bits(regs: &mut Regs, word: u32) {
    unary::<u8>(regs, word, |a| {
        // Sums within ever larger groups of bits: unlike count_ones, it stays in vector registers.
        let a = a.wrapping_sub(a >> 1 & 0x55);
        let a = (a & 0x33).wrapping_add(a >> 2 & 0x33);
        a.wrapping_add(a >> 4) & 0x0f
    });
}

fn unsigned_recip(regs: &mut Regs, word: u32) {
    unary::<u32>(regs, word, estimate::unsigned_recip);
}

fn unsigned_rsqrt(regs: &mut Regs, word: u32) {
    unary::<u32>(regs, word, estimate::unsigned_rsqrt);
}

fn saturating_narrow_signed(word: u32) -> Option<Handler> {
    Some(match size(word) {
        0 => extract_saturating::<i16, i8>,
        1 => extract_saturating::<i32, i16>,
        2 => extract_saturating::<i64, i32>,
        _ => return None,
    })
}

fn saturating_narrow_unsigned(word: u32) -> Option<Handler> {
    Some(match size(word) {
        0 => extract_saturating::<u16, u8>,
        1 => extract_saturating::<u32, u16>,
        2 => extract_saturating::<u64, u32>,
        _ => return None,
    })
}

fn saturating_narrow_to_unsigned(word: u32) -> Option<Handler> {
    Some(match size(word) {
        0 => extract_saturating::<i16, u8>,
        1 => extract_saturating::<i32, u16>,
        2 => extract_saturating::<i64, u32>,
        _ => return None,
    })
}

/// True for the opcodes that the group gives to floating-point.
fn is_floating_point(word: u32) -> bool {
    let opcode = bits(word, 12, 5);
    matches!(opcode, 0b01100..=0b01111 | 0b10110 | 0b10111 | 0b11000..)
        && !(opcode == 0b11100 && size(word) >> 1 == 1)
}

/// Advanced SIMD two-register miscellaneous.
pub(super) fn vector(word: u32) -> Option<Op> {
    if is_floating_point(word) {
        return fp_two_register::vector(word);
    }
    let (name, handler) = match (u(word), bits(word, 12, 5)) {
        (false, 0b00000) => ("REV64", to_word!(word, reverse_in_doublewords)),
        (true, 0b00000) => ("REV32", instance!(size(word), reverse_in_words, [0 => u8, 1 => u16])),
        (false, 0b00001) => ("REV16", (size(word) == 0).then_some(reverse::<u8, 16> as Handler)),
        (false, 0b00010) => ("SADDLP", to_word_signed!(word, add_pairs)),
        (true, 0b00010) => ("UADDLP", to_word!(word, add_pairs)),
        (false, 0b00011) => ("SUQADD", accumulate(word)),
        (true, 0b00011) => ("USQADD", accumulate(word)),
        (false, 0b00100) => ("CLS", to_word_signed!(word, count_leading_signs)),
        (true, 0b00100) => ("CLZ", to_word!(word, count_leading_zeros)),
        (false, 0b00101) => ("CNT", (size(word) == 0).then_some(count_bits as Handler)),
        (true, 0b00101) if size(word) == 0 => ("NOT", Some(not as Handler)),
        (true, 0b00101) => ("RBIT", (size(word) == 1).then_some(reverse_bits as Handler)),
        (false, 0b00110) => ("SADALP", to_word_signed!(word, accumulate_pairs)),
        (true, 0b00110) => ("UADALP", to_word!(word, accumulate_pairs)),
        (false, 0b00111) => ("SQABS", any_size_signed!(word, saturating_absolute)),
        (true, 0b00111) => ("SQNEG", any_size_signed!(word, saturating_negate)),
        (false, 0b01000) => ("CMGT", any_size_signed!(word, greater_than_zero)),
        (true, 0b01000) => ("CMGE", any_size_signed!(word, at_least_zero)),
        (false, 0b01001) => ("CMEQ", any_size!(word, equal_to_zero)),
        (true, 0b01001) => ("CMLE", any_size_signed!(word, at_most_zero)),
        (false, 0b01010) => ("CMLT", any_size_signed!(word, less_than_zero)),
        (false, 0b01011) => ("ABS", any_size_signed!(word, absolute)),
        (true, 0b01011) => ("NEG", any_size!(word, negate)),
        (false, 0b10010) => ("XTN", to_word!(word, extract_narrow)),
        (true, 0b10010) => ("SQXTUN", saturating_narrow_to_unsigned(word)),
        (true, 0b10011) => ("SHLL", to_word!(word, shift_left_long)),
        (false, 0b10100) => ("SQXTN", saturating_narrow_signed(word)),
        (true, 0b10100) => ("UQXTN", saturating_narrow_unsigned(word)),
        (false, 0b11100) => ("URECPE", (size(word) == 2).then_some(unsigned_recip as Handler)),
        (true, 0b11100) => ("URSQRTE", (size(word) == 2).then_some(unsigned_rsqrt as Handler)),
        _ => return None,
    };
    Some((name, handler?))
}

/// Advanced SIMD scalar two-register miscellaneous. Its encodings have the bit set that makes vectors
/// whole registers, so 64-bit elements are always allowed.
pub(super) fn scalar(word: u32) -> Option<Op> {
    if is_floating_point(word) {
        return fp_two_register::scalar(word);
    }
    let allowed = match (u(word), bits(word, 12, 5)) {
        (_, 0b00011 | 0b00111 | 0b10100) | (true, 0b10010) => true,
        (_, 0b01000 | 0b01001 | 0b01011) | (false, 0b01010) => size(word) == 3,
        _ => false,
    };
    if allowed { vector(word) } else { None }
}
