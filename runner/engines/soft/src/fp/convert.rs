//! Conversions between formats, to and from integers, and to integral values.

use super::round::{Rounding, round};
use super::{Class, Env, Format, fpcr, fpsr, quieten, signed, unpack};

/// FPConvert: from one format to another, rounding as `mode` says.
pub fn convert<From: Format, To: Format>(env: &mut Env, bits: u64, mode: Rounding) -> u64 {
    let sign = bits & From::SIGN != 0;
    let to_alternative = To::WIDTH == 16 && env.fpcr & fpcr::AHP != 0;
    let mut u = unpack::<From>(env, bits);
    if From::WIDTH == 16 && env.fpcr & fpcr::AHP != 0 && bits & From::EXP_MASK == From::EXP_MASK {
        // The alternative format has neither infinities nor NaNs, but numbers twice as large.
        u.class = Class::Finite;
        u.sig = ((bits & From::FRAC_MASK) | From::IMPLICIT) << (63 - From::FRAC_BITS);
        u.exp = From::MAX_BIASED - From::BIAS - 63;
    }
    match u.class {
        Class::Quiet | Class::Signalling => {
            if u.class == Class::Signalling || to_alternative {
                env.raise(fpsr::IOC);
            }
            if to_alternative {
                signed::<To>(sign, 0)
            } else if env.fpcr & fpcr::DN != 0 {
                To::DEFAULT_NAN
            } else {
                // The payload keeps its top bits.
                let top = (bits & From::FRAC_MASK) << (63 - From::FRAC_BITS);
                let frac = (top >> (63 - To::FRAC_BITS)) & To::FRAC_MASK;
                signed::<To>(sign, To::DEFAULT_NAN | frac)
            }
        }
        Class::Infinity if to_alternative => {
            env.raise(fpsr::IOC);
            signed::<To>(sign, To::SIGN - 1)
        }
        Class::Infinity => signed::<To>(sign, To::INFINITY),
        Class::Zero => signed::<To>(sign, 0),
        Class::Finite => round::<To>(env, mode, sign, u.exp, u.sig.into()),
    }
}

/// The magnitude `sig * 2^exp` rounded to an integer that fits 64 bits, with whether it was inexact;
/// `None` if it is 2^64 or more.
#[inline]
fn to_magnitude(mode: Rounding, negative: bool, sig: u64, exp: i32) -> Option<(u64, bool)> {
    // The integer part, and the fraction from its first bit down.
    let (int, frac) = match exp {
        1.. => return None,
        0 => (sig, 0),
        -63..0 => (sig >> -exp, sig << (64 + exp)),
        -64 => (0, sig),
        _ => (0, 1),
    };
    let up = mode.increments(negative, int & 1 != 0, frac >> 63 != 0, frac << 1 != 0);
    Some((int.checked_add(u64::from(up))?, frac != 0))
}

/// The number `magnitude / 2^fbits`, if it has no more bits than fit the fraction. `magnitude` is not zero,
/// and `fbits` so small that the result is normal.
#[inline]
fn exactly<F: Format>(sign: bool, magnitude: u64, fbits: u32) -> Option<u64> {
    let top = magnitude.ilog2();
    if top > F::FRAC_BITS {
        return None;
    }
    let sig = magnitude << (F::FRAC_BITS - top);
    // The integer bit adds one to the exponent.
    let biased = F::BIAS as u32 + top - fbits - 1;
    Some(signed::<F>(sign, (u64::from(biased) << F::FRAC_BITS) + sig))
}

/// FPToFixed: to an integer of `width` bits (32 or 64) of a value scaled by `2^fbits`. Values out of
/// range saturate, which is an invalid operation.
pub fn to_fixed<F: Format>(
    env: &mut Env,
    bits: u64,
    fbits: u32,
    width: u32,
    is_signed: bool,
    mode: Rounding,
) -> u64 {
    let u = unpack::<F>(env, bits);
    let limit = match (is_signed, u.sign) {
        (true, true) => 1 << (width - 1),
        (true, false) => (1 << (width - 1)) - 1,
        (false, true) => 0,
        (false, false) => u64::MAX >> (64 - width),
    };
    let magnitude = match u.class {
        Class::Zero => return 0,
        Class::Quiet | Class::Signalling => {
            env.raise(fpsr::IOC);
            return 0;
        }
        Class::Infinity => None,
        Class::Finite => to_magnitude(mode, u.sign, u.sig, u.exp + fbits as i32),
    };
    let magnitude = match magnitude {
        Some((magnitude, inexact)) if magnitude <= limit => {
            if inexact {
                env.raise(fpsr::IXC);
            }
            magnitude
        }
        _ => {
            env.raise(fpsr::IOC);
            limit
        }
    };
    let value = if u.sign { magnitude.wrapping_neg() } else { magnitude };
    value & (u64::MAX >> (64 - width))
}

/// FixedToFP: the integer, signed or not, divided by `2^fbits`.
pub fn from_fixed<F: Format>(env: &mut Env, value: u64, fbits: u32, is_signed: bool, mode: Rounding) -> u64 {
    if value == 0 {
        return 0;
    }
    let sign = is_signed && (value as i64) < 0;
    let magnitude = if sign { value.wrapping_neg() } else { value };
    match exactly::<F>(sign, magnitude, fbits) {
        Some(bits) => bits,
        None => round::<F>(env, mode, sign, -(fbits as i32), magnitude.into()),
    }
}

/// FPRoundInt: to an integral value in the same format; `exact` raises the inexact flag (FRINTX).
pub fn round_to_integral<F: Format>(env: &mut Env, bits: u64, mode: Rounding, exact: bool) -> u64 {
    let u = unpack::<F>(env, bits);
    match u.class {
        Class::Quiet | Class::Signalling => return quieten::<F>(env, bits, u.class),
        Class::Infinity => return bits,
        Class::Zero => return signed::<F>(u.sign, 0),
        Class::Finite => {}
    }
    let Some((magnitude, inexact)) = to_magnitude(mode, u.sign, u.sig, u.exp) else {
        return bits;
    };
    if !inexact {
        return bits;
    }
    if exact {
        env.raise(fpsr::IXC);
    }
    if magnitude == 0 {
        return signed::<F>(u.sign, 0);
    }
    match exactly::<F>(u.sign, magnitude, 0) {
        Some(bits) => bits,
        // Rounded up to the next power of two.
        None => round::<F>(env, mode, u.sign, 0, magnitude.into()),
    }
}
