//! Floating-point operations on vectors, and the scalar forms within the Advanced SIMD groups.

use std::cmp::Ordering;

use crate::fp::compare::{self, compare};
use crate::fp::{Double, Env, Format, Host, Single, abs, arith, neg};
use crate::regs::Regs;

use super::fields::{bits, count, q, rd, rm, rn, size, u};
use super::operand::{Operand, Whole, float_lane, float_size, floats};
use super::{Handler, Op};

#[inline]
fn of_two<F: Format, O: Operand>(regs: &mut Regs, word: u32, f: impl Fn(&mut Env, u64, u64) -> u64) {
    floats::<F>(regs, word, |env, regs, i| {
        f(env, float_lane::<F>(regs.v[rn(word)], i), O::float::<F>(regs, word, i))
    });
}

/// All ones or all zeros.
#[inline]
pub(super) fn truth<F: Format>(holds: bool) -> u64 {
    if holds { u64::MAX >> (64 - F::WIDTH) } else { 0 }
}

pub(super) fn multiply<F: Host, O: Operand>(regs: &mut Regs, word: u32) {
    of_two::<F, O>(regs, word, arith::mul::<F>);
}

pub(super) fn multiply_extended<F: Host, O: Operand>(regs: &mut Regs, word: u32) {
    of_two::<F, O>(regs, word, arith::mulx::<F>);
}

#[inline]
fn fused<F: Host, O: Operand>(regs: &mut Regs, word: u32, f: impl Fn(u64) -> u64) {
    floats::<F>(regs, word, |env, regs, i| {
        let a = f(float_lane::<F>(regs.v[rn(word)], i));
        let b = O::float::<F>(regs, word, i);
        arith::mul_add::<F>(env, float_lane::<F>(regs.v[rd(word)], i), a, b)
    });
}

pub(super) fn multiply_add<F: Host, O: Operand>(regs: &mut Regs, word: u32) {
    fused::<F, O>(regs, word, |a| a);
}

pub(super) fn multiply_sub<F: Host, O: Operand>(regs: &mut Regs, word: u32) {
    fused::<F, O>(regs, word, neg::<F>);
}

macro_rules! of_pairs {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<F: Host>(regs: &mut Regs, word: u32) {
            of_two::<F, Whole>(regs, word, $f);
        })+
    };
}

of_pairs! {
    add = arith::add::<F>;
    sub = arith::sub::<F>;
    divide = arith::div::<F>;
    maximum = compare::max::<F>;
    minimum = compare::min::<F>;
    maximum_number = compare::max_num::<F>;
    minimum_number = compare::min_num::<F>;
    absolute_difference = |env, a, b| abs::<F>(arith::sub::<F>(env, a, b));
    recip_step = arith::recip_step::<F>;
    rsqrt_step = arith::rsqrt_step::<F>;
    equal = |env, a, b| truth::<F>(is_equal(compare::<F>(env, a, b, false)));
    greater_or_equal = |env, a, b| truth::<F>(is_at_least(compare::<F>(env, a, b, true)));
    greater = |env, a, b| truth::<F>(is_greater(compare::<F>(env, a, b, true)));
    absolute_greater_or_equal =
        |env, a, b| truth::<F>(is_at_least(compare::<F>(env, abs::<F>(a), abs::<F>(b), true)));
    absolute_greater =
        |env, a, b| truth::<F>(is_greater(compare::<F>(env, abs::<F>(a), abs::<F>(b), true)));
}

pub(super) fn is_equal(order: Option<Ordering>) -> bool {
    order == Some(Ordering::Equal)
}

pub(super) fn is_greater(order: Option<Ordering>) -> bool {
    order == Some(Ordering::Greater)
}

pub(super) fn is_at_least(order: Option<Ordering>) -> bool {
    matches!(order, Some(Ordering::Greater | Ordering::Equal))
}

macro_rules! of_neighbours {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<F: Host>(regs: &mut Regs, word: u32) {
            let half = count(word, F::WIDTH) / 2;
            floats::<F>(regs, word, |env, regs, i| {
                let (source, i) = if i < half { (rn(word), i) } else { (rm(word), i - half) };
                let pair = regs.v[source];
                $f(env, float_lane::<F>(pair, 2 * i), float_lane::<F>(pair, 2 * i + 1))
            });
        })+
    };
}

of_neighbours! {
    pairwise_add = arith::add::<F>;
    pairwise_maximum = compare::max::<F>;
    pairwise_minimum = compare::min::<F>;
    pairwise_maximum_number = compare::max_num::<F>;
    pairwise_minimum_number = compare::min_num::<F>;
}

/// The floating-point part of Advanced SIMD three same (opcodes from 11000).
pub(super) fn three_same(word: u32) -> Option<Op> {
    // Bit 23 is part of the operation here.
    let (name, handler) = match (u(word), size(word) >> 1, bits(word, 11, 5)) {
        (false, 0, 0b11000) => ("FMAXNM", float_size!(word, maximum_number)),
        (false, 1, 0b11000) => ("FMINNM", float_size!(word, minimum_number)),
        (true, 0, 0b11000) => ("FMAXNMP", float_size!(word, pairwise_maximum_number)),
        (true, 1, 0b11000) => ("FMINNMP", float_size!(word, pairwise_minimum_number)),
        (false, 0, 0b11001) => ("FMLA", float_size!(word, multiply_add, Whole)),
        (false, 1, 0b11001) => ("FMLS", float_size!(word, multiply_sub, Whole)),
        (false, 0, 0b11010) => ("FADD", float_size!(word, add)),
        (false, 1, 0b11010) => ("FSUB", float_size!(word, sub)),
        (true, 0, 0b11010) => ("FADDP", float_size!(word, pairwise_add)),
        (true, 1, 0b11010) => ("FABD", float_size!(word, absolute_difference)),
        (false, 0, 0b11011) => ("FMULX", float_size!(word, multiply_extended, Whole)),
        (true, 0, 0b11011) => ("FMUL", float_size!(word, multiply, Whole)),
        (false, 0, 0b11100) => ("FCMEQ", float_size!(word, equal)),
        (true, 0, 0b11100) => ("FCMGE", float_size!(word, greater_or_equal)),
        (true, 1, 0b11100) => ("FCMGT", float_size!(word, greater)),
        (true, 0, 0b11101) => ("FACGE", float_size!(word, absolute_greater_or_equal)),
        (true, 1, 0b11101) => ("FACGT", float_size!(word, absolute_greater)),
        (false, 0, 0b11110) => ("FMAX", float_size!(word, maximum)),
        (false, 1, 0b11110) => ("FMIN", float_size!(word, minimum)),
        (true, 0, 0b11110) => ("FMAXP", float_size!(word, pairwise_maximum)),
        (true, 1, 0b11110) => ("FMINP", float_size!(word, pairwise_minimum)),
        (false, 0, 0b11111) => ("FRECPS", float_size!(word, recip_step)),
        (false, 1, 0b11111) => ("FRSQRTS", float_size!(word, rsqrt_step)),
        (true, 0, 0b11111) => ("FDIV", float_size!(word, divide)),
        _ => return None,
    };
    Some((name, handler?))
}

/// The floating-point part of Advanced SIMD scalar three same: a few of the vector group's operations.
pub(super) fn scalar_three_same(word: u32) -> Option<Op> {
    match (u(word), size(word) >> 1, bits(word, 11, 5)) {
        (false, 0, 0b11011 | 0b11100)
        | (false, _, 0b11111)
        | (true, 1, 0b11010)
        | (true, _, 0b11100 | 0b11101) => three_same(word),
        _ => None,
    }
}
