//! Integer data processing and branches against QEMU's user-mode emulator: every class of encodings, alone,
//! in sequences, around forward branches and in loops, on edge operands; the whole state is compared.
//!
//! `SAMOVAR_DIFF_CASES` sets how many cases are run in all.

mod common;

use std::collections::BTreeMap;

use common::differential::{Report, rounds};
use common::guest::{CODE, Guest, at_el1};
use common::operands;
use common::qemu::{Case, RESERVED, State};
use common::random::Random;
use engine_soft::decode::decode;
use engine_soft::op::Kind;

/// Has LSE, CRC32 and the cryptographic extension, as the engine has.
const CPU: &str = "cortex-a76";

const DEFAULT_CASES: usize = 30_000;

/// A class of encodings (Arm ARM C4.1.92, C4.1.95): words whose bits under `mask` are `value`.
struct Class {
    name: &'static str,
    value: u32,
    mask: u32,
    /// Lowest bits of the fields that name registers.
    fields: &'static [u32],
}

const fn class(name: &'static str, value: u32, mask: u32, fields: &'static [u32]) -> Class {
    Class { name, value, mask, fields }
}

const CLASSES: &[Class] = &[
    class("add/subtract immediate", 0x1100_0000, 0x1f80_0000, &[0, 5]),
    class("logical immediate", 0x1200_0000, 0x1f80_0000, &[0, 5]),
    class("move wide", 0x1280_0000, 0x1f80_0000, &[0]),
    class("bit field", 0x1300_0000, 0x1f80_0000, &[0, 5]),
    class("extract", 0x1380_0000, 0x1f80_0000, &[0, 5, 16]),
    class("logical shifted register", 0x0a00_0000, 0x1f00_0000, &[0, 5, 16]),
    class("add/subtract shifted register", 0x0b00_0000, 0x1f20_0000, &[0, 5, 16]),
    class("add/subtract extended register", 0x0b20_0000, 0x1f20_0000, &[0, 5, 16]),
    class("add/subtract with carry", 0x1a00_0000, 0x1fe0_fc00, &[0, 5, 16]),
    class("conditional compare register", 0x1a40_0000, 0x1fe0_0800, &[5, 16]),
    class("conditional compare immediate", 0x1a40_0800, 0x1fe0_0800, &[5]),
    class("conditional select", 0x1a80_0000, 0x1fe0_0000, &[0, 5, 16]),
    class("2 source", 0x1ac0_0000, 0x7fe0_0000, &[0, 5, 16]),
    class("CRC32", 0x1ac0_4000, 0x7fe0_e000, &[0, 5, 16]),
    class("1 source", 0x5ac0_0000, 0x7fff_0000, &[0, 5]),
    class("3 source", 0x1b00_0000, 0x7f00_0000, &[0, 5, 10, 16]),
];

/// Registers that a case works in: few, so that instructions meet each other's results.
type Pool = [u32; 6];

fn pool(random: &mut Random) -> Pool {
    std::array::from_fn(|_| {
        loop {
            let n = random.below(32) as u32;
            if n as usize != RESERVED {
                return n;
            }
        }
    })
}

/// A word of the class that the engine decodes, its registers from `pool`.
fn encoding(random: &mut Random, class: &Class, pool: &Pool) -> u32 {
    loop {
        let mut word = class.value | random.u32() & !class.mask;
        for field in class.fields {
            word = word & !(31 << field) | random.pick(pool) << field;
        }
        if decode(word).kind != Kind::Undefined {
            return word;
        }
    }
}

fn state(random: &mut Random) -> State {
    let mut state =
        State { sp: operands::general(random), nzcv: random.u32() & 0xf000_0000, ..State::default() };
    for n in 0..31 {
        state.x[n] = match random.below(8) {
            // Equal to another, or its complement.
            0 if n > 0 => state.x[random.below(n)],
            1 if n > 0 => !state.x[random.below(n)],
            _ => operands::general(random),
        };
    }
    state
}

/// A branch forward from word `from` to word `to`, of any kind that the class has.
fn forward_branch(random: &mut Random, pool: &Pool, from: usize, to: usize) -> (&'static str, u32) {
    let distance = (to - from) as u32;
    let rt = random.pick(pool);
    match random.below(6) {
        0 => ("B", 0x1400_0000 | distance),
        1 | 2 => ("B.cond", 0x5400_0000 | distance << 5 | random.u32() & 15),
        3 => ("CBZ and CBNZ", 0x3400_0000 | random.u32() & 0x8100_0000 | distance << 5 | rt),
        _ => ("TBZ and TBNZ", 0x3600_0000 | random.u32() & 0x81f8_0000 | distance << 5 | rt),
    }
}

type Counts = BTreeMap<&'static str, usize>;

fn one(random: &mut Random, class: &'static Class, counts: &mut Counts) -> Case {
    let pool = pool(random);
    *counts.entry(class.name).or_default() += 1;
    Case { words: vec![encoding(random, class, &pool)], state: state(random) }
}

/// Instructions of any class.
fn sequence(random: &mut Random, pool: &Pool, length: usize, counts: &mut Counts) -> Vec<u32> {
    (0..length)
        .map(|_| {
            let class = &CLASSES[random.below(CLASSES.len())];
            *counts.entry(class.name).or_default() += 1;
            encoding(random, class, pool)
        })
        .collect()
}

/// A sequence where some instructions branch over others.
fn skips(random: &mut Random, counts: &mut Counts) -> Case {
    let pool = pool(random);
    let length = 2 + random.below(12);
    let mut words = sequence(random, &pool, length, counts);
    for (at, place) in words.iter_mut().enumerate() {
        if random.one_in(3) {
            let to = at + 1 + random.below(length - at);
            let (name, word) = forward_branch(random, &pool, at, to);
            *counts.entry(name).or_default() += 1;
            *place = word;
        }
    }
    Case { words, state: state(random) }
}

/// A counted loop around a sequence with skips: blocks are linked, and entered again.
fn counted_loop(random: &mut Random, counts: &mut Counts) -> Case {
    const COUNTER: u32 = 30;
    let mut case = skips(random, counts);
    for word in &mut case.words {
        // The counter is the loop's own.
        let names_counter = [0, 5, 10, 16].iter().any(|field| *word >> field & 31 == COUNTER);
        if names_counter && *word >> 26 & 7 != 5 {
            *word = 0xd503_201f;
        }
    }
    case.state.x[COUNTER as usize] = 1 + random.below(20) as u64;
    let back = -(case.words.len() as i64 + 1);
    case.words.push(0xd100_0400 | COUNTER << 5 | COUNTER);
    case.words.push(0xb500_0000 | (back as u32 & 0x7_ffff) << 5 | COUNTER);
    *counts.entry("loops").or_default() += 1;
    case
}

/// Half of the cases are single instructions of each class in turn, the others sequences of any.
fn cases(random: &mut Random, total: usize, counts: &mut Counts) -> Vec<Case> {
    let mut cases = Vec::new();
    for class in CLASSES {
        cases.extend((0..total / 2 / CLASSES.len()).map(|_| one(random, class, counts)));
    }
    for _ in 0..total / 6 {
        let pool = pool(random);
        let length = 2 + random.below(6);
        cases.push(Case { words: sequence(random, &pool, length, counts), state: state(random) });
        cases.push(skips(random, counts));
        cases.push(counted_loop(random, counts));
    }
    cases
}

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
