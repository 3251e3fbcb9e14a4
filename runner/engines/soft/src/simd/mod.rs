//! Decoding and execution of floating-point and Advanced SIMD data processing (Arm ARM C4.1.96,
//! "Data Processing -- Scalar Floating-Point and Advanced SIMD"): Armv8.0-A, FEAT_AES, FEAT_PMULL,
//! FEAT_SHA1 and FEAT_SHA256. What later extensions added is unallocated here.
//!
//! Decoding picks a function specialised by operation and element type; that function takes register
//! numbers and immediates from the instruction word each time it runs. None touches memory.

mod across;
mod aes;
mod by_element;
mod copy;
mod fields;
mod fp_scalar;
mod fp_two_register;
mod fp_vector;
mod immediate;
mod lanes;
mod operand;
mod permute;
mod sha;
mod shift_immediate;
mod three_different;
mod three_same;
mod two_register;

use crate::regs::Regs;

use fields::{bits, is_scalar, size, u};

/// Executes one FP/SIMD data-processing instruction.
pub type Handler = fn(&mut Regs, word: u32);

/// A handler and the mnemonic of the instruction.
type Op = (&'static str, Handler);

/// Decodes `word`, an encoding with bits 27 to 25 all ones. `None` if it is unallocated, which makes it
/// UNDEFINED, in the feature set.
pub fn decode(word: u32) -> Option<Handler> {
    lookup(word).map(|(_, handler)| handler)
}

/// The mnemonic of an instruction that [`decode`] knows, for reports.
pub fn mnemonic(word: u32) -> Option<&'static str> {
    lookup(word).map(|(name, _)| name)
}

fn lookup(word: u32) -> Option<Op> {
    if bits(word, 25, 3) != 7 {
        return None;
    }
    match (bits(word, 30, 2), is_scalar(word)) {
        // Bit 29 is S or reserved throughout the scalar floating-point groups.
        (0b00, true) | (0b10, true) if !u(word) => fp_scalar::lookup(word),
        (0b00 | 0b01, false) => vector(word),
        (0b01, true) => scalar(word),
        _ => None,
    }
}

/// The vector groups: bits 31 to 28 are 0xx0.
fn vector(word: u32) -> Option<Op> {
    let low = bits(word, 10, 2);
    if word & 1 << 24 != 0 {
        return match (low & 1, bits(word, 23, 1), bits(word, 19, 4)) {
            (0, ..) => by_element::vector(word),
            (_, 0, 0) => immediate::lookup(word),
            (_, 0, _) => shift_immediate::vector(word),
            _ => None,
        };
    }
    if word & 1 << 21 != 0 {
        return match (low, bits(word, 17, 4)) {
            (0b01 | 0b11, _) => three_same::vector(word),
            (0b00, _) => three_different::vector(word),
            (_, 0b0000) => two_register::vector(word),
            (_, 0b1000) => across::vector(word),
            (_, 0b0100) => aes::lookup(word),
            _ => None,
        };
    }
    if bits(word, 15, 1) != 0 {
        return None;
    }
    match (low & 1, u(word), low) {
        (1, ..) if size(word) == 0 => copy::vector(word),
        (0, true, _) if size(word) == 0 => permute::extract(word),
        (0, false, 0b00) if size(word) == 0 => permute::table(word),
        (0, false, 0b10) => permute::interleave(word),
        _ => None,
    }
}

/// The scalar groups of Advanced SIMD: bits 31 to 28 are 01x1.
fn scalar(word: u32) -> Option<Op> {
    let low = bits(word, 10, 2);
    if word & 1 << 24 != 0 {
        return match (low & 1, bits(word, 23, 1), bits(word, 19, 4)) {
            (0, ..) => by_element::scalar(word),
            (_, 0, 1..) => shift_immediate::scalar(word),
            _ => None,
        };
    }
    if word & 1 << 21 != 0 {
        return match (low, bits(word, 17, 4)) {
            (0b01 | 0b11, _) => three_same::scalar(word),
            (0b00, _) => three_different::scalar(word),
            (_, 0b0000) => two_register::scalar(word),
            (_, 0b1000) => across::scalar(word),
            (_, 0b0100) => sha::two_registers(word),
            _ => None,
        };
    }
    match (bits(word, 15, 1), low) {
        (0, 0b01 | 0b11) if size(word) == 0 => copy::scalar(word),
        (0, 0b00) if size(word) == 0 => sha::three_registers(word),
        _ => None,
    }
}
