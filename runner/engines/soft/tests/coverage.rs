//! The differential tests cover what the decoder takes: each shape of instruction, by LLVM's name for it and the
//! widths of its operands, is among the cases that they generate.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::cases::{integer, memory, simd};
use common::disassembler::{FEATURES, disassemble};
use common::encodings::GROUPS;
use common::qemu::Case;
use common::random::Random;
use engine_soft::decode::decode;
use engine_soft::op::Kind;

/// Words of the sample that are instructions.
const SAMPLE: usize = 400_000;

/// Cases of each differential test: as many as it runs when it is not asked for more.
const INTEGER_CASES: usize = 30_000;
const MEMORY_CASES: usize = 30_000;
const SIMD_CASES: usize = 200_000;

/// Mnemonics that the differential tests leave out, and where they are tested, or why not.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (
        &["adr", "adrp", "bl", "br", "blr", "ret"],
        "integer_differential.rs, addresses_are_relative_to_the_instruction",
    ),
    (&["svc", "hvc", "smc", "brk", "eret"], "exceptions.rs"),
    (
        &["mrs", "msr", "sys", "at", "dc", "ic", "tlbi"],
        "system registers and instructions are EL1's: exceptions.rs, smp.rs and the kernel",
    ),
    (&["hint", "isb", "dmb", "dsb"], "no result: exceptions.rs and smp.rs"),
    (&["prfm", "prfum"], "no result"),
];

/// An instruction without its register numbers and immediates.
fn shape(text: &str) -> String {
    // A branch's target and LLVM's remarks follow.
    let text = text
        .split(" <")
        .next()
        .and_then(|text| text.split("//").next())
        .expect("there is a first part")
        .trim();
    let mut shape = String::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        if c.is_ascii_alphanumeric() || ".#_-".contains(c) {
            word.push(c);
            continue;
        }
        // The mnemonic stays as it is, but for its condition.
        if shape.is_empty() {
            shape.push_str(if word.starts_with("b.") { "b.cond" } else { &word });
        } else {
            shape.push_str(&operand(&word));
        }
        word.clear();
        shape.push(c);
    }
    // A shift by nothing and an offset of nothing are not written.
    shape
        .trim_end()
        .trim_end_matches('#')
        .trim_end()
        .replace(", #]", "]")
        .replace(" #]", "]")
        .replace('\t', " ")
}

fn operand(word: &str) -> String {
    const CONDITIONS: [&str; 16] =
        ["eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv"];
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match word {
        "xzr" | "sp" => return "X".to_owned(),
        "wzr" | "wsp" => return "W".to_owned(),
        _ if CONDITIONS.contains(&word) => return "cond".to_owned(),
        _ if word.starts_with('#') || word.starts_with("0x") || is_number(word) => return "#".to_owned(),
        _ => {}
    }
    let (register, arrangement) =
        word.split_once('.').map_or((word, ""), |(register, rest)| (register, rest));
    match register.split_at_checked(1) {
        Some((class, number)) if is_number(number) && "xwbhsdqv".contains(class) => {
            format!("{}{arrangement}", class.to_uppercase())
        }
        _ => word.to_owned(),
    }
}

/// A shape of each, with a word that has it.
fn shapes(words: &[u32]) -> BTreeMap<String, u32> {
    let shapes = disassemble(words, FEATURES, shape);
    shapes.into_iter().zip(words.iter().copied()).collect()
}

/// The words of a case that are executed, as far as B tells: literals lie behind one.
fn executed(case: &Case) -> impl Iterator<Item = u32> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let &word = case.words.get(at)?;
        let is_forward_branch = word >> 25 == 0b000_1010;
        at += if is_forward_branch { word as usize & 0x1ff_ffff } else { 1 };
        Some(word)
    })
}

fn generated() -> Vec<u32> {
    let mut words = BTreeSet::new();
    let mut random = Random::new(0x1e57);
    let integer = integer::cases(&mut random, INTEGER_CASES, &mut BTreeMap::new());
    let mut random = Random::new(0x3e30);
    let memory = memory::cases(&mut random, MEMORY_CASES, &mut BTreeMap::new());
    words.extend(integer.iter().chain(&memory).flat_map(executed));
    for group in GROUPS {
        let mut random = simd::random_of(group);
        words.extend((0..simd::share(group, SIMD_CASES)).map(|_| simd::case(&mut random, group).words[0]));
    }
    words.into_iter().collect()
}

/// Words that are instructions, with what is rare among them: fields of zeros and ones, where the special cases
/// are, and the few instructions of the system, that branch to registers and of one source.
fn sample() -> Vec<u32> {
    let mut random = Random::new(0xc0fe);
    let mut sample = Vec::new();
    let mut kinds = BTreeSet::new();
    while sample.len() < SAMPLE {
        let word = random.u32();
        let field = random.pick(&[0, 0x1f, 0x7c00, 0xfc00, 0x1f_0000, 0x3f_0000, 0x1f_fc00, 0x8000_0000]);
        let word = match random.below(16) {
            0 => 0xd500_0000 | word & 0x3f_ffff,
            1 => 0xd503_201f | word & 0x1fe0,
            2 => 0xd61f_0000 | word & 0x00e0_03e0,
            3 => 0x5ac0_0000 | word & 0x8000_1fff,
            4..9 => word & !field,
            _ => word | field,
        };
        let kind = decode(word).kind;
        if kind != Kind::Undefined {
            kinds.insert(kind as u16);
            sample.push(word);
        }
    }
    // Kinds are numbered without a gap: UNDEFINED is the first, the vector operations are the last.
    let absent: Vec<u16> = (1..=Kind::Vector as u16).filter(|kind| !kinds.contains(kind)).collect();
    assert!(absent.is_empty(), "no word of the sample is of the kinds numbered {absent:?}");
    sample
}

#[test]
fn every_shape_of_instruction_is_generated() {
    let sample = sample();
    let decoded = shapes(&sample);
    let generated = shapes(&generated());
    let elsewhere = |shape: &str| {
        let mnemonic = shape.split(' ').next().expect("there is a first part");
        ELSEWHERE.iter().any(|(mnemonics, _)| mnemonics.contains(&mnemonic))
    };
    let missing: Vec<String> = decoded
        .iter()
        .filter(|(shape, _)| !elsewhere(shape) && !generated.contains_key(*shape))
        .map(|(shape, word)| format!("{shape} ({word:08x})"))
        .collect();
    println!("{} shapes decoded, {} generated, {} missing", decoded.len(), generated.len(), missing.len());
    for shape in &missing {
        println!("  {shape}");
    }
    assert!(missing.is_empty(), "{} shapes of instructions are in no differential test", missing.len());
}
