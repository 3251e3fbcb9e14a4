//! One source register: the "two-register miscellaneous" groups, floating-point part.

use crate::fp::compare::compare;
use crate::fp::convert::{convert, from_fixed, round_to_integral, to_fixed};
use crate::fp::{Double, Env, Format, Half, Host, Rounding, Single, abs, arith, estimate, neg};
use crate::regs::Regs;

use super::fields::{bits, q, rd, rn, size, u, write_half};
use super::fp_vector::{is_at_least, is_equal, is_greater, truth};
use super::operand::{float_lane, float_size, floats};
use super::{Handler, Op};

macro_rules! of_one {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<F: Host>(regs: &mut Regs, word: u32) {
            floats::<F>(regs, word, |env, regs, i| $f(env, float_lane::<F>(regs.v[rn(word)], i)));
        })+
    };
}

of_one! {
    absolute = |_: &mut Env, a| abs::<F>(a);
    negate = |_: &mut Env, a| neg::<F>(a);
    square_root = arith::sqrt::<F>;
    recip_estimate = estimate::recip_estimate::<F>;
    rsqrt_estimate = estimate::rsqrt_estimate::<F>;
    recip_exponent = estimate::recip_exponent::<F>;
    equal_to_zero = |env: &mut Env, a| truth::<F>(is_equal(compare::<F>(env, a, 0, false)));
    greater_than_zero = |env: &mut Env, a| truth::<F>(is_greater(compare::<F>(env, a, 0, true)));
    at_least_zero = |env: &mut Env, a| truth::<F>(is_at_least(compare::<F>(env, a, 0, true)));
    less_than_zero = |env: &mut Env, a| truth::<F>(is_greater(compare::<F>(env, 0, a, true)));
    at_most_zero = |env: &mut Env, a| truth::<F>(is_at_least(compare::<F>(env, 0, a, true)));
    integral_nearest = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::TieEven, false);
    integral_up = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Up, false);
    integral_down = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Down, false);
    integral_zero = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Zero, false);
    integral_away = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::TieAway, false);
    integral_current = |env: &mut Env, a| round_to_integral::<F>(env, a, env.rounding(), false);
    integral_exact = |env: &mut Env, a| round_to_integral::<F>(env, a, env.rounding(), true);
}

/// FCVT{N,P,M,Z,A}{S,U} with `fbits` fraction bits, by the `U` bit.
#[inline]
pub(super) fn floats_to_fixed<F: Format>(regs: &mut Regs, word: u32, fbits: u32, mode: Rounding) {
    floats::<F>(regs, word, |env, regs, i| {
        to_fixed::<F>(env, float_lane::<F>(regs.v[rn(word)], i), fbits, F::WIDTH, !u(word), mode)
    });
}

/// SCVTF or UCVTF with `fbits` fraction bits, by the `U` bit.
#[inline]
pub(super) fn fixed_to_floats<F: Format>(regs: &mut Regs, word: u32, fbits: u32) {
    floats::<F>(regs, word, |env, regs, i| {
        let raw = float_lane::<F>(regs.v[rn(word)], i);
        let shift = 64 - F::WIDTH;
        let value = if u(word) { raw } else { ((raw << shift) as i64 >> shift) as u64 };
        from_fixed::<F>(env, value, fbits, !u(word), env.rounding())
    });
}

fn to_integer_nearest<F: Host>(regs: &mut Regs, word: u32) {
    floats_to_fixed::<F>(regs, word, 0, Rounding::TieEven);
}

fn to_integer_up<F: Host>(regs: &mut Regs, word: u32) {
    floats_to_fixed::<F>(regs, word, 0, Rounding::Up);
}

fn to_integer_down<F: Host>(regs: &mut Regs, word: u32) {
    floats_to_fixed::<F>(regs, word, 0, Rounding::Down);
}

fn to_integer_zero<F: Host>(regs: &mut Regs, word: u32) {
    floats_to_fixed::<F>(regs, word, 0, Rounding::Zero);
}

fn to_integer_away<F: Host>(regs: &mut Regs, word: u32) {
    floats_to_fixed::<F>(regs, word, 0, Rounding::TieAway);
}

fn from_integer<F: Host>(regs: &mut Regs, word: u32) {
    fixed_to_floats::<F>(regs, word, 0);
}

/// FCVTL: half a register of narrow numbers to a whole one of numbers twice as wide.
fn lengthen<N: Format, W: Format>(regs: &mut Regs, word: u32) {
    let mut env = Env { fpcr: regs.fpcr, fpsr: regs.fpsr };
    let mode = env.rounding();
    let source = regs.v[rn(word)] >> if q(word) { 64 } else { 0 };
    let mut result = 0;
    for i in 0..(64 / N::WIDTH) {
        let value = convert::<N, W>(&mut env, float_lane::<N>(source, i as usize), mode);
        result |= u128::from(value) << (i * W::WIDTH);
    }
    regs.fpsr = env.fpsr;
    regs.v[rd(word)] = result;
}

/// FCVTN and FCVTXN, of `lanes` lanes.
#[inline]
fn narrow<W: Format, N: Format>(regs: &mut Regs, word: u32, lanes: u32, mode: Option<Rounding>) {
    let mut env = Env { fpcr: regs.fpcr, fpsr: regs.fpsr };
    let mode = mode.unwrap_or(env.rounding());
    let source = regs.v[rn(word)];
    let mut result = 0;
    for i in 0..lanes {
        let value = convert::<W, N>(&mut env, float_lane::<W>(source, i as usize), mode);
        result |= value << (i * N::WIDTH);
    }
    regs.fpsr = env.fpsr;
    write_half(regs, word, result);
}

/// Advanced SIMD two-register miscellaneous, floating-point.
pub(super) fn vector(word: u32) -> Option<Op> {
    // Bit 23 is part of the operation here, and bit 22 the precision.
    let double = size(word) & 1 != 0;
    let (name, handler) = match (u(word), size(word) >> 1, bits(word, 12, 5)) {
        (false, 0, 0b10110) if double => {
            ("FCVTN", Some((|regs, word| narrow::<Double, Single>(regs, word, 2, None)) as Handler))
        }
        (false, 0, 0b10110) => {
            ("FCVTN", Some((|regs, word| narrow::<Single, Half>(regs, word, 4, None)) as Handler))
        }
        (true, 0, 0b10110) if double => {
            let handler: Handler = |regs, word| narrow::<Double, Single>(regs, word, 2, Some(Rounding::Odd));
            ("FCVTXN", Some(handler))
        }
        (false, 0, 0b10111) if double => ("FCVTL", Some(lengthen::<Single, Double> as Handler)),
        (false, 0, 0b10111) => ("FCVTL", Some(lengthen::<Half, Single> as Handler)),
        (false, 0, 0b11000) => ("FRINTN", float_size!(word, integral_nearest)),
        (false, 1, 0b11000) => ("FRINTP", float_size!(word, integral_up)),
        (false, 0, 0b11001) => ("FRINTM", float_size!(word, integral_down)),
        (false, 1, 0b11001) => ("FRINTZ", float_size!(word, integral_zero)),
        (true, 0, 0b11000) => ("FRINTA", float_size!(word, integral_away)),
        (true, 0, 0b11001) => ("FRINTX", float_size!(word, integral_exact)),
        (true, 1, 0b11001) => ("FRINTI", float_size!(word, integral_current)),
        (_, 0, 0b11010) => ("FCVTN[SU]", float_size!(word, to_integer_nearest)),
        (_, 1, 0b11010) => ("FCVTP[SU]", float_size!(word, to_integer_up)),
        (_, 0, 0b11011) => ("FCVTM[SU]", float_size!(word, to_integer_down)),
        (_, 1, 0b11011) => ("FCVTZ[SU]", float_size!(word, to_integer_zero)),
        (_, 0, 0b11100) => ("FCVTA[SU]", float_size!(word, to_integer_away)),
        (false, 0, 0b11101) => ("SCVTF", float_size!(word, from_integer)),
        (true, 0, 0b11101) => ("UCVTF", float_size!(word, from_integer)),
        (false, 1, 0b01100) => ("FCMGT", float_size!(word, greater_than_zero)),
        (true, 1, 0b01100) => ("FCMGE", float_size!(word, at_least_zero)),
        (false, 1, 0b01101) => ("FCMEQ", float_size!(word, equal_to_zero)),
        (true, 1, 0b01101) => ("FCMLE", float_size!(word, at_most_zero)),
        (false, 1, 0b01110) => ("FCMLT", float_size!(word, less_than_zero)),
        (false, 1, 0b01111) => ("FABS", float_size!(word, absolute)),
        (true, 1, 0b01111) => ("FNEG", float_size!(word, negate)),
        (false, 1, 0b11101) => ("FRECPE", float_size!(word, recip_estimate)),
        (true, 1, 0b11101) => ("FRSQRTE", float_size!(word, rsqrt_estimate)),
        (true, 1, 0b11111) => ("FSQRT", float_size!(word, square_root)),
        _ => return None,
    };
    Some((name, handler?))
}

/// Advanced SIMD scalar two-register miscellaneous, floating-point.
pub(super) fn scalar(word: u32) -> Option<Op> {
    match (u(word), size(word) >> 1, bits(word, 12, 5)) {
        (true, 0, 0b10110) if size(word) == 1 => {
            Some(("FCVTXN", |regs, word| narrow::<Double, Single>(regs, word, 1, Some(Rounding::Odd))))
        }
        (false, 1, 0b11111) => Some(("FRECPX", float_size!(word, recip_exponent)?)),
        (_, _, 0b11010 | 0b11011)
        | (_, 0, 0b11100)
        | (_, _, 0b11101)
        | (_, 1, 0b01100 | 0b01101)
        | (false, 1, 0b01110) => vector(word),
        _ => None,
    }
}
