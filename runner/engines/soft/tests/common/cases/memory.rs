//! Loads and stores: every class, every addressing mode, sequences that meet each other's data.

use std::collections::BTreeMap;

use engine_soft::decode::decode;
use engine_soft::op::Kind;

use crate::common::operands;
use crate::common::qemu::{Case, MEMORY, MEMORY_SIZE, RESERVED, State};
use crate::common::random::Random;

const CLREX: u32 = 0xd503_3f5f;
const NOP: u32 = 0xd503_201f;
/// As a base the stack pointer, else the zero register.
const R31: u32 = 31;

/// A case in the making: registers in the roles that keep every access inside the case's memory.
struct Scene {
    words: Vec<u32>,
    state: State,
    /// General registers in random order, but for the reserved one.
    order: Vec<u32>,
    /// How many of `order` are bases and indices already.
    taken: usize,
    sp_taken: bool,
}

/// How many registers of the order are for data alone.
const DATA_REGISTERS: usize = 12;

impl Scene {
    fn new(random: &mut Random) -> Scene {
        let mut state = State { nzcv: random.u32() & 0xf000_0000, ..State::default() };
        state.x.fill_with(|| operands::general(random));
        state.v.fill_with(|| random.u128());
        state.memory.fill_with(|| random.u32() as u8);
        let mut order: Vec<u32> = (0..31).filter(|&n| n as usize != RESERVED).collect();
        for last in (1..order.len()).rev() {
            order.swap(last, random.below(last + 1));
        }
        Scene { words: Vec::new(), state, order, taken: DATA_REGISTERS, sp_taken: false }
    }

    fn case(self) -> Case {
        Case { words: self.words, state: self.state }
    }

    /// A register for data; now and then the zero register.
    fn data(&self, random: &mut Random) -> u32 {
        if random.one_in(12) { R31 } else { self.order[random.below(DATA_REGISTERS)] }
    }

    /// Different registers for data, never the zero register.
    fn distinct_data<const N: usize>(&self, random: &mut Random) -> [u32; N] {
        let first = random.below(DATA_REGISTERS);
        std::array::from_fn(|i| self.order[(first + i) % DATA_REGISTERS])
    }

    /// A register that no other instruction of the case uses, holding `value`.
    fn fresh(&mut self, value: u64) -> u32 {
        let n = self.order[self.taken];
        self.taken += 1;
        self.state.x[n as usize] = value;
        n
    }

    /// A base register holding `value`: sometimes the stack pointer.
    fn base(&mut self, random: &mut Random, value: u64) -> u32 {
        if !self.sp_taken && random.one_in(4) {
            self.sp_taken = true;
            self.state.sp = value;
            return R31;
        }
        self.fresh(value)
    }
}

/// Where an access of `bytes` bytes may begin.
fn target(random: &mut Random, bytes: u64) -> u64 {
    MEMORY + random.below(MEMORY_SIZE - bytes as usize + 1) as u64
}

/// Where an access of `bytes` bytes that must be aligned to them may begin.
fn aligned_target(random: &mut Random, bytes: u64) -> u64 {
    MEMORY + random.below(MEMORY_SIZE / bytes as usize) as u64 * bytes
}

fn exists(word: u32) -> bool {
    decode(word).kind != Kind::Undefined
}

fn signed(value: u32, bits: u32) -> u64 {
    (i64::from(value) << (64 - bits) >> (64 - bits)) as u64
}

/// Puts the register numbers into a word whose fields are random.
fn with_fields(word: u32, fields: &[(u32, u32)]) -> u32 {
    fields.iter().fold(word, |word, &(at, n)| word & !(31 << at) | n << at)
}

/// Load/store register (Arm ARM C4.1.96): `form` is bits 24, 21, 11 and 10.
fn single(scene: &mut Scene, random: &mut Random, form: u32) {
    const UNSCALED: u32 = 0b0000;
    const POST: u32 = 0b0001;
    const UNPRIVILEGED: u32 = 0b0010;
    const PRE: u32 = 0b0011;
    const REGISTER: u32 = 0b0110;
    let bits = (form >> 3) << 24 | (form >> 2 & 1) << 21 | (form & 3) << 10;
    let mut word;
    loop {
        word = 0x3800_0000 | random.u32() & 0xc4ff_ffff;
        if form >> 3 == 0 {
            word = word & !0x0120_0c00 | bits;
        } else {
            word |= bits;
        }
        if exists(word) {
            break;
        }
    }
    let vector = word >> 26 & 1 != 0;
    let scale = word >> 30 | if vector { (word >> 23 & 1) << 2 } else { 0 };
    let at = target(random, 1 << scale);
    let rt = if vector { random.u32() & 31 } else { scene.data(random) };
    word = with_fields(word, &[(0, rt)]);
    let offset = match form {
        UNSCALED | PRE | UNPRIVILEGED => signed(word >> 12 & 0x1ff, 9),
        POST => 0,
        REGISTER => {
            let shift = if word >> 12 & 1 != 0 { scale } else { 0 };
            let rm = if random.one_in(8) { R31 } else { scene.fresh(operands::general(random)) };
            word = with_fields(word, &[(16, rm)]);
            let value = if rm == R31 { 0 } else { scene.state.x[rm as usize] };
            let extended = match word >> 13 & 7 {
                0b010 => value & 0xffff_ffff,
                0b110 => value as i32 as u64,
                _ => value,
            };
            extended << shift
        }
        _ => u64::from(word >> 10 & 0xfff) << scale,
    };
    let rn = scene.base(random, at.wrapping_sub(offset));
    scene.words.push(with_fields(word, &[(5, rn)]));
}

/// Load/store pair: offset, pre- and post-indexed, no-allocate.
fn pair(scene: &mut Scene, random: &mut Random) {
    let mut word;
    loop {
        word = 0x2800_0000 | random.u32() & 0xc5ff_ffff;
        if exists(word) {
            break;
        }
    }
    let vector = word >> 26 & 1 != 0;
    let (opc, load, mode) = (word >> 30, word >> 22 & 1 != 0, word >> 23 & 3);
    let scale = if vector { opc + 2 } else { 2 + (opc >> 1) };
    let [rt, rt2] = if vector {
        let first = random.u32() & 31;
        [first, (first + 1 + random.u32() % 31) & 31]
    } else if load {
        scene.distinct_data(random)
    } else {
        [scene.data(random), scene.data(random)]
    };
    let at = target(random, 2 << scale);
    let offset = if mode == 1 { 0 } else { signed(word >> 15 & 0x7f, 7) << scale };
    let rn = scene.base(random, at.wrapping_sub(offset));
    scene.words.push(with_fields(word, &[(0, rt), (5, rn), (10, rt2)]));
}

/// LD1 to LD4 and ST1 to ST4: whole registers, one element, replicated; with and without post-index.
fn structures(scene: &mut Scene, random: &mut Random, one_element: bool) {
    let group = if one_element { 0x0d00_0000 } else { 0x0c00_0000 };
    let mut word;
    loop {
        let post = random.u32() & 0x0080_0000;
        word = group | random.u32() & 0x407f_ffff | post;
        if post == 0 {
            word &= !0x001f_0000;
        }
        if exists(word) {
            break;
        }
    }
    let at = target(random, 64);
    let rn = scene.base(random, at);
    if word >> 23 & 1 != 0 {
        let rm = if random.one_in(2) { R31 } else { scene.fresh(operands::general(random)) };
        word = with_fields(word, &[(16, rm)]);
    }
    scene.words.push(with_fields(word, &[(5, rn)]));
}

/// Literals, which lie in the case itself: LDR, a branch over the data, the data.
fn literal(scene: &mut Scene, random: &mut Random) {
    let opcode = random.pick(&[
        0x1800_0000,
        0x5800_0000,
        0x9800_0000,
        0xd800_0000,
        0x1c00_0000,
        0x5c00_0000,
        0x9c00_0000,
    ]);
    let rt = if opcode >> 26 & 1 != 0 { random.u32() & 31 } else { scene.data(random) };
    let data = 1 + random.below(4) as u32;
    scene.words.push(0x1400_0000 | (data + 5));
    scene.words.extend((0..data + 4).map(|_| random.u32()));
    // Backward, into data that the branch has skipped.
    let back = (-(i64::from(data) + 4)) as u32 & 0x7_ffff;
    scene.words.push(opcode | back << 5 | rt);
    scene.words.push(opcode | 2 << 5 | scene.order[0]);
    scene.words.push(0x1400_0000 | 6);
    scene.words.extend((0..5).map(|_| random.u32()));
}

/// A load-exclusive and a store-exclusive, of one register or a pair; some without a matching monitor.
fn exclusive(scene: &mut Scene, random: &mut Random) {
    let pair = random.one_in(3);
    let size = if pair { 2 + random.u32() % 2 } else { random.u32() % 4 };
    let bytes = (1 << size) << u32::from(pair);
    let at = aligned_target(random, bytes);
    let rn = scene.base(random, at);
    let [rt, rt2, rs, stored, stored2] = scene.distinct_data(random);
    let pair_bit = u32::from(pair) << 21;
    let order = |random: &mut Random| random.u32() & 0x8000;
    let load = with_fields(
        0x0840_0000 | size << 30 | pair_bit | order(random),
        &[(0, rt), (5, rn), (10, if pair { rt2 } else { 31 }), (16, 31)],
    );
    let store = |rn: u32, order: u32| {
        with_fields(
            0x0800_0000 | size << 30 | pair_bit | order,
            &[(0, stored), (5, rn), (10, if pair { stored2 } else { 31 }), (16, rs)],
        )
    };
    scene.words.push(CLREX);
    let matching = store(rn, order(random));
    match random.below(6) {
        // No monitor.
        0 => scene.words.push(matching),
        // Cleared.
        1 => scene.words.extend([load, CLREX, matching]),
        // Elsewhere.
        2 => {
            let elsewhere = (at - MEMORY + 128) % MEMORY_SIZE as u64 + MEMORY;
            let other = scene.fresh(elsewhere);
            scene.words.extend([load, store(other, order(random))]);
        }
        // Used up.
        3 => scene.words.extend([load, matching, matching]),
        _ => scene.words.extend([load, NOP, matching]),
    }
}

/// LDAR, STLR and their narrower forms.
fn ordered(scene: &mut Scene, random: &mut Random) {
    let size = random.u32() % 4;
    let at = aligned_target(random, 1 << size);
    let (rt, rn) = (scene.data(random), scene.base(random, at));
    let load = random.u32() & 0x0040_0000;
    scene.words.push(with_fields(0x089f_fc00 | size << 30 | load, &[(0, rt), (5, rn)]));
}

/// CAS and CASP, half of them with what is in memory, so that they swap.
fn compare_and_swap(scene: &mut Scene, random: &mut Random) {
    let order = random.u32() & 0x0040_8000;
    let pair = random.one_in(2);
    if pair {
        let wide = random.u32() & 1;
        let bytes = 8 << wide;
        let at = aligned_target(random, bytes);
        // Pairs of an even register and the next; 30 pairs with the zero register.
        let [rs, rt] = [0, 1].map(|i| ((random.u32() % 4 * 2 + i) * 2) % 28);
        let match_memory = random.one_in(2);
        let rn = loop {
            let n = scene.base(random, at);
            if n == R31 || ![rs & !1, rt & !1].contains(&(n & !1)) {
                break n;
            }
        };
        if match_memory {
            let offset = (at - MEMORY) as usize;
            let word = |at: usize, bytes: usize| {
                (0..bytes).fold(0, |all, i| all | u64::from(scene.state.memory[at + i]) << (8 * i))
            };
            let half = bytes as usize / 2;
            let pair = [word(offset, half), word(offset + half, half)];
            scene.state.x[rs as usize] = pair[0];
            scene.state.x[rs as usize + 1] = pair[1];
        }
        scene.words.push(with_fields(0x0820_7c00 | wide << 30 | order, &[(0, rt), (5, rn), (16, rs)]));
        return;
    }
    let size = random.u32() % 4;
    let bytes = 1u64 << size;
    let at = aligned_target(random, bytes);
    let rn = scene.base(random, at);
    let [rs, rt] = scene.distinct_data(random);
    if random.one_in(2) {
        let offset = (at - MEMORY) as usize;
        let inside =
            (0..bytes as usize).fold(0, |all, i| all | u64::from(scene.state.memory[offset + i]) << (8 * i));
        // What is above the operand must not matter.
        let above = if size == 3 { 0 } else { random.u64() << (8 * bytes) };
        scene.state.x[rs as usize] = inside | above;
    }
    scene.words.push(with_fields(0x08a0_7c00 | size << 30 | order, &[(0, rt), (5, rn), (16, rs)]));
}

/// LDADD to SWP, of every size and order.
fn atomic(scene: &mut Scene, random: &mut Random) {
    let size = random.u32() % 4;
    let at = aligned_target(random, 1 << size);
    let (rs, rt, rn) = (scene.data(random), scene.data(random), scene.base(random, at));
    let operation = random.u32() % 9;
    let word = 0x3820_0000 | size << 30 | operation << 12 | random.u32() & 0x00c0_0000;
    scene.words.push(with_fields(word, &[(0, rt), (5, rn), (16, rs)]));
}

/// DC ZVA: 64 bytes, wherever in them the address is.
fn zero_block(scene: &mut Scene, random: &mut Random) {
    let at = target(random, 1);
    let rt = scene.fresh(at);
    scene.words.push(0xd50b_7420 | rt);
}

type Maker = fn(&mut Scene, &mut Random);

/// Each class, and how many instructions of it one case may hold.
const CLASSES: &[(&str, Maker)] = &[
    ("unscaled offset", |s, r| single(s, r, 0b0000)),
    ("post-indexed", |s, r| single(s, r, 0b0001)),
    ("unprivileged", |s, r| single(s, r, 0b0010)),
    ("pre-indexed", |s, r| single(s, r, 0b0011)),
    ("register offset", |s, r| single(s, r, 0b0110)),
    ("unsigned offset", |s, r| single(s, r, 0b1000)),
    ("pair", pair),
    ("multiple structures", |s, r| structures(s, r, false)),
    ("single structure", |s, r| structures(s, r, true)),
    ("literal", literal),
    ("exclusive", exclusive),
    ("ordered", ordered),
    ("compare and swap", compare_and_swap),
    ("atomic", atomic),
    ("DC ZVA", zero_block),
];

/// How many instructions of each class there are.
pub type Counts = BTreeMap<&'static str, usize>;

/// Three quarters of the cases are of one class each; in the others what one instruction writes another reads.
pub fn cases(random: &mut Random, total: usize, counts: &mut Counts) -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, make) in CLASSES {
        for _ in 0..total * 3 / 4 / CLASSES.len() {
            let mut scene = Scene::new(random);
            make(&mut scene, random);
            *counts.entry(name).or_default() += 1;
            cases.push(scene.case());
        }
    }
    for _ in 0..total / 4 {
        let mut scene = Scene::new(random);
        for _ in 0..2 + random.below(6) {
            let (name, make) = CLASSES[random.below(CLASSES.len())];
            // It names registers by number, so it might write another's base.
            if name != "compare and swap" {
                make(&mut scene, random);
                *counts.entry(name).or_default() += 1;
            }
        }
        cases.push(scene.case());
    }
    cases
}
