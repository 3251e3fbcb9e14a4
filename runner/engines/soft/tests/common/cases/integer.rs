//! Integer data processing and branches: every class of encodings, alone, in sequences, around forward branches and
//! in loops, on edge operands.

use std::collections::BTreeMap;

use engine_soft::decode::decode;
use engine_soft::op::Kind;

use crate::common::operands;
use crate::common::qemu::{Case, RESERVED, State};
use crate::common::random::Random;

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

/// Where immediates are: imm12, imm16, immr, imms.
const IMMEDIATES: [u32; 4] = [0x3f_fc00, 0x1f_ffe0, 0x3f_0000, 0xfc00];

/// A word of the class that the engine decodes, its registers from `pool`, its immediates often all zeros or all
/// ones, or those of an extension: no rotation, and so many ones.
fn encoding(random: &mut Random, class: &Class, pool: &Pool) -> u32 {
    loop {
        let mut free = random.u32();
        match random.below(8) {
            0 => free &= !random.pick(&IMMEDIATES),
            1 => free |= random.pick(&IMMEDIATES),
            2 => free = free & !0x3f_fc00 | 0x3f >> random.below(4) << 10,
            _ => {}
        }
        let mut word = class.value | free & !class.mask;
        for field in class.fields {
            word = word & !(31 << field) | random.pick(pool) << field;
        }
        if decode(word).kind != Kind::Undefined {
            return word;
        }
    }
}

pub fn state(random: &mut Random) -> State {
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

/// How many instructions of each class there are.
pub type Counts = BTreeMap<&'static str, usize>;

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
pub fn cases(random: &mut Random, total: usize, counts: &mut Counts) -> Vec<Case> {
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
