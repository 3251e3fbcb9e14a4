//! Permutations: ZIP, UZP, TRN, EXT, TBL and TBX.

use crate::regs::Regs;

use super::fields::{bits, q, rd, rm, rn, size};
use super::lanes::Lane;
use super::operand::{any_size, instance, write};
use super::{Handler, Op};

/// Fills the lanes of the result: `f` gets the lanes of Vn, those of Vm, and the number of a lane.
#[inline(always)]
fn each<T: Lane>(regs: &mut Regs, word: u32, f: impl Fn(&[T], &[T], usize) -> T) {
    let (a, b) = (T::load(&regs.v[rn(word)]), T::load(&regs.v[rm(word)]));
    let (a, b) = (a.as_ref(), b.as_ref());
    // Two loops of known length, which unroll.
    let result = if q(word) {
        T::from_lanes(|i| f(a, b, i))
    } else {
        let half = a.len() / 2;
        T::from_lanes(|i| f(&a[..half], &b[..half], i % half))
    };
    write::<T>(regs, word, result);
}

/// ZIP1 (`part` 0) takes the lower halves in turn, ZIP2 (1) the upper.
#[inline(always)]
fn zip<T: Lane>(regs: &mut Regs, word: u32, part: usize) {
    each::<T>(regs, word, |a, b, i| {
        let from = if i % 2 == 0 { a } else { b };
        from[part * a.len() / 2 + i / 2]
    });
}

/// UZP1 takes the even lanes of both, UZP2 the odd.
#[inline(always)]
fn unzip<T: Lane>(regs: &mut Regs, word: u32, part: usize) {
    each::<T>(regs, word, |a, b, i| {
        let i = 2 * i + part;
        if i < a.len() { a[i] } else { b[i - a.len()] }
    });
}

/// TRN1 takes the even lanes of both in turn, TRN2 the odd.
#[inline(always)]
fn transpose<T: Lane>(regs: &mut Regs, word: u32, part: usize) {
    each::<T>(regs, word, |a, b, i| {
        let from = if i % 2 == 0 { a } else { b };
        from[(i & !1) + part]
    });
}

macro_rules! parts {
    ($($first:ident, $second:ident = $f:ident;)+) => {
        $(
            fn $first<T: Lane>(regs: &mut Regs, word: u32) {
                $f::<T>(regs, word, 0);
            }
            fn $second<T: Lane>(regs: &mut Regs, word: u32) {
                $f::<T>(regs, word, 1);
            }
        )+
    };
}

parts! {
    zip1, zip2 = zip;
    unzip1, unzip2 = unzip;
    transpose1, transpose2 = transpose;
}

/// Advanced SIMD permute.
pub(super) fn interleave(word: u32) -> Option<Op> {
    let (name, handler) = match bits(word, 12, 3) {
        0b001 => ("UZP1", any_size!(word, unzip1)),
        0b010 => ("TRN1", any_size!(word, transpose1)),
        0b011 => ("ZIP1", any_size!(word, zip1)),
        0b101 => ("UZP2", any_size!(word, unzip2)),
        0b110 => ("TRN2", any_size!(word, transpose2)),
        0b111 => ("ZIP2", any_size!(word, zip2)),
        _ => return None,
    };
    Some((name, handler?))
}

/// Advanced SIMD extract: bytes from the pair Vm:Vn.
pub(super) fn extract(word: u32) -> Option<Op> {
    if q(word) {
        return Some(("EXT", |regs, word| {
            let by = 8 * bits(word, 11, 4);
            let (low, high) = (regs.v[rn(word)], regs.v[rm(word)]);
            regs.v[rd(word)] = if by == 0 { low } else { low >> by | high << (128 - by) };
        }));
    }
    if bits(word, 14, 1) != 0 {
        return None;
    }
    Some(("EXT", |regs, word| {
        let pair = u128::from(regs.v[rn(word)] as u64) | regs.v[rm(word)] << 64;
        regs.v[rd(word)] = u128::from((pair >> (8 * bits(word, 11, 3))) as u64);
    }))
}

/// TBL and TBX: bytes looked up in one to four registers, which wrap around after V31.
#[inline]
fn look_up(regs: &mut Regs, word: u32, otherwise: u128) {
    let mut table = [0; 64];
    let length = bits(word, 13, 2) as usize + 1;
    for (i, bytes) in table.chunks_exact_mut(16).take(length).enumerate() {
        bytes.copy_from_slice(&regs.v[(rn(word) + i) % 32].to_le_bytes());
    }
    let indices = regs.v[rm(word)].to_le_bytes();
    let mut result = otherwise.to_le_bytes();
    for (out, index) in result.iter_mut().zip(indices) {
        if let Some(&byte) = table[..16 * length].get(usize::from(index)) {
            *out = byte;
        }
    }
    let result = u128::from_le_bytes(result);
    regs.v[rd(word)] = if q(word) { result } else { u128::from(result as u64) };
}

/// Advanced SIMD table lookup.
pub(super) fn table(word: u32) -> Option<Op> {
    Some(match bits(word, 12, 1) {
        0 => ("TBL", |regs, word| look_up(regs, word, 0)),
        _ => ("TBX", |regs, word| look_up(regs, word, regs.v[rd(word)])),
    })
}
