//! The estimates that Newton-Raphson iterations start from. The architecture fixes every bit of them
//! (Arm ARM, shared/functions/float/fprecipestimate and fprsqrtestimate).

use super::{Class, Env, Format, Rounding, fpcr, fpsr, invalid, quieten, signed, unpack};

/// RecipEstimate: nine bits in `256..512`, standing for 0.5 to 1.0, to nine bits of the reciprocal.
fn reciprocal(a: u32) -> u32 {
    let a = a * 2 + 1;
    ((1 << 19) / a).div_ceil(2)
}

/// RecipSqrtEstimate: nine bits in `128..512`, standing for 0.25 to 1.0.
fn reciprocal_root(a: u32) -> u32 {
    let a = if a < 256 { a * 2 + 1 } else { ((a & !1) + 1) * 2 };
    // The largest b with a * b^2 < 2^28; it never falls below 512.
    let b = ((1u32 << 28) - 1).div_euclid(a).isqrt().max(512);
    b.div_ceil(2)
}

/// The exponent and the fraction, the latter at the top of a 52-bit field.
fn fields<F: Format>(bits: u64) -> (i32, u64) {
    (((bits & F::EXP_MASK) >> F::FRAC_BITS) as i32, (bits & F::FRAC_MASK) << (52 - F::FRAC_BITS))
}

/// FPRecipEstimate (FRECPE).
pub fn recip_estimate<F: Format>(env: &mut Env, bits: u64) -> u64 {
    let u = unpack::<F>(env, bits);
    match u.class {
        Class::Quiet | Class::Signalling => return quieten::<F>(env, bits, u.class),
        Class::Infinity => return signed::<F>(u.sign, 0),
        Class::Zero => {
            env.raise(fpsr::DZC);
            return signed::<F>(u.sign, F::INFINITY);
        }
        Class::Finite => {}
    }
    let (mut exp, mut frac) = fields::<F>(bits);
    if exp == 0 && frac >> 50 == 0 {
        // Below a quarter of the smallest normal number: the reciprocal is out of range.
        env.raise(fpsr::OFC | fpsr::IXC);
        let to_infinity = match env.rounding() {
            Rounding::Up => !u.sign,
            Rounding::Down => u.sign,
            Rounding::Zero => false,
            _ => true,
        };
        return signed::<F>(u.sign, if to_infinity { F::INFINITY } else { F::MAX_NORMAL });
    }
    if env.fpcr & fpcr::FZ != 0 && exp >= F::MAX_BIASED - 2 {
        // The reciprocal is a denormal number.
        env.raise(fpsr::UFC);
        return signed::<F>(u.sign, 0);
    }
    if exp == 0 {
        if frac >> 51 == 0 {
            exp = -1;
            frac <<= 2;
        } else {
            frac <<= 1;
        }
        frac &= (1 << 52) - 1;
    }
    let scaled = 256 | (frac >> 44) as u32;
    let mut result_exp = 2 * F::BIAS - 1 - exp;
    let mut frac = u64::from(reciprocal(scaled) & 255) << 44;
    if result_exp == 0 {
        frac = (1 << 51) | (frac >> 1);
    } else if result_exp == -1 {
        frac = (1 << 50) | (frac >> 2);
        result_exp = 0;
    }
    signed::<F>(u.sign, (result_exp as u64) << F::FRAC_BITS | frac >> (52 - F::FRAC_BITS))
}

/// FPRSqrtEstimate (FRSQRTE).
pub fn rsqrt_estimate<F: Format>(env: &mut Env, bits: u64) -> u64 {
    let u = unpack::<F>(env, bits);
    match u.class {
        Class::Quiet | Class::Signalling => return quieten::<F>(env, bits, u.class),
        Class::Zero => {
            env.raise(fpsr::DZC);
            return signed::<F>(u.sign, F::INFINITY);
        }
        _ if u.sign => return invalid::<F>(env),
        Class::Infinity => return 0,
        Class::Finite => {}
    }
    // Here a denormal number is normalised, below the exponents of the format.
    let exp = u.exp + 63 + F::BIAS;
    let top = (u.sig >> 55) as u32;
    let scaled = if exp & 1 == 0 { top } else { top >> 1 };
    let result_exp = (3 * F::BIAS - 1 - exp).div_euclid(2);
    let frac = u64::from(reciprocal_root(scaled) & 255) << 44;
    (result_exp as u64) << F::FRAC_BITS | frac >> (52 - F::FRAC_BITS)
}

/// FPRecpX (FRECPX): the exponent inverted, for scaling.
pub fn recip_exponent<F: Format>(env: &mut Env, bits: u64) -> u64 {
    let u = unpack::<F>(env, bits);
    if u.is_nan() {
        return quieten::<F>(env, bits, u.class);
    }
    let exp = match bits & F::EXP_MASK {
        0 => F::EXP_MASK - F::IMPLICIT,
        exp => exp ^ F::EXP_MASK,
    };
    signed::<F>(u.sign, exp)
}

/// UnsignedRecipEstimate (URECPE).
pub fn unsigned_recip(a: u32) -> u32 {
    if a >> 31 == 0 { u32::MAX } else { reciprocal(a >> 23) << 23 }
}

/// UnsignedRSqrtEstimate (URSQRTE).
pub fn unsigned_rsqrt(a: u32) -> u32 {
    if a >> 30 == 0 { u32::MAX } else { reciprocal_root(a >> 23) << 23 }
}
