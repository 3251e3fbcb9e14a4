//! FP/SIMD data processing: random encodings of every group, on operands that are hard, in all modes.

use engine_soft::simd;

use crate::common::encodings::{GROUPS, Group};
use crate::common::operands;
use crate::common::qemu::{Case, RESERVED, State};
use crate::common::random::Random;

const FPCR_MODES: u32 = 0x07c0_0000;
const FPSR_FLAGS: u32 = 0x0800_009f;
const IXC: u32 = 0x10;

/// A word of the group that the engine decodes.
fn encoding(random: &mut Random, group: &Group) -> u32 {
    loop {
        let word = group.value | random.u32() & !group.mask;
        let names_reserved = [word & 31, word >> 5 & 31].contains(&(RESERVED as u32));
        if simd::decode(word).is_some() && !(group.general && names_reserved) {
            return word;
        }
    }
}

fn state(random: &mut Random) -> State {
    let mut state = State::default();
    for x in &mut state.x {
        *x = operands::general(random);
    }
    for n in 0..32 {
        state.v[n] = match random.below(4) {
            // Operands that almost cancel.
            0 if n > 0 => state.v[random.below(n)] ^ u128::from(random.u64() & 0x8000_0000_8000_0003),
            _ => operands::vector(random),
        };
    }
    state.nzcv = random.u32() & 0xf000_0000;
    // The modes that programs run in are half of the cases, for the sake of the fast paths.
    state.fpcr = if random.one_in(2) { 0 } else { random.u32() & FPCR_MODES };
    state.fpsr = if random.one_in(3) { random.u32() & FPSR_FLAGS } else { random.pick(&[0, IXC]) };
    state
}

/// Random numbers of a group's own.
pub fn random_of(group: &Group) -> Random {
    Random::new(u64::from(group.value) << 32 | u64::from(group.mask))
}

/// How many of `total` cases are the group's.
pub fn share(group: &Group, total: usize) -> usize {
    let weights: usize = GROUPS.iter().map(|group| group.weight).sum();
    (total * group.weight).div_ceil(weights)
}

/// One instruction of the group.
pub fn case(random: &mut Random, group: &Group) -> Case {
    let word = encoding(random, group);
    Case { words: vec![word], state: state(random) }
}
