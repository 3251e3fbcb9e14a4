//! The three binary formats.

/// A binary interchange format. Values are raw bits in the low [`Format::WIDTH`] bits of a `u64`.
pub trait Format: Copy + 'static {
    /// Width in bits.
    const WIDTH: u32;
    /// Width of the fraction field.
    const FRAC_BITS: u32;

    /// Width of the exponent field.
    const EXP_BITS: u32 = Self::WIDTH - 1 - Self::FRAC_BITS;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    /// The fraction field.
    const FRAC_MASK: u64 = (1 << Self::FRAC_BITS) - 1;
    /// The exponent field, which is also the bits of plus infinity.
    const EXP_MASK: u64 = Self::SIGN - Self::IMPLICIT;
    /// The integer bit that a normal number leaves out.
    const IMPLICIT: u64 = 1 << Self::FRAC_BITS;
    /// The fraction's top bit, set in a quiet NaN.
    const QUIET: u64 = 1 << (Self::FRAC_BITS - 1);
    /// All ones in the exponent field.
    const MAX_BIASED: i32 = (1 << Self::EXP_BITS) - 1;
    /// What the exponent field is offset by.
    const BIAS: i32 = (1 << (Self::EXP_BITS - 1)) - 1;
    /// Exponent of the smallest normal number.
    const MIN_EXP: i32 = 1 - Self::BIAS;
    /// Bits of plus infinity.
    const INFINITY: u64 = Self::EXP_MASK;
    /// Bits of the largest finite number.
    const MAX_NORMAL: u64 = Self::EXP_MASK - 1;
    /// Bits of the default NaN: quiet and positive, all else zero (Arm ARM A1.5.2).
    const DEFAULT_NAN: u64 = Self::EXP_MASK | Self::QUIET;
    /// Bits of 1.0.
    const ONE: u64 = (Self::BIAS as u64) << Self::FRAC_BITS;
    /// Bits of 1.5.
    const ONE_AND_A_HALF: u64 = Self::ONE | Self::QUIET;
    /// Bits of 2.0.
    const TWO: u64 = Self::ONE + Self::IMPLICIT;
    /// Bits of 3.0.
    const THREE: u64 = Self::TWO | Self::QUIET;
}

/// A format whose arithmetic the host has. Results are the host's, rounded to nearest.
pub trait Host: Format {
    /// a + b
    fn host_add(a: u64, b: u64) -> u64;
    /// a - b
    fn host_sub(a: u64, b: u64) -> u64;
    /// a * b
    fn host_mul(a: u64, b: u64) -> u64;
    /// a / b
    fn host_div(a: u64, b: u64) -> u64;
    /// Square root.
    fn host_sqrt(a: u64) -> u64;
    /// a * b + c with one rounding.
    fn host_fma(a: u64, b: u64, c: u64) -> u64;

    /// A normal number that is at least twice the smallest: one that no rounding has brought out
    /// of the range where Arm, which looks before rounding, sees an underflow (Arm ARM A1.5.4).
    #[inline]
    fn is_safely_normal(bits: u64) -> bool {
        let low = 2 * Self::IMPLICIT;
        (bits & !Self::SIGN).wrapping_sub(low) < Self::EXP_MASK - low
    }
}

/// binary16
#[derive(Clone, Copy, Debug)]
pub struct Half;

/// binary32
#[derive(Clone, Copy, Debug)]
pub struct Single;

/// binary64
#[derive(Clone, Copy, Debug)]
pub struct Double;

impl Format for Half {
    const WIDTH: u32 = 16;
    const FRAC_BITS: u32 = 10;
}

impl Format for Single {
    const WIDTH: u32 = 32;
    const FRAC_BITS: u32 = 23;
}

impl Format for Double {
    const WIDTH: u32 = 64;
    const FRAC_BITS: u32 = 52;
}

macro_rules! host {
    ($format:ty, $float:ty, $bits:ty) => {
        impl Host for $format {
            #[inline]
            fn host_add(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) + <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline]
            fn host_sub(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) - <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline]
            fn host_mul(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) * <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline]
            fn host_div(a: u64, b: u64) -> u64 {
                u64::from((<$float>::from_bits(a as $bits) / <$float>::from_bits(b as $bits)).to_bits())
            }
            #[inline]
            fn host_sqrt(a: u64) -> u64 {
                u64::from(<$float>::from_bits(a as $bits).sqrt().to_bits())
            }
            #[inline]
            fn host_fma(a: u64, b: u64, c: u64) -> u64 {
                let (a, b, c) = (a as $bits, b as $bits, c as $bits);
                u64::from(
                    <$float>::from_bits(a).mul_add(<$float>::from_bits(b), <$float>::from_bits(c)).to_bits(),
                )
            }
        }
    };
}

host!(Single, f32, u32);
host!(Double, f64, u64);
