//! Floating point a second time: LLVM's arithmetic (`rustc_apfloat`), and over it what is Arm's own, from the
//! pseudocode of the Arm ARM (J1.3, "shared/functions/float"). Nothing here comes from the code that is tested.
//!
//! `rustc_apfloat` has neither square roots, nor rounding to odd, nor the alternative half-precision format,
//! and sees underflow after rounding; those are worked out here from exact integers or exact scaling.

use std::cmp::Ordering;

use rustc_apfloat::ieee;
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

/// FPSR's cumulative flags (Arm ARM C5.2.9).
pub const IOC: u32 = 1 << 0;
pub const DZC: u32 = 1 << 1;
pub const OFC: u32 = 1 << 2;
pub const UFC: u32 = 1 << 3;
pub const IXC: u32 = 1 << 4;
pub const IDC: u32 = 1 << 7;

/// FPCR, taken apart (Arm ARM C5.2.8).
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub round: Round,
    pub flush: bool,
    pub default_nan: bool,
    pub alternative_half: bool,
}

impl Mode {
    pub fn new(fpcr: u32) -> Mode {
        let round = match fpcr >> 22 & 3 {
            0 => Round::NearestTiesToEven,
            1 => Round::TowardPositive,
            2 => Round::TowardNegative,
            _ => Round::TowardZero,
        };
        Mode {
            round,
            flush: fpcr >> 24 & 1 != 0,
            default_nan: fpcr >> 25 & 1 != 0,
            alternative_half: fpcr >> 26 & 1 != 0,
        }
    }
}

/// A result's bits, and the flags it raises.
pub type Answer = (u64, u32);

/// A format by its widths.
pub trait Ieee: Copy {
    const WIDTH: u32;
    const FRACTION: u32;
    type Ap: Float
        + FloatConvert<ieee::Quad>
        + FloatConvert<ieee::Half>
        + FloatConvert<ieee::Single>
        + FloatConvert<ieee::Double>;

    const SIGN: u64 = 1 << (Self::WIDTH - 1);
    const INFINITY: u64 = Self::SIGN - (1 << Self::FRACTION);
    const QUIET: u64 = 1 << (Self::FRACTION - 1);
    const NAN: u64 = Self::INFINITY | Self::QUIET;
    const SMALLEST_NORMAL: u64 = 1 << Self::FRACTION;

    fn ap(bits: u64) -> Self::Ap {
        Self::Ap::from_bits(bits.into())
    }
    fn is_negative(bits: u64) -> bool {
        bits & Self::SIGN != 0
    }
    fn magnitude(bits: u64) -> u64 {
        bits & !Self::SIGN
    }
    fn is_nan(bits: u64) -> bool {
        Self::magnitude(bits) > Self::INFINITY
    }
    fn is_quiet(bits: u64) -> bool {
        Self::is_nan(bits) && bits & Self::QUIET != 0
    }
    fn is_signalling(bits: u64) -> bool {
        Self::is_nan(bits) && bits & Self::QUIET == 0
    }
    fn is_infinite(bits: u64) -> bool {
        Self::magnitude(bits) == Self::INFINITY
    }
    fn is_zero(bits: u64) -> bool {
        Self::magnitude(bits) == 0
    }
    fn is_denormal(bits: u64) -> bool {
        !Self::is_zero(bits) && Self::magnitude(bits) < Self::SMALLEST_NORMAL
    }
    fn with_sign(negative: bool, magnitude: u64) -> u64 {
        magnitude | if negative { Self::SIGN } else { 0 }
    }
}

#[derive(Clone, Copy)]
pub struct Half;
#[derive(Clone, Copy)]
pub struct Single;
#[derive(Clone, Copy)]
pub struct Double;

impl Ieee for Half {
    const WIDTH: u32 = 16;
    const FRACTION: u32 = 10;
    type Ap = ieee::Half;
}
impl Ieee for Single {
    const WIDTH: u32 = 32;
    const FRACTION: u32 = 23;
    type Ap = ieee::Single;
}
impl Ieee for Double {
    const WIDTH: u32 = 64;
    const FRACTION: u32 = 52;
    type Ap = ieee::Double;
}

/// FPUnpack's part before all else: with FZ a denormal operand counts as a zero (not one of half precision).
fn operand<F: Ieee>(mode: Mode, bits: u64) -> Answer {
    if mode.flush && F::WIDTH != 16 && F::is_denormal(bits) { (bits & F::SIGN, IDC) } else { (bits, 0) }
}

fn operands<F: Ieee, const N: usize>(mode: Mode, bits: [u64; N]) -> ([u64; N], u32) {
    let mut flags = 0;
    let values = bits.map(|bits| {
        let (value, raised) = operand::<F>(mode, bits);
        flags |= raised;
        value
    });
    (values, flags)
}

/// FPProcessNaN.
fn process_nan<F: Ieee>(mode: Mode, nan: u64) -> Answer {
    let flags = if F::is_signalling(nan) { IOC } else { 0 };
    (if mode.default_nan { F::NAN } else { nan | F::QUIET }, flags)
}

/// FPProcessNaNs and FPProcessNaNs3.
fn process_nans<F: Ieee>(mode: Mode, operands: &[u64]) -> Option<Answer> {
    let signalling = operands.iter().find(|&&bits| F::is_signalling(bits));
    let nan = signalling.or_else(|| operands.iter().find(|&&bits| F::is_quiet(bits)))?;
    Some(process_nan::<F>(mode, *nan))
}

/// A power of two that brings numbers that overflow back into range.
const DOWN: i32 = -4;

/// `value * 2^scale`. What that denormalises is only ever compared, and must not vanish.
fn scaled<A: Float>(value: A, scale: i32) -> A {
    let away = if value.is_negative() { Round::TowardNegative } else { Round::TowardPositive };
    if scale == 0 { value } else { value.scalbn_r(scale, away) }
}

/// FPRound's result from LLVM's: `compute` rounds one exact value, times two to the power of its first argument,
/// in whatever direction it is asked for.
///
/// Arm sees underflow before rounding. The exact value is below the smallest normal number just when the value
/// rounded towards zero is, since that number can be represented.
///
/// LLVM tells no overflow that ends in the largest number: then the exact value is compared, scaled down.
fn rounded<F: Ieee>(mode: Mode, flush: bool, compute: impl Fn(i32, Round) -> StatusAnd<F::Ap>) -> Answer {
    let truncated = compute(0, Round::TowardZero);
    let bits = truncated.value.to_bits() as u64;
    let exact_zero = F::is_zero(bits) && !truncated.status.contains(Status::INEXACT);
    let tiny = F::magnitude(bits) < F::SMALLEST_NORMAL && !exact_zero;
    if tiny && flush {
        return (bits & F::SIGN, UFC);
    }
    let result = compute(0, mode.round);
    let mut flags = 0;
    let largest = F::magnitude(result.value.to_bits() as u64) == F::INFINITY - 1;
    let beyond_largest = || {
        let limit = F::ap(F::INFINITY - F::SMALLEST_NORMAL).scalbn(DOWN + 1);
        let scaled = compute(DOWN, Round::TowardZero).value;
        let magnitude = if scaled.is_negative() { -scaled } else { scaled };
        magnitude >= limit
    };
    if result.status.contains(Status::OVERFLOW) || largest && beyond_largest() {
        flags |= OFC | IXC;
    }
    if result.status.contains(Status::INEXACT) {
        flags |= IXC | if tiny { UFC } else { 0 };
    }
    (result.value.to_bits() as u64, flags)
}

/// An operation on numbers: LLVM's, with Arm's answers for what is invalid or divides by zero.
fn arithmetic<F: Ieee>(mode: Mode, compute: impl Fn(i32, Round) -> StatusAnd<F::Ap>) -> Answer {
    let result = compute(0, mode.round);
    if result.status.contains(Status::INVALID_OP) {
        return (F::NAN, IOC);
    }
    if result.status.contains(Status::DIV_BY_ZERO) {
        return (result.value.to_bits() as u64, DZC);
    }
    rounded::<F>(mode, mode.flush, compute)
}

/// `scale_both` says what brings the result down: scaling both operands, or the first alone.
fn binary<F: Ieee>(
    mode: Mode,
    a: u64,
    b: u64,
    scale_both: bool,
    compute: impl Fn(F::Ap, F::Ap, Round) -> StatusAnd<F::Ap>,
) -> Answer {
    let ([a, b], flags) = operands::<F, 2>(mode, [a, b]);
    let (bits, more) = process_nans::<F>(mode, &[a, b]).unwrap_or_else(|| {
        arithmetic::<F>(mode, |scale, round| {
            let second = if scale_both { scale } else { 0 };
            compute(scaled(F::ap(a), scale), scaled(F::ap(b), second), round)
        })
    });
    (bits, flags | more)
}

pub fn add<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    binary::<F>(mode, a, b, true, |a, b, round| a.add_r(b, round))
}

pub fn sub<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    binary::<F>(mode, a, b, true, |a, b, round| a.sub_r(b, round))
}

pub fn mul<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    binary::<F>(mode, a, b, false, |a, b, round| a.mul_r(b, round))
}

pub fn div<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    binary::<F>(mode, a, b, false, |a, b, round| a.div_r(b, round))
}

/// FPMulX: infinity times zero is two.
pub fn mulx<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    let ([x, y], flags) = operands::<F, 2>(mode, [a, b]);
    if F::is_infinite(x) && F::is_zero(y) || F::is_zero(x) && F::is_infinite(y) {
        let two = F::ap_of(2).to_bits() as u64;
        return (F::with_sign(F::is_negative(x) != F::is_negative(y), two), flags);
    }
    mul::<F>(mode, a, b)
}

trait Small: Ieee {
    /// A small integer.
    fn ap_of(value: u128) -> Self::Ap {
        Self::Ap::from_u128_r(value, Round::TowardZero).value
    }
}
impl<F: Ieee> Small for F {}

/// FPMulAdd.
pub fn mul_add<F: Ieee>(mode: Mode, addend: u64, a: u64, b: u64) -> Answer {
    let ([addend, a, b], flags) = operands::<F, 3>(mode, [addend, a, b]);
    let senseless = F::is_infinite(a) && F::is_zero(b) || F::is_zero(a) && F::is_infinite(b);
    if senseless && F::is_quiet(addend) {
        return (F::NAN, flags | IOC);
    }
    let (bits, more) = process_nans::<F>(mode, &[addend, a, b]).unwrap_or_else(|| {
        arithmetic::<F>(mode, |scale, round| {
            scaled(F::ap(a), scale).mul_add_r(F::ap(b), scaled(F::ap(addend), scale), round)
        })
    });
    (bits, flags | more)
}

/// FPRecipStepFused: 2 - a * b.
pub fn recip_step<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    step::<F>(mode, a, b, |a, b, constant, round| a.mul_add_r(b, constant, round), F::ap_of(2))
}

/// FPRSqrtStepFused: (3 - a * b) / 2, as 1.5 - a * (b / 2): the half of a factor is exact, unless that factor is
/// nearly a denormal number. Is the other one large it is halved instead; else the product is so small that any
/// other so small rounds the same.
pub fn rsqrt_step<F: Ieee>(mode: Mode, a: u64, b: u64) -> Answer {
    let three_halves = F::ap_of(3).scalbn_r(-1, Round::TowardZero);
    let halves_exactly = |value: F::Ap| value.is_infinite() || value.scalbn(-1).scalbn(1) == value;
    let compute = |a: F::Ap, b: F::Ap, constant, round| {
        if halves_exactly(a) {
            a.scalbn(-1).mul_add_r(b, constant, round)
        } else if halves_exactly(b) {
            a.mul_add_r(b.scalbn(-1), constant, round)
        } else {
            a.mul_add_r(b, constant, round)
        }
    };
    step::<F>(mode, a, b, compute, three_halves)
}

fn step<F: Ieee>(
    mode: Mode,
    a: u64,
    b: u64,
    compute: impl Fn(F::Ap, F::Ap, F::Ap, Round) -> StatusAnd<F::Ap>,
    constant: F::Ap,
) -> Answer {
    let ([a, b], flags) = operands::<F, 2>(mode, [a ^ F::SIGN, b]);
    let (bits, more) = process_nans::<F>(mode, &[a, b]).unwrap_or_else(|| {
        if F::is_zero(a) || F::is_zero(b) {
            return (constant.to_bits() as u64, 0);
        }
        arithmetic::<F>(mode, |scale, round| {
            compute(scaled(F::ap(a), scale), F::ap(b), scaled(constant, scale), round)
        })
    });
    (bits, flags | more)
}

/// FPSqrt, by integers: the root `r` of `x` rounded down has r^2 <= x < (r + ulp)^2.
pub fn sqrt<F: Ieee>(mode: Mode, bits: u64) -> Answer {
    let (bits, flags) = operand::<F>(mode, bits);
    let (bits, more) = match bits {
        _ if F::is_nan(bits) => process_nan::<F>(mode, bits),
        _ if F::is_zero(bits) => (bits, 0),
        _ if F::is_negative(bits) => (F::NAN, IOC),
        _ if F::is_infinite(bits) => (bits, 0),
        _ => exact_sqrt::<F>(mode, bits),
    };
    (bits, flags | more)
}

fn exact_sqrt<F: Ieee>(mode: Mode, bits: u64) -> Answer {
    // x = significand * 2^exponent, made such that the exponent is even and the root has just the format's bits.
    let biased = (bits >> F::FRACTION) as i32;
    let fraction = u128::from(bits & (F::SMALLEST_NORMAL - 1));
    let (mut significand, mut exponent) =
        if biased == 0 { (fraction, 1) } else { (fraction | u128::from(F::SMALLEST_NORMAL), biased) };
    let bias = (1 << (F::WIDTH - F::FRACTION - 2)) - 1;
    exponent -= bias + F::FRACTION as i32;
    while significand < 1 << (2 * F::FRACTION) || exponent % 2 != 0 {
        significand <<= 1;
        exponent -= 1;
    }
    // Bit by bit from the top: the largest root whose square is not above.
    let mut root = 0u128;
    for bit in (0..=F::FRACTION).rev() {
        let next = root | 1 << bit;
        if next * next <= significand {
            root = next;
        }
    }
    assert_eq!(root >> F::FRACTION, 1, "the root has all its bits");
    let inexact = root * root != significand;
    // Against the middle between two roots, which no square of the format's numbers is.
    let above_middle = (2 * root + 1) * (2 * root + 1) < 4 * significand;
    let up = match mode.round {
        Round::NearestTiesToEven => above_middle,
        Round::TowardPositive => inexact,
        _ => false,
    };
    let root = root as u64 + u64::from(up);
    let exponent = exponent / 2 + F::FRACTION as i32 + bias;
    (((exponent as u64 - 1) << F::FRACTION) + root, if inexact { IXC } else { 0 })
}

/// FPCompare and its kin; `None` is unordered.
pub fn compare<F: Ieee>(mode: Mode, a: u64, b: u64, signals: bool) -> (Option<Ordering>, u32) {
    let ([a, b], flags) = operands::<F, 2>(mode, [a, b]);
    let invalid = F::is_signalling(a) || F::is_signalling(b) || signals && (F::is_nan(a) || F::is_nan(b));
    (F::ap(a).partial_cmp(&F::ap(b)), flags | if invalid { IOC } else { 0 })
}

/// FPMax if `want` is `Greater`, FPMin if `Less`.
pub fn extremum<F: Ieee>(mode: Mode, a: u64, b: u64, want: Ordering) -> Answer {
    let ([a, b], flags) = operands::<F, 2>(mode, [a, b]);
    let (bits, more) = process_nans::<F>(mode, &[a, b]).unwrap_or_else(|| {
        let chosen = if F::ap(a).partial_cmp(&F::ap(b)) == Some(want) { a } else { b };
        if !F::is_zero(chosen) {
            return (chosen, 0);
        }
        let sign = if want == Ordering::Greater { a & b } else { a | b };
        (sign & F::SIGN, 0)
    });
    (bits, flags | more)
}

/// FPMaxNum or FPMinNum.
pub fn extremum_number<F: Ieee>(mode: Mode, a: u64, b: u64, want: Ordering) -> Answer {
    let ([_, _], flags) = operands::<F, 2>(mode, [a, b]);
    let worst = F::with_sign(want == Ordering::Greater, F::INFINITY);
    let (a, b) = match (F::is_quiet(a), F::is_quiet(b)) {
        (true, false) => (worst, b),
        (false, true) => (a, worst),
        _ => (a, b),
    };
    let (bits, more) = extremum::<F>(mode, a, b, want);
    (bits, flags | more)
}

/// FPRoundInt.
pub fn round_to_integral<F: Ieee>(mode: Mode, bits: u64, exact: bool) -> Answer {
    let (bits, flags) = operand::<F>(mode, bits);
    if F::is_nan(bits) {
        let (bits, more) = process_nan::<F>(mode, bits);
        return (bits, flags | more);
    }
    let integral = F::ap(bits).round_to_integral(mode.round).value.to_bits() as u64;
    (integral, flags | if exact && integral != bits { IXC } else { 0 })
}

/// FPToFixed.
pub fn to_fixed<F: Ieee>(mode: Mode, bits: u64, fbits: u32, width: u32, signed: bool) -> Answer
where
    F::Ap: FloatConvert<ieee::Quad>,
{
    let (bits, flags) = operand::<F>(mode, bits);
    if F::is_nan(bits) {
        return (0, flags | IOC);
    }
    let wide: ieee::Quad = F::ap(bits).convert_r(Round::TowardZero, &mut false).value;
    let integer = wide.scalbn(fbits as i32).to_i128_r(128, mode.round, &mut false);
    let (least, most) = match signed {
        true => (-1i128 << (width - 1), (1 << (width - 1)) - 1),
        false => (0, (1 << width) - 1),
    };
    let (value, more) = if integer.status.contains(Status::INVALID_OP) {
        (if F::is_negative(bits) { least } else { most }, IOC)
    } else if !(least..=most).contains(&integer.value) {
        (integer.value.clamp(least, most), IOC)
    } else {
        (integer.value, if integer.status.contains(Status::INEXACT) { IXC } else { 0 })
    };
    (value as u64 & (u64::MAX >> (64 - width)), flags | more)
}

/// FixedToFP: rounded once, from 113 bits that hold the value exactly.
pub fn from_fixed<F: Ieee>(mode: Mode, value: u64, fbits: u32, signed: bool) -> Answer
where
    ieee::Quad: FloatConvert<F::Ap>,
{
    let value = if signed { i128::from(value as i64) } else { i128::from(value) };
    if value == 0 {
        return (0, 0);
    }
    let wide = ieee::Quad::from_i128_r(value, Round::TowardZero).value.scalbn(-(fbits as i32));
    rounded::<F>(mode, mode.flush, |scale, round| scaled(wide, scale).convert_r(round, &mut false))
}

/// FPConvert between IEEE formats, or from or to the alternative half-precision one.
pub fn convert<From: Ieee, To: Ieee>(mode: Mode, bits: u64) -> Answer
where
    From::Ap: FloatConvert<To::Ap>,
{
    if From::WIDTH == 16 && mode.alternative_half && bits & From::INFINITY == From::INFINITY {
        // Numbers where IEEE has infinities and NaNs: twice those of the exponent below. All fit.
        let half = From::ap(bits - From::SMALLEST_NORMAL);
        let value: To::Ap = half.convert_r(Round::TowardZero, &mut false).value;
        return (value.scalbn(1).to_bits() as u64, 0);
    }
    let to_alternative = To::WIDTH == 16 && mode.alternative_half;
    let (bits, flags) = operand::<From>(mode, bits);
    let negative = From::is_negative(bits);
    if From::is_nan(bits) {
        let invalid = if From::is_signalling(bits) || to_alternative { IOC } else { 0 };
        let payload = bits & (From::SMALLEST_NORMAL - 1);
        let payload = match To::FRACTION.checked_sub(From::FRACTION) {
            Some(wider) => payload << wider,
            None => payload >> (From::FRACTION - To::FRACTION),
        };
        let result = match (to_alternative, mode.default_nan) {
            (true, _) => To::with_sign(negative, 0),
            (false, true) => To::NAN,
            (false, false) => To::with_sign(negative, To::NAN | payload),
        };
        return (result, flags | invalid);
    }
    if to_alternative && From::is_infinite(bits) {
        return (To::with_sign(negative, To::SIGN - 1), flags | IOC);
    }
    // Half precision is never flushed to: that is FZ16's.
    let flush = mode.flush && To::WIDTH != 16;
    let value = From::ap(bits);
    if to_alternative {
        let (result, more) = to_alternative_half::<From, To>(mode, value);
        return (result, flags | more);
    }
    let (result, more) =
        rounded::<To>(mode, flush, |scale, round| scaled(value, scale).convert_r(round, &mut false));
    (result, flags | more)
}

/// Numbers of the uppermost exponent, which IEEE has not, are the halves of theirs that it has.
fn to_alternative_half<From: Ieee, To: Ieee>(mode: Mode, value: From::Ap) -> Answer
where
    From::Ap: FloatConvert<To::Ap>,
{
    let negative = value.is_negative();
    let beyond = |answer: Answer| answer.1 & OFC != 0;
    let as_ieee =
        rounded::<To>(mode, false, |scale, round| scaled(value, scale).convert_r(round, &mut false));
    if !beyond(as_ieee) {
        return as_ieee;
    }
    let halved =
        rounded::<To>(mode, false, |scale, round| value.scalbn(scale - 1).convert_r(round, &mut false));
    if beyond(halved) {
        return (To::with_sign(negative, To::SIGN - 1), IOC);
    }
    (halved.0 + To::SMALLEST_NORMAL, halved.1)
}

/// FPConvert rounding to odd (FCVTXN): what is inexact has its last bit set.
pub fn narrow_to_odd(mode: Mode, bits: u64) -> Answer {
    let towards_zero = Mode { round: Round::TowardZero, ..mode };
    let (result, flags) = convert::<Double, Single>(towards_zero, bits);
    (result | u64::from(flags & IXC != 0), flags)
}
