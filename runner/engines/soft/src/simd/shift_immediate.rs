//! Shifts by an immediate, and the conversions that share their encoding.

use crate::fp::{Double, Rounding, Single};
use crate::regs::Regs;

use super::fields::{bits, is_scalar, q, rd, rn, u};
use super::fp_two_register::{fixed_to_floats, floats_to_fixed};
use super::lanes::{Lane, Widen};
use super::operand::{each, lane, saturate, unary, update};
use super::two_register::saturating_narrow;
use super::{Handler, Op};

/// `immh:immb`. The highest set bit of `immh` gives the element size; the rest, the distance.
#[inline]
fn immediate(word: u32) -> u32 {
    bits(word, 16, 7)
}

/// Distance of a left shift: below the element's width.
#[inline]
fn left(word: u32, width: u32) -> u32 {
    immediate(word) - width
}

/// Distance of a right shift: from 1 to the element's width.
#[inline]
fn right(word: u32, width: u32) -> u32 {
    2 * width - immediate(word)
}

/// log2 of the element's bytes, as `size` has it elsewhere. `immh` is not zero.
fn element_size(word: u32) -> u32 {
    bits(word, 19, 4).ilog2()
}

/// Shifts right by `by`, which may be the whole width.
#[inline]
fn shifted<T: Lane>(a: T, by: u32) -> T {
    a.shr(by - 1).shr(1)
}

/// As `shifted`, with the first bit lost added back.
#[inline]
fn rounded<T: Lane>(a: T, by: u32) -> T {
    let almost = a.shr(by - 1);
    almost.shr(1).add(almost.and(T::from_raw(1)))
}

fn shift_right<T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    unary::<T>(regs, word, |a| shifted(a, by));
}

fn shift_right_rounding<T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    unary::<T>(regs, word, |a| rounded(a, by));
}

fn shift_right_accumulate<T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    update::<T>(regs, word, |d, a| d.add(shifted(a, by)));
}

fn shift_right_rounding_accumulate<T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    update::<T>(regs, word, |d, a| d.add(rounded(a, by)));
}

fn shift_right_insert<T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    let replaced = shifted(T::ONES, by);
    update::<T>(regs, word, |d, a| d.and(replaced.xor(T::ONES)).or(shifted(a, by)));
}

fn shift_left<T: Lane>(regs: &mut Regs, word: u32) {
    let by = left(word, T::BITS);
    unary::<T>(regs, word, |a| a.shl(by));
}

fn shift_left_insert<T: Lane>(regs: &mut Regs, word: u32) {
    let by = left(word, T::BITS);
    let replaced = T::ONES.shl(by);
    update::<T>(regs, word, |d, a| d.and(replaced.xor(T::ONES)).or(a.shl(by)));
}

/// SQSHL, UQSHL, and with `S` signed and `T` unsigned SQSHLU.
fn shift_left_saturating<S: Lane, T: Lane>(regs: &mut Regs, word: u32) {
    let by = left(word, T::BITS);
    each::<T>(regs, word, |regs, i| saturate(lane::<S>(regs.v[rn(word)], i).wide() << by));
}

fn shift_left_long<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    let by = left(word, T::BITS);
    let a = T::load(&regs.v[rn(word)]);
    T::Wide::store(T::zip_long::<Q>(a, a, |a, _| a.shl(by)), &mut regs.v[rd(word)]);
}

fn shift_right_narrow<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    let a = T::Wide::load(&regs.v[rn(word)]);
    T::narrow::<Q>(a, &mut regs.v[rd(word)], |a| T::low(shifted(a, by)));
}

fn shift_right_narrow_rounding<T: Widen, const Q: bool>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    let a = T::Wide::load(&regs.v[rn(word)]);
    T::narrow::<Q>(a, &mut regs.v[rd(word)], |a| T::low(rounded(a, by)));
}

fn shift_right_narrow_saturating<W: Lane, T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    saturating_narrow::<W, T>(regs, word, |a| a >> by);
}

fn shift_right_narrow_saturating_rounding<W: Lane, T: Lane>(regs: &mut Regs, word: u32) {
    let by = right(word, T::BITS);
    saturating_narrow::<W, T>(regs, word, |a| (a + (1 << (by - 1))) >> by);
}

fn floats_to_fixed_single(regs: &mut Regs, word: u32) {
    floats_to_fixed::<Single>(regs, word, right(word, 32), Rounding::Zero);
}

fn floats_to_fixed_double(regs: &mut Regs, word: u32) {
    floats_to_fixed::<Double>(regs, word, right(word, 64), Rounding::Zero);
}

fn fixed_to_floats_single(regs: &mut Regs, word: u32) {
    fixed_to_floats::<Single>(regs, word, right(word, 32));
}

fn fixed_to_floats_double(regs: &mut Regs, word: u32) {
    fixed_to_floats::<Double>(regs, word, right(word, 64));
}

macro_rules! by_sign {
    ($word:expr, $f:ident) => {
        match (u($word), element_size($word)) {
            (false, 0) => $f::<i8> as Handler,
            (false, 1) => $f::<i16>,
            (false, 2) => $f::<i32>,
            (false, _) => $f::<i64>,
            (true, 0) => $f::<u8>,
            (true, 1) => $f::<u16>,
            (true, 2) => $f::<u32>,
            (true, _) => $f::<u64>,
        }
    };
}

macro_rules! unsigned {
    ($word:expr, $f:ident) => {
        match element_size($word) {
            0 => $f::<u8> as Handler,
            1 => $f::<u16>,
            2 => $f::<u32>,
            _ => $f::<u64>,
        }
    };
}

macro_rules! narrowing {
    ($word:expr, $f:ident) => {
        match (element_size($word), q($word)) {
            (0, false) => $f::<u8, false> as Handler,
            (0, true) => $f::<u8, true>,
            (1, false) => $f::<u16, false>,
            (1, true) => $f::<u16, true>,
            (2, false) => $f::<u32, false>,
            (2, true) => $f::<u32, true>,
            _ => return None,
        }
    };
}

/// From signed or unsigned to the same, by the `U` bit.
macro_rules! narrowing_saturating {
    ($word:expr, $f:ident) => {
        match (u($word), element_size($word)) {
            (false, 0) => $f::<i16, i8> as Handler,
            (false, 1) => $f::<i32, i16>,
            (false, 2) => $f::<i64, i32>,
            (true, 0) => $f::<u16, u8>,
            (true, 1) => $f::<u32, u16>,
            (true, 2) => $f::<u64, u32>,
            _ => return None,
        }
    };
}

macro_rules! narrowing_to_unsigned {
    ($word:expr, $f:ident) => {
        match element_size($word) {
            0 => $f::<i16, u8> as Handler,
            1 => $f::<i32, u16>,
            2 => $f::<i64, u32>,
            _ => return None,
        }
    };
}

fn lengthening(word: u32) -> Option<Handler> {
    Some(match (u(word), element_size(word), q(word)) {
        (false, 0, false) => shift_left_long::<i8, false>,
        (false, 0, true) => shift_left_long::<i8, true>,
        (false, 1, false) => shift_left_long::<i16, false>,
        (false, 1, true) => shift_left_long::<i16, true>,
        (false, 2, false) => shift_left_long::<i32, false>,
        (false, 2, true) => shift_left_long::<i32, true>,
        (true, 0, false) => shift_left_long::<u8, false>,
        (true, 0, true) => shift_left_long::<u8, true>,
        (true, 1, false) => shift_left_long::<u16, false>,
        (true, 1, true) => shift_left_long::<u16, true>,
        (true, 2, false) => shift_left_long::<u32, false>,
        (true, 2, true) => shift_left_long::<u32, true>,
        _ => return None,
    })
}

fn shift_saturating(word: u32) -> Handler {
    match (u(word), element_size(word)) {
        (false, 0) => shift_left_saturating::<i8, i8>,
        (false, 1) => shift_left_saturating::<i16, i16>,
        (false, 2) => shift_left_saturating::<i32, i32>,
        (false, _) => shift_left_saturating::<i64, i64>,
        (true, 0) => shift_left_saturating::<u8, u8>,
        (true, 1) => shift_left_saturating::<u16, u16>,
        (true, 2) => shift_left_saturating::<u32, u32>,
        (true, _) => shift_left_saturating::<u64, u64>,
    }
}

fn shift_saturating_to_unsigned(word: u32) -> Handler {
    match element_size(word) {
        0 => shift_left_saturating::<i8, u8>,
        1 => shift_left_saturating::<i16, u16>,
        2 => shift_left_saturating::<i32, u32>,
        _ => shift_left_saturating::<i64, u64>,
    }
}

/// Advanced SIMD shift by immediate. `immh` is not zero.
pub(super) fn vector(word: u32) -> Option<Op> {
    let opcode = bits(word, 11, 5);
    let size = element_size(word);
    // Elements of 64 bits only as a whole register; the narrowing and long forms have none at all.
    if size == 3 && !q(word) {
        return None;
    }
    Some(match (u(word), opcode) {
        (false, 0b00000) => ("SSHR", by_sign!(word, shift_right)),
        (true, 0b00000) => ("USHR", by_sign!(word, shift_right)),
        (false, 0b00010) => ("SSRA", by_sign!(word, shift_right_accumulate)),
        (true, 0b00010) => ("USRA", by_sign!(word, shift_right_accumulate)),
        (false, 0b00100) => ("SRSHR", by_sign!(word, shift_right_rounding)),
        (true, 0b00100) => ("URSHR", by_sign!(word, shift_right_rounding)),
        (false, 0b00110) => ("SRSRA", by_sign!(word, shift_right_rounding_accumulate)),
        (true, 0b00110) => ("URSRA", by_sign!(word, shift_right_rounding_accumulate)),
        (true, 0b01000) => ("SRI", unsigned!(word, shift_right_insert)),
        (false, 0b01010) => ("SHL", unsigned!(word, shift_left)),
        (true, 0b01010) => ("SLI", unsigned!(word, shift_left_insert)),
        (true, 0b01100) => ("SQSHLU", shift_saturating_to_unsigned(word)),
        (false, 0b01110) => ("SQSHL", shift_saturating(word)),
        (true, 0b01110) => ("UQSHL", shift_saturating(word)),
        (false, 0b10000) => ("SHRN", narrowing!(word, shift_right_narrow)),
        (false, 0b10001) => ("RSHRN", narrowing!(word, shift_right_narrow_rounding)),
        (true, 0b10000) => ("SQSHRUN", narrowing_to_unsigned!(word, shift_right_narrow_saturating)),
        (true, 0b10001) => ("SQRSHRUN", narrowing_to_unsigned!(word, shift_right_narrow_saturating_rounding)),
        (false, 0b10010) => ("SQSHRN", narrowing_saturating!(word, shift_right_narrow_saturating)),
        (true, 0b10010) => ("UQSHRN", narrowing_saturating!(word, shift_right_narrow_saturating)),
        (false, 0b10011) => ("SQRSHRN", narrowing_saturating!(word, shift_right_narrow_saturating_rounding)),
        (true, 0b10011) => ("UQRSHRN", narrowing_saturating!(word, shift_right_narrow_saturating_rounding)),
        (false, 0b10100) => ("SSHLL", lengthening(word)?),
        (true, 0b10100) => ("USHLL", lengthening(word)?),
        (_, 0b11100) => match size {
            2 => ("[SU]CVTF", fixed_to_floats_single),
            3 => ("[SU]CVTF", fixed_to_floats_double),
            _ => return None,
        },
        (_, 0b11111) => match size {
            2 => ("FCVTZ[SU]", floats_to_fixed_single),
            3 => ("FCVTZ[SU]", floats_to_fixed_double),
            _ => return None,
        },
        _ => return None,
    })
}

/// Advanced SIMD scalar shift by immediate: a part of the vector group.
pub(super) fn scalar(word: u32) -> Option<Op> {
    debug_assert!(is_scalar(word));
    let allowed = match (u(word), bits(word, 11, 5)) {
        (_, 0b00000 | 0b00010 | 0b00100 | 0b00110 | 0b01010) | (true, 0b01000) => element_size(word) == 3,
        (_, 0b01110 | 0b10010 | 0b10011 | 0b11100 | 0b11111) => true,
        (true, 0b01100 | 0b10000 | 0b10001) => true,
        _ => false,
    };
    if allowed { vector(word) } else { None }
}
