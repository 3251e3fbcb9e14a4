//! Three registers of the same type, integer: vector and scalar. The floating-point ones of these
//! groups are in [`super::fp_vector`].

use crate::regs::Regs;

use super::fields::{bits, count, q, rm, rn, size, u};
use super::lanes::Lane;
use super::operand::{
    Operand, Whole, any_size, any_size_signed, binary, each, instance, lane, saturate, saturated, ternary,
    to_word, to_word_signed, write,
};
use super::{Handler, Op, fp_vector};

/// Generic functions that apply an operation to pairs of lanes.
macro_rules! of_pairs {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<T: Lane>(regs: &mut Regs, word: u32) {
            binary::<T, Whole>(regs, word, $f);
        })+
    };
}

of_pairs! {
    add = T::add;
    sub = T::sub;
    // Sums and differences halved without a wider type: the shared bits and half of the others.
    halving_add = |a, b| a.and(b).add(a.xor(b).shr(1));
    rounding_halving_add = |a, b| a.or(b).sub(a.xor(b).shr(1));
    halving_sub = |a, b| a.xor(b).shr(1).sub(a.xor(T::ONES).and(b));
    greater = |a, b| T::truth(a > b);
    greater_or_equal = |a, b| T::truth(a >= b);
    equal = |a, b| T::truth(a == b);
    test = |a, b| T::truth(a.and(b) != T::ZERO);
    maximum = |a, b| a.max(b);
    minimum = |a, b| a.min(b);
    absolute_difference = T::distance;
}

pub(super) fn multiply<T: Lane, O: Operand>(regs: &mut Regs, word: u32) {
    binary::<T, O>(regs, word, T::mul);
}

pub(super) fn multiply_add<T: Lane, O: Operand>(regs: &mut Regs, word: u32) {
    ternary::<T, O>(regs, word, |acc, a, b| acc.add(a.mul(b)));
}

pub(super) fn multiply_sub<T: Lane, O: Operand>(regs: &mut Regs, word: u32) {
    ternary::<T, O>(regs, word, |acc, a, b| acc.sub(a.mul(b)));
}

fn absolute_difference_add<T: Lane>(regs: &mut Regs, word: u32) {
    ternary::<T, Whole>(regs, word, |acc, a, b| acc.add(a.distance(b)));
}

/// The product of two polynomials over {0, 1}.
fn polynomial_multiply(regs: &mut Regs, word: u32) {
    binary::<u8, Whole>(regs, word, |a, b| {
        let mut product = 0;
        for i in 0..8 {
            product ^= (a << i) & ((b >> i & 1).wrapping_neg());
        }
        product
    });
}

/// A saturating operation together with the wrapping one: they differ where the result saturates.
#[inline]
fn saturating<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(T, T) -> T, wrapping: impl Fn(T, T) -> T) {
    let (a, b) = (T::load(&regs.v[rn(word)]), T::load(&regs.v[rm(word)]));
    let result = T::zip(a, b, f);
    let differences = T::zip(result, T::zip(a, b, wrapping), T::xor);
    let lanes = differences.as_ref();
    let any = |lanes: &[T]| lanes.iter().fold(T::ZERO, |any, &lane| any.or(lane)) != T::ZERO;
    // Two loops of known length that the compiler unrolls, and one for scalars.
    let any = match count(word, T::BITS) {
        n if n == lanes.len() => any(lanes),
        n if n == lanes.len() / 2 => any(&lanes[..lanes.len() / 2]),
        _ => lanes[0] != T::ZERO,
    };
    saturated(regs, any);
    write::<T>(regs, word, result);
}

fn saturating_add<T: Lane>(regs: &mut Regs, word: u32) {
    saturating::<T>(regs, word, T::add_saturating, T::add);
}

fn saturating_sub<T: Lane>(regs: &mut Regs, word: u32) {
    saturating::<T>(regs, word, T::sub_saturating, T::sub);
}

/// SSHL and USHL: left by the signed lowest byte of each lane of Vm, right if that is negative.
fn shift<T: Lane>(regs: &mut Regs, word: u32) {
    binary::<T, Whole>(regs, word, |a, b| {
        let by = i32::from(b.raw() as i8);
        let distance = by.unsigned_abs();
        match (by >= 0, distance < T::BITS) {
            (true, true) => a.shl(distance),
            (true, false) => T::ZERO,
            (false, true) => a.shr(distance),
            (false, false) => a.shr(T::BITS - 1).shr(1),
        }
    });
}

/// The shifts that round or saturate: SRSHL, URSHL, SQSHL, UQSHL, SQRSHL, UQRSHL.
fn shift_wide<T: Lane, const ROUND: bool, const SATURATE: bool>(regs: &mut Regs, word: u32) {
    each::<T>(regs, word, |regs, i| {
        let a = lane::<T>(regs.v[rn(word)], i).wide();
        let by = i32::from(lane::<T>(regs.v[rm(word)], i).raw() as i8);
        if by < 0 {
            let almost = a >> (-by - 1);
            let round = if ROUND { almost & 1 } else { 0 };
            return (T::truncate((almost >> 1) + round), false);
        }
        if (by as u32) < T::BITS {
            let shifted = a << by;
            return if SATURATE { saturate(shifted) } else { (T::truncate(shifted), false) };
        }
        // Everything is shifted out, or far beyond the range; an i128 could not hold it.
        if SATURATE { saturate(a.signum() << 65) } else { (T::ZERO, false) }
    });
}

fn saturating_shift<T: Lane>(regs: &mut Regs, word: u32) {
    shift_wide::<T, false, true>(regs, word);
}

fn rounding_shift<T: Lane>(regs: &mut Regs, word: u32) {
    shift_wide::<T, true, false>(regs, word);
}

fn saturating_rounding_shift<T: Lane>(regs: &mut Regs, word: u32) {
    shift_wide::<T, true, true>(regs, word);
}

/// SQDMULH and SQRDMULH: the high half of twice the product.
fn doubling_multiply_high<T: Lane, O: Operand>(regs: &mut Regs, word: u32, round: bool) {
    let b = O::lanes::<T>(regs, word);
    each::<T>(regs, word, |regs, i| {
        let product = lane::<T>(regs.v[rn(word)], i).wide() * b.as_ref()[i].wide() * 2;
        let round = i128::from(round) << (T::BITS - 1);
        saturate((product + round) >> T::BITS)
    });
}

pub(super) fn multiply_high<T: Lane, O: Operand>(regs: &mut Regs, word: u32) {
    doubling_multiply_high::<T, O>(regs, word, false);
}

pub(super) fn multiply_high_rounding<T: Lane, O: Operand>(regs: &mut Regs, word: u32) {
    doubling_multiply_high::<T, O>(regs, word, true);
}

/// Applies `f` to neighbours: of Vn for the lower half of the result, of Vm for the upper.
#[inline]
fn pairwise<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(T, T) -> T) {
    let (a, b) = (T::load(&regs.v[rn(word)]), T::load(&regs.v[rm(word)]));
    let (a, b) = (a.as_ref(), b.as_ref());
    let combine = |i: usize, half: usize| {
        let (from, i) = if i < half { (a, i) } else { (b, i % half) };
        f(from[2 * i], from[2 * i + 1])
    };
    // Two loops of known length, which unroll.
    let result = if q(word) {
        T::from_lanes(|i| combine(i, a.len() / 2))
    } else {
        T::from_lanes(|i| combine(i, (a.len() / 4).max(1)))
    };
    write::<T>(regs, word, result);
}

fn pairwise_add<T: Lane>(regs: &mut Regs, word: u32) {
    pairwise::<T>(regs, word, T::add);
}

fn pairwise_maximum<T: Lane>(regs: &mut Regs, word: u32) {
    pairwise::<T>(regs, word, T::max);
}

fn pairwise_minimum<T: Lane>(regs: &mut Regs, word: u32) {
    pairwise::<T>(regs, word, T::min);
}

/// A bitwise operation on Vd, Vn and Vm.
#[inline]
fn bitwise(regs: &mut Regs, word: u32, f: impl Fn(u64, u64, u64) -> u64) {
    ternary::<u64, Whole>(regs, word, f);
}

fn logical(word: u32) -> Op {
    match (u(word), size(word)) {
        (false, 0) => ("AND", |regs, word| bitwise(regs, word, |_, n, m| n & m)),
        (false, 1) => ("BIC", |regs, word| bitwise(regs, word, |_, n, m| n & !m)),
        (false, 2) => ("ORR", |regs, word| bitwise(regs, word, |_, n, m| n | m)),
        (false, _) => ("ORN", |regs, word| bitwise(regs, word, |_, n, m| n | !m)),
        (true, 0) => ("EOR", |regs, word| bitwise(regs, word, |_, n, m| n ^ m)),
        (true, 1) => ("BSL", |regs, word| bitwise(regs, word, |d, n, m| m ^ ((m ^ n) & d))),
        (true, 2) => ("BIT", |regs, word| bitwise(regs, word, |d, n, m| d ^ ((d ^ n) & m))),
        (true, _) => ("BIF", |regs, word| bitwise(regs, word, |d, n, m| d ^ ((d ^ n) & !m))),
    }
}

/// Advanced SIMD three same.
pub(super) fn vector(word: u32) -> Option<Op> {
    let opcode = bits(word, 11, 5);
    if opcode >= 0b11000 {
        return fp_vector::three_same(word);
    }
    let (name, handler) = match (u(word), opcode) {
        (false, 0b00000) => ("SHADD", to_word_signed!(word, halving_add)),
        (true, 0b00000) => ("UHADD", to_word!(word, halving_add)),
        (false, 0b00001) => ("SQADD", any_size_signed!(word, saturating_add)),
        (true, 0b00001) => ("UQADD", any_size!(word, saturating_add)),
        (false, 0b00010) => ("SRHADD", to_word_signed!(word, rounding_halving_add)),
        (true, 0b00010) => ("URHADD", to_word!(word, rounding_halving_add)),
        (_, 0b00011) => return Some(logical(word)),
        (false, 0b00100) => ("SHSUB", to_word_signed!(word, halving_sub)),
        (true, 0b00100) => ("UHSUB", to_word!(word, halving_sub)),
        (false, 0b00101) => ("SQSUB", any_size_signed!(word, saturating_sub)),
        (true, 0b00101) => ("UQSUB", any_size!(word, saturating_sub)),
        (false, 0b00110) => ("CMGT", any_size_signed!(word, greater)),
        (true, 0b00110) => ("CMHI", any_size!(word, greater)),
        (false, 0b00111) => ("CMGE", any_size_signed!(word, greater_or_equal)),
        (true, 0b00111) => ("CMHS", any_size!(word, greater_or_equal)),
        (false, 0b01000) => ("SSHL", any_size_signed!(word, shift)),
        (true, 0b01000) => ("USHL", any_size!(word, shift)),
        (false, 0b01001) => ("SQSHL", any_size_signed!(word, saturating_shift)),
        (true, 0b01001) => ("UQSHL", any_size!(word, saturating_shift)),
        (false, 0b01010) => ("SRSHL", any_size_signed!(word, rounding_shift)),
        (true, 0b01010) => ("URSHL", any_size!(word, rounding_shift)),
        (false, 0b01011) => ("SQRSHL", any_size_signed!(word, saturating_rounding_shift)),
        (true, 0b01011) => ("UQRSHL", any_size!(word, saturating_rounding_shift)),
        (false, 0b01100) => ("SMAX", to_word_signed!(word, maximum)),
        (true, 0b01100) => ("UMAX", to_word!(word, maximum)),
        (false, 0b01101) => ("SMIN", to_word_signed!(word, minimum)),
        (true, 0b01101) => ("UMIN", to_word!(word, minimum)),
        (false, 0b01110) => ("SABD", to_word_signed!(word, absolute_difference)),
        (true, 0b01110) => ("UABD", to_word!(word, absolute_difference)),
        (false, 0b01111) => ("SABA", to_word_signed!(word, absolute_difference_add)),
        (true, 0b01111) => ("UABA", to_word!(word, absolute_difference_add)),
        (false, 0b10000) => ("ADD", any_size!(word, add)),
        (true, 0b10000) => ("SUB", any_size!(word, sub)),
        (false, 0b10001) => ("CMTST", any_size!(word, test)),
        (true, 0b10001) => ("CMEQ", any_size!(word, equal)),
        (false, 0b10010) => ("MLA", to_word!(word, multiply_add, Whole)),
        (true, 0b10010) => ("MLS", to_word!(word, multiply_sub, Whole)),
        (false, 0b10011) => ("MUL", to_word!(word, multiply, Whole)),
        (true, 0b10011) => ("PMUL", (size(word) == 0).then_some(polynomial_multiply as Handler)),
        (false, 0b10100) => ("SMAXP", to_word_signed!(word, pairwise_maximum)),
        (true, 0b10100) => ("UMAXP", to_word!(word, pairwise_maximum)),
        (false, 0b10101) => ("SMINP", to_word_signed!(word, pairwise_minimum)),
        (true, 0b10101) => ("UMINP", to_word!(word, pairwise_minimum)),
        (false, 0b10110) => ("SQDMULH", instance!(size(word), multiply_high, [1 => i16, 2 => i32], Whole)),
        (true, 0b10110) => {
            ("SQRDMULH", instance!(size(word), multiply_high_rounding, [1 => i16, 2 => i32], Whole))
        }
        (false, 0b10111) => ("ADDP", any_size!(word, pairwise_add)),
        _ => return None,
    };
    Some((name, handler?))
}

/// Advanced SIMD scalar three same. Its encodings have the bit set that makes vectors whole registers, so
/// 64-bit elements are always allowed.
pub(super) fn scalar(word: u32) -> Option<Op> {
    let opcode = bits(word, 11, 5);
    if opcode >= 0b11000 {
        return fp_vector::scalar_three_same(word);
    }
    let allowed = match opcode {
        0b00001 | 0b00101 | 0b01001 | 0b01011 | 0b10110 => true,
        0b00110 | 0b00111 | 0b01000 | 0b01010 | 0b10000 | 0b10001 => size(word) == 3,
        _ => false,
    };
    if allowed { vector(word) } else { None }
}
