//! Addition, multiplication, division, square root, and the fused operations.

use super::round::{round, shift_right_sticky};
use super::{Class, Env, Format, Host, Rounding, Unpacked, fpsr, invalid, neg, propagate, signed, unpack};

/// FPAdd.
#[inline]
pub fn add<F: Host>(env: &mut Env, a: u64, b: u64) -> u64 {
    if env.host_will_do() {
        let sum = F::host_add(a, b);
        // A sum in the denormal range is exact, so only infinities and NaNs need a closer look.
        if sum & F::EXP_MASK != F::EXP_MASK {
            return sum;
        }
    }
    add_exactly::<F>(env, a, b, false)
}

/// FPSub.
#[inline]
pub fn sub<F: Host>(env: &mut Env, a: u64, b: u64) -> u64 {
    if env.host_will_do() {
        let difference = F::host_sub(a, b);
        if difference & F::EXP_MASK != F::EXP_MASK {
            return difference;
        }
    }
    add_exactly::<F>(env, a, b, true)
}

/// FPMul.
#[inline]
pub fn mul<F: Host>(env: &mut Env, a: u64, b: u64) -> u64 {
    if env.host_will_do() {
        let product = F::host_mul(a, b);
        if F::is_safely_normal(product) {
            return product;
        }
    }
    mul_exactly::<F>(env, a, b, false)
}

/// FPMulX: like [`mul`], but infinity times zero is 2.
#[inline]
pub fn mulx<F: Host>(env: &mut Env, a: u64, b: u64) -> u64 {
    mul_exactly::<F>(env, a, b, true)
}

/// FPDiv.
#[inline]
pub fn div<F: Host>(env: &mut Env, a: u64, b: u64) -> u64 {
    if env.host_will_do() {
        let quotient = F::host_div(a, b);
        if F::is_safely_normal(quotient) {
            return quotient;
        }
    }
    div_exactly::<F>(env, a, b)
}

/// FPSqrt.
#[inline]
pub fn sqrt<F: Host>(env: &mut Env, a: u64) -> u64 {
    if env.host_will_do() {
        let root = F::host_sqrt(a);
        if F::is_safely_normal(root) {
            return root;
        }
    }
    sqrt_exactly::<F>(env, a)
}

/// FPMulAdd: `addend + a * b` with one rounding.
#[inline]
pub fn mul_add<F: Host>(env: &mut Env, addend: u64, a: u64, b: u64) -> u64 {
    if env.host_will_do() {
        let sum = F::host_fma(a, b, addend);
        if F::is_safely_normal(sum) {
            return sum;
        }
    }
    mul_add_exactly::<F>(env, addend, a, b)
}

/// FPRecipStepFused: `2 - a * b`.
pub fn recip_step<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    step::<F>(env, a, b, F::TWO, 0)
}

/// FPRSqrtStepFused: `(3 - a * b) / 2`.
pub fn rsqrt_step<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    step::<F>(env, a, b, F::THREE, 1)
}

/// A finite term `sig * 2^exp`, with bit 125 the top one of `sig`: room for a carry.
#[derive(Clone, Copy)]
struct Term {
    sign: bool,
    exp: i32,
    sig: u128,
}

impl Term {
    fn new(u: &Unpacked) -> Term {
        Term { sign: u.sign, exp: u.exp - 62, sig: u128::from(u.sig) << 62 }
    }

    /// The product of two finite numbers. Exact: of each 64-bit significand at least 11 trailing bits
    /// are zero, and two at most are dropped.
    fn product(a: &Unpacked, b: &Unpacked) -> Term {
        let sig = u128::from(a.sig) * u128::from(b.sig);
        let down = 2 - sig.leading_zeros();
        Term { sign: a.sign != b.sign, exp: a.exp + b.exp + down as i32, sig: sig >> down }
    }
}

/// Rounds a sum of two terms, halved `halvings` times.
fn round_sum<F: Format>(env: &mut Env, mode: Rounding, a: Term, b: Term, halvings: i32) -> u64 {
    let (big, small) = if a.exp >= b.exp { (a, b) } else { (b, a) };
    // Both have their leading one in the same place. Terms one apart or less lose no bit here, and
    // of terms further apart the difference keeps its leading one: the sticky bit stays far below.
    let low = shift_right_sticky(small.sig, (big.exp - small.exp) as u32);
    let (sign, sig) = if big.sign == small.sign {
        (big.sign, big.sig + low)
    } else if big.sig >= low {
        (big.sign, big.sig - low)
    } else {
        (small.sign, low - big.sig)
    };
    if sig == 0 {
        return signed::<F>(mode == Rounding::Down, 0);
    }
    round::<F>(env, mode, sign, big.exp - halvings, sig)
}

/// The sum of two zeros.
fn zero_sum<F: Format>(mode: Rounding, a: bool, b: bool) -> u64 {
    signed::<F>(if a == b { a } else { mode == Rounding::Down }, 0)
}

fn add_exactly<F: Format>(env: &mut Env, a: u64, b: u64, negate: bool) -> u64 {
    let mode = env.rounding();
    let (ua, mut ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = propagate::<F>(env, &[(a, ua.class), (b, ub.class)]) {
        return nan;
    }
    ub.sign ^= negate;
    match (ua.class, ub.class) {
        (Class::Infinity, Class::Infinity) if ua.sign != ub.sign => invalid::<F>(env),
        (Class::Infinity, _) => signed::<F>(ua.sign, F::INFINITY),
        (_, Class::Infinity) => signed::<F>(ub.sign, F::INFINITY),
        (Class::Zero, Class::Zero) => zero_sum::<F>(mode, ua.sign, ub.sign),
        (Class::Zero, _) => round::<F>(env, mode, ub.sign, ub.exp, ub.sig.into()),
        (_, Class::Zero) => round::<F>(env, mode, ua.sign, ua.exp, ua.sig.into()),
        _ => round_sum::<F>(env, mode, Term::new(&ua), Term::new(&ub), 0),
    }
}

fn mul_exactly<F: Format>(env: &mut Env, a: u64, b: u64, extended: bool) -> u64 {
    let mode = env.rounding();
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = propagate::<F>(env, &[(a, ua.class), (b, ub.class)]) {
        return nan;
    }
    let sign = ua.sign != ub.sign;
    match (ua.class, ub.class) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) if extended => {
            signed::<F>(sign, F::TWO)
        }
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => invalid::<F>(env),
        (Class::Infinity, _) | (_, Class::Infinity) => signed::<F>(sign, F::INFINITY),
        (Class::Zero, _) | (_, Class::Zero) => signed::<F>(sign, 0),
        _ => {
            let product = Term::product(&ua, &ub);
            round::<F>(env, mode, sign, product.exp, product.sig)
        }
    }
}

fn div_exactly<F: Format>(env: &mut Env, a: u64, b: u64) -> u64 {
    let mode = env.rounding();
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = propagate::<F>(env, &[(a, ua.class), (b, ub.class)]) {
        return nan;
    }
    let sign = ua.sign != ub.sign;
    match (ua.class, ub.class) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => invalid::<F>(env),
        (Class::Infinity, _) => signed::<F>(sign, F::INFINITY),
        (_, Class::Infinity) | (Class::Zero, _) => signed::<F>(sign, 0),
        (_, Class::Zero) => {
            env.raise(fpsr::DZC);
            signed::<F>(sign, F::INFINITY)
        }
        _ => {
            // At least 63 bits of quotient, and the remainder as one more.
            let dividend = u128::from(ua.sig) << 63;
            let divisor = u128::from(ub.sig);
            let quotient = (dividend / divisor) << 1 | u128::from(dividend % divisor != 0);
            round::<F>(env, mode, sign, ua.exp - ub.exp - 64, quotient)
        }
    }
}

fn sqrt_exactly<F: Format>(env: &mut Env, a: u64) -> u64 {
    let mode = env.rounding();
    let ua = unpack::<F>(env, a);
    match ua.class {
        Class::Quiet | Class::Signalling => super::quieten::<F>(env, a, ua.class),
        Class::Zero => signed::<F>(ua.sign, 0),
        _ if ua.sign => invalid::<F>(env),
        Class::Infinity => F::INFINITY,
        Class::Finite => {
            // An even exponent, and a 126- or 127-bit square: a root of 63 or 64 bits.
            let up = 62 + (ua.exp & 1);
            let square = u128::from(ua.sig) << up;
            let root = square.isqrt();
            let sig = root << 1 | u128::from(root * root != square);
            round::<F>(env, mode, false, (ua.exp - up) / 2 - 1, sig)
        }
    }
}

fn mul_add_exactly<F: Format>(env: &mut Env, addend: u64, a: u64, b: u64) -> u64 {
    let mode = env.rounding();
    let uc = unpack::<F>(env, addend);
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    let senseless = (ua.is_infinite() && ub.is_zero()) || (ua.is_zero() && ub.is_infinite());
    // A quiet NaN as addend does not hide an invalid product; a signalling one does.
    if senseless && uc.class != Class::Signalling {
        return invalid::<F>(env);
    }
    if let Some(nan) = propagate::<F>(env, &[(addend, uc.class), (a, ua.class), (b, ub.class)]) {
        return nan;
    }
    let sign = ua.sign != ub.sign;
    let product_zero = ua.is_zero() || ub.is_zero();
    if ua.is_infinite() || ub.is_infinite() {
        if uc.is_infinite() && uc.sign != sign {
            return invalid::<F>(env);
        }
        return signed::<F>(sign, F::INFINITY);
    }
    match (uc.class, product_zero) {
        (Class::Infinity, _) => signed::<F>(uc.sign, F::INFINITY),
        (Class::Zero, true) => zero_sum::<F>(mode, uc.sign, sign),
        (Class::Zero, false) => {
            let product = Term::product(&ua, &ub);
            round::<F>(env, mode, sign, product.exp, product.sig)
        }
        (_, true) => round::<F>(env, mode, uc.sign, uc.exp, uc.sig.into()),
        _ => round_sum::<F>(env, mode, Term::new(&uc), Term::product(&ua, &ub), 0),
    }
}

/// `(constant - a * b) / 2^halvings`, with infinity times zero counting as zero.
fn step<F: Format>(env: &mut Env, a: u64, b: u64, constant: u64, halvings: i32) -> u64 {
    let mode = env.rounding();
    // The sign is flipped before NaNs are looked at (Arm ARM, FPRecipStepFused).
    let a = neg::<F>(a);
    let (ua, ub) = (unpack::<F>(env, a), unpack::<F>(env, b));
    if let Some(nan) = propagate::<F>(env, &[(a, ua.class), (b, ub.class)]) {
        return nan;
    }
    let constant = unpack::<F>(env, constant);
    let sign = ua.sign != ub.sign;
    match (ua.class, ub.class) {
        (Class::Infinity, Class::Zero)
        | (Class::Zero, Class::Infinity)
        | (Class::Zero, _)
        | (_, Class::Zero) => round::<F>(env, mode, false, constant.exp - halvings, constant.sig.into()),
        (Class::Infinity, _) | (_, Class::Infinity) => signed::<F>(sign, F::INFINITY),
        _ => round_sum::<F>(env, mode, Term::new(&constant), Term::product(&ua, &ub), halvings),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fp::{Double, Single, fpcr};
    use proptest::prelude::*;

    /// No flag is set at first, so the host's arithmetic is not taken: it is the witness here.
    const QUIET: Env = Env { fpcr: 0, fpsr: 0 };

    fn check<F: Host>(ours: impl Fn(&mut Env) -> u64, host: u64) -> Result<(), TestCaseError> {
        let (mut slow, mut fast) = (QUIET, Env { fpsr: fpsr::IXC, ..QUIET });
        let (exact, quick) = (ours(&mut slow), ours(&mut fast));
        prop_assert_eq!(exact, quick);
        prop_assert_eq!(slow.fpsr | fpsr::IXC, fast.fpsr);
        // NaNs are Arm's own affair.
        let is_nan = |bits: u64| bits & !F::SIGN > F::INFINITY;
        prop_assert_eq!(is_nan(exact), is_nan(host));
        if !is_nan(host) {
            prop_assert_eq!(exact, host);
        }
        Ok(())
    }

    fn check_all<F: Host>(a: u64, b: u64, c: u64) -> Result<(), TestCaseError> {
        check::<F>(|env| add::<F>(env, a, b), F::host_add(a, b))?;
        check::<F>(|env| sub::<F>(env, a, b), F::host_sub(a, b))?;
        check::<F>(|env| mul::<F>(env, a, b), F::host_mul(a, b))?;
        check::<F>(|env| div::<F>(env, a, b), F::host_div(a, b))?;
        check::<F>(|env| sqrt::<F>(env, a), F::host_sqrt(a))?;
        check::<F>(|env| mul_add::<F>(env, c, a, b), F::host_fma(a, b, c))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        #[test]
        fn doubles_are_as_on_the_host(a: u64, b: u64, c: u64) {
            check_all::<Double>(a, b, c)?;
        }

        #[test]
        fn singles_are_as_on_the_host(a: u32, b: u32, c: u32) {
            check_all::<Single>(a.into(), b.into(), c.into())?;
        }

        /// Exponents so close that terms overlap, cancel, and round.
        #[test]
        fn neighbours_are_as_on_the_host(
            a in any::<u64>(), b in any::<u64>(), c in any::<u64>(), d in 0..120u64, e in 0..120u64,
        ) {
            let near = |bits: u64, offset: u64| bits & 0x800f_ffff_ffff_ffff | (960 + offset) << 52;
            check_all::<Double>(near(a, 60), near(b, d), near(c, e))?;
        }
    }

    #[test]
    fn rounding_modes_bracket_the_exact_result() {
        let third = |mode: u32| {
            let mut env = Env { fpcr: mode << fpcr::RMODE.trailing_zeros(), fpsr: 0 };
            let bits = div::<Double>(&mut env, 1f64.to_bits(), 3f64.to_bits());
            assert_eq!(env.fpsr, fpsr::IXC);
            bits
        };
        let below = 0x3fd5_5555_5555_5555;
        assert_eq!([third(0), third(1), third(2), third(3)], [below, below + 1, below, below]);
    }

    /// Tininess is found before rounding: this product rounds up to the smallest normal number.
    #[test]
    fn underflow_is_seen_before_rounding() {
        let almost_one = 0x3fef_ffff_ffff_ffff;
        let smallest = f64::MIN_POSITIVE.to_bits();
        for fpsr_before in [0, fpsr::IXC] {
            let mut env = Env { fpcr: 0, fpsr: fpsr_before };
            assert_eq!(mul::<Double>(&mut env, smallest, almost_one), smallest);
            assert_eq!(env.fpsr, fpsr::IXC | fpsr::UFC);
        }
        let mut env = Env { fpcr: fpcr::FZ, fpsr: 0 };
        assert_eq!(mul::<Double>(&mut env, smallest, almost_one), 0);
        assert_eq!(env.fpsr, fpsr::UFC);
    }
}
