//! Bodies that instruction groups share: where operands come from and where results go.

use crate::fp::{Env, Format, fpsr};
use crate::regs::Regs;

use super::fields::{bits, count, is_scalar, q, rd, rm, rn};
use super::lanes::{Lane, Widen};

/// Where an instruction's second source operand comes from.
pub(super) trait Operand {
    /// The operand as lanes of `T`.
    fn lanes<T: Lane>(regs: &Regs, word: u32) -> T::Vector;
    /// Lane `i` of the operand as a floating-point number.
    fn float<F: Format>(regs: &Regs, word: u32, i: usize) -> u64;
}

/// The register Vm.
pub(super) struct Whole;

impl Operand for Whole {
    #[inline]
    fn lanes<T: Lane>(regs: &Regs, word: u32) -> T::Vector {
        T::load(&regs.v[rm(word)])
    }
    #[inline]
    fn float<F: Format>(regs: &Regs, word: u32, i: usize) -> u64 {
        float_lane::<F>(regs.v[rm(word)], i)
    }
}

/// One element of Vm, in every lane: the "by element" forms. Elements of 16 bits leave four bits to name
/// the register (Arm ARM C4.1.96, "Advanced SIMD vector x indexed element").
pub(super) struct Element;

impl Element {
    #[inline]
    fn raw(regs: &Regs, word: u32, width: u32) -> u64 {
        let (h, l, m) = (bits(word, 11, 1), bits(word, 21, 1), bits(word, 20, 1));
        let (register, index) = match width {
            16 => (bits(word, 16, 4) as usize, h << 2 | l << 1 | m),
            32 => (rm(word), h << 1 | l),
            _ => (rm(word), h),
        };
        (regs.v[register] >> (index * width)) as u64
    }
}

impl Operand for Element {
    #[inline]
    fn lanes<T: Lane>(regs: &Regs, word: u32) -> T::Vector {
        T::from_raw(Element::raw(regs, word, T::BITS)).splat()
    }
    #[inline]
    fn float<F: Format>(regs: &Regs, word: u32, _: usize) -> u64 {
        Element::raw(regs, word, F::WIDTH) & (u64::MAX >> (64 - F::WIDTH))
    }
}

/// Writes a result's lanes to Vd, and zeros what the instruction does not produce.
#[inline]
pub(super) fn write<T: Lane>(regs: &mut Regs, word: u32, lanes: T::Vector) {
    let d = &mut regs.v[rd(word)];
    // All lanes are stored, whatever comes of them: a store that depended on the form would split the
    // lanes' computation into pieces that are no longer the host's vector instructions.
    T::store(lanes, d);
    if is_scalar(word) {
        keep(d, T::ONES.raw());
    } else if !q(word) {
        keep(d, u64::MAX);
    }
}

/// Zeros all bits but those of `mask`. Out of line, so that it stays apart from the computation.
#[inline(never)]
fn keep(register: &mut u128, mask: u64) {
    *register = u128::from(*register as u64 & mask);
}

/// Vd = f(Vn)
#[inline]
pub(super) fn unary<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(T) -> T) {
    let a = T::load(&regs.v[rn(word)]);
    write::<T>(regs, word, T::map(a, f));
}

/// Vd = f(Vn, operand)
#[inline]
pub(super) fn binary<T: Lane, O: Operand>(regs: &mut Regs, word: u32, f: impl Fn(T, T) -> T) {
    let a = T::load(&regs.v[rn(word)]);
    let b = O::lanes::<T>(regs, word);
    write::<T>(regs, word, T::zip(a, b, f));
}

/// Vd = f(Vd, Vn, operand)
#[inline]
pub(super) fn ternary<T: Lane, O: Operand>(regs: &mut Regs, word: u32, f: impl Fn(T, T, T) -> T) {
    let a = T::load(&regs.v[rn(word)]);
    let b = O::lanes::<T>(regs, word);
    let acc = T::load(&regs.v[rd(word)]);
    write::<T>(regs, word, T::zip3(acc, a, b, f));
}

/// Vd = f(Vd, Vn)
#[inline]
pub(super) fn update<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(T, T) -> T) {
    let a = T::load(&regs.v[rn(word)]);
    let d = T::load(&regs.v[rd(word)]);
    write::<T>(regs, word, T::zip(d, a, f));
}

/// Vd = f(Vn, operand), of elements widened.
#[inline]
pub(super) fn long<T: Widen, O: Operand, const Q: bool>(
    regs: &mut Regs,
    word: u32,
    f: impl Fn(T::Wide, T::Wide) -> T::Wide,
) {
    let a = T::load(&regs.v[rn(word)]);
    let b = O::lanes::<T>(regs, word);
    T::Wide::store(T::zip_long::<Q>(a, b, f), &mut regs.v[rd(word)]);
}

/// Vd = f(Vd, Vn, operand), of sources widened.
#[inline]
pub(super) fn long_accumulate<T: Widen, O: Operand, const Q: bool>(
    regs: &mut Regs,
    word: u32,
    f: impl Fn(T::Wide, T::Wide, T::Wide) -> T::Wide,
) {
    let a = T::load(&regs.v[rn(word)]);
    let b = O::lanes::<T>(regs, word);
    let acc = T::Wide::load(&regs.v[rd(word)]);
    T::Wide::store(T::zip3_long::<Q>(acc, a, b, f), &mut regs.v[rd(word)]);
}

/// Sets FPSR.QC if `any`.
#[inline]
pub(super) fn saturated(regs: &mut Regs, any: bool) {
    if any {
        regs.fpsr |= fpsr::QC;
    }
}

/// Computes lanes one at a time, for operations that no host vector instruction would do anyway, and
/// writes them. `f` is told the lane's number and says whether it saturated.
#[inline]
pub(super) fn each<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(&Regs, usize) -> (T, bool)) {
    let mut lanes = T::ZERO.splat();
    let mut any = false;
    for (i, lane) in lanes.as_mut().iter_mut().take(count(word, T::BITS)).enumerate() {
        let (value, one) = f(regs, i);
        *lane = value;
        any |= one;
    }
    saturated(regs, any);
    write::<T>(regs, word, lanes);
}

/// `value` in range of `T`, and whether it was not.
#[inline]
pub(super) fn saturate<T: Lane>(value: i128) -> (T, bool) {
    let result = T::saturate(value);
    (result, result.wide() != value)
}

/// Lane `i` of `register` as an integer.
#[inline]
pub(super) fn lane<T: Lane>(register: u128, i: usize) -> T {
    T::from_raw((register >> (i as u32 * T::BITS)) as u64)
}

/// Lane `i` of `register` as a floating-point number.
#[inline]
pub(super) fn float_lane<F: Format>(register: u128, i: usize) -> u64 {
    (register >> (i as u32 * F::WIDTH)) as u64 & (u64::MAX >> (64 - F::WIDTH))
}

/// Computes floating-point lanes from `f`, which is told the lane's number, and writes them.
#[inline]
pub(super) fn floats<F: Format>(regs: &mut Regs, word: u32, f: impl Fn(&mut Env, &Regs, usize) -> u64) {
    let mut env = Env { fpcr: regs.fpcr, fpsr: regs.fpsr };
    let mut result = 0;
    for i in 0..count(word, F::WIDTH) {
        result |= u128::from(f(&mut env, regs, i)) << (i as u32 * F::WIDTH);
    }
    regs.fpsr = env.fpsr;
    regs.v[rd(word)] = result;
}

/// Picks the instance of a generic function for a size, if the size is one of those listed.
macro_rules! instance {
    ($size:expr, $f:ident, [$($n:literal => $t:ty),+]) => {
        match $size {
            $($n => Some($f::<$t> as Handler),)+
            _ => None,
        }
    };
    ($size:expr, $f:ident, [$($n:literal => $t:ty),+], $operand:ty) => {
        match $size {
            $($n => Some($f::<$t, $operand> as Handler),)+
            _ => None,
        }
    };
}

/// An instance for elements of any size; those of 64 bits only as a whole register.
macro_rules! any_size {
    ($word:expr, $f:ident) => {
        if size($word) == 3 && !q($word) {
            None
        } else {
            instance!(size($word), $f, [0 => u8, 1 => u16, 2 => u32, 3 => u64])
        }
    };
}

/// As `any_size`, signed.
macro_rules! any_size_signed {
    ($word:expr, $f:ident) => {
        if size($word) == 3 && !q($word) {
            None
        } else {
            instance!(size($word), $f, [0 => i8, 1 => i16, 2 => i32, 3 => i64])
        }
    };
}

/// An instance for elements of up to 32 bits.
macro_rules! to_word {
    ($word:expr, $f:ident $(, $operand:ty)?) => {
        instance!(size($word), $f, [0 => u8, 1 => u16, 2 => u32] $(, $operand)?)
    };
}

/// As `to_word`, signed.
macro_rules! to_word_signed {
    ($word:expr, $f:ident) => {
        instance!(size($word), $f, [0 => i8, 1 => i16, 2 => i32])
    };
}

/// An instance that also knows which half of a register is meant.
macro_rules! halves {
    ($word:expr, $f:ident, [$($n:literal => $t:ty),+]) => {
        match (size($word), q($word)) {
            $(
                ($n, false) => Some($f::<$t, false> as Handler),
                ($n, true) => Some($f::<$t, true> as Handler),
            )+
            _ => None,
        }
    };
    ($word:expr, $f:ident, [$($n:literal => $t:ty),+], $operand:ty) => {
        match (size($word), q($word)) {
            $(
                ($n, false) => Some($f::<$t, $operand, false> as Handler),
                ($n, true) => Some($f::<$t, $operand, true> as Handler),
            )+
            _ => None,
        }
    };
}

/// `halves` for elements of up to 32 bits, signed or unsigned.
macro_rules! halves_by_sign {
    ($word:expr, $unsigned:expr, $f:ident $(, $operand:ty)?) => {
        if $unsigned {
            halves!($word, $f, [0 => u8, 1 => u16, 2 => u32] $(, $operand)?)
        } else {
            halves!($word, $f, [0 => i8, 1 => i16, 2 => i32] $(, $operand)?)
        }
    };
}

/// An instance for single or double precision by the lower bit of `size`; double only as a whole register.
macro_rules! float_size {
    ($word:expr, $f:ident $(, $operand:ty)?) => {
        match (size($word) & 1, q($word)) {
            (0, _) => Some($f::<Single $(, $operand)?> as Handler),
            (_, true) => Some($f::<Double $(, $operand)?> as Handler),
            _ => None,
        }
    };
}

pub(super) use {
    any_size, any_size_signed, float_size, halves, halves_by_sign, instance, to_word, to_word_signed,
};
