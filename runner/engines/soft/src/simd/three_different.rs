//! Three registers of which some have elements of twice the width: long, wide and narrowing operations.

use crate::regs::Regs;

use super::fields::{bits, q, rd, rm, rn, size, u};
use super::lanes::{Lane, Widen};
use super::operand::{
    Operand, Whole, each, halves, halves_by_sign, instance, lane, long, long_accumulate, saturate,
};
use super::{Handler, Op};

fn add_long<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    long::<T, Whole, Q>(regs, word, Lane::add);
}

fn sub_long<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    long::<T, Whole, Q>(regs, word, Lane::sub);
}

fn absolute_difference_long<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    long::<T, Whole, Q>(regs, word, Lane::distance);
}

fn absolute_difference_add_long<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    long_accumulate::<T, Whole, Q>(regs, word, |acc, a, b| acc.add(a.distance(b)));
}

pub(super) fn multiply_long<T: Widen, O: Operand, const Q: bool>(regs: &mut Regs, word: u32) {
    long::<T, O, Q>(regs, word, Lane::mul);
}

pub(super) fn multiply_add_long<T: Widen, O: Operand, const Q: bool>(regs: &mut Regs, word: u32) {
    long_accumulate::<T, O, Q>(regs, word, |acc, a, b| acc.add(a.mul(b)));
}

pub(super) fn multiply_sub_long<T: Widen, O: Operand, const Q: bool>(regs: &mut Regs, word: u32) {
    long_accumulate::<T, O, Q>(regs, word, |acc, a, b| acc.sub(a.mul(b)));
}

#[inline]
fn wide<T: Widen, const Q: bool>(regs: &mut Regs, word: u32, f: impl Fn(T::Wide, T::Wide) -> T::Wide) {
    let a = T::Wide::load(&regs.v[rn(word)]);
    let b = T::load(&regs.v[rm(word)]);
    T::Wide::store(T::zip_wide::<Q>(a, b, f), &mut regs.v[rd(word)]);
}

fn add_wide<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    wide::<T, Q>(regs, word, Lane::add);
}

fn sub_wide<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    wide::<T, Q>(regs, word, Lane::sub);
}

#[inline]
fn high_half<T: Widen, const Q: bool>(regs: &mut Regs, word: u32, f: impl Fn(T::Wide, T::Wide) -> T::Wide) {
    let (a, b) = (T::Wide::load(&regs.v[rn(word)]), T::Wide::load(&regs.v[rm(word)]));
    T::zip_narrow::<Q>(a, b, &mut regs.v[rd(word)], |a, b| T::low(f(a, b).shr(T::BITS)));
}

/// Half of the last bit that the high half keeps.
#[inline]
fn rounding<T: Widen>() -> T::Wide {
    T::Wide::from_raw(1 << (T::BITS - 1))
}

fn add_high<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    high_half::<T, Q>(regs, word, Lane::add);
}

fn add_high_rounding<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    high_half::<T, Q>(regs, word, |a, b| a.add(b).add(rounding::<T>()));
}

fn sub_high<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    high_half::<T, Q>(regs, word, Lane::sub);
}

fn sub_high_rounding<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    high_half::<T, Q>(regs, word, |a, b| a.sub(b).add(rounding::<T>()));
}

/// Twice the product of lane `i`, saturated, of the scalar form or of the half that the vector form reads.
#[inline]
fn doubled<T: Widen, O: Operand>(regs: &Regs, word: u32, i: usize) -> (T::Wide, bool) {
    let first = if q(word) && !super::is_scalar(word) { 64 / T::BITS as usize } else { 0 };
    let a = lane::<T>(regs.v[rn(word)], first + i).wide();
    let b = O::lanes::<T>(regs, word).as_ref()[first + i].wide();
    saturate(a * b * 2)
}

/// Lanes of the result: wide ones, so a vector form always fills the register.
#[inline]
fn each_wide<T: Widen>(regs: &mut Regs, word: u32, f: impl Fn(&Regs, usize) -> (T::Wide, bool)) {
    each::<T::Wide>(regs, word | 1 << 30, f);
}

pub(super) fn doubling_multiply_long<T: Widen, O: Operand>(regs: &mut Regs, word: u32) {
    each_wide::<T>(regs, word, |regs, i| doubled::<T, O>(regs, word, i));
}

/// The accumulation saturates on its own, after the product did.
#[inline]
fn accumulate_doubled<T: Widen, O: Operand>(regs: &mut Regs, word: u32, sign: i128) {
    each_wide::<T>(regs, word, |regs, i| {
        let (product, first) = doubled::<T, O>(regs, word, i);
        let acc = lane::<T::Wide>(regs.v[rd(word)], i).wide();
        let (sum, second) = saturate(acc + sign * product.wide());
        (sum, first || second)
    });
}

pub(super) fn doubling_multiply_add_long<T: Widen, O: Operand>(regs: &mut Regs, word: u32) {
    accumulate_doubled::<T, O>(regs, word, 1);
}

pub(super) fn doubling_multiply_sub_long<T: Widen, O: Operand>(regs: &mut Regs, word: u32) {
    accumulate_doubled::<T, O>(regs, word, -1);
}

fn polynomial_multiply_long<const Q: bool>(regs: &mut Regs, word: u32) {
    long::<u8, Whole, Q>(regs, word, |a, b| {
        let mut product = 0;
        for i in 0..8 {
            product ^= (a << i) & ((b >> i & 1).wrapping_neg());
        }
        product
    });
}

/// PMULL of 64-bit polynomials (FEAT_PMULL), four bits at a time.
fn polynomial_multiply_doubleword(regs: &mut Regs, word: u32) {
    let half = if q(word) { 64 } else { 0 };
    let a = (regs.v[rn(word)] >> half) as u64;
    let b = u128::from((regs.v[rm(word)] >> half) as u64);
    let mut multiples = [0; 16];
    for (i, multiple) in multiples.iter_mut().enumerate() {
        for bit in 0..4 {
            if i >> bit & 1 != 0 {
                *multiple ^= b << bit;
            }
        }
    }
    let mut product = 0;
    for digit in (0..16).rev() {
        product = product << 4 ^ multiples[(a >> (4 * digit) & 15) as usize];
    }
    regs.v[rd(word)] = product;
}

fn polynomial(word: u32) -> Option<Handler> {
    match (size(word), q(word)) {
        (0, false) => Some(polynomial_multiply_long::<false>),
        (0, true) => Some(polynomial_multiply_long::<true>),
        (3, _) => Some(polynomial_multiply_doubleword),
        _ => None,
    }
}

/// Advanced SIMD three different.
pub(super) fn vector(word: u32) -> Option<Op> {
    let unsigned = u(word);
    let (name, handler) = match (unsigned, bits(word, 12, 4)) {
        (false, 0b0000) => ("SADDL", halves_by_sign!(word, unsigned, add_long)),
        (true, 0b0000) => ("UADDL", halves_by_sign!(word, unsigned, add_long)),
        (false, 0b0001) => ("SADDW", halves_by_sign!(word, unsigned, add_wide)),
        (true, 0b0001) => ("UADDW", halves_by_sign!(word, unsigned, add_wide)),
        (false, 0b0010) => ("SSUBL", halves_by_sign!(word, unsigned, sub_long)),
        (true, 0b0010) => ("USUBL", halves_by_sign!(word, unsigned, sub_long)),
        (false, 0b0011) => ("SSUBW", halves_by_sign!(word, unsigned, sub_wide)),
        (true, 0b0011) => ("USUBW", halves_by_sign!(word, unsigned, sub_wide)),
        (false, 0b0100) => ("ADDHN", halves!(word, add_high, [0 => u8, 1 => u16, 2 => u32])),
        (true, 0b0100) => ("RADDHN", halves!(word, add_high_rounding, [0 => u8, 1 => u16, 2 => u32])),
        (false, 0b0101) => ("SABAL", halves_by_sign!(word, unsigned, absolute_difference_add_long)),
        (true, 0b0101) => ("UABAL", halves_by_sign!(word, unsigned, absolute_difference_add_long)),
        (false, 0b0110) => ("SUBHN", halves!(word, sub_high, [0 => u8, 1 => u16, 2 => u32])),
        (true, 0b0110) => ("RSUBHN", halves!(word, sub_high_rounding, [0 => u8, 1 => u16, 2 => u32])),
        (false, 0b0111) => ("SABDL", halves_by_sign!(word, unsigned, absolute_difference_long)),
        (true, 0b0111) => ("UABDL", halves_by_sign!(word, unsigned, absolute_difference_long)),
        (false, 0b1000) => ("SMLAL", halves_by_sign!(word, unsigned, multiply_add_long, Whole)),
        (true, 0b1000) => ("UMLAL", halves_by_sign!(word, unsigned, multiply_add_long, Whole)),
        (false, 0b1010) => ("SMLSL", halves_by_sign!(word, unsigned, multiply_sub_long, Whole)),
        (true, 0b1010) => ("UMLSL", halves_by_sign!(word, unsigned, multiply_sub_long, Whole)),
        (false, 0b1100) => ("SMULL", halves_by_sign!(word, unsigned, multiply_long, Whole)),
        (true, 0b1100) => ("UMULL", halves_by_sign!(word, unsigned, multiply_long, Whole)),
        (false, 0b1110) => ("PMULL", polynomial(word)),
        _ => return scalar(word),
    };
    Some((name, handler?))
}

/// Advanced SIMD scalar three different: those that the vector group has too.
pub(super) fn scalar(word: u32) -> Option<Op> {
    let (name, handler) = match (u(word), bits(word, 12, 4)) {
        (false, 0b1001) => {
            ("SQDMLAL", instance!(size(word), doubling_multiply_add_long, [1 => i16, 2 => i32], Whole))
        }
        (false, 0b1011) => {
            ("SQDMLSL", instance!(size(word), doubling_multiply_sub_long, [1 => i16, 2 => i32], Whole))
        }
        (false, 0b1101) => {
            ("SQDMULL", instance!(size(word), doubling_multiply_long, [1 => i16, 2 => i32], Whole))
        }
        _ => return None,
    };
    Some((name, handler?))
}
