//! From an exact value back to a format: FPRound.

use super::{Env, Format, fpcr, fpsr, signed};

/// A direction to round in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To nearest, ties to even.
    TieEven,
    /// Towards plus infinity.
    Up,
    /// Towards minus infinity.
    Down,
    /// Towards zero.
    Zero,
    /// To nearest, ties away from zero.
    TieAway,
    /// To odd: an inexact result has its last bit set (FCVTXN).
    Odd,
}

impl Rounding {
    /// The four modes of FPCR.RMode and of the `rmode` field of instructions.
    #[inline]
    pub fn from_field(field: u32) -> Rounding {
        match field & 3 {
            0 => Rounding::TieEven,
            1 => Rounding::Up,
            2 => Rounding::Down,
            _ => Rounding::Zero,
        }
    }

    /// Whether a magnitude is rounded up, given its last kept bit, the first dropped bit, and whether
    /// any bit after that is set.
    #[inline]
    pub(super) fn increments(self, negative: bool, odd: bool, half: bool, rest: bool) -> bool {
        match self {
            Rounding::TieEven => half && (rest || odd),
            Rounding::TieAway => half,
            Rounding::Up => !negative && (half || rest),
            Rounding::Down => negative && (half || rest),
            Rounding::Zero => false,
            Rounding::Odd => !odd && (half || rest),
        }
    }
}

impl Env {
    /// The mode that FPCR asks for.
    #[inline]
    pub fn rounding(&self) -> Rounding {
        Rounding::from_field(self.fpcr >> fpcr::RMODE.trailing_zeros())
    }
}

/// `value >> by`, the bits lost gathered in the last one.
#[inline]
pub(super) fn shift_right_sticky(value: u128, by: u32) -> u128 {
    match by {
        0 => value,
        1..128 => (value >> by) | u128::from(value << (128 - by) != 0),
        _ => u128::from(value != 0),
    }
}

/// FPRound of the non-zero value `sig * 2^exp`, in which the last bit of `sig` may stand for any
/// number of bits below it: only bits that `sig`'s leading one leaves far below the precision.
pub(super) fn round<F: Format>(env: &mut Env, mode: Rounding, sign: bool, exp: i32, sig: u128) -> u64 {
    debug_assert!(sig != 0);
    let lead = sig.leading_zeros();
    let sig = sig << lead;
    let exp = exp + 127 - lead as i32;
    let tiny = exp < F::MIN_EXP;
    if tiny && env.flushes::<F>() {
        // An output that is flushed is an underflow but not inexact (Arm ARM A1.5.4).
        env.raise(fpsr::UFC);
        return signed::<F>(sign, 0);
    }
    // Bits to drop: all but FRAC_BITS + 1, and more of a denormal.
    let drop = 127 - F::FRAC_BITS + if tiny { (F::MIN_EXP - exp).min(256) as u32 } else { 0 };
    let (kept, lost) = match drop {
        ..128 => ((sig >> drop) as u64, sig << (128 - drop)),
        128 => (0, sig),
        _ => (0, 1),
    };
    let half = lost >> 127 != 0;
    let rest = lost << 1 != 0;
    let mut inexact = lost != 0;
    if tiny && inexact {
        env.raise(fpsr::UFC);
    }
    let kept = kept + u64::from(mode.increments(sign, kept & 1 != 0, half, rest));
    // A carry out of the fraction lands in the exponent, which is what rounding up to the next
    // power of two means; the same addition turns a denormal into the smallest normal number.
    let biased = if tiny { 0 } else { (exp + F::BIAS - 1) as u64 };
    let mut bits = (biased << F::FRAC_BITS) + kept;
    if F::WIDTH == 16 && env.fpcr & fpcr::AHP != 0 {
        // The alternative format has no infinities: too large a number is the largest one.
        if bits >= F::SIGN {
            env.raise(fpsr::IOC);
            return signed::<F>(sign, F::SIGN - 1);
        }
    } else if bits >= F::INFINITY {
        let to_infinity = match mode {
            Rounding::TieEven | Rounding::TieAway => true,
            Rounding::Up => !sign,
            Rounding::Down => sign,
            Rounding::Zero | Rounding::Odd => false,
        };
        bits = if to_infinity { F::INFINITY } else { F::MAX_NORMAL };
        env.raise(fpsr::OFC);
        inexact = true;
    }
    if inexact {
        env.raise(fpsr::IXC);
    }
    signed::<F>(sign, bits)
}
