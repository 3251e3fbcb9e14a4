//! A vector, or a scalar, with one element of another: the "vector x indexed element" groups.

use crate::fp::{Double, Single};

use super::fields::{bits, q, size, u};
use super::operand::{Element, halves, instance};
use super::three_different::{
    doubling_multiply_add_long, doubling_multiply_long, doubling_multiply_sub_long, multiply_add_long,
    multiply_long, multiply_sub_long,
};
use super::three_same::{multiply, multiply_add, multiply_high, multiply_high_rounding, multiply_sub};
use super::{Handler, Op, fp_vector};

/// Halfwords and words, which alone can be picked by index.
macro_rules! indexed {
    ($word:expr, $f:ident) => {
        instance!(size($word), $f, [1 => i16, 2 => i32], Element)
    };
}

macro_rules! indexed_long {
    ($word:expr, $f:ident) => {
        if u($word) {
            halves!($word, $f, [1 => u16, 2 => u32], Element)
        } else {
            halves!($word, $f, [1 => i16, 2 => i32], Element)
        }
    };
}

macro_rules! indexed_float {
    ($word:expr, $f:ident) => {
        match (size($word), bits($word, 21, 1), q($word)) {
            (2, ..) => Some(fp_vector::$f::<Single, Element> as Handler),
            // Two lanes: the index has one bit, and L is reserved.
            (3, 0, true) => Some(fp_vector::$f::<Double, Element> as Handler),
            _ => None,
        }
    };
}

/// Advanced SIMD vector x indexed element.
pub(super) fn vector(word: u32) -> Option<Op> {
    let (name, handler) = match (u(word), bits(word, 12, 4)) {
        (true, 0b0000) => ("MLA", indexed!(word, multiply_add)),
        (true, 0b0100) => ("MLS", indexed!(word, multiply_sub)),
        (false, 0b1000) => ("MUL", indexed!(word, multiply)),
        (false, 0b0010) => ("SMLAL", indexed_long!(word, multiply_add_long)),
        (true, 0b0010) => ("UMLAL", indexed_long!(word, multiply_add_long)),
        (false, 0b0110) => ("SMLSL", indexed_long!(word, multiply_sub_long)),
        (true, 0b0110) => ("UMLSL", indexed_long!(word, multiply_sub_long)),
        (false, 0b1010) => ("SMULL", indexed_long!(word, multiply_long)),
        (true, 0b1010) => ("UMULL", indexed_long!(word, multiply_long)),
        _ => return scalar(word),
    };
    Some((name, handler?))
}

/// Advanced SIMD scalar x indexed element: those that the vector group has too.
pub(super) fn scalar(word: u32) -> Option<Op> {
    let (name, handler) = match (u(word), bits(word, 12, 4)) {
        (false, 0b0001) => ("FMLA", indexed_float!(word, multiply_add)),
        (false, 0b0101) => ("FMLS", indexed_float!(word, multiply_sub)),
        (false, 0b1001) => ("FMUL", indexed_float!(word, multiply)),
        (true, 0b1001) => ("FMULX", indexed_float!(word, multiply_extended)),
        (false, 0b0011) => ("SQDMLAL", indexed!(word, doubling_multiply_add_long)),
        (false, 0b0111) => ("SQDMLSL", indexed!(word, doubling_multiply_sub_long)),
        (false, 0b1011) => ("SQDMULL", indexed!(word, doubling_multiply_long)),
        (false, 0b1100) => ("SQDMULH", indexed!(word, multiply_high)),
        (false, 0b1101) => ("SQRDMULH", indexed!(word, multiply_high_rounding)),
        _ => return None,
    };
    Some((name, handler?))
}
