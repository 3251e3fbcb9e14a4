//! Reductions of a vector to one element: across lanes, and the scalar pairwise group.

use crate::fp::{Double, Env, Format, Single, arith, compare};
use crate::regs::Regs;

use super::fields::{bits, count, q, rd, rn, size, u};
use super::lanes::{Lane, Widen};
use super::operand::{float_lane, instance, to_word, to_word_signed};
use super::{Handler, Op};

/// Folds the lanes of Vn to one.
#[inline]
fn fold<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(T, T) -> T) {
    let lanes = T::load(&regs.v[rn(word)]);
    let lanes = &lanes.as_ref()[..count(word, T::BITS)];
    let result = lanes[1..].iter().fold(lanes[0], |a, &b| f(a, b));
    regs.v[rd(word)] = u128::from(result.raw());
}

fn sum<T: Lane>(regs: &mut Regs, word: u32) {
    fold::<T>(regs, word, T::add);
}

fn maximum<T: Lane>(regs: &mut Regs, word: u32) {
    fold::<T>(regs, word, T::max);
}

fn minimum<T: Lane>(regs: &mut Regs, word: u32) {
    fold::<T>(regs, word, T::min);
}

fn long_sum<T: Widen>(regs: &mut Regs, word: u32) {
    let lanes = T::load(&regs.v[rn(word)]);
    let lanes = &lanes.as_ref()[..count(word, T::BITS)];
    let result = lanes.iter().fold(T::Wide::ZERO, |a, b| a.add(b.widen()));
    regs.v[rd(word)] = u128::from(result.raw());
}

/// Reduces `lanes` lanes (two or four) of Vn to one, halving as the architecture's Reduce() does: the
/// order decides which NaN wins.
#[inline]
fn reduce<F: Format>(regs: &mut Regs, word: u32, lanes: usize, f: impl Fn(&mut Env, u64, u64) -> u64) {
    let mut env = Env { fpcr: regs.fpcr, fpsr: regs.fpsr };
    let source = regs.v[rn(word)];
    let at = |i| float_lane::<F>(source, i);
    let mut result = f(&mut env, at(0), at(1));
    if lanes == 4 {
        let high = f(&mut env, at(2), at(3));
        result = f(&mut env, result, high);
    }
    regs.fpsr = env.fpsr;
    regs.v[rd(word)] = u128::from(result);
}

/// Advanced SIMD across lanes.
pub(super) fn vector(word: u32) -> Option<Op> {
    let opcode = bits(word, 12, 5);
    if opcode == 0b01100 || opcode == 0b01111 {
        return four_floats(word);
    }
    // Four lanes at least.
    if size(word) == 2 && !q(word) {
        return None;
    }
    let (name, handler) = match (u(word), opcode) {
        (false, 0b00011) => ("SADDLV", to_word_signed!(word, long_sum)),
        (true, 0b00011) => ("UADDLV", to_word!(word, long_sum)),
        (false, 0b01010) => ("SMAXV", to_word_signed!(word, maximum)),
        (true, 0b01010) => ("UMAXV", to_word!(word, maximum)),
        (false, 0b11010) => ("SMINV", to_word_signed!(word, minimum)),
        (true, 0b11010) => ("UMINV", to_word!(word, minimum)),
        (false, 0b11011) => ("ADDV", to_word!(word, sum)),
        _ => return None,
    };
    Some((name, handler?))
}

/// The floating-point part: four single-precision lanes only.
fn four_floats(word: u32) -> Option<Op> {
    if !u(word) || !q(word) || size(word) & 1 != 0 {
        return None;
    }
    Some(match (size(word) >> 1, bits(word, 12, 5)) {
        (0, 0b01100) => ("FMAXNMV", |regs, word| reduce::<Single>(regs, word, 4, compare::max_num::<Single>)),
        (_, 0b01100) => ("FMINNMV", |regs, word| reduce::<Single>(regs, word, 4, compare::min_num::<Single>)),
        (0, 0b01111) => ("FMAXV", |regs, word| reduce::<Single>(regs, word, 4, compare::max::<Single>)),
        (_, 0b01111) => ("FMINV", |regs, word| reduce::<Single>(regs, word, 4, compare::min::<Single>)),
        _ => return None,
    })
}

/// A reduction of two lanes, single or double precision by the low bit of `size`.
macro_rules! two_lanes {
    ($word:expr, $f:ident :: $g:ident) => {
        if size($word) & 1 == 0 {
            |regs, word| reduce::<Single>(regs, word, 2, $f::$g::<Single>)
        } else {
            |regs, word| reduce::<Double>(regs, word, 2, $f::$g::<Double>)
        }
    };
}

/// Advanced SIMD scalar pairwise.
pub(super) fn scalar(word: u32) -> Option<Op> {
    Some(match (u(word), size(word) >> 1, bits(word, 12, 5)) {
        (false, _, 0b11011) if size(word) == 3 => ("ADDP", |regs, word| {
            let pair = regs.v[rn(word)];
            regs.v[rd(word)] = u128::from((pair as u64).wrapping_add((pair >> 64) as u64));
        }),
        (true, 0, 0b01100) => ("FMAXNMP", two_lanes!(word, compare::max_num)),
        (true, _, 0b01100) => ("FMINNMP", two_lanes!(word, compare::min_num)),
        (true, 0, 0b01101) => ("FADDP", two_lanes!(word, arith::add)),
        (true, 0, 0b01111) => ("FMAXP", two_lanes!(word, compare::max)),
        (true, _, 0b01111) => ("FMINP", two_lanes!(word, compare::min)),
        _ => return None,
    })
}
