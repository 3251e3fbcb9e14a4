//! FEAT_AES: one step of an AES round at a time (FIPS 197).

use crate::regs::Regs;

use super::Op;
use super::fields::{bits, rd, rn, size, u};
use super::operand::unary;

/// Doubles in the field of AES, modulo x^8 + x^4 + x^3 + x + 1.
const fn double(a: u8) -> u8 {
    a << 1 ^ if a & 0x80 != 0 { 0x1b } else { 0 }
}

/// The product in that field.
const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 != 0 {
            product ^= a;
        }
        a = double(a);
        b >>= 1;
    }
    product
}

/// The substitution box: the inverse in the field, then an affine map (FIPS 197, 5.1.1).
const SUBSTITUTE: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        // The inverse is the 254th power, and of zero zero.
        let mut inverse = 1;
        let mut n = 0;
        while n < 254 {
            inverse = multiply(inverse, i as u8);
            n += 1;
        }
        let b = inverse;
        table[i] = b ^ b.rotate_left(1) ^ b.rotate_left(2) ^ b.rotate_left(3) ^ b.rotate_left(4) ^ 0x63;
        i += 1;
    }
    table
};

const SUBSTITUTE_INVERSE: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        table[SUBSTITUTE[i] as usize] = i as u8;
        i += 1;
    }
    table
};

/// Substitutes every byte and rotates row `r` of the state, which is stored by columns, `step * r` places.
fn substitute_and_shift(state: u128, table: &[u8; 256], step: usize) -> u128 {
    let state = state.to_le_bytes();
    u128::from_le_bytes(std::array::from_fn(|i| table[usize::from(state[(i + step * 4 * (i % 4)) % 16])]))
}

/// Doubles each of four bytes in the field.
fn double_each(a: u32) -> u32 {
    ((a & 0x7f7f_7f7f) << 1) ^ (((a >> 7) & 0x0101_0101) * 0x1b)
}

/// Multiplies a column by the circulant matrix 2, 3, 1, 1 (FIPS 197, 5.1.3).
fn mix_column(a: u32) -> u32 {
    let next = a.rotate_right(8);
    double_each(a ^ next) ^ next ^ a.rotate_right(16) ^ a.rotate_right(24)
}

/// Multiplies by 14, 11, 13, 9, which is the circulant matrix 5, 0, 4, 0 and then the one above.
fn unmix_column(a: u32) -> u32 {
    mix_column(a ^ double_each(double_each(a ^ a.rotate_right(16))))
}

/// Cryptographic AES.
pub(super) fn lookup(word: u32) -> Option<Op> {
    if bits(word, 30, 1) == 0 || u(word) || size(word) != 0 {
        return None;
    }
    Some(match bits(word, 12, 5) {
        0b00100 => ("AESE", |regs: &mut Regs, word| {
            let state = regs.v[rd(word)] ^ regs.v[rn(word)];
            regs.v[rd(word)] = substitute_and_shift(state, &SUBSTITUTE, 1);
        }),
        0b00101 => ("AESD", |regs, word| {
            let state = regs.v[rd(word)] ^ regs.v[rn(word)];
            regs.v[rd(word)] = substitute_and_shift(state, &SUBSTITUTE_INVERSE, 3);
        }),
        0b00110 => ("AESMC", |regs, word| {
            unary::<u32>(regs, word, mix_column);
        }),
        0b00111 => ("AESIMC", |regs, word| {
            unary::<u32>(regs, word, unmix_column);
        }),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Lane;
    use super::*;

    /// FIPS 197, Appendix B: the first round of the example cipher, column by column.
    #[test]
    fn first_round_of_the_example() {
        let bytes = |hex: u128| hex.swap_bytes();
        let start = bytes(0x193de3bea0f4e22b9ac68d2ae9f84808);
        let shifted = substitute_and_shift(start, &SUBSTITUTE, 1);
        assert_eq!(shifted, bytes(0xd4bf5d30e0b452aeb84111f11e2798e5));
        let columns = u32::map(u32::load(&shifted), mix_column);
        let mut mixed = 0;
        u32::store(columns, &mut mixed);
        assert_eq!(mixed, bytes(0x046681e5e0cb199a48f8d37a2806264c));
        assert_eq!(u32::map(columns, unmix_column), u32::load(&shifted));
        assert_eq!(substitute_and_shift(shifted, &SUBSTITUTE_INVERSE, 3), start);
    }
}
