//! Integer data processing and branches against QEMU's user-mode emulator: every class of encodings, alone,
//! in sequences, around forward branches and in loops, on edge operands; the whole state is compared.
//!
//! `SAMOVAR_DIFF_CASES` sets how many cases are run in all.

mod common;

use common::cases::integer::{Counts, cases, state};
use common::differential::{Report, rounds};
use common::guest::{CODE, Guest, at_el1};
use common::operands;
use common::qemu::Case;
use common::random::Random;

/// Has LSE, CRC32 and the cryptographic extension, as the engine has.
const CPU: &str = "cortex-a76";

const DEFAULT_CASES: usize = 30_000;

#[test]
fn every_class_does_what_qemu_does() {
    let mut counts = Counts::new();
    let mut report = Report::default();
    for (mut random, total) in rounds(0x1e57, DEFAULT_CASES) {
        report.add(CPU, &cases(&mut random, total, &mut counts));
    }
    for (name, count) in &counts {
        println!("{name:34} {count:8} instructions");
    }
    report.finish();
}

/// Operands at which results overflow, vanish or change sign.
const EDGES: [u64; 14] = [
    0,
    1,
    2,
    u64::MAX,
    u64::MAX - 1,
    1 << 63,
    (1 << 63) - 1,
    1 << 32,
    0xffff_ffff,
    0x8000_0000,
    0x7fff_ffff,
    0xffff_ffff_8000_0000,
    63,
    0x5555_5555_5555_5555,
];

/// X3 op X4, and X5 where there is a third source; the destination is put in.
const OPERATIONS: [u32; 22] = [
    0x1ac4_0860, // udiv w, w3, w4
    0x9ac4_0860, // udiv x, x3, x4
    0x1ac4_0c60, // sdiv w
    0x9ac4_0c60, // sdiv x
    0x1ac4_2060, // lsl w
    0x9ac4_2060, // lsl x
    0x9ac4_2460, // lsr x
    0x1ac4_2860, // asr w
    0x9ac4_2860, // asr x
    0x9ac4_2c60, // ror x
    0x1b04_1460, // madd w, w3, w4, w5
    0x9b04_1460, // madd x
    0x9b04_9460, // msub x
    0x9b24_1460, // smaddl
    0x9b24_9460, // smsubl
    0x9ba4_1460, // umaddl
    0x9b44_7c60, // smulh
    0x9bc4_7c60, // umulh
    0xba04_0060, // adcs x
    0xfa04_0060, // sbcs x
    0x3a04_0060, // adcs w
    0x7a04_0060, // sbcs w
];

#[test]
fn every_pair_of_edge_operands() {
    let mut random = Random::new(0xed9e);
    let words: Vec<u32> = OPERATIONS.iter().zip(6..).map(|(word, rd)| word | rd).collect();
    let mut cases = Vec::new();
    for first in EDGES {
        for second in EDGES {
            let mut state = state(&mut random);
            (state.x[3], state.x[4], state.x[5]) = (first, second, random.pick(&EDGES));
            cases.push(Case { words: words.clone(), state });
        }
    }
    Report::of(CPU, &cases).finish();
}

/// Runs one instruction at [`CODE`], X5 being `x5` and X30 `x30`, and returns PC, X3 and X30.
fn step(guest: &mut Guest, word: u32, x5: u64, x30: u64) -> (u64, u64, u64) {
    guest.put(CODE, &[word]);
    let mut start = at_el1(CODE);
    (start.x[5], start.x[30]) = (x5, x30);
    let (_, end) = guest.run(&start, 1);
    (end.pc, end.x[3], end.x[30])
}

/// QEMU has its code elsewhere, so what depends on the address is worked out here.
#[test]
fn addresses_are_relative_to_the_instruction() {
    let mut random = Random::new(0xadd2);
    let mut guest = Guest::new();
    let mut offsets = vec![0, 1, -1, 4, -4, 0xf_ffff, -0x10_0000];
    offsets.extend((0..200).map(|_| random.u64() as i64 >> (43 + random.below(20))));
    for offset in offsets {
        let fields = (offset as u32 & 3) << 29 | (offset as u32 >> 2 & 0x7_ffff) << 5;
        let (_, adr, _) = step(&mut guest, 0x1000_0003 | fields, 0, 0);
        assert_eq!(adr, CODE.wrapping_add_signed(offset), "ADR {offset:#x}");
        let (_, adrp, _) = step(&mut guest, 0x9000_0003 | fields, 0, 0);
        assert_eq!(adrp, (CODE & !0xfff).wrapping_add_signed(offset << 12), "ADRP {offset:#x}");

        let distance = offset as u32;
        let target = CODE.wrapping_add_signed(offset * 4);
        assert_eq!(
            step(&mut guest, 0x1400_0000 | distance & 0x3ff_ffff, 0, 9),
            (target, 0, 9),
            "B {offset:#x}"
        );
        let linked = (target, 0, CODE + 4);
        assert_eq!(step(&mut guest, 0x9400_0000 | distance & 0x3ff_ffff, 0, 9), linked, "BL {offset:#x}");
    }
    // The ends of the ranges of B, B.cond and CBZ, and TBZ.
    for (word, field, at) in
        [(0x1400_0000, 26, 0), (0x5400_000e, 19, 5), (0xb400_0003, 19, 5), (0x3600_0003, 14, 5)]
    {
        let furthest = (1i64 << (field - 1)) - 1;
        for distance in [furthest, -furthest - 1] {
            let word = word | (distance as u32 & ((1 << field) - 1)) << at;
            let target = CODE.wrapping_add_signed(distance * 4);
            assert_eq!(step(&mut guest, word, 0, 0).0, target, "{word:08x}");
        }
    }
    let target = operands::general(&mut random);
    assert_eq!(step(&mut guest, 0xd61f_00a0, target, 9), (target, 0, 9), "BR X5");
    assert_eq!(step(&mut guest, 0xd63f_00a0, target, 9), (target, 0, CODE + 4), "BLR X5");
    assert_eq!(step(&mut guest, 0xd63f_03c0, 9, target), (target, 0, CODE + 4), "BLR X30");
    assert_eq!(step(&mut guest, 0xd65f_03c0, 9, target), (target, 0, target), "RET");
}
