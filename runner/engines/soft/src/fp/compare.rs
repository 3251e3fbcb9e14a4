//! Comparisons, maxima and minima.

use std::cmp::Ordering;

use super::{Class, Env, Format, fpsr, propagate, signed, unpack};

/// Compares two operands; `None` if either is a NaN, which is an invalid operation if one of them is
/// signalling or `signals` says that any NaN is (FPCompare, FPCompareGE, FPCompareGT: Arm ARM J1.3).
#[inline]
pub fn compare<F: Format>(env: &mut Env, a: u64, b: u64, signals: bool) -> Option<Ordering> {
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if ua.is_nan() || ub.is_nan() {
        if signals || ua.class == Class::Signalling || ub.class == Class::Signalling {
            env.raise(fpsr::IOC);
        }
        return None;
    }
    // Flushed denormals are zeros, and zeros are equal.
    let key = |zero: bool, bits: u64| match bits {
        _ if zero => 0,
        _ if bits & F::SIGN != 0 => -((bits & !F::SIGN) as i64),
        _ => bits as i64,
    };
    Some(key(ua.is_zero(), a).cmp(&key(ub.is_zero(), b)))
}

/// FPMax, or FPMin if `want` is `Less`.
fn extremum<F: Format>(env: &mut Env, a: u64, b: u64, want: Ordering) -> u64 {
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = propagate::<F>(env, &[(a, ua.class), (b, ub.class)]) {
        return nan;
    }
    // The flags of an operand that is flushed are set already, and setting them twice is the same.
    if compare::<F>(env, a, b, false) == Some(want) {
        return if ua.is_zero() { signed::<F>(ua.sign, 0) } else { a };
    }
    match (ua.is_zero(), ub.is_zero()) {
        // Of two zeros the larger is the positive one, whichever comes first.
        (true, true) if want == Ordering::Greater => signed::<F>(ua.sign && ub.sign, 0),
        (true, true) => signed::<F>(ua.sign || ub.sign, 0),
        (_, true) => signed::<F>(ub.sign, 0),
        _ => b,
    }
}

/// FPMaxNum or FPMinNum: a quiet NaN beside a number counts as the number that loses.
fn extremum_num<F: Format>(env: &mut Env, a: u64, b: u64, want: Ordering) -> u64 {
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    let loser = signed::<F>(want == Ordering::Greater, F::INFINITY);
    match (ua.class == Class::Quiet, ub.class == Class::Quiet) {
        (true, false) => extremum::<F>(env, loser, b, want),
        (false, true) => extremum::<F>(env, a, loser, want),
        _ => extremum::<F>(env, a, b, want),
    }
}

/// FPMax.
pub fn max<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    extremum::<F>(env, a, b, Ordering::Greater)
}

/// FPMin.
pub fn min<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    extremum::<F>(env, a, b, Ordering::Less)
}

/// FPMaxNum.
pub fn max_num<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    extremum_num::<F>(env, a, b, Ordering::Greater)
}

/// FPMinNum.
pub fn min_num<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    extremum_num::<F>(env, a, b, Ordering::Less)
}
