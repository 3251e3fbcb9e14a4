//! Exact IEEE 754 arithmetic as AArch64 defines it (Arm ARM J1.3, "shared/functions/float").
//!
//! Values travel as raw bits in the low part of a `u64`; the format is a type parameter. Every
//! function takes the control bits and gathers the cumulative flags in an [`Env`]. The host's own
//! arithmetic is used only where its result and its flags are known to be the same.

pub mod arith;
pub mod compare;
pub mod convert;
pub mod estimate;
mod format;
mod round;

pub use format::{Double, Format, Half, Host, Single};
pub use round::Rounding;

/// Bits of FPCR (Arm ARM C5.2.8).
pub mod fpcr {
    /// Alternative half-precision.
    pub const AHP: u32 = 1 << 26;
    /// Default NaN.
    pub const DN: u32 = 1 << 25;
    /// Flush denormals to zero.
    pub const FZ: u32 = 1 << 24;
    /// Rounding mode, two bits.
    pub const RMODE: u32 = 3 << 22;
}

/// Bits of FPSR (Arm ARM C5.2.9).
pub mod fpsr {
    /// An integer operation saturated.
    pub const QC: u32 = 1 << 27;
    /// Input denormal.
    pub const IDC: u32 = 1 << 7;
    /// Inexact.
    pub const IXC: u32 = 1 << 4;
    /// Underflow.
    pub const UFC: u32 = 1 << 3;
    /// Overflow.
    pub const OFC: u32 = 1 << 2;
    /// Division by zero.
    pub const DZC: u32 = 1 << 1;
    /// Invalid operation.
    pub const IOC: u32 = 1 << 0;
}

/// The control register an operation obeys and the status register it adds to.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// FPCR, constant throughout an operation.
    pub fpcr: u32,
    /// FPSR; operations only ever set bits of it.
    pub fpsr: u32,
}

impl Env {
    /// Sets cumulative flags.
    #[inline]
    pub fn raise(&mut self, flags: u32) {
        self.fpsr |= flags;
    }

    /// True when the host's arithmetic can stand in for ours, provided that its result is normal:
    /// rounding to nearest, nothing flushed, and the one flag we could not see (inexact) already set.
    #[inline]
    fn host_will_do(&self) -> bool {
        self.fpcr & (fpcr::RMODE | fpcr::FZ) == 0 && self.fpsr & fpsr::IXC != 0
    }

    #[inline]
    fn flushes<F: Format>(&self) -> bool {
        // FZ has no say over half-precision (Arm ARM A1.5.4): FZ16 does, and it is not implemented.
        F::WIDTH != 16 && self.fpcr & fpcr::FZ != 0
    }
}

/// What kind of number an operand is, after denormals were flushed if FPCR says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Plus or minus zero.
    Zero,
    /// Any other finite number.
    Finite,
    /// An infinity.
    Infinity,
    /// A quiet NaN.
    Quiet,
    /// A signalling NaN.
    Signalling,
}

/// An operand taken apart. A finite one is `sig * 2^exp`, with bit 63 of `sig` set.
#[derive(Clone, Copy, Debug)]
pub struct Unpacked {
    /// The kind of number.
    pub class: Class,
    /// True for minus, NaNs included.
    pub sign: bool,
    /// Exponent of the last bit of `sig`.
    pub exp: i32,
    /// Significand.
    pub sig: u64,
}

impl Unpacked {
    fn is_nan(&self) -> bool {
        matches!(self.class, Class::Quiet | Class::Signalling)
    }

    fn is_zero(&self) -> bool {
        self.class == Class::Zero
    }

    fn is_infinite(&self) -> bool {
        self.class == Class::Infinity
    }
}

/// FPUnpack. Half-precision is read as IEEE: [`convert`] sees to the alternative format.
#[inline]
pub fn unpack<F: Format>(env: &mut Env, bits: u64) -> Unpacked {
    let sign = bits & F::SIGN != 0;
    let biased = ((bits & F::EXP_MASK) >> F::FRAC_BITS) as i32;
    let frac = bits & F::FRAC_MASK;
    if biased == 0 {
        if frac == 0 {
            return Unpacked { class: Class::Zero, sign, exp: 0, sig: 0 };
        }
        if env.flushes::<F>() {
            env.raise(fpsr::IDC);
            return Unpacked { class: Class::Zero, sign, exp: 0, sig: 0 };
        }
        let shift = frac.leading_zeros() as i32;
        let exp = F::MIN_EXP - F::FRAC_BITS as i32 - shift;
        return Unpacked { class: Class::Finite, sign, exp, sig: frac << shift };
    }
    if biased == F::MAX_BIASED {
        let class = match frac {
            0 => Class::Infinity,
            _ if frac & F::QUIET != 0 => Class::Quiet,
            _ => Class::Signalling,
        };
        return Unpacked { class, sign, exp: 0, sig: 0 };
    }
    let sig = (frac | F::IMPLICIT) << (63 - F::FRAC_BITS);
    Unpacked { class: Class::Finite, sign, exp: biased - F::BIAS - 63, sig }
}

/// FPProcessNaN: what becomes of a NaN operand.
fn quieten<F: Format>(env: &mut Env, bits: u64, class: Class) -> u64 {
    if class == Class::Signalling {
        env.raise(fpsr::IOC);
    }
    if env.fpcr & fpcr::DN != 0 { F::DEFAULT_NAN } else { bits | F::QUIET }
}

/// FPProcessNaNs and FPProcessNaNs3: the NaN that the operands produce, if one of them is a NaN.
/// The first signalling one wins, then the first quiet one.
fn propagate<F: Format>(env: &mut Env, operands: &[(u64, Class)]) -> Option<u64> {
    for wanted in [Class::Signalling, Class::Quiet] {
        for &(bits, class) in operands {
            if class == wanted {
                return Some(quieten::<F>(env, bits, class));
            }
        }
    }
    None
}

/// Invalid operation: the flag and the default NaN.
fn invalid<F: Format>(env: &mut Env) -> u64 {
    env.raise(fpsr::IOC);
    F::DEFAULT_NAN
}

#[inline]
fn signed<F: Format>(sign: bool, magnitude: u64) -> u64 {
    if sign { magnitude | F::SIGN } else { magnitude }
}

/// FPAbs: clears the sign, of a NaN too.
#[inline]
pub fn abs<F: Format>(bits: u64) -> u64 {
    bits & !F::SIGN
}

/// FPNeg: flips the sign, of a NaN too.
#[inline]
pub fn neg<F: Format>(bits: u64) -> u64 {
    bits ^ F::SIGN
}
