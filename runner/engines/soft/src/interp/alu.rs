//! Integer arithmetic with flags, as pure functions (Arm ARM J1, shared functions).

use crate::regs::nzcv;

/// For each condition, the values of NZCV (as a four-bit number) for which it
/// holds (Arm ARM C1.2.4).
const CONDITIONS: [u16; 16] = conditions();

const fn conditions() -> [u16; 16] {
    let mut table = [0u16; 16];
    let mut condition = 0;
    while condition < 16 {
        let mut flags = 0;
        while flags < 16 {
            let (n, z, c, v) = (flags >> 3 & 1, flags >> 2 & 1, flags >> 1 & 1, flags & 1);
            let base = match condition >> 1 {
                0 => z == 1,
                1 => c == 1,
                2 => n == 1,
                3 => v == 1,
                4 => c == 1 && z == 0,
                5 => n == v,
                6 => n == v && z == 0,
                _ => true,
            };
            // The low bit inverts, but for AL and NV both hold always.
            if base != (condition & 1 == 1 && condition != 15) {
                table[condition] |= 1 << flags;
            }
            flags += 1;
        }
        condition += 1;
    }
    table
}

/// Whether condition `condition` holds.
#[inline(always)]
pub fn holds(flags: u32, condition: u8) -> bool {
    (CONDITIONS[usize::from(condition & 15)] >> (flags >> 28)) & 1 != 0
}

/// a + b + carry with NZCV.
#[inline(always)]
pub fn add_with_carry64(a: u64, b: u64, carry: bool) -> (u64, u32) {
    let (partial, c1) = a.overflowing_add(b);
    let (result, c2) = partial.overflowing_add(u64::from(carry));
    let overflow = ((a ^ result) & (b ^ result)) >> 63;
    let flags = ((result >> 63) as u32) << 31
        | u32::from(result == 0) << 30
        | u32::from(c1 | c2) << 29
        | (overflow as u32) << 28;
    (result, flags)
}

/// a + b + carry with NZCV, in 32 bits.
#[inline(always)]
pub fn add_with_carry32(a: u32, b: u32, carry: bool) -> (u64, u32) {
    let wide = u64::from(a) + u64::from(b) + u64::from(carry);
    let result = wide as u32;
    let overflow = ((a ^ result) & (b ^ result)) >> 31;
    let flags =
        (result & nzcv::N) | u32::from(result == 0) << 30 | ((wide >> 32) as u32) << 29 | overflow << 28;
    (u64::from(result), flags)
}

/// N and Z of a logical result; C and V are clear.
#[inline(always)]
pub fn logic_flags64(result: u64) -> u32 {
    ((result >> 63) as u32) << 31 | u32::from(result == 0) << 30
}

/// N and Z of a logical result in 32 bits.
#[inline(always)]
pub fn logic_flags32(result: u32) -> u32 {
    (result & nzcv::N) | u32::from(result == 0) << 30
}

/// Shifts by less than the width: LSL, LSR, ASR, ROR.
#[inline(always)]
pub fn shift64(value: u64, kind: u8, amount: u8) -> u64 {
    match kind {
        0 => value << amount,
        1 => value >> amount,
        2 => ((value as i64) >> amount) as u64,
        _ => value.rotate_right(u32::from(amount)),
    }
}

/// Shifts in 32 bits by less than the width.
#[inline(always)]
pub fn shift32(value: u32, kind: u8, amount: u8) -> u32 {
    match kind {
        0 => value << amount,
        1 => value >> amount,
        2 => ((value as i32) >> amount) as u32,
        _ => value.rotate_right(u32::from(amount)),
    }
}

/// ExtendReg: UXTB, UXTH, UXTW, UXTX, SXTB, SXTH, SXTW, SXTX.
#[inline(always)]
pub fn extend(value: u64, kind: u8) -> u64 {
    match kind {
        0 => u64::from(value as u8),
        1 => u64::from(value as u16),
        2 => u64::from(value as u32),
        4 => value as i8 as u64,
        5 => value as i16 as u64,
        6 => value as i32 as u64,
        _ => value,
    }
}

/// The remainder that each byte leaves, for a bit-reflected polynomial.
const fn remainders(polynomial: u32) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { polynomial } else { 0 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
}

static CRC32: [u32; 256] = remainders(0xedb8_8320);
static CRC32C: [u32; 256] = remainders(0x82f6_3b78);

/// CRC32 (polynomial 0x04C11DB7) or CRC32C (0x1EDC6F41) of the low `bytes`
/// bytes of `data` over `accumulator`, both bit-reflected (Arm ARM C6.2.80).
pub fn crc32(accumulator: u32, data: u64, bytes: u32, castagnoli: bool) -> u32 {
    let table = if castagnoli { &CRC32C } else { &CRC32 };
    let bytes = data.to_le_bytes().into_iter().take(bytes as usize);
    bytes.fold(accumulator, |crc, byte| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_values_of_both_crcs() {
        // The published check values of CRC-32 and CRC-32C over "123456789".
        for (castagnoli, check) in [(false, 0xcbf4_3926u32), (true, 0xe306_9283)] {
            let crc = b"123456789".iter().fold(!0, |crc, &b| crc32(crc, u64::from(b), 1, castagnoli));
            assert_eq!(!crc, check);
        }
    }

    #[test]
    fn conditions_after_a_comparison() {
        for (a, b) in [(0u64, 0u64), (1, 2), (2, 1), (u64::MAX, 1), (1, u64::MAX), (1 << 63, 1), (1, 1 << 63)]
        {
            let (_, flags) = add_with_carry64(a, !b, true);
            let (sa, sb) = (a as i64, b as i64);
            let expected = [
                (0, a == b),
                (1, a != b),
                (2, a >= b),
                (3, a < b),
                (8, a > b),
                (9, a <= b),
                (10, sa >= sb),
                (11, sa < sb),
                (12, sa > sb),
                (13, sa <= sb),
                (14, true),
                (15, true),
            ];
            for (condition, holds_here) in expected {
                assert_eq!(holds(flags, condition), holds_here, "{a} {b} condition {condition}");
            }
        }
    }
}
