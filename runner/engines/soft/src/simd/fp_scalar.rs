//! Scalar floating-point: arithmetic, comparisons, selection, constants and conversions.

use std::cmp::Ordering;

use crate::fp::compare::{self, compare};
use crate::fp::convert::{convert, from_fixed, round_to_integral, to_fixed};
use crate::fp::{Double, Env, Format, Half, Host, Rounding, Single, abs, arith, neg};
use crate::regs::{Regs, nzcv};

use super::fields::{bits, rd, rm, rn};
use super::immediate::{expand_double, expand_single};
use super::{Handler, Op};

#[inline]
fn read<F: Format>(regs: &Regs, n: usize) -> u64 {
    regs.v[n] as u64 & (u64::MAX >> (64 - F::WIDTH))
}

/// Runs `f`, keeping the flags that it raises.
#[inline]
fn with_env<T>(regs: &mut Regs, f: impl FnOnce(&mut Env, &Regs) -> T) -> T {
    let mut env = Env { fpcr: regs.fpcr, fpsr: regs.fpsr };
    let result = f(&mut env, regs);
    regs.fpsr = env.fpsr;
    result
}

/// Vd = f(...), the rest of the register zeroed.
#[inline]
fn scalar(regs: &mut Regs, word: u32, f: impl FnOnce(&mut Env, &Regs) -> u64) {
    regs.v[rd(word)] = u128::from(with_env(regs, f));
}

macro_rules! of_one {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<F: Host>(regs: &mut Regs, word: u32) {
            scalar(regs, word, |env, regs| $f(env, read::<F>(regs, rn(word))));
        })+
    };
}

of_one! {
    copy = |_: &mut Env, a| a;
    absolute = |_: &mut Env, a| abs::<F>(a);
    negate = |_: &mut Env, a| neg::<F>(a);
    square_root = arith::sqrt::<F>;
    to_single = |env: &mut Env, a| convert::<F, Single>(env, a, env.rounding());
    to_double = |env: &mut Env, a| convert::<F, Double>(env, a, env.rounding());
    to_half = |env: &mut Env, a| convert::<F, Half>(env, a, env.rounding());
    integral_nearest = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::TieEven, false);
    integral_up = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Up, false);
    integral_down = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Down, false);
    integral_zero = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::Zero, false);
    integral_away = |env: &mut Env, a| round_to_integral::<F>(env, a, Rounding::TieAway, false);
    integral_current = |env: &mut Env, a| round_to_integral::<F>(env, a, env.rounding(), false);
    integral_exact = |env: &mut Env, a| round_to_integral::<F>(env, a, env.rounding(), true);
}

macro_rules! of_two {
    ($($name:ident = $f:expr;)+) => {
        $(fn $name<F: Host>(regs: &mut Regs, word: u32) {
            scalar(regs, word, |env, regs| $f(env, read::<F>(regs, rn(word)), read::<F>(regs, rm(word))));
        })+
    };
}

of_two! {
    multiply = arith::mul::<F>;
    divide = arith::div::<F>;
    add = arith::add::<F>;
    sub = arith::sub::<F>;
    maximum = compare::max::<F>;
    minimum = compare::min::<F>;
    maximum_number = compare::max_num::<F>;
    minimum_number = compare::min_num::<F>;
    multiply_negate = |env: &mut Env, a, b| neg::<F>(arith::mul::<F>(env, a, b));
}

/// FMADD and its kin: `o1` negates the addend and the product, `o0` the product.
fn fused<F: Host, const O1: bool, const O0: bool>(regs: &mut Regs, word: u32) {
    scalar(regs, word, |env, regs| {
        let addend = read::<F>(regs, bits(word, 10, 5) as usize);
        let (a, b) = (read::<F>(regs, rn(word)), read::<F>(regs, rm(word)));
        let addend = if O1 { neg::<F>(addend) } else { addend };
        let a = if O1 != O0 { neg::<F>(a) } else { a };
        arith::mul_add::<F>(env, addend, a, b)
    });
}

/// FPCompare's answer as NZCV.
fn flags(order: Option<Ordering>) -> u32 {
    match order {
        Some(Ordering::Equal) => nzcv::Z | nzcv::C,
        Some(Ordering::Less) => nzcv::N,
        Some(Ordering::Greater) => nzcv::C,
        None => nzcv::C | nzcv::V,
    }
}

fn compare_registers<F: Host, const SIGNALS: bool>(regs: &mut Regs, word: u32) {
    regs.nzcv = flags(with_env(regs, |env, regs| {
        compare::<F>(env, read::<F>(regs, rn(word)), read::<F>(regs, rm(word)), SIGNALS)
    }));
}

fn compare_zero<F: Host, const SIGNALS: bool>(regs: &mut Regs, word: u32) {
    regs.nzcv = flags(with_env(regs, |env, regs| compare::<F>(env, read::<F>(regs, rn(word)), 0, SIGNALS)));
}

/// ConditionHolds of the `cond` field.
#[inline]
fn condition_holds(regs: &Regs, word: u32) -> bool {
    let cond = bits(word, 12, 4);
    let set = |flag| regs.nzcv & flag != 0;
    let (n, z, c, v) = (set(nzcv::N), set(nzcv::Z), set(nzcv::C), set(nzcv::V));
    let holds = match cond >> 1 {
        0 => z,
        1 => c,
        2 => n,
        3 => v,
        4 => c && !z,
        5 => n == v,
        6 => n == v && !z,
        // Both AL and NV are always.
        _ => return true,
    };
    holds != (cond & 1 != 0)
}

fn compare_conditionally<F: Host, const SIGNALS: bool>(regs: &mut Regs, word: u32) {
    if condition_holds(regs, word) {
        compare_registers::<F, SIGNALS>(regs, word);
    } else {
        regs.nzcv = bits(word, 0, 4) << 28;
    }
}

fn select<F: Host>(regs: &mut Regs, word: u32) {
    let source = if condition_holds(regs, word) { rn(word) } else { rm(word) };
    regs.v[rd(word)] = u128::from(read::<F>(regs, source));
}

fn to_register<F: Host, const WIDTH: u32, const SIGNED: bool>(
    regs: &mut Regs,
    word: u32,
    fbits: u32,
    mode: Rounding,
) {
    let value =
        with_env(regs, |env, regs| to_fixed::<F>(env, read::<F>(regs, rn(word)), fbits, WIDTH, SIGNED, mode));
    regs.write_x(rd(word) as u32, value);
}

/// FCVT{N,P,M,Z}{S,U} by the `rmode` field.
fn to_integer<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32) {
    to_register::<F, WIDTH, SIGNED>(regs, word, 0, Rounding::from_field(bits(word, 19, 2)));
}

fn to_integer_away<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32) {
    to_register::<F, WIDTH, SIGNED>(regs, word, 0, Rounding::TieAway);
}

fn to_fixed_point<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32) {
    to_register::<F, WIDTH, SIGNED>(regs, word, 64 - bits(word, 10, 6), Rounding::Zero);
}

fn from_register<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32, fbits: u32) {
    let raw = regs.read_x(rn(word) as u32);
    let value = match (WIDTH, SIGNED) {
        (32, true) => raw as i32 as u64,
        (32, false) => u64::from(raw as u32),
        _ => raw,
    };
    scalar(regs, word, |env, _| from_fixed::<F>(env, value, fbits, SIGNED, env.rounding()));
}

fn from_integer<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32) {
    from_register::<F, WIDTH, SIGNED>(regs, word, 0);
}

fn from_fixed_point<F: Host, const WIDTH: u32, const SIGNED: bool>(regs: &mut Regs, word: u32) {
    from_register::<F, WIDTH, SIGNED>(regs, word, 64 - bits(word, 10, 6));
}

/// An instance by precision (`ptype`), width of the general register (`sf`) and sign (`opcode<0>`).
macro_rules! conversion {
    ($word:expr, $f:ident) => {
        match (bits($word, 22, 2), bits($word, 31, 1), bits($word, 16, 1)) {
            (0, 0, 0) => $f::<Single, 32, true> as Handler,
            (0, 0, 1) => $f::<Single, 32, false>,
            (0, 1, 0) => $f::<Single, 64, true>,
            (0, 1, 1) => $f::<Single, 64, false>,
            (1, 0, 0) => $f::<Double, 32, true>,
            (1, 0, 1) => $f::<Double, 32, false>,
            (1, 1, 0) => $f::<Double, 64, true>,
            (1, 1, 1) => $f::<Double, 64, false>,
            _ => return None,
        }
    };
}

/// An instance by precision (`ptype`); half precision has conversions only.
macro_rules! precision {
    ($word:expr, $f:ident $(, $more:literal)*) => {
        match bits($word, 22, 2) {
            0 => $f::<Single $(, $more)*> as Handler,
            1 => $f::<Double $(, $more)*>,
            _ => return None,
        }
    };
}

/// Conversion between floating-point and integer, and FMOV to and from general registers.
fn integer_conversions(word: u32) -> Option<Op> {
    let (sf, ptype, rmode) = (bits(word, 31, 1), bits(word, 22, 2), bits(word, 19, 2));
    Some(match (rmode, bits(word, 16, 3)) {
        (_, 0b000 | 0b001) => ("FCVT[NPMZ][SU]", conversion!(word, to_integer)),
        (0, 0b010) => ("SCVTF", conversion!(word, from_integer)),
        (0, 0b011) => ("UCVTF", conversion!(word, from_integer)),
        (0, 0b100 | 0b101) => ("FCVTA[SU]", conversion!(word, to_integer_away)),
        (0, 0b110) if sf == 0 && ptype == 0 => ("FMOV", |regs, word| {
            regs.write_x(rd(word) as u32, u64::from(regs.v[rn(word)] as u32));
        }),
        (0, 0b110) if sf == 1 && ptype == 1 => ("FMOV", |regs, word| {
            regs.write_x(rd(word) as u32, regs.v[rn(word)] as u64);
        }),
        (1, 0b110) if sf == 1 && ptype == 2 => ("FMOV", |regs, word| {
            regs.write_x(rd(word) as u32, (regs.v[rn(word)] >> 64) as u64);
        }),
        (0, 0b111) if sf == 0 && ptype == 0 => ("FMOV", |regs, word| {
            regs.v[rd(word)] = u128::from(regs.read_x(rn(word) as u32) as u32);
        }),
        (0, 0b111) if sf == 1 && ptype == 1 => ("FMOV", |regs, word| {
            regs.v[rd(word)] = u128::from(regs.read_x(rn(word) as u32));
        }),
        (1, 0b111) if sf == 1 && ptype == 2 => ("FMOV", |regs, word| {
            let low = regs.v[rd(word)] as u64;
            regs.v[rd(word)] = u128::from(low) | u128::from(regs.read_x(rn(word) as u32)) << 64;
        }),
        _ => return None,
    })
}

/// Conversion between floating-point and fixed-point.
fn fixed_conversions(word: u32) -> Option<Op> {
    // `scale` is 64 less the fraction bits, of which there are no more than the register has bits.
    if bits(word, 31, 1) == 0 && bits(word, 15, 1) == 0 {
        return None;
    }
    Some(match (bits(word, 19, 2), bits(word, 16, 3)) {
        (0b00, 0b010) => ("SCVTF", conversion!(word, from_fixed_point)),
        (0b00, 0b011) => ("UCVTF", conversion!(word, from_fixed_point)),
        (0b11, 0b000 | 0b001) => ("FCVTZ[SU]", conversion!(word, to_fixed_point)),
        _ => return None,
    })
}

/// Floating-point data-processing with one source.
fn one_source(word: u32) -> Option<Op> {
    let ptype = bits(word, 22, 2);
    Some(match (bits(word, 15, 6), ptype) {
        (0b000000, _) => ("FMOV", precision!(word, copy)),
        (0b000001, _) => ("FABS", precision!(word, absolute)),
        (0b000010, _) => ("FNEG", precision!(word, negate)),
        (0b000011, _) => ("FSQRT", precision!(word, square_root)),
        (0b000100, 1) => ("FCVT", to_single::<Double>),
        (0b000101, 0) => ("FCVT", to_double::<Single>),
        (0b000111, 0) => ("FCVT", to_half::<Single>),
        (0b000111, 1) => ("FCVT", to_half::<Double>),
        (0b000100, 3) => ("FCVT", |regs, word| from_half::<Single>(regs, word)),
        (0b000101, 3) => ("FCVT", |regs, word| from_half::<Double>(regs, word)),
        (0b001000, _) => ("FRINTN", precision!(word, integral_nearest)),
        (0b001001, _) => ("FRINTP", precision!(word, integral_up)),
        (0b001010, _) => ("FRINTM", precision!(word, integral_down)),
        (0b001011, _) => ("FRINTZ", precision!(word, integral_zero)),
        (0b001100, _) => ("FRINTA", precision!(word, integral_away)),
        (0b001110, _) => ("FRINTX", precision!(word, integral_exact)),
        (0b001111, _) => ("FRINTI", precision!(word, integral_current)),
        _ => return None,
    })
}

fn from_half<F: Format>(regs: &mut Regs, word: u32) {
    scalar(regs, word, |env, regs| convert::<Half, F>(env, read::<Half>(regs, rn(word)), env.rounding()));
}

fn two_sources(word: u32) -> Option<Op> {
    Some(match bits(word, 12, 4) {
        0b0000 => ("FMUL", precision!(word, multiply)),
        0b0001 => ("FDIV", precision!(word, divide)),
        0b0010 => ("FADD", precision!(word, add)),
        0b0011 => ("FSUB", precision!(word, sub)),
        0b0100 => ("FMAX", precision!(word, maximum)),
        0b0101 => ("FMIN", precision!(word, minimum)),
        0b0110 => ("FMAXNM", precision!(word, maximum_number)),
        0b0111 => ("FMINNM", precision!(word, minimum_number)),
        0b1000 => ("FNMUL", precision!(word, multiply_negate)),
        _ => return None,
    })
}

fn three_sources(word: u32) -> Option<Op> {
    Some(match (bits(word, 21, 1), bits(word, 15, 1)) {
        (0, 0) => ("FMADD", precision!(word, fused, false, false)),
        (0, _) => ("FMSUB", precision!(word, fused, false, true)),
        (_, 0) => ("FNMADD", precision!(word, fused, true, false)),
        _ => ("FNMSUB", precision!(word, fused, true, true)),
    })
}

fn comparison(word: u32) -> Option<Op> {
    if bits(word, 14, 2) != 0 {
        return None;
    }
    Some(match bits(word, 0, 5) {
        0b00000 => ("FCMP", precision!(word, compare_registers, false)),
        0b01000 => ("FCMP", precision!(word, compare_zero, false)),
        0b10000 => ("FCMPE", precision!(word, compare_registers, true)),
        0b11000 => ("FCMPE", precision!(word, compare_zero, true)),
        _ => return None,
    })
}

fn immediate(word: u32) -> Option<Op> {
    if bits(word, 5, 5) != 0 {
        return None;
    }
    Some(match bits(word, 22, 2) {
        0 => ("FMOV", |regs, word| regs.v[rd(word)] = expand_single(bits(word, 13, 8).into()).into()),
        1 => ("FMOV", |regs, word| regs.v[rd(word)] = expand_double(bits(word, 13, 8).into()).into()),
        _ => return None,
    })
}

/// The scalar floating-point groups: bits 31 to 28 are x001.
pub(super) fn lookup(word: u32) -> Option<Op> {
    // Only the conversions, which may name a 64-bit register, can have bit 31 set.
    let sf = bits(word, 31, 1) != 0;
    if word & 1 << 24 != 0 {
        return if sf { None } else { three_sources(word) };
    }
    if word & 1 << 21 == 0 {
        return fixed_conversions(word);
    }
    if bits(word, 10, 6) == 0 {
        return integer_conversions(word);
    }
    if sf {
        return None;
    }
    match bits(word, 10, 2) {
        0b01 => Some(match bits(word, 4, 1) {
            0 => ("FCCMP", precision!(word, compare_conditionally, false)),
            _ => ("FCCMPE", precision!(word, compare_conditionally, true)),
        }),
        0b10 => two_sources(word),
        0b11 => Some(("FCSEL", precision!(word, select))),
        // The rest are told apart by the lowest set bit from bit 12 up.
        _ => match bits(word, 12, 4).trailing_zeros() {
            0 => immediate(word),
            1 => comparison(word),
            2 => one_source(word),
            _ => None,
        },
    }
}
