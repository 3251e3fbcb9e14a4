//! Values at which arithmetic goes wrong.

use super::random::Random;

pub const SINGLES: &[u32] = &[
    0x0000_0000, // zero
    0x0000_0001, // smallest denormal
    0x0000_0002,
    0x0020_0000, // 2^-128, where FRECPE overflows
    0x001f_ffff,
    0x0040_0000,
    0x007f_ffff, // largest denormal
    0x0080_0000, // smallest normal
    0x0080_0001,
    0x0100_0000,
    0x1f80_0000, // 2^-64
    0x3300_0000, // 2^-25
    0x3380_0000, // 2^-24, the smallest half-precision denormal
    0x387f_e000, // around the smallest half-precision normal
    0x3880_0000,
    0x3eff_ffff,
    0x3f00_0000, // 0.5
    0x3f7f_ffff,
    0x3f80_0000, // 1
    0x3f80_0001,
    0x3fc0_0000, // 1.5
    0x4000_0000, // 2
    0x4020_0000, // 2.5
    0x4040_0000, // 3
    0x477f_e000, // 65504, the largest half-precision number
    0x477f_f000, // where it overflows
    0x4780_0000,
    0x4b00_0000, // 2^23
    0x4b7f_ffff,
    0x4eff_ffff,
    0x4f00_0000, // 2^31
    0x4f80_0000, // 2^32
    0x5eff_ffff,
    0x5f00_0000, // 2^63
    0x5f80_0000, // 2^64
    0x7e80_0000, // 2^126, where FRECPE underflows
    0x7e7f_ffff,
    0x7f7f_ffff, // largest finite
    0x7f80_0000, // infinity
    0x7f80_0001, // signalling NaNs
    0x7fa5_4321,
    0x7fc0_0000, // quiet NaNs
    0x7fd2_3456,
    0x7fff_ffff,
];

pub const DOUBLES: &[u64] = &[
    0x0000_0000_0000_0000,
    0x0000_0000_0000_0001,
    0x0003_ffff_ffff_ffff,
    0x0004_0000_0000_0000, // 2^-1024
    0x0008_0000_0000_0000,
    0x000f_ffff_ffff_ffff,
    0x0010_0000_0000_0000,
    0x0010_0000_0000_0001,
    0x0020_0000_0000_0000,
    0x1ff0_0000_0000_0000,
    0x3690_0000_0000_0000, // 2^-150, half the smallest single-precision denormal
    0x36a0_0000_0000_0000,
    0x380f_ffff_e000_0000, // around the smallest single-precision normal
    0x3810_0000_0000_0000,
    0x3e60_0000_0000_0000,
    0x3f10_0000_0000_0000,
    0x3fdf_ffff_ffff_ffff,
    0x3fe0_0000_0000_0000, // 0.5
    0x3fef_ffff_ffff_ffff,
    0x3ff0_0000_0000_0000, // 1
    0x3ff0_0000_0000_0001,
    0x3ff8_0000_0000_0000, // 1.5
    0x4000_0000_0000_0000, // 2
    0x4004_0000_0000_0000, // 2.5
    0x4008_0000_0000_0000, // 3
    0x40ef_fc00_0000_0000, // 65504
    0x40ef_fe00_0000_0000,
    0x40f0_0000_0000_0000,
    0x41df_ffff_ffc0_0000, // 2^31 - 1
    0x41df_ffff_ffe0_0000,
    0x41e0_0000_0000_0000,
    0x41ef_ffff_ffe0_0000, // 2^32 - 1
    0x41ef_ffff_fff0_0000,
    0x41f0_0000_0000_0000,
    0x4330_0000_0000_0000, // 2^52
    0x433f_ffff_ffff_ffff,
    0x43df_ffff_ffff_ffff,
    0x43e0_0000_0000_0000, // 2^63
    0x43f0_0000_0000_0000, // 2^64
    0x47ef_ffff_e000_0000, // largest finite single-precision number
    0x47ef_ffff_f000_0000, // where it overflows
    0x47f0_0000_0000_0000,
    0x7fd0_0000_0000_0000, // 2^1022
    0x7fcf_ffff_ffff_ffff,
    0x7fef_ffff_ffff_ffff,
    0x7ff0_0000_0000_0000,
    0x7ff0_0000_0000_0001,
    0x7ff4_0000_dead_beef,
    0x7ff8_0000_0000_0000,
    0x7ff8_1234_5678_9abc,
    0x7fff_ffff_ffff_ffff,
];

const HALVES: &[u16] = &[
    0x0000, 0x0001, 0x0200, 0x03ff, 0x0400, 0x0401, 0x3800, 0x3bff, 0x3c00, 0x3e00, 0x4000, 0x7bff, 0x7c00,
    0x7c01, 0x7d55, 0x7e00, 0x7eaa, 0x7fff,
];

fn half(random: &mut Random) -> u16 {
    match random.below(4) {
        0 => random.u32() as u16,
        _ => random.pick(HALVES) ^ (random.u32() as u16 & 0x8000),
    }
}

pub fn single(random: &mut Random) -> u32 {
    let sign = random.u32() & 0x8000_0000;
    sign ^ match random.below(8) {
        0 => random.u32(),
        // Numbers not far from one, of many and of few bits.
        1 => (96 + random.u32() % 64) << 23 | random.u32() & 0x7f_ffff,
        2 => (120 + random.u32() % 32) << 23 | random.u32() & 0x70_0000,
        // The ends of the range.
        3 => (random.u32() % 3) << 23 | random.u32() & 0x7f_ffff,
        4 => (252 + random.u32() % 3) << 23 | random.u32() & 0x7f_ffff,
        _ => random.pick(SINGLES),
    }
}

pub fn double(random: &mut Random) -> u64 {
    let sign = random.u64() & 1 << 63;
    let frac = random.u64() >> 12;
    sign ^ match random.below(10) {
        0 => random.u64(),
        1 => (980 + random.u64() % 100) << 52 | frac,
        2 => (1016 + random.u64() % 64) << 52 | frac & 0xf << 48,
        3 => (random.u64() % 3) << 52 | frac,
        4 => (2044 + random.u64() % 3) << 52 | frac,
        // Around the ends of single precision's range, and of half precision's.
        5 => (868 + random.u64() % 32) << 52 | frac & (random.u64() << 20),
        6 => (1148 + random.u64() % 4) << 52 | frac | (0xf_ffff_e000_0000 & random.u64()),
        _ => random.pick(DOUBLES),
    }
}

/// An integer of `width` bits.
pub fn integer(random: &mut Random, width: u32) -> u64 {
    let top = 1u64 << (width - 1);
    let value = match random.below(4) {
        0 => random.pick(&[0, 1, 2, top, top - 1, top + 1, !0, !1, top >> 1]),
        1 => random.u64() >> random.below(64),
        2 => 1u64.checked_shl(random.u32() % width).unwrap_or(0).wrapping_sub(random.u64() & 1),
        _ => random.u64(),
    };
    value & (u64::MAX >> (64 - width))
}

/// A general register.
pub fn general(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => integer(random, 32),
        1 => integer(random, 32) as i32 as u64,
        _ => integer(random, 64),
    }
}

fn fill(width: u32, mut lane: impl FnMut() -> u64) -> u128 {
    (0..128 / width).fold(0, |all, i| all | u128::from(lane()) << (i * width))
}

/// A vector register: lanes of one type, chosen anew for each.
pub fn vector(random: &mut Random) -> u128 {
    match random.below(10) {
        0 => fill(16, || half(random).into()),
        1..=3 => fill(32, || single(random).into()),
        4..=6 => fill(64, || double(random)),
        7 => random.u128(),
        _ => {
            let width = random.pick(&[8, 16, 32, 64]);
            fill(width, || integer(random, width))
        }
    }
}
