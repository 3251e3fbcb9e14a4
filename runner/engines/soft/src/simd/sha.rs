//! FEAT_SHA1 and FEAT_SHA256: four rounds at a time, and the message schedules (FIPS 180-4).

use crate::regs::Regs;

use super::Op;
use super::fields::{bits, rd, rm, rn, size, u};
use super::lanes::Lane;

type Words = [u32; 4];

fn load(regs: &Regs, n: usize) -> Words {
    u32::load(&regs.v[n])
}

fn store(regs: &mut Regs, n: usize, words: Words) {
    u32::store(words, &mut regs.v[n]);
}

fn choose(x: u32, y: u32, z: u32) -> u32 {
    z ^ ((y ^ z) & x)
}

fn majority(x: u32, y: u32, z: u32) -> u32 {
    (x & y) | ((x | y) & z)
}

fn parity(x: u32, y: u32, z: u32) -> u32 {
    x ^ y ^ z
}

/// Four rounds of SHA-1: a to d in Vd, e in Vn, the schedule with the constant added in Vm.
#[inline]
fn sha1_rounds(regs: &mut Regs, word: u32, f: impl Fn(u32, u32, u32) -> u32) {
    let [mut a, mut b, mut c, mut d] = load(regs, rd(word));
    let mut e = regs.v[rn(word)] as u32;
    for w in load(regs, rm(word)) {
        let sum = a.rotate_left(5).wrapping_add(f(b, c, d)).wrapping_add(e).wrapping_add(w);
        (a, b, c, d, e) = (sum, a, b.rotate_left(30), c, d);
    }
    store(regs, rd(word), [a, b, c, d]);
}

fn sha1_schedule0(regs: &mut Regs, word: u32) {
    let (d, n, m) = (regs.v[rd(word)], regs.v[rn(word)], regs.v[rm(word)]);
    regs.v[rd(word)] = (d >> 64 | n << 64) ^ d ^ m;
}

fn sha1_schedule1(regs: &mut Regs, word: u32) {
    let d = load(regs, rd(word));
    let [_, n1, n2, n3] = load(regs, rn(word));
    let first = (d[0] ^ n1).rotate_left(1);
    let words = [
        first,
        (d[1] ^ n2).rotate_left(1),
        (d[2] ^ n3).rotate_left(1),
        d[3].rotate_left(1) ^ first.rotate_left(1),
    ];
    store(regs, rd(word), words);
}

fn sha1_fixed_rotate(regs: &mut Regs, word: u32) {
    regs.v[rd(word)] = u128::from((regs.v[rn(word)] as u32).rotate_left(30));
}

/// Four rounds of SHA-256: a to d, then e to h, after them.
fn sha256_rounds(abcd: Words, efgh: Words, schedule: Words) -> (Words, Words) {
    let [mut a, mut b, mut c, mut d] = abcd;
    let [mut e, mut f, mut g, mut h] = efgh;
    for w in schedule {
        let sigma1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
        let sigma0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
        let first = h.wrapping_add(sigma1).wrapping_add(choose(e, f, g)).wrapping_add(w);
        let second = sigma0.wrapping_add(majority(a, b, c));
        (h, g, f, e, d, c, b, a) = (g, f, e, d.wrapping_add(first), c, b, a, first.wrapping_add(second));
    }
    ([a, b, c, d], [e, f, g, h])
}

fn sha256_hash(regs: &mut Regs, word: u32) {
    let (abcd, _) = sha256_rounds(load(regs, rd(word)), load(regs, rn(word)), load(regs, rm(word)));
    store(regs, rd(word), abcd);
}

/// The other half of the state: here Vd holds e to h.
fn sha256_hash2(regs: &mut Regs, word: u32) {
    let (_, efgh) = sha256_rounds(load(regs, rn(word)), load(regs, rd(word)), load(regs, rm(word)));
    store(regs, rd(word), efgh);
}

fn sha256_schedule0(regs: &mut Regs, word: u32) {
    let d = load(regs, rd(word));
    let next = [d[1], d[2], d[3], regs.v[rn(word)] as u32];
    let sigma = |w: u32| w.rotate_right(7) ^ w.rotate_right(18) ^ w >> 3;
    store(regs, rd(word), u32::zip(d, next, |d, next| d.wrapping_add(sigma(next))));
}

fn sha256_schedule1(regs: &mut Regs, word: u32) {
    let mut d = load(regs, rd(word));
    let [_, n1, n2, n3] = load(regs, rn(word));
    let [m0, _, m2, m3] = load(regs, rm(word));
    let sigma = |w: u32| w.rotate_right(17) ^ w.rotate_right(19) ^ w >> 10;
    d[0] = d[0].wrapping_add(sigma(m2)).wrapping_add(n1);
    d[1] = d[1].wrapping_add(sigma(m3)).wrapping_add(n2);
    d[2] = d[2].wrapping_add(sigma(d[0])).wrapping_add(n3);
    d[3] = d[3].wrapping_add(sigma(d[1])).wrapping_add(m0);
    store(regs, rd(word), d);
}

/// Cryptographic three-register SHA.
pub(super) fn three_registers(word: u32) -> Option<Op> {
    if u(word) {
        return None;
    }
    Some(match bits(word, 12, 3) {
        0b000 => ("SHA1C", |regs, word| sha1_rounds(regs, word, choose)),
        0b001 => ("SHA1P", |regs, word| sha1_rounds(regs, word, parity)),
        0b010 => ("SHA1M", |regs, word| sha1_rounds(regs, word, majority)),
        0b011 => ("SHA1SU0", sha1_schedule0),
        0b100 => ("SHA256H", sha256_hash),
        0b101 => ("SHA256H2", sha256_hash2),
        0b110 => ("SHA256SU1", sha256_schedule1),
        _ => return None,
    })
}

/// Cryptographic two-register SHA.
pub(super) fn two_registers(word: u32) -> Option<Op> {
    if u(word) || size(word) != 0 {
        return None;
    }
    Some(match bits(word, 12, 5) {
        0b00000 => ("SHA1H", sha1_fixed_rotate),
        0b00001 => ("SHA1SU1", sha1_schedule1),
        0b00010 => ("SHA256SU0", sha256_schedule0),
        _ => return None,
    })
}
