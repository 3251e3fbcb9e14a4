//! Floating point against LLVM's: every scalar operation of `engine_soft::fp`, on every combination of hard
//! operands and on random ones, in every mode, to the last bit and flag.
//!
//! The estimates (FRECPE, FRSQRTE, FRECPX) are not here: their bits are Arm's tables, which LLVM has not. QEMU
//! is their judge, in `simd_differential.rs`.

mod reference;

#[path = "../common/mod.rs"]
mod common;

use std::cmp::Ordering;
use std::fmt::{Debug, Display};

use common::operands;
use common::random::Random;
use engine_soft::fp::{Double as OurDouble, Half as OurHalf, Single as OurSingle};
use engine_soft::fp::{Env, Host, Rounding, arith, compare, convert};
use reference::{Double, Half, IXC, Ieee, Mode, Single};
use rustc_apfloat::{FloatConvert, Round, ieee};

/// Random combinations of operands for each operation of each format.
const RANDOM: usize = 60_000;

/// A format here and there, and where its operands come from.
trait Format: Host {
    type Reference: Ieee<Ap: Debug>;
    fn hard() -> Vec<u64>;
    fn random(random: &mut Random) -> u64;
}

fn of_both_signs(magnitudes: impl Iterator<Item = u64>, sign: u64) -> Vec<u64> {
    magnitudes.flat_map(|bits| [bits, bits | sign]).collect()
}

impl Format for OurSingle {
    type Reference = Single;
    fn hard() -> Vec<u64> {
        of_both_signs(operands::SINGLES.iter().map(|&bits| bits.into()), Single::SIGN)
    }
    fn random(random: &mut Random) -> u64 {
        operands::single(random).into()
    }
}

impl Format for OurDouble {
    type Reference = Double;
    fn hard() -> Vec<u64> {
        of_both_signs(operands::DOUBLES.iter().copied(), Double::SIGN)
    }
    fn random(random: &mut Random) -> u64 {
        operands::double(random)
    }
}

/// FPCR's rounding mode, FZ and DN in every combination.
fn modes() -> impl Iterator<Item = u32> + Clone {
    (0..16).map(|bits| bits << 22)
}

/// The same with AHP too.
fn modes_of_halves() -> impl Iterator<Item = u32> + Clone {
    (0..32).map(|bits| bits << 22)
}

/// One operation twice, from clear flags, and with the inexact flag set, where the engine may leave its work to
/// the host.
fn agree<T: PartialEq + Debug>(
    what: impl Display,
    operands: &[u64],
    fpcr: u32,
    ours: impl Fn(&mut Env) -> T,
    reference: impl Fn(Mode) -> (T, u32),
) {
    let (value, flags) = reference(Mode::new(fpcr));
    for before in [0, IXC] {
        let mut env = Env { fpcr, fpsr: before };
        let got = (ours(&mut env), env.fpsr);
        let expected = (&value, flags | before);
        assert!(
            (&got.0, got.1) == expected,
            "{what} of {operands:x?}, FPCR {fpcr:08x}, FPSR {before:02x}: ours {got:x?}, the reference's {expected:x?}"
        );
    }
}

/// Every operation that takes two operands.
fn two<F: Format>(fpcr: u32, a: u64, b: u64) {
    type Ours = fn(&mut Env, u64, u64) -> u64;
    type Theirs = fn(Mode, u64, u64) -> reference::Answer;
    let operations: [(&str, Ours, Theirs); 11] = [
        ("add", arith::add::<F>, reference::add::<F::Reference>),
        ("sub", arith::sub::<F>, reference::sub::<F::Reference>),
        ("mul", arith::mul::<F>, reference::mul::<F::Reference>),
        ("mulx", arith::mulx::<F>, reference::mulx::<F::Reference>),
        ("div", arith::div::<F>, reference::div::<F::Reference>),
        ("recip_step", arith::recip_step::<F>, reference::recip_step::<F::Reference>),
        ("rsqrt_step", arith::rsqrt_step::<F>, reference::rsqrt_step::<F::Reference>),
        ("max", compare::max::<F>, |mode, a, b| {
            reference::extremum::<F::Reference>(mode, a, b, Ordering::Greater)
        }),
        ("min", compare::min::<F>, |mode, a, b| {
            reference::extremum::<F::Reference>(mode, a, b, Ordering::Less)
        }),
        ("max_num", compare::max_num::<F>, |mode, a, b| {
            reference::extremum_number::<F::Reference>(mode, a, b, Ordering::Greater)
        }),
        ("min_num", compare::min_num::<F>, |mode, a, b| {
            reference::extremum_number::<F::Reference>(mode, a, b, Ordering::Less)
        }),
    ];
    for (what, ours, theirs) in operations {
        agree(what, &[a, b], fpcr, |env| ours(env, a, b), |mode| theirs(mode, a, b));
    }
    for signals in [false, true] {
        agree(
            if signals { "compare, signalling" } else { "compare" },
            &[a, b],
            fpcr,
            |env| compare::compare::<F>(env, a, b, signals),
            |mode| reference::compare::<F::Reference>(mode, a, b, signals),
        );
    }
}

fn every_pair<F: Format>(seed: u64) {
    let hard = F::hard();
    for fpcr in modes() {
        for &a in &hard {
            for &b in &hard {
                two::<F>(fpcr, a, b);
            }
        }
    }
    let mut random = Random::new(seed);
    for (_, fpcr) in (0..RANDOM).zip(modes().cycle()) {
        let a = F::random(&mut random);
        let b = if random.one_in(4) { near(&mut random, a) } else { F::random(&mut random) };
        two::<F>(fpcr, a, b & (F::SIGN | (F::SIGN - 1)));
    }
}

/// A number whose difference to the other one cancels nearly all bits.
fn near(random: &mut Random, bits: u64) -> u64 {
    bits.wrapping_add(random.u64() % 8).wrapping_sub(4)
}

#[test]
fn singles_of_two_operands() {
    every_pair::<OurSingle>(0x51);
}

#[test]
fn doubles_of_two_operands() {
    every_pair::<OurDouble>(0x52);
}

fn fused<F: Format>(fpcr: u32, addend: u64, a: u64, b: u64) {
    agree(
        "mul_add",
        &[addend, a, b],
        fpcr,
        |env| arith::mul_add::<F>(env, addend, a, b),
        |mode| reference::mul_add::<F::Reference>(mode, addend, a, b),
    );
}

fn every_triple<F: Format>(seed: u64) {
    let mut modes_in_turn = modes().cycle();
    let hard = F::hard();
    for &addend in &hard {
        for &a in &hard {
            for &b in &hard {
                // Seventeen of sixteen modes: each meets another operand in the next round.
                fused::<F>(modes_in_turn.next().expect("the modes go on"), addend, a, b);
            }
            modes_in_turn.next();
        }
    }
    let mut random = Random::new(seed);
    for fpcr in modes_in_turn.take(4 * RANDOM) {
        let (a, b) = (F::random(&mut random), F::random(&mut random));
        let addend = if random.one_in(3) {
            // Minus the product, nearly.
            let product = arith::mul::<F>(&mut Env { fpcr: 0, fpsr: 0 }, a, b) ^ F::SIGN;
            near(&mut random, product) & (F::SIGN | (F::SIGN - 1))
        } else {
            F::random(&mut random)
        };
        fused::<F>(fpcr, addend, a, b);
    }
}

#[test]
fn singles_multiplied_and_added() {
    every_triple::<OurSingle>(0x53);
}

#[test]
fn doubles_multiplied_and_added() {
    every_triple::<OurDouble>(0x54);
}

/// The directions that instructions name, and the two that FPCR has not.
const ROUNDINGS: [(Rounding, Round); 5] = [
    (Rounding::TieEven, Round::NearestTiesToEven),
    (Rounding::Up, Round::TowardPositive),
    (Rounding::Down, Round::TowardNegative),
    (Rounding::Zero, Round::TowardZero),
    (Rounding::TieAway, Round::NearestTiesToAway),
];

/// Every operation that takes one operand.
fn one<F: Format>(fpcr: u32, bits: u64)
where
    <F::Reference as Ieee>::Ap: FloatConvert<ieee::Quad>,
{
    agree(
        "sqrt",
        &[bits],
        fpcr,
        |env| arith::sqrt::<F>(env, bits),
        |mode| reference::sqrt::<F::Reference>(mode, bits),
    );
    for (rounding, round) in ROUNDINGS {
        for exact in [false, true] {
            agree(
                format_args!("round_to_integral {rounding:?} {exact}"),
                &[bits],
                fpcr,
                |env| convert::round_to_integral::<F>(env, bits, rounding, exact),
                |mode| reference::round_to_integral::<F::Reference>(Mode { round, ..mode }, bits, exact),
            );
        }
        for (width, fbits) in [(32, 0), (32, 1), (32, 17), (32, 32), (64, 0), (64, 1), (64, 33), (64, 64)] {
            for signed in [false, true] {
                agree(
                    format_args!("to_fixed {rounding:?} {width} {fbits} {signed}"),
                    &[bits],
                    fpcr,
                    |env| convert::to_fixed::<F>(env, bits, fbits, width, signed, rounding),
                    |mode| {
                        let mode = Mode { round, ..mode };
                        reference::to_fixed::<F::Reference>(mode, bits, fbits, width, signed)
                    },
                );
            }
        }
    }
}

fn every_one<F: Format>(seed: u64) {
    let mut random = Random::new(seed);
    let random: Vec<u64> = (0..RANDOM / 32).map(|_| F::random(&mut random)).collect();
    for fpcr in modes() {
        for &bits in F::hard().iter().chain(&random) {
            one::<F>(fpcr, bits);
        }
    }
}

#[test]
fn singles_of_one_operand() {
    every_one::<OurSingle>(0x55);
}

#[test]
fn doubles_of_one_operand() {
    every_one::<OurDouble>(0x56);
}

fn from_integer<F: Format>(fpcr: u32, value: u64)
where
    ieee::Quad: FloatConvert<<F::Reference as Ieee>::Ap>,
{
    for (rounding, round) in ROUNDINGS {
        for fbits in [0, 1, 31, 32, 63, 64] {
            for signed in [false, true] {
                agree(
                    format_args!("from_fixed {rounding:?} {fbits} {signed}"),
                    &[value],
                    fpcr,
                    |env| convert::from_fixed::<F>(env, value, fbits, signed, rounding),
                    |mode| {
                        let mode = Mode { round, ..mode };
                        reference::from_fixed::<F::Reference>(mode, value, fbits, signed)
                    },
                );
            }
        }
    }
}

#[test]
fn integers_and_fixed_point_numbers_to_floating_point() {
    let mut random = Random::new(0x57);
    // Powers of two and what surrounds them, of both signs; then any.
    let mut values: Vec<u64> =
        (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + 1]).collect();
    values.extend(values.clone().iter().map(|value| value.wrapping_neg()));
    values.extend((0..RANDOM / 32).map(|_| operands::integer(&mut random, 64)));
    for fpcr in modes() {
        for &value in &values {
            from_integer::<OurSingle>(fpcr, value);
            from_integer::<OurDouble>(fpcr, value);
        }
    }
}

#[test]
fn singles_and_doubles_to_each_other() {
    let mut random = Random::new(0x58);
    let random_double: Vec<u64> = (0..RANDOM).map(|_| operands::double(&mut random)).collect();
    let random_single: Vec<u64> = (0..RANDOM).map(|_| operands::single(&mut random).into()).collect();
    for fpcr in modes() {
        for &bits in OurDouble::hard().iter().chain(&random_double) {
            agree(
                "double to single",
                &[bits],
                fpcr,
                |env| convert::convert::<OurDouble, OurSingle>(env, bits, env.rounding()),
                |mode| reference::convert::<Double, Single>(mode, bits),
            );
            agree(
                "double to single, to odd",
                &[bits],
                fpcr,
                |env| convert::convert::<OurDouble, OurSingle>(env, bits, Rounding::Odd),
                |mode| reference::narrow_to_odd(mode, bits),
            );
        }
        for &bits in OurSingle::hard().iter().chain(&random_single) {
            agree(
                "single to double",
                &[bits],
                fpcr,
                |env| convert::convert::<OurSingle, OurDouble>(env, bits, env.rounding()),
                |mode| reference::convert::<Single, Double>(mode, bits),
            );
        }
    }
}

#[test]
fn halves_to_and_from_the_wider_formats() {
    let mut random = Random::new(0x59);
    let random_double: Vec<u64> = (0..RANDOM / 2).map(|_| operands::double(&mut random)).collect();
    let random_single: Vec<u64> = (0..RANDOM / 2).map(|_| operands::single(&mut random).into()).collect();
    for fpcr in modes_of_halves() {
        // All there are.
        for bits in 0..1 << 16 {
            agree(
                "half to single",
                &[bits],
                fpcr,
                |env| convert::convert::<OurHalf, OurSingle>(env, bits, env.rounding()),
                |mode| reference::convert::<Half, Single>(mode, bits),
            );
            agree(
                "half to double",
                &[bits],
                fpcr,
                |env| convert::convert::<OurHalf, OurDouble>(env, bits, env.rounding()),
                |mode| reference::convert::<Half, Double>(mode, bits),
            );
        }
        for &bits in OurSingle::hard().iter().chain(&random_single) {
            agree(
                "single to half",
                &[bits],
                fpcr,
                |env| convert::convert::<OurSingle, OurHalf>(env, bits, env.rounding()),
                |mode| reference::convert::<Single, Half>(mode, bits),
            );
        }
        for &bits in OurDouble::hard().iter().chain(&random_double) {
            agree(
                "double to half",
                &[bits],
                fpcr,
                |env| convert::convert::<OurDouble, OurHalf>(env, bits, env.rounding()),
                |mode| reference::convert::<Double, Half>(mode, bits),
            );
        }
    }
}
