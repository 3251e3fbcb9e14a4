//! Copies of elements between vectors, and between vectors and general registers.

use crate::regs::Regs;

use super::fields::{bits, q, rd, rn, u};
use super::lanes::Lane;
use super::operand::{instance, lane, write};
use super::{Handler, Op};

/// The lowest set bit of `imm5` gives the element size; `None` if none of the lower four is set.
fn element_size(word: u32) -> Option<u32> {
    let size = bits(word, 16, 5).trailing_zeros();
    (size < 4).then_some(size)
}

/// The index above that bit.
#[inline]
fn index<T: Lane>(word: u32) -> usize {
    (bits(word, 16, 5) / (T::BITS / 4)) as usize
}

/// DUP (element), and the scalar DUP, alias MOV.
fn duplicate<T: Lane>(regs: &mut Regs, word: u32) {
    let element = lane::<T>(regs.v[rn(word)], index::<T>(word));
    write::<T>(regs, word, element.splat());
}

fn duplicate_general<T: Lane>(regs: &mut Regs, word: u32) {
    let element = T::from_raw(regs.read_x(rn(word) as u32));
    write::<T>(regs, word, element.splat());
}

#[inline]
fn insert<T: Lane>(regs: &mut Regs, word: u32, element: u64) {
    let at = index::<T>(word) as u32 * T::BITS;
    let mask = u128::from(T::ONES.raw()) << at;
    let d = &mut regs.v[rd(word)];
    *d = *d & !mask | (u128::from(element) << at) & mask;
}

fn insert_general<T: Lane>(regs: &mut Regs, word: u32) {
    let element = regs.read_x(rn(word) as u32);
    insert::<T>(regs, word, element);
}

/// INS (element): the source's index is the upper bits of `imm4`.
fn insert_element<T: Lane>(regs: &mut Regs, word: u32) {
    let source = bits(word, 11, 4) / (T::BITS / 8);
    let element = lane::<T>(regs.v[rn(word)], source as usize).raw();
    insert::<T>(regs, word, element);
}

fn move_unsigned<T: Lane>(regs: &mut Regs, word: u32) {
    let element = lane::<T>(regs.v[rn(word)], index::<T>(word));
    regs.write_x(rd(word) as u32, element.raw());
}

fn move_signed<T: Lane>(regs: &mut Regs, word: u32) {
    let element = lane::<T>(regs.v[rn(word)], index::<T>(word)).wide() as u64;
    let element = if q(word) { element } else { u64::from(element as u32) };
    regs.write_x(rd(word) as u32, element);
}

/// Advanced SIMD copy.
pub(super) fn vector(word: u32) -> Option<Op> {
    let size = element_size(word)?;
    let whole = q(word);
    let (name, handler) = match (u(word), bits(word, 11, 4)) {
        (true, _) if whole => {
            ("INS", instance!(size, insert_element, [0 => u8, 1 => u16, 2 => u32, 3 => u64]))
        }
        (false, 0b0000) if whole || size < 3 => return duplicate_op(size),
        (false, 0b0001) if whole || size < 3 => {
            ("DUP", instance!(size, duplicate_general, [0 => u8, 1 => u16, 2 => u32, 3 => u64]))
        }
        (false, 0b0011) if whole => {
            ("INS", instance!(size, insert_general, [0 => u8, 1 => u16, 2 => u32, 3 => u64]))
        }
        (false, 0b0101) if whole || size < 2 => {
            ("SMOV", instance!(size, move_signed, [0 => i8, 1 => i16, 2 => i32]))
        }
        (false, 0b0111) if whole == (size == 3) => {
            ("UMOV", instance!(size, move_unsigned, [0 => u8, 1 => u16, 2 => u32, 3 => u64]))
        }
        _ => return None,
    };
    Some((name, handler?))
}

fn duplicate_op(size: u32) -> Option<Op> {
    Some(("DUP", instance!(size, duplicate, [0 => u8, 1 => u16, 2 => u32, 3 => u64])?))
}

/// Advanced SIMD scalar copy.
pub(super) fn scalar(word: u32) -> Option<Op> {
    if u(word) || bits(word, 11, 4) != 0 {
        return None;
    }
    duplicate_op(element_size(word)?)
}
